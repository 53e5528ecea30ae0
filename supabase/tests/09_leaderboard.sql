-- Boards: ranks, ties, privacy, pages, periods.
begin;
\ir helpers.psql
select plan(49);
select tests.act_as_operator() \g /dev/null
-- Users who exist already are hidden from these boards.
update public.profiles set visible_in_leaderboard = false;
-- Only points of entries; the tests of boards against a recount include rewards.
update public.achievements set credits_reward = 0;
update public.challenge_types set credits_reward = 0;
update public.daily_challenges set credits_reward = 0;

create table tests.cast (name text, id uuid, weight numeric, privacy integer, visible boolean default true, anonymous boolean default false, province text);
grant select on tests.cast to public;
insert into tests.cast (name, id, weight, privacy, visible, anonymous, province) values
  ('ann', 'a0000000-0000-4000-8000-00000000000a', 40, 1, true, false, 'TH-10'),
  ('bob', 'a0000000-0000-4000-8000-00000000000b', 20, 1, true, false, 'TH-10'),
  ('cat', 'a0000000-0000-4000-8000-00000000000c', 20, 2, true, false, 'TH-50'),
  ('dan', 'a0000000-0000-4000-8000-00000000000d', 10, 1, true, false, 'TH-10'),
  ('eve', 'a0000000-0000-4000-8000-00000000000e', 90, 3, true, false, 'TH-10'),
  ('fay', 'a0000000-0000-4000-8000-00000000000f', 30, 1, false, false, 'TH-10'),
  ('gus', 'a0000000-0000-4000-8000-000000000010', 30, 1, true, true, null),
  ('hal', 'a0000000-0000-4000-8000-000000000011', null, 1, true, false, 'TH-10');
select tests.sign_up(c.name, c.id, c.anonymous) from tests.cast as c \g /dev/null
update public.profiles as p set display_name = c.name, privacy_level = c.privacy, visible_in_leaderboard = c.visible, province = c.province,
  avatar_url = 'https://a/' || c.name
from tests.cast as c where c.id = p.id;
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, province, logged_at)
select c.id, 'food_waste', 'composted', c.weight, 'Asia/Bangkok', c.province, now() from tests.cast as c where c.weight is not null;
select private.lock_boards(true) \g /dev/null
create function tests.merge() returns integer language sql as $$ select private.merge_boards(100000) $$;
select tests.merge() \g /dev/null

create function tests.board(answer jsonb) returns text language sql
as $$ select coalesce(string_agg((r ->> 'rank') || ':' || coalesce(r ->> 'display_name', '?') || ':' || (r ->> 'credits'), ' ' order by n), '')
      from jsonb_array_elements(answer -> 'leaderboard') with ordinality as x (r, n) $$;
grant execute on function tests.board(jsonb) to public;
create function tests.place(name text, board text default 'global', timeframe text default 'all_time') returns jsonb language plpgsql
as $$ begin perform tests.act_as(name); return tests.get_leaderboard(board, timeframe) -> 'current_user'; end $$;
grant execute on function tests.place(text, text, text) to public;

select tests.act_as('none') \g /dev/null
select is(tests.board(tests.get_leaderboard('global', f)), '1:ann:880 2:bob:440 2:?:440 4:dan:220', f || ': competition ranks, equals by user id, hidden people not counted')
from unnest(array['daily', 'weekly', 'monthly', 'all_time']) as f;
select is(tests.get_leaderboard() #> '{leaderboard,2}',
  '{"rank": 2, "user_id": null, "display_name": null, "avatar_url": null, "province": "TH-50", "credits": 440, "current_level": 2,
    "trees_saved": 0, "is_current_user": false, "is_friend": false, "masked": true}', 'privacy level 2 is masked for users who are not friends');
select is(tests.get_leaderboard() #> '{leaderboard,0}',
  '{"rank": 1, "user_id": "a0000000-0000-4000-8000-00000000000a", "display_name": "ann", "avatar_url": null, "province": "TH-10",
    "credits": 880, "current_level": 3, "trees_saved": 1, "is_current_user": false, "is_friend": false, "masked": false}', 'a row has the user, the credits, the level and the trees, without a token no picture');
select is(tests.get_leaderboard() -> 'current_user', 'null', 'without a token there is no place of one''s own');
select isnt(tests.get_leaderboard() -> 'as_of', null, 'a board states its as_of');
select is(tests.board(tests.get_leaderboard('province', 'weekly', 'TH-10')), '1:ann:880 2:bob:440 3:dan:220', 'a province counts the entries with that province');
select is(tests.board(tests.get_leaderboard('province', 'all_time', 'TH-50')), '1:?:440', 'in every timeframe');
select is(tests.board(tests.get_leaderboard('province', 'all_time', 'TH-90')), '', 'an empty board is empty');

-- One's own place ---------------------------------------------------------------------------------
select is(tests.place(p.name), p.place::jsonb, 'place of ' || p.name) from (values
  ('ann', '{"rank": 1, "credits": 880, "percentile": 100, "rank_change": null}'),
  ('bob', '{"rank": 2, "credits": 440, "percentile": 33.33, "rank_change": null}'),
  ('cat', '{"rank": 2, "credits": 440, "percentile": 33.33, "rank_change": null}'),
  ('dan', '{"rank": 4, "credits": 220, "percentile": 0, "rank_change": null}'),
  ('eve', '{"rank": 1, "credits": 1980, "percentile": 100, "rank_change": null}'),
  ('fay', '{"rank": 2, "credits": 660, "percentile": 75, "rank_change": null}'),
  ('hal', '{"rank": null, "credits": 0, "percentile": null, "rank_change": null}')) as p (name, place);
select tests.act_as('cat') \g /dev/null
select is(tests.board(tests.get_leaderboard()), '1:ann:880 2:bob:440 2:cat:440 4:dan:220', 'oneself is never masked');
select is(tests.get_leaderboard() #> '{leaderboard,2,is_current_user}', 'true', 'and marked');
select tests.act_as('dan') \g /dev/null
select is(tests.board(tests.get_leaderboard(page_size => 3, around_me => true)), '2:?:440 4:dan:220', 'around me, at the end of the board');
select tests.act_as('bob') \g /dev/null
select is(tests.board(tests.get_leaderboard(page_size => 3, around_me => true)), '1:ann:880 2:bob:440 2:?:440', 'around me, in the middle');
select tests.act_as('fay') \g /dev/null
select is(tests.board(tests.get_leaderboard(page_size => 3, around_me => true)), '1:ann:880 2:fay:660 2:bob:440', 'around me, unlisted: other ranks do not change');
select tests.act_as('hal') \g /dev/null
select is(tests.board(tests.get_leaderboard(around_me => true)), '', 'around me, without entries');
select is(tests.board(tests.get_leaderboard('province', 'daily')), '1:ann:880 2:bob:440 3:dan:220', 'no province named is one''s own');
select is(tests.board(tests.get_leaderboard('friends', 'daily')), '', 'a friend board without friends');

-- Pages -------------------------------------------------------------------------------------------
select is(tests.board(tests.get_leaderboard(page => 2, page_size => 3)), '4:dan:220', 'pages by number');
select is(tests.get_leaderboard(page => 2, page_size => 3) -> 'total' || (tests.get_leaderboard(page => 2, page_size => 3) -> 'total_pages'), '[4, 2]', 'with totals');
select tests.get_leaderboard(page_size => 2) ->> 'next_cursor' as cursor \gset
select is(tests.board(tests.get_leaderboard(page_size => 2, cursor => :'cursor')), '2:?:440 4:dan:220', 'pages by cursor, between equal scores');
select is(tests.get_leaderboard(page_size => 2, cursor => :'cursor') ->> 'next_cursor', null, 'to the end');
select is(position('a0000000'::bytea in decode(rpad(translate(:'cursor', '-_', '+/'), (length(:'cursor') + 3) / 4 * 4, '='), 'base64')), 0, 'a cursor shows nobody''s id');
select is(tests.token('hal', 'select tests.get_leaderboard(cursor => ''nonsense'')'), '22023 carbon.cursor_invalid', 'an invalid cursor is refused');
select isnt(tests.get_leaderboard(page_size => 2) ->> 'next_cursor', :'cursor', 'two cursors for the same place differ, so that they identify nobody');
select is(tests.board(tests.get_leaderboard(page_size => 2, cursor => tests.get_leaderboard(page_size => 2) ->> 'next_cursor')),
  '2:?:440 4:dan:220', 'and both work');
select is((select array_agg(distinct tests.token('hal', format('select tests.get_leaderboard(cursor => %L)',
             overlay(:'cursor' placing case substr(:'cursor', n, 1) when 'A' then 'B' else 'A' end from n for 1))))
           from generate_series(1, length(:'cursor')) as n), array['22023 carbon.cursor_invalid'], 'a cursor with any letter changed is refused');
select tests.act_as_operator() \g /dev/null
select is(tests.token('hal', format('select tests.get_leaderboard(cursor => %L)', f.cursor)), '22023 carbon.cursor_invalid', f.whose)
from (values
  (carbon.seal('440,a0000000-0000-4000-8000-00000000000b', 'another', (select s.value from private.secrets as s where s.name = 'board_cursor')), 'sealed for another purpose'),
  (carbon.seal('440,a0000000-0000-4000-8000-00000000000b', 'board_cursor', extensions.gen_random_bytes(32)), 'sealed by another database')) as f (cursor, whose);

-- A tag shows whether an answer with a cursor changed, although the cursor itself differs each time.
create function tests.read_board(tags text[] default '{}', size integer default 2) returns jsonb language sql
as $$ select public.read_if_changed('get_leaderboard', jsonb_build_object('page_size', size), tags)::jsonb $$;
grant execute on function tests.read_board(text[], integer) to public;
select tests.act_as('dan') \g /dev/null
select tests.read_board() ->> 'tag' as tag \gset
select is(tests.read_board(array[:'tag']), jsonb_build_object('tag', :'tag'), 'a board that did not change is not sent again');
select isnt(tests.read_board(size => 1) ->> 'tag', :'tag', 'another page has another tag');
select tests.act_as_operator() \g /dev/null
update public.profiles set visible_in_leaderboard = false where id in ('a0000000-0000-4000-8000-00000000000c', 'a0000000-0000-4000-8000-00000000000d');
select tests.merge() \g /dev/null
select tests.act_as('dan') \g /dev/null
select isnt(tests.read_board(array[:'tag']) -> 'answer', null, 'and is sent when there is no next page any more');
select tests.act_as_operator() \g /dev/null
update public.profiles set visible_in_leaderboard = true where id in ('a0000000-0000-4000-8000-00000000000c', 'a0000000-0000-4000-8000-00000000000d');
select tests.merge() \g /dev/null
select tests.act_as('hal') \g /dev/null
select is(tests.token(e.name, e.statement), e.token, e.token) from (values
  ('hal', 'select tests.get_leaderboard(''planet'')', '22023 carbon.board_type_invalid'),
  ('hal', 'select tests.get_leaderboard(''global'', ''hourly'')', '22023 carbon.timeframe_invalid'),
  ('hal', 'select tests.get_leaderboard(''province'', ''daily'', ''TH-99'')', '22023 carbon.unknown_province'),
  ('gus', 'select tests.get_leaderboard(''province'', ''daily'')', '22023 carbon.province_required'),
  ('none', 'select tests.get_leaderboard(around_me => true)', '42501 carbon.not_signed_in')) as e (name, statement, token);

-- Periods -----------------------------------------------------------------------------------------
select tests.act_as_operator() \g /dev/null
update public.waste_entries set logged_at = now() - interval '1 day' where user_id = tests.id('ann');
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, logged_at)
values (tests.id('bob'), 'food_waste', 'composted', 1, 'Asia/Bangkok', now() - interval '1 day');
select tests.merge() \g /dev/null
select is(tests.place('bob', 'global', 'daily'), '{"rank": 1, "credits": 440, "percentile": 50, "rank_change": 1}', 'rank_change compares with the present board of the day before');
select tests.act_as_operator() \g /dev/null
delete from auth.users where id = tests.id('bob');
select tests.act_as('none') \g /dev/null
select is(tests.board(tests.get_leaderboard('global', 'daily')), '1:?:440 3:dan:220', 'a deleted user is gone at once');
select tests.act_as_operator() \g /dev/null
select tests.merge() \g /dev/null
select tests.act_as('none') \g /dev/null
select is(tests.board(tests.get_leaderboard('global', 'daily')), '1:?:440 2:dan:220', 'and ranks follow once it is folded');
select tests.act_as_operator() \g /dev/null
delete from public.waste_entries where user_id = tests.id('dan');
select tests.merge() \g /dev/null
select tests.act_as('none') \g /dev/null
select is(tests.board(tests.get_leaderboard('global', 'daily')), '1:?:440', 'a user without entries in the period is not on its board');
select tests.act_as_operator() \g /dev/null
select * from finish();
rollback;
