-- Referrals: who brought whom, and what has come of it (docs/decisions/0050). A referral is derived from the referee's
-- entries until it is closed; then it is a fact. Rewards follow from its status (private.evaluate_referrals).
--
--   redeem ──► pending ──► rewarded ──────────► closed, 30 days after completion
--                │  ▲          │ fewer than 3 days left
--                │  └──────────┘
--                ├──► held ──► rewarded, or completed without a reward: an operator decides
--                └──► expired: 30 days are over, or one of the two accounts is gone

create table private.referral_settings (
  referrer_credits integer not null default 50,
  referee_credits integer not null default 25,
  constraint credits_are_between_0_and_10000 check (referrer_credits between 0 and 10000 and referee_credits between 0 and 10000)
);
comment on table private.referral_settings is
  'A single row: the credits of each side for referrals that are rewarded from now on. Operators change it by SQL.';
alter table private.referral_settings enable row level security;
insert into private.referral_settings default values;

create table private.referral_codes (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  code text not null unique,
  made_at timestamptz not null default now(),
  constraint code_is_normalised check (code = carbon.normalised_code(code, carbon.limit_of('referral_code_signs')))
);
comment on table private.referral_codes is
  'The code that a user passes on to refer others; made once, never changed.';
alter table private.referral_codes enable row level security;

create table private.referrals (
  id uuid primary key default gen_random_uuid(),
  referrer_id uuid references public.profiles (id) on delete set null,
  referee_id uuid unique references public.profiles (id) on delete set null,
  referral_code text,
  status text not null default 'pending',
  time_zone text not null,
  days_done integer not null default 0,
  seen_revision bigint not null default -1,
  held_for text[] not null default '{}',
  decision text,
  referrer_credits integer not null default 0,
  referee_credits integer not null default 0,
  created_at timestamptz not null default now(),
  completed_at timestamptz,
  closed_at timestamptz,
  constraint status_is_one_of_five check (status in ('pending', 'completed', 'rewarded', 'held', 'expired')),
  constraint decision_is_to_pay_or_to_refuse check (decision in ('pay', 'refuse')),
  constraint a_complete_referral_says_since_when check (completed_at is not null or status in ('pending', 'expired')),
  constraint an_end_is_closed check (closed_at is not null or status not in ('completed', 'expired'))
);
comment on table private.referrals is
  'One row per referee, written by redeem_referral and close_referrals. Each side''s id becomes null when the account is deleted.';
comment on column private.referrals.referral_code is 'The code that was redeemed; null once the referrer is deleted.';
comment on column private.referrals.status is
  'pending: not complete. rewarded: complete, both sides hold the reward. held: complete, an operator must decide. completed: complete, an operator refused the reward. expired: never complete, or undone.';
comment on column private.referrals.time_zone is
  'The referee''s zone when they redeemed: it determines the days, so a later preference moves none.';
comment on column private.referrals.days_done is 'Days with entries at seen_revision; 3 complete the referral.';
comment on column private.referrals.seen_revision is
  'The referee''s revision that days_done counts; another one in user_state means that the referral must be derived again.';
comment on column private.referrals.held_for is 'Why an operator must decide: shared_device, many_referees, cap.';
comment on column private.referrals.referrer_credits is 'The referrer''s reward, set when it was rewarded; 0 before.';
comment on column private.referrals.completed_at is 'When the first entry of the third day was created.';
comment on column private.referrals.closed_at is 'From then on no change of entries moves the referral; null = open.';
create index referrals_referrer on private.referrals (referrer_id);
-- The job looks at these each minute.
create index referrals_open on private.referrals (id) where closed_at is null;
create index referrals_held on private.referrals (referrer_id) where status = 'held';
-- Whether accounts share a device is asked when a referral is complete.
create index devices_device_id on public.devices (device_id);
alter table private.referrals enable row level security;

create table private.past_referees (
  subject_hash bytea primary key,
  redeemed_at timestamptz not null default now()
);
comment on table private.past_referees is
  'Keyed hashes (HMAC-SHA-256) of the phone numbers and identities of referees, for 90 days after redeeming, whether the account still exists or not: who deletes it and signs up again cannot be referred again. Names nobody.';
create index past_referees_redeemed_at on private.past_referees (redeemed_at);
alter table private.past_referees enable row level security;
insert into private.secrets (name, value) values ('past_referees', extensions.gen_random_bytes(32));

alter table private.person_counters
  add column redeem_hour_began timestamptz not null default '-infinity',
  add column redeems_in_hour integer not null default 0;
comment on column private.person_counters.redeems_in_hour is 'Codes tried since redeem_hour_began, wrong ones included.';

-- Derivation ------------------------------------------------------------------------------------
create function private.referral_days(referral private.referrals, out days integer, out completed_at timestamptz)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  select count(*), (array_agg(d.first_at order by d.first_at))[carbon.limit_of('referral_days')]
  into days, completed_at
  from (
    select min(e.created_at) as first_at
    from public.waste_entries as e
    where e.user_id = referral.referee_id and e.batch_id is null
      and e.created_at >= referral.created_at
      and e.created_at < referral.created_at + make_interval(days => carbon.limit_of('referral_window_days'))
    group by carbon.local_date(e.created_at, referral.time_zone)) as d;
end;
$$;
comment on function private.referral_days(private.referrals) is
  'On how many days, in the zone of the referral, the referee has created entries within 30 days of redeeming (imported ones do not count, nor does the time that an entry states), and when the third day began, null before.';

create function private.referral_hold_reasons(referral private.referrals)
returns text[]
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return (
    with sharing as materialized (
      select distinct o.user_id
      from public.devices as d
      join public.devices as o on o.device_id = d.device_id and o.user_id <> d.user_id
      where d.user_id = referral.referee_id
    ), rewarded as materialized (
      select r.completed_at from private.referrals as r
      where r.referrer_id = referral.referrer_id and r.status = 'rewarded' and r.id <> referral.id
    )
    select array_remove(array[
      case when exists (select from sharing as s where s.user_id = referral.referrer_id)
             or (select count(*) from sharing as s join private.referrals as r on r.referee_id = s.user_id)
                >= carbon.limit_of('referees_of_a_device') then 'shared_device' end,
      case when (select count(*) from rewarded as w where w.completed_at > now() - interval '30 days')
                >= carbon.limit_of('rewarded_referrals_in_30_days') then 'many_referees' end,
      case when (select count(*) from rewarded) >= carbon.limit_of('rewarded_referrals') then 'cap' end], null));
end;
$$;
comment on function private.referral_hold_reasons(private.referrals) is
  'Why an operator must look at a complete referral before it is paid: the referee shares a device with the referrer or with 3 other referees, more than 10 of the referrer''s referrals were rewarded in 30 days, or 50 in all. The caller holds the referrer''s lock.';

create function private.derive_referral(referral_id uuid)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  r private.referrals;
  done record;
  revision bigint;
  is_complete boolean;
  is_fact boolean;
begin
  select o.* into r from private.referrals as o where o.id = referral_id and o.closed_at is null for update;
  if not found then
    return;
  end if;
  done := private.referral_days(r);
  revision := (select s.revision from private.user_state as s where s.user_id = r.referee_id);
  is_complete := done.completed_at is not null;
  is_fact := is_complete and done.completed_at + make_interval(days => carbon.limit_of('referral_window_days')) <= now();
  if is_complete and r.status = 'pending' and r.decision is null then
    r.held_for := private.referral_hold_reasons(r);
  end if;
  r.status := case
    when not is_complete and r.created_at + make_interval(days => carbon.limit_of('referral_window_days')) <= now() then 'expired'
    when not is_complete then 'pending'
    when r.decision = 'refuse' then 'completed'
    when r.status = 'rewarded' or r.decision = 'pay' or r.held_for = '{}' then 'rewarded'
    else 'held' end;
  update private.referrals as o
  set status = r.status, days_done = done.days, completed_at = done.completed_at, seen_revision = coalesce(revision, -1),
      held_for = case when r.status = 'pending' then '{}' else r.held_for end,
      referrer_credits = case when r.status = 'rewarded' and o.status <> 'rewarded' then s.referrer_credits else o.referrer_credits end,
      referee_credits = case when r.status = 'rewarded' and o.status <> 'rewarded' then s.referee_credits else o.referee_credits end,
      closed_at = case when is_fact or r.status in ('completed', 'expired') then now() end
  from private.referral_settings as s
  where o.id = r.id;
end;
$$;
comment on function private.derive_referral(uuid) is
  'Derives an open referral from the referee''s entries, and closes it if nothing can move it any more. The caller holds the locks of both users and evaluates their rewards afterwards.';

create function private.evaluate_referrals(user_ids uuid[])
returns private.reward_evaluation[]
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return array(
    select (s.user_id, 'referral', s.id::text, s.status = 'rewarded', s.credits, null)::private.reward_evaluation
    from (
      select r.referrer_id as user_id, r.id, r.status, r.referrer_credits as credits
      from private.referrals as r where r.referrer_id = any (user_ids)
      union all
      select r.referee_id, r.id, r.status, r.referee_credits
      from private.referrals as r where r.referee_id = any (user_ids)) as s);
end;
$$;
comment on function private.evaluate_referrals(uuid[]) is
  'Which rewards these users have by their referrals, on either side: a referral is an outside fact for the ledger, rewarded or not.';

create function private.check_referrals(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  -- Those that the job has not seen since the last write are not compared.
  return (
    select coalesce(jsonb_agg(jsonb_build_object('what', 'referrals ' || r.id, 'expected', to_jsonb(d), 'found', jsonb_build_object(
      'days', r.days_done, 'completed_at', r.completed_at))), '[]')
    from private.referrals as r
    join private.user_state as s on s.user_id = r.referee_id and s.revision = r.seen_revision
    cross join lateral private.referral_days(r) as d
    where r.referee_id = p_user_id and r.closed_at is null
      and (d.days, d.completed_at, d.completed_at is not null)
          is distinct from (r.days_done, r.completed_at, r.status <> 'pending'));
end;
$$;
comment on function private.check_referrals(uuid) is
  'Differences between this user''s open referral (as a referee) and their entries.';

-- Deletion --------------------------------------------------------------------------------------
create function private.tg_referrals__end_with_account()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if new.referrer_id is null then
    new.referral_code := null;
  end if;
  if new.closed_at is null or new.status = 'held' then
    -- A reward stays with the other side.
    new.status := case when new.status = 'rewarded' then 'rewarded' else 'expired' end;
    new.closed_at := now();
  end if;
  return new;
end;
$$;
comment on function private.tg_referrals__end_with_account() is
  'Row trigger: a referral of which one side''s account was deleted is closed; it expires unless it was rewarded.';
create trigger tg_referrals__end_with_account before update on private.referrals
  for each row when (num_nulls(new.referrer_id, new.referee_id) > num_nulls(old.referrer_id, old.referee_id))
  execute function private.tg_referrals__end_with_account();
