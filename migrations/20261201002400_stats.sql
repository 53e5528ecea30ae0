-- Sums of a user's own entries by day, month and category.

create function private.own_today(p_user_id uuid)
returns date
language plpgsql stable
set search_path = ''
as $$
begin
  return carbon.local_date(now(), coalesce(
    (select p.time_zone from public.user_preferences as p where p.user_id = p_user_id), carbon.default_time_zone()));
end;
$$;
comment on function private.own_today(uuid) is
  'Today''s date in the user''s time zone, or in Asia/Bangkok if none is set.';

create function private.sums_json(p_user_id uuid, first_date date, last_date date)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'total_entries', coalesce(sum(d.entries), 0),
      'total_weight_kg', trim_scale(coalesce(sum(d.weight_kg), 0)),
      'total_credits', coalesce(sum(d.credits), 0),
      'credits_positive', coalesce(sum(d.credits_positive), 0),
      'credits_negative', coalesce(sum(d.credits_negative), 0),
      'co2e_kg', trim_scale(coalesce(sum(d.co2e_kg), 0)),
      'co2e_avoided_kg', trim_scale(coalesce(sum(d.co2e_avoided_kg), 0)),
      'trees_equivalent', carbon.trees(coalesce(sum(d.credits), 0)::bigint))
    from public.user_days as d
    where d.user_id = p_user_id and d.local_date between first_date and last_date);
end;
$$;
comment on function private.sums_json(uuid, date, date) is
  'The sums over a user''s local days from the first to the last date, inclusive: kilograms, credits, kilograms CO2e, trees of 500 credits.';

create function private.own_entries_of(p_user_id uuid, first_date date, last_date date)
returns setof public.waste_entries
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select e.*
  from private.entry_bounds(p_user_id, row(first_date, last_date, null, null, null)::private.entry_filter, 'infinity') as b,
       private.entries_between(p_user_id, b.lower_bound, b.upper_bound, null,
         row(first_date, last_date, null, null, null)::private.entry_filter, 0, null) as e;
end;
$$;
comment on function private.own_entries_of(uuid, date, date) is
  'A user''s entries of the local days from the first to the last date, inclusive; null = no bound on that side.';

create function private.waste_stats_daily(day text default null)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  local_day date := coalesce(carbon.parse_date(day, 'date', now()), private.own_today(caller_id));
begin
  return jsonb_build_object('date', local_day) || private.sums_json(caller_id, local_day, local_day) || jsonb_build_object('categories', (
    select coalesce(jsonb_object_agg(c.category_id, jsonb_build_object(
      'entries', c.entries, 'weight_kg', trim_scale(c.weight_kg), 'credits', c.credits)), '{}')
    from (
      select e.category_id, count(*) as entries, sum(e.weight_kg) as weight_kg, sum(e.carbon_credits) as credits
      from private.own_entries_of(caller_id, local_day, local_day) as e
      group by e.category_id) as c));
end;
$$;
grant execute on function private.waste_stats_daily(text) to authenticated;
select private.expose(
  'private.waste_stats_daily(text)',
  'The caller''s sums of one local day, YYYY-MM-DD (default: today in their own zone), in total and by '
  'category, in the contract''s format. Errors: 22023 carbon.date_invalid, carbon.date_in_future, '
  'carbon.date_buddhist_era.');

create function private.waste_stats_monthly(month text default null)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  first_date date := coalesce(carbon.parse_month(month, now()),
                              date_trunc('month', private.own_today(caller_id)::timestamp)::date);
  last_date date := (first_date + interval '1 month')::date - 1;
begin
  return jsonb_build_object('month', to_char(first_date, 'YYYY-MM')) || private.sums_json(caller_id, first_date, last_date)
    || jsonb_build_object('days', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'date', d.local_date, 'entries', d.entries, 'weight_kg', trim_scale(d.weight_kg), 'credits', d.credits)
        order by d.local_date), '[]')
      from (
        select u.local_date, sum(u.entries) as entries, sum(u.weight_kg) as weight_kg, sum(u.credits) as credits
        from public.user_days as u
        where u.user_id = caller_id and u.local_date between first_date and last_date
        group by u.local_date) as d));
end;
$$;
grant execute on function private.waste_stats_monthly(text) to authenticated;
select private.expose(
  'private.waste_stats_monthly(text)',
  'The caller''s sums of one month, YYYY-MM (default: the current one in their own zone), with its days that '
  'have entries. Errors: 22023 carbon.month_invalid, carbon.date_in_future, carbon.date_buddhist_era.');

create function private.waste_stats_by_category(date_from text default null, date_to text default null)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  first_date date := carbon.parse_date(date_from, 'date_from', now());
  last_date date := carbon.parse_date(date_to, 'date_to', now());
begin
  if last_date < first_date then
    perform private.raise_error('carbon.date_range_invalid', '22023');
  end if;
  return jsonb_build_object('categories', (
    with by_method as (
      select e.category_id, e.disposal_method, count(*) as entries, sum(e.weight_kg) as weight_kg,
             sum(e.carbon_credits) as credits, sum(e.co2e_kg) as co2e_kg, sum(e.co2e_avoided_kg) as co2e_avoided_kg
      from private.own_entries_of(caller_id, first_date, last_date) as e
      group by e.category_id, e.disposal_method
    ), by_category as (
      select m.category_id, jsonb_build_object(
        'category_id', m.category_id,
        'entries', sum(m.entries),
        'weight_kg', trim_scale(sum(m.weight_kg)),
        'credits', sum(m.credits),
        'co2e_kg', trim_scale(sum(m.co2e_kg)),
        'co2e_avoided_kg', trim_scale(sum(m.co2e_avoided_kg)),
        'methods', jsonb_object_agg(m.disposal_method, jsonb_build_object(
          'entries', m.entries, 'weight_kg', trim_scale(m.weight_kg), 'credits', m.credits))) as line
      from by_method as m
      group by m.category_id
    )
    select coalesce(jsonb_agg(b.line order by c."position", b.category_id), '[]')
    from by_category as b
    left join public.waste_categories as c on c.id = b.category_id));
end;
$$;
grant execute on function private.waste_stats_by_category(text, text) to authenticated;
select private.expose(
  'private.waste_stats_by_category(text, text)',
  'The caller''s sums by category and method over the local days from date_from to date_to, inclusive (null = '
  'no bound on that side), in display order of the categories. Errors: 22023 carbon.date_invalid, '
  'carbon.date_in_future, carbon.date_buddhist_era, carbon.date_range_invalid.');
