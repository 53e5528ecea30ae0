-- Permissions: what the owner, another user, an anonymous user, a signed-out visitor, the service, a friend of the owner,
-- somebody whom the owner blocks and somebody who blocks the owner may do with every table, view, partition and function,
-- and that none of these is missing here.
begin;
\ir helpers.psql
create table tests.matrix (
  position integer generated always as identity,
  object text not null, statement text not null,
  own text not null, other text not null, anonymous text not null, none text not null, service text not null,
  -- Null: the same as for "other", who is neither a friend nor blocked; a blocking user is answered like a blocked one.
  friend text, blocked text, blocking text
);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')),
       tests.sign_up('anonymous', tests.id('anonymous'), true), tests.sign_up('friend', 'a0000000-0000-4000-8000-000000000004'),
       tests.sign_up('blocked', 'a0000000-0000-4000-8000-000000000005'), tests.sign_up('blocking', 'a0000000-0000-4000-8000-000000000006') \g /dev/null
-- Users who exist already are hidden from boards.
update public.profiles set visible_in_leaderboard = false where id not in (select id from tests.people);
update public.profiles set province = 'TH-10', username = 'matrix.own' where id = tests.id('own');
update public.user_preferences set time_zone = 'Asia/Tokyo' where user_id = tests.id('own');

select tests.act_as('own') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry())) ->> 'id' as own_entry,
       public.create_waste_entry(json_build_object('entry', tests.entry(2))),
       public.create_waste_entry(json_build_object('entry', tests.entry(1, jsonb_build_object('logged_at', now() - interval '40 days')))),
       public.register_device('phone', 'web'),
       public.migrate_local('{"waste_entries": []}') ->> 'batch_id' as own_batch \gset
select tests.act_as('other') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry())) \g /dev/null
select tests.act_as('friend') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry())),
       public.request_friend(user_id => tests.id('own')) ->> 'request_id' as request \gset
select tests.act_as('blocked') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry())) \g /dev/null
select tests.act_as('blocking') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry())), public.block_user(tests.id('own')) \g /dev/null
select tests.act_as('own') \g /dev/null
select public.accept_friend(:'request'), public.block_user(tests.id('blocked')) \g /dev/null
select tests.act_as('anonymous') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry())) \g /dev/null
select tests.act_as_operator() \g /dev/null
select public.make_community_challenge(jsonb_build_object(
         'title_th', 'ก', 'title_en', 'a', 'description_th', 'ก', 'description_en', 'a', 'criteria', '{"metric": "entries"}'::jsonb,
         'target_value', 1000, 'start_date', current_date - 1, 'end_date', current_date + 7, 'challenge_type', c.kind)) as answer
from (values ('national'), ('school')) as c (kind) \g /dev/null
select max(c.id::text) filter (where c.challenge_type = 'national') as challenge,
       max(c.id::text) filter (where c.challenge_type = 'school') as school, max(c.join_code) as join_code
from public.community_challenges as c where c.created_at = now() \gset
select tests.act_as('own') \g /dev/null
select public.join_community_challenge(:'challenge'), public.join_community_challenge(:'school', :'join_code') \g /dev/null
select tests.act_as_operator() \g /dev/null
select private.lock_boards(true) \g /dev/null
select private.merge_boards(100000) \g /dev/null

\ir matrix_tables.psql
\ir matrix_functions.psql
\ir matrix_people.psql
\ir matrix_community.psql
\ir matrix_referrals.psql
update tests.matrix
set statement = replace(replace(replace(replace(replace(replace(replace(replace(statement,
  '$people', quote_literal((select array_agg(p.id) from tests.people as p)::text) || '::uuid[]'),
  '$own_entry', quote_literal(:'own_entry') || '::uuid'),
  '$own_batch', quote_literal(:'own_batch') || '::uuid'),
  '$challenge', quote_literal(:'challenge') || '::uuid'),
  '$school', quote_literal(:'school') || '::uuid'),
  '$request', quote_literal(:'request') || '::uuid'),
  '$own', quote_literal(tests.id('own')) || '::uuid'),
  '$entry', quote_literal(tests.entry()::text) || '::jsonb');

select plan((select count(*)::integer from tests.matrix) + 3);

-- One assertion per statement, with all results.
select is(
  jsonb_build_object(
    'own', tests.outcome('own', m.statement), 'other', tests.outcome('other', m.statement),
    'anonymous', tests.outcome('anonymous', m.statement), 'none', tests.outcome('none', m.statement),
    'service', tests.outcome('service', m.statement), 'friend', tests.outcome('friend', m.statement),
    'blocked', tests.outcome('blocked', m.statement), 'blocking', tests.outcome('blocking', m.statement)),
  jsonb_build_object('own', m.own, 'other', m.other, 'anonymous', m.anonymous, 'none', m.none, 'service', m.service,
                     'friend', coalesce(m.friend, m.other), 'blocked', coalesce(m.blocked, m.other),
                     'blocking', coalesce(m.blocking, m.blocked, m.other)),
  m.statement)
from tests.matrix as m order by m.position;

select is(
  (select array_agg(c.oid::regclass::text order by 1)
   from pg_class as c
   where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
     and c.relkind in ('r', 'p', 'v', 'm', 'f')
     and c.oid::regclass::text not in (select m.object from tests.matrix as m)
     and replace(c.oid::regclass::text, 'public.', '') not in (select replace(m.object, 'public.', '') from tests.matrix as m)),
  null, 'every table, partition and view is in the matrix');
select is(
  (select array_agg(p.oid::regprocedure::text order by 1)
   from pg_proc as p
   where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
     and not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e')
     and (p.pronamespace = 'public'::regnamespace
          or has_function_privilege('anon', p.oid, 'execute')
          or has_function_privilege('authenticated', p.oid, 'execute')
          or has_function_privilege('service_role', p.oid, 'execute'))
     and p.pronamespace::regnamespace || '.' || p.proname not in (select m.object from tests.matrix as m)),
  null, 'every function of the API, and every other that its roles may call, is in the matrix');
select is(
  (select array_agg(c.oid::regclass::text)
   from pg_class as c, unnest(array['anon', 'authenticated']) as client
   where c.relnamespace = 'private'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
     -- Two views of the API read columns of the state row as the caller; the matrix has the other statements on it.
     and not (c.relname = 'user_state' and client = 'authenticated')
     and (has_table_privilege(client, c.oid, 'select, insert, update, delete, truncate, references, trigger')
          or has_any_column_privilege(client, c.oid, 'select, insert, update, references'))),
  null, 'no client holds any privilege on anything in private');
select * from finish();
rollback;
