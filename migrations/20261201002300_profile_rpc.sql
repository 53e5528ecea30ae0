-- The profile as clients see it: one object from profiles and user_preferences.

create function private.default_notification_settings()
returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return '{"daily_reminder": true, "achievement_unlocked": true, "level_up": true, "friend_activity": true,
           "challenge_complete": true, "community_milestone": true}'::jsonb;
end;
$$;
comment on function private.default_notification_settings() is
  'Every push category on: the default until the user chooses.';

create function private.profile_json(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  answer jsonb;
begin
  select jsonb_build_object(
    'id', p.id,
    'is_anonymous', p.is_anonymous,
    'phone_number', p.phone_number,
    'username', p.username,
    'display_name', p.display_name,
    'avatar_url', p.avatar_url,
    'province', p.province,
    'district', p.district,
    'privacy_level', p.privacy_level,
    'visible_in_leaderboard', p.visible_in_leaderboard,
    'language', coalesce(c.language, 'th'),
    'time_zone', coalesce(c.time_zone, carbon.default_time_zone()),
    'daily_goal', coalesce(c.daily_goal, 100),
    'measurement_unit', coalesce(c.measurement_unit, 'kg'),
    'theme', coalesce(c.theme, 'notebook'),
    'auto_sync', coalesce(c.auto_sync, true),
    'notification_settings', private.default_notification_settings() || coalesce(p.notification_settings, '{}'),
    'onboarding_completed', p.onboarding_completed,
    'created_at', p.created_at,
    'updated_at', greatest(p.updated_at, c.updated_at))
  into answer
  from public.profiles as p
  join public.user_preferences as c on c.user_id = p.id
  where p.id = p_user_id;
  if not found then
    perform private.raise_error('carbon.unknown_user', '23503');
  end if;
  return answer;
end;
$$;
comment on function private.profile_json(uuid) is
  'A user''s profile in the contract''s format for themselves, with defaults filled in.';

create function private.get_profile()
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return private.profile_json(private.caller_id());
end;
$$;
grant execute on function private.get_profile() to authenticated;
select private.expose(
  'private.get_profile()',
  'The caller''s profile and preferences. Errors: 23503 carbon.unknown_user.');

create function private.update_profile(changes text, unreviewed text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  stated jsonb := carbon.parse_profile_changes(coalesce(changes, 'null'))::jsonb;
begin
  -- The state has copies of these columns: lock it first, as writers of entries do.
  if stated ?| '{province,time_zone}' then
    perform private.lock_user(caller_id);
  end if;
  -- Missing = unchanged, null clears: a cleared switch or level returns to its default.
  update public.profiles as p
  set username = case when stated ? 'username' then stated ->> 'username' else p.username end,
      display_name = case when stated ? 'display_name' then stated ->> 'display_name' else p.display_name end,
      province = case when stated ? 'province' then stated ->> 'province' else p.province end,
      district = case when stated ? 'district' then stated ->> 'district' else p.district end,
      privacy_level = case when stated ? 'privacy_level'
        then coalesce((stated ->> 'privacy_level')::smallint, 1) else p.privacy_level end,
      visible_in_leaderboard = case when stated ? 'visible_in_leaderboard'
        then coalesce((stated ->> 'visible_in_leaderboard')::boolean, true) else p.visible_in_leaderboard end,
      onboarding_completed = case when stated ? 'onboarding_completed'
        then coalesce((stated ->> 'onboarding_completed')::boolean, false) else p.onboarding_completed end,
      notification_settings = case when stated ? 'notification_settings'
        then nullif(stated -> 'notification_settings', 'null') else p.notification_settings end
  where p.id = caller_id;
  if not found then
    perform private.raise_error('carbon.unknown_user', '23503');
  end if;

  update public.user_preferences as c
  set language = case when stated ? 'language' then stated ->> 'language' else c.language end,
      time_zone = case when stated ? 'time_zone' then stated ->> 'time_zone' else c.time_zone end,
      daily_goal = case when stated ? 'daily_goal' then (stated ->> 'daily_goal')::integer else c.daily_goal end,
      measurement_unit = case when stated ? 'measurement_unit' then stated ->> 'measurement_unit' else c.measurement_unit end,
      theme = case when stated ? 'theme' then stated ->> 'theme' else c.theme end,
      auto_sync = case when stated ? 'auto_sync' then (stated ->> 'auto_sync')::boolean else c.auto_sync end
  where c.user_id = caller_id;
  perform private.queue_text_review(caller_id, unreviewed::jsonb);
  return private.profile_json(caller_id);
exception
  when unique_violation then
    perform private.raise_error('carbon.username_taken', '23505');
end;
$$;
comment on function private.update_profile(text, text) is
  'Body of public.update_profile: changes and unreviewed are the JSON texts of these members.';

create function public.update_profile(json)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  member text[] := carbon.json_members($1::text, array['changes', 'unreviewed']);
begin
  return private.update_profile(member[1], member[2]);
end;
$$;
comment on function public.update_profile(json) is
  'Changes the caller''s profile and preferences. Input: the body {changes}: missing = unchanged, null clears '
  '(back to the default); unreviewed, if given, is a list of changed names that the Worker''s moderation service has '
  'not seen, which an operator then looks at. Returns the profile. Errors: 22023 with the field''s token (or '
  'carbon.text_not_allowed), 23505 carbon.username_taken, 23503 carbon.unknown_user.';

grant execute on function private.update_profile(text, text), public.update_profile(json) to authenticated;
