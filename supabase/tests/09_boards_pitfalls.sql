-- What went wrong with boards in other products, each with a test; operators' commands; repairs.
begin;
\ir helpers.psql
\ir boards_oracle.psql
select plan(54);
update public.profiles set visible_in_leaderboard = false;
update public.achievements set credits_reward = 0;
update public.challenge_types set credits_reward = 0;
update public.daily_challenges set credits_reward = 0;

create function tests.log(name text, weight numeric, days_ago integer default 0, province text default 'TH-10') returns void language sql
as $$
  insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, province, logged_at)
  values (tests.id(name), 'food_waste', 'composted', weight, 'Asia/Bangkok', province,
          ((now() at time zone 'Asia/Bangkok')::date - days_ago + time '00:00:01') at time zone 'Asia/Bangkok')
$$;
create function tests.names(timeframe text default 'all_time', in_province text default null) returns text language sql
as $$
  select string_agg((r ->> 'rank') || ':' || (r ->> 'display_name') || ':' || (r ->> 'credits'), ' ' order by n)
  from jsonb_array_elements(tests.get_leaderboard(case when in_province is null then 'global' else 'province' end, timeframe, in_province,
                                                   page_size => 100) -> 'leaderboard') with ordinality as x (r, n)
$$;
create function tests.own(name text, timeframe text default 'all_time') returns jsonb language plpgsql
as $$
declare
  answer jsonb;
begin
  perform tests.act_as(name);
  answer := tests.get_leaderboard('global', timeframe, around_me => true);
  perform tests.act_as_operator();
  return answer;
end;
$$;
create function tests.merge() returns integer language sql as $$ select private.merge_boards(1000000) $$;

select tests.sign_up(n, ('b0000000-0000-4000-8000-00000000000' || i)::uuid)
from unnest(array['ann', 'bob', 'cat', 'dan', 'eve']) with ordinality as x (n, i) \g /dev/null
update public.profiles as p set display_name = t.name from tests.people as t where t.id = p.id;

-- One's own row is exact at once, other users' rows once they are folded.
select tests.log('ann', 20), tests.log('bob', 20), tests.log('cat', 10), tests.log('dan', 20) \g /dev/null
select is(tests.own('cat') -> 'current_user', '{"rank": 1, "credits": 220, "percentile": 100, "rank_change": null}', 'one''s own entries count before they are folded in');
select tests.merge() \g /dev/null
select is(tests.names(), '1:ann:440 1:bob:440 1:dan:440 4:cat:220', 'equal scores are ordered by user id');
select is(tests.pages_by_cursor('all_time', null, 1), array['1:b0000000-0000-4000-8000-000000000001:440', '1:b0000000-0000-4000-8000-000000000002:440',
  '1:b0000000-0000-4000-8000-000000000004:440', '4:b0000000-0000-4000-8000-000000000003:220'], 'page 2 does not repeat page 1, even within equal scores');

select tests.get_leaderboard(page_size => 2) ->> 'next_cursor' as cursor \gset
select tests.log('cat', 30) \g /dev/null
select is((select string_agg(r ->> 'display_name', ' ') from jsonb_array_elements(tests.get_leaderboard(page_size => 2, cursor => :'cursor') -> 'leaderboard') as r),
  'dan cat', 'other users stay where they were until it is folded');
select tests.merge() \g /dev/null
select is((select string_agg(r ->> 'display_name', ' ') from jsonb_array_elements(tests.get_leaderboard(page_size => 2, cursor => :'cursor') -> 'leaderboard') as r),
  'dan', 'a user who climbs between two pages does not make others appear twice');

select is((tests.get_leaderboard() ->> 'as_of')::timestamptz, now(), 'without pending writes a board is as of now');
insert into private.outbox (user_id, revision, created_at)
values (tests.id('ann'), 1, now() - interval '5 seconds'), (tests.id('bob'), 1, now() - interval '4 seconds');
select is((tests.get_leaderboard() ->> 'as_of')::timestamptz, now() - interval '5 seconds', 'otherwise as of the oldest pending write');
select tests.merge() \g /dev/null

-- Scores that do not improve, that add 0, that fall.
select tests.log('eve', 0.01) \g /dev/null
select tests.merge() \g /dev/null
select is(tests.names(), '1:cat:880 2:ann:440 2:bob:440 2:dan:440 5:eve:0', 'an entry that adds 0 lists its user with 0 and changes no other rank');
select tests.log('ann', 0.01) \g /dev/null
select is(tests.own('ann') -> 'current_user', '{"rank": 2, "credits": 440, "percentile": 25, "rank_change": null}', 'adding 0 does not change the rank while pending');
select tests.merge() \g /dev/null
select is(tests.own('ann') -> 'current_user', '{"rank": 2, "credits": 440, "percentile": 25, "rank_change": null}', 'nor once folded');
update public.waste_entries set weight_kg = 1 where user_id = tests.id('cat');
select is(tests.own('cat') #> '{current_user,rank}', '4', 'a score that falls falls on the board, for oneself at once');
select tests.merge() \g /dev/null
select is(tests.names(), '1:ann:440 1:bob:440 1:dan:440 4:cat:44 5:eve:0', 'and for all once folded');
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone)
values (tests.id('eve'), 'plastic_bags', 'disposed', 1, 'Asia/Bangkok');
select is(tests.own('eve') #> '{current_user,credits}', '-67', 'points may be negative');
select tests.merge() \g /dev/null
select is(tests.names(), '1:ann:440 1:bob:440 1:dan:440 4:cat:44 5:eve:-67', 'and are ordered below 0');
select is(tests.own('eve') #> '{current_user,rank}', '5', 'and have a rank');

-- The list around the caller.
select is((select string_agg((r ->> 'rank') || ':' || (r ->> 'display_name'), ' ' order by n)
           from jsonb_array_elements(tests.own('bob') -> 'leaderboard') with ordinality as x (r, n)),
  '1:ann 1:bob 1:dan 4:cat 5:eve', 'the ranks in the list around the caller are those of the board');
select is((select r -> 'rank' from jsonb_array_elements(tests.own('cat') -> 'leaderboard') as r where (r ->> 'is_current_user')::boolean),
  tests.own('cat') #> '{current_user,rank}', 'and the caller''s own is the caller''s');

-- Users without entries.
delete from public.waste_entries where user_id = tests.id('eve');
select is(tests.own('eve') #> '{current_user,rank}', 'null', 'a user without entries has no rank');
select tests.merge() \g /dev/null
select is(tests.names(), '1:ann:440 1:bob:440 1:dan:440 4:cat:44', 'and is not listed with zero points');
select is((select count(*) from private.board_scores where user_id = tests.id('eve')), 0::bigint, 'and leaves no row');
delete from auth.users where id = tests.id('dan');
select is(tests.names(), '1:ann:440 1:bob:440 4:cat:44', 'deleted accounts are no longer shown');
select tests.merge() \g /dev/null
select is(tests.names(), '1:ann:440 1:bob:440 3:cat:44', 'nor counted, once it is folded');

-- Periods.
select tests.log('cat', 50, 1), tests.log('bob', 1, 1) \g /dev/null
select is(tests.names('daily'), '1:ann:440 1:bob:440 3:cat:44', 'the daily board shows the day, not the month');
select tests.merge() \g /dev/null
select is(tests.own('bob', 'daily') -> 'current_user', '{"rank": 1, "credits": 440, "percentile": 50, "rank_change": 1}', 'rank_change compares with the present board of the day before');
select tests.log('ann', 40, 1), tests.merge() \g /dev/null
select is(tests.own('bob', 'daily') #> '{current_user,rank_change}', '2', 'late entries count for a past period');
-- A day that was not dropped, and one that was dropped twice.
update private.board_scores
set boards = carbon.board_id('daily', current_date - 9, null) || boards, credits = 5::bigint || credits, entries = 1::bigint || entries
where user_id = tests.id('ann');
insert into private.board_order (board, is_listed, credits, user_id)
values (carbon.board_id('daily', current_date - 9, null), true, 5, tests.id('ann'));
update private.worker_state set dropped_on = null;
select is(tests.names('daily'), '1:ann:440 1:bob:440 3:cat:44', 'a period''s end that fires never changes no board');
select tests.merge(), tests.merge() \g /dev/null
select is(tests.names('daily'), '1:ann:440 1:bob:440 3:cat:44', 'nor does dropping twice');
select is((select count(*) from private.board_order as s join carbon.dropped_boards(current_date) as d
           on s.board >= d.first_board and s.board < d.before_board), 0::bigint, 'and boards that are no longer retained are deleted');
select tests.log('ann', 1, 400) \g /dev/null
select tests.merge() \g /dev/null
select is((select count(*) from private.board_places as s cross join carbon.board_scope(s.board) as b
           where s.user_id = tests.id('ann') and b.first_day < current_date - 100), 0::bigint, 'an old entry does not create old boards');
select is(private.check_all_boards(), '[]', 'equal to a recount');

-- Scores beyond all possible ones.
update private.user_state set rewards = rewards + 9000000000000 where user_id = tests.id('bob');
insert into private.outbox (user_id, rewards) values (tests.id('bob'), 9000000000000);
select is(tests.own('bob') #>> '{current_user,rank}', '1', 'no score overflows the tree, one''s own');
select tests.merge() \g /dev/null
select is(array[tests.own('bob') #>> '{current_user,rank}', tests.own('ann') #>> '{current_user,rank}', tests.own('cat') #>> '{current_user,rank}'],
  array['1', '2', '3'], 'nor once folded');
select is(jsonb_array_length(tests.get_leaderboard(page => 2, page_size => 2) -> 'leaderboard'), 1, 'pages by number cross them');

-- Operators -----------------------------------------------------------------------------------------
select tests.act_as('service') \g /dev/null
select is(public.exclude_from_boards(tests.id('bob'), 'a test') ->> 'changed', 'true', 'an operator excludes an account');
select is(public.exclude_from_boards(tests.id('bob'), 'a test') ->> 'changed', 'false', 'once');
select tests.act_as('none') \g /dev/null
select is(tests.names('daily'), '1:ann:440 3:cat:44', 'an excluded user is not shown any more, at once');
select tests.act_as_operator() \g /dev/null
select tests.merge() \g /dev/null
select tests.act_as('none') \g /dev/null
select is(tests.names('daily'), '1:ann:440 2:cat:44', 'nor counted, once it is folded');
select tests.act_as_operator() \g /dev/null
select is(tests.own('bob', 'daily') #>> '{current_user,rank}', '1', 'but sees 1 + the listed users above');
select tests.act_as('service') \g /dev/null
select is(public.include_in_boards(tests.id('bob'), 'a mistake') ->> 'changed', 'true', 'and includes it again');
select is(tests.token('service', format('select public.exclude_from_boards(%L, '''')', tests.id('bob'))), '22023 carbon.reason_invalid', 'a reason is required');
select is(tests.token('service', 'select public.exclude_from_boards(gen_random_uuid(), ''x'')'), 'PT404 carbon.not_found', 'and an existing user');
select tests.act_as_operator() \g /dev/null
select is((select array_agg(a.action || ' ' || (a.details ->> 'changed') order by a.id) from private.audit_log as a where a.subject = tests.id('bob')),
  array['excluded_from_boards true', 'excluded_from_boards false', 'included_in_boards true'], 'all of it audited');

-- The source document's view, for a signed-out visitor and for the user.
update public.profiles set privacy_level = 2 where id = tests.id('cat');
select tests.log('cat', 0.5, 0, 'TH-50'), tests.add_up() \g /dev/null
select tests.merge() \g /dev/null
select is((select array_agg(concat_ws(':', m.rank, coalesce(m.display_name, '?'), m.month_credits) order by m.rank, m.id nulls last) from public.leaderboard_monthly as m),
  (select array_agg(concat_ws(':', o.rank, case when o.shown = '?' then '?' else p.display_name end, o.credits) order by o.rank, o.user_id)
   from tests.oracle_board('monthly', null) as o join public.profiles as p on p.id = o.user_id),
  'leaderboard_monthly is this month''s board, masked rows without id and name');
update public.profiles set province = 'TH-10' where id = tests.id('ann');
select is((select array[m.total_credits, m.current_level, m.trees_saved, m.province_rank] from public.leaderboard_monthly as m where m.id = tests.id('ann')),
  (select array[t.credits + t.rewards, t.level, carbon.trees(t.credits + t.rewards),
                (select o.rank from tests.oracle_board('monthly', 'TH-10') as o where o.user_id = t.user_id)]
   from public.user_totals as t where t.user_id = tests.id('ann')),
  'with the total, its level and trees, and the place in the province of the profile');

-- Accounts for an operator to review.
select tests.sign_up('fay', 'b0000000-0000-4000-8000-000000000006'), tests.sign_up('gus', 'b0000000-0000-4000-8000-000000000007') \g /dev/null
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, logged_at)
select tests.id('fay'), 'food_waste', 'composted', 2, 'Asia/Bangkok', now() from generate_series(1, 110);
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, logged_at)
select tests.id('gus'), 'food_waste', 'composted', 0.1 * n, 'Asia/Bangkok', now() - (10 + n) * interval '1 day' from generate_series(1, 60) as n;
select tests.merge() \g /dev/null
select tests.act_as('service') \g /dev/null
select is((select array_agg(f.user_id || ' ' || array_to_string(f.signals, ' ')) from public.farmed_accounts('all_time') as f),
  array[tests.id('fay') || ' busy_days heavy_days seconds_apart same_weight', tests.id('gus') || ' backdated'],
  'accounts that look farmed are listed with their signals, most suspicious first, and others are not');
select tests.act_as_operator() \g /dev/null

-- What is pending costs readers nothing ---------------------------------------------------------------
insert into private.outbox (user_id, local_date, province, entries, credits, revision)
select tests.id('bob'), current_date, 'TH-10', 0, 0, 1 from generate_series(1, 10000);
create function tests.outbox_rows_read() returns bigint language sql
as $$ select pg_stat_get_xact_tuples_returned('private.outbox'::regclass) + pg_stat_get_xact_tuples_fetched('private.outbox'::regclass) $$;
create function tests.rows_read_by(statement text) returns bigint language plpgsql
as $$
declare
  before bigint := tests.outbox_rows_read();
begin
  perform set_config('request.jwt.claims', json_build_object('sub', tests.id('ann'), 'role', 'authenticated')::text, true);
  execute statement;
  perform set_config('request.jwt.claims', '', true);
  return tests.outbox_rows_read() - before;
end;
$$;
select is(tests.rows_read_by('select public.get_gamification_profile()'), 0::bigint, 'a profile reads no row of the outbox');
select is(tests.rows_read_by(format('select public.get_leaderboard(%s)', arguments)) <= 1, true, 'a board only looks for the oldest: ' || arguments)
from unnest(array['page_size => 100', 'around_me => true', $$'province', 'weekly', 'TH-10'$$]) as arguments;
select ok(tests.rows_read_by('select count(*) from private.outbox') >= 10000, 'as a read of all of it shows');
select tests.merge() \g /dev/null

-- Repairs -------------------------------------------------------------------------------------------
update private.board_scores set credits = array(select c + 7 from unnest(credits) as c) where user_id = tests.id('ann');
with nobody as (
  insert into private.board_scores (user_id, is_listed, boards, credits, entries)
  values (gen_random_uuid(), true, array[carbon.board_id('all_time', current_date, null)], '{5}', '{1}')
  returning user_id
)
insert into private.board_order (board, is_listed, credits, user_id)
select carbon.board_id('all_time', current_date, null), true, 5, n.user_id from nobody as n
union all
-- A place that no score stands for.
select carbon.board_id('all_time', current_date, 'TH-10'), true, 6, gen_random_uuid();
-- And a score that has no place.
delete from private.board_order where user_id = tests.id('cat') and board = carbon.board_id('all_time', current_date, null);
update private.board_nodes set people = carbon.add_board_nodes(people, carbon.board_node('{9}', '{3}'))
where board = carbon.board_id('all_time', current_date, 'TH-10') and level = 1;
select isnt(private.check_boards(tests.id('ann')), '[]', 'a wrong score is found');
update private.job_state set last_user = null, last_board = null where job = 'refresh_leaderboards';
create function tests.refresh() returns integer language plpgsql as $$
declare
  repaired integer := 0;
  answer jsonb;
begin
  for i in 1..200 loop
    answer := public.refresh_leaderboards(100);
    repaired := repaired + (answer ->> 'repaired')::integer;
    exit when i > 50 and (answer ->> 'finished')::boolean and (select s.last_board from private.job_state as s where s.job = 'refresh_leaderboards') is null;
  end loop;
  return repaired;
end;
$$;
select is(tests.refresh(), 3, 'and refresh_leaderboards() repairs it, a row without a user and a missing place');
select is(private.check_all_boards(), '[]', 'the tree, and the order with a place of nobody''s');
select is(tests.refresh(), 0, 'twice changes nothing');
select * from finish();
rollback;
