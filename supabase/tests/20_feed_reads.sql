-- Reading the feed: pages equal a naive query on random data, and who is seen is decided when one looks.
begin;
\ir helpers.psql
set local carbon.limits = off;
select plan(32);
select setseed(0.7) \g /dev/null

-- Forty people, some of them friends, blocked (sometimes friends as well, which no operation leaves behind), closed, private.
create function tests.person(number integer) returns uuid language sql immutable
as $$ select ('b0000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid $$;
select tests.sign_up('p' || n, tests.person(n), n % 13 = 0) from generate_series(1, 40) as n \g /dev/null
create function tests.befriend(one uuid, other uuid) returns void language sql
as $$
  insert into private.friend_pairs (low_id, high_id, requested_by, state, accepted_at)
  values (least(one, other), greatest(one, other), one, 'accepted', now()) on conflict do nothing;
  insert into private.friends select p.low_id, p.high_id, now() from private.friend_pairs as p where (p.low_id, p.high_id) = (least(one, other), greatest(one, other))
    union all select p.high_id, p.low_id, now() from private.friend_pairs as p where (p.low_id, p.high_id) = (least(one, other), greatest(one, other)) on conflict do nothing;
$$;
select tests.befriend(tests.person(a), tests.person(b)) from generate_series(1, 39) as a, generate_series(1, 40) as b where a < b and random() < 0.35 \g /dev/null
insert into public.user_blocks (blocker_id, blocked_id)
select tests.person(a), tests.person(b) from generate_series(1, 40) as a, generate_series(1, 40) as b where a <> b and random() < 0.04;
update public.profiles set privacy_level = 1 + floor(random() * 3)::integer where id in (select tests.person(n) from generate_series(1, 40) as n);
update public.profiles set closed_until = 'infinity' where id in (tests.person(7), tests.person(8));
-- Items of four months, many of one moment, and of people who are nobody's friends. Person 40 and their friends are silent.
insert into public.activity_feed (user_id, created_at, id, activity_type, activity_data, visibility)
select x.user_id, date_trunc('hour', now() - random() ^ 3 * interval '110 days'), gen_random_uuid(),
       'level_up', jsonb_build_object('level', x.n), (array['public', 'friends', 'private'])[1 + floor(random() * 3)]
from (select n, tests.person(1 + floor(random() * 39)::integer) as user_id from generate_series(1, 4500) as n) as x
where not exists (select from private.friends as f where f.user_id = tests.person(40) and f.friend_id = x.user_id);

create function tests.naive_feed(viewer uuid) returns uuid[] language sql stable
as $$
  select coalesce(array_agg(a.id order by a.created_at desc, a.id desc), '{}')
  from public.activity_feed as a
  join public.profiles as p on p.id = a.user_id
  where a.created_at >= date_trunc('month', now() at time zone 'UTC') at time zone 'UTC' - interval '3 months'
    and (a.user_id = viewer or (
      a.visibility in ('public', 'friends') and p.privacy_level in (1, 2) and not p.is_anonymous and p.closed_until is null
      and a.user_id in (select f.friend_id from private.friends as f where f.user_id = viewer)
      and not exists (select from public.user_blocks as b where (b.blocker_id, b.blocked_id) in ((viewer, a.user_id), (a.user_id, viewer)))))
$$;
-- All pages, as the user.
create function tests.paged_feed(viewer text, size integer) returns uuid[] language plpgsql
as $$
declare
  answer jsonb;
  seen uuid[] := '{}';
begin
  perform tests.act_as(viewer);
  loop
    answer := public.get_feed(size, answer ->> 'next_cursor');
    seen := seen || array(select (i ->> 'id')::uuid from jsonb_array_elements(answer -> 'items') as i);
    exit when answer ->> 'next_cursor' is null;
  end loop;
  perform tests.act_as_operator();
  return seen;
end;
$$;
create function tests.feed(viewer text) returns text language plpgsql
as $$
declare
  items jsonb;
begin
  perform tests.act_as(viewer);
  items := public.get_feed(50) -> 'items';
  perform tests.act_as_operator();
  return (select coalesce(string_agg(p.name || ' ' || (i #>> '{data,level}'), ', ' order by o), 'nothing')
          from jsonb_array_elements(items) with ordinality as x (i, o) join tests.people as p on p.id::text = i #>> '{user,id}' and p.api_role = 'authenticated');
end;
$$;
grant execute on all functions in schema tests to public;

select is(tests.paged_feed('p' || n, size), tests.naive_feed(tests.person(n)), 'person ' || n || ' sees what a naive query gives, by pages of ' || size)
from (values (1, 50), (2, 1), (3, 7), (4, 20), (5, 50), (6, 3), (7, 50), (8, 50), (13, 10), (20, 50), (26, 50), (31, 11), (39, 50), (40, 50)) as v (n, size);
select is((select sum(cardinality(tests.naive_feed(tests.person(n)))) > 2000 from generate_series(1, 39) as n), true, 'there was something to see');

-- The planner never walks the feed for somebody whose friends are silent.
analyze public.activity_feed, private.friends;
create function tests.rows_read() returns bigint language sql volatile
as $$ select sum(pg_stat_get_xact_tuples_returned(i.inhrelid) + coalesce((
        select sum(pg_stat_get_xact_tuples_returned(x.indexrelid)) from pg_index as x where x.indrelid = i.inhrelid), 0))::bigint
      from pg_inherits as i where i.inhparent = 'public.activity_feed'::regclass $$;
select tests.rows_read() as before \gset
select is(tests.feed('p40'), 'nothing', 'somebody whose friends are silent');
select is(tests.rows_read() - :before, 0::bigint, 'reads no item of anybody else');

-- The cases of others -----------------------------------------------------------------------------------
select tests.sign_up('ann', 'c0000000-0000-4000-8000-000000000001'), tests.sign_up('bob', 'c0000000-0000-4000-8000-000000000002') \g /dev/null
create function tests.item(name text, level integer, visibility text) returns void language sql
as $$ insert into public.activity_feed values (tests.id(name), now() - interval '1 day' + level * interval '1 minute', gen_random_uuid(), 'level_up', jsonb_build_object('level', level), visibility) $$;
select tests.item('bob', 2, 'public'), tests.item('bob', 3, 'private'), tests.item('bob', 4, 'friends'), tests.item('ann', 5, 'private') \g /dev/null
select is(tests.feed('ann'), 'ann 5', 'a stranger''s items are in nobody''s feed, one''s own are, private ones too');
select tests.act_as('ann') \g /dev/null
select public.request_friend(user_id => tests.id('bob')) ->> 'request_id' as request \gset
select tests.act_as_operator() \g /dev/null
select is(tests.feed('bob') || '; ' || tests.feed('ann'), 'bob 4, bob 3, bob 2; ann 5', 'a request is no feed item');
select tests.act_as('bob') \g /dev/null
select public.accept_friend(:'request') \g /dev/null
select tests.act_as_operator() \g /dev/null
select is(tests.feed('ann'), 'ann 5, bob 4, bob 2', 'nor is a friendship; items marked private do not come back in a friend''s list');
update public.profiles set privacy_level = 3 where id = tests.id('bob');
select is(tests.feed('ann'), 'ann 5', 'stricter privacy does not leave old items open');
select is(tests.feed('bob'), 'bob 4, bob 3, bob 2', 'but to oneself');
update public.profiles set privacy_level = 2 where id = tests.id('bob');
select is(tests.feed('ann'), 'ann 5, bob 4, bob 2', 'looser privacy does not show what was private');
select tests.act_as('bob') \g /dev/null
select public.remove_friend(tests.id('ann')) \g /dev/null
select tests.act_as_operator() \g /dev/null
select is(tests.feed('ann') || '; ' || tests.feed('bob'), 'ann 5; bob 4, bob 3, bob 2', 'a removed friend''s items do not stay in the feed of either');
select tests.befriend(tests.id('ann'), tests.id('bob')) \g /dev/null
update public.profiles set closed_until = 'infinity' where id = tests.id('bob');
select is(tests.feed('ann'), 'ann 5', 'nor do those of a closed account');
update public.profiles set closed_until = null where id = tests.id('bob');
select tests.act_as('bob') \g /dev/null
select public.block_user(tests.id('ann')) \g /dev/null
select tests.act_as_operator() \g /dev/null
select is(tests.feed('ann') || '; ' || tests.feed('bob'), 'ann 5; bob 4, bob 3, bob 2', 'a block hides both from one another');

-- Shape, cursors, limits ---------------------------------------------------------------------------------
update public.profiles set display_name = 'Ann' where id = tests.id('ann');
select tests.act_as('ann') \g /dev/null
select is(public.get_feed() #- '{items,0,id}' #- '{items,0,created_at}' #- '{items,0,user}', '{"items": [{"activity_type": "level_up", "data": {"level": 5}, "is_me": true}], "limit": 20, "next_cursor": null}', 'an item');
select is(public.get_feed() #>> '{items,0,user,display_name}', 'Ann', 'the name comes from the card when the feed is read');
select tests.act_as_operator() \g /dev/null
select is(tests.token('ann', 'select public.get_feed(51)'), '22023 carbon.limit_invalid', 'at most 50');
select is(tests.token('ann', 'select public.get_feed(0)'), '22023 carbon.limit_invalid', 'at least one');
select is((select array_agg(distinct tests.token('ann', format('select public.get_feed(20, %L)', c))) from unnest(array['x', '', 'MjAyNg', 'LA', 'aW5maW5pdHksYQ', 'bm93']) as c),
  array['22023 carbon.cursor_invalid'], 'a cursor that is not ours is refused');
select is((select array_agg(distinct tests.outcome('ann', format('select jsonb_array_length(public.get_feed(20, %L) -> ''items'')',
    translate(encode(convert_to(t || ',' || tests.person(1), 'UTF8'), 'base64'), E'+/\n', '-_')))) from unnest(array['-infinity', '4713-01-01 00:00:00 BC', '1999-01-01']) as t),
  array['0'], 'a time before the feed ends it');
select * from finish();
rollback;
