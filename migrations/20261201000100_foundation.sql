-- The foundation of all later migrations: the private schema, revoked default privileges, and helpers that every
-- topic uses.

do $$
begin
  if to_regprocedure('carbon.current_factor_set()') is null then
    raise exception using
      errcode = 'undefined_object',
      message = 'The extension pg_carbon is not installed in this database.',
      hint = 'As a superuser: create schema carbon; create extension pg_carbon schema carbon; (supabase/bootstrap.sql does it).';
  end if;
end;
$$;

-- Supabase grants new objects in public to the API roles, and PostgreSQL grants EXECUTE to PUBLIC. Revoke both, so
-- that every migration must grant access explicitly.
alter default privileges in schema public revoke all on tables from anon, authenticated, service_role;
alter default privileges in schema public revoke all on functions from anon, authenticated, service_role;
alter default privileges in schema public revoke all on sequences from anon, authenticated, service_role;
alter default privileges revoke execute on functions from public;

create schema if not exists private;
comment on schema private is
  'Definer functions, triggers, ledgers and jobs. Not exposed through the API: API roles can call the functions granted to them by name and cannot read any table.';
revoke all on schema private from public;
grant usage on schema private to anon, authenticated, service_role;
-- The domain rules: clients, REST and SQL all call the same functions.
grant usage on schema carbon to anon, authenticated, service_role;

create table if not exists private.schema_migrations (
  version text primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
);
comment on table private.schema_migrations is
  'Migrations applied to this database, ordered by version, with the checksum of each file when it was applied.';
alter table private.schema_migrations enable row level security;

-- Errors ------------------------------------------------------------------------------------
create function private.raise_error(token text, error_code text)
returns void
language plpgsql stable
set search_path = ''
as $$
declare
  known record;
begin
  select m.field, m.message_en, m.message_th into known
  from carbon.error_messages() as m
  where m.token = raise_error.token;

  raise exception using
    errcode = error_code,
    message = coalesce(known.field || ': ', '') || coalesce(known.message_en, token),
    detail = token,
    hint = coalesce(known.message_th, '');
end;
$$;
comment on function private.raise_error(text, text) is
  'Raises the error of a token (carbon.…) with the given SQLSTATE: MESSAGE is the English text with its field, DETAIL the token, HINT the Thai text. PTnnn becomes HTTP status nnn.';
grant execute on function private.raise_error(text, text) to anon, authenticated, service_role;

create function private.caller_id()
returns uuid
language plpgsql stable
set search_path = ''
as $$
declare
  caller_id uuid := auth.uid();
begin
  if caller_id is null then
    perform private.raise_error('carbon.not_signed_in', '42501');
  end if;
  return caller_id;
end;
$$;
comment on function private.caller_id() is
  'Id of the signed-in caller, from the verified token. Raises 42501 carbon.not_signed_in if there is none.';
grant execute on function private.caller_id() to anon, authenticated, service_role;

create function private.is_client()
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  -- Reads the setting, because current_user is the owner inside a definer function.
  return current_setting('role') in ('authenticated', 'anon');
end;
$$;
comment on function private.is_client() is
  'Whether the statement comes from an API client, to which the per-user limits apply.';
grant execute on function private.is_client() to anon, authenticated, service_role;

create function private.tg_any__touch()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  new.updated_at := now();
  return new;
end;
$$;
comment on function private.tg_any__touch() is
  'Row trigger: sets updated_at to the transaction time on every change.';

-- Audit -------------------------------------------------------------------------------------
create table private.audit_log (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  actor uuid,
  actor_role text not null default current_setting('role'),
  action text not null,
  subject uuid,
  details jsonb not null default '{}'
);
comment on table private.audit_log is
  'Who did what to which user, for 90 days: imports, roll-backs, deletions, repairs. Contains ids and counts, never names, phone numbers or contents.';
comment on column private.audit_log.actor is 'The signed-in user who acted; null for jobs and operators.';
comment on column private.audit_log.subject is 'The user affected by the action.';
create index audit_log_at on private.audit_log (at);
create index audit_log_subject on private.audit_log (subject, at);
alter table private.audit_log enable row level security;
grant select on private.audit_log to service_role;

create function private.audit(action text, subject uuid, details jsonb default '{}')
returns void
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into private.audit_log (actor, action, subject, details)
  values (auth.uid(), audit.action, audit.subject, audit.details);
end;
$$;
comment on function private.audit(text, uuid, jsonb) is
  'Appends a row to the audit log, with the caller as actor.';
