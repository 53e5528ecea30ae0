-- The diary: one row per thing thrown away or saved, partitioned by month. Derived figures are generated columns, so
-- clients cannot set them.

-- Columns that clients write have domain types. Domain checks are prepared once per session, table checks for every
-- statement; and PostgREST parses such a column by the domain's cast from json. So a time without a zone, a number
-- sent as text or a zone abbreviation is refused here as on every other interface.
create domain public.category_key as text;
comment on domain public.category_key is 'The id of a waste category.';
create domain public.method_key as text;
comment on domain public.method_key is
  'The id of a disposal method; the generated figures reject a method that the category does not have.';
create domain public.kilograms as numeric(8, 3);
comment on domain public.kilograms is 'Kilograms, three decimals.';
create domain public.logged_time as timestamptz;
comment on domain public.logged_time is 'When something was logged.';
create domain public.zone_name as text;
comment on domain public.zone_name is 'Time zone name as returned by carbon.time_zone().';
create domain public.latitude as numeric(9, 6)
  constraint latitude_is_between_minus_90_and_90 check (value between -90 and 90);
comment on domain public.latitude is 'Degrees north, WGS 84.';
create domain public.longitude as numeric(9, 6)
  constraint longitude_is_between_minus_180_and_180 check (value between -180 and 180);
comment on domain public.longitude is 'Degrees east, WGS 84.';
create domain public.place_name as text
  constraint place_has_at_most_200_characters check (length(value) <= carbon.limit_of('place_chars'));
comment on domain public.place_name is 'Free text that names a place.';
create domain public.diary_notes as text
  constraint notes_have_at_most_4000_characters check (length(value) <= carbon.limit_of('imported_notes_chars'));
comment on domain public.diary_notes is 'Free text of an entry.';
create domain public.image_key as uuid;
comment on domain public.image_key is 'The id of a picture.';
create domain public.device_key as text
  constraint device_id_has_1_to_100_characters check (length(value) between 1 and carbon.limit_of('device_id_chars'));
comment on domain public.device_key is 'The id that a device assigns to itself.';
create domain public.offline_key as text
  constraint offline_id_has_1_to_200_characters check (length(value) between 1 and carbon.limit_of('offline_id_chars'));
comment on domain public.offline_key is 'The id that a device assigns to an entry.';

do $$
declare
  read_as record;
begin
  -- PostgreSQL ignores casts to a domain and warns about each; PostgREST uses them.
  set local client_min_messages = error;
  for read_as in
    select * from (values
      ('category_key', 'category_id'), ('method_key', 'disposal_method'), ('kilograms', 'weight_kg'),
      ('logged_time', 'logged_at'), ('zone_name', 'time_zone'), ('latitude', 'location_lat'),
      ('longitude', 'location_lng'), ('diary_notes', 'notes'), ('place_name', 'place'), ('image_key', 'image_id'),
      ('device_key', 'device_id'), ('offline_key', 'offline_id')) as d (name, field)
  loop
    execute format($sql$
      create function private.%1$s_from_json(value json)
      returns public.%1$s
      language plpgsql stable
      set search_path = ''
      as $body$
      begin
        return carbon.entry_field(%2$L, value::text, now());
      end;
      $body$;
      comment on function private.%1$s_from_json(json) is
        'How PostgREST parses %2$s: by the domain rules, 22023 with the field''s token.';
      -- PostgREST lists the casts that its login role may use.
      grant execute on function private.%1$s_from_json(json) to authenticated, service_role, authenticator;
      create cast (json as public.%1$s) with function private.%1$s_from_json(json) as implicit;
      comment on cast (json as public.%1$s) is 'For PostgREST: how a column of this domain is read.'
      $sql$, read_as.name, read_as.field);
  end loop;
end;
$$;

create table public.waste_entries (
  id uuid not null default gen_random_uuid(),
  user_id uuid not null default auth.uid(),
  category_id public.category_key not null,
  disposal_method public.method_key not null,
  weight_kg public.kilograms not null,
  logged_at public.logged_time not null default now(),
  time_zone public.zone_name not null default private.caller_time_zone(),
  province text default private.caller_province(),
  location_lat public.latitude,
  location_lng public.longitude,
  notes public.diary_notes,
  place public.place_name,
  image_id public.image_key,
  device_id public.device_key,
  offline_id public.offline_key,
  legacy_id text,
  batch_id uuid,
  factor_set text not null default carbon.current_factor_set(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- Calls the C functions directly: their SQL wrappers would be parsed for every statement.
  carbon_credits integer not null generated always as (
    -- Computed first, so an incomplete entry is refused with the name of the missing field before the server checks
    -- NOT NULL.
    carbon.entry_credits(category_id, disposal_method, (weight_kg * 1000)::integer, factor_set)) stored,
  -- Numerics without a precision: the products have six decimals, and a length would add a cast to every statement.
  co2e_kg numeric not null generated always as (
    carbon.co2e_milligrams(category_id, disposal_method, (weight_kg * 1000)::integer, factor_set) * 0.000001) stored,
  co2e_avoided_kg numeric not null generated always as (
    carbon.co2e_avoided_milligrams(category_id, disposal_method, (weight_kg * 1000)::integer, factor_set) * 0.000001) stored,
  local_date date not null generated always as (carbon.local_date(logged_at, time_zone)) stored,
  primary key (user_id, logged_at, id),
  constraint location_has_both_latitude_and_longitude check (
    (location_lat is null) = (location_lng is null) or carbon.refuse('carbon.location_invalid')),
  constraint notes_have_at_most_500_characters check (
    notes is null or length(notes) <= carbon.limit_of('notes_chars') or batch_id is not null or carbon.refuse('carbon.notes_too_long'))
) partition by range (logged_at);

comment on table public.waste_entries is
  'The diary. Figures are generated from category, method, weight, factor set, time and zone; the triggers '
  'tg_waste_entries__* maintain sums, days, sync keys and limits. Deliberately without foreign keys: the '
  'trigger refuses rows of users without a profile, and deleting a profile deletes its rows.';
comment on column public.waste_entries.weight_kg is
  'Kilograms, 0.01 to 100, three decimals; the generated figures reject anything else (22023 carbon.weight_out_of_range).';
comment on column public.waste_entries.logged_at is
  'When it happened: at most 5 minutes in the future, at most 7 years in the past.';
comment on column public.waste_entries.time_zone is
  'IANA zone where it was logged, or the user''s zone when the entry arrived; later changes of the preference do not affect it. An unrecognised zone counts as Asia/Bangkok.';
comment on column public.waste_entries.province is
  'The user''s province when the entry was created (ISO 3166-2); it counts on that province''s boards permanently.';
comment on column public.waste_entries.location_lat is 'Degrees, WGS 84.';
comment on column public.waste_entries.location_lng is 'Degrees, WGS 84.';
comment on column public.waste_entries.notes is 'At most 500 characters; up to 4,000 in entries imported from old diaries.';
comment on column public.waste_entries.place is 'Free text of old diaries and clients without coordinates.';
comment on column public.waste_entries.offline_id is
  'The device''s own id for the entry, by which a repeated send is recognised.';
comment on column public.waste_entries.legacy_id is
  'The id of an imported entry in the app''s localStorage; not unique there.';
comment on column public.waste_entries.batch_id is 'The import that created it; null for all other entries.';
comment on column public.waste_entries.factor_set is 'The factor set it was computed with; edits do not change it.';
comment on column public.waste_entries.carbon_credits is 'Credits: floor(credits per kg × kg + 0.5).';
comment on column public.waste_entries.co2e_kg is 'Kilograms CO2e, six decimals.';
comment on column public.waste_entries.co2e_avoided_kg is
  'Kilograms CO2e avoided compared with disposal, six decimals.';
comment on column public.waste_entries.local_date is 'The local date of logged_at in time_zone.';

alter table public.waste_entries enable row level security;
create policy "people read their own entries" on public.waste_entries
  for select to authenticated using (user_id = (select auth.uid()));
create policy "people add entries of their own" on public.waste_entries
  for insert to authenticated with check (user_id = (select auth.uid()));
create policy "people change their own entries" on public.waste_entries
  for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy "people delete their own entries" on public.waste_entries
  for delete to authenticated using (user_id = (select auth.uid()));
grant select, delete on public.waste_entries to authenticated;
grant insert (category_id, disposal_method, weight_kg, logged_at, time_zone, location_lat, location_lng, notes, place,
              image_id, device_id, offline_id) on public.waste_entries to authenticated;
grant update (category_id, disposal_method, weight_kg, logged_at, time_zone, location_lat, location_lng, notes, place,
              image_id) on public.waste_entries to authenticated;
-- Not even the service role may change what identifies an entry.
grant select, insert, delete on public.waste_entries to service_role;
grant update (category_id, disposal_method, weight_kg, logged_at, time_zone, province, location_lat, location_lng,
              notes, place, image_id, device_id, factor_set) on public.waste_entries to service_role;

-- Partitions --------------------------------------------------------------------------------
create table private.waste_entries_default partition of public.waste_entries default;
comment on table private.waste_entries_default is
  'Normally empty: rows outside all months are routed here only so that the trigger can refuse them with a '
  'clear error, and private.ensure_partitions() moves rows that arrived while the job was not running to '
  'their month.';
alter table private.waste_entries_default enable row level security;

create function private.create_month_partition(parent text, month date)
returns void
language plpgsql
set search_path = ''
as $$
declare
  name text := format('%s_y%sm%s', parent, to_char(month, 'YYYY'), to_char(month, 'MM'));
  table_name regclass := format('public.%I', parent);
  lower_bound timestamptz := month::timestamp at time zone 'UTC';
  upper_bound timestamptz := (month + interval '1 month')::timestamp at time zone 'UTC';
  time_column text := (
    select a.attname from pg_catalog.pg_partitioned_table as p
    join pg_catalog.pg_attribute as a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
    where p.partrelid = table_name);
  stated_columns text;
begin
  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into stated_columns
  from pg_catalog.pg_attribute as a
  where a.attrelid = table_name
    and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';

  -- Filling the table before attaching it does not block reads or writes of the other months.
  execute format('create table private.%I (like public.%I including all)', name, parent);
  execute format('alter table private.%I enable row level security', name);
  execute format('comment on table private.%I is %L', name,
                 format('Rows of %s (UTC). Reached through public.%s only.', to_char(month, 'YYYY-MM'), parent));
  execute format('insert into private.%I (%s) select %s from private.%I where %I >= $1 and %I < $2',
                 name, stated_columns, stated_columns, parent || '_default', time_column, time_column)
    using lower_bound, upper_bound;
  execute format('delete from private.%I where %I >= $1 and %I < $2', parent || '_default', time_column, time_column)
    using lower_bound, upper_bound;
  execute format('alter table public.%I attach partition private.%I for values from (%L) to (%L)',
                 parent, name, lower_bound, upper_bound);
end;
$$;
comment on function private.create_month_partition(text, date) is
  'Creates the partition of a table of public for the month that begins on the given date, and moves matching rows from the table''s default partition to it. Raises 42P07 if it exists.';

create function private.ensure_partitions()
returns integer
language plpgsql
set search_path = ''
as $$
declare
  missing record;
  made integer := 0;
begin
  for missing in
    select t.parent, m::date as month
    from (values ('waste_entries', interval '7 years'), ('activity_feed', interval '3 months')) as t (parent, past)
    cross join lateral generate_series(
      date_trunc('month', (now() - t.past) at time zone 'UTC'),
      date_trunc('month', now() at time zone 'UTC') + interval '3 months',
      interval '1 month') as m
    -- A later migration creates the second table.
    where to_regclass('public.' || t.parent) is not null
      and to_regclass(format('private.%s_y%sm%s', t.parent, to_char(m, 'YYYY'), to_char(m, 'MM'))) is null
  loop
    perform private.create_month_partition(missing.parent, missing.month);
    made := made + 1;
  end loop;
  return made;
end;
$$;
comment on function private.ensure_partitions() is
  'Creates missing monthly partitions to 3 months ahead: of entries from 7 years ago, of the feed from 3 months ago. Returns how many it created. Can be run at any time.';
do $$ begin perform private.ensure_partitions(); end $$;
