-- The invariant of boards, executable: what they must be by the sums of all users, whether they are, how to repair
-- them, and how to rebuild them.

create function private.recount_boards(user_ids uuid[], today date)
returns table (user_id uuid, board integer, entries bigint, credits bigint)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return query
  select r.user_id, r.board, sum(r.entries)::bigint, sum(r.credits)::bigint
  from (
    select d.user_id, b.board, d.entries::bigint, d.credits
    from public.user_days as d, unnest(carbon.boards_of(d.local_date, d.province, today)) as b (board)
    where d.user_id = any (user_ids)
    union all
    select t.user_id, carbon.board_id('all_time', today, null), 0, t.rewards
    from private.user_state as t
    where t.user_id = any (user_ids) and t.rewards <> 0
    union all
    select p.user_id, c.board, 1, p.contribution
    from private.contributions as p
    join public.community_challenges as c on c.id = p.challenge_id
    where p.user_id = any (user_ids)
      and not exists (select from carbon.dropped_boards(today) as d where c.board >= d.first_board and c.board < d.before_board)) as r
  group by r.user_id, r.board
  having sum(r.entries) <> 0 or sum(r.credits) <> 0;
end;
$$;
comment on function private.recount_boards(uuid[], date) is
  'These users'' scores on every retained board, added up from their days, rewards and contributions.';

create function private.pending_deltas(user_ids uuid[])
returns table (user_id uuid, days date[], provinces text[], entries bigint[], credits bigint[], rewards bigint,
               challenge_boards integer[], contributions bigint[], joined bigint[])
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  pending private.outbox[];
begin
  pending := array(
    select o from private.outbox as o
    where o.id >= (select s.low_water_mark from private.worker_state as s) and o.user_id = any (user_ids));
  return query
  select d.*, c.challenge_boards, c.contributions, c.joined
  from (
    select o.user_id, array_agg(o.local_date), array_agg(o.province), array_agg(o.entries::bigint), array_agg(o.credits),
           sum(o.rewards)::bigint
    from unnest(pending) as o
    group by o.user_id) as d
  left join private.challenge_deltas(pending) as c on c.user_id = d.user_id;
end;
$$;
comment on function private.pending_deltas(uuid[]) is
  'The outbox rows of these users, in the form that carbon.fold_scores takes.';

create function private.board_differences(user_ids uuid[], today date)
returns table (user_id uuid, board integer, expected jsonb, found jsonb)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return query
  -- must: what the sums of days and rewards require. is_now: what the boards show once the outbox is folded.
  with must as (
    select r.user_id, r.board, r.entries, r.credits, p.is_listed and r.entries > 0 as is_listed
    from private.recount_boards(user_ids, today) as r
    join private.board_people as p on p.user_id = r.user_id
  ), is_now as (
    -- Folded and pending together. A user whose profile is gone has no scores once that is folded.
    select u.user_id, b.board, b.credits, b.entries,
           b.entries > 0 and case when d.user_id is null then s.is_listed else p.is_listed end as is_listed
    from unnest(user_ids) as u (user_id)
    left join private.board_scores as s on s.user_id = u.user_id
    left join private.pending_deltas(user_ids) as d on d.user_id = u.user_id
    left join private.board_people as p on p.user_id = u.user_id
    cross join lateral carbon.fold_scores(
      coalesce(s.boards, '{}'), coalesce(s.credits, '{}'), coalesce(s.entries, '{}'), coalesce(d.days, '{}'),
      coalesce(d.provinces, '{}'), coalesce(d.entries, '{}'), coalesce(d.credits, '{}'), coalesce(d.rewards, 0),
      coalesce(d.challenge_boards, '{}'), coalesce(d.contributions, '{}'), coalesce(d.joined, '{}'), today) as f
    cross join lateral unnest(f.boards, f.credits, f.entries) as b (board, credits, entries)
    where p.user_id is not null or d.user_id is null
  )
  select coalesce(m.user_id, n.user_id), coalesce(m.board, n.board),
         case when m.user_id is not null then jsonb_build_array(m.entries, m.credits, m.is_listed) end,
         case when n.user_id is not null then jsonb_build_array(n.entries, n.credits, n.is_listed) end
  from must as m
  full join is_now as n on n.user_id = m.user_id and n.board = m.board
  where m.user_id is null or n.user_id is null
     or (m.entries, m.credits, m.is_listed) is distinct from (n.entries, n.credits, n.is_listed)
  union all
  -- A score without a place in the order of its board.
  select s.user_id, s.board, jsonb_build_array(s.entries, s.credits, s.is_listed), null
  from private.board_places as s
  where s.user_id = any (user_ids)
    and not exists (select from carbon.dropped_boards(today) as d where s.board >= d.first_board and s.board < d.before_board)
    and not exists (
      select from private.board_order as o
      where o.board = s.board and o.is_listed = s.is_listed and -o.credits = -s.credits and o.user_id = s.user_id);
end;
$$;
comment on function private.board_differences(uuid[], date) is
  'Where these users'' boards, pending changes included, differ from a recount: each [entries, credits, is_listed], null = no row, or no place in the board''s order.';

create function private.check_boards(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'what', concat_ws(' ', 'board', coalesce(s.timeframe, 'of community challenge ' || c.id), s.first_day, s.province),
      'expected', d.expected, 'found', d.found)), '[]')
    from private.board_differences(array[p_user_id], carbon.local_date(now(), carbon.default_time_zone())) as d
    left join lateral carbon.board_scope(d.board) as s on true
    left join public.community_challenges as c on c.board = d.board);
end;
$$;
comment on function private.check_boards(uuid) is
  'Differences between this user''s boards, pending changes included, and a recount of their days and rewards: [{what, expected, found}] with [entries, credits, is_listed].';

create function private.required_scores(user_ids uuid[], today date)
returns table (user_id uuid, is_listed boolean, boards integer[], credits bigint[], entries bigint[])
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return query
  select p.user_id, p.is_listed, f.boards, f.credits, f.entries
  from private.board_people as p
  left join (
    select x.user_id, array_agg(x.board) as boards, array_agg(x.credits) as credits, array_agg(x.entries) as entries
    from private.recount_boards(user_ids, today) as x
    group by x.user_id) as r on r.user_id = p.user_id
  left join private.pending_deltas(user_ids) as d on d.user_id = p.user_id
  -- Without pending changes: they are added when they are folded.
  cross join lateral carbon.fold_scores(
    coalesce(r.boards, '{}'), coalesce(r.credits, '{}'), coalesce(r.entries, '{}'), coalesce(d.days, '{}'), coalesce(d.provinces, '{}'),
    coalesce((select array_agg(-e.value order by e.place) from unnest(d.entries) with ordinality as e (value, place)), '{}'),
    coalesce((select array_agg(-e.value order by e.place) from unnest(d.credits) with ordinality as e (value, place)), '{}'),
    -coalesce(d.rewards, 0), coalesce(d.challenge_boards, '{}'),
    coalesce((select array_agg(-e.value order by e.place) from unnest(d.contributions) with ordinality as e (value, place)), '{}'),
    coalesce((select array_agg(-e.value order by e.place) from unnest(d.joined) with ordinality as e (value, place)), '{}'),
    today) as f
  where p.user_id = any (user_ids);
end;
$$;
comment on function private.required_scores(uuid[], date) is
  'The scores that must be stored for these users so that, together with pending changes, they equal a recount.';

create function private.repair_boards(user_ids uuid[])
returns integer
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
  changes private.score_change[];
begin
  perform private.lock_boards(true);
  select array_agg((u.user_id, s.user_id is null, coalesce(r.boards, '{}') = '{}', coalesce(r.is_listed, false),
                    r.boards, r.credits, r.entries, c.changed_boards, c.credits_before, c.listed_before,
                    c.credits_after, c.listed_after)::private.score_change)
  into changes
  from unnest(user_ids) as u (user_id)
  left join private.board_scores as s on s.user_id = u.user_id
  left join private.required_scores(user_ids, today) as r on r.user_id = u.user_id
  -- From the stored places, regardless of the scores.
  cross join lateral (
    select coalesce(array_agg(p.board), '{}') as boards, coalesce(array_agg(p.credits), '{}') as credits,
           coalesce(array_agg(p.entries), '{}') as entries
    from private.board_places as p
    where p.user_id = u.user_id and exists (
      select from private.board_order as o
      where o.board = p.board and o.is_listed = p.is_listed and -o.credits = -p.credits and o.user_id = p.user_id)) as o
  cross join lateral carbon.place_changes(
    o.boards, o.credits, o.entries, coalesce(s.is_listed, false),
    coalesce(r.boards, '{}'), coalesce(r.credits, '{}'), coalesce(r.entries, '{}'), coalesce(r.is_listed, false), today) as c;
  perform private.apply_score_changes(changes);
  return cardinality(user_ids);
end;
$$;
comment on function private.repair_boards(uuid[]) is
  'Repairs the scores and places of those of these users whose boards differ, and returns how many it repaired; waits for a running slice. private.repair_nodes repairs trees.';

-- Trees -------------------------------------------------------------------------------------
create function private.recount_nodes(board_id integer)
returns setof private.board_nodes
language plpgsql stable
set search_path = ''
set enable_seqscan = off
set work_mem = '64MB'
as $$
begin
  return query
  select s.board, s.level::smallint, s.block >> 8, carbon.board_node(array_agg((s.block & 255)::integer), array_agg(s.people))
  from (
    select c.board, l.level, c.credits >> (8 * l.level) as block, sum(c.people)::integer as people
    from (select b.board, b.credits, count(*) as people from private.board_order as b
          where b.board = board_id and b.is_listed group by b.board, b.credits) as c
    cross join generate_series(0, 2) as l (level)
    group by c.board, l.level, c.credits >> (8 * l.level)) as s
  group by s.board, s.level, s.block >> 8;
end;
$$;
comment on function private.recount_nodes(integer) is
  'The tree of a board, counted from its order in one pass over the board.';

create function private.repair_nodes(board_id integer)
returns void
language plpgsql
set search_path = ''
as $$
begin
  delete from private.board_order as o
  where o.board = board_id and not exists (
    select from private.board_places as s
    where s.user_id = o.user_id and s.board = o.board and s.credits = o.credits and s.is_listed = o.is_listed);
  delete from private.board_nodes as n where n.board = board_id;
  insert into private.board_nodes select n.* from private.recount_nodes(board_id) as n;
end;
$$;
comment on function private.repair_nodes(integer) is
  'Deletes places without a score from the order of a board, and recounts its tree. The caller must hold the boards'' lock.';

create function private.node_differs(board_id integer, node_level integer, node_number bigint)
returns boolean
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  found_people integer[];
  expected integer[];
begin
  select n.people into found_people from private.board_nodes as n
  where n.board = board_id and n.level = node_level and n.node = node_number;
  if node_level = 0 then
    select carbon.board_node(array_agg((c.credits & 255)::integer), array_agg(c.people)) into expected
    -- Only places that have a score.
    from (select o.credits, count(*)::integer as people
          from private.board_order as o
          join private.board_scores as s on s.user_id = o.user_id
          cross join lateral array_position(s.boards, board_id) as a (place)
          where o.board = board_id and o.is_listed
            and -o.credits between - ((node_number << 8) + 255) and - (node_number << 8)
            and s.credits[a.place] = o.credits and s.is_listed and s.entries[a.place] > 0
          group by o.credits) as c;
  else
    select carbon.board_node(array_agg((n.node & 255)::integer), array_agg(carbon.people_after(n.people, -1)::integer))
    into expected
    from private.board_nodes as n
    where n.board = board_id and n.level = node_level - 1 and n.node between node_number << 8 and (node_number << 8) + 255;
  end if;
  return coalesce(found_people, carbon.board_node('{}', '{}')) <> coalesce(expected, carbon.board_node('{}', '{}'));
end;
$$;
comment on function private.node_differs(integer, integer, bigint) is
  'Whether a node of a board''s tree differs from the level below: for level 0 the order of the board (places that have a score), for the others the nodes one level down.';

create function private.check_all_boards()
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return (
    with people as (
      select t.user_id from private.user_state as t
      union select s.user_id from private.board_scores as s
      union select o.user_id from private.outbox as o
    ), nodes as (
      select n.board, n.level, n.node from private.board_nodes as n
      union
      select distinct s.board, l.level, s.credits >> (8 * (l.level + 1))
      from private.board_order as s, generate_series(0, 2) as l (level)
      where s.is_listed
    )
    select coalesce(jsonb_agg(d.difference), '[]')
    from (
      select to_jsonb(b) as difference
      from private.board_differences((select array_agg(p.user_id) from people as p),
                                     carbon.local_date(now(), carbon.default_time_zone())) as b
      union all
      select to_jsonb(n) from nodes as n where private.node_differs(n.board, n.level, n.node)
      union all
      select c.difference from jsonb_array_elements(private.check_communities()) as c (difference)
      union all
      select to_jsonb(o)
      from private.board_order as o
      where not exists (
        select from private.board_places as s
        where s.user_id = o.user_id and s.board = o.board and s.credits = o.credits and s.is_listed = o.is_listed)
        and not exists (
          select from carbon.dropped_boards(carbon.local_date(now(), carbon.default_time_zone())) as d
          where o.board >= d.first_board and o.board < d.before_board)) as d);
end;
$$;
comment on function private.check_all_boards() is
  'Every difference between boards and a recount of all users, between scores and orders, between trees and orders, and '
  'between totals of community challenges and contributions; [] if there are none. Scans all users: for tests and operators.';

-- Rebuild -----------------------------------------------------------------------------------
create function private.rebuild_boards()
returns bigint
language plpgsql security definer
set search_path = ''
set work_mem = '256MB'
set maintenance_work_mem = '1GB'
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
  ceiling bigint;
  places_written bigint;
begin
  perform private.lock_boards(true);
  ceiling := private.next_outbox_id();
  truncate private.board_scores, private.board_order, private.board_nodes, private.board_notifications;
  drop index private.board_order_places;

  -- One statement, one snapshot: it empties the outbox of exactly those rows that the sums already include, and
  -- retains their messages.
  with taken as (
    delete from private.outbox as o where o.change is null and o.first_reward is null
  ), retained as (
    update private.outbox as o set local_date = null, entries = 0, credits = 0, rewards = 0, communities = null
    where o.change is not null or o.first_reward is not null
  ), totals as (
    insert into private.community_totals as t (challenge_id, province, total, participants, erased)
    select c.challenge_id, c.province, sum(c.total)::bigint, sum(c.participants)::bigint, sum(c.erased)::bigint
    from (
      select p.challenge_id, p.province, p.contribution as total, 1 as participants, 0 as erased
      from private.contributions as p
      union all
      select o.challenge_id, o.province, o.erased, 0, o.erased from private.community_totals as o
      union all
      select x.challenge_id, x.province, x.erased, 0, x.erased from private.outbox as o cross join lateral unnest(o.communities) as x) as c
    group by c.challenge_id, c.province
    on conflict (challenge_id, province) do update
      set total = excluded.total, participants = excluded.participants, erased = excluded.erased
  )
  insert into private.board_scores (user_id, is_listed, boards, credits, entries)
  select s.user_id, p.is_listed, array_agg(s.board order by s.board), array_agg(s.credits order by s.board),
         array_agg(s.entries order by s.board)
  from (
    select t.user_id, carbon.board_id('all_time', today, null) as board, t.credits + t.rewards as credits, t.entries
    from private.user_state as t
    where t.entries <> 0 or t.rewards <> 0
    union all
    select d.user_id, carbon.board_id('all_time', today, d.province), sum(d.credits)::bigint, sum(d.entries)
    from public.user_days as d
    where d.province is not null
    group by d.user_id, d.province
    union all
    select d.user_id, b.board, sum(d.credits)::bigint, sum(d.entries)
    from public.user_days as d, unnest(carbon.boards_of(d.local_date, d.province, today)) as b (board)
    where d.local_date >= (select p.first_day from carbon.board_period('monthly', today, 1) as p)
      and b.board < carbon.board_id('all_time', today, null)
    group by d.user_id, b.board
    union all
    select p.user_id, c.board, p.contribution, 1
    from private.contributions as p
    join public.community_challenges as c on c.id = p.challenge_id
    where not exists (select from carbon.dropped_boards(today) as d where c.board >= d.first_board and c.board < d.before_board)) as s
  join private.board_people as p on p.user_id = s.user_id
  group by s.user_id, p.is_listed;

  insert into private.board_order (board, is_listed, credits, user_id)
  select p.board, p.is_listed, p.credits, p.user_id from private.board_places as p;
  get diagnostics places_written = row_count;
  create unique index board_order_places on private.board_order (board, is_listed, (-credits), user_id);
  insert into private.board_nodes
  select n.*
  from (select distinct s.board from private.board_order as s) as b
  cross join lateral private.recount_nodes(b.board) as n;
  update private.worker_state as s set dropped_on = today;
  perform private.advance_low_water_mark(ceiling);
  return places_written;
end;
$$;
comment on function private.rebuild_boards() is
  'Rebuilds every board from the sums of all users, and the totals of community challenges, and returns the number of places: after a restore, or initially. Readers wait until it ends; writers do not.';

-- Slices ------------------------------------------------------------------------------------
alter table private.job_state add column last_board integer, add column last_node bigint;
comment on column private.job_state.last_board is
  'The board at whose tree the last slice ended; null = start from the beginning.';
comment on column private.job_state.last_node is 'The last level-0 node that was checked.';
insert into private.job_state (job) values ('refresh_leaderboards');

create function private.next_node(after_board integer, after_node bigint, out board integer, out node bigint)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  -- Stored nodes and those that should exist: a missing node shows in the order.
  node := greatest(
    (select max(n.node) from private.board_nodes as n where n.board = after_board and n.level = 0 and n.node < after_node),
    (select s.credits >> 8 from private.board_order as s
     where s.board = after_board and s.is_listed and -s.credits > - (after_node << 8) order by -s.credits limit 1));
  if node is not null then
    board := after_board;
    return;
  end if;
  board := least(
    (select min(n.board) from private.board_nodes as n where n.board > coalesce(after_board, -1)),
    (select min(s.board) from private.board_order as s where s.board > coalesce(after_board, -1)));
  node := greatest(
    (select max(n.node) from private.board_nodes as n where n.board = next_node.board and n.level = 0),
    (select s.credits >> 8 from private.board_order as s
     where s.board = next_node.board and s.is_listed order by -s.credits limit 1));
end;
$$;
comment on function private.next_node(integer, bigint) is
  'The next lower level-0 node of a board, or the highest node of the next board (null if it lists no users); board null = none left.';

create function private.refresh_nodes(max_rows integer, inout from_board integer, inout from_node bigint, out repaired integer)
language plpgsql
set search_path = ''
as $$
begin
  repaired := 0;
  for turn in 1..max_rows loop
    select n.board, n.node into from_board, from_node from private.next_node(from_board, from_node) as n;
    exit when from_board is null;
    if from_node is null then
      from_node := -1;
    elsif private.node_differs(from_board, 0, from_node)
       or private.node_differs(from_board, 1, from_node >> 8)
       or private.node_differs(from_board, 2, from_node >> 16) then
      perform private.repair_nodes(from_board);
      repaired := repaired + 1;
    end if;
  end loop;
end;
$$;
comment on function private.refresh_nodes(integer, integer, bigint) is
  'Checks the next nodes of trees, recounts trees that differ from the order of their boards, and returns '
  'where it stopped (null = at the end) and how many it repaired. The caller must hold the boards'' lock.';

create function private.refresh_leaderboards(max_users integer default 1000)
returns jsonb
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  size integer := least(greatest(max_users, 1), 10000);
  state private.job_state;
  merged integer;
  user_ids uuid[];
  differing uuid[];
  nodes record;
  result jsonb;
begin
  select s.* into state from private.job_state as s where s.job = 'refresh_leaderboards' for update skip locked;
  if not found then
    return '{"busy": true, "merged": 0, "checked": 0, "repaired": 0, "repaired_boards": 0, "finished": false}';
  end if;
  -- Before reading any board table: private.rebuild_boards() takes this lock first and then locks the tables
  -- exclusively.
  perform private.lock_boards(true);
  merged := coalesce(private.merge_boards(100000), 0);

  -- Users who have a state row, and users who are on a board without one.
  user_ids := array(
    (select t.user_id from private.user_state as t
     where state.last_user is null or t.user_id > state.last_user order by t.user_id limit size)
    union
    (select s.user_id from private.board_scores as s
     where state.last_user is null or s.user_id > state.last_user order by s.user_id limit size)
    order by user_id limit size);
  differing := array(
    select distinct d.user_id from private.board_differences(user_ids, carbon.local_date(now(), carbon.default_time_zone())) as d);
  result := jsonb_build_object(
    'busy', false, 'merged', merged, 'checked', cardinality(user_ids),
    'repaired', case when differing <> '{}' then private.repair_boards(differing) else 0 end,
    'finished', cardinality(user_ids) < size);
  select n.* into nodes from private.refresh_nodes(greatest(size / 100, 1), state.last_board, state.last_node) as n;
  result := result || jsonb_build_object('repaired_boards', nodes.repaired);
  if differing <> '{}' or nodes.repaired > 0 then
    perform private.audit('boards_repaired', null, result);
  end if;

  update private.job_state as s
  set last_user = case when not (result ->> 'finished')::boolean then user_ids[cardinality(user_ids)] end,
      last_board = nodes.from_board, last_node = nodes.from_node, last_run_at = now(), last_result = result
  where s.job = state.job;
  return result;
end;
$$;
grant execute on function private.refresh_leaderboards(integer) to service_role;
select private.expose(
  'private.refresh_leaderboards(integer)',
  'For the service role and crontabs: boards are fresh without it. Folds pending changes, takes the next '
  'slice of max_users users (1 to 10,000), compares their boards with a recount of their days and rewards, '
  'then some nodes of the boards'' trees with their scores, and repairs differences. Returns {busy, merged, '
  'checked, repaired, repaired_boards, finished}; can be run at any time, also concurrently.');

grant execute on function private.check_all_boards(), private.rebuild_boards() to service_role;

select cron.schedule('carbon_refresh_boards', '3-59/5 18-22 * * *', $$select public.refresh_leaderboards(5000)$$);
