-- People: what they say about themselves, and when a person begins to exist here.

create table public.profiles (
  id uuid primary key references auth.users (id) on delete cascade,
  is_anonymous boolean not null default false,
  phone_number text,
  username public.profile_username,
  display_name public.profile_display_name,
  avatar_url text,
  province public.profile_province,
  district public.profile_district,
  privacy_level public.profile_privacy_level not null default 1,
  visible_in_leaderboard public.profile_visible_in_leaderboard not null default true,
  onboarding_completed public.profile_onboarding_completed not null default false,
  notification_settings public.profile_notification_settings,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  last_active_at timestamptz not null default now(),
  closed_until timestamptz,
  constraint avatar_url_has_at_most_500_characters check (length(avatar_url) <= 500)
);
comment on table public.profiles is
  'One row per person, from the moment Auth shows them confirmed or anonymous until they are deleted. A person sees only their own row; what others may see of them comes through functions that name their columns.';
comment on column public.profiles.is_anonymous is 'Signed in without phone or identity; kept in step with Auth.';
comment on column public.profiles.phone_number is 'E.164 (+66…), kept in step with Auth; nobody but its owner can read it.';
comment on column public.profiles.closed_until is 'Auth deleted the person softly (infinity) or banned them (until then): on no board, and nothing is written in their name; null = open. Kept in step with Auth.';
comment on column public.profiles.username is 'Unique whatever its case.';
comment on column public.profiles.province is 'ISO 3166-2 (TH-10). New entries carry it; entries already there keep theirs.';
comment on column public.profiles.privacy_level is '1 listed on boards, 2 listed without name except to friends, 3 neither listed nor counted.';
comment on column public.profiles.notification_settings is 'Category of push → boolean; null = nothing chosen, every category on.';
create unique index profiles_username_is_unique on public.profiles (lower(username));

alter table public.profiles enable row level security;
create policy "people read their own profile" on public.profiles
  for select to authenticated using (id = (select auth.uid()));
create policy "people change their own profile" on public.profiles
  for update to authenticated
  using (id = (select auth.uid())) with check (id = (select auth.uid()));
grant select on public.profiles to authenticated;
grant update (username, display_name, province, district, privacy_level, visible_in_leaderboard,
              onboarding_completed, notification_settings) on public.profiles to authenticated;
grant select, update on public.profiles to service_role;

create trigger tg_profiles__touch before update on public.profiles
  for each row when (old.* is distinct from new.*) execute function private.tg_any__touch();

-- Preferences -------------------------------------------------------------------------------
create table public.user_preferences (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  language public.profile_language,
  time_zone text,
  daily_goal public.profile_daily_goal,
  measurement_unit public.profile_measurement_unit,
  theme public.profile_theme,
  auto_sync public.profile_auto_sync,
  updated_at timestamptz not null default now()
);
comment on table public.user_preferences is
  'What a person has chosen; null = not chosen, and the answer is the default: th, Asia/Bangkok, 100, kg, notebook, true. Keeping the difference lets an import fill in only what was never set.';
comment on column public.user_preferences.time_zone is 'IANA name; decides the local day of entries logged from now on.';
comment on column public.user_preferences.daily_goal is 'Credits a day the person aims at.';

alter table public.user_preferences enable row level security;
create policy "people read their own preferences" on public.user_preferences
  for select to authenticated using (user_id = (select auth.uid()));
create policy "people change their own preferences" on public.user_preferences
  for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
grant select on public.user_preferences to authenticated;
grant update (language, time_zone, daily_goal, measurement_unit, theme, auto_sync)
  on public.user_preferences to authenticated;
grant select, update on public.user_preferences to service_role;

create trigger tg_user_preferences__touch before update on public.user_preferences
  for each row when (old.* is distinct from new.*) execute function private.tg_any__touch();

create function private.tg_user_preferences__check_time_zone()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- What did not change is not looked at again: a zone that is gone stands in the way of nothing else.
  if tg_op = 'INSERT' or new.time_zone is distinct from old.time_zone then
    new.time_zone := carbon.time_zone(new.time_zone);
  end if;
  return new;
end;
$$;
comment on function private.tg_user_preferences__check_time_zone() is
  'Row trigger: a preferred time zone must be an IANA name (22023 carbon.time_zone_invalid) and is kept by the name of today.';
create trigger tg_user_preferences__check_time_zone
  before insert or update of time_zone on public.user_preferences
  for each row execute function private.tg_user_preferences__check_time_zone();

-- Totals of a person ------------------------------------------------------------------------
create table public.user_totals (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  entries bigint not null default 0,
  weight_kg numeric not null default 0,
  credits bigint not null default 0,
  co2e_kg numeric not null default 0,
  co2e_avoided_kg numeric not null default 0,
  tally bytea not null default '',
  rewards bigint not null default 0,
  level integer not null default 1,
  achievements text[] not null default '{}',
  ledger_rows bigint not null default 0,
  rules_version bigint not null default 0,
  settled_until date not null default '1970-01-01',
  awaiting_day date,
  revision bigint not null default 0,
  last_change_at timestamptz,
  window_started_at timestamptz not null default '-infinity',
  window_rows integer not null default 0,
  day_started_at timestamptz not null default '-infinity',
  day_rows integer not null default 0
) with (fillfactor = 70);
comment on table public.user_totals is
  'Sums over all entries of a person, kept by triggers in the transaction of the entry; equal to recomputing them. The row is also the person''s lock: whoever writes entries holds it first.';
comment on column public.user_totals.credits is 'Points of the entries alone; may be negative. The total of a person is credits + rewards.';
comment on column public.user_totals.tally is 'Entries and grams by category and method; carbon.tally_rows() shows them.';
comment on column public.user_totals.rewards is 'Net points of the person''s ledger of rewards.';
comment on column public.user_totals.level is 'Level of the total, as the ledger''s newest row about levels says.';
comment on column public.user_totals.achievements is 'Ids of the achievements held now, in order.';
comment on column public.user_totals.ledger_rows is 'Number of the newest row of the person''s ledger of rewards.';
comment on column public.user_totals.rules_version is 'Version of the achievements that the person was last judged by.';
comment on column public.user_totals.settled_until is 'Last local day whose end has been seen; rules about whole days look no further. Never moves back.';
comment on column public.user_totals.awaiting_day is 'A day with entries whose end has not been seen yet, the earliest; null = none.';
create index user_totals_awaiting_day on public.user_totals (awaiting_day) where awaiting_day is not null;
comment on column public.user_totals.weight_kg is 'Kilograms, exact.';
comment on column public.user_totals.co2e_kg is 'Sum of the entries'' rounded figures, kilograms CO2e.';
comment on column public.user_totals.co2e_avoided_kg is 'Sum of the entries'' rounded figures, kilograms CO2e against disposal.';
comment on column public.user_totals.revision is 'How many changes of entries there have been: gapless, the newest one''s number.';
comment on column public.user_totals.day_rows is 'Rows a client has added since day_started_at, imports included; after 24 hours it starts again.';
comment on column public.user_totals.window_rows is 'Rows a client has written since window_started_at; after an hour it starts anew.';

alter table public.user_totals enable row level security;
create policy "people read their own totals" on public.user_totals
  for select to authenticated using (user_id = (select auth.uid()));
grant select on public.user_totals to authenticated, service_role;

-- From Auth to a person ---------------------------------------------------------------------
create function private.tg_users__keep_profile()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  proven_phone text := case when new.phone_confirmed_at is not null then '+' || nullif(ltrim(new.phone, '+'), '') end;
  closing timestamptz := case when new.deleted_at is not null then 'infinity' else nullif(greatest(new.banned_until, now()), now()) end;
begin
  if closing is not null then
    delete from auth.sessions as s where s.user_id = new.id;
  end if;
  if new.deleted_at is not null then
    -- Auth puts a hash where the number was, and nobody has the number any more.
    update public.profiles as p set closed_until = closing, phone_number = null
    where p.id = new.id and (p.closed_until, p.phone_number) is distinct from (closing, null);
    return null;
  end if;
  -- Auth writes a user for every number typed; a person begins when one is proven.
  if not coalesce(new.is_anonymous, false)
     and new.phone_confirmed_at is null and new.email_confirmed_at is null then
    return null;
  end if;

  insert into public.profiles as p (id, is_anonymous, phone_number, closed_until)
  values (new.id, coalesce(new.is_anonymous, false), proven_phone, closing)
  on conflict (id) do update
    set is_anonymous = excluded.is_anonymous, phone_number = excluded.phone_number, closed_until = excluded.closed_until
    where (p.is_anonymous, p.phone_number, p.closed_until)
          is distinct from (excluded.is_anonymous, excluded.phone_number, excluded.closed_until);
  insert into public.user_preferences (user_id) values (new.id) on conflict do nothing;
  insert into public.user_totals (user_id) values (new.id) on conflict do nothing;
  return null;
end;
$$;
comment on function private.tg_users__keep_profile() is
  'Row trigger on auth.users: gives a confirmed or anonymous user their profile, preferences and totals, and keeps phone number, is_anonymous and closed_until in step afterwards. The sessions of somebody deleted or banned end; somebody deleted softly loses the number as well and is closed for good.';
create trigger tg_users__keep_profile
  after insert or update of phone, phone_confirmed_at, email_confirmed_at, is_anonymous, deleted_at, banned_until on auth.users
  for each row execute function private.tg_users__keep_profile();
-- Whoever signed in before this migration gets a profile now.
update auth.users set is_anonymous = is_anonymous
where is_anonymous or phone_confirmed_at is not null or email_confirmed_at is not null;

create function private.reopen_profiles(most integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  opened integer;
begin
  update public.profiles as p set closed_until = null
  where p.id = any (array(select o.id from public.profiles as o where o.closed_until <= now() limit most for update skip locked));
  get diagnostics opened = row_count;
  return opened;
end;
$$;
comment on function private.reopen_profiles(integer) is
  'Opens at most that number of profiles whose ban is over, so that boards list them again; returns how many.';
create index profiles_closed_until on public.profiles (closed_until) where closed_until is not null;

-- What a new entry takes over from its owner --------------------------------------------------
create function private.caller_time_zone()
returns text
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return coalesce(
    (select p.time_zone from public.user_preferences as p where p.user_id = auth.uid()),
    carbon.default_time_zone());
end;
$$;
comment on function private.caller_time_zone() is
  'The caller''s time zone as chosen, else Asia/Bangkok: default of waste_entries.time_zone. Writers without a token state the zone themselves.';
grant execute on function private.caller_time_zone() to authenticated, service_role;

create function private.caller_province()
returns text
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return (select p.province from public.profiles as p where p.id = auth.uid());
end;
$$;
comment on function private.caller_province() is
  'The caller''s province, null if none: default of waste_entries.province.';
grant execute on function private.caller_province() to authenticated, service_role;
