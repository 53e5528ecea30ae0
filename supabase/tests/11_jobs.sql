-- Partitions and the jobs that run by the clock.
begin;
\ir helpers.psql
select plan(11);
select tests.sign_up('own', tests.id('own')) \g /dev/null
select is((select count(*)::integer from pg_inherits where inhparent = 'public.waste_entries'::regclass) >= 89, true, 'a partition for each month of 7 years, 3 ahead, and the default');
select is((select count(*)::integer from private.waste_entries_default), 0, 'the default partition is empty');

-- The job slept: what is logged meanwhile waits in the default partition and is moved when it wakes.
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, notes)
values (tests.id('own'), 'food_waste', 'composted', 1.5, 'Asia/Bangkok', 'before');
do $$
begin
  execute format('drop table private.waste_entries_y%sm%s', to_char(now() at time zone 'UTC', 'YYYY'), to_char(now() at time zone 'UTC', 'MM'));
  perform public.recompute_user(tests.id('own'));
end;
$$;
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, notes)
values (tests.id('own'), 'food_waste', 'composted', 2.5, 'Asia/Bangkok', 'while the job slept');
select is((select count(*)::integer from private.waste_entries_default), 1, 'nobody is refused while the job sleeps');
set local role postgres;
select is(private.ensure_partitions(), 1, 'the job makes what is missing');
select is(private.ensure_partitions(), 0, 'twice it makes nothing');
reset role;
select is((select count(*)::integer from private.waste_entries_default), 0, 'and moves what waited');
select is((select e.carbon_credits || ' ' || e.notes from public.waste_entries as e where e.user_id = tests.id('own')), '55 while the job slept', 'unharmed');
select tests.all_right();
select is((select array_agg(c.oid::regclass::text) from pg_class as c join pg_inherits as i on i.inhrelid = c.oid
           where i.inhparent = 'public.waste_entries'::regclass and not c.relrowsecurity), null, 'a new partition has row-level security');

-- The nightly round goes on where it ended.
select tests.sign_up('other', tests.id('other')) \g /dev/null
update private.job_state set last_user = null;
delete from auth.users where id not in (select p.id from tests.people as p);
do $$ begin for i in 1..(select count(*) from public.user_totals) loop perform public.update_daily_streaks(1); end loop; end; $$;
select isnt((select s.last_user from private.job_state as s where s.job = 'update_daily_streaks'), null, 'after as many slices as people it stands at the last');
select is(public.update_daily_streaks(1) -> 'finished', 'true', 'and begins anew after it');
select * from finish();
rollback;
