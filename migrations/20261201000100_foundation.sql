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
  texts record;
begin
  select m.field, m.message_en, m.message_th into texts
  from carbon.error_messages() as m
  where m.token = raise_error.token;

  raise exception using
    errcode = error_code,
    message = coalesce(texts.field || ': ', '') || coalesce(texts.message_en, token),
    detail = token,
    hint = coalesce(texts.message_th, '');
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

-- Functions of the API ---------------------------------------------------------------------
create function private.expose(body regprocedure, description text)
returns void
language plpgsql
set search_path = ''
as $function$
declare
  f pg_catalog.pg_proc;
  passed text;
  returning_it text;
  grantee record;
begin
  select p.* into f from pg_catalog.pg_proc as p where p.oid = body;
  select coalesce(string_agg(format('%I.%I', f.proname, a.name), ', ' order by a.place), '') into passed
  from unnest(f.proargnames[: f.pronargs]) with ordinality as a (name, place);
  returning_it := case
    when f.proretset then format('return query select r.* from private.%I(%s) as r', f.proname, passed)
    when f.prorettype = 'pg_catalog.void'::regtype then format('perform private.%I(%s)', f.proname, passed)
    else format('return private.%I(%s)', f.proname, passed) end;
  execute format(
    $wrapper$
      create or replace function public.%1$I(%2$s)
      returns %3$s
      language plpgsql %4$s
      set search_path = ''
      as $body$
      begin
        %5$s;
      end;
      $body$
    $wrapper$,
    f.proname, pg_get_function_arguments(body), pg_get_function_result(body),
    case f.provolatile when 'v' then 'volatile' when 's' then 'stable' else 'immutable' end, returning_it);
  for grantee in
    select a.grantee::regrole as role_name from aclexplode(f.proacl) as a
    where a.privilege_type = 'EXECUTE' and a.grantee not in (0, f.proowner)
  loop
    execute format('grant execute on function public.%I(%s) to %s', f.proname, pg_get_function_identity_arguments(body),
                   grantee.role_name);
  end loop;
  execute format('comment on function public.%I(%s) is %L', f.proname, pg_get_function_identity_arguments(body), description);
  execute format('comment on function private.%I(%s) is %L', f.proname, pg_get_function_identity_arguments(body),
                 format('Body of public.%s.', f.proname));
end;
$function$;
comment on function private.expose(regprocedure, text) is
  'For migrations: creates or replaces the function of public that PostgREST exposes for a body in private, which may '
  'be a definer function. Same name, arguments, defaults, result, volatility and grants, with the caller''s rights; '
  'called after the body''s grants. description becomes its comment.';

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
