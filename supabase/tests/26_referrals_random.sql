-- Referrals after any order of redeeming, logging, importing, deleting, ageing, leaving and runs of the job: each has the
-- status and the ledger that a count of the entries by another way gives.
begin;
\ir helpers.psql
select plan(4);
select tests.act_as_operator() \g /dev/null
select setseed(coalesce(nullif(current_setting('carbon.test_seed', true), '')::double precision, 0.424242)) \g /dev/null
select tests.sign_up('r' || n, ('c2000000-0000-4000-8000-0000000000' || lpad(n::text, 2, '0'))::uuid) from generate_series(1, 14) as n \g /dev/null
update public.profiles as p set created_at = now() - make_interval(mins => 14 - n) from generate_series(1, 14) as n where p.id = tests.id('r' || n);
update public.user_preferences as c set time_zone = (array['Asia/Tokyo', 'America/Los_Angeles', 'Pacific/Kiritimati'])[1 + n % 3]
from generate_series(1, 14) as n where c.user_id = tests.id('r' || n) and n % 2 = 0;

create table tests.facts (id uuid primary key, status text);
create function tests.any_of(prefix text) returns uuid language sql
as $$ select p.id from tests.people as p join public.profiles as u on u.id = p.id where p.name like prefix || '%' order by random() limit 1 $$;
create function tests.step() returns text language plpgsql
as $$
declare
  what integer := floor(random() * 100);
  who uuid := tests.any_of('r');
  whom uuid := tests.any_of('r');
begin
  perform set_config('request.jwt.claims', json_build_object('sub', who, 'role', 'authenticated')::text, true);
  case
    when what < 15 then
      perform set_config('request.jwt.claims', json_build_object('sub', whom, 'role', 'authenticated')::text, true);
      perform public.generate_referral_code();
      perform set_config('request.jwt.claims', json_build_object('sub', who, 'role', 'authenticated')::text, true);
      perform public.redeem_referral((select c.code from private.referral_codes as c where c.user_id = whom));
    when what < 55 then
      insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, logged_at, created_at, batch_id)
      select who, 'food_waste', 'composted', 1 + n, 'Asia/Bangkok', now() - random() * interval '50 days',
             now() - random() * interval '40 days', case when random() < 0.2 then gen_random_uuid() end
      from generate_series(1, 1 + floor(random() * 3)::integer) as n;
    when what < 75 then
      delete from public.waste_entries as e where e.user_id = who and random() < 0.4;
    when what < 80 then
      update public.waste_entries as e set weight_kg = 2 where e.user_id = who;
    when what < 85 then
      -- Some days pass for a referral.
      update private.referrals as r set created_at = r.created_at - random() * interval '12 days', seen_revision = -1
      where r.referee_id = who and r.closed_at is null;
    when what < 87 then
      update public.user_preferences set time_zone = 'Asia/Kolkata' where user_id = who;
    when what < 88 then
      delete from auth.users where id = who;
    else
      perform public.close_referrals(1 + floor(random() * 5)::integer);
  end case;
  insert into tests.facts select r.id, r.status from private.referrals as r where r.closed_at is not null on conflict do nothing;
  return null;
end;
$$;
select tests.step() from generate_series(1, 700) \g /dev/null
select tests.act_as_operator() \g /dev/null
select public.close_referrals(1000) \g /dev/null
insert into tests.facts select r.id, r.status from private.referrals as r where r.closed_at is not null on conflict do nothing;

select tests.all_right();
select is((select count(*)::integer from private.referrals as r join tests.facts as f using (id) where r.status <> f.status), 0, 'what is closed stays as it is');
-- Days by arithmetic on the clock of the zone, not by carbon.local_date.
select is((
  select jsonb_agg(jsonb_build_array(r.id, r.status, c.days))
  from private.referrals as r
  cross join lateral (
    select count(distinct date_trunc('day', e.created_at at time zone r.time_zone)) as days
    from public.waste_entries as e
    where e.user_id = r.referee_id and e.batch_id is null and e.created_at >= r.created_at and e.created_at < r.created_at + interval '720 hours') as c
  where r.closed_at is null and r.status is distinct from case when c.days >= 3 then 'rewarded' else 'pending' end), null, 'an open referral is rewarded from three days on');
select is((
  select jsonb_agg(jsonb_build_array(p.name, c.expected, c.net))
  from tests.people as p
  join public.profiles as u on u.id = p.id
  cross join lateral (
    select coalesce((select sum(l.credits) from private.rewards as l where l.user_id = p.id and l.source = 'referral'), 0) as net,
           50 * (select count(*) from private.referrals as r where r.referrer_id = p.id and r.status = 'rewarded')
           + 25 * (select count(*) from private.referrals as r where r.referee_id = p.id and r.status = 'rewarded') as expected) as c
  where c.net <> c.expected), null, 'the ledger has exactly the rewarded ones');
select finish();
rollback;
