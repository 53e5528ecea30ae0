-- Derived data that saves readers from adding up entries: sums by day, and the narrow keys whose uniqueness a table
-- partitioned by month cannot enforce.

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

create table private.entry_keys (
  user_id uuid not null,
  entry_id uuid not null,
  logged_at timestamptz not null,
  revision bigint not null,
  deleted_at timestamptz,
  offline_id text,
  identity uuid,
  batch_id uuid,
  constraint entry_keys_pkey primary key (user_id, entry_id),
  constraint entry_keys_revision_is_unique unique (user_id, revision)
);
comment on table private.entry_keys is
  'One row for every entry that ever existed, retained after its deletion: where it is stored (logged_at leads to its month), the number of its newest change, and what identifies a duplicate.';
comment on column private.entry_keys.revision is
  'Number of the newest change of this entry in the user''s own gapless sequence.';
comment on column private.entry_keys.deleted_at is
  'Not null = tombstone: the entry is deleted, devices learn of the deletion, its keys stay taken.';
comment on column private.entry_keys.identity is
  'Hash of id, category, method, weight and time at creation, for imported entries and those with an offline_id; edits never change it, a roll-back frees it.';
comment on column private.entry_keys.batch_id is 'The import that created the entry.';
create unique index entry_keys_offline_id_is_unique on private.entry_keys (user_id, offline_id)
  where offline_id is not null;
create unique index entry_keys_identity_is_unique on private.entry_keys (user_id, identity)
  where identity is not null;
alter table private.entry_keys enable row level security;
