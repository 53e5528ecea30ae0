-- From Auth to a profile: when it is created, and what a new entry takes over from it.

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
