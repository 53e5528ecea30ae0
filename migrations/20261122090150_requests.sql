-- What is looked at before a request is let in, whichever gateway it comes through, and what one person may
-- take of what all share: docs/decisions/0023.

-- Settings ----------------------------------------------------------------------------------
-- Who waits for a lock gives up before somebody else's wait for a connection ends (4 s), so that those who
-- queue for one person's row never hold up the others.
alter role anon set lock_timeout = '3s';
alter role authenticated set lock_timeout = '3s';

-- Refusals ----------------------------------------------------------------------------------
create function private.limit_error(token text, retry_after_secs integer)
returns text[]
language plpgsql stable
set search_path = ''
as $$
declare
  known record;
begin
  select concat_ws(': ', m.field, m.message_en) as message, m.message_th as hint into known
  from carbon.error_messages() as m
  where m.token = limit_error.token;
  if coalesce(current_setting('request.method', true), '') = '' then
    return array['PT429', coalesce(known.message, token), token, coalesce(known.hint, '')];
  end if;
  -- To PostgREST: only an error of this form takes a header along with it.
  return array['PGRST',
    json_build_object('code', 'PT429', 'message', coalesce(known.message, token), 'details', token, 'hint', known.hint)::text,
    json_build_object('status', 429, 'headers', json_build_object('Retry-After', greatest(retry_after_secs, 1)::text))::text, ''];
end;
$$;
comment on function private.limit_error(text, integer) is
  'SQLSTATE, MESSAGE, DETAIL and HINT of a limit that was reached: PT429 with the token; inside a request of PostgREST the form that makes the same answer and says in Retry-After when to come again, in seconds.';
grant execute on function private.limit_error(text, integer) to anon, authenticated, service_role;

create function private.raise_limit(token text, retry_after_secs integer)
returns void
language plpgsql stable
set search_path = ''
as $$
declare
  error text[] := private.limit_error(token, retry_after_secs);
begin
  raise exception using errcode = error[1], message = error[2], detail = error[3], hint = error[4];
end;
$$;
comment on function private.raise_limit(text, integer) is
  'Raises PT429 with a token, and tells a client of PostgREST when to come again (Retry-After, in seconds).';
grant execute on function private.raise_limit(text, integer) to anon, authenticated, service_role;

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
  'Whether requests in flight and imports are counted. Off (carbon.limits, which a superuser alone may set) is for load tests on a developer''s machine.';
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
  'Hourly job: a system that counts nothing says so in its log.';

-- Sessions ----------------------------------------------------------------------------------

create function private.is_session_live(claims jsonb)
returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
declare
  session text := nullif(claims ->> 'session_id', '');
begin
  -- The keys of the service and of the web page stand for nobody.
  if claims ->> 'sub' is null then
    return true;
  end if;
  -- Tokens of operators and tests name no session; the person counts for them too.
  return coalesce((
    select u.deleted_at is null and coalesce(u.banned_until <= now(), true)
           and (session is null or exists (
             select from auth.sessions as s
             where s.id = session::uuid and s.user_id = u.id and coalesce(s.not_after > now(), true)))
    from auth.users as u
    where u.id = (claims ->> 'sub')::uuid), session is null);
end;
$$;
comment on function private.is_session_live(jsonb) is
  'Whether a token with these claims still opens anything: its session (claim session_id) exists and has not run out, and its person is neither deleted nor banned. A token without session_id is asked about its person alone; a caller without a person (anon, service_role) passes. Two rows by their keys.';

create function private.is_session_live()
returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return private.is_session_live(auth.jwt());
end;
$$;
comment on function private.is_session_live() is
  'private.is_session_live(jsonb) of the caller''s own token.';
grant execute on function private.is_session_live() to anon, authenticated, service_role;

create function private.refuse_closed(person uuid)
returns void
language plpgsql stable security definer
set search_path = ''
as $$
begin
  if exists (select from public.profiles as p where p.id = person and p.closed_until > now()) then
    perform private.raise_error('carbon.session_ended', 'PT401');
  end if;
end;
$$;
comment on function private.refuse_closed(uuid) is
  'Refuses to write in the name of somebody deleted or banned (PT401 carbon.session_ended): locks ask after they hold the person.';

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
  'Statement trigger before a client''s own write (not one of our functions''): somebody deleted or banned writes nothing.';
grant execute on function private.refuse_closed(uuid) to anon, authenticated;
create trigger tg_profiles__refuse_closed before update on public.profiles
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__refuse_closed();
create trigger tg_user_preferences__refuse_closed before update on public.user_preferences
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__refuse_closed();

-- Slots -------------------------------------------------------------------------------------
create function private.heavy_refusal()
returns text[]
language plpgsql security definer
set search_path = ''
as $$
declare
  person text := auth.uid();
  -- People with a number of their own begin where people without one may not go.
  last_slot integer := case when person is null or auth.jwt() ->> 'is_anonymous' = 'true' then 4 else 8 end;
begin
  if current_setting('request.is_heavy', true) = 'true' or not private.is_client() or not private.has_limits() then
    return null;
  end if;
  if person is null or pg_try_advisory_xact_lock(hashtextextended(person, 101))
     or pg_try_advisory_xact_lock(hashtextextended(person, 102)) then
    for slot in reverse last_slot..1 loop
      if pg_try_advisory_xact_lock(hashtext('private.heavy_refusal'), slot) then
        perform set_config('request.is_heavy', 'true', true);
        return null;
      end if;
    end loop;
  end if;
  return private.limit_error('carbon.too_many_at_once', 1);
end;
$$;
comment on function private.heavy_refusal() is
  'Holds one of the caller''s 2 slots for what costs much and one of the 8 of everybody, of which 4 are open to anonymous people, until the transaction ends; once a transaction. Null, or private.limit_error() when none is free. PostgREST has 20 connections: 12 are left for what is short. Called by pg_carbon for searching and long statements, which cannot raise every SQLSTATE from within a function.';
grant execute on function private.heavy_refusal() to anon, authenticated, service_role;

create function private.hold_heavy_slot()
returns void
language plpgsql security definer
set search_path = ''
as $$
declare
  error text[] := private.heavy_refusal();
begin
  if error is not null then
    raise exception using errcode = error[1], message = error[2], detail = error[3], hint = error[4];
  end if;
end;
$$;
comment on function private.hold_heavy_slot() is
  'Called by what costs much (imports, batches, searches): as private.heavy_refusal(), raised: PT429 carbon.too_many_at_once when no slot is free.';
grant execute on function private.hold_heavy_slot() to anon, authenticated, service_role;

create function private.check_request()
returns void
language plpgsql security definer
set search_path = ''
as $$
declare
  claims jsonb := auth.jwt();
  person text := claims ->> 'sub';
begin
  if person is null then
    return;
  end if;
  if not private.is_session_live(claims) then
    perform private.raise_error('carbon.session_ended', 'PT401');
  end if;
  -- An entry with notes of full length has 4 KiB: more is a batch, before its rows are written.
  if current_setting('request.method', true) = 'POST'
     and length(current_setting('request.headers', true)::json ->> 'content-length') > 4 then
    perform private.hold_heavy_slot();
  end if;
  for slot in 1..8 loop
    if pg_try_advisory_xact_lock(hashtextextended(person, slot)) then
      return;
    end if;
  end loop;
  if private.has_limits() then
    perform private.raise_limit('carbon.too_many_at_once', 1);
  end if;
end;
$$;
comment on function private.check_request() is
  'Called by PostgREST before each request (db-pre-request): refuses tokens of ended sessions (PT401 carbon.session_ended) and holds one of the person''s 8 slots until the transaction ends (PT429 carbon.too_many_at_once), with a body of 10,000 bytes and more also one for what is heavy. Callers without a person are not counted.';
grant execute on function private.check_request() to anon, authenticated, service_role;

-- Imports -----------------------------------------------------------------------------------
create table private.person_counters (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  import_hour_began timestamptz not null default '-infinity',
  imports_in_hour integer not null default 0,
  import_day_began timestamptz not null default '-infinity',
  imports_in_day integer not null default 0,
  kept_bytes bigint not null default 0
) with (fillfactor = 70);
comment on table private.person_counters is
  'What a person did that is limited in number, from their first such act on. Windows begin with the first act and begin again when they are over.';
comment on column private.person_counters.imports_in_hour is 'Imports, dry runs and roll-backs since import_hour_began.';
comment on column private.person_counters.imports_in_day is 'Imports, dry runs and roll-backs since import_day_began.';
comment on column private.person_counters.kept_bytes is 'At least what private.idempotency_keys holds of this person; counted again when it reaches the limit.';
alter table private.person_counters enable row level security;

create function private.count_import(owner uuid)
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
  values (owner, now(), 1, now(), 1)
  on conflict (user_id) do update
    set import_hour_began = case when c.import_hour_began <= now() - interval '1 hour' then now() else c.import_hour_began end,
        imports_in_hour = case when c.import_hour_began <= now() - interval '1 hour' then 1 else c.imports_in_hour + 1 end,
        import_day_began = case when c.import_day_began <= now() - interval '24 hours' then now() else c.import_day_began end,
        imports_in_day = case when c.import_day_began <= now() - interval '24 hours' then 1 else c.imports_in_day + 1 end
  returning c.* into counted;
  if counted.imports_in_hour > carbon.limit_of('imports_per_hour') then
    perform private.raise_limit('carbon.imports_per_hour',
      ceil(extract(epoch from counted.import_hour_began + interval '1 hour' - now()))::integer);
  elsif counted.imports_in_day > carbon.limit_of('imports_per_day') then
    perform private.raise_limit('carbon.imports_per_day',
      ceil(extract(epoch from counted.import_day_began + interval '24 hours' - now()))::integer);
  end if;
end;
$$;
comment on function private.count_import(uuid) is
  'Counts an import, a dry run or a roll-back of this person; PT429 carbon.imports_per_hour beyond 10 an hour, carbon.imports_per_day beyond 30 a day. Kept when the transaction commits, so one that is refused for its contents counts for nothing.';

-- Rows --------------------------------------------------------------------------------------
create function private.tg_any__cap_rows()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if (select count(*) from (select from old_rows limit carbon.limit_of('rows_per_statement') + 1) as o)
     > carbon.limit_of('rows_per_statement') then
    perform private.raise_limit('carbon.rows_per_statement', 1);
  end if;
  return null;
end;
$$;
comment on function private.tg_any__cap_rows() is
  'Statement trigger after a client''s own update or delete (not one of our functions''): at most 500 rows, else PT429 carbon.rows_per_statement.';
create trigger tg_profiles__cap_rows after update on public.profiles
  referencing old table as old_rows
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__cap_rows();
create trigger tg_user_preferences__cap_rows after update on public.user_preferences
  referencing old table as old_rows
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__cap_rows();
