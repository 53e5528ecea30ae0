-- What the entry triggers share: how sums, keys and limits follow from the entries that a statement changed.
--
-- Only the trigger function itself can read its transition tables. It sums their rows by day, lists them by user, and
-- passes both to these functions as arrays.

create type private.day_sums as (
  user_id uuid,
  local_date date,
  province text,
  imported boolean,
  tally bytea,
  entries bigint,
  weight_kg numeric,
  credits bigint,
  credits_positive bigint,
  credits_negative bigint,
  co2e_kg numeric,
  co2e_avoided_kg numeric
);
comment on type private.day_sums is
  'What a statement adds to one row of public.user_days; negative where it subtracts.';

create type private.user_keys as (
  user_id uuid,
  entry_ids uuid[],
  times timestamptz[],
  offline_ids text[],
  identities uuid[],
  batch_ids uuid[]
);
comment on type private.user_keys is
  'The entries of one user that a statement changed, as parallel lists in the order in which they are numbered; lists '
  'that a statement does not need are null. Passing lists avoids joins for which a plan made for one row would be slow '
  'with many.';

create function private.lock_users(user_ids uuid[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
  -- Statements over many users lock them in one order and so cannot deadlock.
  perform from private.user_state as s
  where s.user_id = any (user_ids)
  order by s.user_id
  for no key update;
end;
$$;
comment on function private.lock_users(uuid[]) is
  'Locks the state rows of these users until the end of the transaction, in the order of their ids.';

create function private.add_to_states(sums private.day_sums[], keys private.user_keys[],
                                      out user_ids uuid[], out totals_before bigint[], out every_user_exists boolean)
language plpgsql
set search_path = ''
-- As in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  perform private.apply_new_rules(array(select k.user_id from unnest(keys) as k));
  with by_user as (
    -- Match both lists by grouping, not by a join for which a plan made for one user would be slow with many.
    select d.user_id, sum(d.changes) as changes, carbon.sum_tallies(d.tally) as tally, sum(d.entries) as entries,
           sum(d.weight_kg) as weight_kg, sum(d.credits) as credits, sum(d.co2e_kg) as co2e_kg,
           sum(d.co2e_avoided_kg) as co2e_avoided_kg
    from (
      select k.user_id, cardinality(k.entry_ids) as changes, ''::bytea as tally, 0 as entries, 0 as weight_kg, 0 as credits,
             0 as co2e_kg, 0 as co2e_avoided_kg
      from unnest(keys) as k
      union all
      select s.user_id, 0, s.tally, s.entries, s.weight_kg, s.credits, s.co2e_kg, s.co2e_avoided_kg
      from unnest(sums) as s) as d
    group by d.user_id
    having sum(d.changes) > 0
  ), totals as (
    update private.user_state as t
    set entries = t.entries + b.entries,
        grams = t.grams + (b.weight_kg * 1000)::bigint,
        credits = t.credits + b.credits,
        co2e_mg = t.co2e_mg + (b.co2e_kg * 1000000)::bigint,
        co2e_avoided_mg = t.co2e_avoided_mg + (b.co2e_avoided_kg * 1000000)::bigint,
        tally = carbon.add_tallies(t.tally, b.tally),
        revision = t.revision + b.changes,
        last_change_at = now()
    from by_user as b
    where t.user_id = b.user_id
    returning t.user_id, t.credits + t.rewards - b.credits as total_before
  )
  select array_agg(t.user_id), array_agg(t.total_before), count(*) = (select count(*) from by_user)
  into add_to_states.user_ids, add_to_states.totals_before, add_to_states.every_user_exists
  from totals as t;
end;
$$;
comment on function private.add_to_states(private.day_sums[], private.user_keys[]) is
  'Adds what a statement changed to the state rows of its users, and the number of their keys to their revisions. '
  'Returns the users that have a state row (null = none), their totals before, and whether every user has one.';

create function private.forget_empty_days(users uuid[], dates date[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  delete from public.user_days as d
  using (select distinct u.user_id, u.local_date from unnest(users, dates) as u (user_id, local_date)) as touched
  where d.user_id = touched.user_id and d.local_date = touched.local_date and d.entries = 0;
end;
$$;
comment on function private.forget_empty_days(uuid[], date[]) is
  'Deletes those of the given days that have no entries left: a row in user_days is a day of the streak.';

create function private.add_to_days(sums private.day_sums[])
returns void
language plpgsql
set search_path = ''
-- As in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  emptied record;
begin
  with boards as (
    insert into private.outbox (user_id, local_date, province, entries, credits)
    select s.user_id, s.local_date, s.province, s.entries, s.credits
    from unnest(sums) as s
    where s.entries <> 0 or s.credits <> 0
  ), days as (
    insert into public.user_days as d
      (user_id, local_date, province, imported, tally, entries, weight_kg, credits, credits_positive, credits_negative,
       co2e_kg, co2e_avoided_kg)
    select s.user_id, s.local_date, s.province, s.imported, s.tally, s.entries, s.weight_kg, s.credits,
           s.credits_positive, s.credits_negative, s.co2e_kg, s.co2e_avoided_kg
    from unnest(sums) as s
    on conflict (user_id, local_date, province, imported) do update
      set entries = d.entries + excluded.entries,
          tally = carbon.add_tallies(d.tally, excluded.tally),
          weight_kg = d.weight_kg + excluded.weight_kg,
          credits = d.credits + excluded.credits,
          credits_positive = d.credits_positive + excluded.credits_positive,
          credits_negative = d.credits_negative + excluded.credits_negative,
          co2e_kg = d.co2e_kg + excluded.co2e_kg,
          co2e_avoided_kg = d.co2e_avoided_kg + excluded.co2e_avoided_kg
    returning d.user_id, d.local_date, d.entries
  )
  select array_agg(d.user_id) as users, array_agg(d.local_date) as dates into emptied
  from days as d
  where d.entries = 0;
  if emptied.users is not null then
    perform private.forget_empty_days(emptied.users, emptied.dates);
  end if;
end;
$$;
comment on function private.add_to_days(private.day_sums[]) is
  'Adds sums to user_days, deletes the days that become empty, and appends an outbox row for each sum that boards count.';

create function private.evaluate_day_sums(sums private.day_sums[], user_ids uuid[], totals_before bigint[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  touched record;
begin
  -- A change of notes or place does not change any sum.
  select array_agg(d.user_id) as user_ids, array_agg(d.local_date) as days into touched
  from (select distinct s.user_id, s.local_date from unnest(sums) as s where s.tally <> '' or s.credits <> 0) as d;
  if touched.user_ids is not null then
    perform private.evaluate_rewards(user_ids, totals_before, touched.user_ids, touched.days);
  end if;
end;
$$;
comment on function private.evaluate_day_sums(private.day_sums[], uuid[], bigint[]) is
  'private.evaluate_rewards for the users and days whose sums a statement changed; totals_before is parallel to user_ids.';

-- Keys ----------------------------------------------------------------------------------------
create function private.duplicate_offline_ids(keys private.user_keys[])
returns text[]
language plpgsql stable
set search_path = ''
-- As in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
as $$
begin
  return array(
    select distinct n.offline_id
    from (
      select k.user_id, e.offline_id, e.identity, count(*) over (partition by k.user_id, e.offline_id) as times
      from unnest(keys) as k, unnest(k.offline_ids, k.identities) as e (offline_id, identity)) as n
    where n.offline_id is not null and (
      n.times > 1
      or exists (select from private.entry_keys as k where k.user_id = n.user_id and k.offline_id = n.offline_id)
      or exists (select from private.entry_keys as k where k.user_id = n.user_id and k.identity = n.identity))
    order by 1);
end;
$$;
comment on function private.duplicate_offline_ids(private.user_keys[]) is
  'The offline_ids of these new entries that are duplicates, of entries that exist or existed or of each other.';

create function private.insert_keys(keys private.user_keys[])
returns void
language plpgsql
set search_path = ''
-- As in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  duplicates text[];
begin
  insert into private.entry_keys (user_id, entry_id, logged_at, revision, offline_id, identity, batch_id)
  select k.user_id, e.entry_id, e.logged_at, k.revision_before + e.place, e.offline_id, e.identity, e.batch_id
  from (
    select u.*, (select s.revision from private.user_state as s where s.user_id = u.user_id)
                  - cardinality(u.entry_ids) as revision_before
    from unnest(keys) as u offset 0) as k,
    unnest(k.entry_ids, k.times, k.offline_ids, k.identities, k.batch_ids) with ordinality
      as e (entry_id, logged_at, offline_id, identity, batch_id, place);
exception
  when unique_violation then
    -- The server's error names only one; a device needs them all.
    duplicates := private.duplicate_offline_ids(keys);
    if duplicates = '{}' then
      raise;
    end if;
    perform private.raise_duplicate_offline_ids(duplicates);
end;
$$;
comment on function private.insert_keys(private.user_keys[]) is
  'Inserts the keys of new entries; the last one of a user gets the revision of the state row. Raises 23505 '
  'carbon.offline_id_known with all offline_ids that are duplicates.';

create function private.renumber_keys(keys private.user_keys[], are_deleted boolean)
returns void
language plpgsql
set search_path = ''
-- As in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  with numbered as materialized (
    -- Narrow rows for the join, without the arrays they come from.
    select k.user_id, e.entry_id, e.logged_at, k.revision_before + e.place as revision
    from (
      select u.*, (select s.revision from private.user_state as s where s.user_id = u.user_id)
                    - cardinality(u.entry_ids) as revision_before
      from unnest(keys) as u offset 0) as k,
      unnest(k.entry_ids, k.times) with ordinality as e (entry_id, logged_at, place)
  )
  update private.entry_keys as k
  set revision = n.revision,
      logged_at = case when are_deleted then k.logged_at else n.logged_at end,
      deleted_at = case when are_deleted then now() else k.deleted_at end
  from numbered as n
  where k.user_id = n.user_id and k.entry_id = n.entry_id;
end;
$$;
comment on function private.renumber_keys(private.user_keys[], boolean) is
  'Gives the keys of changed entries their new time and those of deleted ones their tombstone; the last one of a user '
  'gets the revision of the state row.';

-- Limits ---------------------------------------------------------------------------------------
create function private.count_client_rows(p_user_id uuid, stated bigint, added bigint,
                                          out in_window bigint, out in_day bigint, out in_all bigint)
language plpgsql
set search_path = ''
-- As in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
as $$
begin
  update private.user_state as t
  set window_started_at = case when t.window_started_at <= now() - interval '1 hour' then now() else t.window_started_at end,
      window_rows = case when t.window_started_at <= now() - interval '1 hour' then 0 else t.window_rows end + stated,
      day_started_at = case when t.day_started_at <= now() - interval '24 hours' then now() else t.day_started_at end,
      day_rows = case when t.day_started_at <= now() - interval '24 hours' then 0 else t.day_rows end + added
  where t.user_id = p_user_id
  returning t.window_rows, t.day_rows, t.entries
  into count_client_rows.in_window, count_client_rows.in_day, count_client_rows.in_all;
end;
$$;
comment on function private.count_client_rows(uuid, bigint, bigint) is
  'Counts the rows that a client''s statement added in the user''s hour (stated: without imports) and day. Returns both '
  'counts and the number of all entries.';

create function private.check_write_limits(keys private.user_keys[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  written record;
  counted record;
  violation text;
begin
  select min(e.logged_at) as earliest, max(e.logged_at) as latest, count(*) as added,
         count(*) filter (where e.batch_id is null) as stated
  into written
  from unnest(keys) as k, unnest(k.times, k.batch_ids) as e (logged_at, batch_id);
  if private.is_client() then
    counted := private.count_client_rows((keys[1]).user_id, written.stated, written.added);
    violation := private.write_limit_violation(written.earliest, written.latest, written.stated, counted.in_window,
                                               counted.in_day, counted.in_all);
  else
    violation := private.write_limit_violation(written.earliest, written.latest, null, null, null, null);
  end if;
  if violation is not null then
    perform private.raise_write_limit(violation);
  end if;
end;
$$;
comment on function private.check_write_limits(private.user_keys[]) is
  'Raises the limit that a statement with these new entries exceeds: on times, and for a client, whose rows all belong '
  'to one user, on numbers of rows.';

create function private.add_new_entries(sums private.day_sums[], keys private.user_keys[], has_limits boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  changed record := private.add_to_states(sums, keys);
begin
  perform private.insert_keys(keys);
  if not changed.every_user_exists then
    perform private.raise_error('carbon.unknown_user', '23503');
  end if;
  if has_limits then
    perform private.check_write_limits(keys);
  end if;
  perform private.add_to_days(sums);
  perform private.evaluate_day_sums(sums, changed.user_ids, changed.totals_before);
end;
$$;
comment on function private.add_new_entries(private.day_sums[], private.user_keys[], boolean) is
  'What follows from a statement that inserted several entries: states, keys, limits, days and rewards. has_limits is '
  'false only for entries that were counted before, as another user''s. Raises 23503 carbon.unknown_user, and what '
  'private.insert_keys and private.check_write_limits raise.';
