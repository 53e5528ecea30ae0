-- Ranks and rows of a board: what is folded in, corrected by what is pending. Nothing here writes, and
-- nothing passes over everybody on a board.

create function private.board_queue(wanted integer)
returns private.board_change[]
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  if not exists (
    select from private.outbox as c where c.id >= (select s.floor from private.worker_state as s)) then
    return null;
  end if;
  return (
    select array_agg((q.user_id, wanted, coalesce(s.credits, 0), coalesce(s.is_listed, false), n.credits,
                      case when p.user_id is null then 0 else n.entries end,
                      n.entries > 0 and coalesce(p.is_listed, false),
                      p.user_id is null or (n.entries = 0 and n.credits = 0))::private.board_change)
    from (
      -- Rows without a day are of rewards, or ask to look at a person again.
      select c.user_id, sum(c.entries)::bigint as entries,
             sum(c.credits + case when b.first_day is null and b.province is null then c.rewards else 0 end)::bigint as credits
      from carbon.board_scope(wanted) as b
      join private.outbox as c
        on c.id >= (select s.floor from private.worker_state as s)
       and (c.local_date is null
            or ((b.first_day is null or c.local_date between b.first_day and b.last_day)
                and (b.province is null or c.province = b.province)))
      group by c.user_id) as q
    left join private.board_scores as s on s.user_id = q.user_id and s.board = wanted
    left join private.board_people as p on p.user_id = q.user_id
    cross join lateral (
      select coalesce(s.credits, 0) + q.credits as credits, coalesce(s.entries, 0) + q.entries as entries) as n);
end;
$$;
comment on function private.board_queue(integer) is
  'What is pending for one board: each person''s row as it is folded in and as it will be; null = nothing.';

-- The tree ----------------------------------------------------------------------------------
create function private.board_above(wanted integer, score bigint)
returns bigint
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return
    coalesce((select carbon.people_after(n.people, (score & 255)::integer) from private.board_nodes as n
              where n.board = wanted and n.level = 0 and n.node = score >> 8), 0)
    + coalesce((select carbon.people_after(n.people, (score >> 8 & 255)::integer) from private.board_nodes as n
                where n.board = wanted and n.level = 1 and n.node = score >> 16), 0)
    -- The top has a node for the scores below 0, one for those below 16,777,216, and more only beyond: above count whole.
    + coalesce((select sum(carbon.people_after(n.people, case when n.node > score >> 24 then -1
                                                              else (score >> 16 & 255)::integer end))
                from private.board_nodes as n
                where n.board = wanted and n.level = 2 and n.node >= score >> 24), 0);
end;
$$;
comment on function private.board_above(integer, bigint) is
  'How many listed people have more points on a board, as far as it is folded in.';

create function private.board_equal(wanted integer, score bigint)
returns bigint
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return coalesce((
    select n.people[1 + (score & 255)] from private.board_nodes as n
    where n.board = wanted and n.level = 0 and n.node = score >> 8), 0);
end;
$$;
comment on function private.board_equal(integer, bigint) is
  'How many listed people have exactly these points on a board, as far as it is folded in.';

create function private.board_total(wanted integer)
returns bigint
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return coalesce((
    select sum(carbon.people_after(n.people, -1)) from private.board_nodes as n where n.board = wanted and n.level = 2), 0);
end;
$$;
comment on function private.board_total(integer) is
  'How many people a board lists, as far as it is folded in.';

-- One's own place ---------------------------------------------------------------------------
create type private.board_standing as (
  rank bigint,
  credits bigint,
  below bigint,
  others bigint
);
comment on type private.board_standing is
  'Where a person stands: 1 + listed people above; their points; listed people below; other listed people.';

create function private.board_standing(person uuid, wanted integer, queue private.board_change[])
returns private.board_standing
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  own record;
  above bigint;
  equal bigint;
  total bigint;
begin
  select q.credits, q.entries, q.is_listed into own from unnest(queue) as q where q.user_id = person;
  if not found then
    select s.credits, s.entries, s.is_listed into own
    from private.board_scores as s where s.user_id = person and s.board = wanted;
  end if;
  if own.entries is null or own.entries <= 0 then
    return null;
  end if;

  above := private.board_above(wanted, own.credits);
  equal := private.board_equal(wanted, own.credits);
  total := private.board_total(wanted);
  if queue is not null then
    select above + count(*) filter (where q.is_listed and q.credits > own.credits)
                 - count(*) filter (where q.was_listed and q.credits_before > own.credits),
           equal + count(*) filter (where q.is_listed and q.credits = own.credits)
                 - count(*) filter (where q.was_listed and q.credits_before = own.credits),
           total + count(*) filter (where q.is_listed) - count(*) filter (where q.was_listed)
    into above, equal, total
    from unnest(queue) as q;
  end if;
  return (above + 1, own.credits, total - above - equal, total - own.is_listed::integer)::private.board_standing;
end;
$$;
comment on function private.board_standing(uuid, integer, private.board_change[]) is
  'Where a person stands on a board, listed or not; null without entries in the period. queue = private.board_queue(board).';

create function private.own_rank(person uuid, wanted integer)
returns bigint
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  rank bigint;
  is_pending boolean;
begin
  -- private.board_above once more: where nothing is pending, one statement is faster than calls.
  select exists (select from private.outbox as c where c.id >= (select f.floor from private.worker_state as f)),
         1
         + coalesce((select carbon.people_after(n.people, (s.credits & 255)::integer) from private.board_nodes as n
                     where n.board = wanted and n.level = 0 and n.node = s.credits >> 8), 0)
         + coalesce((select carbon.people_after(n.people, (s.credits >> 8 & 255)::integer) from private.board_nodes as n
                     where n.board = wanted and n.level = 1 and n.node = s.credits >> 16), 0)
         + coalesce((select sum(carbon.people_after(n.people, case when n.node > s.credits >> 24 then -1
                                                                   else (s.credits >> 16 & 255)::integer end))
                     from private.board_nodes as n
                     where n.board = wanted and n.level = 2 and n.node >= s.credits >> 24), 0)
  into is_pending, rank
  from private.board_scores as s
  where s.user_id = person and s.board = wanted and s.entries > 0;
  if is_pending is not false then
    return (private.board_standing(person, wanted, private.board_queue(wanted))).rank;
  end if;
  return rank;
end;
$$;
comment on function private.own_rank(uuid, integer) is
  'The rank of a person on a board, 1 + listed people above; null without entries in the period.';

-- Rows of a board ---------------------------------------------------------------------------
create type private.board_row as (
  place bigint,
  rank bigint,
  user_id uuid,
  credits bigint
);
comment on type private.board_row is
  'A person on a page: place counts from the first row on it, rank is the competition rank on the board.';

create function private.board_after(wanted integer, queue private.board_change[], from_credits bigint, from_user uuid,
                                    how_many integer)
returns private.board_row[]
language plpgsql stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
  return (
    select array_agg((r.place, null, r.user_id, r.credits)::private.board_row order by r.place)
    from (
      select m.user_id, m.credits, row_number() over (order by -m.credits, m.user_id) as place
      from (
        (select s.user_id, s.credits
         from private.board_scores as s
         where s.board = wanted and s.is_listed and (-s.credits, s.user_id) > (-from_credits, from_user)
           and s.user_id not in (select q.user_id from unnest(queue) as q)
         order by -s.credits, s.user_id
         limit how_many)
        union all
        select q.user_id, q.credits from unnest(queue) as q
        where q.is_listed and (-q.credits, q.user_id) > (-from_credits, from_user)) as m
      order by place
      limit how_many) as r);
end;
$$;
comment on function private.board_after(integer, private.board_change[], bigint, uuid, integer) is
  'The next listed people after a score and user, downwards, at most so many; null = none.';

create function private.board_before(wanted integer, queue private.board_change[], from_credits bigint, from_user uuid,
                                     how_many integer)
returns private.board_row[]
language plpgsql stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
  return (
    select array_agg((r.place, null, r.user_id, r.credits)::private.board_row order by r.place)
    from (
      select m.user_id, m.credits, - row_number() over (order by -m.credits desc, m.user_id desc) as place
      from (
        (select s.user_id, s.credits
         from private.board_scores as s
         where s.board = wanted and s.is_listed and (-s.credits, s.user_id) < (-from_credits, from_user)
           and s.user_id not in (select q.user_id from unnest(queue) as q)
         order by -s.credits desc, s.user_id desc
         limit how_many)
        union all
        select q.user_id, q.credits from unnest(queue) as q
        where q.is_listed and (-q.credits, q.user_id) < (-from_credits, from_user)) as m
      order by place desc
      limit how_many) as r);
end;
$$;
comment on function private.board_before(integer, private.board_change[], bigint, uuid, integer) is
  'The last listed people before a score and user, in the order of the board, at most so many; null = none.';

create function private.board_nth(wanted integer, queue private.board_change[], nth bigint,
                                  out credits bigint, out skip bigint)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  parent bigint;
  inside record;
begin
  skip := nth;
  -- From the top down: in which block the n-th person is, and who stands before that block. What is pending counts as
  -- people who left one block and came to another.
  for tier in reverse 2..0 loop
    select b.block, b.through, b.people into inside
    from (
      select p.block, sum(p.people) as people, sum(sum(p.people)) over (order by p.block desc) as through
      from (
        select (n.node << 8) + u.slot - 1 as block, u.people
        from private.board_nodes as n, unnest(n.people) with ordinality as u (people, slot)
        where n.board = wanted and n.level = tier and u.people <> 0 and (parent is null or n.node = parent)
        union all
        select q.credits >> (8 * tier), 1 from unnest(queue) as q
        where q.is_listed and (parent is null or q.credits >> (8 * tier + 8) = parent)
        union all
        select q.credits_before >> (8 * tier), -1 from unnest(queue) as q
        where q.was_listed and (parent is null or q.credits_before >> (8 * tier + 8) = parent)) as p
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
comment on function private.board_nth(integer, private.board_change[], bigint) is
  'The points of the person who has so many listed people before them, and how many of those have the same points; null beyond the end.';

create function private.ranked_rows(wanted integer, queue private.board_change[], page_rows private.board_row[],
                                   not_listed uuid)
returns private.board_row[]
language plpgsql stable
set search_path = ''
as $$
declare
  highest bigint := page_rows[1].credits;
  above bigint;
  equal bigint;
begin
  if highest is null then
    return null;
  end if;
  above := private.board_above(wanted, highest)
    + coalesce((select count(*) filter (where q.is_listed and q.credits > highest)
                     - count(*) filter (where q.was_listed and q.credits_before > highest) from unnest(queue) as q), 0);
  equal := private.board_equal(wanted, highest)
    + coalesce((select count(*) filter (where q.is_listed and q.credits = highest)
                     - count(*) filter (where q.was_listed and q.credits_before = highest) from unnest(queue) as q), 0);
  -- Below the first score everybody between it and a row is on this page.
  return (
    select array_agg((r.place, r.rank, r.user_id, r.credits)::private.board_row order by r.place)
    from (
      select p.place, p.user_id, p.credits,
             1 + above + case when p.credits < highest then equal else 0 end
               + count(*) filter (where p.credits < highest and p.user_id is distinct from not_listed) over (
                   order by p.credits desc groups between unbounded preceding and 1 preceding) as rank
      from unnest(page_rows) as p) as r);
end;
$$;
comment on function private.ranked_rows(integer, private.board_change[], private.board_row[], uuid) is
  'Rows in a row with their competition ranks; not_listed = a person among them who is shown but moves nobody.';
