-- What runs by the clock. Each job is safe at any time, twice or never: nothing a person sees waits
-- for one.

create function private.drop_unconfirmed_users()
returns integer
language plpgsql
set search_path = ''
as $$
declare
  dropped integer;
begin
  -- Auth writes a user for every number a code is asked for; who never typed the code goes.
  with stale as (
    select u.id from auth.users as u
    where u.created_at < now() - interval '24 hours'
      and u.phone_confirmed_at is null and u.email_confirmed_at is null
      and u.last_sign_in_at is null and not coalesce(u.is_anonymous, false)
      and not exists (select from public.profiles as p where p.id = u.id)
    limit 10000
  )
  delete from auth.users as u using stale as s where u.id = s.id;
  get diagnostics dropped = row_count;
  return dropped;
end;
$$;
comment on function private.drop_unconfirmed_users() is
  'Deletes users of Auth who proved nothing within 24 hours, at most 10,000 a call; returns how many.';

create function private.drop_old_records()
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  payloads integer;
  lines integer;
begin
  delete from private.migration_payloads as p where p.created_at < now() - interval '30 days';
  get diagnostics payloads = row_count;
  delete from private.audit_log as a where a.at < now() - interval '90 days';
  get diagnostics lines = row_count;
  return jsonb_build_object('migration_payloads', payloads, 'audit_log', lines);
end;
$$;
comment on function private.drop_old_records() is
  'Deletes raw import payloads after 30 days and audit lines after 90; returns how many of each.';

do $$
begin
  if to_regnamespace('cron') is null then
    raise exception using
      errcode = 'undefined_object',
      message = 'The extension pg_cron is not installed in this database.',
      hint = 'As a superuser: create extension pg_cron; (supabase/bootstrap.sql does it).';
  end if;
end;
$$;

-- Minutes apart, at quiet hours in Thailand (UTC+7).
select cron.schedule('carbon_partitions', '7 18 * * *',
  $$set lock_timeout = '5s'; select private.ensure_partitions()$$);
select cron.schedule('carbon_challenges', '47 16 * * *', $$select private.make_challenges(14)$$);
-- Half a second of processor (docs/benchmarks.md), because people in a slice wait for it with their own writes: seven
-- million people a day.
select cron.schedule('carbon_settle_days', '* * * * *', $$select private.settle_days(5000)$$);
select cron.schedule('carbon_unconfirmed_users', '17 * * * *', $$select private.drop_unconfirmed_users()$$);
select cron.schedule('carbon_old_records', '27 18 * * *', $$select private.drop_old_records()$$);
select cron.schedule('carbon_daily_streaks', '*/5 18-22 * * *', $$select public.update_daily_streaks()$$);
select cron.schedule('carbon_job_history', '37 18 * * *',
  $$delete from cron.job_run_details where end_time < now() - interval '7 days'$$);
