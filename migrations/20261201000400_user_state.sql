-- Derived data that saves readers from adding up entries: the state of a user, in one row, and sums by day.

create type private.community_terms as (
  board integer,
  province text,
  rule text,
  first_day date,
  last_day date,
  only_province text,
  closes_on date,
  min_contribution bigint
);
comment on type private.community_terms is
  'What decides a user''s contribution to a community challenge, as carbon.contribution takes it (rule, first and last day, '
  'only province), and the contributors'' board, the province that it counts for, the last day on which it moves, and what '
  'a reward needs.';

create table private.user_state (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  entries bigint not null default 0,
  grams bigint not null default 0,
  credits bigint not null default 0,
  co2e_mg bigint not null default 0,
  co2e_avoided_mg bigint not null default 0,
  tally bytea not null default '',
  rewards bigint not null default 0,
  level integer not null default 1,
  achievements text[] not null default '{}',
  ledger_rows bigint not null default 0,
  rules_version bigint not null default 0,
  revision bigint not null default 0,
  last_change_at timestamptz,
  days_closed_through date not null default '1970-01-01',
  first_open_day date,
  latest_day date,
  latest_challenges text[] not null default '{}',
  current_run integer not null default 0,
  longest_run integer not null default 0,
  plastic_free_days integer not null default 0,
  window_started_at timestamptz not null default '-infinity',
  window_rows integer not null default 0,
  day_started_at timestamptz not null default '-infinity',
  day_rows integer not null default 0,
  time_zone text not null default carbon.default_time_zone(),
  province text,
  began date not null,
  closed_until timestamptz,
  communities_until date,
  community_ids uuid[],
  community_terms private.community_terms[],
  contributions bigint[]
-- Every write of the user updates this row. Half of each page stays free and no changing column is indexed, so the
-- update is a HOT update: same page, no index writes.
) with (fillfactor = 50);
comment on table private.user_state is
  'Everything about a user that a write of entries reads and changes, in one row: sums, rewards held, runs '
  'of days, rate windows, and profile values copied to new entries. Always equal to a recomputation. The row '
  'is also the user''s lock: every writer of entries takes it first.';
comment on column private.user_state.grams is 'Weight of all entries, grams.';
comment on column private.user_state.credits is
  'Credits of the entries alone; may be negative. The user''s total is credits + rewards.';
comment on column private.user_state.co2e_mg is 'Sum of the entries'' rounded figures, milligrams CO2e.';
comment on column private.user_state.co2e_avoided_mg is
  'Sum of the entries'' rounded figures, milligrams CO2e avoided compared with disposal.';
comment on column private.user_state.tally is 'Entries and grams by category and method; carbon.tally_rows() shows them.';
comment on column private.user_state.rewards is 'Net credits of the user''s reward ledger.';
comment on column private.user_state.level is 'Level of the total, equal to the newest level row of the ledger.';
comment on column private.user_state.achievements is 'Ids of the achievements currently held, sorted.';
comment on column private.user_state.ledger_rows is 'Number of the newest row of the user''s reward ledger.';
comment on column private.user_state.rules_version is
  'Version of the achievement rules by which the user was last evaluated.';
comment on column private.user_state.revision is 'Number of the user''s newest entry change; revisions are gapless.';
comment on column private.user_state.days_closed_through is
  'Last closed local day; rules about whole days only consider closed days. Never moves back.';
comment on column private.user_state.first_open_day is
  'First day with entries after days_closed_through; null = none.';
comment on column private.user_state.latest_day is 'Last day with entries; null = none.';
comment on column private.user_state.latest_challenges is
  'Ids of the challenges of latest_day that are held, sorted.';
comment on column private.user_state.current_run is 'Consecutive days with entries, ending on latest_day.';
comment on column private.user_state.longest_run is 'Longest run of consecutive days with entries.';
comment on column private.user_state.plastic_free_days is
  'Days up to days_closed_through that have entries, none of them plastic that was thrown away or recycled.';
comment on column private.user_state.window_rows is
  'Rows written by clients since window_started_at; the window restarts after an hour.';
comment on column private.user_state.day_rows is
  'Rows added by clients since day_started_at, imports included; the window restarts after 24 hours.';
comment on column private.user_state.time_zone is 'Copy of the preference, or the default; maintained by triggers.';
comment on column private.user_state.province is 'Copy of the profile''s province; maintained by a trigger.';
comment on column private.user_state.began is
  'Day in Bangkok on which the profile was created; earlier days have no challenges.';
comment on column private.user_state.closed_until is 'Copy of the profile''s province; maintained by a trigger.';
comment on column private.user_state.community_ids is
  'The community challenges that the user takes part in and whose contributions moved when they last joined or left one; null = none.';
comment on column private.user_state.community_terms is 'Parallel to community_ids; copied from the challenges, where they are fixed.';
comment on column private.user_state.contributions is
  'Parallel to community_ids: what the user''s entries have contributed. In this row, so that a counted entry writes no other.';
comment on column private.user_state.communities_until is
  'Last day on which an entry can move one of the user''s contributions to community challenges; null = they take part in none. So a write of anybody else looks no further.';

alter table private.user_state enable row level security;
create policy "people read their own state" on private.user_state
  for select to authenticated using (user_id = (select auth.uid()));
grant select (user_id, entries, grams, credits, co2e_mg, co2e_avoided_mg, rewards, level, achievements, revision,
              last_change_at, latest_day, current_run, longest_run, time_zone) on private.user_state to authenticated, service_role;

create view public.user_totals with (security_invoker = true) as
select s.user_id, s.entries, s.grams * 0.001 as weight_kg, s.credits, s.co2e_mg * 0.000001 as co2e_kg,
       s.co2e_avoided_mg * 0.000001 as co2e_avoided_kg, s.rewards, s.level, s.achievements, s.revision, s.last_change_at
from private.user_state as s;
comment on view public.user_totals is
  'Sums over all entries of a user and the rewards they hold; own row only.';
comment on column public.user_totals.weight_kg is 'Kilograms, exact.';
comment on column public.user_totals.credits is
  'Credits of the entries alone; may be negative. The user''s total is credits + rewards.';
comment on column public.user_totals.co2e_kg is 'Sum of the entries'' rounded figures, kilograms CO2e.';
comment on column public.user_totals.co2e_avoided_kg is
  'Sum of the entries'' rounded figures, kilograms CO2e avoided compared with disposal.';
comment on column public.user_totals.rewards is 'Net credits of the user''s reward ledger.';
comment on column public.user_totals.achievements is 'Ids of the achievements currently held, sorted.';
comment on column public.user_totals.revision is 'Number of the user''s newest entry change; revisions are gapless.';
grant select on public.user_totals to authenticated, service_role;

create function private.lock_user(p_user_id uuid)
returns void
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  perform from private.user_state as s where s.user_id = p_user_id for no key update;
end;
$$;
comment on function private.lock_user(uuid) is
  'Locks a user''s state row until the end of the transaction. Call it before changing profile or preferences, in the same lock order as writers of entries.';

create function private.tg_profiles__copy_to_state()
returns trigger
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  update private.user_state as s
  set province = new.province, closed_until = new.closed_until,
      began = carbon.local_date(new.created_at, carbon.default_time_zone())
  where s.user_id = new.id;
  return null;
end;
$$;
comment on function private.tg_profiles__copy_to_state() is
  'Row trigger: copies profile values to the user''s state.';
create trigger tg_profiles__copy_to_state after update of province, closed_until, created_at on public.profiles
  for each row when ((old.province, old.closed_until, old.created_at) is distinct from (new.province, new.closed_until, new.created_at))
  execute function private.tg_profiles__copy_to_state();

create function private.tg_user_preferences__copy_to_state()
returns trigger
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  update private.user_state as s set time_zone = coalesce(new.time_zone, carbon.default_time_zone())
  where s.user_id = new.user_id;
  return null;
end;
$$;
comment on function private.tg_user_preferences__copy_to_state() is
  'Row trigger: copies preferences to the user''s state.';
create trigger tg_user_preferences__copy_to_state after update of time_zone on public.user_preferences
  for each row when (old.time_zone is distinct from new.time_zone)
  execute function private.tg_user_preferences__copy_to_state();

-- Sums by day ----------------------------------------------------------------------------
create table public.user_days (
  user_id uuid not null,
  local_date date not null,
  province text,
  imported boolean not null default false,
  tally bytea not null default '',
  entries integer not null,
  weight_kg numeric not null,
  credits bigint not null,
  credits_positive bigint not null,
  credits_negative bigint not null,
  co2e_kg numeric not null,
  co2e_avoided_kg numeric not null,
  constraint user_days_is_unique unique nulls not distinct (user_id, local_date, province, imported)
) with (fillfactor = 80);
comment on table public.user_days is
  'Sums of a user''s entries by local day and province, with imported entries apart. A day without entries has no row: the days here are the days of a streak.';
comment on column public.user_days.imported is 'Imported entries: they count for achievements, never for challenges.';
comment on column public.user_days.tally is 'Entries and grams by category and method; carbon.tally_rows() shows them.';
comment on column public.user_days.credits is 'Credits: credits_positive + credits_negative.';
comment on column public.user_days.credits_negative is 'Sum of the negative credits, zero or less.';
comment on column public.user_days.co2e_kg is 'Sum of the entries'' rounded figures, kilograms CO2e.';
comment on column public.user_days.co2e_avoided_kg is 'Sum of the entries'' rounded figures, kilograms CO2e.';
comment on column public.user_days.weight_kg is 'Kilograms, exact.';

alter table public.user_days enable row level security;
create policy "people read their own days" on public.user_days
  for select to authenticated using (user_id = (select auth.uid()));
grant select on public.user_days to authenticated, service_role;

create function private.tallied_days(p_user_id uuid, first_day date, last_day date, out dates date[], out tallies bytea[])
language plpgsql stable
set search_path = ''
as $$
begin
  select coalesce(array_agg(u.local_date), '{}'), coalesce(array_agg(u.tally), '{}') into dates, tallies
  from (
    select d.local_date, carbon.sum_tallies(d.tally) as tally from public.user_days as d
    where d.user_id = p_user_id and d.local_date between first_day and last_day
    group by d.local_date) as u;
end;
$$;
comment on function private.tallied_days(uuid, date, date) is
  'A user''s days with entries, from the first day to the last, and their tallies in a parallel array.';
