-- What is checked before a request is let in.
begin;
\ir helpers.psql
select plan(18);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null
insert into auth.sessions (id, user_id, created_at, updated_at, aal) values
  ('b0000000-0000-4000-8000-000000000001', tests.id('own'), now(), now(), 'aal1'),
  ('b0000000-0000-4000-8000-000000000002', tests.id('own'), now(), now(), 'aal1');
update auth.sessions set not_after = now() - interval '1 second' where id = 'b0000000-0000-4000-8000-000000000002';

-- Whether a token with this session is let in, as PostgREST and Realtime check it.
create function tests.is_live(name text, session text) returns boolean language plpgsql
as $$
declare
  answer boolean;
begin
  perform tests.act_as(name);
  perform set_config('request.jwt.claims',
    (current_setting('request.jwt.claims')::jsonb || jsonb_build_object('session_id', session))::text, true);
  answer := carbon.is_session_live();
  perform tests.act_as_operator();
  return answer;
end;
$$;

select ok(tests.is_live('own', 'b0000000-0000-4000-8000-000000000001'), 'a session that has not ended is live');
select ok(not tests.is_live('own', 'b0000000-0000-4000-8000-000000000002'), 'an expired session is not');
select ok(not tests.is_live('own', 'b0000000-0000-4000-8000-000000000003'), 'a deleted session is not');
select ok(not tests.is_live('other', 'b0000000-0000-4000-8000-000000000001'), 'another''s session is not');
select ok(tests.is_live('own', null), 'a token without a session passes');
select is((select array_agg(tests.is_live(p.name, null) order by p.name) from tests.people as p where p.name in ('none', 'service', 'anonymous')),
          array[true, true, true], 'so do callers without a user, and users who are unknown to Auth');

update auth.users set banned_until = now() + interval '1 hour' where id = tests.id('own');
select is(array[tests.is_live('own', 'b0000000-0000-4000-8000-000000000001'), tests.is_live('own', null)], array[false, false],
          'a banned user is not live, with or without a session');
select is((select count(*)::integer from auth.sessions as s where s.user_id = tests.id('own')), 0, 'and has no session any more');
select throws_ok($$insert into auth.sessions (id, user_id, created_at, updated_at) values (gen_random_uuid(), tests.id('own'), now(), now())$$,
                 'PT401', null, 'and cannot begin one');
update auth.users set banned_until = now() - interval '1 second' where id = tests.id('own');
insert into auth.sessions (id, user_id, created_at, updated_at, aal) values ('b0000000-0000-4000-8000-000000000001', tests.id('own'), now(), now(), 'aal1');
select is(array[tests.is_live('own', 'b0000000-0000-4000-8000-000000000001'), tests.is_live('own', null)], array[true, true], 'an expired ban does not count');
update auth.users set deleted_at = now() where id = tests.id('own');
select is(array[tests.is_live('own', 'b0000000-0000-4000-8000-000000000001'), tests.is_live('own', null)], array[false, false],
          'a deleted user is not live, with or without a session');
delete from auth.users where id = tests.id('other');
select ok(not tests.is_live('other', 'b0000000-0000-4000-8000-000000000004'), 'nor is a session of a deleted user');

-- The pre-request -----------------------------------------------------------------------------------
create function tests.checked(name text, session text) returns text language plpgsql
as $$
declare
  token text := 'passes';
begin
  perform tests.act_as(name);
  perform set_config('request.jwt.claims', (current_setting('request.jwt.claims')::jsonb || jsonb_build_object('session_id', session))::text, true);
  begin
    perform carbon.check_request();
  exception when others then
    get stacked diagnostics token = pg_exception_detail;
    token := sqlstate || ' ' || token;
  end;
  perform tests.act_as_operator();
  return token;
end;
$$;
create function tests.slots() returns integer language sql
as $$ select count(*)::integer from pg_locks as l where l.pid = pg_backend_pid() and l.locktype = 'advisory' $$;
select is(tests.checked('own', 'b0000000-0000-4000-8000-000000000001'), 'PT401 carbon.session_ended', 'a request of an ended session is refused');
select is(tests.slots(), 0, 'and holds no slot');
select is((select array_agg(tests.checked(p.name, null)) from tests.people as p where p.name in ('none', 'service')), array['passes', 'passes'], 'keys without a user pass');
select is(tests.slots(), 0, 'and are not counted');
select tests.sign_up('third', 'a0000000-0000-4000-8000-00000000000c') \g /dev/null
select tests.checked('third', null) \g /dev/null
select is(tests.slots(), 1, 'a person''s request holds a slot');
select tests.act_as('third') \g /dev/null
select carbon.hold_heavy_slot(), carbon.hold_heavy_slot() \g /dev/null
select is(tests.slots(), 3, 'a heavy one also one of the person''s and one of everybody''s, once');
select tests.act_as_operator() \g /dev/null
select * from finish();
rollback;
