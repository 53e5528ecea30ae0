-- The database's limits for one user, through every interface.
begin;
\ir helpers.psql
select plan(30);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null

create function tests.rest_insert(entries integer) returns text language sql
as $$ select format('insert into public.waste_entries (category_id, disposal_method, weight_kg) select ''food_waste'', ''composted'', 1 from generate_series(1, %s)', entries) $$;
grant execute on function tests.rest_insert(integer) to public;

select is(tests.outcome('own', tests.rest_insert(500)), '500 rows', '500 rows in one statement pass');
select is(tests.token('own', tests.rest_insert(501)), 'PT429 carbon.rows_per_statement', '501 do not');

select tests.act_as('own') \g /dev/null
do $$ begin for batch in 1..10 loop execute tests.rest_insert(500); end loop; end; $$;
do $$ begin execute tests.rest_insert(60); end; $$;
select is((select t.entries::integer from public.user_totals as t where t.user_id = tests.id('own')), 5060, '5,060 rows in an hour pass');
select is(tests.token('own', tests.rest_insert(1)), 'PT429 carbon.rows_per_hour', 'one more does not by REST');
select is(tests.token('own', format('select public.create_waste_entry(json_build_object(''entry'', %L::jsonb))', tests.entry())), 'PT429 carbon.rows_per_hour', 'nor by rpc');
select is(tests.outcome('other', tests.rest_insert(1)), '1 rows', 'another user is not affected');
select is(tests.outcome('service', replace(replace(tests.rest_insert(600), '(category_id', '(user_id, time_zone, category_id'), 'select ''food_waste''', format('select %L::uuid, ''Asia/Bangkok'', ''food_waste''', tests.id('own')))),
  '600 rows', 'nor is the service');
select tests.act_as_operator() \g /dev/null
update private.user_state set window_started_at = now() - interval '1 hour' where user_id = tests.id('own');
select is(tests.outcome('own', tests.rest_insert(500)), '500 rows', 'an hour later the count begins again');
select tests.act_as_operator() \g /dev/null

-- In a day and in all, imports included --------------------------------------------------------
create function tests.dump(entries integer) returns text language sql
as $$ select jsonb_build_object('waste_entries', jsonb_agg(tests.entry(1, jsonb_build_object('offline_id', 'd' || g, 'logged_at', '2024-01-01T00:00:00Z'))))::text
      from generate_series(1, entries) as g $$;
update private.user_state set day_rows = 39999, window_rows = 0 where user_id = tests.id('own');
select is(tests.outcome('own', tests.rest_insert(1)), '1 rows', 'the 40,000th entry of a day is accepted');
select is(tests.token('own', tests.rest_insert(2)), 'PT429 carbon.entries_per_day', 'the next is not by REST');
select is(tests.token('own', format('select public.create_waste_entries(json_build_object(''entries'', jsonb_build_array(%L::jsonb, %1$L::jsonb)))', tests.entry())), 'PT429 carbon.entries_per_day', 'nor by rpc');
select is(tests.token('own', format('select public.migrate_local(%L)', tests.dump(2))), 'PT429 carbon.entries_per_day', 'nor by an import');
select tests.act_as_operator() \g /dev/null
update private.user_state set day_started_at = now() - interval '24 hours' where user_id = tests.id('own');
select is(tests.outcome('own', tests.rest_insert(2)), '2 rows', 'a day later the count begins again');
select tests.act_as_operator() \g /dev/null
select tests.sign_up('full', 'a0000000-0000-4000-8000-000000000009') \g /dev/null
update private.user_state set entries = 399999 where user_id = tests.id('full');
select is(tests.outcome('full', tests.rest_insert(1)), '1 rows', 'the 400,000th entry of a diary is accepted');
select is(tests.token('full', tests.rest_insert(2)), 'PT429 carbon.entries_in_all', 'the next is not by REST');
select is(tests.token('full', format('select public.migrate_local(%L)', tests.dump(2))), 'PT429 carbon.entries_in_all', 'nor by an import');
select tests.act_as_operator() \g /dev/null
update private.user_state set entries = 0 where user_id = tests.id('full');

-- Changes and deletions -------------------------------------------------------------------------
select is(tests.outcome('own', 'update public.waste_entries set notes = ''x'' where id in (select e.id from public.waste_entries as e limit 500)'), '500 rows', 'a change of 500 rows passes');
select is(tests.token('own', 'update public.waste_entries set notes = ''x'' where id in (select e.id from public.waste_entries as e limit 501)'), 'PT429 carbon.rows_per_statement', 'of 501 it does not');
select is(tests.outcome('own', 'delete from public.waste_entries where id in (select e.id from public.waste_entries as e limit 500)'), '500 rows', 'a deletion of 500 rows passes');
select is(tests.token('own', 'delete from public.waste_entries where weight_kg = 1'), 'PT429 carbon.rows_per_statement', 'of 5,060 it does not');
select is((select array_agg(tests.outcome('own', s.statement)) from (values
    ('delete from public.waste_entries'), ('update public.waste_entries set notes = ''x'''), ('update public.profiles set display_name = ''x'''),
    ('update public.user_preferences set language = ''en'''),
    ('with gone as (delete from public.waste_entries returning 1) select count(*) from gone')) as s (statement)),
  array_fill('21000'::text, array[5]), 'without a filter nothing is changed or deleted');
select tests.act_as_operator() \g /dev/null

-- Imports ---------------------------------------------------------------------------------------
create function tests.import(dry_run boolean default false) returns text language sql
as $$ select format('select public.migrate_local(''{"waste_entries": []}'', %L)', dry_run) $$;
select tests.act_as('other') \g /dev/null
select public.migrate_local('{"waste_entries": []}') ->> 'batch_id' as batch \gset
select public.migrate_local('{"waste_entries": []}', true), public.rollback_migration(:'batch') \g /dev/null
do $$ begin for n in 4..10 loop perform public.migrate_local('{"waste_entries": []}', n % 2 = 0); end loop; end; $$;
select is((select array_agg(tests.token('other', s.statement)) from (values
    (tests.import()), (tests.import(true)), (format('select public.rollback_migration(%L)', :'batch')),
    ('select tests.run_once(''k'', ''POST /x'', repeat(''a'', 64), ''migrate_local'', ''{"payload": "{\"waste_entries\": []}"}'')')) as s (statement)),
  array_fill('PT429 carbon.imports_per_hour'::text, array[4]), 'ten imports an hour, dry runs and roll-backs included, and no interface accepts more');
select tests.act_as_operator() \g /dev/null
update private.person_counters set import_hour_began = now() - interval '1 hour' where user_id = tests.id('other');
select is(tests.outcome('other', tests.import()) like '{%', true, 'an hour later the count begins again');
select tests.act_as_operator() \g /dev/null
update private.person_counters set imports_in_day = 30 where user_id = tests.id('other');
select is(tests.token('other', tests.import()), 'PT429 carbon.imports_per_day', 'thirty in a day');
select tests.act_as_operator() \g /dev/null
update private.person_counters set import_day_began = now() - interval '24 hours' where user_id = tests.id('other');
select is(tests.outcome('other', tests.import()) like '{%', true, 'a day later the count begins again');
select is(tests.outcome('own', tests.import()) like '{%', true, 'another user is not affected');
select tests.act_as_operator() \g /dev/null
set local carbon.limits = off;
update private.person_counters set imports_in_hour = 10 where user_id = tests.id('other');
select is(tests.outcome('other', tests.import()) like '{%', true, 'a system for load tests counts no imports');
set local carbon.limits = on;
select is(tests.outcome('own', 'set local carbon.limits = off'), '42501', 'which clients cannot turn on');
select tests.act_as_operator() \g /dev/null

-- PostgREST's clients get Retry-After.
select set_config('request.method', 'POST', true) \g /dev/null
create function tests.refusal(statement text) returns jsonb language plpgsql
as $$
declare
  message text;
  detail text;
begin
  execute statement;
exception when others then
  get stacked diagnostics message = message_text, detail = pg_exception_detail;
  return jsonb_build_object('state', sqlstate, 'message', message::jsonb, 'detail', detail::jsonb);
end;
$$;
select is(tests.refusal('select carbon.raise_limit(''carbon.rows_per_hour'', 17)') #- '{message,hint}', '{"state": "PGRST",
  "message": {"code": "PT429", "details": "carbon.rows_per_hour", "message": "Too many entries within an hour; try again later."},
  "detail": {"status": 429, "headers": {"Retry-After": "17"}}}', 'a limit is answered with Retry-After');
select set_config('request.method', '', true) \g /dev/null
select tests.all_right();
select * from finish();
rollback;
