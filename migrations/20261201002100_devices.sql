-- A user's devices: when each was last seen, and up to which revision it has the diary.

create table public.devices (
  user_id uuid not null references public.profiles (id) on delete cascade,
  device_id public.device_key not null,
  platform text,
  app_version text,
  last_seen_at timestamptz not null default now(),
  revision_seen bigint not null default 0,
  primary key (user_id, device_id),
  constraint platform_is_web_ios_or_android check (platform in ('web', 'ios', 'android')),
  constraint app_version_has_at_most_50_characters check (length(app_version) <= 50)
);
comment on table public.devices is
  'Devices of a user, at most 50; a new one replaces the one seen longest ago. Written by register_device and sync_changes only.';
comment on column public.devices.platform is 'web, ios or android; null for a device seen only while synchronising.';
comment on column public.devices.revision_seen is 'The newest revision sent to this device.';

alter table public.devices enable row level security;
create policy "people read their own devices" on public.devices
  for select to authenticated using (user_id = (select auth.uid()));
grant select on public.devices to authenticated, service_role;

create function private.drop_oldest_devices(p_user_id uuid, seen_device text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  delete from public.devices as d
  where d.user_id = p_user_id
    and d.device_id in (
      select o.device_id from public.devices as o
      where o.user_id = p_user_id
      order by o.last_seen_at desc, (o.device_id = seen_device) desc, o.device_id
      offset 50);
end;
$$;
comment on function private.drop_oldest_devices(uuid, text) is
  'Keeps at most 50 devices of a user, those seen last, so that invented ids cannot fill the table; seen_device: one that was seen just now, null if none.';

create function private.note_device(p_user_id uuid, seen_device text, seen_platform text, seen_version text, seen_revision bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into public.devices as d (user_id, device_id, platform, app_version, revision_seen)
  values (p_user_id, seen_device, seen_platform, seen_version, coalesce(seen_revision, 0))
  on conflict (user_id, device_id) do update
    set platform = coalesce(excluded.platform, d.platform),
        app_version = coalesce(excluded.app_version, d.app_version),
        revision_seen = coalesce(seen_revision, d.revision_seen),
        last_seen_at = now();
  perform private.drop_oldest_devices(p_user_id, seen_device);
end;
$$;
comment on function private.note_device(uuid, text, text, text, bigint) is
  'Records that a device of this user was seen now; null leaves platform, version or revision unchanged.';

create function private.register_device(device_id text, platform text, app_version text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  user_row record;
  is_new boolean;
begin
  if coalesce(length(device_id), 0) not between 1 and carbon.limit_of('device_id_chars') then
    perform private.raise_error('carbon.device_id_invalid', '22023');
  elsif coalesce(platform not in ('web', 'ios', 'android'), true) then
    perform private.raise_error('carbon.platform_invalid', '22023');
  elsif length(app_version) > 50 then
    perform private.raise_error('carbon.app_version_invalid', '22023');
  end if;

  update public.profiles as p set last_active_at = now() where p.id = caller_id
  returning p.id, p.phone_number, p.onboarding_completed into user_row;
  if not found then
    perform private.raise_error('carbon.unknown_user', '23503');
  end if;
  is_new := not exists (select from public.devices as d where d.user_id = caller_id);
  perform private.note_device(caller_id, device_id, platform, app_version, null);
  return jsonb_build_object('user', jsonb_build_object(
    'id', user_row.id, 'phone_number', user_row.phone_number, 'is_new_user', is_new,
    'onboarding_completed', user_row.onboarding_completed));
end;
$$;
grant execute on function private.register_device(text, text, text) to authenticated;
select private.expose(
  'private.register_device(text, text, text)',
  'Records the caller''s device (device_id of 1 to 100 characters, platform web, ios or android) and returns '
  '{user: {id, phone_number, is_new_user, onboarding_completed}}; is_new_user = the user had no device '
  'before. Errors: 22023 with the parameter''s token, 23503 carbon.unknown_user.');
