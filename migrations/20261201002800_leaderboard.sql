-- Boards as clients see them: pages, standings, friend boards. Who is listed is decided in board_people, who is masked in
-- board_json, and nowhere else.

create table private.secrets (
  name text primary key,
  value bytea not null
);
comment on table private.secrets is
  'Keys that the database generates for itself and never exposes.';
alter table private.secrets enable row level security;
insert into private.secrets (name, value) values ('board_cursor', extensions.gen_random_bytes(32));

create function private.seal_cursor(credits bigint, user_id uuid)
returns text
language plpgsql volatile
set search_path = ''
as $$
begin
  -- Encrypted: the last row of a page may belong to a user whose id the reader must not learn, or recognise later.
  return carbon.seal(credits || ',' || user_id, 'board_cursor',
    (select s.value from private.secrets as s where s.name = 'board_cursor'));
end;
$$;
comment on function private.seal_cursor(bigint, uuid) is
  'An opaque cursor for the position after this score and user; different at each call.';

create function private.open_cursor(board_cursor text, out credits bigint, out user_id uuid)
language plpgsql stable
set search_path = ''
as $$
declare
  parts text[] := string_to_array(carbon.unseal(board_cursor, 'board_cursor',
    (select s.value from private.secrets as s where s.name = 'board_cursor')), ',');
begin
  if parts is null then
    perform private.raise_error('carbon.cursor_invalid', '22023');
  end if;
  credits := parts[1]::bigint;
  user_id := parts[2]::uuid;
end;
$$;
comment on function private.open_cursor(text) is
  'The position in a cursor of private.seal_cursor; 22023 carbon.cursor_invalid for anything else.';

-- Rows as the viewer may see them -----------------------------------------------------------
create type private.board_view as (
  shown json,
  own jsonb,
  total bigint,
  next_cursor text
);
comment on type private.board_view is
  'The visible part of a board: rows, the viewer''s own place, how many are listed, and where the next page starts.';

create function private.board_json(viewer uuid, user_ids uuid[], credits bigint[], ranks bigint[])
returns json
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  -- A user who is no longer listed disappears at once, before the worker removes their row, so a page may be shorter
  -- than requested.
  return coalesce((
    select json_agg(carbon.board_row(
             r.rank, r.user_id, p.display_name, p.province, p.avatar_url, r.credits, t.level, t.credits + t.rewards,
             r.relation, p.privacy_level::smallint) order by r.place)
    -- Side by side and not joined: the relations are in the order of the ids.
    from rows from (unnest(user_ids, credits, ranks), private.relation(viewer, user_ids)) with ordinality
      as r (user_id, credits, rank, same_id, relation, place)
    join private.board_people as p on p.user_id = r.user_id
    join private.user_state as t on t.user_id = r.user_id
    where p.is_listed or r.user_id = viewer), '[]');
end;
$$;
comment on function private.board_json(uuid, uuid[], bigint[], bigint[]) is
  'Rows of a board (parallel lists) as the viewer may see them: listed users and the viewer; masked rows '
  '(privacy level 2 except to friends, and users blocked in either direction) show no identity.';

create function private.place_json(standing private.board_standing, earlier_rank bigint)
returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return jsonb_build_object(
    'rank', standing.rank,
    'credits', coalesce(standing.credits, 0),
    'percentile', case when standing.rank is not null then carbon.percentile(standing.below, standing.others) end,
    'rank_change', earlier_rank - standing.rank);
end;
$$;
comment on function private.place_json(private.board_standing, bigint) is
  'The contract''s current_user: rank and percentile null without entries in the period; rank_change positive = moved up, null unless both ranks exist.';

-- Boards of the country and the provinces ----------------------------------------------------
create function private.board_view_of(viewer uuid, board_id integer, earlier_board_id integer, requested_page private.board_page,
                                      around_me boolean)
returns private.board_view
language plpgsql stable
set search_path = ''
as $$
declare
  own private.board_change;
  found_rows private.board_rows;
  below private.board_rows;
  counts record;
  unlisted_place integer;
  standing private.board_standing;
  earlier_rank bigint;
begin
  if viewer is not null then
    own := private.own_change(viewer, board_id);
    standing := private.board_standing(own);
    if earlier_board_id is not null then
      earlier_rank := private.own_rank(viewer, earlier_board_id);
    end if;
  end if;
  if not around_me then
    found_rows := private.board_rows(board_id, own, requested_page);
  elsif standing.rank is not null then
    found_rows := private.board_before(board_id, own, requested_page.size / 2);
    below := private.board_after(board_id, own, own.credits, viewer, (requested_page.size - 1) / 2);
    -- Unlisted users see their own place among the others without affecting any rank.
    unlisted_place := case when not own.is_listed then coalesce(cardinality(found_rows.people), 0) + 1 end;
    found_rows.people := found_rows.people || viewer || below.people;
    found_rows.credits := found_rows.credits || own.credits || below.credits;
  end if;
  counts := private.board_counts(board_id, coalesce(found_rows.credits[1], 0), own);
  return (
    private.board_json(viewer, found_rows.people[: requested_page.size], found_rows.credits[: requested_page.size],
                       carbon.board_ranks(found_rows.credits[: requested_page.size], counts.above, counts.equal, unlisted_place)),
    case when viewer is not null then private.place_json(standing, earlier_rank) end,
    case when requested_page.page is not null then counts.total end,
    case when cardinality(found_rows.people) > requested_page.size then
      private.seal_cursor(found_rows.credits[requested_page.size], found_rows.people[requested_page.size]) end)::private.board_view;
end;
$$;
comment on function private.board_view_of(uuid, integer, integer, private.board_page, boolean) is
  'A board by its number as the viewer may see it; rank_change compares with the earlier board (null = none).';

create function private.read_board(viewer uuid, timeframe text, board_province text, requested_page private.board_page, around_me boolean)
returns private.board_view
language plpgsql stable
set search_path = ''
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
begin
  return private.board_view_of(
    viewer, carbon.board_id(timeframe, today, board_province),
    case when timeframe <> 'all_time' then (
      select carbon.board_id(timeframe, p.first_day, board_province) from carbon.board_period(timeframe, today, 1) as p) end,
    requested_page, around_me);
end;
$$;
comment on function private.read_board(uuid, text, text, private.board_page, boolean) is
  'A board of the country or a province as the viewer may see it.';

-- Friend boards -----------------------------------------------------------------------------
create type private.friend_scores as (
  user_ids uuid[],
  credits bigint[],
  are_listed boolean[]
);
comment on type private.friend_scores is
  'Users with entries in a period of the country''s board, their credits, and whether boards list them, in parallel lists.';

create function private.with_score(scores private.friend_scores, own private.board_change)
returns private.friend_scores
language plpgsql immutable
set search_path = ''
as $$
begin
  if own.entries is null or own.entries <= 0 then
    return scores;
  end if;
  return (scores.user_ids || own.user_id, scores.credits || own.credits, scores.are_listed || own.is_listed)::private.friend_scores;
end;
$$;
comment on function private.with_score(private.friend_scores, private.board_change) is
  'These scores and the reader''s own, if they have entries in the period.';

create function private.friend_scores(viewer uuid, timeframe text, out scores private.friend_scores, out earlier private.friend_scores)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
  board_id integer := carbon.board_id(timeframe, today, null);
  earlier_id integer;
begin
  if timeframe <> 'all_time' then
    earlier_id := (select carbon.board_id(timeframe, p.first_day, null) from carbon.board_period(timeframe, today, 1) as p);
  end if;
  -- One row a friend has both periods.
  select array_agg(s.user_id) filter (where s.entries > 0), array_agg(s.credits) filter (where s.entries > 0),
         array_agg(s.is_listed) filter (where s.entries > 0),
         array_agg(s.user_id) filter (where s.earlier_entries > 0), array_agg(s.earlier_credits) filter (where s.earlier_entries > 0),
         array_agg(s.is_listed) filter (where s.earlier_entries > 0)
  into scores.user_ids, scores.credits, scores.are_listed, earlier.user_ids, earlier.credits, earlier.are_listed
  from (
    select b.user_id, b.is_listed, b.credits[a.place] as credits, b.entries[a.place] as entries,
           b.credits[a.earlier_place] as earlier_credits, b.entries[a.earlier_place] as earlier_entries
    from private.friends as f
    join private.board_scores as b on b.user_id = f.friend_id
    cross join lateral (
      select array_position(b.boards, board_id) as place, array_position(b.boards, earlier_id) as earlier_place) as a
    where f.user_id = viewer) as s;
  scores := private.with_score(scores, private.own_change(viewer, board_id));
  if earlier_id is not null then
    earlier := private.with_score(earlier, private.own_change(viewer, earlier_id));
  end if;
end;
$$;
comment on function private.friend_scores(uuid, text) is
  'The viewer and those of their friends who have entries in the country''s current period (scores) and in the '
  'previous one (earlier; null for all_time): friends as folded, the viewer as of now.';

create function private.friend_standing(p_user_id uuid, scores private.friend_scores)
returns private.board_standing
language plpgsql immutable
set search_path = ''
as $$
declare
  own_credits bigint := scores.credits[array_position(scores.user_ids, p_user_id)];
begin
  if own_credits is null then
    return null;
  end if;
  return (
    select (1 + count(*) filter (where s.credits > own_credits), own_credits,
            count(*) filter (where s.credits < own_credits), count(*))::private.board_standing
    from unnest(scores.user_ids, scores.credits, scores.are_listed) as s (user_id, credits, is_listed)
    where s.is_listed and s.user_id <> p_user_id);
end;
$$;
comment on function private.friend_standing(uuid, private.friend_scores) is
  'A user''s standing among these scores; null if they have none.';

create type private.friend_page as (
  user_ids uuid[],
  credits bigint[],
  ranks bigint[],
  last_place bigint,
  total bigint
);
comment on type private.friend_page is
  'Rows of a friend board in parallel lists, the place that ends the page, and the number of rows of the board.';

create function private.friend_page(viewer uuid, scores private.friend_scores, requested_page private.board_page, around_me boolean)
returns private.friend_page
language plpgsql immutable
set search_path = ''
as $$
declare
  shown private.friend_page;
begin
  with listed as materialized (
    select s.user_id, s.credits,
           row_number() over (order by s.credits desc, s.user_id) as place,
           1 + count(*) filter (where s.is_listed) over (
             order by s.credits desc groups between unbounded preceding and 1 preceding) as rank
    from unnest(scores.user_ids, scores.credits, scores.are_listed) as s (user_id, credits, is_listed)
    where s.is_listed or (around_me and s.user_id = viewer)
  ), bounds as (
    select count(*) as total, max(l.place) filter (where l.user_id = viewer) as own_place,
           coalesce((requested_page.page - 1) * requested_page.size, count(*) filter (
             where (-l.credits, l.user_id) <= (-requested_page.after_credits, requested_page.after_user))) + 1 as first_place
    from listed as l
  ), page as (
    select b.total,
           case when around_me then greatest(b.own_place - requested_page.size / 2, 1) else b.first_place end as first_place,
           case when around_me then b.own_place + (requested_page.size - 1) / 2
                else b.first_place + requested_page.size - 1 end as last_place
    from bounds as b
  )
  select array_agg(l.user_id order by l.place), array_agg(l.credits order by l.place), array_agg(l.rank order by l.place),
         p.last_place, p.total
  into shown
  from page as p
  left join listed as l on l.place between p.first_place and p.last_place
  group by p.last_place, p.total;
  return shown;
end;
$$;
comment on function private.friend_page(uuid, private.friend_scores, private.board_page, boolean) is
  'The rows of a page of a friend board, or those around the viewer, by credits with competition ranks; the viewer''s own row affects no rank if they are not listed.';

create function private.read_friend_board(viewer uuid, timeframe text, requested_page private.board_page, around_me boolean)
returns private.board_view
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  found_scores record := private.friend_scores(viewer, timeframe);
  shown private.friend_page := private.friend_page(viewer, found_scores.scores, requested_page, around_me);
begin
  return (
    private.board_json(viewer, shown.user_ids, shown.credits, shown.ranks),
    private.place_json(private.friend_standing(viewer, found_scores.scores), (private.friend_standing(viewer, found_scores.earlier)).rank),
    case when requested_page.page is not null then shown.total end,
    case when not around_me and shown.total > shown.last_place then
      private.seal_cursor(shown.credits[requested_page.size], shown.user_ids[requested_page.size]) end)::private.board_view;
end;
$$;
comment on function private.read_friend_board(uuid, text, private.board_page, boolean) is
  'The board of a user and their friends, in the format of private.read_board. Friends who are not listed (privacy level 3 among them) are neither shown nor counted.';

-- The function that clients call ------------------------------------------------------------
create function private.requested_province(province text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  board_province text := coalesce(province, private.caller_province());
begin
  if board_province is null then
    perform private.raise_error('carbon.province_required', '22023');
  elsif not carbon.is_province(board_province) then
    perform private.raise_error('carbon.unknown_province', '22023');
  end if;
  return board_province;
end;
$$;
comment on function private.requested_province(text) is
  'The province of the requested board, by default the caller''s own. Raises 22023 carbon.province_required, carbon.unknown_province.';

create function private.get_leaderboard(
  board_type text default 'global', timeframe text default 'all_time', province text default null,
  page integer default null, page_size integer default null, cursor text default null, around_me boolean default false)
returns json
language plpgsql stable security definer
set search_path = ''
-- For all functions called from here: use cached, index-ordered plans, regardless of the length of a page and of
-- pending changes.
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  viewer uuid := auth.uid();
  size integer := coalesce(page_size, 20);
  board_province text;
  requested_page private.board_page := (page, size, null, null);
  answer private.board_view;
begin
  if size not between 1 and 100 then
    perform private.raise_error('carbon.limit_invalid', '22023');
  elsif page < 1 or page > 1000000 then
    perform private.raise_error('carbon.page_invalid', '22023');
  elsif page is not null and cursor is not null then
    perform private.raise_error('carbon.page_and_cursor', '22023');
  elsif viewer is null and (around_me or board_type = 'friends') then
    perform private.raise_error('carbon.not_signed_in', '42501');
  elsif board_type is null or board_type not in ('global', 'province', 'friends') then
    perform private.raise_error('carbon.board_type_invalid', '22023');
  elsif timeframe is null or timeframe not in ('daily', 'weekly', 'monthly', 'all_time') then
    perform private.raise_error('carbon.timeframe_invalid', '22023');
  end if;
  if board_type = 'province' then
    board_province := private.requested_province(province);
  end if;
  if cursor is not null then
    select null, size, c.credits, c.user_id into requested_page from private.open_cursor(cursor) as c;
  end if;

  if board_type = 'friends' then
    answer := private.read_friend_board(viewer, timeframe, requested_page, coalesce(around_me, false));
  else
    answer := private.read_board(viewer, timeframe, board_province, requested_page, coalesce(around_me, false));
  end if;
  return json_build_object(
    'leaderboard', answer.shown,
    'current_user', answer.own,
    'as_of', coalesce((
      select o.created_at from private.outbox as o
      where o.id >= (select s.low_water_mark from private.worker_state as s)
      order by o.id limit 1), now()),
    'page', page,
    'limit', size,
    'total', answer.total,
    'total_pages', (answer.total + size - 1) / size,
    'next_cursor', case when page is null and around_me is not true then answer.next_cursor end);
end;
$$;
grant execute on function private.get_leaderboard(text, text, text, integer, integer, text, boolean) to anon, authenticated, service_role;
select private.expose(
  'private.get_leaderboard(text, text, text, integer, integer, text, boolean)',
  'A board (board_type global, province or friends; timeframe daily, weekly, monthly or all_time) as the '
  'caller may see it, also without signing in: {leaderboard, current_user, as_of, page, limit, total, '
  'total_pages, next_cursor}. Counts other users'' writes up to as_of, the caller''s own always. A user who '
  'hides disappears at once, so a page may be shorter than page_size; ranks and total follow later. Either '
  'page or cursor; page_size 1 to 100, default 20; around_me returns the rows around the caller. province '
  'null = the caller''s own. Errors: 22023 with the parameter''s token, 42501 carbon.not_signed_in.');
