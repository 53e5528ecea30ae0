-- Importing an old diary and rolling it back: nothing lost, nothing twice, nothing else changed.
begin;
\ir helpers.psql
select plan(39);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null

create function tests.old_entry(id text, weight text default '1.5', more text default '') returns text language sql
as $$ select format('{"id":"%s","categoryId":"food_waste","disposal":"composted","weight":%s,"timestamp":"2024-01-0%sT00:00:00.000Z"%s}', id, weight, 1 + abs(hashtext(id)) % 7, more) $$;
grant execute on function tests.old_entry(text, text, text) to public;
create table tests.dump (payload text);
grant select on tests.dump to public;
insert into tests.dump values (jsonb_build_object('device_id', 'old phone', 'local_storage', jsonb_build_object(
  'wasteEntries', '[' || concat_ws(',', tests.old_entry('1'), tests.old_entry('1'), tests.old_entry('1', '2'), tests.old_entry('2', '0'), tests.old_entry('3', '0.30000000000000004')) || ']',
  'recentWasteEntries', '[' || tests.old_entry('1') || ']',
  'waste_entries_v2', '[{"broken',
  'carbonCredits', '2.5e+22',
  'userPreferences', '{"theme":"dark","language":"en"}',
  'onboarding_completed', 'true', 'cat pictures', 'data:image/png;base64,AAAA'))::text);

select tests.act_as('own') \g /dev/null
select tests.update_profile('{"language": "th"}'), public.create_waste_entry(json_build_object('entry', tests.entry(1, '{"offline_id": "mine"}'))) \g /dev/null
select public.migrate_local(payload, true) as dry from tests.dump \gset
select is((select t.entries::integer from public.user_totals as t), 1, 'a dry run writes nothing');
select public.migrate_local(payload) as answer from tests.dump \gset
select is(:'dry'::jsonb - 'batch_id', :'answer'::jsonb - 'batch_id', 'and answers the same');
select is(:'dry'::jsonb ->> 'batch_id', null, 'except that there is no batch');
select isnt(:'answer'::jsonb ->> 'batch_id', null, 'an import has its batch');
select is(:'answer'::jsonb - '{batch_id,rejected,adjusted,unreadable_keys,adjusted_entries}'::text[],
  '{"received_entries": 6, "migrated_entries": 3, "duplicate_entries": 2, "rejected_entries": 1, "credits_claimed": 25000000000000000000000,
    "credits_imported": 84, "achievements_granted": ["plastic_free"], "current_level": 2}'::jsonb, 'received = migrated + duplicate + rejected');
select is((:'answer'::jsonb #> '{rejected,0}') - '{message_th,message_en,field}'::text[],
  '{"key": "wasteEntries", "index": 3, "id": "2", "reason": "weight_out_of_range"}', 'each rejection names the entry and the reason');
select is(:'answer'::jsonb #>> '{unreadable_keys,0,key}', 'waste_entries_v2', 'a broken key is reported');
select is((select jsonb_object_agg(e.legacy_id || ' ' || e.weight_kg, e.offline_id) from public.waste_entries as e where e.batch_id is not null),
  '{"1 1.500": null, "1 2.000": null, "3 0.300": null}', 'the same id with another weight is another entry');
select is((select array_agg(distinct e.device_id::text) from public.waste_entries as e where e.batch_id is not null), array['old phone'], 'the dump''s device is kept');
select is(public.get_profile() -> 'theme' || (public.get_profile() -> 'language') || (public.get_profile() -> 'onboarding_completed'),
  '["dark", "th", true]', 'preferences are imported where none was set');
select tests.act_as_operator() \g /dev/null
select tests.all_right();
select is((select count(*)::integer from private.migration_payloads as m where m.user_id = tests.id('own')), 1, 'the parsed payload is stored');
select is((select array[m.payload::text like '%cat pictures%', m.payload ? 'entries', m.sha256 = sha256(convert_to(d.payload, 'UTF8'))]
           from private.migration_payloads as m, tests.dump as d where m.user_id = tests.id('own')), array[false, true, true], 'and nothing else of it');
select is((select octet_length(private.stored_payload(jsonb_build_object('entries', jsonb_agg(repeat('x', 100000)), 'received', 50))::text) < 100
           from generate_series(1, 50)), true, 'a payload of more than 4 MiB is stored without its entries');
select is((select array[k ? 'rejected', k ? 'received'] from (select private.stored_payload(jsonb_build_object('rejected', jsonb_agg(repeat('x', 100000)), 'received', 50)) as k
           from generate_series(1, 50)) as p), array[false, true], 'and without its lists, if these alone are larger');

select tests.act_as('own') \g /dev/null
select public.migrate_local(payload) as again from tests.dump \gset
select is(:'again'::jsonb - '{batch_id,rejected,adjusted,unreadable_keys,adjusted_entries,credits_claimed,achievements_granted}'::text[],
  '{"received_entries": 6, "migrated_entries": 0, "duplicate_entries": 5, "rejected_entries": 1, "credits_imported": 0, "current_level": 2}'::jsonb,
  'the same dump twice adds nothing');
select is(public.rollback_migration((:'again'::jsonb ->> 'batch_id')::uuid) - 'batch_id', '{"removed_entries": 0, "credits_removed": 0}', 'and its roll-back removes nothing');
select is((select t.entries::integer from public.user_totals as t), 4, 'not of the first one either');
select is(tests.outcome('other', 'select a ->> ''migrated_entries'' from tests.dump, lateral public.migrate_local(payload) as a'), '3', 'another user may import the same dump');

-- Identity both ways -----------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
create temporary table numbers as select tests.old_entry('1')::jsonb as old;
select is(public.create_waste_entry(json_build_object('entry', tests.entry(1.5, jsonb_build_object('offline_id', '1', 'logged_at', old -> 'timestamp')))) ->> 'duplicate', 'true',
  'an entry sent with a migrated id and the same other four is that entry') from numbers;
select is(public.create_waste_entry(json_build_object('entry', tests.entry(1.6, jsonb_build_object('offline_id', '1', 'logged_at', old -> 'timestamp')))) ->> 'duplicate', 'false',
  'with another weight it is not') from numbers;
select is(a #>> '{entries,1,id}', a #>> '{entries,0,id}', 'in a batch the second line with that id is the same entry as the first')
from numbers, lateral (select public.create_waste_entries(json_build_object('entries', jsonb_build_array(
  tests.entry(0.3, jsonb_build_object('offline_id', '3', 'logged_at', tests.old_entry('3')::jsonb -> 'timestamp')),
  tests.entry(9, '{"offline_id": "3"}')))) as a) as b;
select public.create_waste_entry(json_build_object('entry', tests.entry(4, '{"offline_id": "7", "logged_at": "2024-02-01T00:00:00Z"}'))) \g /dev/null
select is(public.migrate_local('{"local_storage": {"wasteEntries": "[{\"id\":\"7\",\"categoryId\":\"food_waste\",\"disposal\":\"composted\",\"weight\":4,\"timestamp\":\"2024-02-01T00:00:00Z\"}]"}}')
  ->> 'duplicate_entries', '1', 'and vice versa');
select is(public.migrate_local(jsonb_build_object('waste_entries', jsonb_build_array(
    tests.entry(9, '{"offline_id": "7", "logged_at": "2024-02-02T00:00:00Z"}'), tests.entry(5, '{"offline_id": "8", "logged_at": "2024-02-02T00:00:00Z"}'),
    tests.entry(6, '{"offline_id": "8", "logged_at": "2024-02-02T00:00:00Z"}'), tests.entry(7)))::text)
  - '{batch_id,rejected,adjusted,unreadable_keys,adjusted_entries,credits_claimed,achievements_granted,current_level}'::text[],
  '{"received_entries": 4, "migrated_entries": 1, "duplicate_entries": 2, "rejected_entries": 1, "credits_imported": 110}',
  'in the normalised payload the offline_id is the identity');
select is((select e.legacy_id is null and e.offline_id = '8' from public.waste_entries as e where e.weight_kg = 5), true, 'and is stored as such');

-- Roll-back --------------------------------------------------------------------------------------
select id as deleted_entry from public.waste_entries where legacy_id = '3' \gset
select public.delete_waste_entry(:'deleted_entry') \g /dev/null
select public.migrate_local(payload) ->> 'migrated_entries' as revived from tests.dump \gset
select is(:'revived'::text, '0', 'an entry that the user deleted is not imported again');
update public.waste_entries set weight_kg = 50 where legacy_id = '1' and weight_kg = 2;
select tests.update_profile('{"theme": "light"}') \g /dev/null
select revision as revision_before from public.sync_status() as s, lateral (select (s ->> 'revision')::bigint as revision) as r \gset
select is(public.rollback_migration((:'answer'::jsonb ->> 'batch_id')::uuid) - 'batch_id', '{"removed_entries": 2, "credits_removed": 1133}',
  'a roll-back removes what the batch created, edited since or not');
select is((public.sync_changes(:revision_before) -> 'changes') @> '[{"op": "delete"}]' and jsonb_array_length(public.sync_changes(:revision_before) -> 'changes') = 2,
  true, 'and leaves tombstones for other devices');
select is(public.get_profile() ->> 'theme', 'light', 'a preference that was changed since stays');
select is(public.get_profile() ->> 'onboarding_completed', 'false', 'what the import set is unset');
select is((select array_agg(coalesce(e.offline_id, '-') order by e.offline_id) from public.waste_entries as e), array['1', '7', '8', 'mine'], 'and nothing else changes');
select is(tests.token('own', format('select public.rollback_migration(%L)', :'answer'::jsonb ->> 'batch_id')), 'PT404 carbon.batch_not_found', 'a second time it is not found');
select is(tests.token('other', format('select public.rollback_migration(%L)', :'again'::jsonb ->> 'batch_id')), 'PT404 carbon.batch_not_found', 'another''s batch is nothing');
select tests.act_as('own') \g /dev/null
select is(public.migrate_local(payload) ->> 'migrated_entries', '3', 'afterwards the same dump can be imported again, also what was deleted') from tests.dump;
select tests.act_as_operator() \g /dev/null
select tests.all_right();
update private.migration_batches set created_at = now() - interval '30 days 1 second' where user_id = tests.id('own');
select is((select tests.token('own', format('select public.rollback_migration(%L)', b.id)) from private.migration_batches as b where b.user_id = tests.id('own') and b.rolled_back_at is null limit 1),
  'PT404 carbon.batch_not_found', 'after 30 days it is too late');
select tests.act_as_operator() \g /dev/null
update private.migration_payloads set created_at = now() - interval '31 days' where user_id = tests.id('own');
select private.drop_old_records(10000) \g /dev/null
select is((select count(*)::integer from private.migration_payloads as m where m.user_id = tests.id('own')), 0, 'and stored payloads are deleted');
select is(tests.token('own', 'select public.migrate_local(''{}'')'), '22023 carbon.migration_unreadable', 'a payload of neither form is unreadable');
select is(tests.token('own', 'select public.migrate_local((select jsonb_build_object(''waste_entries'', jsonb_agg(tests.entry(1, jsonb_build_object(''offline_id'', ''x'' || g, ''logged_at'', ''2024-01-01T00:00:00Z'')))) from generate_series(1, 20001) as g)::text)'),
  'PT429 carbon.migration_too_many_entries', 'at most 20,000 entries a call');
select tests.act_as_operator() \g /dev/null
select * from finish();
rollback;
