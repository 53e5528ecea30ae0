-- What entries contribute to community challenges: moved in the entry's transaction for the participant's own rows, and
-- recomputed from the entries by the invariant.

create function private.add_contributions(p_user_id uuid, entry public.waste_entries)
returns private.contributed
language plpgsql
set search_path = ''
-- As in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
  contributed private.contributed;
begin
  with moves as materialized (
    select p.challenge_id, p.province, p.contribution, c.board, c.min_contribution,
           carbon.contribution(c.rule, greatest(c.start_date, p.joined_on), c.end_date, c.province, entry.local_date,
                               entry.province, entry.category_id, entry.disposal_method, (entry.weight_kg * 1000)::integer,
                               entry.carbon_credits, (entry.co2e_avoided_kg * 1000000)::bigint) as moved
    from public.community_participations as p
    join public.community_challenges as c on c.id = p.challenge_id and c.closes_on >= today
    where p.user_id = p_user_id
  ), written as (
    update public.community_participations as p
    set contribution = m.contribution + m.moved
    from moves as m
    where p.challenge_id = m.challenge_id and p.user_id = p_user_id and m.moved <> 0
  )
  select array_agg((m.challenge_id, m.board, m.province, m.moved, 0, 0)::private.community_change),
         coalesce(bool_or((m.contribution < m.min_contribution) <> (m.contribution + m.moved < m.min_contribution)
                          and exists (select from private.community_facts as f
                                      where f.challenge_id = m.challenge_id and f.milestone = 100)), false)
  into contributed
  from moves as m
  where m.moved <> 0;
  return contributed;
end;
$$;
comment on function private.add_contributions(uuid, public.waste_entries) is
  'Adds a new entry to the contributions of its user, whose lock the caller holds.';

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
    select p.user_id, p.challenge_id, c.board, p.province, sum(
             e.side * carbon.contribution(c.rule, greatest(c.start_date, p.joined_on), c.end_date, c.province, e.local_date,
                                          e.province, e.category_id, e.disposal_method, (e.weight_kg * 1000)::integer,
                                          e.carbon_credits, (e.co2e_avoided_kg * 1000000)::bigint))::bigint as moved
    from (select 1 as side, n.* from unnest(new_entries) as n union all select -1, o.* from unnest(old_entries) as o) as e
    join public.community_participations as p on p.user_id = e.user_id
    join public.community_challenges as c on c.id = p.challenge_id and c.closes_on >= today
    where e.batch_id is null
    group by p.user_id, p.challenge_id, c.board, p.province
  ), written as (
    update public.community_participations as p
    set contribution = p.contribution + m.moved
    from moves as m
    where p.challenge_id = m.challenge_id and p.user_id = m.user_id and m.moved <> 0
  )
  insert into private.outbox (user_id, communities)
  select m.user_id, array_agg((m.challenge_id, m.board, m.province, m.moved, 0, 0)::private.community_change)
  from moves as m
  where m.moved <> 0
  group by m.user_id;
end;
$$;
comment on function private.move_contributions(public.waste_entries[], public.waste_entries[]) is
  'Moves contributions by what a statement over several entries removed and added, and appends an outbox row for each '
  'user whose contributions changed. The caller holds the users'' locks and evaluates their rewards afterwards.';

create function private.set_communities_until(user_ids uuid[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
  update private.user_state as s
  set communities_until = (
    select max(c.closes_on)
    from public.community_participations as p
    join public.community_challenges as c on c.id = p.challenge_id
    where p.user_id = s.user_id)
  where s.user_id = any (user_ids);
end;
$$;
comment on function private.set_communities_until(uuid[]) is
  'Sets the last day on which entries of these users can move a contribution; null without participations.';

-- Rewards -----------------------------------------------------------------------------------
create function private.evaluate_communities(user_ids uuid[])
returns private.reward_evaluation[]
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return array(
    with candidates as (
      select p.user_id, p.challenge_id from public.community_participations as p where p.user_id = any (user_ids)
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
    left join public.community_participations as p on p.challenge_id = n.challenge_id and p.user_id = n.user_id
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
  from public.community_participations as p
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
      select 'community ' || m.challenge_id as what, to_jsonb(m.contribution) as expected, to_jsonb(p.contribution) as found
      from private.expected_contributions(p_user_id) as m
      join public.community_participations as p on p.challenge_id = m.challenge_id and p.user_id = p_user_id
      where m.contribution <> p.contribution
      union all
      select 'user_state.communities_until', to_jsonb(w.communities_until), to_jsonb(s.communities_until)
      from private.user_state as s
      cross join lateral (
        select max(c.closes_on) as communities_until
        from public.community_participations as p
        join public.community_challenges as c on c.id = p.challenge_id
        where p.user_id = p_user_id) as w
      where s.user_id = p_user_id and w.communities_until is distinct from s.communities_until
    )
    select coalesce(jsonb_agg(to_jsonb(d)), '[]') from differences as d);
end;
$$;
comment on function private.check_contributions(uuid) is
  'Differences between this user''s contributions and their entries, in challenges whose contributions still move.';

create function private.repair_contributions(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  with moves as materialized (
    select m.*, m.contribution - p.contribution as moved
    from private.expected_contributions(p_user_id) as m
    join public.community_participations as p on p.challenge_id = m.challenge_id and p.user_id = p_user_id
    where m.contribution <> p.contribution
  ), written as (
    update public.community_participations as p
    set contribution = m.contribution
    from moves as m
    where p.challenge_id = m.challenge_id and p.user_id = p_user_id
  )
  insert into private.outbox (user_id, communities)
  select p_user_id, array_agg((m.challenge_id, m.board, m.province, m.moved, 0, 0)::private.community_change)
  from moves as m
  having count(*) > 0;
  perform private.set_communities_until(array[p_user_id]);
end;
$$;
comment on function private.repair_contributions(uuid) is
  'Sets contributions to what the user''s entries come to. The caller holds the user''s lock and evaluates rewards afterwards.';

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
  with removed as (
    delete from public.community_participations as p
    using public.community_challenges as c
    where p.user_id = p_user_id and c.id = p.challenge_id
    returning p.challenge_id, c.board, p.province, p.contribution
  )
  insert into private.outbox (user_id, communities)
  select p_user_id, array_agg((r.challenge_id, r.board, r.province, 0, -1, r.contribution)::private.community_change)
  from removed as r
  having count(*) > 0;
end;
$$;
comment on function private.erase_participations(uuid) is
  'Deletes the participations of a user who is being deleted. What they contributed stays in the totals.';
