-- One statement-level trigger per operation maintains everything derived from entries, whether rows come by rpc, REST
-- or SQL, one or two hundred thousand at a time. A single new entry goes through private.record_entry.
--
-- Every writer of a user's entries first locks that user's row of private.user_state. This one lock makes revisions
-- gapless, serialises duplicates of one offline_id, and makes a deletion of the user wait.

-- Insert ------------------------------------------------------------------------------------
create function private.tg_waste_entries__count_inserted()
returns trigger
language plpgsql security definer
set search_path = ''
-- Cached plans live as long as their session and outlive the data they were made for: force index scans, even if the
-- table was small or the statement large at first.
set enable_seqscan = off
-- Never replan for the length of a list.
set plan_cache_mode = force_generic_plan
-- Bulk loads group hundreds of thousands of rows; single creates do not use this memory.
set work_mem = '64MB'
as $$
declare
  -- Same as private.is_client().
  by_client boolean := current_setting('role') in ('authenticated', 'anon');
  entry public.waste_entries;
  writer record;
  written record;
  known text[];
  refused text;
begin
  -- A single row: the way the app writes.
  select n.* into entry
  from new_rows as n
  where not exists (select from new_rows offset 1);

  if found then
    select s as state, r as rules into writer
    from private.user_state as s, private.achievement_rules as r
    where s.user_id = entry.user_id
    for no key update of s;
    if not found then
      perform private.raise_error('carbon.unknown_user', '23503');
    elsif by_client and (writer.state).closed_until > now() then
      perform private.raise_error('carbon.session_ended', 'PT401');
    end if;
    insert into private.entry_keys (user_id, entry_id, logged_at, revision, offline_id, identity, batch_id)
    values (entry.user_id, entry.id, entry.logged_at, (writer.state).revision + 1, entry.offline_id,
            case when entry.offline_id is not null or entry.batch_id is not null then
              carbon.entry_identity(coalesce(entry.offline_id, entry.legacy_id), entry.category_id, entry.disposal_method,
                                    (entry.weight_kg * 1000)::integer, entry.logged_at) end,
            entry.batch_id)
    on conflict do nothing;
    if not found and entry.offline_id is null then
      raise unique_violation using message = 'An entry of this person has had this id already.';
    elsif not found then
      perform private.raise_known_offline_ids(array[entry.offline_id::text]);
    end if;
    perform private.record_entry(writer.state, writer.rules, entry);
    return null;
  end if;

  if by_client then
    perform carbon.hold_heavy_slot();
    perform private.refuse_closed(auth.uid());
  else
    -- Statements over many users lock them in one order and so cannot deadlock.
    perform from private.user_state as s
    where s.user_id in (select n.user_id from new_rows as n)
    order by s.user_id
    for no key update;
  end if;

  begin
    -- Pass the rows as arrays from the sums to the keys, avoiding a join for which a plan made for one row would be
    -- slow with many.
    with by_user as (
      select
        n.user_id,
        count(*) as entries,
        count(*) filter (where n.batch_id is null) as stated,
        sum(n.weight_kg) as weight_kg,
        sum(n.carbon_credits) as credits,
        sum(n.co2e_kg) as co2e_kg,
        sum(n.co2e_avoided_kg) as co2e_avoided_kg,
        min(n.logged_at) as earliest,
        max(n.logged_at) as latest,
        array_agg(n.id) as ids,
        array_agg(n.logged_at) as times,
        array_agg(n.offline_id) as offline_ids,
        array_agg(n.batch_id) as batch_ids,
        array_agg(case when n.offline_id is not null or n.batch_id is not null then
          carbon.entry_identity(coalesce(n.offline_id, n.legacy_id), n.category_id, n.disposal_method,
                                (n.weight_kg * 1000)::integer, n.logged_at) end) as identities
      from new_rows as n
      group by n.user_id
    ), by_day as materialized (
      select n.user_id, n.local_date, n.province, n.batch_id is not null as imported,
             carbon.tally_of(n.category_id, n.disposal_method, (n.weight_kg * 1000)::integer, 1) as tally,
             count(*) as entries, sum(n.weight_kg) as weight_kg,
             sum(n.carbon_credits) as credits, sum(greatest(n.carbon_credits, 0)) as credits_positive,
             sum(least(n.carbon_credits, 0)) as credits_negative, sum(n.co2e_kg) as co2e_kg,
             sum(n.co2e_avoided_kg) as co2e_avoided_kg
      from new_rows as n
      group by n.user_id, n.local_date, n.province, n.batch_id is not null
      -- In index order, so that index pages fill one after the other.
      order by n.user_id, n.local_date
    ), tallies as (
      select d.user_id, carbon.sum_tallies(d.tally) as tally
      from by_day as d
      group by d.user_id
    ), totals as (
      update private.user_state as t
      set entries = t.entries + b.entries,
          grams = t.grams + (b.weight_kg * 1000)::bigint,
          credits = t.credits + b.credits,
          co2e_mg = t.co2e_mg + (b.co2e_kg * 1000000)::bigint,
          co2e_avoided_mg = t.co2e_avoided_mg + (b.co2e_avoided_kg * 1000000)::bigint,
          tally = carbon.add_tallies(t.tally, s.tally),
          revision = t.revision + b.entries,
          last_change_at = now(),
          window_started_at = case when by_client and t.window_started_at <= now() - interval '1 hour'
                                   then now() else t.window_started_at end,
          window_rows = case when not by_client then t.window_rows
                             when t.window_started_at <= now() - interval '1 hour' then b.stated
                             else t.window_rows + b.stated end,
          day_started_at = case when by_client and t.day_started_at <= now() - interval '24 hours'
                                then now() else t.day_started_at end,
          day_rows = case when not by_client then t.day_rows
                          when t.day_started_at <= now() - interval '24 hours' then b.entries
                          else t.day_rows + b.entries end
      from by_user as b
      join tallies as s on s.user_id = b.user_id
      where t.user_id = b.user_id
      returning t.user_id, t.revision, t.window_rows, t.day_rows, t.entries as in_all,
                t.credits + t.rewards - b.credits as total_before, b.entries, b.ids,
                b.times, b.offline_ids, b.batch_ids, b.identities
    ), boards as (
      insert into private.outbox (user_id, local_date, province, entries, credits)
      select b.user_id, b.local_date, b.province, b.entries, b.credits from by_day as b
    ), days as (
      insert into public.user_days as d
        (user_id, local_date, province, imported, tally, entries, weight_kg, credits, credits_positive, credits_negative,
         co2e_kg, co2e_avoided_kg)
      select b.user_id, b.local_date, b.province, b.imported, b.tally, b.entries, b.weight_kg, b.credits,
             b.credits_positive, b.credits_negative, b.co2e_kg, b.co2e_avoided_kg
      from by_day as b
      on conflict (user_id, local_date, province, imported) do update
        set entries = d.entries + excluded.entries,
            tally = carbon.add_tallies(d.tally, excluded.tally),
            weight_kg = d.weight_kg + excluded.weight_kg,
            credits = d.credits + excluded.credits,
            credits_positive = d.credits_positive + excluded.credits_positive,
            credits_negative = d.credits_negative + excluded.credits_negative,
            co2e_kg = d.co2e_kg + excluded.co2e_kg,
            co2e_avoided_kg = d.co2e_avoided_kg + excluded.co2e_avoided_kg
    ), keys as (
      insert into private.entry_keys (user_id, entry_id, logged_at, revision, offline_id, identity, batch_id)
      select t.user_id, k.entry_id, k.logged_at, t.revision - t.entries + k.place, k.offline_id, k.identity, k.batch_id
      from totals as t,
           unnest(t.ids, t.times, t.offline_ids, t.identities, t.batch_ids) with ordinality
             as k (entry_id, logged_at, offline_id, identity, batch_id, place)
    ), touched as materialized (
      -- Days before the profile began have no challenges.
      select distinct d.user_id, d.local_date
      from by_day as d
      join (select s.user_id, u.began
            from tallies as s join private.user_state as u on u.user_id = s.user_id offset 0) as b on b.user_id = d.user_id
      where d.local_date >= b.began
    )
    select
      (select count(*) from by_user) as users,
      (select count(*) from totals) as known_users,
      (select min(b.earliest) from by_user as b) as earliest,
      (select max(b.latest) from by_user as b) as latest,
      (select sum(b.stated)::bigint from by_user as b) as stated,
      (select max(t.window_rows) from totals as t) as in_window,
      (select max(t.day_rows) from totals as t) as in_day,
      (select max(t.in_all) from totals as t) as in_all,
      (select array_agg(t.user_id) from totals as t) as people,
      (select array_agg(t.total_before) from totals as t) as totals_before,
      (select array_agg(d.user_id) from touched as d) as touched_people,
      (select array_agg(d.local_date) from touched as d) as touched_days
    into written;
  exception
    when unique_violation then
      -- The server's error names only one; a device needs them all.
      known := array(
        select distinct n.offline_id::text
        from (select r.*, count(*) over (partition by r.user_id, r.offline_id) as times from new_rows as r) as n
        where n.offline_id is not null and (
          n.times > 1
          or exists (select from private.entry_keys as k where k.user_id = n.user_id and k.offline_id = n.offline_id)
          or exists (
            select from private.entry_keys as k
            where k.user_id = n.user_id and k.identity = carbon.entry_identity(
              n.offline_id, n.category_id, n.disposal_method, (n.weight_kg * 1000)::integer, n.logged_at)))
        order by 1);
      if known = '{}' then
        raise;
      end if;
      perform private.raise_known_offline_ids(known);
  end;

  if written.users > written.known_users then
    perform private.raise_error('carbon.unknown_user', '23503');
  end if;
  refused := private.write_limit_violation(written.earliest, written.latest, case when by_client then written.stated end,
                                   case when by_client then written.in_window end,
                                   case when by_client then written.in_day end,
                                   case when by_client then written.in_all end);
  if refused is not null then
    perform private.raise_write_limit(refused);
  end if;
  perform private.evaluate_rewards(written.people, written.totals_before, written.touched_people, written.touched_days);
  return null;
end;
$$;
comment on function private.tg_waste_entries__count_inserted() is
  'Statement trigger: adds new entries to totals and days, assigns revisions, inserts their keys, and '
  'enforces the limits on times, users and rows. A duplicate offline_id is 23505; if there were several '
  'rows, DETAIL lists all duplicates.';

-- Changes: update and delete ------------------------------------------------------------------
create function private.tg_waste_entries__lock_owner()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- Before the rows themselves, as the rpcs do: the opposite order would deadlock with them.
  if private.is_client() then
    perform private.lock_user(auth.uid());
    perform private.refuse_closed(auth.uid());
  end if;
  return null;
end;
$$;
comment on function private.tg_waste_entries__lock_owner() is
  'Statement trigger before a client''s update or delete: takes the client''s own lock first. A statement that '
  'waited while its row moved to another month fails with 40001, which PostgREST retries automatically.';

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

create function private.tg_waste_entries__count_deleted()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  written record;
begin
  if not private.is_client() then
    perform from private.user_state as s
    where s.user_id in (select o.user_id from old_rows as o)
    order by s.user_id
    for no key update;
  end if;

  -- Users without a state row are being deleted; none of their derived data is maintained.
  with by_user as (
    select o.user_id, count(*) as entries, sum(o.weight_kg) as weight_kg, sum(o.carbon_credits) as credits,
           sum(o.co2e_kg) as co2e_kg, sum(o.co2e_avoided_kg) as co2e_avoided_kg, array_agg(o.id) as ids,
           carbon.tally_of(o.category_id, o.disposal_method, (o.weight_kg * 1000)::integer, -1) as tally
    from old_rows as o
    group by o.user_id
  ), totals as (
    update private.user_state as t
    set entries = t.entries - b.entries,
        grams = t.grams - (b.weight_kg * 1000)::bigint,
        credits = t.credits - b.credits,
        co2e_mg = t.co2e_mg - (b.co2e_kg * 1000000)::bigint,
        co2e_avoided_mg = t.co2e_avoided_mg - (b.co2e_avoided_kg * 1000000)::bigint,
        tally = carbon.add_tallies(t.tally, b.tally),
        revision = t.revision + b.entries,
        last_change_at = now()
    from by_user as b
    where t.user_id = b.user_id
    returning t.user_id, t.revision, t.credits + t.rewards + b.credits as total_before, b.entries, b.ids
  ), gone as materialized (
    -- Narrow rows for the join, without the arrays they come from.
    select t.user_id, g.entry_id, t.revision - t.entries + g.place as revision
    from totals as t, unnest(t.ids) with ordinality as g (entry_id, place)
  ), keys as (
    update private.entry_keys as k
    set revision = g.revision, deleted_at = now()
    from gone as g
    where k.user_id = g.user_id and k.entry_id = g.entry_id
  ), by_day as (
    select o.user_id, o.local_date, o.province, o.batch_id is not null as imported,
           carbon.tally_of(o.category_id, o.disposal_method, (o.weight_kg * 1000)::integer, -1) as tally,
           count(*) as entries, sum(o.weight_kg) as weight_kg, sum(o.carbon_credits) as credits, sum(greatest(o.carbon_credits, 0)) as credits_positive,
           sum(least(o.carbon_credits, 0)) as credits_negative, sum(o.co2e_kg) as co2e_kg,
           sum(o.co2e_avoided_kg) as co2e_avoided_kg
    from old_rows as o
    group by o.user_id, o.local_date, o.province, o.batch_id is not null
  ), boards as (
    insert into private.outbox (user_id, local_date, province, entries, credits)
    select b.user_id, b.local_date, b.province, -b.entries, -b.credits
    from by_day as b
    join totals as t on t.user_id = b.user_id
  ), days as (
    update public.user_days as d
    set entries = d.entries - b.entries,
        tally = carbon.add_tallies(d.tally, b.tally),
        weight_kg = d.weight_kg - b.weight_kg,
        credits = d.credits - b.credits,
        credits_positive = d.credits_positive - b.credits_positive,
        credits_negative = d.credits_negative - b.credits_negative,
        co2e_kg = d.co2e_kg - b.co2e_kg,
        co2e_avoided_kg = d.co2e_avoided_kg - b.co2e_avoided_kg
    from by_day as b
    where d.user_id = b.user_id and d.local_date = b.local_date and d.province is not distinct from b.province
      and d.imported = b.imported
    returning d.user_id, d.local_date, d.entries
  ), touched as (
    select distinct b.user_id, b.local_date from by_day as b
  )
  select
    (select array_agg(d.user_id) from days as d where d.entries = 0) as emptied_users,
    (select array_agg(d.local_date) from days as d where d.entries = 0) as emptied_dates,
    (select array_agg(t.user_id) from totals as t) as people,
    (select array_agg(t.total_before) from totals as t) as totals_before,
    (select array_agg(d.user_id) from touched as d) as touched_people,
    (select array_agg(d.local_date) from touched as d) as touched_days
  into written;

  if written.emptied_users is not null then
    perform private.forget_empty_days(written.emptied_users, written.emptied_dates);
  end if;
  if written.people is not null then
    perform private.evaluate_rewards(written.people, written.totals_before, written.touched_people, written.touched_days);
  end if;
  return null;
end;
$$;
comment on function private.tg_waste_entries__count_deleted() is
  'Statement trigger: subtracts deleted entries from totals and days, assigns revisions to the deletions, and leaves tombstones.';

create function private.tg_waste_entries__count_updated()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  written record;
  refused text;
begin
  if not private.is_client() then
    perform from private.user_state as s
    where s.user_id in (select n.user_id from new_rows as n)
    order by s.user_id
    for no key update;
  end if;

  -- Match old and new rows by grouping, not by a join for which a plan made for one row would be slow with many; the
  -- row hash shows whether a row changed.
  with both_sides as (
    select 1 as side, hash_record_extended(n, 0) as print, n.* from new_rows as n
    union all
    select -1, hash_record_extended(o, 0), o.* from old_rows as o
  ), pairs as (
    select b.user_id, b.id, sum(b.side) as strangers, min(b.print) <> max(b.print) as is_changed,
           max(b.logged_at) filter (where b.side = 1) as logged_at,
           max(b.logged_at) filter (where b.side = -1) as logged_before
    from both_sides as b
    group by b.user_id, b.id
  ), changed_rows as (
    select p.user_id, count(*) as entries, array_agg(p.id) as ids, array_agg(p.logged_at) as times
    from pairs as p
    where p.is_changed
    group by p.user_id
  ), by_user as (
    select b.user_id, sum(b.side * b.weight_kg) as weight_kg, sum(b.side * b.carbon_credits) as credits,
           sum(b.side * b.co2e_kg) as co2e_kg, sum(b.side * b.co2e_avoided_kg) as co2e_avoided_kg,
           carbon.tally_of(b.category_id, b.disposal_method, (b.weight_kg * 1000)::integer, b.side) as tally
    from both_sides as b
    group by b.user_id
  ), totals as (
    update private.user_state as t
    set grams = t.grams + (b.weight_kg * 1000)::bigint,
        credits = t.credits + b.credits,
        co2e_mg = t.co2e_mg + (b.co2e_kg * 1000000)::bigint,
        co2e_avoided_mg = t.co2e_avoided_mg + (b.co2e_avoided_kg * 1000000)::bigint,
        tally = carbon.add_tallies(t.tally, b.tally),
        revision = t.revision + c.entries,
        last_change_at = now()
    from changed_rows as c
    join by_user as b on b.user_id = c.user_id
    where t.user_id = c.user_id
    returning t.user_id, t.revision, t.credits + t.rewards - b.credits as total_before, c.entries, c.ids, c.times
  ), numbered as materialized (
    -- Narrow rows for the join, without the arrays they come from.
    select t.user_id, c.entry_id, c.logged_at, t.revision - t.entries + c.place as revision
    from totals as t, unnest(t.ids, t.times) with ordinality as c (entry_id, logged_at, place)
  ), keys as (
    update private.entry_keys as k
    set revision = n.revision, logged_at = n.logged_at
    from numbered as n
    where k.user_id = n.user_id and k.entry_id = n.entry_id
  ), by_day as materialized (
    select b.user_id, b.local_date, b.province, b.batch_id is not null as imported,
           carbon.tally_of(b.category_id, b.disposal_method, (b.weight_kg * 1000)::integer, b.side) as tally,
           sum(b.side) as entries, sum(b.side * b.weight_kg) as weight_kg, sum(b.side * b.carbon_credits) as credits,
           sum(b.side * greatest(b.carbon_credits, 0)) as credits_positive,
           sum(b.side * least(b.carbon_credits, 0)) as credits_negative,
           sum(b.side * b.co2e_kg) as co2e_kg, sum(b.side * b.co2e_avoided_kg) as co2e_avoided_kg
    from both_sides as b
    group by b.user_id, b.local_date, b.province, b.batch_id is not null
  ), boards as (
    insert into private.outbox (user_id, local_date, province, entries, credits)
    select b.user_id, b.local_date, b.province, b.entries, b.credits
    from by_day as b
    where b.entries <> 0 or b.credits <> 0
  ), days as (
    insert into public.user_days as d
      (user_id, local_date, province, imported, tally, entries, weight_kg, credits, credits_positive, credits_negative,
       co2e_kg, co2e_avoided_kg)
    select b.user_id, b.local_date, b.province, b.imported, b.tally, b.entries, b.weight_kg, b.credits,
           b.credits_positive, b.credits_negative, b.co2e_kg, b.co2e_avoided_kg
    from by_day as b
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
  ), touched as (
    select distinct b.user_id, b.local_date from by_day as b where b.tally <> '' or b.credits <> 0
  )
  select
    (select bool_or(p.strangers <> 0) from pairs as p) as has_strangers,
    (select min(p.logged_at) from pairs as p where p.logged_at <> p.logged_before) as earliest,
    (select max(p.logged_at) from pairs as p where p.logged_at <> p.logged_before) as latest,
    (select array_agg(d.user_id) from days as d where d.entries = 0) as emptied_users,
    (select array_agg(d.local_date) from days as d where d.entries = 0) as emptied_dates,
    (select array_agg(t.user_id) from totals as t) as people,
    (select array_agg(t.total_before) from totals as t) as totals_before,
    (select array_agg(d.user_id) from touched as d) as touched_people,
    (select array_agg(d.local_date) from touched as d) as touched_days
  into written;

  if written.has_strangers then
    raise exception using errcode = '23514', message = 'An entry keeps its id and its owner for ever.';
  end if;
  refused := private.write_limit_violation(written.earliest, written.latest, null, null, null, null);
  if refused is not null then
    perform private.raise_write_limit(refused);
  end if;
  if written.emptied_users is not null then
    perform private.forget_empty_days(written.emptied_users, written.emptied_dates);
  end if;
  -- A change of notes or place does not change any sum.
  if written.touched_people is not null then
    perform private.evaluate_rewards(written.people, written.totals_before, written.touched_people, written.touched_days);
  end if;
  return null;
end;
$$;
comment on function private.tg_waste_entries__count_updated() is
  'Statement trigger: moves changed entries between totals and days, assigns revisions, and updates the time in their keys. Unchanged rows are ignored.';

-- private.create_waste_entry() calls private.record_entry() directly, because it holds the lock and returns the
-- result. Clients cannot set this flag.
create trigger tg_waste_entries__count_inserted after insert on public.waste_entries
  referencing new table as new_rows
  for each statement
  when (current_setting('carbon.records_entries', true) is distinct from 'on' or current_user in ('anon', 'authenticated'))
  execute function private.tg_waste_entries__count_inserted();
-- Fires before the trigger that moves the sums: triggers fire in name order.
create trigger tg_waste_entries__cap_deleted after delete on public.waste_entries
  referencing old table as old_rows
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__cap_rows();
create trigger tg_waste_entries__cap_updated after update on public.waste_entries
  referencing old table as old_rows
  for each statement when (current_user in ('anon', 'authenticated')) execute function private.tg_any__cap_rows();
create trigger tg_waste_entries__lock_owner before update or delete on public.waste_entries
  for each statement execute function private.tg_waste_entries__lock_owner();
create trigger tg_waste_entries__count_deleted after delete on public.waste_entries
  referencing old table as old_rows
  for each statement execute function private.tg_waste_entries__count_deleted();
create trigger tg_waste_entries__count_updated after update on public.waste_entries
  referencing old table as old_rows new table as new_rows
  for each statement execute function private.tg_waste_entries__count_updated();

-- A row comparison cannot be used here, because generated columns are not computed yet.
create trigger tg_waste_entries__touch before update on public.waste_entries
  for each row
  when ((old.category_id, old.disposal_method, old.weight_kg, old.logged_at, old.time_zone, old.province,
         old.location_lat, old.location_lng, old.notes, old.place, old.image_id, old.device_id, old.factor_set)
        is distinct from
        (new.category_id, new.disposal_method, new.weight_kg, new.logged_at, new.time_zone, new.province,
         new.location_lat, new.location_lng, new.notes, new.place, new.image_id, new.device_id, new.factor_set))
  execute function private.tg_any__touch();
