-- Who may listen to which topic, that nobody but the database sends, and that what it sends is there.
begin;
\ir helpers.psql
select plan(25);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')),
       tests.sign_up('anonymous', tests.id('anonymous'), true) \g /dev/null

-- The right is looked at as Realtime does: a row of the topic, read as the person who wants to listen.
create function tests.may_listen(name text, topic text, extension text default 'broadcast') returns boolean language plpgsql
as $$
declare
  probe uuid := gen_random_uuid();
  seen boolean;
begin
  perform tests.act_as_operator();
  insert into realtime.messages (id, topic, extension) values (probe, may_listen.topic, may_listen.extension);
  perform tests.act_as(name);
  perform set_config('realtime.topic', may_listen.topic, true);
  select exists (select from realtime.messages as m where m.id = probe) into seen;
  perform tests.act_as_operator();
  return seen;
end;
$$;
create function tests.topic(name text, kind text) returns text language sql stable
as $$ select 'user:' || tests.id(name) || ':' || kind $$;

-- Listening ---------------------------------------------------------------------------------
select is(tests.may_listen(p.name, tests.topic('own', k.kind)), p.name in ('own', 'service'),
          p.name || ' and the topic of another: ' || k.kind)
from (values ('own'), ('other'), ('none'), ('service')) as p (name), (values ('gamification'), ('challenges'), ('friends')) as k (kind);
select ok(tests.may_listen('anonymous', tests.topic('anonymous', 'gamification')), 'an anonymous person has topics of their own');
select is((select array_agg(tests.may_listen(p.name, 'leaderboard:live')) from (values ('own'), ('anonymous'), ('none')) as p (name)),
          array[true, true, false], 'the shared topic is for the signed-in');
select is((select array_agg(t.topic) from (values
    ('user:%:gamification'), ('user:' || tests.id('own') || ':%'), (tests.topic('own', 'gamification') || ':x'),
    (tests.topic('own', 'gamification') || ' '), ('user:' || upper(tests.id('own')::text) || ':gamification'),
    (tests.topic('own', '')), ('user:' || tests.id('own')), ('leaderboard:LIVE'), ('leaderboard:live:x'), ('leaderboard:%'),
    ('community:' || tests.id('own')), ('community:live'), (''), ('%')) as t (topic)
  where tests.may_listen('own', t.topic)), null, 'topics are compared by equality, and nobody takes part in a community yet');
select ok(not tests.may_listen('own', tests.topic('own', 'gamification'), 'presence'), 'there is no presence');
select tests.act_as('own'), set_config('realtime.topic', tests.topic('other', 'gamification'), true) \g /dev/null
select tests.act_as_operator() \g /dev/null
insert into realtime.messages (topic, extension) values (tests.topic('other', 'gamification'), 'broadcast');
select is(tests.outcome('own', 'select count(*) from realtime.messages where topic = ' || quote_literal(tests.topic('other', 'gamification'))),
          '0', 'setting realtime.topic opens nothing');

update auth.users set banned_until = now() + interval '1 hour' where id = tests.id('other');
select is((select array_agg(tests.may_listen('other', t.topic)) from (values (tests.topic('other', 'gamification')), ('leaderboard:live')) as t (topic)),
          array[false, false], 'who is banned listens to nothing any more, with a token that has not expired');

select is((select array_agg(t.schemaname || '.' || t.tablename) from pg_publication_tables as t where t.schemaname in ('public', 'private')),
          null, 'no table of ours is published: what is sent is sent on purpose');

-- Sending -----------------------------------------------------------------------------------
select is((select array_agg(p.policyname) from pg_policies as p where p.schemaname = 'realtime' and p.cmd <> 'SELECT'), null,
          'there is a policy for reading alone');
select is((select array_agg(tests.outcome(p.name, format('insert into realtime.messages (topic, extension) values (%L, ''broadcast'')',
                                                         tests.topic('own', 'gamification'))))
           from (values ('own'), ('other'), ('anonymous'), ('none')) as p (name)),
          array['42501', '42501', '42501', '42501'], 'no client sends, not even to their own topic');
select is((select array_agg(tests.outcome(p.name, 'select private.send_event(''leaderboard:live'', ''x'', ''{}'')'))
           from tests.people as p), array_fill('42501'::text, array[5]), 'no role of the API calls the database''s sender');
set local client_min_messages = error;
select is(tests.outcome('own', 'with sent as (select realtime.send(''{}'', ''x'', ''leaderboard:live'')) select count(*) from sent'), '1',
          'realtime.send only warns who may not');
set local client_min_messages = warning;

set local role postgres;
select private.send_event(tests.topic('own', 'gamification'), 'credits_changed', '{"credits": 15}') \g /dev/null
reset role;
select is((select jsonb_build_object('event', m.event, 'extension', m.extension, 'private', m.private, 'credits', m.payload -> 'credits',
                                     'id', m.payload ->> 'id' = m.id::text)
           from realtime.messages as m where m.topic = tests.topic('own', 'gamification') and m.event is not null),
          '{"event": "credits_changed", "extension": "broadcast", "private": true, "credits": 15, "id": true}',
          'what the database sends is there, and it alone');
select is(obj_description('private.send_event(text, text, jsonb)'::regprocedure) is not null, true, 'the sender says what it is');
select * from finish();
rollback;
