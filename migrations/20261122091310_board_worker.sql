-- The worker's slices: what writers appended to the outbox is folded into scores and trees and made into messages, a
-- bounded slice a call, one call at a time. One transaction each: what it took is gone from the outbox exactly if it is
-- in the scores and with Realtime.

-- Cleaned by rows, not by shares of a table: trees are a few pages that change with every slice; a score moves with each
-- entry of its person, and 188 MB held what 18 MB could.
alter table private.board_nodes set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table private.board_news set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
alter table private.board_scores set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

create type private.board_change as (
  user_id uuid,
  board integer,
  credits_before bigint,
  was_listed boolean,
  credits bigint,
  entries bigint,
  is_listed boolean,
  is_gone boolean
);
comment on type private.board_change is
  'A person on a board before and after what is pending; is_gone = has no row any more (no profile, or nothing left to remember).';

create function private.apply_board_changes(changes private.board_change[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set work_mem = '64MB'
as $$
begin
  delete from private.board_scores as s
  using unnest(changes) as c
  where c.is_gone and s.user_id = c.user_id and s.board = c.board;

  -- Nearly all of them are there already, and nobody else writes: an update is cheaper than an insert that conflicts.
  update private.board_scores as s
  set credits = c.credits, entries = c.entries, is_listed = c.is_listed
  from unnest(changes) as c
  where not c.is_gone and s.user_id = c.user_id and s.board = c.board
    and (s.credits, s.entries, s.is_listed) is distinct from (c.credits, c.entries, c.is_listed);

  insert into private.board_scores (user_id, board, credits, entries, is_listed)
  select c.user_id, c.board, c.credits, c.entries, c.is_listed
  from unnest(changes) as c
  where not c.is_gone
    and not exists (select from private.board_scores as s where s.user_id = c.user_id and s.board = c.board);

  -- What leaves a score and what comes to it cancel out, block by block, before a tree is touched.
  with moves as (
    select c.board, c.credits_before as credits, -1 as people from unnest(changes) as c where c.was_listed
    union all
    select c.board, c.credits, 1 from unnest(changes) as c where c.is_listed and not c.is_gone
  ), slots as (
    select m.board, l.level, m.credits >> (8 * l.level) as block, sum(m.people)::integer as people
    from moves as m
    cross join generate_series(0, 2) as l (level)
    group by m.board, l.level, m.credits >> (8 * l.level)
    having sum(m.people) <> 0
  )
  insert into private.board_nodes as n (board, level, node, people)
  select s.board, s.level, s.block >> 8, carbon.board_node(array_agg((s.block & 255)::integer), array_agg(s.people))
  from slots as s
  group by s.board, s.level, s.block >> 8
  on conflict (board, level, node) do update set people = carbon.add_board_nodes(n.people, excluded.people);
end;
$$;
comment on function private.apply_board_changes(private.board_change[]) is
  'Writes changes, at most one a person and board, into scores and trees. For holders of the boards'' lock.';

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
  'Makes the caller the only writer of boards until its transaction ends. A statement of its own: the next one''s snapshot then sees all that the last holder wrote.';

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
  'The number that the next row of private.outbox gets, asked before this transaction has an id of its own; null if it has one.';

create function private.advance_low_water_mark(ceiling bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- Whoever appends has written a row before and so has a transaction id before a number. Every number below the
  -- ceiling therefore belongs to a transaction older than this one, which took its id after the ceiling was read. Once
  -- all older ones have ended, what they appended is visible, and the lowest row that is left bounds the mark.
  update private.worker_state as s
  set low_water_mark = case when n.is_reached then least(s.next_low_water_mark, n.lowest) else s.low_water_mark end,
      next_low_water_mark = case when n.is_due then least(ceiling, n.lowest) else s.next_low_water_mark end,
      next_low_water_mark_from = case when n.is_due then pg_current_xact_id() else s.next_low_water_mark_from end
  from (
    select c.lowest,
           coalesce(o.next_low_water_mark > o.low_water_mark and pg_snapshot_xmin(c.snapshot) >= o.next_low_water_mark_from, false) as is_reached,
           ceiling is not null and least(ceiling, c.lowest) is distinct from o.next_low_water_mark
             and (o.next_low_water_mark is null or pg_snapshot_xmin(c.snapshot) >= o.next_low_water_mark_from
                  -- A dump restored into another cluster remembers ids that are still to come here.
                  or o.next_low_water_mark_from > pg_snapshot_xmax(c.snapshot)) as is_due
    from private.worker_state as o
    cross join lateral (
      select pg_current_snapshot() as snapshot,
             (select min(q.id) from private.outbox as q where q.id >= o.low_water_mark) as lowest) as c) as n
  where n.is_reached or n.is_due;
end;
$$;
comment on function private.advance_low_water_mark(bigint) is
  'Moves the outbox''s low-water mark up as far as nothing can still come below it; ceiling = private.next_outbox_id(), null = note no new one.';

create function private.note_board_news(changes private.board_change[], today date)
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into private.board_news as n (board, is_waiting)
  select b.board, true
  from (select distinct c.board from unnest(changes) as c where c.was_listed or c.is_listed) as b
  cross join lateral carbon.board_scope(b.board) as s
  where s.first_day is null or today between s.first_day and s.last_day
  on conflict (board) do update set is_waiting = true where not n.is_waiting;
end;
$$;
comment on function private.note_board_news(private.board_change[], date) is
  'Remembers which boards of the current period changed.';

create function private.take_board_news()
returns private.message
language plpgsql
set search_path = ''
as $$
declare
  boards jsonb;
begin
  -- Everybody listens: one message a second for all boards, not one for each of hundreds.
  if (select max(n.sent_at) from private.board_news as n) > now() - interval '1 second' then
    return null;
  end if;
  with told as (
    update private.board_news as n set is_waiting = false, sent_at = now() where n.is_waiting returning n.board
  )
  select jsonb_agg(jsonb_build_object(
           'board_type', case when s.province is null then 'global' else 'province' end,
           'timeframe', s.timeframe, 'province', s.province))
  into boards
  from told as t
  cross join lateral carbon.board_scope(t.board) as s;
  return (null, 'leaderboard:live', 'leaderboard_changed', jsonb_build_object('as_of', now(), 'boards', boards))::private.message;
end;
$$;
comment on function private.take_board_news() is
  'The leaderboard_changed that names the boards that changed since the last one, at most one a second (null = not yet); nothing personal.';

create function private.drop_old_boards(today date, most integer)
returns integer
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  dropped integer;
begin
  delete from private.board_scores as s
  where s.ctid = any (array(
    select o.ctid
    from carbon.dropped_boards(today) as d
    join private.board_scores as o on o.board >= d.first_board and o.board < d.before_board
    limit most));
  get diagnostics dropped = row_count;
  if dropped < most then
    delete from private.board_nodes as n using carbon.dropped_boards(today) as d
    where n.board >= d.first_board and n.board < d.before_board;
    delete from private.board_news as n using carbon.dropped_boards(today) as d
    where n.board >= d.first_board and n.board < d.before_board;
    update private.worker_state as s set dropped_on = today;
  end if;
  return dropped;
end;
$$;
comment on function private.drop_old_boards(date, integer) is
  'Deletes at most so many rows of boards that are no longer kept, then their trees; returns how many. Nobody reads them: periods turn by the calendar, whenever this runs.';

create function private.folded_changes(pending private.outbox[], today date)
returns private.board_change[]
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return (
    with deltas as (
      select o.user_id, b.board, o.entries::bigint as entries, o.credits
      from unnest(pending) as o, unnest(carbon.boards_of(o.local_date, o.province, today)) as b (board)
      union all
      select o.user_id, carbon.board_id('all_time', today, null), 0, o.rewards from unnest(pending) as o where o.rewards <> 0
      union all
      -- Whoever is to be looked at again, wherever they stand.
      select s.user_id, s.board, 0, 0
      from (select distinct o.user_id from unnest(pending) as o
            where o.local_date is null and o.rewards = 0 and o.revision is null) as a
      join private.board_scores as s on s.user_id = a.user_id
    ), folded as (
      select d.user_id, d.board, sum(d.entries)::bigint as entries, sum(d.credits)::bigint as credits
      from deltas as d
      group by d.user_id, d.board
    ), people as materialized (
      -- Once a person, not once a board.
      select u.user_id, p.is_listed
      from (select distinct o.user_id from unnest(pending) as o) as u
      join private.board_people as p on p.user_id = u.user_id
    )
    select array_agg((f.user_id, f.board, coalesce(s.credits, 0), coalesce(s.is_listed, false), n.credits,
                      case when p.user_id is null then 0 else n.entries end,
                      n.entries > 0 and coalesce(p.is_listed, false),
                      p.user_id is null or (n.entries = 0 and n.credits = 0))::private.board_change)
    from folded as f
    left join private.board_scores as s on s.user_id = f.user_id and s.board = f.board
    left join people as p on p.user_id = f.user_id
    cross join lateral (
      select coalesce(s.credits, 0) + f.credits as credits, coalesce(s.entries, 0) + f.entries as entries) as n);
end;
$$;
comment on function private.folded_changes(private.outbox[], date) is
  'What rows of the outbox change on the boards that are kept today; null = nothing.';

create function private.merge_boards(max_rows integer, is_careful boolean default true)
returns integer
language plpgsql security definer
set search_path = ''
-- One plan for a row and for thousands: by indexes and in their order, and never made again for the length of a list.
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
  state record;
  ceiling bigint;
  pending private.outbox[];
  changes private.board_change[];
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
    changes := private.folded_changes(pending, today);
    perform private.apply_board_changes(changes);
    perform private.note_board_news(changes, today);
    messages := private.messages_of(pending);
    perform private.advance_low_water_mark(ceiling);
  elsif state.next_low_water_mark is distinct from state.low_water_mark then
    perform private.advance_low_water_mark(ceiling);
  end if;
  if state.dropped_on is distinct from today and coalesce(cardinality(pending), 0) < max_rows then
    perform private.drop_old_boards(today, 2000);
  end if;
  if exists (select from private.board_news as n where n.is_waiting) then
    news := private.take_board_news();
    if news.topic is not null then
      messages := messages || news;
    end if;
  end if;
  if messages is not null or state.messages_wait_until <= now() then
    perform private.send_messages(messages, is_careful);
  end if;
  return coalesce(cardinality(pending), 0);
end;
$$;
comment on function private.merge_boards(integer, boolean) is
  'Takes at most max_rows from the outbox, folds them into the boards and sends their messages; returns how many it took, null while another call does so. Deletes boards that are no longer kept, a slice a call, and tells the shared topic. is_careful: as private.send_messages has it. Safe at any time, by whom- or whatever called.';

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
  'What the extension''s background worker calls when a writer has committed: one slice. After one that failed the next is careful: an error is told as text, so that the worker can say it once, and messages that cannot be sent stop nothing. That takes up to two transaction ids more, which is why it is not the rule.';

-- The worker does it at once; where there is none, this does it within a minute.
select cron.schedule('carbon_boards', '* * * * *', $$select private.merge_boards(100000)$$);
