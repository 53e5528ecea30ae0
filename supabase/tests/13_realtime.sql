-- Who may listen to which topic, that only the database sends, and what it sends.
begin;
\ir helpers.psql
select plan(46);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')),
       tests.sign_up('anonymous', tests.id('anonymous'), true) \g /dev/null

-- The permission is checked as Realtime does: by reading a row of the topic as the user who wants to listen.
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
select ok(tests.may_listen('anonymous', tests.topic('anonymous', 'gamification')), 'an anonymous user has topics of their own');
select is((select array_agg(tests.may_listen(p.name, 'leaderboard:live')) from (values ('own'), ('anonymous'), ('none')) as p (name)),
          array[true, true, false], 'the shared topic is for signed-in users');
select is((select array_agg(t.topic) from (values
    ('user:%:gamification'), ('user:' || tests.id('own') || ':%'), (tests.topic('own', 'gamification') || ':x'),
    (tests.topic('own', 'gamification') || ' '), ('user:' || upper(tests.id('own')::text) || ':gamification'),
    (tests.topic('own', '')), ('user:' || tests.id('own')), ('leaderboard:LIVE'), ('leaderboard:live:x'), ('leaderboard:%'),
    ('community:' || tests.id('own')), ('community:live'), (''), ('%')) as t (topic)
  where tests.may_listen('own', t.topic)), null, 'topics are compared by equality, and nobody is in a community yet');
select ok(not tests.may_listen('own', tests.topic('own', 'gamification'), 'presence'), 'there is no presence');
select tests.act_as('own'), set_config('realtime.topic', tests.topic('other', 'gamification'), true) \g /dev/null
select tests.act_as_operator() \g /dev/null
insert into realtime.messages (topic, extension) values (tests.topic('other', 'gamification'), 'broadcast');
select is(tests.outcome('own', 'select count(*) from realtime.messages where topic = ' || quote_literal(tests.topic('other', 'gamification'))),
          '0', 'setting realtime.topic has no effect');

update auth.users set banned_until = now() + interval '1 hour' where id = tests.id('other');
select is((select array_agg(tests.may_listen('other', t.topic)) from (values (tests.topic('other', 'gamification')), ('leaderboard:live')) as t (topic)),
          array[false, false], 'a banned user cannot listen any more, even with a token that has not expired');

select is((select array_agg(t.schemaname || '.' || t.tablename) from pg_publication_tables as t where t.schemaname in ('public', 'private')),
          null, 'no table is published: everything is sent explicitly');

-- Sending -----------------------------------------------------------------------------------
select is((select array_agg(p.policyname) from pg_policies as p where p.schemaname = 'realtime' and p.cmd <> 'SELECT'), null,
          'there is a policy for reading alone');
select is((select array_agg(tests.outcome(p.name, format('insert into realtime.messages (topic, extension) values (%L, ''broadcast'')',
                                                         tests.topic('own', 'gamification'))))
           from (values ('own'), ('other'), ('anonymous'), ('none')) as p (name)),
          array['42501', '42501', '42501', '42501'], 'no client can send, not even to their own topic');
select is((select array_agg(tests.outcome(p.name, 'select private.send_messages(array[(null, ''leaderboard:live'', ''x'', ''{}'')::private.message])'))
           from tests.people as p), array_fill('42501'::text, array[5]), 'no role of the API calls the database''s sender');
set local client_min_messages = error;
select is(tests.outcome('own', 'with sent as (select realtime.send(''{}'', ''x'', ''leaderboard:live'')) select count(*) from sent'), '1',
          'realtime.send only warns who may not');
set local client_min_messages = warning;

set local role postgres;
select private.send_messages(array[(null, tests.topic('own', 'gamification'), 'credits_changed', '{"credits": 15}')::private.message]) \g /dev/null
reset role;
select is((select jsonb_build_object('event', m.event, 'extension', m.extension, 'private', m.private, 'credits', m.payload -> 'credits',
                                     'id', m.payload ->> 'id' = m.id::text)
           from realtime.messages as m where m.topic = tests.topic('own', 'gamification') and m.event is not null),
          '{"event": "credits_changed", "extension": "broadcast", "private": true, "credits": 15, "id": true}',
          'what the database sends is there, and it alone');

-- What writes append to the outbox, and what results from it---------------------------------
select private.lock_boards(true) \g /dev/null
delete from private.outbox;
delete from realtime.messages;
create function tests.sent_messages(name text) returns text[] language sql
as $$ select array_agg(m.event || coalesce(' ' || (m.payload ->> 'achievement_id'), '') || coalesce(' ' || (m.payload ->> 'total_credits'), '') order by (m.payload ->> 'revision')::bigint)
      from realtime.messages as m where m.topic like 'user:' || tests.id(sent_messages.name) || ':%' $$;
create function tests.log_one(name text) returns void language sql
as $$ insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, province)
      values (tests.id(name), 'food_waste', 'composted', 1, 'Asia/Bangkok', 'TH-10') $$;
select tests.log_one('anonymous') \g /dev/null
select is((select jsonb_agg(to_jsonb(o) - '{id,user_id,local_date,created_at}'::text[]) from private.outbox as o),
          '[{"province": "TH-10", "entries": 1, "credits": 22, "rewards": 110, "change": 132, "total": 132, "level": 2, "revision": 1,
             "first_reward": 1, "last_reward": 4, "communities": null}]', 'a single entry appends one row, with everything it earned');
select is(tests.sent_messages('anonymous'), null, 'and sends nothing in its own transaction');
select is((select array_agg(m.event || coalesce(' ' || (m.payload ->> 'achievement_id'), '') || coalesce(' ' || (m.payload ->> 'total_credits'), '') order by m.place)
           from unnest(private.messages_of(array(select o from private.outbox as o))) with ordinality as m (user_id, topic, event, payload, place)), array['achievement_unlocked compost_master', 'achievement_unlocked first_scan', 'challenge_completed', 'level_up',
          'credits_changed 132'], 'it becomes a message for each reward, then one for the total');
select is(private.merge_boards(100), 1, 'the worker folds it');
select is((select count(*) from realtime.messages as m where m.topic <> 'leaderboard:live'), 5::bigint, 'and sends them');
select is((select array[(m.payload ->> 'credits')::integer, (m.payload ->> 'current_level')::integer, (m.payload ->> 'revision')::integer]
           from realtime.messages as m where m.event = 'credits_changed'), array[132, 2, 1], 'with change, level and revision');

delete from realtime.messages;
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, logged_at)
select tests.id('anonymous'), 'food_waste', 'composted', 1, 'Asia/Bangkok', now() - d * interval '1 day' from generate_series(1, 2) as d;
select is((select array_agg(concat_ws(' ', o.entries, o.credits, o.change is not null, o.local_date is null) order by o.id) from private.outbox as o),
          array['1 22 f f', '1 22 f f', '0 0 t t'], 'a statement with many entries appends a row per day, then one with the totals');
select private.merge_boards(100) \g /dev/null
select is((select count(*) from realtime.messages as m where m.event = 'credits_changed'), 1::bigint, 'which is sent once');
select is(private.check_boards(tests.id('anonymous')), '[]', 'and boards have it all');

delete from realtime.messages;
insert into private.outbox (user_id, change, total, level, revision, created_at)
select tests.id(p.name), 1, p.total, 1, p.total, now() - p.seconds * interval '1 second'
from (values ('anonymous', 5, 30), ('own', 6, 30), ('anonymous', 7, 20), ('anonymous', 8, 11), ('own', 9, 5), ('own', 10, 1)) as p (name, total, seconds);
select private.merge_boards(100) \g /dev/null
select is(tests.sent_messages('anonymous'), array['credits_changed 8'], 'of events older than ten seconds only the newest is sent');
select is(tests.sent_messages('own'), array['credits_changed 9', 'credits_changed 10'], 'and of newer ones all');

delete from realtime.messages;
insert into private.outbox (user_id, change, total, level, revision) values (gen_random_uuid(), 1, 1, 1, 1);
select is(private.merge_boards(100), 1, 'a row of a deleted user is folded');
select is((select count(*) from realtime.messages as m where m.topic <> 'leaderboard:live'), 0::bigint, 'and sends nothing');

-- A day without a partition.
select format('alter table realtime.messages detach partition realtime.%I', to_char(now() at time zone 'UTC', '"messages_"YYYY_MM_DD')) as detach,
       format('alter table realtime.messages attach partition realtime.%I for values from (%L) to (%L)', to_char(now() at time zone 'UTC', '"messages_"YYYY_MM_DD'),
              (now() at time zone 'UTC')::date, (now() at time zone 'UTC')::date + 1) as attach \gset
:detach;
set local client_min_messages = error;
select tests.log_one('anonymous') \g /dev/null
select is(private.merge_boards(100), 1, 'what Realtime''s table refuses stops nothing');
select tests.log_one('anonymous') \g /dev/null
select is(private.merge_boards(100), 1, 'nor do rows that arrive while it waits');
set local client_min_messages = warning;
select is(private.check_boards(tests.id('anonymous')), '[]', 'boards are updated regardless');
select is((select array_agg(w.event || ' ' || (w.payload ->> 'revision')) from private.waiting_messages as w where w.user_id = tests.id('anonymous')),
          array['credits_changed 5'], 'of each kind the newest message waits');
:attach;
select private.merge_boards(100) \g /dev/null
select is((select count(*) from realtime.messages as m where m.event = 'credits_changed'), 0::bigint, 'it waits until its time');
update private.worker_state set messages_wait_until = now();
select is(private.merge_boards(100), 0, 'and is tried again');
select is((select array_agg(m.event || ' ' || (m.payload ->> 'revision')) from realtime.messages as m where m.event = 'credits_changed'), array['credits_changed 5'], 'until it is sent');
select is((select array[(select count(*) from private.waiting_messages), (select count(s.messages_wait_until) from private.worker_state as s)]), array[0, 0]::bigint[], 'and nothing waits any more');
select is(obj_description('private.send_messages(private.message[], boolean)'::regprocedure) is not null, true, 'the sender has a comment');
select * from finish();
rollback;
