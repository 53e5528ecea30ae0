-- User profiles and preferences, and when a profile is created.

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
  'One row per user, created when Auth has them confirmed or anonymous, deleted with the user. Users can read only their own row; others see it only through functions that name the columns they return.';
comment on column public.profiles.is_anonymous is
  'Signed in without a phone number or identity; synchronised from Auth.';
comment on column public.profiles.phone_number is 'E.164 (+66…), synchronised from Auth; only the user can read it.';
comment on column public.profiles.closed_until is
  'Auth soft-deleted the user (infinity) or banned them (until then): not on any board, and no writes on their behalf; null = open. Synchronised from Auth.';
comment on column public.profiles.username is 'Unique case-insensitively.';
comment on column public.profiles.province is
  'ISO 3166-2 (TH-10). Copied to new entries; existing entries do not change.';
comment on column public.profiles.privacy_level is
  '1 = listed on boards, 2 = listed, name visible to friends only, 3 = neither listed nor counted.';
comment on column public.profiles.notification_settings is
  'Push category → boolean; null = nothing chosen, all categories on.';
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
  'A user''s choices; null = not chosen, and reads return the default: th, Asia/Bangkok, 100, kg, notebook, true. Null is stored rather than the default so that an import only fills in what was never set.';
comment on column public.user_preferences.time_zone is
  'IANA name; determines the local day of entries logged from now on.';
comment on column public.user_preferences.daily_goal is 'Target credits per day.';

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
  -- An unchanged value is not checked again: a zone that no longer exists must not block other changes.
  if tg_op = 'INSERT' or new.time_zone is distinct from old.time_zone then
    new.time_zone := carbon.time_zone(new.time_zone);
  end if;
  return new;
end;
$$;
comment on function private.tg_user_preferences__check_time_zone() is
  'Row trigger: a preferred time zone must be an IANA name (22023 carbon.time_zone_invalid); stores its current canonical name.';
create trigger tg_user_preferences__check_time_zone
  before insert or update of time_zone on public.user_preferences
  for each row execute function private.tg_user_preferences__check_time_zone();

-- User state --------------------------------------------------------------------------------
create table private.user_state (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  entries bigint not null default 0,
  grams bigint not null default 0,
  credits bigint not null default 0,
  co2e_mg bigint not null default 0,
  co2e_avoided_mg bigint not null default 0,
  tally bytea not null default '',
  rewards bigint not null default 0,
  level integer not null default 1,
  achievements text[] not null default '{}',
  ledger_rows bigint not null default 0,
  rules_version bigint not null default 0,
  revision bigint not null default 0,
  last_change_at timestamptz,
  days_closed_through date not null default '1970-01-01',
  first_open_day date,
  latest_day date,
  latest_challenges text[] not null default '{}',
  current_run integer not null default 0,
  longest_run integer not null default 0,
  plastic_free_days integer not null default 0,
  window_started_at timestamptz not null default '-infinity',
  window_rows integer not null default 0,
  day_started_at timestamptz not null default '-infinity',
  day_rows integer not null default 0,
  time_zone text not null default carbon.default_time_zone(),
  province text,
  began date not null,
  closed_until timestamptz
-- Every write of the user updates this row. Half of each page stays free and no changing column is indexed, so the
-- update is a HOT update: same page, no index writes.
) with (fillfactor = 50);
comment on table private.user_state is
  'Everything about a user that a write of entries reads and changes, in one row: sums, rewards held, runs '
  'of days, rate windows, and profile values copied to new entries. Always equal to a recomputation. The row '
  'is also the user''s lock: every writer of entries takes it first.';
comment on column private.user_state.grams is 'Weight of all entries, grams.';
comment on column private.user_state.credits is
  'Credits of the entries alone; may be negative. The user''s total is credits + rewards.';
comment on column private.user_state.co2e_mg is 'Sum of the entries'' rounded figures, milligrams CO2e.';
comment on column private.user_state.co2e_avoided_mg is
  'Sum of the entries'' rounded figures, milligrams CO2e avoided compared with disposal.';
comment on column private.user_state.tally is 'Entries and grams by category and method; carbon.tally_rows() shows them.';
comment on column private.user_state.rewards is 'Net credits of the user''s reward ledger.';
comment on column private.user_state.level is 'Level of the total, equal to the newest level row of the ledger.';
comment on column private.user_state.achievements is 'Ids of the achievements currently held, sorted.';
comment on column private.user_state.ledger_rows is 'Number of the newest row of the user''s reward ledger.';
comment on column private.user_state.rules_version is
  'Version of the achievement rules by which the user was last evaluated.';
comment on column private.user_state.revision is 'Number of the user''s newest entry change; revisions are gapless.';
comment on column private.user_state.days_closed_through is
  'Last closed local day; rules about whole days only consider closed days. Never moves back.';
comment on column private.user_state.first_open_day is
  'First day with entries after days_closed_through; null = none.';
comment on column private.user_state.latest_day is 'Last day with entries; null = none.';
comment on column private.user_state.latest_challenges is
  'Ids of the challenges of latest_day that are held, sorted.';
comment on column private.user_state.current_run is 'Consecutive days with entries, ending on latest_day.';
comment on column private.user_state.longest_run is 'Longest run of consecutive days with entries.';
comment on column private.user_state.plastic_free_days is
  'Days up to days_closed_through that have entries, none of them plastic that was thrown away or recycled.';
comment on column private.user_state.window_rows is
  'Rows written by clients since window_started_at; the window restarts after an hour.';
comment on column private.user_state.day_rows is
  'Rows added by clients since day_started_at, imports included; the window restarts after 24 hours.';
comment on column private.user_state.time_zone is 'Copy of the preference, or the default; maintained by triggers.';
comment on column private.user_state.province is 'Copy of the profile''s province; maintained by a trigger.';
comment on column private.user_state.began is
  'Day in Bangkok on which the profile was created; earlier days have no challenges.';
comment on column private.user_state.closed_until is 'Copy of the profile''s province; maintained by a trigger.';

alter table private.user_state enable row level security;
create policy "people read their own state" on private.user_state
  for select to authenticated using (user_id = (select auth.uid()));
grant select (user_id, entries, grams, credits, co2e_mg, co2e_avoided_mg, rewards, level, achievements, revision,
              last_change_at, latest_day, current_run, longest_run, time_zone) on private.user_state to authenticated, service_role;

create view public.user_totals with (security_invoker = true) as
select s.user_id, s.entries, s.grams * 0.001 as weight_kg, s.credits, s.co2e_mg * 0.000001 as co2e_kg,
       s.co2e_avoided_mg * 0.000001 as co2e_avoided_kg, s.rewards, s.level, s.achievements, s.revision, s.last_change_at
from private.user_state as s;
comment on view public.user_totals is
  'Sums over all entries of a user and the rewards they hold; own row only.';
comment on column public.user_totals.weight_kg is 'Kilograms, exact.';
comment on column public.user_totals.credits is
  'Credits of the entries alone; may be negative. The user''s total is credits + rewards.';
comment on column public.user_totals.co2e_kg is 'Sum of the entries'' rounded figures, kilograms CO2e.';
comment on column public.user_totals.co2e_avoided_kg is
  'Sum of the entries'' rounded figures, kilograms CO2e avoided compared with disposal.';
comment on column public.user_totals.rewards is 'Net credits of the user''s reward ledger.';
comment on column public.user_totals.achievements is 'Ids of the achievements currently held, sorted.';
comment on column public.user_totals.revision is 'Number of the user''s newest entry change; revisions are gapless.';
grant select on public.user_totals to authenticated, service_role;

create function private.lock_user(p_user_id uuid)
returns void
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  perform from private.user_state as s where s.user_id = p_user_id for no key update;
end;
$$;
comment on function private.lock_user(uuid) is
  'Locks a user''s state row until the end of the transaction. Call it before changing profile or preferences, in the same lock order as writers of entries.';

create function private.tg_profiles__copy_to_state()
returns trigger
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  update private.user_state as s
  set province = new.province, closed_until = new.closed_until,
      began = carbon.local_date(new.created_at, carbon.default_time_zone())
  where s.user_id = new.id;
  return null;
end;
$$;
comment on function private.tg_profiles__copy_to_state() is
  'Row trigger: copies profile values to the user''s state.';
create trigger tg_profiles__copy_to_state after update of province, closed_until, created_at on public.profiles
  for each row when ((old.province, old.closed_until, old.created_at) is distinct from (new.province, new.closed_until, new.created_at))
  execute function private.tg_profiles__copy_to_state();

create function private.tg_user_preferences__copy_to_state()
returns trigger
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  update private.user_state as s set time_zone = coalesce(new.time_zone, carbon.default_time_zone())
  where s.user_id = new.user_id;
  return null;
end;
$$;
comment on function private.tg_user_preferences__copy_to_state() is
  'Row trigger: copies preferences to the user''s state.';
create trigger tg_user_preferences__copy_to_state after update of time_zone on public.user_preferences
  for each row when (old.time_zone is distinct from new.time_zone)
  execute function private.tg_user_preferences__copy_to_state();

-- From Auth to a profile --------------------------------------------------------------------
create function private.tg_users__keep_profile()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  proven_phone text := case when new.phone_confirmed_at is not null then '+' || nullif(ltrim(new.phone, '+'), '') end;
  closing timestamptz := case when new.deleted_at is not null then 'infinity' else nullif(greatest(new.banned_until, now()), now()) end;
begin
  if tg_op = 'UPDATE' then
    perform private.lock_user(new.id);
  end if;
  if closing is not null then
    delete from auth.sessions as s where s.user_id = new.id;
  end if;
  if new.deleted_at is not null then
    -- Auth replaces the number with a hash, so the profile must not retain it either.
    update public.profiles as p set closed_until = closing, phone_number = null
    where p.id = new.id and (p.closed_until, p.phone_number) is distinct from (closing, null);
    return null;
  end if;
  -- Auth inserts a user for every number entered; the profile is created once the number is confirmed.
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
  insert into private.user_state (user_id, began, closed_until)
  values (new.id, carbon.local_date(now(), carbon.default_time_zone()), closing) on conflict do nothing;
  return null;
end;
$$;
comment on function private.tg_users__keep_profile() is
  'Row trigger on auth.users: creates profile, preferences and state for a confirmed or anonymous user, and '
  'afterwards synchronises phone number, is_anonymous and closed_until. Deleted and banned users lose their '
  'sessions; soft-deleted users also lose the number and are closed permanently.';
create trigger tg_users__keep_profile
  after insert or update of phone, phone_confirmed_at, email_confirmed_at, is_anonymous, deleted_at, banned_until on auth.users
  for each row execute function private.tg_users__keep_profile();
-- Create profiles for users who signed in before this migration.
update auth.users set is_anonymous = is_anonymous
where is_anonymous or phone_confirmed_at is not null or email_confirmed_at is not null;

create function private.reopen_profiles(max_rows integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  opened integer;
begin
  update public.profiles as p set closed_until = null
  where p.id = any (array(select o.id from public.profiles as o where o.closed_until <= now() limit max_rows for update skip locked));
  get diagnostics opened = row_count;
  return opened;
end;
$$;
comment on function private.reopen_profiles(integer) is
  'Reopens at most that number of profiles whose ban has expired, so that boards list them again; returns how many.';
create index profiles_closed_until on public.profiles (closed_until) where closed_until is not null;

-- Profile values copied to a new entry --------------------------------------------------------
create function private.caller_time_zone()
returns text
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return coalesce((select s.time_zone from private.user_state as s where s.user_id = auth.uid()), carbon.default_time_zone());
end;
$$;
comment on function private.caller_time_zone() is
  'The caller''s time zone, or Asia/Bangkok if none is set: default of waste_entries.time_zone. Writers without a token must supply the zone.';
grant execute on function private.caller_time_zone() to authenticated, service_role;

create function private.caller_province()
returns text
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return (select s.province from private.user_state as s where s.user_id = auth.uid());
end;
$$;
comment on function private.caller_province() is
  'The caller''s province, null if none is set: default of waste_entries.province.';
grant execute on function private.caller_province() to authenticated, service_role;
