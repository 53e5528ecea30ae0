-- What Supabase's PostgreSQL image has before any migration runs: roles, schemas, default
-- privileges, extensions. Run once by the superuser supabase_admin on the database postgres;
-- running it again changes nothing but passwords.
--
--   psql -v postgres_password=… -v authenticator_password=… -v auth_password=… -f bootstrap.sql
--
-- Production uses the official images instead; the same migrations run on both, so this file
-- deliberately repeats their generous defaults, which the first migration takes back.
\set ON_ERROR_STOP on

-- Roles -----------------------------------------------------------------------------------
select format('create role %I', name)
from unnest(array[
  'postgres', 'anon', 'authenticated', 'service_role', 'authenticator', 'supabase_auth_admin',
  'supabase_storage_admin', 'supabase_realtime_admin', 'dashboard_user'
]) as name
where not exists (select from pg_roles where rolname = name)
\gexec

alter role postgres with login nosuperuser createdb createrole replication bypassrls
  password :'postgres_password';
alter role anon with nologin noinherit;
alter role authenticated with nologin noinherit;
alter role service_role with nologin noinherit bypassrls;
alter role authenticator with login noinherit password :'authenticator_password';
alter role supabase_auth_admin with login noinherit createrole password :'auth_password';
alter role supabase_storage_admin with nologin noinherit;
alter role supabase_realtime_admin with nologin noinherit;
alter role dashboard_user with nologin createdb createrole;

grant anon, authenticated, service_role to authenticator, postgres;
grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role postgres set search_path = "$user", public, extensions;
alter role supabase_auth_admin set search_path = 'auth';
alter role supabase_auth_admin set idle_in_transaction_session_timeout = '60s';

select format('alter database %I set timezone to ''UTC''', current_database())
\gexec
select format('grant create, connect, temporary on database %I to postgres, supabase_auth_admin',
              current_database())
\gexec

-- Schemas ---------------------------------------------------------------------------------
create schema if not exists auth authorization supabase_auth_admin;
create schema if not exists extensions;
create schema if not exists carbon;

alter schema public owner to pg_database_owner;
grant usage on schema public to anon, authenticated, service_role;
grant usage, create on schema public to postgres;
grant usage on schema extensions to anon, authenticated, service_role, dashboard_user;
grant usage, create on schema extensions to postgres;
grant usage on schema auth to anon, authenticated, service_role, dashboard_user;
grant usage on schema auth to postgres with grant option;
grant usage on schema carbon to postgres with grant option;

-- Realtime ----------------------------------------------------------------------------------
-- What the Realtime server (v2.102.3) makes in the database at its first start, as far as broadcasts go:
-- here it has to be there before the migrations, as on a system whose Realtime has started once.
create schema if not exists realtime;
grant usage on schema realtime to postgres, anon, authenticated, service_role;
grant all on schema realtime to supabase_realtime_admin;
-- By this membership postgres may write policies for the table.
grant supabase_realtime_admin to postgres;

create table if not exists realtime.messages (
  topic text not null,
  extension text not null,
  payload jsonb,
  event text,
  private boolean default false,
  updated_at timestamp not null default now(),
  inserted_at timestamp not null default now(),
  id uuid not null default gen_random_uuid(),
  binary_payload bytea,
  primary key (id, inserted_at),
  constraint messages_payload_exclusive check (payload is null or binary_payload is null)
) partition by range (inserted_at);
create index if not exists messages_inserted_at_topic_index on realtime.messages (inserted_at desc, topic)
  where extension = 'broadcast' and private is true;
alter table realtime.messages owner to supabase_realtime_admin;
alter table realtime.messages enable row level security;
grant select, insert, update on realtime.messages to postgres, anon, authenticated, service_role;

-- The server keeps the partitions of the days around today; these are for a database that has no server yet.
select format('create table if not exists realtime.%I partition of realtime.messages for values from (%L) to (%L)',
              to_char(day, '"messages_"YYYY_MM_DD'), day::date, day::date + 1),
       format('alter table realtime.%I owner to supabase_realtime_admin', to_char(day, '"messages_"YYYY_MM_DD'))
from generate_series((now() at time zone 'UTC')::date - 1, (now() at time zone 'UTC')::date + 3, interval '1 day') as day
where not exists (select from pg_class as c
                  where c.relnamespace = 'realtime'::regnamespace
                    and c.relname = to_char(day, '"messages_"YYYY_MM_DD'))
\gexec

create or replace function realtime.topic()
returns text
language sql stable
as $$
select nullif(current_setting('realtime.topic', true), '')::text;
$$;
alter function realtime.topic() owner to supabase_realtime_admin;

create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void
language plpgsql
as $$
declare
  message_id uuid := gen_random_uuid();
begin
  perform set_config('realtime.topic', send.topic, true);
  insert into realtime.messages (id, payload, event, topic, private, extension)
  values (message_id,
          case when send.payload ? 'id' then send.payload else jsonb_set(send.payload, '{id}', to_jsonb(message_id)) end,
          send.event, send.topic, send.private, 'broadcast');
exception when others then
  raise warning 'ErrorSendingBroadcastMessage: %', sqlerrm;
end;
$$;
grant execute on function realtime.topic(), realtime.send(jsonb, text, text, boolean) to postgres, dashboard_user;

-- Default privileges ----------------------------------------------------------------------
-- Everything that postgres or supabase_admin makes in public is open to every API role until
-- somebody says otherwise: this is how the real image behaves.
select format('alter default privileges for role %I in schema public grant all on %s to postgres, anon, authenticated, service_role',
              owner, kind)
from unnest(array['postgres', 'supabase_admin']) as owner,
     unnest(array['tables', 'functions', 'sequences']) as kind
where exists (select from pg_roles where rolname = owner)
\gexec

-- Auth makes its own tables at its start; postgres may use them and set triggers on them.
select format('alter default privileges for role supabase_auth_admin in schema auth grant all on %s to postgres, dashboard_user',
              kind)
from unnest(array['tables', 'functions', 'sequences']) as kind
\gexec
grant all on all tables in schema auth to postgres, dashboard_user;
grant all on all sequences in schema auth to postgres, dashboard_user;
grant all on all functions in schema auth to postgres, dashboard_user;

-- Extensions ------------------------------------------------------------------------------
create extension if not exists pgcrypto with schema extensions;
create extension if not exists pg_cron with schema pg_catalog;
grant usage on schema cron to postgres with grant option;
grant execute on all functions in schema cron to postgres with grant option;
grant select on cron.job, cron.job_run_details to postgres with grant option;
grant delete on cron.job_run_details to postgres;

create extension if not exists pg_carbon with schema carbon;
