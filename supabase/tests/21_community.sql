-- Community challenges: contributions, totals, milestones, rewards, joining and leaving, boards, deletion.
begin;
\ir helpers.psql
select plan(75);
select tests.act_as_operator() \g /dev/null
select private.lock_boards(true) \g /dev/null
update public.profiles set visible_in_leaderboard = false where id not in (select id from tests.people);
select tests.sign_up(c.name, ('c0000000-0000-4000-8000-0000000000' || c.id)::uuid, c.name = 'ghost')
from (values ('ann', '0a'), ('bob', '0b'), ('cat', '0c'), ('dan', '0d'), ('ghost', '0f')) as c (name, id) \g /dev/null
update public.profiles as p set province = case c.name when 'bob' then 'TH-50' when 'dan' then null else 'TH-10' end,
  display_name = c.name, privacy_level = case c.name when 'cat' then 2 when 'dan' then 3 else 1 end
from tests.people as c where c.id = p.id and c.name in ('ann', 'bob', 'cat', 'dan', 'ghost');

create function tests.today() returns date language sql stable as $$ select carbon.local_date(now(), 'Asia/Bangkok') $$;
create table tests.challenges (name text primary key, id uuid);
create function tests.make(name text, more jsonb default '{}') returns jsonb language plpgsql
as $$
declare
  answer jsonb := public.make_community_challenge(jsonb_build_object(
    'title_th', 'ชาเลนจ์', 'title_en', 'Challenge', 'description_th', 'ช่วยกัน', 'description_en', 'Together',
    'challenge_type', 'national', 'criteria', '{"metric": "weight_kg"}'::jsonb, 'target_value', 10000,
    'start_date', tests.today() - 2, 'end_date', tests.today() + 5, 'credits_reward', 40, 'min_contribution', 1000) || more);
begin
  insert into tests.challenges values (make.name, (answer ->> 'id')::uuid);
  return answer;
end;
$$;
create function tests.challenge(name text) returns uuid language plpgsql
as $$ begin return (select c.id from tests.challenges as c where c.name = challenge.name); end $$;
create function tests.joins(name text, challenge text, code text default null) returns text language sql
as $$ select tests.does(name, format('select a ->> ''own_contribution'' from public.join_community_challenge(%L, %L) as a', tests.challenge(challenge), code)) $$;
create function tests.leaves(name text, challenge text) returns text language sql
as $$ select tests.does(name, format('select a ->> ''joined'' from public.leave_community_challenge(%L) as a', tests.challenge(challenge))) $$;
create function tests.logs(name text, kilograms numeric, more jsonb default '{}') returns uuid language sql
as $$ select tests.does(name, format('select a ->> ''id'' from public.create_waste_entry(%L) as a', json_build_object('entry', tests.entry(kilograms, more))))::uuid $$;
create function tests.contribution(name text, challenge text) returns bigint language plpgsql
as $$ begin return (select p.contribution from private.contributions as p
                    where p.challenge_id = tests.challenge(challenge) and p.user_id = tests.id(name)); end $$;
create function tests.rewarded(name text) returns bigint language plpgsql
as $$ begin return (select coalesce(sum(r.credits), 0) from private.rewards as r where r.user_id = tests.id(name) and r.source = 'community'); end $$;
create function tests.folds() returns integer language plpgsql as $$ begin return private.merge_boards(100000); end $$;
create function tests.shown(name text, challenge text, member text) returns text language sql
as $$ select tests.does(name, format('select c ->> %L from json_array_elements(public.get_community_challenges() -> ''challenges'') as c where c ->> ''id'' = %L', member, tests.challenge(challenge))) $$;
create function tests.differences() returns jsonb language sql
as $$ select coalesce(jsonb_agg(d), '[]') from (
        select private.check_communities() as d union all
        select public.check_user(p.id) from tests.people as p) as x where d <> '[]' $$;

-- Operators ---------------------------------------------------------------------------------------
select is(tests.make('week') ->> 'is_new', 'true', 'an operator makes a challenge');
select is((select a.action || ' ' || (a.details ->> 'challenge_id' = tests.challenge('week')::text) from private.audit_log as a order by a.id desc limit 1),
  'made_community_challenge true', 'which is audited');
select is(tests.token('service', $$select tests.make('x', '{"criteria": {"metric": "daily_streak"}}')$$), '22023 carbon.metric_unknown', 'criteria are checked');
select is(tests.token('service', $$select tests.make('x', '{"end_dat": "2026-01-01"}')$$), '22023 carbon.unknown_field', 'a misspelt member is refused');
select is(tests.outcome('service', $$select tests.make('x', '{"challenge_type": "provincial"}')$$), '23514', 'a provincial challenge names its province');
select is(tests.outcome('service', $$select tests.make('x', '{"milestones": [50]}')$$), '23514', 'the target is a milestone');
select is(tests.token('service', format($$select tests.make('x', jsonb_build_object('end_date', date %L))$$, tests.today() - 1)), 'PT409 carbon.challenge_ended', 'a challenge is not made for the past');
select matches(tests.make('school', '{"challenge_type": "school"}') ->> 'join_code', '^[2-9A-HJKMNP-Z]{8}$', 'a school gets a join code');
select ok((select count(distinct c.board) = count(*) from public.community_challenges as c), 'each challenge has a board of its own');

-- Joining and contributions -------------------------------------------------------------------------
select tests.logs('ann', 3), tests.logs('ann', 4, jsonb_build_object('logged_at', now() - interval '1 day')) \g /dev/null
select is(tests.joins('ghost', 'week'), '42501 carbon.account_required', 'anonymous users cannot join');
select is(tests.joins('ann', 'week'), '3000', 'who joins brings what they logged that day, and nothing of the days before');
select is(tests.joins('ann', 'week'), 'PT409 carbon.challenge_joined', 'joining twice is refused');
select is(tests.joins('ann', 'school'), '42501 carbon.join_code_invalid', 'a school''s challenge needs its code');
select is(tests.does('ann', format('select count(*) from public.community_challenges where id = %L', tests.challenge('school'))), '0', 'and is visible to its participants alone');
select is(tests.joins('ann', 'school', (select lower(substr(c.join_code, 1, 4) || '-' || substr(c.join_code, 5)) from public.community_challenges as c where c.id = tests.challenge('school'))),
  '3000', 'the code may be typed in any way');
select is((select s.communities_until from private.user_state as s where s.user_id = tests.id('ann')), tests.today() + 8, 'the state row knows until when entries count');
select is((select s.communities_until from private.user_state as s where s.user_id = tests.id('bob')), null, 'and that somebody takes part in none');

select tests.make('north', '{"challenge_type": "provincial", "province": "TH-50", "criteria": {"metric": "entries"}}'),
       tests.make('glass', '{"criteria": {"metric": "credits", "category_any_of": ["glass_bottles"]}}'),
       tests.make('air', '{"criteria": {"metric": "co2e_avoided_kg"}, "target_value": 1000000000}') \g /dev/null
select tests.joins('ann', c.name), tests.joins('bob', c.name) from tests.challenges as c where c.name in ('north', 'glass', 'air') \g /dev/null
select tests.joins('bob', 'week') \g /dev/null
select tests.logs('bob', 2, '{"category_id": "glass_bottles", "disposal_method": "recycled"}') as bottle \gset
select tests.logs('ann', 1) \g /dev/null
select is(array[tests.contribution('ann', 'week'), tests.contribution('bob', 'week')], '{4000,2000}', 'grams are added up');
select is(array[tests.contribution('ann', 'north'), tests.contribution('bob', 'north')], '{0,1}', 'in a province''s challenge entries that carry the province count');
select is(array[tests.contribution('ann', 'glass'), tests.contribution('bob', 'glass')],
  array[0, (select e.carbon_credits from public.waste_entries as e where e.id = :'bottle')]::bigint[], 'filters are those of achievements');
select is(tests.contribution('bob', 'air'), (select (e.co2e_avoided_kg * 1000000)::bigint from public.waste_entries as e where e.id = :'bottle'), 'emissions avoided are added up in milligrams');
select is((select array_length(o.communities, 1) from private.outbox as o where o.user_id = tests.id('bob') and o.entries = 1 order by o.id desc limit 1), 4,
  'what an entry contributes rides in its own outbox row');

select tests.does('bob', format('select tests.update_entry(%L, ''{"weight_kg": 5}'')', :'bottle')) \g /dev/null
select is(tests.contribution('bob', 'week'), 5000::bigint, 'an edit moves the contribution');
select tests.does('bob', $$select public.create_waste_entries(json_build_object('entries', jsonb_build_array(tests.entry(1), tests.entry(2))))$$) \g /dev/null
select is(tests.contribution('bob', 'week'), 8000::bigint, 'a batch adds to it');
select tests.does('bob', format('select public.delete_waste_entry(%L)', :'bottle')) \g /dev/null
select is(array[tests.contribution('bob', 'week'), tests.contribution('bob', 'glass')], '{3000,0}', 'a deletion takes it back');
select tests.does('bob', $$select public.migrate_local(jsonb_build_object('waste_entries', jsonb_build_array(tests.entry(9)))::text)$$) \g /dev/null
select is(tests.contribution('bob', 'week'), 3000::bigint, 'imported entries contribute nothing');
select is(tests.logs('bob', 2, jsonb_build_object('logged_at', now() - interval '2 days')) is not null and tests.contribution('bob', 'week') = 3000, true,
  'days before joining do not count, although the challenge runs');
select is(tests.differences(), '[]', 'contributions equal a recomputation, totals with what is pending the contributions');

-- Totals, milestones ------------------------------------------------------------------------------
select is(tests.shown('ann', 'week', 'total'), '0', 'readers pay nothing for pending rows');
select is(tests.shown('ann', 'week', 'own_contribution'), '4000', 'but see their own contribution at once');
select tests.folds() \g /dev/null
select is(array[tests.shown('ann', 'week', 'total'), tests.shown('ann', 'week', 'percent'), tests.shown('ann', 'week', 'participants')],
  '{7000,70,2}', 'the worker folds what everybody contributed');
select is((select array_agg(f.milestone order by f.milestone) from private.community_facts as f where f.challenge_id = tests.challenge('week')), '{25,50}', 'milestones that are reached are facts');
select is((select array_agg(m.event || coalesce(' ' || (m.payload ->> 'milestone'), ' ' || (m.payload ->> 'percent')) order by m.event, m.payload ->> 'milestone')
           from realtime.messages as m where m.topic = 'community:' || tests.challenge('week')),
  '{"community_milestone 25","community_milestone 50","community_progress 70"}', 'and announced, with the progress');
select is(tests.differences(), '[]', 'totals equal the contributions');
select is((select string_agg(concat_ws(' ', r ->> 'province', r ->> 'total', r ->> 'participants', r ->> 'rank'), ', ')
           from json_array_elements(tests.does('ann', format('select public.get_community_leaderboard(%L, ''provinces'')', tests.challenge('week')))::json -> 'leaderboard') as r),
  'TH-10 4000 1 1, TH-50 3000 1 2', 'provinces are ranked by their participants'' contributions');

select tests.logs('bob', 3) as heavy \gset
select tests.folds() \g /dev/null
select is((select array_agg(f.milestone order by f.milestone) from private.community_facts as f where f.challenge_id = tests.challenge('week')), '{25,50,75,100}', 'the target is reached');
select is(tests.rewarded('ann'), 0::bigint, 'rewards are paid by the job');
select is(private.evaluate_community_rewards(2000), 2, 'in slices of participants');
select is(array[tests.rewarded('ann'), tests.rewarded('bob')], '{40,40}', 'to everybody who contributed enough');
select is(private.evaluate_community_rewards(2000), null, 'then nothing is due');
select is(tests.differences(), '[]', 'and everything is as recomputed');

-- "challenge completed" is sent again at each recount: the fact is a row, the message follows its insert.
select count(*) as sent from realtime.messages as m where m.event = 'community_milestone' \gset
select tests.does('bob', format('select public.delete_waste_entry(%L)', :'heavy')), tests.folds(), tests.logs('bob', 3), tests.folds() \g /dev/null
update private.community_totals set total = total + 5000 where challenge_id = tests.challenge('week') and province = 'TH-50';
select is(private.repair_communities() + private.repair_communities(), 1, 'a wrong total is repaired, once');
select tests.logs('ann', 0.5), tests.folds() \g /dev/null
select is((select count(*) from realtime.messages as m where m.event = 'community_milestone'), :'sent'::bigint, 'a milestone is announced once, whatever is counted again');

-- Rewards follow the contribution -----------------------------------------------------------------
select tests.joins('cat', 'week') \g /dev/null
select is(tests.rewarded('cat'), 0::bigint, 'who joins later has contributed nothing yet');
select tests.logs('cat', 1.5) as crossing \gset
select is(tests.rewarded('cat'), 40::bigint, 'and is paid with the entry that suffices');
select tests.does('cat', format('select tests.update_entry(%L, ''{"weight_kg": 0.5}'')', :'crossing')) \g /dev/null
select is(tests.rewarded('cat'), 0::bigint, 'an edit below the minimum takes it back');
select tests.does('cat', format('select tests.update_entry(%L, ''{"weight_kg": 1}'')', :'crossing')) \g /dev/null
select is((select array_agg(r.credits order by r.sequence) from private.rewards as r where r.user_id = tests.id('cat') and r.source = 'community'), '{40,-40,40}', 'and one above it grants it again');

-- The group's total keeps what members who left had given.
select tests.folds() \g /dev/null
select (tests.shown('ann', 'week', 'total'))::bigint as before \gset
select is(tests.leaves('cat', 'week'), 'false', 'a participant leaves');
select tests.folds() \g /dev/null
select is(tests.shown('ann', 'week', 'total')::bigint, :'before'::bigint - 1000, 'and what they gave leaves the total');
select is(tests.rewarded('cat'), 0::bigint, 'and the reward is taken back');
select is(tests.leaves('cat', 'week'), 'PT404 carbon.not_found', 'leaving twice finds nothing');
select is(tests.joins('cat', 'week') || ' ' || tests.rewarded('cat'), '1000 40', 'joining again starts over, with that day''s entries');
select is(tests.differences(), '[]', 'after joining and leaving everything is as recomputed');

-- The reward's query forgets the challenge's dates; moving the start pays again.
select is(tests.token('service', format($$select public.make_community_challenge(jsonb_build_object('id', %L, %L, %L))$$, tests.challenge('week'), m.member, m.value)),
          'PT409 carbon.challenge_has_participants', m.member || ' is fixed once somebody has joined')
from (values ('start_date', '2026-11-01'), ('target_value', '5'), ('credits_reward', '9')) as m (member, value);
select is(tests.outcome('service', format($$select a ->> 'is_new' from public.make_community_challenge(jsonb_build_object('id', %L, 'title_en', 'New')) as a$$, tests.challenge('week'))), 'false', 'texts can change');

-- Boards --------------------------------------------------------------------------------------------
select tests.folds() \g /dev/null
create function tests.board(name text) returns text language sql
as $$ select string_agg(concat_ws(' ', r ->> 'rank', coalesce(r ->> 'display_name', '?'), r ->> 'contribution'), ', ')
      from json_array_elements(tests.does(name, format('select public.get_community_leaderboard(%L)', tests.challenge('week')))::json -> 'leaderboard') as r $$;
select tests.joins('dan', 'week'), tests.folds() \g /dev/null
select is(tests.board('ann'), '1 bob 6000, 2 ann 4500, 3 ? 1000', 'contributors are ranked, masked and hidden as on every board');
select is(tests.board('cat'), '1 bob 6000, 2 ann 4500, 3 cat 1000', 'a masked user sees their own row');
select is(tests.shown('dan', 'week', 'own_rank'), '4', 'a hidden one has a rank');
select tests.does('ann', format('select public.block_user(%L)', tests.id('bob'))) \g /dev/null
select is(tests.board('ann'), '1 ? 6000, 2 ann 4500, 3 ? 1000', 'blocked users have no name to one another');

-- Limits and endings --------------------------------------------------------------------------------
select tests.make('n' || n) from generate_series(1, 19) as n \g /dev/null
select tests.joins('dan', 'n' || n) from generate_series(1, 19) as n \g /dev/null
select is(tests.joins('dan', 'school', (select c.join_code from public.community_challenges as c where c.id = tests.challenge('school'))), 'PT409 carbon.challenges_full', 'twenty running challenges are enough');

select public.cancel_community_challenge(tests.challenge('week'), 'a test'), tests.folds(), private.evaluate_community_rewards(2000) \g /dev/null
select is(array[tests.rewarded('ann'), tests.rewarded('bob'), tests.rewarded('cat')], '{0,0,0}', 'a cancelled challenge takes its rewards back');
select is(tests.joins('ghost', 'week') || ', ' || tests.leaves('cat', 'week'), '42501 carbon.account_required, false', 'a cancelled challenge can be left');
select is(tests.differences(), '[]', 'a cancellation leaves everything as recomputed');

-- Four days ago the challenge ended; its last day to move was yesterday.
create function tests.ended(challenge text, days_ago integer) returns void language plpgsql
as $$
begin
  set local session_replication_role = replica;
  update public.community_challenges as c set start_date = tests.today() - 9, end_date = tests.today() - days_ago where c.id = tests.challenge(challenge);
  update private.participations as p set joined_on = tests.today() - 9 where p.challenge_id = tests.challenge(challenge);
  set local session_replication_role = origin;
  perform private.set_communities(p.id) from tests.people as p;
end;
$$;
select tests.ended('air', 3), public.recompute_user(tests.id('bob')), public.recompute_user(tests.id('ann')) \g /dev/null
select tests.contribution('bob', 'air') as before \gset
select tests.logs('bob', 2, jsonb_build_object('logged_at', now() - interval '4 days')) \g /dev/null
select ok(tests.contribution('bob', 'air') > :'before', 'a late entry counts until three days after the end');
select is(tests.leaves('bob', 'air') || ', ' || tests.joins('cat', 'air'), 'PT409 carbon.challenge_ended, PT409 carbon.challenge_ended', 'after the end nobody joins or leaves');
select tests.ended('air', 5) \g /dev/null
select tests.contribution('bob', 'air') as final \gset
select tests.logs('bob', 2, jsonb_build_object('logged_at', now() - interval '6 days')) \g /dev/null
select is(tests.contribution('bob', 'air'), :'final'::bigint, 'then contributions stay as they are');
select tests.folds(), private.freeze_communities(10) \g /dev/null
select is((select c.final_total from public.community_challenges as c where c.id = tests.challenge('air')), tests.contribution('bob', 'air') + tests.contribution('ann', 'air'), 'and the total is frozen');

-- Merging -------------------------------------------------------------------------------------------
select tests.logs('ghost', 0.5), tests.contribution('ann', 'school') as before \gset
select public.merge_accounts(tests.id('ghost'), tests.id('ann')) \g /dev/null
select is(tests.contribution('ann', 'school'), :'before'::bigint + 500, 'entries of a merged diary count from the day of joining');
select is(tests.differences(), '[]', 'and everything is as recomputed');

-- Deletion ------------------------------------------------------------------------------------------
select (select sum(t.total) from private.community_totals as t where t.challenge_id = tests.challenge('north')) as before \gset
delete from auth.users where id = tests.id('bob');
select tests.folds() \g /dev/null
select is((select count(*) from private.participations as p where p.user_id = tests.id('bob')), 0::bigint, 'a deleted account takes part in nothing');
select is((select sum(t.total) from private.community_totals as t where t.challenge_id = tests.challenge('north')), :'before'::numeric, 'what it gave stays in the total, without a name');
delete from tests.people where name = 'bob';
select is(tests.differences(), '[]', 'and everything equals a recomputation');
select private.rebuild_boards() \g /dev/null
select is(tests.differences(), '[]', 'also after the boards were rebuilt');
select * from finish();
rollback;
