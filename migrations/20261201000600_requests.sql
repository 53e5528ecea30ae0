-- Checks that run before every request, through either gateway, and limits on shared resources per user:
-- docs/decisions/0023.

-- Settings ----------------------------------------------------------------------------------
-- A lock wait must time out before another request's wait for a connection does (4 s), so that requests queued for
-- one user's row do not block other users.
alter role anon set lock_timeout = '3s';
alter role authenticated set lock_timeout = '3s';

create function private.has_limits()
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return coalesce(current_setting('carbon.limits', true), 'on') <> 'off';
end;
$$;
comment on function private.has_limits() is
  'Whether requests in flight and imports are counted. Can be disabled by carbon.limits, which only a superuser can set, for load tests on a development machine.';
grant execute on function private.has_limits() to anon, authenticated, service_role;

create function private.warn_of_lifted_limits()
returns void
language plpgsql
set search_path = ''
as $$
begin
  if not private.has_limits() then
    raise warning 'carbon.limits is off: one client can take everything. Switch it on: alter system reset carbon.limits; select pg_reload_conf();';
  end if;
end;
$$;
comment on function private.warn_of_lifted_limits() is
  'Hourly job: logs a warning while limits are disabled.';

-- Sessions ----------------------------------------------------------------------------------
-- Deleted and banned users have no sessions (private.tg_users__keep_profile deletes them), so a request only needs to
-- check its session row (carbon.check_request).
create function private.tg_sessions__refuse_closed()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  user_row record;
begin
  -- Lock the row: wait for a ban in progress, and make a later ban wait until this session is visible to it and can
  -- be deleted.
  select u.deleted_at, u.banned_until into user_row from auth.users as u where u.id = new.user_id for no key update;
  if user_row.deleted_at is not null or user_row.banned_until > now() then
    perform private.raise_error('carbon.session_ended', 'PT401');
  end if;
  return new;
end;
$$;
comment on function private.tg_sessions__refuse_closed() is
  'Row trigger on auth.sessions: deleted and banned users cannot start a session (PT401 carbon.session_ended).';
create trigger tg_sessions__refuse_closed before insert on auth.sessions
  for each row execute function private.tg_sessions__refuse_closed();

create function private.refuse_closed(p_user_id uuid)
returns void
language plpgsql stable security definer
set search_path = ''
as $$
begin
  if exists (select from private.user_state as s where s.user_id = p_user_id and s.closed_until > now()) then
    perform private.raise_error('carbon.session_ended', 'PT401');
  end if;
end;
$$;
comment on function private.refuse_closed(uuid) is
  'Refuses writes on behalf of a deleted or banned user (PT401 carbon.session_ended). Lock functions call it once they hold the user''s lock.';

create function private.tg_any__refuse_closed()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  perform private.refuse_closed(auth.uid());
  return null;
end;
$$;
comment on function private.tg_any__refuse_closed() is
  'Statement trigger before a client''s direct write (not through one of our functions): refuses deleted and banned users.';
grant execute on function private.refuse_closed(uuid) to anon, authenticated;

create function private.tg_any__lock_own_state()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  perform private.lock_user(auth.uid());
  return null;
end;
$$;
comment on function private.tg_any__lock_own_state() is
  'Statement trigger before a client''s direct write to columns that the state copies: locks the state row first, as writers of entries do. The opposite order would deadlock with them.';
create trigger tg_profiles__lock_own_state before update of province on public.profiles
  for each statement when (current_user = 'authenticated') execute function private.tg_any__lock_own_state();
create trigger tg_user_preferences__lock_own_state before update of time_zone on public.user_preferences
  for each statement when (current_user = 'authenticated') execute function private.tg_any__lock_own_state();
create trigger tg_profiles__refuse_closed before update on public.profiles
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__refuse_closed();
create trigger tg_user_preferences__refuse_closed before update on public.user_preferences
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__refuse_closed();

-- Imports -----------------------------------------------------------------------------------
create table private.person_counters (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  import_hour_began timestamptz not null default '-infinity',
  imports_in_hour integer not null default 0,
  import_day_began timestamptz not null default '-infinity',
  imports_in_day integer not null default 0,
  stored_bytes bigint not null default 0
) with (fillfactor = 70);
comment on table private.person_counters is
  'Counters of rate-limited actions per user, created with the user''s first such action. Windows start with the first action and restart once they have expired.';
comment on column private.person_counters.imports_in_hour is 'Imports, dry runs and roll-backs since import_hour_began.';
comment on column private.person_counters.imports_in_day is 'Imports, dry runs and roll-backs since import_day_began.';
comment on column private.person_counters.stored_bytes is
  'Upper bound of the bytes that private.idempotency_keys stores for this user; counted exactly when it reaches the limit.';
alter table private.person_counters enable row level security;

create function private.count_import(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
  counted record;
begin
  if not private.is_client() or not private.has_limits() then
    return;
  end if;
  insert into private.person_counters as c (user_id, import_hour_began, imports_in_hour, import_day_began, imports_in_day)
  values (p_user_id, now(), 1, now(), 1)
  on conflict (user_id) do update
    set import_hour_began = case when c.import_hour_began <= now() - interval '1 hour' then now() else c.import_hour_began end,
        imports_in_hour = case when c.import_hour_began <= now() - interval '1 hour' then 1 else c.imports_in_hour + 1 end,
        import_day_began = case when c.import_day_began <= now() - interval '24 hours' then now() else c.import_day_began end,
        imports_in_day = case when c.import_day_began <= now() - interval '24 hours' then 1 else c.imports_in_day + 1 end
  returning c.* into counted;
  if counted.imports_in_hour > carbon.limit_of('imports_per_hour') then
    perform carbon.raise_limit('carbon.imports_per_hour',
      ceil(extract(epoch from counted.import_hour_began + interval '1 hour' - now()))::integer);
  elsif counted.imports_in_day > carbon.limit_of('imports_per_day') then
    perform carbon.raise_limit('carbon.imports_per_day',
      ceil(extract(epoch from counted.import_day_began + interval '24 hours' - now()))::integer);
  end if;
end;
$$;
comment on function private.count_import(uuid) is
  'Counts an import, a dry run or a roll-back of this user; PT429 carbon.imports_per_hour above 10 an hour, '
  'carbon.imports_per_day above 30 a day. The count commits with the transaction, so a request refused for '
  'its contents is not counted.';

-- Rows --------------------------------------------------------------------------------------
create function private.tg_any__cap_rows()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if (select count(*) from (select from old_rows limit carbon.limit_of('rows_per_statement') + 1) as o)
     > carbon.limit_of('rows_per_statement') then
    perform carbon.raise_limit('carbon.rows_per_statement', 1);
  end if;
  return null;
end;
$$;
comment on function private.tg_any__cap_rows() is
  'Statement trigger after a client''s direct update or delete (not through one of our functions): at most 500 rows, else PT429 carbon.rows_per_statement.';
create trigger tg_profiles__cap_rows after update on public.profiles
  referencing old table as old_rows
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__cap_rows();
create trigger tg_user_preferences__cap_rows after update on public.user_preferences
  referencing old table as old_rows
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__cap_rows();
