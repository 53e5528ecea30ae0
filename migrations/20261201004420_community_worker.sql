-- The worker's part: totals of community challenges, milestones as facts, messages to participants.

create function private.fold_communities(pending private.outbox[])
returns private.message[]
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  challenge_ids uuid[];
  messages private.message[];
begin
  with changes as materialized (
    select x.challenge_id, x.province, sum(x.contribution)::bigint as contribution, sum(x.people)::bigint as people,
           sum(x.erased)::bigint as erased
    from unnest(pending) as o
    cross join lateral unnest(o.communities) as x
    group by x.challenge_id, x.province
  ), folded as (
    insert into private.community_totals as t (challenge_id, province, total, participants, erased)
    select x.challenge_id, x.province, x.contribution, x.people, x.erased from changes as x
    on conflict (challenge_id, province) do update
      set total = t.total + excluded.total,
          participants = t.participants + excluded.participants,
          erased = t.erased + excluded.erased
  )
  select array_agg(distinct x.challenge_id) into challenge_ids from changes as x;
  if challenge_ids is null then
    return null;
  end if;

  with reached as (
    insert into private.community_facts as f (challenge_id, milestone)
    select c.id, m.milestone
    from public.community_challenges as c
    cross join lateral (
      select sum(t.total)::bigint as total from private.community_totals as t where t.challenge_id = c.id) as s
    cross join lateral unnest(carbon.reached_milestones(s.total, c.target_value, c.milestones)) as m (milestone)
    where c.id = any (challenge_ids) and c.status = 'active'
    on conflict (challenge_id, milestone) do nothing
    returning f.*
  ), noted as (
    update private.community_progress as g
    set is_waiting = true,
        evaluate_after = case when m.has_target then '00000000-0000-0000-0000-000000000000' else g.evaluate_after end,
        evaluation = g.evaluation + m.has_target::integer
    from (select i.challenge_id,
                 exists (select from reached as r where r.challenge_id = i.challenge_id and r.milestone = 100) as has_target
          from unnest(challenge_ids) as i (challenge_id)) as m
    where g.challenge_id = m.challenge_id
  )
  -- From the insertion, so a milestone is announced once, whatever is counted again later.
  select array_agg((null, 'community:' || r.challenge_id, 'community_milestone', jsonb_build_object(
           'challenge_id', r.challenge_id, 'milestone', r.milestone, 'reached_at', r.reached_at))::private.message
           order by r.challenge_id, r.milestone)
  into messages
  from reached as r;
  return messages;
end;
$$;
comment on function private.fold_communities(private.outbox[]) is
  'Adds outbox rows to the totals of community challenges and records milestones that they reach; returns the messages '
  'about these (null = none). Called by the worker, under the boards'' lock.';

create function private.take_community_notifications()
returns private.message[]
language plpgsql
set search_path = ''
as $$
declare
  messages private.message[];
begin
  with sent as (
    update private.community_progress as g set is_waiting = false, sent_at = now()
    where g.is_waiting and g.sent_at <= now() - interval '5 seconds'
    returning g.challenge_id
  )
  select array_agg((null, 'community:' || c.id, 'community_progress', jsonb_build_object(
           'challenge_id', c.id, 'total', s.total, 'target', c.target_value,
           'percent', carbon.community_percent(s.total, c.target_value), 'as_of', now()))::private.message order by c.id)
  into messages
  from sent as n
  join public.community_challenges as c on c.id = n.challenge_id
  cross join lateral (
    select coalesce(sum(t.total), 0)::bigint as total from private.community_totals as t where t.challenge_id = c.id) as s;
  return messages;
end;
$$;
comment on function private.take_community_notifications() is
  'Returns a community_progress message for each challenge whose total has changed, at most one every five seconds and challenge; null = none.';

-- The invariant of totals -----------------------------------------------------------------------
create function private.recounted_communities(challenge_ids uuid[])
returns setof private.community_totals
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  with pending as (
    select x.challenge_id, x.province, x.contribution, x.people, x.erased
    from private.outbox as o
    cross join lateral unnest(o.communities) as x
    where o.id >= (select s.low_water_mark from private.worker_state as s)
      and (challenge_ids is null or x.challenge_id = any (challenge_ids))
  ), parts as (
    select p.challenge_id, p.province, p.contribution as total, 1::bigint as participants, 0::bigint as erased
    from private.contributions as p
    where challenge_ids is null or p.challenge_id = any (challenge_ids)
    union all
    select t.challenge_id, t.province, t.erased, 0, t.erased from private.community_totals as t
    where challenge_ids is null or t.challenge_id = any (challenge_ids)
    union all
    -- What is pending is in the participations already; what erased accounts leave behind is in them no more.
    select x.challenge_id, x.province, x.erased - x.contribution, -x.people, 0 from pending as x
  )
  select p.challenge_id, p.province, sum(p.total)::bigint, sum(p.participants)::bigint, sum(p.erased)::bigint
  from parts as p
  group by p.challenge_id, p.province
  having sum(p.participants) <> 0 or sum(p.total) <> 0 or sum(p.erased) <> 0;
end;
$$;
comment on function private.recounted_communities(uuid[]) is
  'What the totals of these community challenges (null = all) must be, so that together with pending changes they equal '
  'the contributions and what erased accounts have left. Reads all their participations: for tests, operators and repairs.';

create function private.check_communities()
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'what', concat_ws(' ', 'community total', coalesce(m.challenge_id, t.challenge_id), coalesce(m.province, t.province)),
      'expected', jsonb_build_array(coalesce(m.total, 0), coalesce(m.participants, 0)),
      'found', jsonb_build_array(coalesce(t.total, 0), coalesce(t.participants, 0)))), '[]')
    from private.recounted_communities(null) as m
    full join private.community_totals as t
      on t.challenge_id = m.challenge_id and coalesce(t.province, '') = coalesce(m.province, '')
    where (coalesce(m.total, 0), coalesce(m.participants, 0)) <> (coalesce(t.total, 0), coalesce(t.participants, 0)));
end;
$$;
comment on function private.check_communities() is
  'Differences between the totals of community challenges, pending changes included, and their participations: [{what, expected, found}] with [total, participants].';

create function private.repair_communities(challenge_ids uuid[] default null)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  repaired integer;
begin
  insert into private.community_totals as t (challenge_id, province, total, participants, erased)
  select w.challenge_id, w.province, w.total, w.participants, w.erased
  from (
    select r.* from private.recounted_communities(challenge_ids) as r
    union all
    select o.challenge_id, o.province, 0, 0, 0 from private.community_totals as o
    where (challenge_ids is null or o.challenge_id = any (challenge_ids)) and not exists (
      select from private.recounted_communities(challenge_ids) as r
      where r.challenge_id = o.challenge_id and r.province is not distinct from o.province)) as w
  on conflict (challenge_id, province) do update set total = excluded.total, participants = excluded.participants
  where (t.total, t.participants) <> (excluded.total, excluded.participants);
  get diagnostics repaired = row_count;
  return repaired;
end;
$$;
comment on function private.repair_communities(uuid[]) is
  'Sets the totals of these community challenges (null = all) to what private.recounted_communities() requires; returns how many rows it changed. The caller holds the boards'' lock.';
