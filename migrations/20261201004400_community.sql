-- Community challenges: what many people reach together in some days, and what each of them contributes.
--
-- Contributions are derived from entries under the participant's own lock; totals are folded from them by the worker
-- alone (private.fold_communities), so no two writers meet in one row: docs/decisions/0047.

create table public.community_challenges (
  id uuid primary key default gen_random_uuid(),
  title_th text not null,
  title_en text not null,
  description_th text not null,
  description_en text not null,
  challenge_type text not null,
  province text,
  join_code text unique,
  criteria jsonb not null,
  target_value bigint not null,
  start_date date not null,
  end_date date not null,
  credits_reward integer not null default 0,
  min_contribution bigint not null default 1,
  milestones integer[] not null default '{25,50,75,100}',
  status text not null default 'active',
  created_by uuid references public.profiles (id) on delete set null,
  created_at timestamptz not null default now(),
  final_total bigint,
  board integer not null unique,
  rule text not null generated always as (carbon.community_rule(criteria)) stored,
  closes_on date not null generated always as (end_date + 3) stored,
  constraint titles_have_1_to_200_characters check (length(title_th) between 1 and 200 and length(title_en) between 1 and 200),
  constraint descriptions_have_1_to_2000_characters check (
    length(description_th) between 1 and 2000 and length(description_en) between 1 and 2000),
  constraint challenge_type_is_national_provincial_or_school check (challenge_type in ('national', 'provincial', 'school')),
  constraint provincial_challenges_name_a_province check (
    (challenge_type = 'provincial') = (province is not null) and (province is null or carbon.is_province(province))),
  constraint school_challenges_have_a_join_code check (
    (challenge_type = 'school') = (join_code is not null) and join_code ~ '^[2-9A-HJKMNP-Z]{8}$'),
  constraint target_value_is_between_1_and_10_to_the_15 check (target_value between 1 and 1000000000000000),
  constraint a_challenge_lasts_1_to_366_days check (end_date - start_date between 0 and 365),
  constraint credits_reward_is_between_0_and_100000 check (credits_reward between 0 and 100000),
  constraint min_contribution_is_positive check (min_contribution between 1 and 1000000000000000),
  constraint milestones_are_percentages_that_end_with_100 check (
    cardinality(milestones) between 1 and 20 and 1 <= all (milestones) and 100 >= all (milestones) and 100 = any (milestones)),
  constraint status_is_active_or_cancelled check (status in ('active', 'cancelled'))
);
comment on table public.community_challenges is
  'Community challenges, made by operators (docs/gamification.md). Once somebody has joined, what decides contributions and rewards is fixed. Challenges of schools are visible to their participants alone.';
comment on column public.community_challenges.province is 'Of a provincial challenge: only entries that carry it count.';
comment on column public.community_challenges.join_code is
  'Of a school''s challenge: 8 signs without 0, 1, I and O that a participant states; not readable by clients.';
comment on column public.community_challenges.criteria is
  '{metric} and filters as in achievements; checked on write (22023 names the invalid member).';
comment on column public.community_challenges.target_value is
  'What all participants reach together, in the unit of the metric: grams for weight_kg, milligrams for co2e_avoided_kg, else entries or credits.';
comment on column public.community_challenges.end_date is 'Last local day that counts; until it ends in Bangkok people may join and leave.';
comment on column public.community_challenges.credits_reward is
  'For every participant with min_contribution once the target is reached.';
comment on column public.community_challenges.min_contribution is 'In the unit of the metric.';
comment on column public.community_challenges.milestones is 'Percentages of the target that are announced when reached; 100 is one of them.';
comment on column public.community_challenges.final_total is
  'The total when contributions stopped moving, three days after end_date; null before.';
comment on column public.community_challenges.board is 'Number of the contributors'' board: carbon.challenge_board(end_date, number).';
comment on column public.community_challenges.rule is 'The criteria in the compact form that is evaluated.';
comment on column public.community_challenges.closes_on is
  'Last day in Bangkok on which late entries, edits and deletions move contributions.';
create index community_challenges_created_by on public.community_challenges (created_by);
create index community_challenges_end_date on public.community_challenges (end_date);
alter table public.community_challenges enable row level security;
grant select (id, title_th, title_en, description_th, description_en, challenge_type, province, criteria, target_value,
              start_date, end_date, credits_reward, min_contribution, milestones, status, created_at, final_total)
  on public.community_challenges to authenticated;
grant select on public.community_challenges to service_role;

create table private.participations (
  challenge_id uuid not null references public.community_challenges (id),
  user_id uuid not null,
  contribution bigint not null default 0,
  province text,
  joined_at timestamptz not null default now(),
  joined_on date not null,
  primary key (challenge_id, user_id)
);
comment on table private.participations is
  'Who takes part in which community challenge. Written under the participant''s lock.';
comment on column private.participations.contribution is
  'The contribution when it was last copied from the participant''s state row, where it moves: see private.contributions.';
comment on column private.participations.province is
  'Province of the profile at joining; the whole contribution counts for it in the sums by province.';
comment on column private.participations.joined_on is 'The day in Bangkok; earlier local days do not count.';
create index participations_user_id on private.participations (user_id);
alter table private.participations enable row level security;

create view private.contributions with (security_invoker = true) as
select p.challenge_id, p.user_id, p.province, p.joined_at, p.joined_on,
       coalesce(s.contributions[array_position(s.community_ids, p.challenge_id)], p.contribution) as contribution
from private.participations as p
left join private.user_state as s on s.user_id = p.user_id;
comment on view private.contributions is
  'What each participant has contributed to a community challenge: the sum over their entries that count, imported ones not, in the unit of the metric; fixed after closes_on.';

create function private.own_participations()
returns table (challenge_id uuid, user_id uuid, contribution bigint, province text, joined_at timestamptz, joined_on date)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select p.challenge_id, p.user_id, p.contribution, p.province, p.joined_at, p.joined_on
  from private.contributions as p
  where p.user_id = auth.uid();
end;
$$;
comment on function private.own_participations() is 'The community challenges that the caller takes part in.';
grant execute on function private.own_participations() to authenticated;

create view public.community_participations with (security_invoker = true) as
select p.challenge_id, p.user_id, p.contribution, p.province, p.joined_at, p.joined_on
from private.own_participations() as p;
comment on view public.community_participations is
  'The community challenges that somebody takes part in, and what they have contributed; own rows only.';
comment on column public.community_participations.contribution is
  'In the unit of the metric: grams, entries, credits or milligrams CO2e.';
comment on column public.community_participations.province is
  'Province of the profile at joining; the whole contribution counts for it in the sums by province.';
comment on column public.community_participations.joined_on is 'The day in Bangkok; earlier local days do not count.';
grant select on public.community_participations to authenticated;

create policy "people read open challenges and those they take part in" on public.community_challenges
  for select to authenticated using (
    challenge_type <> 'school' or id in (select p.challenge_id from private.own_participations() as p));

-- As in …3800_realtime.sql: by equality with the topic of a row that only private functions write.
create policy "participants listen to their community challenges" on realtime.messages
for select to authenticated
using (
  extension = 'broadcast'
  and (select carbon.is_session_live())
  and topic = any (array(select 'community:' || p.challenge_id from private.own_participations() as p))
);

create table private.community_totals (
  challenge_id uuid not null references public.community_challenges (id),
  province text,
  total bigint not null default 0,
  participants bigint not null default 0,
  erased bigint not null default 0,
  constraint community_totals_is_unique unique nulls not distinct (challenge_id, province)
) with (fillfactor = 50);
comment on table private.community_totals is
  'The sums of each community challenge by the participants'' provinces (null = none stated), up to the worker''s position; written by the worker alone.';
comment on column private.community_totals.total is
  'Contributions of participants and of erased accounts, in the unit of the metric.';
comment on column private.community_totals.erased is
  'The part of total from accounts that were deleted; it stays, without anything that points to them.';
alter table private.community_totals enable row level security;
alter table private.community_totals set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create table private.community_facts (
  challenge_id uuid not null references public.community_challenges (id),
  milestone integer not null,
  reached_at timestamptz not null default now(),
  primary key (challenge_id, milestone)
);
comment on table private.community_facts is
  'Milestones that were reached, each once: a fact stays when the total falls again.';
comment on column private.community_facts.milestone is 'Percent of the target.';
alter table private.community_facts enable row level security;

create table private.community_progress (
  challenge_id uuid primary key references public.community_challenges (id),
  is_waiting boolean not null default false,
  sent_at timestamptz not null default '-infinity',
  evaluate_after uuid,
  evaluation integer not null default 0
);
comment on table private.community_progress is
  'What still has to be done for a community challenge: announce its total, evaluate rewards of its participants.';
comment on column private.community_progress.is_waiting is 'The total has changed since community_progress was last sent.';
comment on column private.community_progress.evaluate_after is
  'Participants with a greater id still have to be evaluated; null = everybody is.';
comment on column private.community_progress.evaluation is
  'Counts how often everybody had to be evaluated: when the target was reached, and at a cancellation.';
create index community_progress_is_waiting on private.community_progress (challenge_id) where is_waiting;
create index community_progress_evaluate_after on private.community_progress (challenge_id) where evaluate_after is not null;
alter table private.community_progress enable row level security;
alter table private.community_progress set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create function private.tg_community_challenges__keep_terms()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  -- A participation holds a key-share lock of the challenge from its insertion on, so none can appear in the meantime:
  -- whoever changes a challenge locks its row for update first.
  if exists (select from private.participations as p where p.challenge_id = old.id) then
    perform private.raise_error('carbon.challenge_has_participants', 'PT409');
  end if;
  return new;
end;
$$;
comment on function private.tg_community_challenges__keep_terms() is
  'Row trigger: what decides contributions and rewards is fixed once somebody has joined. Raises PT409 carbon.challenge_has_participants.';
create trigger tg_community_challenges__keep_terms before update on public.community_challenges
  for each row
  when ((old.challenge_type, old.province, old.criteria, old.target_value, old.start_date, old.end_date, old.credits_reward,
         old.min_contribution, old.milestones, old.board)
        is distinct from (new.challenge_type, new.province, new.criteria, new.target_value, new.start_date, new.end_date,
                          new.credits_reward, new.min_contribution, new.milestones, new.board))
  execute function private.tg_community_challenges__keep_terms();
