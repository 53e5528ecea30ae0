-- Partitions and scheduled jobs.
begin;
\ir helpers.psql
select plan(19);
select tests.sign_up('own', tests.id('own')) \g /dev/null
select is((select count(*)::integer from pg_inherits where inhparent = 'public.waste_entries'::regclass) >= 89, true, 'a partition for each month of 7 years, 3 ahead, and the default');
select is((select count(*)::integer from private.waste_entries_default), 0, 'the default partition is empty');

-- The job did not run: new entries wait in the default partition and are moved when it runs.
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, notes)
values (tests.id('own'), 'food_waste', 'composted', 1.5, 'Asia/Bangkok', 'before');
do $$
begin
  execute format('drop table private.waste_entries_y%sm%s', to_char(now() at time zone 'UTC', 'YYYY'), to_char(now() at time zone 'UTC', 'MM'));
  perform public.recompute_user(tests.id('own'));
end;
$$;
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, notes)
values (tests.id('own'), 'food_waste', 'composted', 2.5, 'Asia/Bangkok', 'while the job was late');
select is((select count(*)::integer from private.waste_entries_default), 1, 'no write is refused while the job is late');
set local role postgres;
select is(private.ensure_partitions(), 1, 'the job creates what is missing');
select is(private.ensure_partitions(), 0, 'a second run creates nothing');
reset role;
select is((select count(*)::integer from private.waste_entries_default), 0, 'and moves the waiting entries');
select is((select e.carbon_credits || ' ' || e.notes from public.waste_entries as e where e.user_id = tests.id('own')), '55 while the job was late', 'unchanged');
select tests.all_right();
select is((select array_agg(c.oid::regclass::text) from pg_class as c join pg_inherits as i on i.inhrelid = c.oid
           where i.inhparent = 'public.waste_entries'::regclass and not c.relrowsecurity), null, 'a new partition has row-level security');

-- The nightly round continues where it ended.
select tests.sign_up('other', tests.id('other')) \g /dev/null
update private.job_state set last_user = null;
delete from auth.users where id not in (select p.id from tests.people as p);
do $$ begin for i in 1..(select count(*) from public.user_totals) loop perform public.update_daily_streaks(1); end loop; end; $$;
select isnt((select s.last_user from private.job_state as s where s.job = 'update_daily_streaks'), null, 'after as many slices as users it is at the last one');
select is(public.update_daily_streaks(1) -> 'finished', 'true', 'and begins again after it');

-- Anonymous users who do not come back -------------------------------------------------------------
delete from auth.users;
create function tests.anonymous(name text, came interval, wrote interval default null, entries integer default 0) returns void language plpgsql
as $$
declare
  person uuid := gen_random_uuid();
begin
  perform tests.sign_up(anonymous.name, person, true);
  update public.profiles set created_at = now() - came where id = person;
  for n in 1..entries loop
    insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone) values (person, 'food_waste', 'composted', 1, 'Asia/Bangkok');
  end loop;
  update private.user_state set last_change_at = now() - wrote where user_id = person;
end;
$$;
select tests.anonymous('new', interval '29 days'), tests.anonymous('empty', interval '31 days'),
       tests.anonymous('emptied lately', interval '400 days', interval '29 days'), tests.anonymous('emptied', interval '400 days', interval '31 days'),
       tests.anonymous('keeps a diary', interval '400 days', interval '11 months', 2), tests.anonymous('kept a diary', interval '500 days', interval '13 months', 2),
       tests.sign_up('known', gen_random_uuid()) \g /dev/null
update public.profiles set created_at = now() - interval '3 years' where id = tests.id('known');
set local role postgres;
select is(private.drop_idle_anonymous_users(100, 1000) - 'checked', '{"busy": false, "dropped": 3, "finished": true}', 'anonymous users who do not come back are deleted');
reset role;
select is((select array_agg(t.name order by t.name) from tests.people as t join public.profiles as p on p.id = t.id),
          array['emptied lately', 'keeps a diary', 'known', 'new'], 'without entries after 30 days, with entries after 12 months without a write; others stay');
select tests.anonymous('empty ' || n, interval '31 days') from generate_series(1, 5) as n \g /dev/null
set local role postgres;
select is((select sum((private.drop_idle_anonymous_users(2, 1000) ->> 'dropped')::integer)::integer from generate_series(1, 6)), 5, 'a call checks a slice and the next continues after it');
reset role;
update private.job_state set last_user = null where job = 'drop_idle_anonymous_users';
select tests.anonymous('full ' || n, interval '500 days', interval '13 months', 3) from generate_series(1, 3) as n \g /dev/null
set local role postgres;
select is(private.drop_idle_anonymous_users(100, 4) -> 'dropped', '2', 'and ends where it has deleted enough entries');
reset role;

-- What is retained for 90 days -----------------------------------------------------------------------
delete from auth.users;
select tests.sign_up('own', tests.id('own')) \g /dev/null
delete from auth.audit_log_entries;
insert into auth.audit_log_entries (id, payload, created_at)
select gen_random_uuid(), '{"traits": {"user_phone": "66600000001"}}', now() - d from unnest(array[interval '89 days', '91 days', '92 days']) as d;
insert into auth.sessions (id, user_id, created_at, updated_at, refreshed_at, ip, user_agent) values
  (gen_random_uuid(), tests.id('own'), now() - interval '91 days', now() - interval '91 days', null, '192.0.2.1', 'gone'),
  (gen_random_uuid(), tests.id('own'), now() - interval '200 days', now() - interval '200 days', now() - interval '1 day', '192.0.2.1', 'refreshed'),
  (gen_random_uuid(), tests.id('own'), now() - interval '89 days', now() - interval '89 days', null, '192.0.2.1', 'younger');
set local role postgres;
select is(private.drop_old_records(1) - '{migration_payloads,audit_log}'::text[], '{"auth_audit_log": 1, "auth_sessions": 1}', 'lines of Auth''s log and sessions are deleted in slices');
select is(private.drop_old_records(10) - '{migration_payloads,audit_log}'::text[], '{"auth_audit_log": 1, "auth_sessions": 0}', 'until none is older than 90 days');
reset role;
select is((select array_agg(s.user_agent order by s.user_agent) from auth.sessions as s), array['refreshed', 'younger'], 'a session that is in use stays');
select is((select count(*)::integer from auth.audit_log_entries), 1, 'and younger lines stay');
select * from finish();
rollback;
