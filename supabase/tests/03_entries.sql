-- Entries one by one and in batches: figures, repeated sends, changes, limits.
begin;
\ir helpers.psql
select plan(73);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null
update public.profiles set province = 'TH-10' where id = tests.id('own');

-- Figures --------------------------------------------------------------------------------------
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone)
select tests.id('other'), f.category_id, f.method, w, 'Asia/Bangkok'
from carbon.factors() as f, unnest(array[0.01, 0.02, 0.1, 0.5, 1.25, 2.5, 33.333, 100]) as w;
select is((select count(*)::integer from public.waste_entries as e where e.user_id = tests.id('other')
           and (e.carbon_credits, e.co2e_kg, e.co2e_avoided_kg, e.local_date) is distinct from (
             carbon.credits(e.category_id, e.disposal_method, e.weight_kg, e.factor_set),
             carbon.co2e_kg(e.category_id, e.disposal_method, e.weight_kg, e.factor_set),
             carbon.co2e_avoided_kg(e.category_id, e.disposal_method, e.weight_kg, e.factor_set),
             carbon.local_date(e.logged_at, e.time_zone))),
  0, 'generated figures equal those of the extension, for all pairs');
select is((select count(*)::integer from public.waste_entries as e join carbon.factors() as f
             on f.category_id = e.category_id and f.method = e.disposal_method
           where e.user_id = tests.id('other')
             and e.carbon_credits <> floor(f.credits_per_kg * e.weight_kg + 0.5)),
  0, 'points are rounded half up towards plus infinity');
select tests.all_right();

-- Create ---------------------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry(1.5, '{"offline_id": "o1", "notes": "first", "location": {"latitude": 13.75, "longitude": 100.5}, "device_id": "phone"}'))) as created \gset
select is(:'created'::jsonb - '{id,logged_at,created_at,updated_at,local_date,achievements_unlocked,challenges_completed}'::text[],
  '{"category_id": "food_waste", "disposal_method": "composted", "weight_kg": 1.5, "carbon_credits": 33, "co2e_kg": 0.4989,
    "co2e_avoided_kg": 3.2961, "factor_set": "tgo-app-2024", "time_zone": "Asia/Bangkok", "province": "TH-10",
    "location": {"latitude": 13.75, "longitude": 100.5}, "notes": "first", "place": null, "image_id": null,
    "device_id": "phone", "offline_id": "o1", "revision": 1, "duplicate": false,
    "level_up": {"from": 1, "to": 2}, "streak": {"current": 1, "max": 1}}'::jsonb,
  'a create answers the entry with all of its figures');
select is(public.create_waste_entry(json_build_object('entry', tests.entry(9, '{"offline_id": "o1"}'))) - '{duplicate,streak}'::text[],
  :'created'::jsonb - '{duplicate,streak}'::text[] || '{"achievements_unlocked": [], "challenges_completed": [], "level_up": null}', 'the same offline_id is the same entry, even if other members differ');
select is(public.create_waste_entry(json_build_object('entry', tests.entry(9, '{"offline_id": "o1"}'))) ->> 'duplicate', 'true', 'and the answer says so');
select is(public.create_waste_entry(json_build_object('entry', tests.entry(1.5))) ->> 'duplicate', 'false', 'equal entries without an offline_id are not merged');
select is(tests.outcome('other', format('select a ->> ''duplicate'' from public.create_waste_entry(json_build_object(''entry'', %L::jsonb)) as a', tests.entry(1, '{"offline_id": "o1"}'))),
  'false', 'another person''s offline_id is another one');
select tests.act_as('own') \g /dev/null
select is(public.create_waste_entry(json_build_object('entry', tests.entry(90))) -> 'level_up', '{"from": 2, "to": 5}', 'a level-up states both levels');
select is(public.delete_waste_entry((:'created'::jsonb ->> 'id')::uuid) - 'id', '{"deleted": true, "revision": 4}', 'a deletion has the next revision');
select is(public.create_waste_entry(json_build_object('entry', tests.entry(1, '{"offline_id": "o1"}'))) - '{streak,level_up,achievements_unlocked,challenges_completed}'::text[],
  jsonb_build_object('id', :'created'::jsonb -> 'id', 'offline_id', 'o1', 'revision', 4, 'duplicate', true, 'deleted', true),
  'sending a deleted entry again does not restore it');
select is(public.create_waste_entry(json_build_object('entry', tests.entry(1, '{"weight_kg": 0.0095}'))) ->> 'weight_kg', '0.01', 'the weight is rounded half up, then checked');

-- Refusals -------------------------------------------------------------------------------------
select is(tests.token('own', format('select public.create_waste_entry(json_build_object(''entry'', %L::jsonb))', e.entry)), e.token, 'create: ' || e.token)
from (values
  (tests.entry(1, '{"weight_kg": 0}'), '22023 carbon.weight_out_of_range'),
  (tests.entry(1, '{"weight_kg": "1"}'), '22023 carbon.weight_not_a_number'),
  (tests.entry(1, '{"category_id": "gold"}'), '22023 carbon.unknown_category'),
  (tests.entry(1, '{"disposal_method": "sold"}'), '22023 carbon.unknown_method'),
  (tests.entry(1, jsonb_build_object('logged_at', now() + interval '6 minutes')), '22023 carbon.logged_at_in_future'),
  (tests.entry(1, jsonb_build_object('logged_at', now() - interval '7 years 1 day')), '22023 carbon.logged_at_too_old'),
  (tests.entry(1, jsonb_build_object('notes', repeat('ก', 501))), '22023 carbon.notes_too_long'),
  ('[]'::jsonb, '22023 carbon.not_an_object')) as e (entry, token);
select is(tests.token('own', 'insert into public.waste_entries (category_id, disposal_method, weight_kg' || r.statement), r.token, 'REST: ' || r.token)
from (values
  (') values (''food_waste'', ''composted'', 0)', '22023 carbon.weight_out_of_range'),
  (') values (''food_waste'', ''melted'', 1)', '22023 carbon.unknown_method'),
  (', logged_at) values (''food_waste'', ''composted'', 1, now() + interval ''1 year'')', '22023 carbon.logged_at_in_future'),
  (', logged_at) values (''food_waste'', ''composted'', 1, ''1999-01-01'')', '22023 carbon.logged_at_too_old'),
  (', location_lat) values (''food_waste'', ''composted'', 1, 13)', '22023 carbon.location_invalid'),
  (', notes) values (''food_waste'', ''composted'', 1, repeat(''x'', 501))', '22023 carbon.notes_too_long')) as r (statement, token);
select is(tests.outcome('own', 'insert into public.waste_entries (category_id, disposal_method, weight_kg' || r.statement), '23514', 'REST refuses: ' || r.statement)
from (values
  (', place) values (''food_waste'', ''composted'', 1, repeat(''x'', 201))'),
  (', location_lat, location_lng) values (''food_waste'', ''composted'', 1, 91, 0)'),
  (', location_lat, location_lng) values (''food_waste'', ''composted'', 1, 0, 181)')) as r (statement);
select is(tests.outcome('own', 'insert into public.waste_entries (category_id, disposal_method, weight_kg, offline_id) values (''food_waste'', ''composted'', 1, ''o1'')'),
  '23505', 'REST answers a conflict for a taken offline_id');
select is(tests.token('own', $$insert into public.waste_entries (category_id, disposal_method, weight_kg, offline_id)
  select 'food_waste', 'composted', 1, id from unnest(array['n1', 'o1', 'n2', 'n2']) as id$$),
  '23505 carbon.offline_id_known ["n2","o1"]', 'and names all taken ones of several');
select tests.act_as('own') \g /dev/null
select is((select count(*)::integer from public.waste_entries where offline_id like 'n%'), 0, 'and stores none of them');
select tests.act_as_operator() \g /dev/null
select throws_ok('insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg) values (gen_random_uuid(), ''food_waste'', ''composted'', 1)',
  '23503', null, 'a user without a profile cannot have entries');
select throws_ok('update public.waste_entries set id = gen_random_uuid()', '23514', null, 'the id of an entry cannot change');

-- Zones ----------------------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry(1, jsonb_build_object(
  'time_zone', 'America/Los_Angeles', 'logged_at', date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - interval '30 days')))) as away \gset
select is(:'away'::jsonb ->> 'local_date', ((now() at time zone 'UTC')::date - 31)::text, 'an entry is on the day of the zone where it was logged');
select is(tests.update_entry((:'away'::jsonb ->> 'id')::uuid, jsonb_build_object(
  'logged_at', (:'away'::jsonb ->> 'logged_at')::timestamptz + interval '8 hours')) ->> 'local_date',
  ((now() at time zone 'UTC')::date - 30)::text, 'a changed time is in that zone, too');
select is(tests.update_entry((:'away'::jsonb ->> 'id')::uuid, '{"time_zone": "Asia/Saigon"}') ->> 'time_zone', 'Asia/Ho_Chi_Minh',
  'the zone can be corrected and gets its present name');
select is(tests.update_entry((:'away'::jsonb ->> 'id')::uuid, '{"time_zone": null}') ->> 'time_zone', 'Asia/Bangkok',
  'cleared it is the person''s own again');
select tests.act_as_operator() \g /dev/null
update public.waste_entries set time_zone = 'Mars/Base' where id = (:'away'::jsonb ->> 'id')::uuid;
select is((select e.local_date from public.waste_entries as e where e.id = (:'away'::jsonb ->> 'id')::uuid),
  (select carbon.local_date(e.logged_at, 'Asia/Bangkok') from public.waste_entries as e where e.id = (:'away'::jsonb ->> 'id')::uuid),
  'an unknown zone counts as Bangkok');
alter table public.user_preferences disable trigger tg_user_preferences__check_time_zone;
update public.user_preferences set time_zone = 'Mars/Base' where user_id = tests.id('own');
alter table public.user_preferences enable trigger tg_user_preferences__check_time_zone;
select tests.act_as('own') \g /dev/null
select lives_ok(s.statement, 'a preferred zone that is gone stops nothing: ' || s.statement) from (values
  ('select public.get_gamification_profile()'), ('select public.waste_stats_daily()'), ('select public.waste_stats_monthly()'),
  ('select public.get_challenges_today()'), ('select public.get_profile()'), ('select public.list_waste_entries()'),
  ('select tests.update_profile(''{"theme": "dark"}'')'),
  ('select public.create_waste_entry(json_build_object(''entry'', tests.entry()))')) as s (statement);
select lives_ok('select tests.update_profile(''{"time_zone": null}'')', 'and can be cleared');
select tests.act_as_operator() \g /dev/null
select tests.all_right();

-- Batch ----------------------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
select public.create_waste_entries(json_build_object('entries', jsonb_build_array(
  tests.entry(1, '{"offline_id": "o1"}'), tests.entry(2, '{"offline_id": "b1"}'), tests.entry(0, '{"offline_id": "bad"}'),
  tests.entry(3, '{"offline_id": "b1"}'), tests.entry(4), '7'::jsonb))) as batch \gset
select is(:'batch'::jsonb - '{entries,level_up,challenges_completed}'::text[],
  '{"processed": 6, "created": 2, "duplicates": 2, "errors": 2, "total_credits_earned": 132, "achievements_unlocked": []}'::jsonb,
  'an invalid entry never fails the valid ones');
select is((select jsonb_agg(e ->> 'status') from jsonb_array_elements(:'batch'::jsonb -> 'entries') as e),
  '["duplicate", "created", "error", "duplicate", "created", "error"]', 'each line has its outcome, in order');
select is(:'batch'::jsonb #>> '{entries,1,id}', :'batch'::jsonb #>> '{entries,3,id}', 'duplicates within a batch are one entry');
select is((:'batch'::jsonb #> '{entries,2}') #- '{error,message_th}' #- '{error,message_en}',
  '{"id": null, "status": "error", "offline_id": "bad", "carbon_credits": null,
    "error": {"field": "weight_kg", "code": "weight_out_of_range", "token": "carbon.weight_out_of_range"}}', 'an error names its field and token');
select is(tests.token('own', 'select public.create_waste_entries(json_build_object(''entries'', ''{}''::jsonb))'), '22023 carbon.entries_required', 'a batch is a list');
select is(tests.token('own', 'select public.create_waste_entries(json_build_object(''entries'', (select jsonb_agg(tests.entry()) from generate_series(1, 501))))'),
  '22023 carbon.batch_too_large', 'a batch has at most 500 entries');

select is((select string_agg(concat_ws(' ', e ->> 'status', e #>> '{error,field}', e ->> 'offline_id'), ', ')
  from jsonb_array_elements(public.create_waste_entries(concat(
    '{"x": "\ud83d", "entries": [', tests.entry(), ',{"category_id": "food_waste", "disposal_method": "composted", "weight_kg": 1, ',
    '"notes": "a\ud83d", "offline_id": "cut"}, {"place": "\u0000"}, {"category_id": "food_waste", "disposal_method": "composted", ',
    '"weight_kg": 1, "x": "\ud83d", "y": ', repeat('[', 1000), repeat(']', 1000), '}]}')::json) -> 'entries') as e),
  'created, error notes cut, error category_id, created', 'what jsonb cannot store fails only its own line');
select is(tests.token('own', $$select public.create_waste_entry('{"entry": {"category_id": "food_waste", "disposal_method": "composted", "weight_kg": 1, "notes": "\ud83d"}}')$$),
  '22023 carbon.notes_invalid', 'and names its field in a single entry');
select is(tests.token('own', $$select public.create_waste_entry('{"x": 1}')$$), '22023 carbon.not_an_object', 'a body without an entry is refused');

-- Update ---------------------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry(1, '{"notes": "old", "offline_id": "u1"}'))) as entry \gset
select tests.update_entry((:'entry'::jsonb ->> 'id')::uuid,
  '{"weight_kg": 2, "notes": null, "offline_id": "forged", "carbon_credits": 99}') as entry \gset
select is(:'entry'::jsonb -> 'carbon_credits' || (:'entry'::jsonb -> 'notes') || (:'entry'::jsonb -> 'offline_id'),
  '[44, null, "u1"]', 'missing fields stay, null clears, and device_id and offline_id stay');
select is(tests.update_entry((:'entry'::jsonb ->> 'id')::uuid, '{"weight_kg": 2.0}') -> 'revision', :'entry'::jsonb -> 'revision',
  'an update without changes has no new revision');
select is(tests.update_entry((:'entry'::jsonb ->> 'id')::uuid, '{"weight_kg": 3}', 1) ->> 'code', 'carbon.revision_conflict',
  'an expected revision that is not the entry''s changes nothing');
select is(current_setting('response.status', true), '409', 'and answers 409');
select is(tests.update_entry((:'entry'::jsonb ->> 'id')::uuid,
    jsonb_build_object('logged_at', now() - interval '100 days', 'category_id', 'metal_cans', 'disposal_method', 'sold'),
    (:'entry'::jsonb ->> 'revision')::bigint) ->> 'carbon_credits', '80', 'an entry can move to another month');
select is(public.get_waste_entry((:'entry'::jsonb ->> 'id')::uuid) ->> 'category_id', 'metal_cans', 'and is found there');
select is(tests.token('own', format('select tests.update_entry(%L, %L)', :'entry'::jsonb ->> 'id', c.changes)), c.token, 'update: ' || c.token)
from (values ('{"logged_at": null}', '22023 carbon.logged_at_required'), ('{"category_id": null}', '22023 carbon.category_required'),
             ('{"disposal_method": "composted"}', '22023 carbon.unknown_method'), ('[]', '22023 carbon.not_an_object')) as c (changes, token);
-- Fields that do not change are not validated again: an import's long notes, a time that by now is too old.
select public.migrate_local(jsonb_build_object('local_storage', jsonb_build_object('wasteEntries', jsonb_build_array(jsonb_build_object(
  'id', 'long', 'categoryId', 'food_waste', 'disposal', 'composted', 'weight', 1, 'timestamp', to_json(now() - interval '2 days') #>> '{}',
  'notes', repeat('ก', 1200)))::text))::text) \g /dev/null
select e::text as long from json_array_elements(public.list_waste_entries(q => 'กกก') -> 'entries') as e \gset
select is(tests.update_entry((:'long'::jsonb ->> 'id')::uuid, :'long'::jsonb || '{"weight_kg": 2}') ->> 'weight_kg', '2',
  'an imported entry can be put back with another weight');
select is(tests.token('own', format('select tests.update_entry(%L, %L)', :'long'::jsonb ->> 'id', jsonb_build_object('notes', repeat('ข', 501)))),
  '22023 carbon.notes_too_long', 'but new notes must not be that long');
select is(tests.token('own', 'update public.waste_entries set notes = repeat(''ข'', 501) where batch_id is not null'), '22023 carbon.notes_too_long', 'nor by REST');
select is(tests.outcome('own', format('update public.waste_entries set weight_kg = 3, notes = %L where batch_id is not null', :'long'::jsonb ->> 'notes')), '1 rows',
  'which accepts the old ones');
select tests.act_as_operator() \g /dev/null
select tests.all_right();
select * from finish();
rollback;
