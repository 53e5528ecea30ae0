-- Friends: requests, declines, blocks, limits, who is found and shown how, and what a deletion leaves.
begin;
\ir helpers.psql
select plan(94);
select tests.act_as_operator() \g /dev/null
update public.profiles set visible_in_leaderboard = false where id not in (select id from tests.people);
select tests.sign_up(c.name, ('b0000000-0000-4000-8000-0000000000' || c.id)::uuid, c.name = 'ghost')
from (values ('ann', '0a'), ('bob', '0b'), ('cat', '0c'), ('dan', '0d'), ('eve', '0e'), ('ghost', '0f'), ('gil', '10')) as c (name, id) \g /dev/null
-- By privacy: ann, bob and gil 1, cat 2, dan 3.
update public.profiles as p
set username = 'friends.' || c.name, display_name = c.name, avatar_url = 'https://a/' || c.name, province = 'TH-10',
  privacy_level = case c.name when 'cat' then 2 when 'dan' then 3 else 1 end
from tests.people as c where c.id = p.id and c.name in ('ann', 'bob', 'cat', 'dan', 'eve', 'ghost', 'gil');

-- Short forms: as this user, the answer's status or the token of its refusal.
create function tests.asks(name text, whom text) returns text language sql
as $$ select tests.does(name, format('select a ->> ''status'' || coalesce('' '' || (a ->> ''duplicate''), '''') from public.request_friend(username => %L) as a', 'friends.' || whom)) $$;
create function tests.asks_by_id(name text, whom text) returns text language sql
as $$ select tests.does(name, format('select a ->> ''status'' from public.request_friend(user_id => %L) as a', tests.id(whom))) $$;
-- Volatile, so that it sees what an earlier part of the same statement did.
create function tests.request_of(one text, other text) returns uuid language plpgsql
as $$ begin return (select p.id from private.friend_pairs as p
                    where p.low_id = least(tests.id(one), tests.id(other)) and p.high_id = greatest(tests.id(one), tests.id(other))); end $$;
create function tests.accepts(name text, whose text) returns text language sql
as $$ select tests.does(name, format('select a ->> ''status'' from public.accept_friend(%L) as a', coalesce(tests.request_of(name, whose), gen_random_uuid()))) $$;
create function tests.rejects(name text, whose text) returns text language sql
as $$ select tests.does(name, format('select a ->> ''status'' from public.reject_friend(%L) as a', coalesce(tests.request_of(name, whose), gen_random_uuid()))) $$;
create function tests.removes(name text, whom text) returns text language sql
as $$ select tests.does(name, format('select a ->> ''status'' from public.remove_friend(%L) as a', tests.id(whom))) $$;
create function tests.blocks(name text, whom text) returns text language sql
as $$ select tests.does(name, format('select a ->> ''status'' from public.block_user(%L) as a', tests.id(whom))) $$;
create function tests.finds(name text, what text) returns text language sql
as $$ select tests.does(name, format('select concat_ws('' '', a ->> ''display_name'', substr(a ->> ''avatar_url'', 1, 7), a ->> ''province'', a ->> ''level'', a ->> ''credits'') from public.find_person(%L) as a', what)) $$;
create function tests.lists(name text, list text) returns text language sql
as $$ select tests.does(name, format('select coalesce(string_agg(f #>> ''{user,display_name}'', '' ''), '''') from json_array_elements(public.list_friends(%L) -> ''friends'') as f', list)) $$;
-- What was sent to a user's friends topic since the last call.
create table tests.seen (id uuid);
create function tests.received(name text) returns text language plpgsql
as $$
declare
  answer text;
begin
  select coalesce(string_agg(m.event || ' ' || (select p.name from tests.people as p where p.id = (m.payload ->> 'user_id')::uuid), ', ' order by m.inserted_at, m.event), '')
  into answer from realtime.messages as m
  where m.topic = 'user:' || tests.id(name) || ':friends' and m.id not in (select s.id from tests.seen as s);
  insert into tests.seen select m.id from realtime.messages as m;
  return answer;
end;
$$;

-- Requests ------------------------------------------------------------------------------------------
select is(tests.asks('ann', 'bob'), 'pending', 'a request is pending');
select is(tests.received('bob'), 'friend_request ann', 'and the other is notified');
select is(tests.asks('ann', 'bob'), 'pending true', 'asking again is the same request');
select is(tests.received('bob'), '', 'and notifies nobody');
select is(tests.lists('ann', 'outgoing') || '|' || tests.lists('bob', 'incoming') || '|' || tests.lists('bob', 'outgoing'), 'bob|ann|', 'each sees it on their side');
select is(tests.accepts('ann', 'bob'), 'PT404 carbon.not_found', 'nobody accepts their own request');
select is(tests.accepts('eve', 'bob'), 'PT404 carbon.not_found', 'nor one between others');
select is(tests.accepts('bob', 'ann'), 'accepted', 'the other accepts it');
select is(tests.received('ann'), 'friend_accepted bob', 'and the one who asked is notified');
select is(tests.accepts('bob', 'ann') || '|' || tests.received('ann'), 'accepted|', 'accepting again answers the same and notifies nobody');
select is(tests.lists('ann', 'accepted') || '|' || tests.lists('bob', 'accepted') || '|' || tests.lists('ann', 'outgoing'), 'bob|ann|', 'both are friends');
select is(tests.asks('bob', 'ann'), 'accepted true', 'a request between friends is their friendship');
select is(tests.rejects('bob', 'ann'), 'PT404 carbon.not_found', 'what was accepted cannot be declined');
select is(tests.asks('ann', 'eve') || ' ' || tests.asks('eve', 'ann'), 'pending accepted', 'crossing requests are one friendship');
select is((select count(*)::integer from private.friend_pairs as p where p.state = 'accepted' and p.low_id in (select t.id from tests.people as t)), 2, 'with one row a pair');
select is(tests.received('ann'), 'friend_accepted eve', 'and the first to ask is notified');
select is(tests.removes('eve', 'ann') || '|' || tests.received('ann'), 'none|', 'a friend is removed without a notification');
select is(tests.lists('ann', 'accepted') || '|' || tests.removes('ann', 'eve'), 'bob|PT404 carbon.not_found', 'for both');
select is(tests.asks('ann', 'eve') || ' ' || tests.removes('ann', 'eve') || ' ' || tests.accepts('eve', 'ann'), 'pending none PT404 carbon.not_found', 'a withdrawn request cannot be accepted');
select is(tests.asks('eve', 'bob') || ' ' || tests.removes('bob', 'eve'), 'pending PT404 carbon.not_found', 'a request received is declined, not removed');
select is(tests.removes('eve', 'bob'), 'none', 'and withdrawn by the one who asked');
select is(tests.does('ann', 'select public.request_friend(username => ''friends.ann'')'), '22023 carbon.self_request', 'nobody asks themselves');
select is(tests.does('ann', statement), '22023 carbon.person_required', statement)
from unnest(array['select public.request_friend()', 'select public.request_friend(username => ''x'', code => ''y'')']) as statement;
select is(tests.asks('ann', 'nobody') || '|' || tests.does('ann', 'select public.request_friend(user_id => gen_random_uuid())')
  || '|' || tests.does('ann', 'select public.request_friend(code => ''ABCDE23456'')'), 'PT404 carbon.not_found|PT404 carbon.not_found|PT404 carbon.not_found', 'who does not exist is not found');

-- A declined request is sent again and again; or it can never be sent again, not even by the one who declined -----
select is(tests.asks('gil', 'bob') || ' ' || tests.rejects('bob', 'gil'), 'pending rejected', 'a request is declined');
select is(tests.received('gil') || '|' || tests.lists('gil', 'outgoing') || '|' || tests.lists('bob', 'incoming'), '|bob|', 'the one who asked is not told and goes on seeing it');
select is(tests.rejects('bob', 'gil') || '|' || tests.accepts('bob', 'gil'), 'PT404 carbon.not_found|PT404 carbon.not_found', 'what was declined is gone for the one who declined');
select is(tests.received('bob') || '|' || tests.asks('gil', 'bob') || '|' || tests.received('bob'), '|pending true|', 'asking again does not bring it back');
select is(tests.removes('gil', 'bob') || ' ' || tests.asks('gil', 'bob') || '|' || tests.lists('bob', 'incoming') || tests.received('bob'), 'none pending|', 'nor does withdrawing and asking again within 30 days');
update private.friend_pairs set hidden_at = hidden_at - interval '31 days', created_at = created_at - interval '31 days' where id = tests.request_of('gil', 'bob');
update private.friend_declines set declined_at = declined_at - interval '31 days' where asker_id = tests.id('gil');
select is(tests.asks('gil', 'bob') || '|' || tests.lists('bob', 'incoming') || '|' || tests.received('bob'), 'pending|gil|friend_request gil', 'after 30 days it is a new request');
select is(tests.rejects('bob', 'gil') || ' ' || tests.asks('bob', 'gil') || ' ' || tests.lists('gil', 'accepted'), 'rejected accepted bob', 'who declined may ask, and both are friends at once');
select is((select count(*)::integer from private.friend_declines as d where d.asker_id = tests.id('gil')), 0, 'and the decline is forgotten');
select is(private.drop_old_declines(10), 0, 'old declines are deleted by a job');
select is(tests.removes('gil', 'bob'), 'none', 'they part');

-- Who is found, and how much of them -------------------------------------------------------------------
update private.user_state set credits = 440, level = 2 where user_id = any (array[tests.id('ann'), tests.id('cat'), tests.id('dan')]);
select tests.does('dan', 'select public.friend_code() ->> ''code''') as dan_code \gset
select tests.does('cat', 'select public.friend_code() ->> ''code''') as cat_code \gset
select matches(:'dan_code'::text, '^[2-9A-HJKMNP-Z]{10}$', 'a code has ten signs that are not mistaken for others');
select is(tests.does('dan', 'select public.friend_code() ->> ''code'''), :'dan_code'::text, 'and stays the same');
select is(tests.finds('eve', 'FRIENDS.Ann'), 'ann https:/ TH-10 2', 'privacy level 1 by user name, whatever its case');
select is(tests.finds('ghost', 'friends.ann'), 'ann https:/ TH-10 2', 'also by anonymous users');
select is(tests.finds('ann', 'friends.ann'), 'ann https:/ TH-10 2 440', 'oneself with everything');
select is(tests.finds('bob', 'friends.ann'), 'ann https:/ TH-10 2 440', 'and so do friends');
select is(tests.finds('eve', 'friends.cat') || '|' || tests.finds('eve', :'cat_code'), 'cat https:/|cat https:/', 'privacy level 2 by user name or code: name and picture');
select is(tests.finds('eve', 'friends.dan') || '|' || tests.finds('eve', :'dan_code'), 'PT404 carbon.not_found|dan https:/', 'privacy level 3 by code alone');
select is(tests.finds('eve', lower(substr(:'dan_code', 1, 5)) || ' - ' || substr(:'dan_code', 6)), 'dan https:/', 'as people type it');
select is(tests.finds('eve', 'friends.ghost'), 'PT404 carbon.not_found', 'anonymous users are found by nobody');
select is(tests.asks_by_id('eve', 'cat') || '|' || tests.asks_by_id('eve', 'dan') || '|' || tests.asks('eve', 'dan'),
  'PT404 carbon.not_found|PT404 carbon.not_found|PT404 carbon.not_found', 'who is not found cannot be asked');
select is(tests.does('eve', format('select a ->> ''status'' from public.request_friend(code => %L) as a', :'dan_code')), 'pending', 'but by code');
select is(tests.lists('eve', 'outgoing') || '|' || tests.lists('dan', 'incoming'), 'dan|eve', 'and the two see one another');
select is(tests.asks_by_id('dan', 'eve'), 'accepted', 'and may ask back by id');
select is(tests.does('eve', 'select string_agg(concat_ws('' '', f #>> ''{user,display_name}'', f #>> ''{user,province}'', f #>> ''{user,credits}''), '', '') from json_array_elements(public.list_friends() -> ''friends'') as f'),
  'dan', 'a friend of privacy level 3 shows name and picture, no figures');
select is(tests.does('dan', 'select public.friend_code(true) ->> ''code''') <> :'dan_code', true, 'a code can be replaced');
select is(tests.finds('ann', :'dan_code'), 'PT404 carbon.not_found', 'and the old one finds nobody');
select is(tests.does('ghost', statement), '42501 carbon.account_required', statement) from unnest(array[
  'select public.request_friend(username => ''friends.ann'')', 'select public.friend_code()', 'select public.block_user(gen_random_uuid())']) as statement;
select is(tests.asks('ann', 'ghost'), 'PT404 carbon.not_found', 'nobody asks an anonymous user');

-- Blocks: a blocker looks like a deleted account ---------------------------------------------------------
select is(tests.asks('gil', 'ann') || ' ' || tests.blocks('ann', 'bob') || ' ' || tests.blocks('ann', 'gil'), 'pending blocked blocked', 'a friend and a request are blocked');
select is(tests.received('bob') || tests.received('gil'), '', 'which tells nobody');
select is((select count(*)::integer from private.friend_pairs as p where tests.id('ann') in (p.low_id, p.high_id)) + (select count(*)::integer from private.friends as f where tests.id('ann') in (f.user_id, f.friend_id)),
  0, 'and leaves no pair and no neighbour');
select is(tests.blocks('ann', 'bob'), 'blocked', 'blocking again answers the same');
select is(tests.finds('bob', 'friends.ann') || '|' || tests.asks('bob', 'ann') || '|' || tests.asks_by_id('bob', 'ann') || '|' || tests.blocks('bob', 'ann') || '|' || tests.removes('bob', 'ann'),
  'PT404 carbon.not_found|PT404 carbon.not_found|PT404 carbon.not_found|PT404 carbon.not_found|PT404 carbon.not_found', 'a blocked user finds nobody there');
select is(tests.finds('ann', 'friends.bob') || '|' || tests.asks('ann', 'bob') || '|' || tests.received('bob'), 'PT404 carbon.not_found|PT404 carbon.not_found|', 'somebody asks a person they themselves block: nobody is notified');
select is(tests.lists('ann', 'blocked') || '|' || tests.lists('bob', 'blocked') || '|' || tests.lists('gil', 'outgoing'), 'gil bob||', 'only the blocker lists it, with names');
select is(tests.does('ann', 'select string_agg(f.status, '' '' order by f.status) from public.friendships as f'), 'blocked blocked', 'as in friendships');
select is(tests.does('bob', 'select count(*)::text from public.friendships'), '0', 'where the blocked see nothing');
select is(tests.removes('ann', 'bob') || ' ' || tests.lists('ann', 'accepted') || '|' || tests.finds('bob', 'friends.ann'), 'none |ann https:/ TH-10 2', 'removing a block restores nothing but what is public');
select is(tests.blocks('ann', 'ann') || '|' || tests.blocks('ann', 'dan'), '22023 carbon.self_request|PT404 carbon.not_found', 'nobody blocks themselves or who is hidden from them');

-- Boards -----------------------------------------------------------------------------------------------
select private.lock_boards(true) \g /dev/null
select tests.asks('ann', 'cat'), tests.accepts('cat', 'ann'), tests.asks('ann', 'bob'), tests.accepts('bob', 'ann'), tests.asks('ann', 'eve'), tests.accepts('eve', 'ann') \g /dev/null
select tests.does('dan', format('select public.request_friend(user_id => %L)', tests.id('ann'))), tests.accepts('ann', 'dan') \g /dev/null
update private.user_state set credits = 0, level = 1 where user_id in (select p.id from tests.people as p);
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, logged_at)
select tests.id(c.name), 'food_waste', 'composted', c.weight, 'Asia/Bangkok', now() - d.days * interval '1 day'
from (values ('ann', 4), ('bob', 3), ('cat', 2), ('dan', 5), ('eve', 1), ('gil', 6)) as c (name, weight), generate_series(0, 40, 40) as d (days);
select private.merge_boards(100000) \g /dev/null
create function tests.rows_of(viewer text, board_type text, around boolean default false) returns text language plpgsql
as $$
declare
  answer text;
begin
  perform tests.act_as(viewer);
  select string_agg(concat(r ->> 'rank', ':', coalesce(r ->> 'display_name', '?'), case when (r ->> 'is_friend')::boolean then '+' end), ' ' order by n) into answer
  from jsonb_array_elements(tests.get_leaderboard(board_type, 'daily', around_me => around) -> 'leaderboard') with ordinality as x (r, n);
  perform tests.act_as_operator();
  return answer;
end;
$$;
select is(tests.rows_of('ann', 'global'), '1:? 2:ann 3:bob+ 4:cat+ 5:eve+', 'a board names friends of privacy level 2 and masks who is blocked');
select is(tests.rows_of('gil', 'global'), '1:gil 2:? 3:bob 4:? 5:eve', 'in both directions; ranks stay');
select is(tests.rows_of('none', 'global'), '1:gil 2:ann 3:bob 4:? 5:eve', 'signed-out visitors see what is public');
select is(tests.rows_of('ann', 'friends'), '1:ann 2:bob+ 3:cat+ 4:eve+', 'a friend board has neither friends of privacy level 3 nor blocked users');
select is(tests.rows_of('dan', 'friends') || '|' || tests.rows_of('dan', 'friends', true), '1:ann+ 2:eve+|1:dan 1:ann+ 2:eve+', 'of oneself neither, but around oneself');
select is(tests.does('ann', 'select (public.get_leaderboard(''friends'', ''daily'') -> ''current_user'') ->> ''rank'' || '' '' || (public.get_leaderboard(''friends'', ''daily'', page => 1) ->> ''total'')'), '1 4', 'who is not listed is not counted');
select is(tests.does('ann', 'select string_agg(coalesce(m.display_name, ''?''), '' '' order by m.rank) from public.leaderboard_monthly as m'), '? ann bob cat eve', 'the source''s view masks the same');
select is(tests.does('ann', 'select string_agg(f #>> ''{user,display_name}'', '' '') from json_array_elements(public.list_friends_by_credits() -> ''friends'') as f'), 'bob cat eve dan', 'friends by credits, those who do not show theirs last');
select is(tests.does('ann', format('select string_agg(f #>> ''{user,display_name}'', '' '') from json_array_elements(public.list_friends_by_credits(2, %L) -> ''friends'') as f',
  tests.does('ann', 'select public.list_friends_by_credits(2) ->> ''next_cursor'''))), 'eve dan', 'in pages');
select is(tests.does('ann', format('select concat(string_agg(f #>> ''{user,display_name}'', '' ''), '' '', count(*)) from json_array_elements(public.list_friends(page_size => 3, cursor => %L) -> ''friends'') as f',
  tests.does('ann', 'select public.list_friends(page_size => 3) ->> ''next_cursor'''))), 'bob 1', 'friends of one moment in pages, without repetition');
select is(tests.does('ann', statement), token, token) from (values
  ('select public.list_friends(''all'')', '22023 carbon.friend_status_invalid'), ('select public.list_friends(page_size => 101)', '22023 carbon.limit_invalid'),
  ('select public.list_friends(cursor => ''x'')', '22023 carbon.cursor_invalid'), ('select public.list_friends_by_credits(0)', '22023 carbon.limit_invalid')) as e (statement, token);

-- Limits -----------------------------------------------------------------------------------------------
select tests.sign_up('p' || n, ('b1000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid) from generate_series(1, 1000) as n \g /dev/null
insert into private.friend_pairs (low_id, high_id, requested_by, state, accepted_at)
select least(tests.id('gil'), p.id), greatest(tests.id('gil'), p.id), p.id, 'accepted', now() from tests.people as p where p.name ~ '^p\d' ;
insert into private.friends select n.* from tests.people as p, private.neighbours_of(p.id) as n where p.name ~ '^p\d' or p.name = 'gil';
select is(tests.asks('gil', 'eve') || '|' || tests.asks('eve', 'gil'), 'PT409 carbon.friends_full|PT409 carbon.friends_full', 'a limit compared by equality is jumped over by a burst: 1,000 friends of either');
update public.profiles set closed_until = 'infinity' where id = tests.id('p1');
select is(tests.asks('eve', 'gil'), 'pending', 'deleted or banned accounts go on counting as friends: here they do not');
select is(tests.does('gil', 'select count(*)::text from public.friendships as f where f.status = ''accepted'''), '999', 'nor are they shown');
select is((select count(*)::integer from private.cards(tests.id('gil'), array[tests.id('p1'), tests.id('p2')])), 1, 'and have no card');
select is(tests.accepts('gil', 'eve'), 'accepted', 'a friend more');
insert into private.friend_pairs (low_id, high_id, requested_by, state)
select least(tests.id('bob'), p.id), greatest(tests.id('bob'), p.id), tests.id('bob'), 'pending' from tests.people as p where p.name ~ '^p\d' order by p.id limit 200;
select is(tests.asks('bob', 'eve'), 'PT409 carbon.open_friend_requests', '200 open requests');
delete from private.friend_pairs where requested_by = tests.id('bob') and state = 'pending';
update public.profiles as p set username = 'friends.' || t.name from tests.people as t where t.id = p.id and t.name ~ '^p\d';
delete from private.person_counters;
select is((select string_agg(distinct tests.asks('bob', 'p' || n), ' ') from generate_series(2, 21) as n) || ' ' || tests.asks('bob', 'p22'), 'pending PT429 carbon.friend_requests_per_hour', '20 requests an hour');
update private.person_counters set request_hour_began = now() - interval '1 hour' where user_id = tests.id('bob');
select is(tests.asks('bob', 'p22'), 'pending', 'and the next hour');
select is((select count(distinct tests.finds('eve', 'friends.p' || n)) > 0 from generate_series(2, 31) as n) || ' ' || tests.finds('eve', 'friends.p32'), 'true PT429 carbon.person_lookups_per_hour', '30 people found an hour');

-- The invariant, and what a deletion leaves ---------------------------------------------------------------
select is((select jsonb_agg(c.json) from (select public.check_user(p.id) as json from tests.people as p where p.name in ('ann', 'bob', 'cat', 'dan', 'eve')) as c
           where c.json @? '$[*] ? (@.what == "friends")'), null, 'neighbours equal pairs');
delete from private.friends where user_id = tests.id('ann') and friend_id = tests.id('bob');
insert into private.friends values (tests.id('ann'), tests.id('p5'), now());
select is((select count(*)::integer from jsonb_array_elements(public.check_user(tests.id('ann'))) as d where d ->> 'what' = 'friends'), 2, 'a missing and a wrong neighbour show');
select public.recompute_user(tests.id('ann')) \g /dev/null
select is(private.check_friends(tests.id('ann')), '[]', 'and are repaired');
select tests.blocks('eve', 'gil'), tests.asks('eve', 'p40'), tests.rejects('p40', 'eve') \g /dev/null
delete from auth.users where id in (select p.id from tests.people as p where p.name in ('ann', 'bob', 'cat', 'dan', 'eve', 'gil'));
select is((select count(*)::integer from private.friends as f join tests.people as p on p.id in (f.user_id, f.friend_id)) + (select count(*)::integer from private.friend_pairs as p where p.low_id in (select x.id from tests.people as x where x.name in ('ann', 'bob', 'cat', 'dan', 'eve', 'gil')))
  + (select count(*)::integer from public.user_blocks as b join tests.people as p on p.id in (b.blocker_id, b.blocked_id)) + (select count(*)::integer from private.friend_declines as d join tests.people as p on p.id in (d.asker_id, d.decliner_id))
  + (select count(*)::integer from private.friend_codes as c join tests.people as p on p.id = c.user_id), 0, 'a deleted account leaves no friends, requests, blocks, declines and codes');
select * from finish();
rollback;
