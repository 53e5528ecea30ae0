-- Everything derived equals a recomputation, after any order of inserts, changes and deletions.
begin;
\ir helpers.psql
set local carbon.limits = off;
select plan(16);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null
select setseed(0.42) \g /dev/null

-- 400 random operations by rpc, REST and service, on two users.
create function tests.random_operation() returns void language plpgsql
as $$
declare
  who text := (array['own', 'other'])[1 + floor(random() * 2)];
  methods text[] := (select array_agg(f.category_id || ' ' || f.method) from carbon.factors() as f);
  pair text[] := string_to_array(methods[1 + floor(random() * 32)], ' ');
  entry jsonb := jsonb_build_object('category_id', pair[1], 'disposal_method', pair[2], 'weight_kg', round((0.01 + random() * 9)::numeric, 3),
    'logged_at', now() - random() * 200 * interval '1 day', 'offline_id', case when random() < 0.5 then 'o' || floor(random() * 40) end);
  chosen record;
begin
  if random() < 0.1 then
    update public.profiles set province = (array['TH-10', 'TH-50', null])[1 + floor(random() * 3)] where id = tests.id(who);
    update public.user_preferences set time_zone = (array['Asia/Bangkok', 'America/New_York', 'Pacific/Kiritimati'])[1 + floor(random() * 3)] where user_id = tests.id(who);
  end if;
  select e.id, e.logged_at into chosen from public.waste_entries as e where e.user_id = tests.id(who) order by random() limit 1;
  perform tests.act_as(who);
  case floor(random() * 9)
    when 0 then perform public.create_waste_entry(json_build_object('entry', entry));
    when 1 then perform public.create_waste_entries(json_build_object('entries', jsonb_build_array(entry, entry || '{"weight_kg": 5}', entry - 'offline_id')));
    when 2 then
      insert into public.waste_entries (category_id, disposal_method, weight_kg, logged_at)
      select pair[1], pair[2], (entry ->> 'weight_kg')::numeric, (entry ->> 'logged_at')::timestamptz - g * interval '1 day' from generate_series(0, 2) as g;
    when 3 then if chosen.id is not null then perform tests.update_entry(chosen.id, entry - 'offline_id'); end if;
    when 4 then if chosen.id is not null then perform public.delete_waste_entry(chosen.id); end if;
    when 5 then update public.waste_entries set weight_kg = weight_kg + 0.125, logged_at = logged_at - interval '9 hours' where random() < 0.2 and weight_kg < 90;
    when 6 then delete from public.waste_entries where random() < 0.1;
    when 7 then perform public.migrate_local(jsonb_build_object('waste_entries', jsonb_build_array(entry))::text);
    else
      perform tests.act_as('service');
      update public.waste_entries set province = 'TH-90', time_zone = 'UTC'
      where user_id in (tests.id('own'), tests.id('other')) and random() < 0.1;
  end case;
  perform tests.act_as_operator();
end;
$$;
do $$ begin for i in 1..400 loop perform tests.random_operation(); end loop; end; $$;
select tests.all_right();
select is((select count(*) > 50 from public.waste_entries where user_id in (tests.id('own'), tests.id('other'))), true, 'there is something to compare');
select is((select bool_and(t.revision >= k.keys) from public.user_totals as t
           join (select user_id, count(*) as keys from private.entry_keys group by 1) as k using (user_id)), true, 'no revision occurs twice');
select is((select array_agg(e.id) from public.waste_entries as e
           left join private.entry_keys as k on k.user_id = e.user_id and k.entry_id = e.id
           where e.user_id in (tests.id('own'), tests.id('other')) and (k.deleted_at is not null or k.entry_id is null)), null, 'every entry has a key that is not a tombstone');

-- Days and streaks ------------------------------------------------------------------------------
delete from public.waste_entries where user_id in (tests.id('own'), tests.id('other'));
select is((select count(*)::integer from public.user_days where user_id in (tests.id('own'), tests.id('other'))), 0, 'a day without entries has no row');
select is((select (sum(entries), sum(credits), sum(weight_kg), sum(co2e_kg))::text from public.user_totals where user_id in (tests.id('own'), tests.id('other'))),
  '(0,0,0.000,0.000000)', 'deletions leave no remainder in the totals');
update public.user_preferences set time_zone = 'Asia/Bangkok' where user_id in (tests.id('own'), tests.id('other'));
create function tests.log(days_ago integer) returns jsonb language sql
as $$ select public.create_waste_entry(json_build_object('entry', tests.entry(1, jsonb_build_object('logged_at', now() - days_ago * interval '1 day')))) $$;
grant execute on function tests.log(integer) to public;
select tests.act_as('own') \g /dev/null
select tests.log(5), tests.log(4), tests.log(1) \g /dev/null
select is(tests.log(0) -> 'streak', '{"current": 2, "max": 2}', 'two days in a row');
select is(tests.log(3) -> 'streak', '{"current": 2, "max": 3}', 'a late entry lengthens an older run');
select is(tests.log(2) -> 'streak', '{"current": 6, "max": 6}', 'and closes the gap in the streak');
select is((select g.daily_streak || ' ' || g.max_streak from public.user_gamification as g), '6 6', 'the view shows the same');
delete from public.waste_entries where local_date = carbon.local_date(now() - interval '3 days', 'Asia/Bangkok');
select is((select g.daily_streak || ' ' || g.max_streak from public.user_gamification as g), '3 3', 'a deletion breaks it');
delete from public.waste_entries where local_date = carbon.local_date(now(), 'Asia/Bangkok');
select is((select g.daily_streak from public.user_gamification as g), 2, 'a streak that ended yesterday still counts');
select tests.act_as_operator() \g /dev/null
select tests.all_right();

-- Repair ----------------------------------------------------------------------------------------
update private.user_state set credits = credits + 5, entries = 0, longest_run = 9, province = 'TH-99' where user_id = tests.id('own');
delete from public.user_days where user_id = tests.id('own');
update private.entry_keys set logged_at = logged_at - interval '1 day' where user_id = tests.id('own') and deleted_at is null;
select is(jsonb_array_length(public.check_user(tests.id('own'))) > 3, true, 'damage shows');
select is(public.update_daily_streaks(1000000) ->> 'repaired', '1', 'the nightly round repairs it');
select tests.all_right();
select * from finish();
rollback;
