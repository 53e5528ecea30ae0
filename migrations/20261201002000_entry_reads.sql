-- Reading entries by rpc. Reads write nothing: PostgREST runs GET in a read-only transaction.

create function private.get_waste_entry(entry_id uuid)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  key private.entry_keys := private.own_entry_key(private.caller_id(), entry_id);
  entry public.waste_entries;
begin
  select e.* into entry from public.waste_entries as e
  where e.user_id = key.user_id and e.logged_at = key.logged_at and e.id = key.entry_id;
  return private.entry_json(entry, key.revision);
end;
$$;
grant execute on function private.get_waste_entry(uuid) to authenticated;
select private.expose(
  'private.get_waste_entry(uuid)',
  'One entry of the caller as entry-out; PT404 carbon.not_found.');

-- The list ----------------------------------------------------------------------------------
create type private.entry_filter as (
  date_from date,
  date_to date,
  category_id text,
  disposal_method text,
  search_key text
);
comment on type private.entry_filter is
  'The filter of a list of entries; null = no restriction. Dates are local days, inclusive; search_key is what notes or place contain, as returned by carbon.search_key.';

create function private.entries_between(p_user_id uuid, lower_bound timestamptz, upper_bound timestamptz,
                                        after_id uuid, selection private.entry_filter, skip bigint, row_limit bigint)
returns setof public.waste_entries
language plpgsql stable rows 20
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
begin
  -- Deliberately planned at every call: with concrete bounds, only the months between them are opened.
  return query
  select e.*
  from public.waste_entries as e
  where e.user_id = p_user_id
    and e.logged_at >= lower_bound
    and e.logged_at <= upper_bound
    and (after_id is null or (e.logged_at, e.id) < (upper_bound, after_id))
    and (selection.date_from is null or e.local_date >= selection.date_from)
    and (selection.date_to is null or e.local_date <= selection.date_to)
    and (selection.category_id is null or e.category_id = selection.category_id)
    and (selection.disposal_method is null or e.disposal_method = selection.disposal_method)
    and (selection.search_key is null or carbon.text_contains(e.notes, selection.search_key)
         or carbon.text_contains(e.place, selection.search_key))
  order by e.logged_at desc, e.id desc
  offset skip limit row_limit;
end;
$$;
comment on function private.entries_between(uuid, timestamptz, timestamptz, uuid, private.entry_filter, bigint, bigint) is
  'Entries of one user within the bounds (both inclusive) that pass the filter, newest first; with after_id only those after (upper_bound, after_id) in that order.';

create function private.entry_bounds(p_user_id uuid, selection private.entry_filter, newest timestamptz,
                                     out lower_bound timestamptz, out upper_bound timestamptz)
language plpgsql stable
set search_path = ''
-- Same as in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
as $$
begin
  -- A local day begins up to 14 hours before the day in UTC and ends up to 12 hours after it.
  lower_bound := ((
    select d.local_date from public.user_days as d
    where d.user_id = p_user_id and d.local_date >= coalesce(selection.date_from, '-infinity')
    order by d.local_date limit 1) - 1)::timestamp at time zone 'UTC';
  upper_bound := ((
    select d.local_date from public.user_days as d
    where d.user_id = p_user_id and d.local_date <= least(selection.date_to, (newest at time zone 'UTC')::date + 1)
    order by d.local_date desc limit 1) + 2)::timestamp at time zone 'UTC';
  -- least() ignores nulls: without a day the bound must be null, or the search would never end.
  if upper_bound is not null then
    upper_bound := least(newest, upper_bound);
  end if;
end;
$$;
comment on function private.entry_bounds(uuid, private.entry_filter, timestamptz) is
  'The range of instants, at or before newest, that can contain a user''s entries on the dates of the filter; '
  'derived from the days that have entries. If there are none, one bound is null or lower_bound is above '
  'upper_bound.';

create function private.newest_days(p_user_id uuid, selection private.entry_filter, newest timestamptz, days bigint,
                                    out lower_bound timestamptz, out upper_bound timestamptz)
language plpgsql stable
set search_path = ''
-- Same as in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
as $$
begin
  -- A local day begins up to 14 hours before the day in UTC and ends up to 12 hours after it.
  select (min(d.local_date) - 1)::timestamp at time zone 'UTC',
         least(newest, (max(d.local_date) + 2)::timestamp at time zone 'UTC')
  into lower_bound, upper_bound
  from (
    select u.local_date from public.user_days as u
    where u.user_id = p_user_id
      and u.local_date >= coalesce(selection.date_from, '-infinity')
      and u.local_date <= least(selection.date_to, (newest at time zone 'UTC')::date + 1)
    order by u.local_date desc
    limit days) as d;
  -- least() ignores nulls: without a day the bound must be null, or the search would never end.
  if lower_bound is null then
    upper_bound := null;
  end if;
end;
$$;
comment on function private.newest_days(uuid, private.entry_filter, timestamptz, bigint) is
  'The range of instants, at or before newest, of a user''s newest `days` days with entries on the dates of '
  'the filter; nulls if there are none. Each day has an entry, so a page needs at most one day per line, '
  'unless it is filtered by more than dates.';

create function private.newest_entries(p_user_id uuid, newest timestamptz, after_id uuid, selection private.entry_filter,
                                       row_limit bigint, out lines json[], out times timestamptz[], out ids uuid[])
language plpgsql stable
set search_path = ''
as $$
declare
  lower_bound timestamptz;
  upper_bound timestamptz;
  oldest timestamptz;
  reach interval := interval '12 months';
begin
  lines := '{}';
  times := '{}';
  ids := '{}';
  select d.lower_bound, d.upper_bound into lower_bound, upper_bound
  from private.newest_days(p_user_id, selection, newest, row_limit) as d;

  -- Start with the days that hold a full page; go further back only while it is not full.
  while upper_bound >= lower_bound loop
    select newest_entries.lines || e.lines, newest_entries.times || e.times, newest_entries.ids || e.ids
    into lines, times, ids
    from private.entry_lines(p_user_id, array(
      select b from private.entries_between(p_user_id, lower_bound, upper_bound, case when upper_bound = newest then after_id end,
                                            selection, 0, row_limit - cardinality(ids)) as b)) as e;
    exit when cardinality(ids) >= row_limit;
    if oldest is null then
      select b.lower_bound into oldest from private.entry_bounds(p_user_id, selection, newest) as b;
    end if;
    upper_bound := lower_bound - interval '1 microsecond';
    lower_bound := greatest(oldest, upper_bound - reach);
    reach := interval '100 years';
  end loop;
end;
$$;
comment on function private.newest_entries(uuid, timestamptz, uuid, private.entry_filter, bigint) is
  'The newest entries of one user at or before newest (with after_id: after that entry) that pass the filter, as entry-out, with their times and ids.';

create function private.list_waste_entries(page integer, page_size integer, page_cursor text, selection private.entry_filter)
returns json
language plpgsql stable security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  size integer := coalesce(page_size, 20);
  position_of_cursor text[];
  newest timestamptz := 'infinity';
  after_id uuid;
  total bigint;
  shown record;
begin
  if size not between 1 and 100 then
    perform private.raise_error('carbon.limit_invalid', '22023');
  elsif page < 1 or page > 1000000 then
    perform private.raise_error('carbon.page_invalid', '22023');
  elsif page is not null and page_cursor is not null then
    perform private.raise_error('carbon.page_and_cursor', '22023');
  elsif selection.date_to < selection.date_from then
    perform private.raise_error('carbon.date_range_invalid', '22023');
  end if;
  if selection.search_key is not null then
    perform carbon.hold_heavy_slot();
  end if;
  if page_cursor is not null then
    begin
      position_of_cursor := string_to_array(convert_from(decode(translate(page_cursor, '-_', '+/'), 'base64'), 'UTF8'), ',');
      newest := position_of_cursor[1]::timestamptz;
      after_id := position_of_cursor[2]::uuid;
    exception when others then
      perform private.raise_error('carbon.cursor_invalid', '22023');
    end;
  end if;

  if page is not null then
    total := private.count_entries(caller_id, selection);
    select e.lines into shown
    from private.entry_bounds(caller_id, selection, 'infinity') as b,
         private.entry_lines(caller_id, array(
           select x from private.entries_between(caller_id, b.lower_bound, b.upper_bound, null, selection,
                                                 (page - 1)::bigint * size, size) as x)) as e;
    return json_build_object(
      'entries', coalesce(shown.lines, '{}'), 'next_cursor', null, 'page', page, 'limit', size, 'total', total,
      'total_pages', (total + size - 1) / size);
  end if;

  -- One more than the page shows, to detect a next page.
  select e.lines, e.times, e.ids into shown
  from private.newest_entries(caller_id, newest, after_id, selection, size + 1) as e;
  return json_build_object(
    'entries', shown.lines[1:size],
    'next_cursor', case when cardinality(shown.ids) > size then translate(encode(convert_to(
      (to_json(shown.times[size]) #>> '{}') || ',' || shown.ids[size], 'UTF8'), 'base64'), E'+/\n', '-_') end,
    'page', null, 'limit', size, 'total', null, 'total_pages', null);
end;
$$;
comment on function private.list_waste_entries(integer, integer, text, private.entry_filter) is
  'Body of public.list_waste_entries.';

create function private.count_entries(p_user_id uuid, selection private.entry_filter)
returns bigint
language plpgsql stable
set search_path = ''
as $$
begin
  if selection.category_id is null and selection.disposal_method is null and selection.search_key is null then
    return (
      select coalesce(sum(d.entries), 0) from public.user_days as d
      where d.user_id = p_user_id
        and d.local_date >= coalesce(selection.date_from, '-infinity')
        and d.local_date <= coalesce(selection.date_to, 'infinity'));
  end if;
  return (
    select count(*)
    from private.entry_bounds(p_user_id, selection, 'infinity') as b,
         private.entries_between(p_user_id, b.lower_bound, b.upper_bound, null, selection, 0, null));
end;
$$;
comment on function private.count_entries(uuid, private.entry_filter) is
  'How many entries of one user pass the filter; from the daily sums where they have enough detail.';

create function public.list_waste_entries(
  page integer default null, page_size integer default null, cursor text default null,
  date_from text default null, date_to text default null, category_id text default null,
  disposal_method text default null, q text default null)
returns json
language plpgsql stable
set search_path = ''
as $$
begin
  if length(q) > 100 then
    perform private.raise_error('carbon.query_invalid', '22023');
  end if;
  return private.list_waste_entries(
    page, page_size, cursor,
    row(carbon.parse_date(date_from, 'date_from', now()), carbon.parse_date(date_to, 'date_to', now()), category_id,
        disposal_method, nullif(carbon.search_key(q), ''))::private.entry_filter);
end;
$$;
comment on function public.list_waste_entries(integer, integer, text, text, text, text, text, text) is
  'Entries of the caller, newest first by logged_at, then id. Either page (returns total and total_pages) or '
  'cursor (returns next_cursor, null at the end); page_size 1 to 100, default 20. date_from and date_to are '
  'local days, YYYY-MM-DD, inclusive, no later than tomorrow; q is a part of notes or place, matched '
  'regardless of case, Unicode composition, zero-width characters and order of Thai marks; a q without '
  'visible characters does not filter. Returns {entries, next_cursor, page, limit, total, total_pages}. '
  'Errors: 22023 with the parameter''s token.';

grant usage on type private.entry_filter to authenticated;
grant execute on function private.list_waste_entries(integer, integer, text, private.entry_filter),
  public.list_waste_entries(integer, integer, text, text, text, text, text, text) to authenticated;
