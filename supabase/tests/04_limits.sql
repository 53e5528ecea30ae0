-- What the database takes from one person, on every way in.
begin;
\ir helpers.psql
select plan(9);
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
select is(tests.token('own', format('select public.create_waste_entry(%L)', tests.entry())), 'PT429 carbon.rows_per_hour', 'nor by rpc');
select is(tests.outcome('other', tests.rest_insert(1)), '1 rows', 'another person is not concerned');
select is(tests.outcome('service', replace(replace(tests.rest_insert(600), '(category_id', '(user_id, time_zone, category_id'), 'select ''food_waste''', format('select %L::uuid, ''Asia/Bangkok'', ''food_waste''', tests.id('own')))),
  '600 rows', 'nor is the service');
select tests.act_as_operator() \g /dev/null
update public.user_totals set window_started_at = now() - interval '1 hour' where user_id = tests.id('own');
select is(tests.outcome('own', tests.rest_insert(500)), '500 rows', 'an hour later it begins anew');
select tests.act_as_operator() \g /dev/null
select tests.all_right();
select * from finish();
rollback;
