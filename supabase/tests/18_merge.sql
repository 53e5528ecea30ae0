-- An anonymous diary goes into an account: nothing lost, nothing twice, everything derived as recomputed.
begin;
\ir helpers.psql
select plan(55);
select tests.sign_up('own', tests.id('own')), tests.sign_up('anonymous', tests.id('anonymous'), true),
       tests.sign_up('other', tests.id('other')) \g /dev/null

create function tests.log(name text, entries jsonb) returns void language plpgsql
as $$
begin
  perform tests.act_as(name);
  perform public.create_waste_entry(json_build_object('entry', tests.entry(1, e))) from jsonb_array_elements(entries) as e;
  perform tests.act_as_operator();
end;
$$;
create function tests.days_ago(days integer) returns jsonb language sql
as $$ select jsonb_build_object('logged_at', now() - make_interval(days => days)) $$;
create function tests.merge(max_rows integer default 20000) returns jsonb language sql
as $$ select to_jsonb(m) from private.merge_slice(tests.id('anonymous'), tests.id('own'), max_rows) as m $$;
create function tests.diary(name text) returns table (offline_id text, weight numeric, notes text) language sql
as $$ select e.offline_id::text, e.weight_kg::numeric, e.notes::text from public.waste_entries as e where e.user_id = tests.id(name) order by 1, 2, 3 $$;

-- What the account has: an entry the anonymous diary has too, one under the same offline_id with another content, and one
-- that was deleted.
select tests.log('own', jsonb_build_array(
  tests.days_ago(3) || '{"offline_id": "same", "notes": "of the account"}', tests.days_ago(4) || '{"offline_id": "name", "weight_kg": 2}',
  tests.days_ago(5) || '{"offline_id": "deleted"}')) \g /dev/null
delete from public.waste_entries where user_id = tests.id('own') and offline_id = 'deleted';
update public.profiles set display_name = 'Of the account' where id = tests.id('own');

select tests.log('anonymous', jsonb_build_array(
  tests.days_ago(3) || '{"offline_id": "same"}', tests.days_ago(6) || '{"offline_id": "name", "weight_kg": 3, "notes": "another"}',
  tests.days_ago(5) || '{"offline_id": "deleted"}', tests.days_ago(1), tests.days_ago(1), tests.days_ago(2) || '{"offline_id": "late", "weight_kg": 4}',
  tests.days_ago(7) || '{"offline_id": "gone"}', '{"weight_kg": 5}'::jsonb)) \g /dev/null
-- Edited since, so its content is no longer that of its identity; and deleted.
update public.waste_entries set weight_kg = 7 where user_id = tests.id('anonymous') and offline_id = 'late';
delete from public.waste_entries where user_id = tests.id('anonymous') and offline_id = 'gone';
select tests.act_as('anonymous') \g /dev/null
select public.migrate_local('{"local_storage": {"wasteEntries": "[{\"id\":\"1\",\"categoryId\":\"food_waste\",\"disposal\":\"composted\",\"weight\":1.5,\"timestamp\":\"2024-01-02T00:00:00.000Z\"}]",
  "userPreferences": "{\"theme\":\"dark\",\"language\":\"en\"}", "onboarding_completed": "true"}}') ->> 'batch_id' as batch \gset
select tests.update_profile('{"display_name": "Nobody", "username": "Somchai", "province": "TH-50"}'), public.register_device('old phone', 'web') \g /dev/null
select tests.act_as_operator() \g /dev/null
update public.profiles set created_at = created_at - interval '10 days' where id = tests.id('anonymous');
select tests.act_as('own') \g /dev/null
select tests.update_profile('{"theme": "light"}') \g /dev/null
select tests.act_as_operator() \g /dev/null
create temporary table ids as select e.id, e.factor_set, e.local_date, e.province, e.created_at, e.batch_id from public.waste_entries as e
  where e.user_id = tests.id('anonymous') and coalesce(e.offline_id, '') not in ('same', 'deleted');
create temporary table newest as select t.revision from public.user_totals as t where t.user_id = tests.id('own');
create temporary table counted as select s.window_rows, s.day_rows from private.user_state as s where s.user_id = tests.id('own');

-- Who may be merged ------------------------------------------------------------------------------
create function tests.refusal(from_name text, into_name text) returns text language sql
as $$ select tests.token('service', format('select public.merge_accounts(%L, %L)', tests.id(from_name), tests.id(into_name))) $$;
select is(tests.refusal('own', 'other'), 'PT409 carbon.diary_not_mergeable', 'an account is not merged into another');
select is(tests.refusal('own', 'anonymous'), 'PT409 carbon.diary_not_mergeable', 'nor into an anonymous user');
select is(tests.refusal('anonymous', 'anonymous'), 'PT409 carbon.diary_not_mergeable', 'nor is anybody into themselves');
select is(tests.token('service', format('select public.merge_accounts(%L, %L)', gen_random_uuid(), tests.id('own'))), 'PT409 carbon.diary_not_mergeable', 'nor somebody who does not exist');
update public.profiles set closed_until = 'infinity' where id = tests.id('own');
select is(tests.refusal('anonymous', 'own'), 'PT409 carbon.diary_not_mergeable', 'nor is anything into a closed account');
update public.profiles set closed_until = null where id = tests.id('own');
update public.profiles set closed_until = 'infinity' where id = tests.id('anonymous');
select is(tests.refusal('anonymous', 'own'), 'PT409 carbon.diary_not_mergeable', 'nor the diary of somebody who is banned');
update public.profiles set closed_until = now() where id = tests.id('anonymous');
select is(tests.token('anonymous', format('select public.merge_accounts(%L, %L)', tests.id('anonymous'), tests.id('own'))), '42501 ', 'users cannot merge');

-- The merge --------------------------------------------------------------------------------------
insert into auth.sessions (id, user_id, created_at, updated_at) values (gen_random_uuid(), tests.id('anonymous'), now(), now());
select tests.act_as('service') \g /dev/null
select public.merge_accounts(tests.id('anonymous'), tests.id('own')) as answer \gset
select tests.act_as_operator() \g /dev/null
select is(:'answer'::jsonb, '{"entries": 6, "duplicates": 2, "is_complete": true}', 'the answer says how many entries came and how many were there');
select tests.all_right();
select is((select array_agg(d::text) from tests.diary('own') as d), array['(late,7.000,)', '(name,2.000,)', '(same,1.000,"of the account")',
  '(,1.000,)', '(,1.000,)', '(,1.500,)', '(,3.000,another)', '(,5.000,)'], 'the first of two equal entries stays, an offline_id stays with its entry, and what was deleted stays deleted');
select is((select count(*)::integer from public.waste_entries as e where e.user_id = tests.id('anonymous')), 0, 'nothing is left behind');
select is((select count(*)::integer from ids as i join public.waste_entries as e using (id) where e.user_id = tests.id('own')
             and (e.factor_set, e.local_date, e.created_at) = (i.factor_set, i.local_date, i.created_at)
             and (e.province, e.batch_id) is not distinct from (i.province, i.batch_id)), 6, 'ids, days, figures, provinces, imports and times are kept');
select is((select count(*)::integer from private.entry_keys as k, newest as n where k.user_id = tests.id('own') and k.revision > n.revision), 7, 'each entry that came, and the tombstone, has a new revision');
select is((select k.deleted_at is not null from private.entry_keys as k where k.user_id = tests.id('own') and k.offline_id = 'gone'), true, 'what the anonymous user deleted stays deleted');
select is((select (s.window_rows, s.day_rows) = (c.window_rows, c.day_rows) from private.user_state as s, counted as c where s.user_id = tests.id('own')), true, 'nothing counts against the account''s limits');
select is((select s.longest_run from private.user_state as s where s.user_id = tests.id('own')), 5, 'the streak is that of all days together');
select is((select k.identity = carbon.entry_identity('late', 'food_waste', 'composted', 4000, k.logged_at) from private.entry_keys as k
           where k.user_id = tests.id('own') and k.offline_id = 'late'), true, 'an identity is that of the creation, whatever was edited since');
select is((select array_agg(distinct r.source) @> array['achievement', 'challenge', 'level'] from private.rewards as r where r.user_id = tests.id('own')), true, 'rewards are those of all entries together');

-- Who the account is now
select is((select array[p.display_name::text, p.username::text, p.province::text, p.onboarding_completed::text] from public.profiles as p where p.id = tests.id('own')),
  array['Of the account', 'Somchai', 'TH-50', 'true'], 'what the account had not chosen is taken over');
select is((select array[c.theme::text, c.language::text] from public.user_preferences as c where c.user_id = tests.id('own')), array['light', 'en'], 'and what it had chosen is not');
select is((select p.created_at = f.created_at from public.profiles as p, public.profiles as f where p.id = tests.id('own') and f.id = tests.id('anonymous')), true, 'it is as old as the older of the two');
select is((select array_agg(d.device_id::text) from public.devices as d where d.user_id = tests.id('own')), array['old phone'], 'devices come along');

-- What the anonymous user still can
select is((select count(*)::integer from auth.sessions as s where s.user_id = tests.id('anonymous')), 0, 'the anonymous sessions have ended');
select is(tests.token('anonymous', 'select public.create_waste_entry(json_build_object(''entry'', tests.entry()))'), 'PT401 carbon.session_ended', 'and nothing can be written there that would be lost');

-- Repeated ---------------------------------------------------------------------------------------
create temporary table before as select public.check_user(tests.id('own')) as differences, to_jsonb(s) - 'last_change_at' as state from private.user_state as s where s.user_id = tests.id('own');
select tests.act_as('service') \g /dev/null
select is(public.merge_accounts(tests.id('anonymous'), tests.id('own')), :'answer', 'repeated, it answers the same');
select tests.act_as_operator() \g /dev/null
select is((select to_jsonb(s) - 'last_change_at' from private.user_state as s where s.user_id = tests.id('own')), (select b.state from before as b), 'and does nothing');
select is(tests.refusal('anonymous', 'other'), 'PT409 carbon.diary_not_mergeable', 'into another account it is refused');

-- The import can be rolled back where it is now --------------------------------------------------
select is((select b.preferences || jsonb_build_object('onboarding', b.completed_onboarding) from private.migration_batches as b where b.id = :'batch'), '{"language": "en", "onboarding": true}',
  'of the preferences it set, the account''s own are no longer its');
select is(tests.outcome('own', format('select a ->> ''removed_entries'' from public.rollback_migration(%L) as a', :'batch')), '1', 'rolling it back removes its entries');
select is(tests.outcome('own', format('with r as materialized (select public.rollback_migration(%L)) select (select count(*) from r)', :'batch')), '1', 'by the account alone');
select is((select count(*)::integer from private.migration_payloads as m where m.user_id = tests.id('own')), 1, 'its payload came along');

-- The job deletes the anonymous user -------------------------------------------------------------
set local role postgres;
select is(private.continue_merges(10), 0, 'the Worker gets a minute to delete the anonymous user');
reset role;
update private.merges set started_at = now() - interval '2 minutes' where from_id = tests.id('anonymous');
set local role postgres;
select is(private.continue_merges(10), 1, 'then the job does');
select is(private.continue_merges(10), 0, 'once');
reset role;
select is((select count(*)::integer from auth.users as u where u.id = tests.id('anonymous')), 0, 'nothing is left of the anonymous user');
select tests.act_as('service') \g /dev/null
select is(public.merge_accounts(tests.id('anonymous'), tests.id('own')), :'answer', 'and a repetition is still answered');
select tests.act_as_operator() \g /dev/null
select tests.all_right();
delete from auth.users where id = tests.id('own');
select is((select count(*)::integer from private.merges as m where m.into_id = tests.id('own')), 0, 'the account takes its merges along');
delete from tests.people where name in ('own', 'anonymous');

-- In slices --------------------------------------------------------------------------------------
insert into tests.people values ('own', gen_random_uuid(), 'authenticated'), ('anonymous', gen_random_uuid(), 'authenticated');
select tests.sign_up('own', tests.id('own')), tests.sign_up('anonymous', tests.id('anonymous'), true) \g /dev/null
select tests.log('anonymous', (select jsonb_agg(tests.days_ago(n) || jsonb_build_object('offline_id', 'o' || n, 'weight_kg', n)) from generate_series(1, 10) as n)) \g /dev/null
delete from public.waste_entries where user_id = tests.id('anonymous') and offline_id in ('o1', 'o2', 'o3', 'o4');
select tests.log('own', jsonb_build_array(tests.days_ago(8) || '{"offline_id": "o8", "weight_kg": 8}')) \g /dev/null
select is(tests.merge(3) - '{from_id,into_id,preferences,started_at,from_gone_at,completed_onboarding}'::text[], '{"entries": 2, "duplicates": 1, "finished_at": null}', 'a slice takes the oldest entries');
select tests.all_right();
update private.merges set started_at = now() - interval '2 minutes';
select is(tests.merge(3) ->> 'entries', '5', 'the next one goes on');
select tests.all_right();
select is(tests.merge(3) ->> 'finished_at', null, 'tombstones come in slices, too');
set local role postgres;
select is(private.continue_merges(10), 1, 'the job moves what is left');
reset role;
select isnt(tests.merge(3) ->> 'finished_at', null, 'until the merge is finished');
select is((select array_agg(e.offline_id::text order by e.offline_id) from public.waste_entries as e where e.user_id = tests.id('own')), array['o10', 'o5', 'o6', 'o7', 'o8', 'o9'], 'every entry has come');
select is((select array_agg(k.offline_id order by k.offline_id) from private.entry_keys as k where k.user_id = tests.id('own') and k.deleted_at is not null), array['o1', 'o2', 'o3', 'o4'], 'and every tombstone');
select tests.all_right();

-- An account that is deleted before its merge is finished -----------------------------------------
delete from auth.users where id = tests.id('anonymous');
delete from tests.people where name = 'anonymous';
insert into tests.people values ('anonymous', gen_random_uuid(), 'authenticated');
select tests.sign_up('anonymous', tests.id('anonymous'), true) \g /dev/null
select tests.log('anonymous', jsonb_build_array(tests.days_ago(1), tests.days_ago(2))) \g /dev/null
select is(tests.merge(1) ->> 'finished_at', null, 'half of a diary has come');
delete from auth.users where id = tests.id('own');
update private.merges set started_at = now() - interval '2 minutes';
set local role postgres;
select is(private.continue_merges(10), 2, 'when the account is deleted, the job ends its merges');
reset role;
select is((select count(*)::integer from auth.users as u where u.id = tests.id('anonymous')) + (select count(*)::integer from private.merges), 0, 'and deletes the rest');

-- The number of an anonymous user ----------------------------------------------------------------
insert into tests.people values ('nobody', gen_random_uuid(), 'authenticated');
select tests.sign_up('nobody', tests.id('nobody'), true) \g /dev/null
insert into auth.users (id, aud, role, phone, created_at, updated_at) values (gen_random_uuid(), 'authenticated', 'authenticated', '66600000001', now(), now());
select tests.act_as('service') \g /dev/null
select is(array[public.phone_owner('+66600000001')::text, public.make_way_for_phone('+66600000001', tests.id('nobody'))::text], array[null, 'true'], 'a number that nobody confirmed is free');
select is(public.make_way_for_phone('+66600000001', tests.id('other')), false, 'but not for somebody with an account');
select tests.act_as_operator() \g /dev/null
select is((select count(*)::integer from auth.users as u where u.phone = '66600000001'), 0, 'what an earlier request left is deleted');
select is((select array[public.phone_owner('+' || u.phone)::text, public.make_way_for_phone('+' || u.phone, tests.id('nobody'))::text] from auth.users as u where u.id = tests.id('other')),
  array[tests.id('other')::text, 'false'], 'a number that somebody has is theirs');
select * from finish();
rollback;
