-- The feed: items follow from the ledger, those of imports and new rules are quiet, and what is lost goes.
begin;
\ir helpers.psql
select plan(47);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null
update public.profiles set created_at = now() - interval '60 days' where id = tests.id('own');

create function tests.log(category text, method text, weight numeric default 0.1, days_ago integer default 0) returns jsonb language sql
as $$ select public.create_waste_entry(json_build_object('entry', jsonb_build_object('category_id', category, 'disposal_method', method, 'weight_kg', weight,
         'logged_at', now() - days_ago * interval '1 day'))) $$;
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
create function tests.feed() returns text language sql
as $$ select coalesce(string_agg(replace(replace(a.activity_type, 'achievement_unlocked', 'won'), 'level_up', 'level') || ' ' || d.value, ', '
                                 order by a.activity_type, length(d.value), d.value), 'nothing')
      from public.activity_feed as a cross join lateral jsonb_each_text(a.activity_data) as d where a.user_id = tests.id('own') $$;
create function tests.marks(of_source text) returns text language sql
as $$ select coalesce(string_agg(r.source_id || case when r.sequence % 2 = 1 then '+' else '-' end || case when r.quiet then '~' else '' end, ' ' order by r.number), 'nothing')
      from private.rewards as r where r.user_id = tests.id('own') and r.source = of_source $$;
grant execute on all functions in schema tests to public;

-- Marks --------------------------------------------------------------------------------------------
select tests.own($$tests.log('glass_bottles', 'reused')$$) \g /dev/null
select is(tests.feed(), 'won first_scan', 'the first entry brings the first item');
select is((select a.activity_data from public.activity_feed as a where a.user_id = tests.id('own')), '{"achievement_id": "first_scan"}', 'an item holds ids, no names');
select tests.own($$tests.log('plastic_bottles', 'recycled', 70)$$) \g /dev/null
select is(tests.marks('tree'), '1+ 2+ 3+', 'a tree is a mark of the ledger when the total reaches it');
select is((select sum(abs(r.credits))::integer from private.rewards as r where r.source in ('tree', 'streak', 'level') and r.user_id = tests.id('own')), 0, 'marks pay nothing');
select tests.own($$tests.log('plastic_bottles', 'recycled', 100)$$) from generate_series(1, 2) \g /dev/null
select is(tests.marks('tree'), '1+ 2+ 3+ 5+', 'trees are marked in steps, not one by one');
delete from public.waste_entries where user_id = tests.id('own') and weight_kg = 100;
select is(tests.marks('tree'), '1+ 2+ 3+ 5+ 5-', 'and lost when the total falls below them');
select tests.own(format($$tests.log('glass_bottles', 'reused', 0.1, %s)$$, d)) from generate_series(1, 5) as d \g /dev/null
select is(tests.marks('streak'), 'nothing', 'six days are no mark');
select tests.own($$tests.log('glass_bottles', 'reused', 0.1, 6)$$) \g /dev/null
select is(tests.marks('streak'), '7+', 'seven are');
delete from public.waste_entries where user_id = tests.id('own') and local_date = carbon.local_date(now() - interval '3 days', 'Asia/Bangkok');
select is(tests.marks('streak'), '7+ 7-', 'a gap breaks it');
select tests.own($$public.create_waste_entries('{"entries": [{"category_id": "glass_bottles", "disposal_method": "reused", "weight_kg": 0.1, "logged_at": "$$ || (now() - interval '3 days') || $$"}]}')$$) \g /dev/null
select is(tests.marks('streak'), '7+ 7- 7+', 'and a batch restores it');
select is(tests.own($$(select string_agg(h.name_en || '/' || h.name_th, ', ' order by h.number) from public.credit_history as h where h.source in ('tree', 'streak') and h.source_id in ('1', '7') and h.event = 'granted')$$),
  '"1 tree saved/ช่วยต้นไม้ได้ 1 ต้น, 7-day streak/บันทึกต่อเนื่อง 7 วัน, 7-day streak/บันทึกต่อเนื่อง 7 วัน"', 'the history of credits names them');
select is(tests.feed() ~ 'streak 7, tree_saved 1, tree_saved 2, tree_saved 3$', true, 'marks that are held are in the feed, and no others');
select is((select count(*)::integer from public.activity_feed as a join private.rewards as r on r.source = 'challenge' and r.user_id = a.user_id
           where a.user_id = tests.id('own') and r.source_id in (select d.value from jsonb_each_text(a.activity_data) as d)), 0, 'challenges of the day are no items');
select tests.all_right();

-- Taken back and given again ---------------------------------------------------------------------
update private.rewards set created_at = created_at - interval '2 days' where user_id = tests.id('own');
select is(jsonb_path_exists(public.check_user(tests.id('own')), '$[*].what ? (@ == "activity_feed")'), true, 'check_user compares the feed with the ledger');
select public.recompute_user(tests.id('own')) \g /dev/null
select is((select array_agg(distinct now() - a.created_at) from public.activity_feed as a where a.user_id = tests.id('own')), array[interval '2 days'], 'and recompute_user rebuilds it');
select a.id as streak_item from public.activity_feed as a where a.user_id = tests.id('own') and a.activity_type = 'streak' \gset
delete from public.waste_entries where user_id = tests.id('own') and local_date = carbon.local_date(now() - interval '3 days', 'Asia/Bangkok');
select is(tests.feed() ~ 'streak', false, 'what is taken back leaves the feed');
update public.profiles set privacy_level = 3 where id = tests.id('own');
select tests.own($$tests.log('glass_bottles', 'reused', 0.1, 3)$$) \g /dev/null
select is((select row(a.id, now() - a.created_at, a.visibility)::text from public.activity_feed as a where a.user_id = tests.id('own') and a.activity_type = 'streak'),
  row(:'streak_item'::uuid, interval '2 days', 'public')::text, 'given again it is the item of before, at its old time');
select tests.all_right();

-- Visibility -----------------------------------------------------------------------------------------
select tests.own($$tests.log('food_waste', 'composted', 1)$$) \g /dev/null
select is((select string_agg(a.activity_data ->> 'achievement_id', ' ') from public.activity_feed as a where a.user_id = tests.id('own') and a.visibility = 'private'),
  'compost_master', 'what is achieved while the profile is private is private');
update public.profiles set privacy_level = 1 where id = tests.id('own');
delete from public.waste_entries where user_id = tests.id('own') and disposal_method = 'composted';
select tests.own($$tests.log('food_waste', 'composted', 1)$$) \g /dev/null
select is((select a.visibility from public.activity_feed as a where a.user_id = tests.id('own') and a.activity_data ->> 'achievement_id' = 'compost_master'),
  'private', 'and stays so when it is given again after the profile was opened');
select tests.all_right();

-- Quiet: imports, repairs, new rules ---------------------------------------------------------------
delete from public.waste_entries where user_id = tests.id('own');
select is(tests.feed(), 'nothing', 'an empty diary has no items');
select tests.own($$public.migrate_local((select jsonb_build_object('waste_entries', jsonb_agg(jsonb_build_object('category_id', 'metal_cans',
  'disposal_method', 'recycled', 'weight_kg', 50, 'logged_at', now() - d * interval '1 day'))) from generate_series(1, 40) as d)::text) ->> 'migrated_entries'$$) \g /dev/null
select is(tests.marks('streak'), '7+ 7- 7+ 7- 7+ 7- 7+~ 30+~', 'an import earns quietly');
select is(tests.feed() ~ 'streak 30|tree_saved 10|recycling_hero', false, 'so nothing of it is new in the feed');
select is(tests.feed() ~ 'streak 7, tree_saved 1, tree_saved 2, tree_saved 3, tree_saved 5$', true, 'but what had been announced before is back');
select tests.own(format('public.rollback_migration(%L)', (select b.id from private.migration_batches as b where b.user_id = tests.id('own') order by b.created_at desc limit 1))) \g /dev/null
select is(tests.feed(), 'nothing', 'a roll-back takes it again');
select tests.own(format($$tests.log('metal_cans', 'recycled', 50, %s)$$, d)) from generate_series(0, 6) as d \g /dev/null
select is((select array_agg(distinct now() - a.created_at order by now() - a.created_at) from public.activity_feed as a where a.user_id = tests.id('own') and a.activity_data in ('{"trees": 10}', '{"days": 7}')),
  array[interval '0', interval '2 days'], 'what was only imported is announced when it is earned here');
select tests.all_right();

insert into public.achievements (id, name_th, name_en, description_th, description_en, icon, credits_reward, criteria)
values ('giver', 'ผู้ให้', 'Giver', 'บริจาค', 'Give', '🎁', 5, '{"metric": "entries_in_one_day", "disposal_method": "recycled", "at_least": 1}'),
       ('eighth', 'แปด', 'Eighth', 'แปด', 'Eight', '8️⃣', 5, '{"metric": "daily_streak", "at_least": 8}');
select is(tests.own($$(select jsonb_agg(a ->> 'id' order by a ->> 'id') from jsonb_array_elements(tests.log('metal_cans', 'recycled', 1, 7) -> 'achievements_unlocked') as a)$$),
  '["eighth", "giver"]', 'the next write earns what new rules grant and what it reaches itself');
select is(tests.marks('achievement') ~ 'giver\+~ eighth\+$', true, 'quietly the one, aloud the other');
select is(tests.feed() ~ 'won eighth' and tests.feed() !~ 'won giver', true, 'and only that one is in the feed');
insert into public.achievements (id, name_th, name_en, description_th, description_en, icon, credits_reward, criteria)
values ('late', 'สาย', 'Late', 'สาย', 'Late', '🎁', 5, '{"metric": "daily_streak", "at_least": 2}'),
       ('ninth', 'เก้า', 'Ninth', 'เก้า', 'Nine', '9️⃣', 5, '{"metric": "daily_streak", "at_least": 9}');
select tests.own($$public.create_waste_entries('{"entries": [{"category_id": "glass_bottles", "disposal_method": "reused", "weight_kg": 0.1, "logged_at": "$$ || (now() - interval '8 days') || $$"},
  {"category_id": "glass_bottles", "disposal_method": "reused", "weight_kg": 0.1}]}')$$) \g /dev/null
select is(tests.marks('achievement') ~ 'late\+~ ninth\+$', true, 'a batch tells them apart as well');
insert into public.achievements (id, name_th, name_en, description_th, description_en, icon, credits_reward, criteria)
values ('checked', 'ตรวจ', 'Checked', 'ตรวจ', 'Check', '🎁', 5, '{"metric": "daily_streak", "at_least": 2}');
select tests.own('public.check_achievements()') \g /dev/null
select is(tests.marks('achievement') ~ 'checked\+~$', true, 'and so does a check');
select tests.all_right();

-- A repair is quiet
delete from private.rewards where user_id = tests.id('own') and number = (select max(number) from private.rewards where user_id = tests.id('own'));
update private.user_state set ledger_rows = ledger_rows - 1, rewards = rewards - 5, achievements = array_remove(achievements, 'checked') where user_id = tests.id('own');
select public.recompute_user(tests.id('own')) \g /dev/null
select is(tests.marks('achievement') ~ 'checked\+~$', true, 'what a repair grants is quiet');

-- The months -------------------------------------------------------------------------------------------
select is((select count(*)::integer from private.activity_feed_default), 0, 'the default partition is empty');
select is((select count(*)::integer from pg_index where indrelid = 'public.activity_feed'::regclass), 1, 'the primary key is the only index: another one once led the planner through the whole table');
update private.rewards set created_at = now() - interval '5 months' where user_id = tests.id('own') and source = 'tree';
select public.recompute_user(tests.id('own')) \g /dev/null
select is(tests.feed() ~ 'tree_saved', false, 'what is older than the feed is not in it');
select tests.all_right();
do $$
begin
  execute format('drop table private.activity_feed_%s', to_char(now() at time zone 'UTC', '"y"YYYY"m"MM'));
end;
$$;
select public.recompute_user(tests.id('own')) \g /dev/null
select is((select count(*) > 0 from private.activity_feed_default), true, 'no write is refused while the job that makes the months is late');
select is(private.ensure_partitions(), 1, 'the job makes the month');
select is((select count(*)::integer from private.activity_feed_default), 0, 'and moves the items there');
select private.create_month_partition('activity_feed', (private.feed_start() at time zone 'UTC' - interval '1 month')::date) \g /dev/null
select is(private.drop_expired_feed(), 1, 'the month before it is dropped');
select is(private.drop_expired_feed(), 0, 'once');

-- Deletion ----------------------------------------------------------------------------------------------
select is((select count(*) > 3 from public.activity_feed as a where a.user_id = tests.id('own')), true, 'somebody with items');
delete from auth.users where id = tests.id('own');
select is((select count(*)::integer from public.activity_feed as a where a.user_id = tests.id('own')), 0, 'who deletes their account takes them along');
select * from finish();
rollback;
