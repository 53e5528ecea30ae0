-- Ranks and rows of a board: the folded data, corrected by the reader's own current row. Nothing here writes, reads
-- the outbox, or scans an entire board.

-- The reader's own row ----------------------------------------------------------------------
create type private.board_change as (
  user_id uuid,
  board integer,
  credits_before bigint,
  was_listed boolean,
  credits bigint,
  entries bigint,
  is_listed boolean
);
comment on type private.board_change is 'A user on a board, as folded and as of now.';

create function private.own_change(p_user_id uuid, board_id integer)
returns private.board_change
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  folded record;
  sums record;
  scope record;
  own private.board_change;
begin
  select s.credits[a.place] as credits, s.is_listed and s.entries[a.place] > 0 as is_listed into folded
  from private.board_scores as s
  cross join lateral array_position(s.boards, board_id) as a (place)
  where s.user_id = p_user_id;
  if board_id = carbon.board_id('all_time', '2000-01-01', null) then
    select t.credits + t.rewards as credits, t.entries into sums from private.user_state as t where t.user_id = p_user_id;
  else
    select b.timeframe, b.first_day, b.last_day, b.province into scope from carbon.board_scope(board_id) as b;
    if scope.timeframe is null then
      select p.contribution as credits, 1::bigint as entries into sums
      from public.community_challenges as c
      join private.contributions as p on p.challenge_id = c.id and p.user_id = p_user_id
      where c.board = board_id;
    else
      select sum(d.credits)::bigint as credits, sum(d.entries) as entries into sums
      from public.user_days as d
      where d.user_id = p_user_id
        and d.local_date between coalesce(scope.first_day, '-infinity') and coalesce(scope.last_day, 'infinity')
        and (scope.province is null or d.province = scope.province);
    end if;
  end if;
  select p_user_id, board_id, coalesce(folded.credits, 0), coalesce(folded.is_listed, false), coalesce(sums.credits, 0),
         coalesce(sums.entries, 0), coalesce(sums.entries, 0) > 0 and p.is_listed
  into own
  from private.board_people as p
  where p.user_id = p_user_id;
  return own;
end;
$$;
comment on function private.own_change(uuid, integer) is
  'The row of a user on a board as folded, and as their own sums, contribution and profile define it now, including pending changes; null without a user.';

-- The tree ----------------------------------------------------------------------------------
create function private.board_counts(board_id integer, score bigint, own private.board_change,
                                     out above bigint, out equal bigint, out total bigint)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  -- The top level has one node for scores below 0, one for scores from 0 to 16,777,215, and more only above that;
  -- nodes above the score's own are counted in full.
  select t.above + coalesce(carbon.people_after(b.people, (score >> 8 & 255)::integer), 0)
           + coalesce(carbon.people_after(s.people, (score & 255)::integer), 0)
           + coalesce((own.is_listed and own.credits > score)::integer - (own.was_listed and own.credits_before > score)::integer, 0),
         coalesce(s.people[1 + (score & 255)], 0)
           + coalesce((own.is_listed and own.credits = score)::integer - (own.was_listed and own.credits_before = score)::integer, 0),
         t.total + coalesce(own.is_listed::integer - own.was_listed::integer, 0)
  into above, equal, total
  from (
    select coalesce(sum(carbon.people_after(n.people, case when n.node > score >> 24 then -1 else (score >> 16 & 255)::integer end))
                      filter (where n.node >= score >> 24), 0)::bigint as above,
           coalesce(sum(carbon.people_after(n.people, -1)), 0)::bigint as total
    from private.board_nodes as n
    where n.board = board_id and n.level = 2) as t
  left join private.board_nodes as b on b.board = board_id and b.level = 1 and b.node = score >> 16
  left join private.board_nodes as s on s.board = board_id and s.level = 0 and s.node = score >> 8;
end;
$$;
comment on function private.board_counts(integer, bigint, private.board_change) is
  'How many listed users of a board have more credits than the given score, how many have exactly that '
  'score, and how many are listed in total: from the tree, with the reader''s own current row (null = none).';

-- The reader's own place --------------------------------------------------------------------
create type private.board_standing as (
  rank bigint,
  credits bigint,
  below bigint,
  others bigint
);
comment on type private.board_standing is
  'A user''s standing: rank (1 + listed users above), credits, listed users below, and other listed users.';

create function private.board_standing(own private.board_change)
returns private.board_standing
language plpgsql stable
set search_path = ''
as $$
declare
  counts record;
begin
  if own.entries is null or own.entries <= 0 then
    return null;
  end if;
  counts := private.board_counts(own.board, own.credits, own);
  return (counts.above + 1, own.credits, counts.total - counts.above - counts.equal,
          counts.total - own.is_listed::integer)::private.board_standing;
end;
$$;
comment on function private.board_standing(private.board_change) is
  'A user''s standing, listed or not; null without entries in the period. own = private.own_change(p_user_id, board_id).';

create function private.own_rank(p_user_id uuid, board_id integer)
returns bigint
language plpgsql stable security definer
set search_path = ''
-- Cache the plans: planning takes ten times as long as execution.
set plan_cache_mode = force_generic_plan
as $$
begin
  return (private.board_standing(private.own_change(p_user_id, board_id))).rank;
end;
$$;
comment on function private.own_rank(uuid, integer) is
  'The rank of a user on a board, 1 + listed users above; null without entries in the period.';

-- Rows of a board ---------------------------------------------------------------------------
create type private.board_rows as (
  people uuid[],
  credits bigint[]
);
comment on type private.board_rows is 'Consecutive users on a board, and their credits in a parallel list.';

create function private.board_after(board_id integer, own private.board_change, from_credits bigint, from_user uuid,
                                    how_many integer)
returns private.board_rows
language plpgsql stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  found_rows private.board_rows;
begin
  select array_agg(r.user_id), array_agg(r.credits) into found_rows
  from (
    select m.user_id, m.credits
    from (
      (select s.user_id, s.credits
       from private.board_order as s
       where s.board = board_id and s.is_listed and (-s.credits, s.user_id) > (-from_credits, from_user)
         and s.user_id is distinct from own.user_id
       order by -s.credits, s.user_id
       limit how_many)
      union all
      select own.user_id, own.credits
      where own.is_listed and (-own.credits, own.user_id) > (-from_credits, from_user)) as m
    order by -m.credits, m.user_id
    limit how_many) as r;
  return found_rows;
end;
$$;
comment on function private.board_after(integer, private.board_change, bigint, uuid, integer) is
  'The next max_rows listed users after a score and user, descending, with the reader''s own current row (null = none).';

create function private.board_before(board_id integer, own private.board_change, how_many integer)
returns private.board_rows
language plpgsql stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  found_rows private.board_rows;
begin
  select array_agg(r.user_id order by -r.credits, r.user_id), array_agg(r.credits order by -r.credits, r.user_id) into found_rows
  from (
    select s.user_id, s.credits
    from private.board_order as s
    where s.board = board_id and s.is_listed and (-s.credits, s.user_id) < (-own.credits, own.user_id)
      and s.user_id <> own.user_id
    order by -s.credits desc, s.user_id desc
    limit how_many) as r;
  return found_rows;
end;
$$;
comment on function private.board_before(integer, private.board_change, integer) is
  'The last max_rows listed users before the reader''s own row, in board order.';

create function private.board_nth(board_id integer, own private.board_change, nth bigint, out credits bigint, out skip bigint)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  parent bigint;
  inside record;
begin
  skip := nth;
  -- From the top level down: find the block with the n-th user, and how many users precede that block. A changed own
  -- row counts as one user who left one block and entered another.
  for tier in reverse 2..0 loop
    select b.block, b.through, b.people into inside
    from (
      select p.block, sum(p.people) as people, sum(sum(p.people)) over (order by p.block desc) as through
      from (
        select (n.node << 8) + u.slot - 1 as block, u.people
        from private.board_nodes as n, unnest(n.people) with ordinality as u (people, slot)
        where n.board = board_id and n.level = tier and u.people <> 0 and (parent is null or n.node = parent)
        union all
        select own.credits >> (8 * tier), 1
        where own.is_listed and (parent is null or own.credits >> (8 * tier + 8) = parent)
        union all
        select own.credits_before >> (8 * tier), -1
        where own.was_listed and (parent is null or own.credits_before >> (8 * tier + 8) = parent)) as p
      group by p.block) as b
    where b.through > skip
    order by b.block desc
    limit 1;
    if not found then
      return;
    end if;
    parent := inside.block;
    skip := skip - (inside.through - inside.people);
  end loop;
  credits := parent;
end;
$$;
comment on function private.board_nth(integer, private.board_change, bigint) is
  'The credits of the user who has the given number of listed users before them, and how many of those have the same credits; null beyond the end.';

create type private.board_page as (
  page bigint,
  size integer,
  after_credits bigint,
  after_user uuid
);
comment on type private.board_page is
  'The requested rows of a board: a page by number, the rows after a score and user, or the first page (all null).';

create function private.board_rows(board_id integer, own private.board_change, requested_page private.board_page)
returns private.board_rows
language plpgsql stable
set search_path = ''
as $$
declare
  start record;
  found_rows private.board_rows;
begin
  if requested_page.page is null then
    -- One more than requested, to detect a next page.
    return private.board_after(
      board_id, own, coalesce(requested_page.after_credits, 9223372036854775807),
      coalesce(requested_page.after_user, '00000000-0000-0000-0000-000000000000'), requested_page.size + 1);
  end if;
  select n.credits, n.skip into start from private.board_nth(board_id, own, (requested_page.page - 1) * requested_page.size) as n;
  if start.credits is null then
    return null;
  end if;
  found_rows := private.board_after(
    board_id, own, start.credits + 1, 'ffffffff-ffff-ffff-ffff-ffffffffffff', (start.skip + requested_page.size)::integer);
  return (found_rows.people[start.skip + 1 :], found_rows.credits[start.skip + 1 :])::private.board_rows;
end;
$$;
comment on function private.board_rows(integer, private.board_change, private.board_page) is
  'The users of a page; with a cursor, one more.';
