-- The reward ledger: rewards are granted once, revoked by corrections, readable, and equal to a recomputation.
begin;
\ir helpers.psql
select plan(55);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')),
       tests.sign_up('anonymous', tests.id('anonymous'), true) \g /dev/null
-- The profiles are three days old, so that days before today have challenges.
update public.profiles set created_at = now() - interval '3 days' where id in (select p.id from tests.people as p);

create function tests.log(category text, method text, weight numeric default 0.1, days_ago integer default 0) returns jsonb language sql
as $$ select public.create_waste_entry(json_build_object('entry', jsonb_build_object('category_id', category, 'disposal_method', method, 'weight_kg', weight,
         'logged_at', now() - days_ago * interval '1 day'))) $$;
create function tests.ledger(of_source text) returns text language sql
as $$ select coalesce(string_agg(r.source_id || ' ' || r.credits, ', ' order by r.number), 'nothing')
      from private.rewards as r where r.user_id = tests.id('own') and r.source = of_source $$;
create function tests.held(which text) returns boolean language sql
as $$ select which = any (t.achievements) from public.user_totals as t where t.user_id = tests.id('own') $$;
-- Runs as the signed-in user; the tests themselves run as superuser.
create function tests.own(statement text) returns jsonb language plpgsql
as $$
declare
  answer jsonb;
begin
  perform tests.act_as('own');
  execute 'select to_jsonb(x) from (select ' || statement || ') as t (x)' into answer;
  perform tests.act_as_operator();
  return answer;
end;
$$;
grant execute on all functions in schema tests to public;

-- Achievements -----------------------------------------------------------------------------------
select is(tests.own($$tests.log('glass_bottles', 'reused')$$) #>> '{achievements_unlocked,0,id}', 'first_scan', 'the first entry earns the first step');
select is(tests.own($$tests.log('glass_bottles', 'reused')$$) -> 'achievements_unlocked', '[]', 'and the second one nothing more');
select is(tests.ledger('achievement'), 'first_scan 10', 'the ledger names the reason');
select tests.own($$tests.log('metal_cans', 'recycled') || tests.log('glass_bottles', 'recycled')$$) from generate_series(1, 4) \g /dev/null
select is(tests.held('recycling_hero'), false, 'eight of one day are not ten');
select tests.own($$tests.log('metal_cans', 'recycled')$$) from generate_series(1, 2) \g /dev/null
select is(tests.held('recycling_hero'), true, 'ten of one day, of any category, are');
delete from public.waste_entries where user_id = tests.id('own') and id = (
  select e.id from public.waste_entries as e where e.user_id = tests.id('own') and e.disposal_method = 'recycled' limit 1);
select is(tests.ledger('achievement'), 'first_scan 10, recycling_hero 100, recycling_hero -100', 'a correction revokes what was paid');
update public.achievements set credits_reward = 1 where id = 'recycling_hero';
select tests.own($$tests.log('metal_cans', 'recycled')$$) \g /dev/null
update public.waste_entries set disposal_method = 'reused' where user_id = tests.id('own') and disposal_method = 'recycled';
select is(tests.ledger('achievement'), 'first_scan 10, recycling_hero 100, recycling_hero -100, recycling_hero 1, recycling_hero -1',
  'the next one is paid again; a revocation is for what was paid, even if the reward has changed since');
select is((select max(r.number) = count(*) from private.rewards as r where r.user_id = tests.id('own')), true, 'the numbers have no gap');
select tests.own($$tests.log('food_waste', 'composted', 0.999)$$) \g /dev/null
select is(tests.held('compost_master'), false, '999 grams are not a kilogram');
select is(tests.own($$public.check_achievements() #> '{missing,0}'$$),
  '{"id": "compost_master", "progress": {"value": 0.999, "at_least": 1, "percentage": 99}}', 'missing ones have their progress');
select tests.own($$tests.log('organic_waste', 'composted', 0.01)$$) \g /dev/null
select is(tests.held('compost_master'), true, 'they are added up across categories');
select tests.all_right();

-- Criteria consider entries, never rewards --------------------------------------------------------
delete from public.waste_entries where user_id = tests.id('own');
select tests.own($$tests.log('plastic_bottles', 'recycled', 33)$$) \g /dev/null
select is((select t.credits::integer from public.user_totals as t where t.user_id = tests.id('own')), 495, '495 points of entries');
select is((select t.credits + t.rewards >= 500 from public.user_totals as t where t.user_id = tests.id('own')), true, 'and over 500 with rewards');
select is(tests.held('tree_saver'), false, 'do not save a tree');
select is(tests.own($$tests.log('plastic_bottles', 'recycled', 34)$$) -> 'achievements_unlocked' @> '[{"id": "waste_warrior"}, {"id": "tree_saver"}]',
  true, 'both are earned at once by one entry');
select tests.own($$tests.log('plastic_bottles', 'disposed', 100)$$) \g /dev/null
select is((tests.held('waste_warrior'), tests.held('tree_saver'))::text, '(f,f)', 'an entry that costs points can revoke them');
select is((select t.level from public.user_totals as t where t.user_id = tests.id('own')), 1, 'and levels');
select is((select string_agg(r.source_id || case when r.sequence % 2 = 1 then '+' else '-' end, ' ' order by r.number)
           from (select * from private.rewards as l where l.user_id = tests.id('own') and l.source = 'level' order by l.number desc limit 6) as r),
  '2+ 3+ 4+ 4- 3- 2-', 'the ledger has each level gained and lost');
select tests.all_right();

-- Streak: the longest run ever ---------------------------------------------------------------------
select tests.own(format($$tests.log('glass_bottles', 'reused', 0.1, %s)$$, d)) from unnest(array[1, 2, 4, 5, 6]) as d \g /dev/null
select is(tests.held('daily_tracker'), false, 'a gap of one day breaks the run');
select is(tests.own($$tests.log('glass_bottles', 'reused', 0.1, 3)$$) -> 'achievements_unlocked' @> '[{"id": "daily_tracker"}]', true,
  'a late entry closes the gap and is rewarded');
delete from public.waste_entries where user_id = tests.id('own') and local_date = carbon.local_date(now() - interval '3 days', 'Asia/Bangkok');
select is(tests.held('daily_tracker'), false, 'its deletion breaks it again');
select tests.all_right();

-- A plastic-free day counts when it has ended ----------------------------------------------------
delete from public.waste_entries where user_id = tests.id('own');
update public.user_preferences set time_zone = 'Pacific/Pago_Pago' where user_id = tests.id('own');
update private.user_state set days_closed_through = '1970-01-01' where user_id = tests.id('own');
select tests.own($$tests.log('glass_bottles', 'reused')$$) \g /dev/null
select is(tests.held('plastic_free'), false, 'today may still bring plastic');
-- In a zone 25 hours further east it is tomorrow, or later.
update public.user_preferences set time_zone = 'Pacific/Kiritimati' where user_id = tests.id('own');
select is(private.close_elapsed_days(array[tests.id('own')]), 1, 'a day that has ended is closed');
select is(tests.held('plastic_free'), true, 'and evaluated without a write of the user');
select is(private.close_elapsed_days(array[tests.id('own')]), 0, 'once');
select tests.own(format($$public.create_waste_entry(json_build_object('entry', '{"category_id": "plastic_bags", "disposal_method": "disposed", "weight_kg": 1, "logged_at": "%s"}'::jsonb))$$, now())) \g /dev/null
-- That entry is on the new today, so the closed day remains plastic-free.
select is(tests.held('plastic_free'), true, 'plastic of another day changes nothing');
update public.waste_entries set category_id = 'plastic_bags', disposal_method = 'recycled' where user_id = tests.id('own') and category_id = 'glass_bottles';
select is(tests.held('plastic_free'), false, 'a late correction of the day itself does');
update public.user_preferences set time_zone = 'Asia/Bangkok' where user_id = tests.id('own');
select tests.all_right();

-- Challenges ----------------------------------------------------------------------------------------
delete from public.waste_entries where user_id = tests.id('own');
select tests.own($$tests.log('glass_bottles', 'reused')$$) from generate_series(1, 4) \g /dev/null
select is(tests.own($$tests.log('glass_bottles', 'reused')$$) #>> '{challenges_completed,0,challenge_type}', 'scan_5_items', 'the fifth entry of the day completes it');
select is(tests.own($$tests.log('glass_bottles', 'reused')$$) -> 'challenges_completed', '[]', 'once');
select is((select jsonb_agg(c ->> 'progress' order by c ->> 'challenge_type') from jsonb_array_elements(tests.own('public.get_challenges_today()') -> 'challenges') as c),
  '["0", "0", "0", "6"]', 'progress comes from the entries');
delete from public.waste_entries where user_id = tests.id('own') and id = any (array(
  select e.id from public.waste_entries as e where e.user_id = tests.id('own') limit 2));
select is(tests.own($$public.get_challenges_today() #>> '{challenges,1,completed}'$$), '"false"', 'deletions revoke it');
select is(tests.own($$tests.log('metal_cans', 'recycled', 0.1, 1)$$) #>> '{challenges_completed,0,date}',
  carbon.local_date(now() - interval '1 day', 'Asia/Bangkok')::text, 'a late entry completes the challenge of its own day');
select is(tests.own($$tests.log('metal_cans', 'recycled', 0.1, 5)$$) -> 'challenges_completed', '[]', 'days before the profile began have none');
select is(tests.own($$public.migrate_local('{"waste_entries": [{"category_id": "plastic_bags", "disposal_method": "avoided", "weight_kg": 1, "logged_at": "' || now() || '"}]}') ->> 'migrated_entries'$$),
  '"1"', 'an imported entry');
select is((select count(*)::integer from private.rewards as r join public.daily_challenges as c on c.id::text = r.source_id
           where r.user_id = tests.id('own') and c.challenge_type = 'avoid_plastic'), 0, 'completes no challenge');
select is((select count(*)::integer from jsonb_array_elements(tests.own('public.get_challenge_history(1)') -> 'history')), 4, 'the history has pages of days');
select is((select array_agg(distinct h ->> 'date') from jsonb_array_elements(
             tests.own($$public.get_challenge_history(5, public.get_challenge_history(1) ->> 'next_cursor')$$) -> 'history') as h),
  array[carbon.local_date(now() - interval '1 day', 'Asia/Bangkok')::text], 'and continues where the last one ended');
select is(tests.token('own', $$select public.get_challenge_history(1, '2026-02-31')$$), '22023 carbon.cursor_invalid', 'an invalid cursor is refused');

-- Where the job did not run
delete from public.daily_challenges;
select is((select count(*)::integer from jsonb_array_elements(tests.own('public.get_challenges_today()') -> 'challenges')), 4, 'a day without rows is computed');
select is(tests.own($$tests.log('food_waste', 'composted')$$) #>> '{challenges_completed,0,challenge_type}', 'compost_organic', 'and rewarded');
select is((select count(*)::integer from public.daily_challenges), 0, 'without writing a row');
select is(private.make_challenges(3), 16, 'the job creates them');
select is(tests.own($$tests.log('food_waste', 'composted')$$) -> 'challenges_completed', '[]', 'with the same ids: nothing is paid twice');
select is(private.make_challenges(3), 0, 'a second run changes nothing');
update public.challenge_types set credits_reward = 99 where id = 'scan_5_items';
select is((select array_agg(c.credits_reward order by c.date) from public.daily_challenges as c
           where c.challenge_type = 'scan_5_items' and c.date < carbon.local_date(now(), 'Asia/Bangkok') + 4),
  array[20, 20, 99, 99], 'a change of the type does not affect today and tomorrow');
select is((select c.credits_reward from private.challenges_on(carbon.local_date(now(), 'Asia/Bangkok') + 3) as c where c.challenge_type = 'scan_5_items'), 99, 'but the days after');
select tests.all_right();

-- A new achievement counts the past----------------------------------------------------------------------
select tests.own($$tests.log('electronic_waste', 'donated', 0.1, 1)$$) from generate_series(1, 2) \g /dev/null
insert into public.achievements (id, name_th, name_en, description_th, description_en, icon, credits_reward, criteria)
values ('giver', 'ผู้ให้', 'Giver', 'บริจาค', 'Give', '🎁', 5, '{"metric": "entries_in_one_day", "disposal_method": "donated", "at_least": 2}');
select is(tests.own($$tests.log('glass_bottles', 'reused')$$) #>> '{achievements_unlocked,0,id}', 'giver', 'the next write of any kind earns what an earlier day had reached');
select tests.all_right();

-- The readable ledger -------------------------------------------------------------------------------
select is(tests.own($$(select string_agg(h.name_th || '/' || h.name_en || '/' || h.event, ', ' order by h.number) from public.credit_history as h where h.number in (1, 4))$$),
  '"ก้าวแรก/First Step/granted, นักรีไซเคิล/Recycling Hero/granted"', 'each row names what points were for');
select is(tests.own($$(select g.total_credits from public.user_gamification as g)$$),
  to_jsonb((select sum(e.carbon_credits) from public.waste_entries as e where e.user_id = tests.id('own'))
         + (select sum(r.credits) from private.rewards as r where r.user_id = tests.id('own'))), 'total = entries + ledger');
select * from finish();
rollback;
