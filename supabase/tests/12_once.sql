-- Idempotency keys, and tags that change with their answers.
begin;
\ir helpers.psql
select plan(36);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null

create function tests.once(key text, weight numeric, fingerprint text default 'a', scope text default 'POST /x') returns jsonb language plpgsql
as $$
begin
  return tests.run_once(key, scope, repeat(fingerprint, 64), 'create_waste_entry', jsonb_build_object('entry', tests.entry(weight)));
end;
$$;
grant execute on function tests.once(text, numeric, text, text) to public;

-- Idempotency -------------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
select a as first from tests.once('k', 1) as a \gset
select is(:'first'::jsonb -> 'replayed', 'false', 'the first time is not a replay');
select is(tests.once('k', 1), jsonb_set(:'first'::jsonb, '{replayed}', 'true'), 'the second time has the first answer');
select is((select count(*)::integer from public.waste_entries), 1, 'and writes nothing');
select throws_ok($$select tests.once('k', 2, 'b')$$, 'PT409', null, 'another request may not use the key');
select is(tests.once('k', 1, 'b', 'POST /y') -> 'replayed', 'false', 'the same key in another scope is another key');
select is(tests.once('k2', 1) -> 'replayed', 'false', 'another key is another write');
select throws_ok($$select tests.once('refused', 1000)$$, '22023', null, 'a refusal raises');
select is(tests.once('refused', 1, 'c') -> 'replayed', 'false', 'and leaves the key free, even for another request');
select throws_ok($$select tests.once('', 1)$$, '22023', null, 'an empty key is refused');
select throws_ok(format('select tests.once(%L, 1)', repeat('k', 256)), '22023', null, 'a key has at most 255 characters');
select throws_ok($$select tests.once('ก', 1)$$, '22023', null, 'and consists of visible ASCII');
select throws_ok($$select tests.run_once('k', 'x', repeat('a', 64), 'check_user')$$, 'PT404', null, 'other functions cannot be run this way');
select tests.run_once('u', 'PUT /x', repeat('a', 64), 'update_waste_entry', jsonb_build_object(
  'entry_id', :'first'::jsonb #>> '{answer,id}', 'changes', '{}'::jsonb, 'expected_revision', 99)) as conflict \gset
select is(:'conflict'::jsonb ->> 'code', 'carbon.revision_conflict', 'a refusal with a status is passed through');
select set_config('response.status', '', true) \g /dev/null
select tests.act_as('other') \g /dev/null
select is(tests.once('k', 1) -> 'replayed', 'false', 'another person''s key is another key');
select tests.act_as_operator() \g /dev/null
select is((select count(*)::integer from private.idempotency_keys as k where k.key = 'u'), 0, 'and is not stored');
update private.idempotency_keys set created_at = now() - interval '24 hours' where user_id = tests.id('own') and key = 'k' and scope = 'POST /x';
select tests.act_as('own') \g /dev/null
select is(tests.once('k', 2, 'd') -> 'replayed', 'false', 'a day later the key is new');
select is(tests.once('k', 2, 'd') -> 'replayed', 'true', 'and is stored again');
select tests.act_as_operator() \g /dev/null
update private.idempotency_keys set created_at = now() - interval '25 hours' where user_id = tests.id('own');
set local role postgres;
select is(private.drop_old_keys(2), 2, 'the job deletes a bounded slice');
select is(private.drop_old_keys(100), 2, 'and then the rest');
select is((select count(*)::integer from private.idempotency_keys as k where k.user_id in (select p.id from tests.people as p)), 1, 'but nothing younger than a day');
reset role;

-- How answers are stored ------------------------------------------------------------------------
create function tests.once_with(operation text, arguments jsonb, key text default 'big') returns jsonb language plpgsql
as $$ begin return tests.run_once(key, 'POST /' || operation, repeat('f', 64), operation, arguments); end; $$;
grant execute on function tests.once_with(text, jsonb, text) to public;
create table tests.requests as values ('create_waste_entries', jsonb_build_object('entries',
  (select jsonb_agg(tests.entry(1, jsonb_build_object('offline_id', repeat('ก', 190) || g, 'notes', repeat('ข', 500)))) from generate_series(1, 400) as g)
  || (select jsonb_agg(tests.entry(-1, jsonb_build_object('offline_id', jsonb_build_array(repeat('x', 5000), g)))) from generate_series(401, 500) as g))),
  ('migrate_local', jsonb_build_object('payload', (select jsonb_build_object('waste_entries', jsonb_agg(tests.entry(-1, jsonb_build_object('offline_id', repeat('x', 190) || g)))) from generate_series(1, 1000) as g)::text)),
  ('sync_changes', '{"since_revision": 0, "max_changes": 500}');
grant select on tests.requests to public;
select tests.act_as('other') \g /dev/null
create temporary table first_time as select r.column1 as operation, tests.once_with(r.column1, r.column2) as answer from tests.requests as r;
create temporary table second_time as select r.column1 as operation, tests.once_with(r.column1, r.column2) as answer from tests.requests as r;
select is(s.answer, jsonb_set(f.answer, '{replayed}', 'true'), f.operation || ': a large answer is returned in full') from first_time as f join second_time as s using (operation);
select is((select jsonb_array_length(f.answer #> '{answer,changes}') > 300 from first_time as f where f.operation = 'sync_changes'), true, 'a page of hundreds of changes too');
select tests.act_as_operator() \g /dev/null
select is((select max(octet_length(k.answer::text)) < 131072 from private.idempotency_keys as k where k.key = 'big'), true, 'although at most 128 KiB of it are stored');
select is((select octet_length(k.answer::text) < 200 from private.idempotency_keys as k where k.key = 'big' and k.scope = 'POST /sync_changes'), true, 'and of a page only its end');
update private.person_counters set stored_bytes = 8 * 1024 * 1024 where user_id = tests.id('other');
select is(tests.outcome('other', 'select a ->> ''replayed'' from tests.once_with(''check_achievements'', ''{}'', ''new'') as a'), 'false', 'the stored bytes are counted again before a key is refused');
select tests.act_as_operator() \g /dev/null
insert into private.idempotency_keys (user_id, key, scope, fingerprint, answer)
select tests.id('other'), 'filled' || g, 'x', '', to_jsonb(repeat('x', 120000)) from generate_series(1, 71) as g;
update private.person_counters set stored_bytes = 8 * 1024 * 1024 where user_id = tests.id('other');
select is(tests.token('other', 'select tests.once_with(''check_achievements'', ''{}'', ''new'')'), 'PT429 carbon.kept_answers', 'beyond 8 MiB a new key is refused');
select is(tests.outcome('other', 'select a ->> ''replayed'' from tests.requests as r, tests.once_with(r.column1, r.column2) as a limit 1'), 'true', 'and no stored answer is dropped for it');
select tests.act_as_operator() \g /dev/null

-- Tags --------------------------------------------------------------------------------------
create function tests.tag(name text, question text default 'q', at timestamptz default '2026-06-01 12:00+07') returns text language plpgsql
as $$ begin return private.user_etag(tests.id(name), question, at); end; $$;
select tests.tag('own') as before \gset
select is(tests.tag('own'), :'before', 'a tag is the same while nothing changes');
select isnt(tests.tag('own', 'q', '2026-06-02 00:00+07'), :'before', 'the person''s next day has another');
select is(tests.tag('own', 'q', '2026-06-01 23:59+07'), :'before', 'and it begins at their midnight');
select isnt(tests.tag('own', 'r'), :'before', 'another request has another');
select isnt(tests.tag('other'), :'before', 'another user has another');
select tests.act_as('own') \g /dev/null
select a ->> 'tag' as profile_tag from public.read_if_changed('get_profile') as a \gset
select is(public.read_if_changed('get_profile', '{}', array['x', :'profile_tag'])::jsonb, jsonb_build_object('tag', :'profile_tag'), 'an answer that the client has is not sent again');
select is(public.read_if_changed('get_profile', '{}', array['x']) #>> '{answer,id}', tests.id('own')::text, 'any other is');
select * from finish();
rollback;
