-- One statement-level trigger per operation maintains everything derived from entries, whether rows come by rpc, REST
-- or SQL, one or two hundred thousand at a time. A single new entry goes through private.record_entry.
--
-- Every writer of a user's entries first locks that user's row of private.user_state. This one lock makes revisions
-- gapless, serialises duplicates of one offline_id, and makes a deletion of the user wait.

-- Insert ------------------------------------------------------------------------------------
-- A single row is handled here although its part is the longest: REST writes this way, and one more function that takes
-- an entire entry costs about 2 % of an insert.
--
-- Cached plans live as long as their session and outlive the data they were made for: force index scans, even if the
-- table was small or the statement large at first; and never replan for the length of a list. Bulk loads group hundreds
-- of thousands of rows in work_mem; single creates do not use it.
create function private.tg_waste_entries__count_inserted()
returns trigger
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set work_mem = '64MB'
as $$
declare
  entry public.waste_entries;
  writer private.writer;
  sums private.day_sums[];
  keys private.user_keys[];
begin
  -- A single row: the way the app writes.
  select n.* into entry from new_rows as n where not exists (select from new_rows offset 1);
  if found then
    writer := private.lock_state(entry.user_id, current_setting('role') in ('authenticated', 'anon'));
    insert into private.entry_keys (user_id, entry_id, logged_at, revision, offline_id, identity, batch_id)
    values (entry.user_id, entry.id, entry.logged_at, (writer.state).revision + 1, entry.offline_id,
            case when entry.offline_id is not null or entry.batch_id is not null then
              carbon.entry_identity(coalesce(entry.offline_id, entry.legacy_id), entry.category_id, entry.disposal_method,
                                    (entry.weight_kg * 1000)::integer, entry.logged_at) end,
            entry.batch_id)
    on conflict do nothing;
    if not found then
      perform private.raise_duplicate_entry(entry.offline_id);
    end if;
    perform private.record_entry(writer.state, writer.rules, entry);
    return null;
  end if;

  if private.is_client() then
    perform carbon.hold_heavy_slot();
    perform private.refuse_closed(auth.uid());
  else
    perform private.lock_users(array(select n.user_id from new_rows as n group by n.user_id));
  end if;
  -- In index order, so that index pages fill one after the other.
  sums := array(
    select (n.user_id, n.local_date, n.province, n.batch_id is not null,
            carbon.tally_of(n.category_id, n.disposal_method, (n.weight_kg * 1000)::integer, 1), count(*),
            sum(n.weight_kg), sum(n.carbon_credits), sum(greatest(n.carbon_credits, 0)), sum(least(n.carbon_credits, 0)),
            sum(n.co2e_kg), sum(n.co2e_avoided_kg))::private.day_sums
    from new_rows as n
    group by n.user_id, n.local_date, n.province, n.batch_id is not null
    order by n.user_id, n.local_date);
  keys := array(
    select (n.user_id, array_agg(n.id), array_agg(n.logged_at::timestamptz), array_agg(n.offline_id::text),
            array_agg(case when n.offline_id is not null or n.batch_id is not null then
              carbon.entry_identity(coalesce(n.offline_id, n.legacy_id), n.category_id, n.disposal_method,
                                    (n.weight_kg * 1000)::integer, n.logged_at) end),
            array_agg(n.batch_id))::private.user_keys
    from new_rows as n
    group by n.user_id);
  if private.are_in_communities(keys) then
    perform private.move_contributions('{}', array(select n::public.waste_entries from new_rows as n));
  end if;
  perform private.add_new_entries(sums, keys, true);
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

create function private.tg_waste_entries__count_deleted()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  keys private.user_keys[];
  sums private.day_sums[];
  changed record;
begin
  if not private.is_client() then
    perform private.lock_users(array(select o.user_id from old_rows as o group by o.user_id));
  end if;
  keys := array(
    select (o.user_id, array_agg(o.id), null, null, null, null)::private.user_keys from old_rows as o group by o.user_id);
  sums := array(
    select (o.user_id, o.local_date, o.province, o.batch_id is not null,
            carbon.tally_of(o.category_id, o.disposal_method, (o.weight_kg * 1000)::integer, -1), -count(*),
            -sum(o.weight_kg), -sum(o.carbon_credits), -sum(greatest(o.carbon_credits, 0)), -sum(least(o.carbon_credits, 0)),
            -sum(o.co2e_kg), -sum(o.co2e_avoided_kg))::private.day_sums
    from old_rows as o
    group by o.user_id, o.local_date, o.province, o.batch_id is not null);
  changed := private.add_to_states(sums, keys);
  -- A user without a state row is being deleted; none of their derived data is maintained.
  if changed.user_ids is null then
    return null;
  end if;
  perform private.renumber_keys(keys, true);
  perform private.add_to_days(sums);
  if private.are_in_communities(keys) then
    perform private.move_contributions(array(select o::public.waste_entries from old_rows as o), '{}');
  end if;
  perform private.evaluate_day_sums(sums, changed.user_ids, changed.totals_before);
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
  rows record;
  sums private.day_sums[];
  changed record;
  violation text;
begin
  if not private.is_client() then
    perform private.lock_users(array(select n.user_id from new_rows as n group by n.user_id));
  end if;

  -- Match old and new rows by grouping, not by a join for which a plan made for one row would be slow with many; the row
  -- hash shows whether a row changed.
  with pairs as (
    select b.user_id, b.id, sum(b.side) <> 0 as identity_changed, min(b.row_hash) <> max(b.row_hash) as is_changed,
           max(b.logged_at) filter (where b.side = 1) as logged_at, max(b.logged_at) filter (where b.side = -1) as logged_before
    from (
      select 1 as side, hash_record_extended(n, 0) as row_hash, n.user_id, n.id, n.logged_at::timestamptz from new_rows as n
      union all
      select -1, hash_record_extended(o, 0), o.user_id, o.id, o.logged_at from old_rows as o) as b
    group by b.user_id, b.id
  )
  select bool_or(p.identity_changed) as identity_changed,
         min(p.logged_at) filter (where p.logged_at <> p.logged_before) as earliest,
         max(p.logged_at) filter (where p.logged_at <> p.logged_before) as latest,
         array(
           select (c.user_id, array_agg(c.id), array_agg(c.logged_at), null, null, null)::private.user_keys
           from pairs as c where c.is_changed group by c.user_id) as keys
  into rows
  from pairs as p;
  if rows.identity_changed then
    raise exception using errcode = '23514', message = 'An entry keeps its id and its owner for ever.';
  end if;
  violation := private.write_limit_violation(rows.earliest, rows.latest, null, null, null, null);
  if violation is not null then
    perform private.raise_write_limit(violation);
  end if;

  sums := array(
    select (b.user_id, b.local_date, b.province, b.batch_id is not null,
            carbon.tally_of(b.category_id, b.disposal_method, (b.weight_kg * 1000)::integer, b.side), sum(b.side),
            sum(b.side * b.weight_kg), sum(b.side * b.carbon_credits), sum(b.side * greatest(b.carbon_credits, 0)),
            sum(b.side * least(b.carbon_credits, 0)), sum(b.side * b.co2e_kg), sum(b.side * b.co2e_avoided_kg))::private.day_sums
    from (select 1 as side, n.* from new_rows as n union all select -1, o.* from old_rows as o) as b
    group by b.user_id, b.local_date, b.province, b.batch_id is not null);
  changed := private.add_to_states(sums, rows.keys);
  if changed.user_ids is null then
    return null;
  end if;
  perform private.renumber_keys(rows.keys, false);
  perform private.add_to_days(sums);
  if private.are_in_communities(rows.keys) then
    perform private.move_contributions(array(select o::public.waste_entries from old_rows as o), array(select n::public.waste_entries from new_rows as n));
  end if;
  perform private.evaluate_day_sums(sums, changed.user_ids, changed.totals_before);
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

create procedure private.watch_entry_columns()
language plpgsql
set search_path = ''
as $$
declare
  columns text[] := array(
    select a.attname from pg_catalog.pg_attribute as a
    where a.attrelid = 'public.waste_entries'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      and a.attname not in ('id', 'user_id', 'offline_id', 'legacy_id', 'batch_id', 'created_at', 'updated_at')
    order by a.attnum);
begin
  -- Column by column: entire rows cannot be compared before the generated columns are computed.
  execute format(
    'create or replace trigger tg_waste_entries__touch before update on public.waste_entries for each row
     when ((%s) is distinct from (%s)) execute function private.tg_any__touch()',
    (select string_agg(format('old.%I', c.name), ', ') from unnest(columns) as c (name)),
    (select string_agg(format('new.%I', c.name), ', ') from unnest(columns) as c (name)));
end;
$$;
comment on procedure private.watch_entry_columns() is
  'Makes the trigger that moves updated_at when a column of an entry changes. To be called again by a migration that adds one.';
call private.watch_entry_columns();
