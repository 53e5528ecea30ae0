-- User profiles and preferences.

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
