-- The worker's slices: each call folds a bounded number of outbox rows into scores and trees and turns them into
-- messages, one call at a time. A slice is one transaction, so rows are gone from the outbox exactly if they are in
-- the scores and their messages are with Realtime.

-- Vacuum by row count, not by a share of the table: trees are a few pages that change with every slice, and a score
-- changes with each entry of its user; with the default, scores of 18 MB took up 188 MB.
alter table private.board_nodes set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table private.board_notifications set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
alter table private.board_order set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

create type private.score_change as (
  user_id uuid,
  is_new boolean,
  is_gone boolean,
  is_listed boolean,
  boards integer[],
  credits bigint[],
  entries bigint[],
  changed_boards integer[],
  credits_before bigint[],
  listed_before boolean[],
  credits_after bigint[],
  listed_after boolean[]
);
comment on type private.score_change is
  'A user''s scores with pending changes applied, and where that changes their places, in parallel lists '
  '(null credits = not on that board). is_new = they have no row yet; is_gone = their row is to be deleted '
  '(no profile, or no scores left).';

-- One statement for scores, places and trees: each part writes another table or other rows, so their order does not
-- matter, and the changes are expanded once.
create function private.apply_score_changes(changes private.score_change[])
returns integer[]
language plpgsql
set search_path = ''
set enable_seqscan = off
set work_mem = '64MB'
as $$
declare
  moved_on integer[];
begin
  with changed as materialized (
    select c.* from unnest(changes) as c
  ), removed as (
    delete from private.board_scores as s using changed as c where c.is_gone and s.user_id = c.user_id
  ), updated as (
    update private.board_scores as s
    set is_listed = c.is_listed, boards = c.boards, credits = c.credits, entries = c.entries
    from changed as c
    where not c.is_gone and not c.is_new and s.user_id = c.user_id
  ), added as (
    insert into private.board_scores (user_id, is_listed, boards, credits, entries)
    select c.user_id, c.is_listed, c.boards, c.credits, c.entries from changed as c where c.is_new and not c.is_gone
  ), places as materialized (
    select c.user_id, p.*
    from changed as c
    cross join lateral unnest(c.changed_boards, c.credits_before, c.listed_before, c.credits_after, c.listed_after)
      as p (board, credits_before, listed_before, credits_after, listed_after)
  ), places_left as (
    delete from private.board_order as o
    using places as p
    where p.credits_after is null
      and o.board = p.board and o.is_listed = p.listed_before and -o.credits = -p.credits_before and o.user_id = p.user_id
  ), places_moved as (
    update private.board_order as o
    set credits = p.credits_after, is_listed = p.listed_after
    from places as p
    where p.credits_after is not null
      and o.board = p.board and o.is_listed = p.listed_before and -o.credits = -p.credits_before and o.user_id = p.user_id
  ), places_taken as (
    insert into private.board_order (board, is_listed, credits, user_id)
    select p.board, p.listed_after, p.credits_after, p.user_id
    from places as p
    where p.credits_before is null
    -- A repair may find a correct place although the score for it is missing.
    on conflict do nothing
  ), trees as (
    insert into private.board_nodes as n (board, level, node, people)
    select t.board, t.level, t.node, t.people
    from (select array_agg(p.board) as boards,
                 array_agg(case when p.listed_before then p.credits_before end) as credits_before,
                 array_agg(case when p.listed_after then p.credits_after end) as credits_after
          from places as p
          where p.listed_before or p.listed_after) as m
    cross join lateral carbon.tree_changes(m.boards, m.credits_before, m.credits_after) as t
    on conflict (board, level, node) do update set people = carbon.add_board_nodes(n.people, excluded.people)
  )
  select array_agg(distinct p.board) into moved_on from places as p where p.listed_before or p.listed_after;
  return moved_on;
end;
$$;
comment on function private.apply_score_changes(private.score_change[]) is
  'Writes changes, at most one per user, to scores, orders and trees; returns the boards on which a listed user''s place changed. The caller must hold the boards'' lock.';

create function private.lock_boards(may_wait boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  if may_wait then
    perform pg_advisory_xact_lock(hashtextextended('private.board_scores', 0));
    return true;
  end if;
  return pg_try_advisory_xact_lock(hashtextextended('private.board_scores', 0));
end;
$$;
comment on function private.lock_boards(boolean) is
  'Makes the caller the only writer of boards until its transaction ends. Call it in a separate statement: the next statement''s snapshot then includes everything that the previous holder wrote.';

create function private.next_outbox_id()
returns bigint
language plpgsql
set search_path = ''
as $$
begin
  if pg_current_xact_id_if_assigned() is not null then
    return null;
  end if;
  return (select q.last_value + q.is_called::integer from private.outbox_id_seq as q);
end;
$$;
comment on function private.next_outbox_id() is
  'The number of the next row of private.outbox, read before this transaction has a transaction id; null if it already has one.';

create function private.advance_low_water_mark(ceiling bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- A transaction that appends has written a row before, so it has its transaction id before its outbox number. Hence
  -- every number below the ceiling belongs to a transaction older than this one, which took its id after reading the
  -- ceiling. Once all older ones have ended, their rows are visible, and the lowest remaining row bounds the mark.
  update private.worker_state as s
  set low_water_mark = case when n.is_reached then least(s.next_low_water_mark, n.lowest) else s.low_water_mark end,
      next_low_water_mark = case when n.is_due then least(ceiling, n.lowest) else s.next_low_water_mark end,
      next_low_water_mark_from = case when n.is_due then pg_current_xact_id() else s.next_low_water_mark_from end
  from (
    select c.lowest,
           coalesce(o.next_low_water_mark > o.low_water_mark and pg_snapshot_xmin(c.snapshot) >= o.next_low_water_mark_from, false) as is_reached,
           ceiling is not null and least(ceiling, c.lowest) is distinct from o.next_low_water_mark
             and (o.next_low_water_mark is null or pg_snapshot_xmin(c.snapshot) >= o.next_low_water_mark_from
                  -- A dump restored into another cluster may contain transaction ids that the new cluster has not
                  -- assigned yet.
                  or o.next_low_water_mark_from > pg_snapshot_xmax(c.snapshot)) as is_due
    from private.worker_state as o
    cross join lateral (
      select pg_current_snapshot() as snapshot,
             (select min(q.id) from private.outbox as q where q.id >= o.low_water_mark) as lowest) as c) as n
  where n.is_reached or n.is_due;
end;
$$;
comment on function private.advance_low_water_mark(bigint) is
  'Advances the outbox''s low-water mark to the highest id below which no row can still appear; ceiling = private.next_outbox_id(), null = do not record a new one.';

create function private.mark_boards_changed(boards integer[], today date)
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into private.board_notifications as n (board, is_waiting)
  select b.board, true
  from unnest(boards) as b (board)
  cross join lateral carbon.board_scope(b.board) as s
  where s.first_day is null or today between s.first_day and s.last_day
  on conflict (board) do update set is_waiting = true where not n.is_waiting;
end;
$$;
comment on function private.mark_boards_changed(integer[], date) is
  'Records which boards of the current period changed.';

create function private.take_board_notification()
returns private.message
language plpgsql
set search_path = ''
as $$
declare
  boards jsonb;
begin
  -- All clients subscribe to this topic: one message a second for all boards, instead of one for each of hundreds.
  if (select max(n.sent_at) from private.board_notifications as n) > now() - interval '1 second' then
    return null;
  end if;
  with sent as (
    update private.board_notifications as n set is_waiting = false, sent_at = now() where n.is_waiting returning n.board
  )
  select jsonb_agg(jsonb_build_object(
           'board_type', case when s.province is null then 'global' else 'province' end,
           'timeframe', s.timeframe, 'province', s.province))
  into boards
  from sent as t
  cross join lateral carbon.board_scope(t.board) as s;
  return (null, 'leaderboard:live', 'leaderboard_changed', jsonb_build_object('as_of', now(), 'boards', boards))::private.message;
end;
$$;
comment on function private.take_board_notification() is
  'Returns the leaderboard_changed message that names the boards changed since the last one, at most one a second (null = not yet); it has no personal data.';

create function private.drop_old_boards(today date, max_rows integer)
returns integer
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  dropped integer;
begin
  delete from private.board_order as s
  where s.ctid = any (array(
    select o.ctid
    from carbon.dropped_boards(today) as d
    join private.board_order as o on o.board >= d.first_board and o.board < d.before_board
    limit max_rows));
  get diagnostics dropped = row_count;
  if dropped < max_rows then
    delete from private.board_nodes as n using carbon.dropped_boards(today) as d
    where n.board >= d.first_board and n.board < d.before_board;
    delete from private.board_notifications as n using carbon.dropped_boards(today) as d
    where n.board >= d.first_board and n.board < d.before_board;
    update private.worker_state as s set dropped_on = today;
  end if;
  return dropped;
end;
$$;
comment on function private.drop_old_boards(date, integer) is
  'Deletes at most max_rows places of expired boards, then their trees; returns how many. Safe at any time, '
  'because readers only use the periods of the calendar. Scores drop expired boards the next time they are '
  'written.';

create function private.challenge_deltas(pending private.outbox[])
returns table (user_id uuid, challenge_boards integer[], contributions bigint[], joined bigint[])
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select o.user_id, array_agg(x.board), array_agg(x.contribution), array_agg(x.people)
  from unnest(pending) as o
  cross join lateral unnest(o.communities) as x
  group by o.user_id;
end;
$$;
comment on function private.challenge_deltas(private.outbox[]) is
  'What outbox rows change on contributors'' boards, in the form that carbon.fold_scores takes; no row for users with no such change.';

create function private.folded_scores(pending private.outbox[], today date)
returns private.score_change[]
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return (
    with deltas as (
      -- A row without a day only requests that all places of the user are checked.
      select o.user_id, array_agg(o.local_date) as days, array_agg(o.province) as provinces,
             array_agg(o.entries::bigint) as entries, array_agg(o.credits) as credits, sum(o.rewards)::bigint as rewards
      from unnest(pending) as o
      group by o.user_id
    ), folded as (
      select d.user_id, s.user_id is null as is_new, s.is_listed as was_listed, s.boards as boards_before,
             s.entries as entries_before, p.user_id is null or f.boards = '{}' as is_gone,
             coalesce(p.is_listed, false) as is_listed, f.boards, f.credits, f.entries, c.*
      from deltas as d
      left join private.challenge_deltas(pending) as x on x.user_id = d.user_id
      left join private.board_scores as s on s.user_id = d.user_id
      left join private.board_people as p on p.user_id = d.user_id
      -- A user whose profile is gone has no scores.
      cross join lateral carbon.fold_scores(
        case when p.user_id is null then '{}' else coalesce(s.boards, '{}') end, coalesce(s.credits, '{}'), coalesce(s.entries, '{}'),
        case when p.user_id is null then '{}' else d.days end, d.provinces, d.entries, d.credits,
        case when p.user_id is null then 0 else d.rewards end,
        case when p.user_id is null or x.user_id is null then '{}' else x.challenge_boards end,
        coalesce(x.contributions, '{}'), coalesce(x.joined, '{}'), today) as f
      cross join lateral carbon.place_changes(
        coalesce(s.boards, '{}'), coalesce(s.credits, '{}'), coalesce(s.entries, '{}'), coalesce(s.is_listed, false),
        f.boards, f.credits, f.entries, coalesce(p.is_listed, false), today) as c
    )
    select array_agg((f.user_id, f.is_new, f.is_gone, f.is_listed, f.boards, f.credits, f.entries, f.changed_boards,
                      f.credits_before, f.listed_before, f.credits_after, f.listed_after)::private.score_change)
    from folded as f
    where f.changed_boards <> '{}'
       or not f.is_new and (f.is_gone or (f.was_listed, f.boards_before, f.entries_before)
                                         is distinct from (f.is_listed, f.boards, f.entries)));
end;
$$;
comment on function private.folded_scores(private.outbox[], date) is
  'The scores of outbox rows'' users on the boards retained today, with those rows folded in; null = none.';

create function private.merge_boards(max_rows integer, is_careful boolean default true)
returns integer
language plpgsql security definer
set search_path = ''
-- One cached plan for one row and for thousands: by index, in index order, never replanned for the length of a list.
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
  state record;
  ceiling bigint;
  pending private.outbox[];
  changes private.score_change[];
  messages private.message[];
  news private.message;
begin
  if not private.lock_boards(false) then
    return null;
  end if;
  select s.low_water_mark, s.next_low_water_mark, s.messages_wait_until, s.dropped_on into state from private.worker_state as s;
  ceiling := private.next_outbox_id();
  with taken as (
    delete from private.outbox as o
    where o.id between state.low_water_mark and (
      select max(q.id) from (select x.id from private.outbox as x where x.id >= state.low_water_mark order by x.id limit max_rows) as q)
    returning o as item
  )
  select array_agg(t.item order by (t.item).id) into pending from taken as t;

  if pending is not null then
    changes := private.folded_scores(pending, today);
    perform private.mark_boards_changed(private.apply_score_changes(changes), today);
    messages := private.messages_of(pending) || private.fold_communities(pending);
    perform private.advance_low_water_mark(ceiling);
  elsif state.next_low_water_mark is distinct from state.low_water_mark then
    perform private.advance_low_water_mark(ceiling);
  end if;
  if state.dropped_on is distinct from today and coalesce(cardinality(pending), 0) < max_rows then
    perform private.drop_old_boards(today, 2000);
  end if;
  if exists (select from private.board_notifications as n where n.is_waiting) then
    news := private.take_board_notification();
    if news.topic is not null then
      messages := messages || news;
    end if;
  end if;
  if exists (select from private.community_progress as g where g.is_waiting) then
    messages := messages || private.take_community_notifications();
  end if;
  if messages is not null or state.messages_wait_until <= now() then
    perform private.send_messages(messages, is_careful);
  end if;
  return coalesce(cardinality(pending), 0);
end;
$$;
comment on function private.merge_boards(integer, boolean) is
  'Takes at most max_rows rows from the outbox, folds them into the boards and sends their messages; returns '
  'how many it took, null if another call is running. Deletes expired boards, one slice per call, and '
  'notifies the shared topic and those of community challenges. is_careful: as in private.send_messages. Can be called at any time by any job '
  'or user.';

create function private.run_worker(max_rows integer, is_careful boolean, out taken integer, out failure text)
language plpgsql security definer
set search_path = ''
as $$
begin
  if not is_careful then
    taken := private.merge_boards(max_rows, false);
    return;
  end if;
  begin
    taken := private.merge_boards(max_rows, true);
  exception
    when others then
      failure := sqlstate || ' ' || sqlerrm;
  end;
end;
$$;
comment on function private.run_worker(integer, boolean) is
  'One slice, called by the extension''s background worker after a commit. The slice after a failed one is '
  'careful: it returns an error as text, which the worker logs once, and messages that cannot be sent do not '
  'stop it. Careful mode uses up to two more transaction ids, so it is not the default.';

-- Normally the worker has done this already; without a worker, this job does it within a minute.
select cron.schedule('carbon_boards', '* * * * *', $$select private.merge_boards(100000)$$);
