-- Scheduled jobs. Each can be run at any time, repeatedly or not at all: nothing that users see waits for one.

create function private.drop_unconfirmed_users()
returns integer
language plpgsql
set search_path = ''
as $$
declare
  dropped integer;
begin
  -- Auth inserts a user for every number that requests a code; delete those who never entered it.
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
  'Deletes users of Auth who confirmed nothing within 24 hours, at most 10,000 a call; returns how many.';

create function private.drop_old_records(max_rows integer)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  payloads integer;
  lines integer;
  auth_lines integer;
  sessions integer;
begin
  -- By ctid, so that each call takes one slice regardless of indexes.
  delete from private.migration_payloads as p
  where p.ctid = any (array(
    select o.ctid from private.migration_payloads as o where o.created_at < now() - interval '30 days' limit greatest(max_rows / 100, 1)));
  get diagnostics payloads = row_count;
  delete from private.audit_log as a
  where a.ctid = any (array(select o.ctid from private.audit_log as o where o.at < now() - interval '90 days' limit max_rows));
  get diagnostics lines = row_count;
  -- Auth retains both indefinitely, with phone numbers and addresses in them.
  delete from auth.audit_log_entries as a
  where a.ctid = any (array(
    select o.ctid from auth.audit_log_entries as o where o.created_at < now() - interval '90 days' limit max_rows));
  get diagnostics auth_lines = row_count;
  -- A session expires after 7 days without use; until then its tokens depend on its row.
  delete from auth.sessions as s
  where s.ctid = any (array(
    select o.ctid from auth.sessions as o
    where greatest(o.created_at, o.updated_at, o.refreshed_at at time zone 'UTC') < now() - interval '90 days' limit max_rows));
  get diagnostics sessions = row_count;
  return jsonb_build_object('migration_payloads', payloads, 'audit_log', lines, 'auth_audit_log', auth_lines,
                            'auth_sessions', sessions);
end;
$$;
comment on function private.drop_old_records(integer) is
  'Deletes stored import payloads after 30 days, and after 90 days audit rows, Auth''s own audit rows, and '
  'unused sessions with their addresses and user agents; at most that number of each (a hundredth of it for '
  'imports) a call. Returns how many of each.';

-- Anonymous users -----------------------------------------------------------------------------
-- Goes through users by id and checks each once, so that its cost does not grow with the number of users that remain.
create index profiles_anonymous on public.profiles (id) where is_anonymous;
insert into private.job_state (job) values ('drop_idle_anonymous_users');

create function private.drop_idle_anonymous_users(max_rows integer, most_entries bigint)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  came_to uuid;
  user_row record;
  checked integer := 0;
  dropped integer := 0;
  entries bigint := 0;
  result jsonb;
begin
  select s.last_user into came_to from private.job_state as s
  where s.job = 'drop_idle_anonymous_users' for update skip locked;
  if not found then
    return '{"busy": true, "checked": 0, "dropped": 0, "finished": false}';
  end if;
  for user_row in
    select p.id, t.entries,
           greatest(p.created_at, t.last_change_at)
             < now() - case when t.entries = 0 then interval '30 days' else interval '12 months' end as is_idle
    from public.profiles as p
    join private.user_state as t on t.user_id = p.id
    where p.is_anonymous and p.id > coalesce(came_to, '00000000-0000-0000-0000-000000000000')
    order by p.id limit max_rows
  loop
    came_to := user_row.id;
    checked := checked + 1;
    if user_row.is_idle then
      delete from auth.users as u where u.id = user_row.id and u.is_anonymous;
      dropped := dropped + 1;
      entries := entries + user_row.entries;
      exit when entries >= most_entries;
    end if;
  end loop;
  result := jsonb_build_object('busy', false, 'checked', checked, 'dropped', dropped,
                               'finished', checked < max_rows and entries < most_entries);
  update private.job_state as s
  set last_user = case when not (result ->> 'finished')::boolean then came_to end, last_run_at = now(), last_result = result
  where s.job = 'drop_idle_anonymous_users';
  return result;
end;
$$;
comment on function private.drop_idle_anonymous_users(integer, bigint) is
  'Deletes anonymous users 30 days (without entries) or 12 months (with entries) after their last write or '
  'visit: goes through all of them by id, at most that number of users a call, and stops once it has deleted '
  'most_entries entries. Returns {busy, checked, dropped, finished}.';

-- Closing days -------------------------------------------------------------------------------
insert into private.job_state (job) values ('close_days');

create function private.close_days_of_yesterday(max_rows integer)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  -- In Bangkok; the day ended earlier further east, and a later run covers users further west.
  day date := carbon.local_date(now(), carbon.default_time_zone()) - 1;
  board_id integer := carbon.board_id('daily', day, null);
  state private.job_state;
  place record;
  user_ids uuid[];
  last_place jsonb;
  result jsonb;
begin
  select s.* into state from private.job_state as s where s.job = 'close_days' for update skip locked;
  if not found then
    return '{"busy": true, "checked": 0, "closed": 0, "finished": false}';
  elsif state.last_result ->> 'day' = day::text and (state.last_result ->> 'finished')::boolean
        and state.last_run_at > now() - interval '4 hours' then
    return state.last_result || '{"checked": 0, "closed": 0}';
  end if;
  -- The daily board includes every user who logged an entry that day, listed or not, so the state needs no index that
  -- every write would have to maintain. A user who moves on the board in the meantime has written, and that write
  -- closes the day.
  if state.last_result ->> 'day' = day::text and not (state.last_result ->> 'finished')::boolean then
    select p.* into place from jsonb_to_record(state.last_result -> 'place') as p (is_listed boolean, credits bigint, user_id uuid);
  else
    select false as is_listed, 9223372036854775807 as credits, '00000000-0000-0000-0000-000000000000'::uuid as user_id into place;
  end if;
  select array_agg(b.user_id), (array_agg(to_jsonb(b) order by b.is_listed desc, b.credits, b.user_id desc))[1]
  into user_ids, last_place
  from (
    select s.is_listed, s.credits, s.user_id
    from private.board_order as s
    where s.board = board_id and (s.is_listed, -s.credits, s.user_id) > (place.is_listed, -place.credits, place.user_id)
    order by s.is_listed, -s.credits, s.user_id
    limit max_rows) as b;
  result := jsonb_build_object(
    'busy', false, 'day', day, 'place', last_place, 'checked', coalesce(cardinality(user_ids), 0),
    'closed', case when user_ids is not null then private.close_elapsed_days(user_ids) else 0 end,
    'finished', coalesce(cardinality(user_ids), 0) < max_rows);
  update private.job_state as s set last_run_at = now(), last_result = result where s.job = 'close_days';
  return result;
end;
$$;
comment on function private.close_days_of_yesterday(integer) is
  'Closes the days of users who logged an entry yesterday: goes through that day''s board, at most that '
  'number of users a call, and again every four hours for those whose day ends later than in Bangkok. '
  'Returns {busy, day, place, checked, closed, finished}.';

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

-- A few minutes apart, at quiet hours in Thailand (UTC+7).
select cron.schedule('carbon_partitions', '7 18 * * *',
  $$set lock_timeout = '5s'; select private.ensure_partitions()$$);
select cron.schedule('carbon_challenges', '47 16 * * *', $$select private.make_challenges(14)$$);
-- Each slice is a separate transaction of some tenths of a second, because writes of the users in it wait for it:
-- 100,000 users a minute.
select cron.schedule('carbon_close_days', '* * * * *', $job$
  do $$
  begin
    for turn in 1..20 loop
      exit when (private.close_days_of_yesterday(5000) ->> 'checked')::integer < 5000; commit;
    end loop;
  end;
  $$
$job$);
select cron.schedule('carbon_unconfirmed_users', '17 * * * *', $$select private.drop_unconfirmed_users()$$);
-- 144 times a day: 1.4 million rows of each kind, 14,400 imports.
select cron.schedule('carbon_old_records', '*/10 * * * *', $$select private.drop_old_records(10000)$$);
-- A million anonymous users are checked in a day.
select cron.schedule('carbon_idle_anonymous_users', '3-59/10 * * * *', $$select private.drop_idle_anonymous_users(10000, 20000)$$);
select cron.schedule('carbon_reopen_profiles', '* * * * *', $$select private.reopen_profiles(1000)$$);
select cron.schedule('carbon_limits_are_on', '41 * * * *', $$select private.warn_of_lifted_limits()$$);
select cron.schedule('carbon_daily_streaks', '*/5 18-22 * * *', $$select public.update_daily_streaks()$$);
select cron.schedule('carbon_job_history', '37 18 * * *',
  $$delete from cron.job_run_details where end_time < now() - interval '7 days'$$);
