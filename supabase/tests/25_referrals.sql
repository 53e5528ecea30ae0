-- Referrals: who may refer whom, what completes and undoes a referral, who is paid, and what a deletion leaves.
begin;
\ir helpers.psql
select plan(66);
select tests.act_as_operator() \g /dev/null
select tests.sign_up(c.name, ('c1000000-0000-4000-8000-0000000000' || c.id)::uuid, c.name = 'ghost')
from (values ('old', '0a'), ('new', '0b'), ('new2', '0c'), ('newest', '0d'), ('ghost', '0e'), ('late', '0f'), ('blocker', '10'), ('shy', '11')) as c (name, id) \g /dev/null
update public.profiles as p set created_at = now() - a.age
from (values ('old', interval '400 days'), ('new', interval '13 days'), ('new2', interval '12 days'), ('newest', interval '1 day'),
             ('late', interval '15 days'), ('blocker', interval '300 days'), ('shy', interval '5 days')) as a (name, age)
where p.id = tests.id(a.name);

create function tests.code_of(name text) returns text language sql
as $$ select tests.does(name, 'select public.generate_referral_code() ->> ''code''') $$;
create function tests.redeems(name text, code text) returns text language plpgsql
as $$
declare
  answer text := tests.does(name, format('select public.redeem_referral(%L)', code));
begin
  return case when answer like '{%' then
    coalesce(answer::jsonb ->> 'status', current_setting('response.status', true) || ' ' || (answer::jsonb ->> 'details')) else answer end;
end;
$$;
-- Entries created that many days ago.
create function tests.logs(name text, variadic ages integer[]) returns void language sql
as $$
  insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, logged_at, created_at)
  select tests.id(name), 'food_waste', 'composted', 1, 'Asia/Bangkok', now() - interval '40 days', now() - make_interval(days => a.age)
  from unnest(ages) as a (age)
$$;
create function tests.status_of(name text) returns text language plpgsql
as $$ begin return (select r.status || case when r.closed_at is not null then ' closed' else '' end from private.referrals as r where r.referee_id = tests.id(name)); end $$;
create function tests.earned(name text) returns text language plpgsql
as $$ begin return (select public.check_user(tests.id(name))::text || ' ' || coalesce(sum(l.credits), 0) from private.rewards as l where l.user_id = tests.id(name) and l.source = 'referral'); end $$;
create function tests.closed() returns void language plpgsql
as $$ begin while not (public.close_referrals() ->> 'finished')::boolean loop null; end loop; end $$;
create function tests.ages(name text, age interval) returns void language sql
as $$ update private.referrals as r set created_at = now() - age where r.referee_id = tests.id(name) $$;

-- Codes -----------------------------------------------------------------------------------------
select matches(tests.code_of('old'), '^[2-9A-HJKMNP-Z]{8}$', 'a code has eight clear signs');
select is(tests.code_of('old'), tests.code_of('old'), 'and stays the same');
select is(tests.code_of('ghost'), '42501 carbon.account_required', 'an anonymous user has none');
select tests.code_of('new'), tests.code_of('blocker'), tests.code_of('newest') \g /dev/null

-- Refusals --------------------------------------------------------------------------------------
select is(tests.redeems('new', 'ABCD2345'), '404 carbon.not_found', 'an unknown code is not found');
select is(tests.redeems('new', null), '404 carbon.not_found', 'nor is none');
select is(tests.redeems('new', tests.code_of('new')), '409 carbon.self_referral', 'nobody refers themselves');
select is(tests.redeems('ghost', tests.code_of('old')), '42501 carbon.account_required', 'an anonymous user is not referred');
select is(tests.redeems('late', tests.code_of('old')), '409 carbon.account_too_old', 'nor one who signed up more than 14 days ago');
select is(tests.redeems('new', tests.code_of('newest')), '409 carbon.referral_order', 'a younger account refers nobody');
update public.profiles set created_at = (select p.created_at from public.profiles as p where p.id = tests.id('new')) where id = tests.id('shy');
select tests.code_of('shy') \g /dev/null
select is(tests.redeems('new', tests.code_of('shy')), '409 carbon.referral_order', 'nor does one of the same age: rings are impossible');
insert into public.user_blocks (blocker_id, blocked_id) values (tests.id('blocker'), tests.id('new'));
select is(tests.redeems('new', tests.code_of('blocker')), '404 carbon.not_found', 'a code of somebody who blocks the caller does not exist');
update public.profiles set is_anonymous = true where id = tests.id('old');
select is(tests.redeems('new', (select c.code from private.referral_codes as c where c.user_id = tests.id('old'))), '403 carbon.account_required', 'a referrer without an account refers nobody');
update public.profiles set is_anonymous = false where id = tests.id('old');
update public.profiles set closed_until = 'infinity' where id = tests.id('old');
select is(tests.redeems('new', (select c.code from private.referral_codes as c where c.user_id = tests.id('old'))), '404 carbon.not_found', 'a closed one does not exist');
update public.profiles set closed_until = null where id = tests.id('old');
select is((select c.redeems_in_hour from private.person_counters as c where c.user_id = tests.id('new')), 8, 'refused tries are counted');
select is(tests.redeems('new', lower(overlay(tests.code_of('old') placing '-' || substr(tests.code_of('old'), 4, 1) from 4 for 1))), 'pending', 'case and dashes do not matter');
select is(tests.redeems('new', tests.code_of('old')), '409 carbon.already_redeemed', 'one code a person');
select is(tests.redeems('new', tests.code_of('old')), 'PT429 carbon.redeems_per_hour', 'ten tries an hour');

-- Completion ------------------------------------------------------------------------------------
select is(tests.does('new', 'select public.get_referral_stats() -> ''redeemed'' ->> ''days_done'''), '0', 'nothing is done yet');
select tests.ages('new', '20 days'), tests.logs('new', 21, 19, 19) \g /dev/null
select is(tests.does('new', 'select public.get_referral_stats() -> ''redeemed'' ->> ''days_done'''), '1', 'one day counts once, and none before redeeming, whatever time the entry states');
select is((select r.days_done from private.referrals as r where r.referee_id = tests.id('new')), 0, 'a write changes nothing of the referral');
select tests.closed() \g /dev/null
select is((select r.days_done from private.referrals as r where r.referee_id = tests.id('new')), 1, 'the job takes it up');
select is(tests.status_of('new'), 'pending', 'a day is not enough');
select is(tests.does('new', $$select public.migrate_local('{"waste_entries": [{"category_id": "food_waste", "disposal_method": "composted", "weight_kg": 1, "logged_at": "2026-01-01T00:00:00Z"}, {"category_id": "food_waste", "disposal_method": "composted", "weight_kg": 2, "logged_at": "2026-01-02T00:00:00Z"}]}') ->> 'migrated_entries'$$), '2', 'an import of several days');
select tests.logs('new', 18), tests.closed() \g /dev/null
select is(tests.status_of('new'), 'pending', 'does not count');
select tests.logs('new', 17), tests.closed() \g /dev/null
select is(tests.status_of('new'), 'rewarded', 'three days complete it');
select is(tests.earned('old') || ', ' || tests.earned('new'), '[] 50, [] 25', 'both sides are paid');
update private.referrals set seen_revision = -1 where true;
select tests.closed() \g /dev/null
select is(tests.earned('old') || ', ' || tests.earned('new'), '[] 50, [] 25', 'once, however often it is derived');
select is(tests.does('old', 'select public.get_referral_stats() - ''code'''), '{"held": 0, "invited": 1, "pending": 0, "redeemed": null, "completed": 1, "credits_earned": 50}', 'the referrer sees sums and nobody');
select is((select h.name_en from (select tests.act_as('old')) as a, public.credit_history as h where h.source = 'referral'), 'Referral', 'the history names it');
select tests.act_as_operator() \g /dev/null

-- Deletions of entries ----------------------------------------------------------------------------
delete from public.waste_entries as e where e.user_id = tests.id('new') and e.created_at > now() - interval '18 days' and e.batch_id is null;
select is(tests.earned('old'), '[] 50', 'until the job runs, the reward stays');
select tests.closed() \g /dev/null
select is(tests.status_of('new') || ' ' || tests.earned('old') || ', ' || tests.earned('new'), 'pending [] 0, [] 0', 'fewer than three days undo it');
select tests.logs('new', 16), tests.closed() \g /dev/null
select is(tests.status_of('new') || ' ' || tests.earned('old') || ', ' || tests.earned('new'), 'rewarded [] 50, [] 25', 'and a new third day completes it again');
update public.user_preferences set time_zone = 'Pacific/Kiritimati' where user_id = tests.id('new');
update private.referrals set seen_revision = -1 where true;
select tests.closed() \g /dev/null
select is(tests.status_of('new'), 'rewarded', 'a later time zone moves no day');
update public.waste_entries as e set created_at = e.created_at - interval '31 days' where e.user_id = tests.id('new');
select tests.ages('new', '60 days'), tests.closed() \g /dev/null
select is(tests.status_of('new'), 'rewarded closed', '30 days after completion it is a fact');
delete from public.waste_entries as e where e.user_id = tests.id('new');
select tests.closed() \g /dev/null
select is(tests.status_of('new') || ' ' || tests.earned('old'), 'rewarded closed [] 50', 'that no deletion undoes');
select is(tests.redeems('new2', tests.code_of('old')), 'pending', 'one code, many referees');
select tests.ages('new2', '31 days'), tests.closed() \g /dev/null
select is(tests.status_of('new2'), 'expired closed', '30 days without three days end it');

-- Held cases --------------------------------------------------------------------------------------
select is(tests.redeems('newest', tests.code_of('old')), 'pending', 'another referee');
insert into public.devices (user_id, device_id) values (tests.id('newest'), 'tablet'), (tests.id('old'), 'tablet');
select tests.ages('newest', '10 days'), tests.logs('newest', 9, 8, 7), tests.closed() \g /dev/null
select is(tests.status_of('newest') || ' ' || tests.earned('old'), 'held [] 50', 'who shares a device with the referrer is held, not paid');
select tests.act_as('service') \g /dev/null
select is((select h.held_for || array[h.rewarded_referrals::text] from public.held_referrals() as h where h.referee_id = tests.id('newest')), '{shared_device,1}', 'operators see why');
select is((select f.signals from public.farmed_accounts() as f where f.user_id = tests.id('old')), '{held_referrals}', 'also in the report of farmed accounts');
select tests.act_as_operator() \g /dev/null
create function tests.decides(name text, decision text, reason text default 'A family.') returns text language sql
as $$ select tests.does('service', format('select public.decide_referral(%L, %L, %L, ''nok'') ->> ''changed''',
  coalesce((select r.id from private.referrals as r where r.referee_id = tests.id(name)), gen_random_uuid()), decision, reason)) $$;
select is(tests.decides('newest', 'perhaps'), '22023 carbon.decision_invalid', 'a decision is to pay or to refuse');
select is(tests.decides('newest', 'pay', ''), '22023 carbon.reason_invalid', 'with a reason');
select is(tests.decides('ghost', 'pay'), 'PT404 carbon.not_found', 'about a referral that exists');
select is(tests.decides('new', 'refuse'), 'PT409 carbon.referral_not_held', 'and is held');
select is(tests.decides('newest', 'pay'), 'true', 'an operator pays it');
select is(tests.status_of('newest') || ' ' || tests.earned('old') || ', ' || tests.earned('newest'), 'rewarded [] 100, [] 25', 'which pays both sides at once');
select is(tests.decides('newest', 'pay'), 'false', 'again changes nothing');
select is((select count(*)::integer from private.audit_log as a where a.action = 'referral_decided' and a.details ->> 'operator' = 'nok' and a.subject = tests.id('newest')), 2, 'decisions are audited');
select tests.sign_up('third', 'c1000000-0000-4000-8000-000000000013') \g /dev/null
insert into public.devices (user_id, device_id) values (tests.id('third'), 'phone'), (tests.id('new'), 'phone'), (tests.id('new2'), 'phone'), (tests.id('newest'), 'phone');
select is(tests.redeems('third', tests.code_of('blocker')), 'pending', 'a referee of somebody else');
select tests.ages('third', '10 days'), tests.logs('third', 9, 8, 7), tests.closed() \g /dev/null
select is(tests.status_of('third'), 'held', 'who shares a device with three other referees is held');
select is(tests.decides('third', 'refuse') || ' ' || tests.status_of('third') || ' ' || tests.earned('blocker'), 'true completed closed [] 0', 'a refusal is final and pays nobody');
insert into private.referrals (referrer_id, status, time_zone, completed_at, closed_at)
select tests.id('blocker'), 'rewarded', 'Asia/Bangkok', now() - interval '5 days', now() from generate_series(1, 10);
select tests.sign_up('fourth', 'c1000000-0000-4000-8000-000000000014') \g /dev/null
select is(tests.redeems('fourth', tests.code_of('blocker')), 'pending', 'the eleventh');
select tests.ages('fourth', '10 days'), tests.logs('fourth', 9, 8, 7), tests.closed() \g /dev/null
select is((select r.status || ' ' || r.held_for::text from private.referrals as r where r.referee_id = tests.id('fourth')), 'held {many_referees}', 'after ten rewarded in 30 days an operator decides');

-- Sharing -----------------------------------------------------------------------------------------
select is(tests.does('old', 'select public.get_share_card(''referral'') ->> ''id'''), tests.code_of('old'), 'a card of the own code');
select is(tests.does('late', 'select public.get_share_card(''referral'')'), 'PT404 carbon.not_found', 'only where there is one');
select is(tests.does('new', 'select public.get_share_card(''achievement'', ''first_scan'')'), 'PT404 carbon.not_found', 'an achievement that was lost is not shared');
select is(tests.does('third', 'select public.get_share_card(''achievement'', ''first_scan'') ->> ''kind'''), 'achievement', 'one that is held is');
select is(tests.does('third', 'select public.get_share_card(''milestone'', ''level-5'')'), 'PT404 carbon.not_found', 'nor is a level that was not reached');

-- Deletion ------------------------------------------------------------------------------------------
delete from auth.users where id in (tests.id('newest'), tests.id('fourth'));
select is(tests.earned('old'), '[] 100', 'a reward stays when the referee is deleted');
select is((select string_agg(r.status, ',') from private.referrals as r where r.referrer_id = tests.id('blocker') and r.closed_at is not null and r.status = 'expired'), 'expired', 'a held one ends');
select tests.sign_up('again', 'c1000000-0000-4000-8000-000000000015') \g /dev/null
update public.profiles set phone_number = (select u.phone_number from public.profiles as u where u.id = tests.id('third')) where id = tests.id('again');
select is(tests.redeems('again', tests.code_of('old')), '409 carbon.referral_reused', 'the same number is not referred again within 90 days');
select tests.sign_up('by_line', 'c1000000-0000-4000-8000-000000000016'), tests.sign_up('by_line2', 'c1000000-0000-4000-8000-000000000017') \g /dev/null
insert into private.identities (provider, subject, user_id) values ('line', 'U-referrals', tests.id('by_line'));
select is(tests.redeems('by_line', tests.code_of('old')), 'pending', 'who signs in by a provider is referred');
update private.identities set user_id = tests.id('by_line2') where subject = 'U-referrals';
select is(tests.redeems('by_line2', tests.code_of('old')), '409 carbon.referral_reused', 'the same identity of another account is not');
create table tests.codes as select c.code from private.referral_codes as c join tests.people as p on p.id = c.user_id;
delete from auth.users where id in (select p.id from tests.people as p);
select is((select count(*)::integer from private.referrals as r join tests.codes as c on c.code = r.referral_code), 0, 'everybody can be deleted');
select private.drop_past_referees(1000) \g /dev/null
select is((select count(*)::integer from private.referrals as r where r.referrer_id is null and r.referee_id is null), 0, 'and nothing of a referral remains');
select finish();
rollback;
