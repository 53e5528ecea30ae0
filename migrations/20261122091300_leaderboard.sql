-- Boards: who has how many points in a period, in the country or a province. Computed when read
-- from the sums by day, so they are exact and never stale; privacy is applied here and nowhere else.

create table private.secrets (
  name text primary key,
  value bytea not null
);
comment on table private.secrets is
  'Keys the database makes for itself and shows to nobody.';
alter table private.secrets enable row level security;
insert into private.secrets (name, value) values ('board_cursor', extensions.gen_random_bytes(32));

create function private.seal_cursor(credits bigint, user_id uuid)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  -- Encrypted: the last row of a page may be of someone whose id the reader must not learn.
  return translate(encode(extensions.encrypt(
    convert_to(credits || ',' || user_id, 'UTF8'),
    (select s.value from private.secrets as s where s.name = 'board_cursor'), 'aes'), 'base64'), E'+/\n', '-_');
end;
$$;
comment on function private.seal_cursor(bigint, uuid) is
  'An opaque cursor that stands after this score and user.';

create function private.open_cursor(board_cursor text, out credits bigint, out user_id uuid)
language plpgsql stable
set search_path = ''
as $$
declare
  parts text[];
begin
  parts := string_to_array(convert_from(extensions.decrypt(
    decode(translate(board_cursor, '-_', '+/'), 'base64'),
    (select s.value from private.secrets as s where s.name = 'board_cursor'), 'aes'), 'UTF8'), ',');
  credits := parts[1]::bigint;
  user_id := parts[2]::uuid;
exception
  when others then
    perform private.raise_error('carbon.cursor_invalid', '22023');
end;
$$;
comment on function private.open_cursor(text) is
  'What private.seal_cursor put in; 22023 carbon.cursor_invalid for anything else.';

-- Periods and scores ------------------------------------------------------------------------
create function private.board_period(timeframe text, periods_back integer, out first_date date, out last_date date)
language plpgsql stable
set search_path = ''
as $$
declare
  today date := carbon.local_date(now(), 'Asia/Bangkok');
begin
  if timeframe = 'daily' then
    first_date := today - periods_back;
    last_date := first_date;
  elsif timeframe = 'weekly' then
    first_date := date_trunc('week', today::timestamp)::date - 7 * periods_back;
    last_date := first_date + 6;
  elsif timeframe = 'monthly' then
    first_date := (date_trunc('month', today::timestamp) - periods_back * interval '1 month')::date;
    last_date := (first_date + interval '1 month')::date - 1;
  elsif timeframe is distinct from 'all_time' then
    perform private.raise_error('carbon.timeframe_invalid', '22023');
  end if;
end;
$$;
comment on function private.board_period(text, integer) is
  'First and last day of the board''s current period (periods_back 0) or an earlier one, by the calendar of Bangkok, weeks from Monday; nulls for all_time. 22023 carbon.timeframe_invalid.';

create function private.board_scores(board_province text, first_date date, last_date date, only_users uuid[])
returns table (user_id uuid, credits bigint, is_listed boolean)
language plpgsql stable
set search_path = ''
as $$
begin
  if first_date is null and board_province is null then
    return query
    select t.user_id, t.credits, p.privacy_level < 3 and p.visible_in_leaderboard and not p.is_anonymous
    from public.user_totals as t
    join public.profiles as p on p.id = t.user_id
    where t.entries > 0 and (only_users is null or t.user_id = any (only_users));
  else
    return query
    select s.user_id, s.credits, p.privacy_level < 3 and p.visible_in_leaderboard and not p.is_anonymous
    from (
      select d.user_id, sum(d.credits)::bigint as credits
      from public.user_days as d
      where d.local_date between coalesce(first_date, '-infinity') and coalesce(last_date, 'infinity')
        and (board_province is null or d.province = board_province)
        and (only_users is null or d.user_id = any (only_users))
      group by d.user_id) as s
    join public.profiles as p on p.id = s.user_id;
  end if;
end;
$$;
comment on function private.board_scores(text, date, date, uuid[]) is
  'Everybody with at least one entry in the period (nulls = ever) and province (null = all), their points, and whether boards list them: not with privacy 3, not hidden, not anonymous. only_users narrows it to a circle.';

create function private.board_standing(person uuid, board_province text, first_date date, last_date date, only_users uuid[])
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return coalesce((
    with scores as materialized (
      select s.* from private.board_scores(board_province, first_date, last_date, only_users) as s
    ), own as (
      select s.credits from scores as s where s.user_id = person
    )
    select jsonb_build_object(
      'rank', 1 + count(*) filter (where s.credits > o.credits),
      'credits', o.credits,
      -- Alone on the board, a person is ahead of nobody and behind nobody: 100.
      'percentile', trim_scale(round(coalesce(
        100.0 * count(*) filter (where s.credits < o.credits) / nullif(count(s.user_id), 0), 100), 2)))
    from own as o
    left join scores as s on s.is_listed and s.user_id <> person
    group by o.credits), jsonb_build_object('rank', null, 'credits', 0, 'percentile', null));
end;
$$;
comment on function private.board_standing(uuid, text, date, date, uuid[]) is
  'Where a person stands, listed or not: {rank: 1 + listed people above, credits, percentile: listed people below of all other listed, in %}; rank and percentile null without entries in the period.';

create function private.board_place(person uuid, board_province text, timeframe text, only_users uuid[])
returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  current_period record;
  earlier_period record;
  standing jsonb;
  earlier_rank integer;
begin
  select p.* into current_period from private.board_period(timeframe, 0) as p;
  standing := private.board_standing(person, board_province, current_period.first_date, current_period.last_date, only_users);
  if timeframe <> 'all_time' then
    select p.* into earlier_period from private.board_period(timeframe, 1) as p;
    earlier_rank := private.board_standing(
      person, board_province, earlier_period.first_date, earlier_period.last_date, only_users) ->> 'rank';
  end if;
  return standing || jsonb_build_object('rank_change', earlier_rank - (standing ->> 'rank')::integer);
end;
$$;
comment on function private.board_place(uuid, text, text, uuid[]) is
  'The contract''s current_user: standing in the current period, and rank_change against the period before as it stands now (positive = climbed; null for all_time or without both ranks).';

-- The page ----------------------------------------------------------------------------------
create type private.board_page as (
  first_place bigint,
  last_place bigint,
  after_credits bigint,
  after_user uuid
);
comment on type private.board_page is
  'Which rows of a board: places from first to last (numbered without ties), and only those after a score and user if given.';

create function private.board_rows(viewer uuid, board_province text, first_date date, last_date date, only_users uuid[],
                                   page_size integer, wanted private.board_page, around uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    with listed as materialized (
      -- Only listed people count for ranks: whoever looks around themself unlisted moves nobody.
      select s.user_id, s.credits,
             1 + count(*) filter (where s.is_listed) over (
               order by s.credits desc groups between unbounded preceding and 1 preceding) as rank,
             row_number() over (order by s.credits desc, s.user_id) as place,
             count(*) filter (where s.is_listed) over () as total
      from private.board_scores(board_province, first_date, last_date, only_users) as s
      where s.is_listed or s.user_id = around
    ), shown as (
      select l.*
      from listed as l
      where case
        when around is not null then l.place between
          (select a.place - page_size / 2 from listed as a where a.user_id = around) and
          (select a.place + (page_size - 1) / 2 from listed as a where a.user_id = around)
        when wanted.after_user is not null then
          l.credits < wanted.after_credits or (l.credits = wanted.after_credits and l.user_id > wanted.after_user)
        else l.place between wanted.first_place and wanted.last_place end
      order by l.place
      limit page_size
    )
    select jsonb_build_object(
      'total', (select coalesce(max(l.total), 0) from listed as l),
      'rows', coalesce(jsonb_agg(jsonb_build_object(
        'rank', s.rank,
        'user_id', case when not m.masked then s.user_id end,
        'display_name', case when not m.masked then p.display_name end,
        'province', p.province,
        'avatar_url', case when not m.masked then p.avatar_url end,
        'credits', s.credits,
        'current_level', carbon.level(t.credits),
        'trees_saved', carbon.trees(t.credits),
        'is_current_user', s.user_id is not distinct from viewer,
        'is_friend', false,
        'masked', m.masked) order by s.place), '[]'),
      'next_cursor', case when max(s.place) < (select max(l.place) from listed as l) then (
        select private.seal_cursor(l.credits, l.user_id) from listed as l where l.place = max(s.place)) end)
    from shown as s
    join public.profiles as p on p.id = s.user_id
    join public.user_totals as t on t.user_id = s.user_id
    cross join lateral (select p.privacy_level = 2 and s.user_id is distinct from viewer as masked) as m);
end;
$$;
comment on function private.board_rows(uuid, text, date, date, uuid[], integer, private.board_page, uuid) is
  'Rows of a board as the viewer may see them: {total, rows, next_cursor}. Competition ranks by points, equals in the order of user id; masked rows of privacy 2 name nobody. With around: the rows about that person.';

create function private.get_leaderboard(board_type text, timeframe text, wanted_province text, page integer,
                                        page_size integer, board_cursor text, around_me boolean)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  viewer uuid := auth.uid();
  size integer := coalesce(page_size, 20);
  board_province text;
  only_users uuid[];
  period record;
  wanted private.board_page := row(1, size, null, null);
  found_rows jsonb;
begin
  if size not between 1 and 100 then
    perform private.raise_error('carbon.limit_invalid', '22023');
  elsif page < 1 or page > 1000000 then
    perform private.raise_error('carbon.page_invalid', '22023');
  elsif page is not null and board_cursor is not null then
    perform private.raise_error('carbon.page_and_cursor', '22023');
  elsif viewer is null and (around_me or board_type = 'friends') then
    perform private.raise_error('carbon.not_signed_in', '42501');
  end if;

  if board_type = 'province' then
    board_province := coalesce(wanted_province, private.caller_province());
    if board_province is null then
      perform private.raise_error('carbon.province_required', '22023');
    elsif not carbon.is_province(board_province) then
      perform private.raise_error('carbon.unknown_province', '22023');
    end if;
  elsif board_type = 'friends' then
    only_users := array[viewer];
  elsif board_type is distinct from 'global' then
    perform private.raise_error('carbon.board_type_invalid', '22023');
  end if;
  select p.* into period from private.board_period(timeframe, 0) as p;
  if page is not null then
    wanted := row((page - 1)::bigint * size + 1, page::bigint * size, null, null);
  elsif board_cursor is not null then
    select null, null, c.credits, c.user_id into wanted from private.open_cursor(board_cursor) as c;
  end if;

  found_rows := private.board_rows(viewer, board_province, period.first_date, period.last_date, only_users, size,
                                   wanted, case when around_me then viewer end);
  return jsonb_build_object(
    'leaderboard', found_rows -> 'rows',
    'current_user', case when viewer is not null then
      private.board_place(viewer, board_province, timeframe, only_users) end,
    'as_of', now(),
    'page', page,
    'limit', size,
    'total', case when page is not null then (found_rows ->> 'total')::bigint end,
    'total_pages', case when page is not null then ((found_rows ->> 'total')::bigint + size - 1) / size end,
    'next_cursor', case when page is null and around_me is not true then found_rows ->> 'next_cursor' end);
end;
$$;
comment on function private.get_leaderboard(text, text, text, integer, integer, text, boolean) is
  'Body of public.get_leaderboard.';

create function public.get_leaderboard(
  board_type text default 'global', timeframe text default 'all_time', province text default null,
  page integer default null, page_size integer default null, cursor text default null, around_me boolean default false)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return private.get_leaderboard(board_type, timeframe, province, page, page_size, cursor, around_me);
end;
$$;
comment on function public.get_leaderboard(text, text, text, integer, integer, text, boolean) is
  'A board (board_type global, province or friends; timeframe daily, weekly, monthly or all_time) as the caller may see it, also without signing in: {leaderboard, current_user, as_of, page, limit, total, total_pages, next_cursor}. Either page or cursor; page_size 1 to 100, default 20; around_me shows the rows about the caller. province null = the caller''s own. Errors: 22023 with the parameter''s token, 42501 carbon.not_signed_in.';

grant execute on function private.get_leaderboard(text, text, text, integer, integer, text, boolean),
  public.get_leaderboard(text, text, text, integer, integer, text, boolean) to anon, authenticated, service_role;
