-- What entries contribute to community challenges: moved in the entry's transaction for the participant's own rows, and
-- recomputed from the entries by the invariant.

create function private.contributed_by(ids uuid[], terms private.community_terms[], contributions bigint[], day date, entry_province text,
                                       category text, method text, grams integer, credits integer, co2e_avoided_mg bigint)
returns private.contributed
language plpgsql stable
set search_path = ''
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
  term private.community_terms;
  moved bigint;
  changes private.community_change[];
  moves_reward boolean := false;
begin
  for place in 1..cardinality(ids) loop
    term := terms[place];
    continue when term.closes_on < today;
    moved := carbon.contribution(term.rule, term.first_day, term.last_day, term.only_province, day, entry_province, category,
                                 method, grams, credits, co2e_avoided_mg);
    continue when moved = 0;
    if (contributions[place] < term.min_contribution) <> (contributions[place] + moved < term.min_contribution) then
      moves_reward := moves_reward or exists (
        select from private.community_facts as f where f.challenge_id = ids[place] and f.milestone = 100);
    end if;
    contributions[place] := contributions[place] + moved;
    changes := changes || (ids[place], term.board, term.province, moved, 0, 0)::private.community_change;
  end loop;
  return (changes, contributions, moves_reward)::private.contributed;
end;
$$;
comment on function private.contributed_by(uuid[], private.community_terms[], bigint[], date, text, text, text, integer, integer, bigint) is
  'What a new entry contributes to the community challenges of its user''s state row (three parallel lists). Takes parts of '
  'the entry and no row: that would cost more than the rest (docs/decisions/0016).';

create function private.are_in_communities(keys private.user_keys[])
returns boolean
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return exists (
    select from unnest(keys) as k
    join private.user_state as s on s.user_id = k.user_id
    where s.communities_until >= carbon.local_date(now(), carbon.default_time_zone()));
end;
$$;
comment on function private.are_in_communities(private.user_keys[]) is
  'Whether a user of these keys takes part in a community challenge whose contributions still move.';

create function private.move_contributions(old_entries public.waste_entries[], new_entries public.waste_entries[])
returns void
language plpgsql
set search_path = ''
-- As in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
begin
  with moves as materialized (
    select s.user_id, c.place, c.challenge_id, c.board, c.province, sum(
             e.side * carbon.contribution(c.rule, c.first_day, c.last_day, c.only_province, e.local_date, e.province, e.category_id,
                                          e.disposal_method, (e.weight_kg * 1000)::integer, e.carbon_credits,
                                          (e.co2e_avoided_kg * 1000000)::bigint))::bigint as moved
    from (select 1 as side, n.* from unnest(new_entries) as n union all select -1, o.* from unnest(old_entries) as o) as e
    join private.user_state as s on s.user_id = e.user_id
    cross join lateral unnest(s.community_ids, s.community_terms) with ordinality
      as c (challenge_id, board, province, rule, first_day, last_day, only_province, closes_on, min_contribution, place)
    where e.batch_id is null and c.closes_on >= today
    group by s.user_id, c.place, c.challenge_id, c.board, c.province
  ), by_user as (
    select m.user_id, array_agg((m.challenge_id, m.board, m.province, m.moved, 0, 0)::private.community_change) as changes
    from moves as m
    where m.moved <> 0
    group by m.user_id
  ), written as (
    update private.user_state as s
    set contributions = array(
      select c.value + coalesce(m.moved, 0)
      from unnest(s.contributions) with ordinality as c (value, place)
      left join moves as m on m.user_id = s.user_id and m.place = c.place
      order by c.place)
    from by_user as b
    where s.user_id = b.user_id
  )
  insert into private.outbox (user_id, communities) select b.user_id, b.changes from by_user as b;
end;
$$;
comment on function private.move_contributions(public.waste_entries[], public.waste_entries[]) is
  'Moves contributions by what a statement over several entries removed and added, and appends an outbox row for each '
  'user whose contributions changed. The caller holds the users'' locks and evaluates their rewards afterwards.';

create function private.open_communities(p_user_id uuid, out ids uuid[], out terms private.community_terms[], out contributions bigint[],
                                         out until date)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  select array_agg(p.challenge_id order by p.challenge_id),
         array_agg((c.board, p.province, c.rule, greatest(c.start_date, p.joined_on), c.end_date, c.province, c.closes_on,
                    c.min_contribution)::private.community_terms order by p.challenge_id),
         array_agg(p.contribution order by p.challenge_id), max(c.closes_on)
  into ids, terms, contributions, until
  from private.contributions as p
  join public.community_challenges as c on c.id = p.challenge_id
  where p.user_id = p_user_id and c.closes_on >= carbon.local_date(now(), carbon.default_time_zone());
end;
$$;
comment on function private.open_communities(uuid) is
  'The community challenges that a user takes part in and whose contributions still move, as the state row has them.';

create function private.set_communities(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
  -- What no longer moves stays here, when it leaves the state row.
  update private.participations as p
  set contribution = v.contribution
  from private.contributions as v
  where p.user_id = p_user_id and v.user_id = p_user_id and v.challenge_id = p.challenge_id and p.contribution <> v.contribution;
  update private.user_state as s
  set community_ids = o.ids, community_terms = o.terms, contributions = o.contributions, communities_until = o.until
  from private.open_communities(p_user_id) as o
  where s.user_id = p_user_id;
end;
$$;
comment on function private.set_communities(uuid) is
  'Writes the community challenges that a user takes part in to the state row, after joining or leaving one. The caller holds the user''s lock.';

-- Rewards -----------------------------------------------------------------------------------
create function private.evaluate_communities(user_ids uuid[])
returns private.reward_evaluation[]
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return array(
    with candidates as (
      select p.user_id, p.challenge_id from private.participations as p where p.user_id = any (user_ids)
      union
      -- Held by somebody who has left.
      select r.user_id, r.source_id::uuid from private.rewards as r
      where r.user_id = any (user_ids) and r.source = 'community'
    )
    select (n.user_id, 'community', c.id::text,
            c.status = 'active' and f.challenge_id is not null and coalesce(p.contribution >= c.min_contribution, false),
            c.credits_reward, null)::private.reward_evaluation
    from candidates as n
    join public.community_challenges as c on c.id = n.challenge_id
    left join private.contributions as p on p.challenge_id = n.challenge_id and p.user_id = n.user_id
    left join private.community_facts as f on f.challenge_id = n.challenge_id and f.milestone = 100);
end;
$$;
comment on function private.evaluate_communities(uuid[]) is
  'Whether these users have earned the rewards of community challenges that they take part in or hold a reward of: the '
  'target was reached, the challenge is not cancelled, and they have contributed enough.';

-- The invariant -------------------------------------------------------------------------------
create function private.expected_contributions(p_user_id uuid)
returns table (challenge_id uuid, contribution bigint, board integer, province text)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select p.challenge_id, coalesce(sum(
           carbon.contribution(c.rule, greatest(c.start_date, p.joined_on), c.end_date, c.province, e.local_date, e.province,
                               e.category_id, e.disposal_method, (e.weight_kg * 1000)::integer, e.carbon_credits,
                               (e.co2e_avoided_kg * 1000000)::bigint)) filter (where e.id is not null), 0)::bigint,
         c.board, p.province
  from private.participations as p
  join public.community_challenges as c on c.id = p.challenge_id
    and c.closes_on >= carbon.local_date(now(), carbon.default_time_zone())
  left join public.waste_entries as e on e.user_id = p_user_id and e.batch_id is null
    and e.local_date between greatest(c.start_date, p.joined_on) and c.end_date
    -- A local day is at most 14 hours away from the day in UTC: the bounds let the query skip months.
    and e.logged_at between greatest(c.start_date, p.joined_on) - interval '2 days' and c.end_date + interval '3 days'
  where p.user_id = p_user_id
  group by p.challenge_id, c.board, p.province;
end;
$$;
comment on function private.expected_contributions(uuid) is
  'What this user''s entries come to in each community challenge whose contributions still move.';

create function private.check_contributions(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    with differences as (
      select 'community ' || m.challenge_id as what, to_jsonb(m.contribution) as expected, to_jsonb(v.contribution) as found
      from private.expected_contributions(p_user_id) as m
      join private.contributions as v on v.challenge_id = m.challenge_id and v.user_id = p_user_id
      where m.contribution <> v.contribution
      union all
      -- What has closed may still be in the state row, until the user joins or leaves a challenge.
      select 'user_state.community_terms', to_jsonb(o.terms), to_jsonb(i.terms)
      from private.user_state as s
      cross join private.open_communities(p_user_id) as o
      cross join lateral (
        select array_agg(t.term order by t.id) as terms
        from (select u.id, s.community_terms[u.place] as term from unnest(s.community_ids) with ordinality as u (id, place)) as t
        where (t.term).closes_on >= carbon.local_date(now(), carbon.default_time_zone())) as i
      where s.user_id = p_user_id and (o.terms is distinct from i.terms or o.until > coalesce(s.communities_until, '-infinity'))
    )
    select coalesce(jsonb_agg(to_jsonb(d)), '[]') from differences as d);
end;
$$;
comment on function private.check_contributions(uuid) is
  'Differences between this user''s contributions and their entries, and between the terms in the state row and the challenges, where contributions still move.';

create function private.repair_contributions(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform private.set_communities(p_user_id);
  with moves as materialized (
    select m.challenge_id, m.board, m.province, m.contribution, m.contribution - v.contribution as moved
    from private.expected_contributions(p_user_id) as m
    join private.contributions as v on v.challenge_id = m.challenge_id and v.user_id = p_user_id
    where m.contribution <> v.contribution
  ), written as (
    update private.user_state as s
    set contributions = array(
      select coalesce(m.contribution, c.value)
      from unnest(s.community_ids, s.contributions) with ordinality as c (challenge_id, value, place)
      left join moves as m on m.challenge_id = c.challenge_id
      order by c.place)
    where s.user_id = p_user_id and exists (select from moves)
  )
  insert into private.outbox (user_id, communities)
  select p_user_id, array_agg((m.challenge_id, m.board, m.province, m.moved, 0, 0)::private.community_change)
  from moves as m
  having count(*) > 0;
end;
$$;
comment on function private.repair_contributions(uuid) is
  'Writes the user''s community challenges to the state row and sets contributions to what their entries come to. The caller '
  'holds the user''s lock and evaluates rewards afterwards.';

create function private.due_community_rewards(p_user_id uuid)
returns table (source_id text, is_met boolean)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select e.source_id, e.is_met
  from unnest(private.evaluate_communities(array[p_user_id])) as e
  join private.community_progress as g on g.challenge_id = e.source_id::uuid
  where g.evaluate_after is null or g.evaluate_after >= p_user_id;
end;
$$;
comment on function private.due_community_rewards(uuid) is
  'private.evaluate_communities for one user, without challenges whose evaluation of all participants has not come to this user yet.';

-- Deletion ------------------------------------------------------------------------------------
create function private.erase_participations(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform from private.user_state as s where s.user_id = p_user_id for update;
  insert into private.outbox (user_id, communities)
  select p_user_id, array_agg((v.challenge_id, c.board, v.province, 0, -1, v.contribution)::private.community_change)
  from private.contributions as v
  join public.community_challenges as c on c.id = v.challenge_id
  where v.user_id = p_user_id
  having count(*) > 0;
  delete from private.participations as p where p.user_id = p_user_id;
end;
$$;
comment on function private.erase_participations(uuid) is
  'Deletes the participations of a user who is being deleted, before their state row. What they contributed stays in the totals.';
