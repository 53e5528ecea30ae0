-- An anonymous user who signs in to an account that exists: their diary goes into it, once. docs/decisions/0041.
--
--   private.merge_slice(from, into), each call one transaction under both locks
--     begin_merge       may they?  row of private.merges │ closes "from", ends its sessions │ preferences, age
--     merge_entries     up to 20,000 entries: out of "from", into "into", both evaluated again
--     merge_tombstones  once no entry is left: what is taken by deleted entries
--     finish_merge      imports, payloads, devices
--
-- What a call has moved is no longer in "from", so the next one goes on there; a repetition answers from the row.

create table private.merges (
  from_id uuid primary key,
  into_id uuid not null,
  entries bigint not null default 0,
  duplicates bigint not null default 0,
  preferences jsonb not null default '{}',
  completed_onboarding boolean not null default false,
  started_at timestamptz not null default now(),
  finished_at timestamptz,
  from_gone_at timestamptz
);
comment on table private.merges is
  'One row per anonymous user whose diary went, or is going, into an account. Outlives the anonymous user, so that '
  'a repetition is answered and not refused; deleted with the account.';
comment on column private.merges.entries is 'Entries moved so far, duplicates not among them.';
comment on column private.merges.duplicates is
  'Entries dropped because the account has them, or had them and deleted them.';
comment on column private.merges.preferences is
  'The preferences that the account took over, with their values: rolling back an import of the merged diary clears no others.';
comment on column private.merges.completed_onboarding is 'Whether the account completed its onboarding by the merge.';
comment on column private.merges.finished_at is 'Null while a part of a diary of more than 20,000 entries is left.';
comment on column private.merges.from_gone_at is 'When the job saw that the anonymous user is deleted; null = not yet.';
create index merges_into on private.merges (into_id);
create index merges_to_end on private.merges (started_at) where from_gone_at is null;
alter table private.merges enable row level security;
grant select on private.merges to service_role;

-- The beginning -----------------------------------------------------------------------------
create function private.take_over_profile(p_from_id uuid, p_into_id uuid)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  source public.profiles := (select p from public.profiles as p where p.id = p_from_id);
  taken jsonb := private.preferences_not_yet_set(p_into_id, (
    select to_jsonb(p) || to_jsonb(c)
    from public.profiles as p
    join public.user_preferences as c on c.user_id = p.id
    where p.id = p_from_id));
begin
  -- A name that was listed after it was stored stays behind.
  if not private.is_shown_text(taken ->> 'display_name') then
    taken := taken - 'display_name';
  end if;
  perform private.write_preferences(p_into_id, taken);
  -- User names are unique, so this one has to be free first.
  update public.profiles as p set username = null, closed_until = 'infinity' where p.id = p_from_id;
  update public.profiles as p
  set username = coalesce(p.username, case when private.is_shown_text(source.username) then source.username end),
      onboarding_completed = p.onboarding_completed or source.onboarding_completed,
      created_at = least(p.created_at, source.created_at)
  where p.id = p_into_id;
  return taken;
end;
$$;
comment on function private.take_over_profile(uuid, uuid) is
  'Gives an account the preferences and user name of an anonymous user where it has chosen none, and the age of the '
  'older of the two; closes the anonymous user. Returns the preferences taken over.';

create function private.evaluate_earlier_days(p_user_id uuid, began_before date)
returns void
language plpgsql
set search_path = ''
as $$
declare
  state private.user_state := (select s from private.user_state as s where s.user_id = p_user_id);
  days date[] := array(
    select distinct d.local_date from public.user_days as d
    where d.user_id = p_user_id and d.local_date >= state.began and d.local_date < began_before);
begin
  if days <> '{}' then
    perform private.evaluate_rewards(
      array[p_user_id], array[state.credits + state.rewards], array_fill(p_user_id, array[cardinality(days)]), days);
  end if;
end;
$$;
comment on function private.evaluate_earlier_days(uuid, date) is
  'Evaluates the challenges of days that had none until the user''s profile became older; began_before: the day on which it began until then.';

create function private.begin_merge(p_from_id uuid, p_into_id uuid)
returns private.merges
language plpgsql
set search_path = ''
as $$
declare
  merge private.merges := (select m from private.merges as m where m.from_id = p_from_id);
  began_before date := (select s.began from private.user_state as s where s.user_id = p_into_id);
begin
  if merge.into_id = p_into_id then
    return merge;
  end if;
  if merge.into_id is not null or not exists (
    select from public.profiles as f
    join public.profiles as i on i.id = p_into_id
    where f.id = p_from_id and f.is_anonymous and not i.is_anonymous
      and coalesce(greatest(f.closed_until, i.closed_until), '-infinity') <= now())
  then
    perform private.raise_error('carbon.diary_not_mergeable', 'PT409');
  end if;

  insert into private.merges as m (from_id, into_id, completed_onboarding)
  select p_from_id, p_into_id, f.onboarding_completed and not i.onboarding_completed
  from public.profiles as f
  join public.profiles as i on i.id = p_into_id
  where f.id = p_from_id;
  update private.merges as m set preferences = private.take_over_profile(p_from_id, p_into_id)
  where m.from_id = p_from_id
  returning m.* into merge;
  -- What a client would still write there would be deleted with the anonymous user.
  delete from auth.sessions as s where s.user_id = p_from_id;
  perform private.evaluate_earlier_days(p_into_id, began_before);
  return merge;
end;
$$;
comment on function private.begin_merge(uuid, uuid) is
  'The row of this merge, which it begins if there is none: closes the anonymous user and ends their sessions. Raises '
  'PT409 carbon.diary_not_mergeable unless the first user is anonymous, the second is not, both are open, and the '
  'first has not been merged into another account. The caller must hold both locks.';

-- Entries -----------------------------------------------------------------------------------
create function private.entries_to_merge(p_from_id uuid, p_into_id uuid, max_entries integer)
returns table (entry public.waste_entries, new_id uuid, offline_id text, identity uuid, is_duplicate boolean)
language plpgsql
set search_path = ''
-- As in private.new_migrated_entries: one pass over the keys instead of a comparison of every entry with every key.
set enable_nestloop = off
as $$
begin
  return query
  with slice as materialized (
    select e as entry, e.id, e.offline_id
    from public.waste_entries as e
    where e.user_id = p_from_id
    order by e.logged_at, e.id
    limit max_entries
  )
  select s.entry, case when taken.entry_id is null then s.id else gen_random_uuid() end,
         case when named.entry_id is null then s.offline_id::text end, own.identity,
         -- The same offline_id with another content is another entry. A key that was repaired has no content to compare.
         same.entry_id is not null or named.entry_id is not null and (own.identity is null or named.identity is null)
  from slice as s
  left join private.entry_keys as own on own.user_id = p_from_id and own.entry_id = s.id
  left join private.entry_keys as same on same.user_id = p_into_id and same.identity = own.identity
  left join private.entry_keys as named on named.user_id = p_into_id and named.offline_id = s.offline_id
  left join private.entry_keys as taken on taken.user_id = p_into_id and taken.entry_id = s.id;
end;
$$;
comment on function private.entries_to_merge(uuid, uuid, integer) is
  'The oldest entries of an anonymous user and what becomes of each in the account: its id and offline_id there (another '
  'id if the account has used it, no offline_id if it is the account''s for another entry), its identity, and whether '
  'it is a duplicate: of an entry that the account has or had, by identity or by offline_id.';

create function private.merge_entries(p_from_id uuid, p_into_id uuid, max_entries integer,
                                      out moved bigint, out duplicates bigint)
language plpgsql
set search_path = ''
-- The rows that arrive are counted below; those that leave, by the trigger.
set carbon.records_entries = 'on'
as $$
declare
  slice record;
begin
  with compared as materialized (
    select j.*, (j.entry).id as old_id, (j.entry).logged_at::timestamptz as at, (j.entry).batch_id
    from private.entries_to_merge(p_from_id, p_into_id, max_entries) as j
  ), arrived as (
    insert into public.waste_entries as w
      (id, user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, location_lat, location_lng,
       notes, place, image_id, device_id, offline_id, legacy_id, batch_id, factor_set, created_at, updated_at)
    select j.new_id, p_into_id, e.category_id, e.disposal_method, e.weight_kg, e.logged_at, e.time_zone, e.province,
           e.location_lat, e.location_lng, e.notes, e.place, e.image_id, e.device_id, j.offline_id, e.legacy_id,
           e.batch_id, e.factor_set, e.created_at, e.updated_at
    from compared as j
    cross join lateral (select (j.entry).*) as e
    where not j.is_duplicate
    returning w.*
  )
  select count(*) filter (where not j.is_duplicate) as moved, count(*) filter (where j.is_duplicate) as duplicates,
         max(j.at) as last_at, (array_agg(j.old_id order by j.at desc, j.old_id desc))[1] as last_id,
         array(
           select (p_into_id, a.local_date, a.province, a.batch_id is not null,
                   carbon.tally_of(a.category_id, a.disposal_method, (a.weight_kg * 1000)::integer, 1), count(*),
                   sum(a.weight_kg), sum(a.carbon_credits), sum(greatest(a.carbon_credits, 0)),
                   sum(least(a.carbon_credits, 0)), sum(a.co2e_kg), sum(a.co2e_avoided_kg))::private.day_sums
           from arrived as a
           group by a.local_date, a.province, a.batch_id is not null
           order by a.local_date) as sums,
         array(
           select (p_into_id, array_agg(k.new_id), array_agg(k.at), array_agg(k.offline_id), array_agg(k.identity),
                   array_agg(k.batch_id))::private.user_keys
           from (select o.* from compared as o where not o.is_duplicate order by o.at, o.new_id) as k
           having count(*) > 0) as keys
  into slice
  from compared as j;
  moved := slice.moved;
  duplicates := slice.duplicates;
  if slice.last_at is not null then
    delete from public.waste_entries as e
    where e.user_id = p_from_id and e.logged_at <= slice.last_at and (e.logged_at, e.id) <= (slice.last_at, slice.last_id);
  end if;
  if moved > 0 then
    -- The account may take part in community challenges.
    perform private.repair_contributions(p_into_id);
    perform private.add_new_entries(slice.sums, slice.keys, false);
  end if;
end;
$$;
comment on function private.merge_entries(uuid, uuid, integer) is
  'Moves the oldest entries of an anonymous user into an account, with their times, figures and imports and with new '
  'revisions, or drops them as duplicates; returns how many of each. Evaluates both users again. Counts against no limit '
  'of either. The caller must hold both locks.';

create function private.tombstones_to_merge(p_from_id uuid, p_into_id uuid, max_keys integer)
returns private.user_keys[]
language plpgsql
set search_path = ''
-- As in private.entries_to_merge.
set enable_nestloop = off
as $$
begin
  return array(
    select (p_into_id, array_agg(t.new_id), array_agg(t.logged_at), array_agg(t.offline_id), array_agg(t.identity),
            array_agg(t.batch_id))::private.user_keys
    from (
      select case when taken.entry_id is null then k.entry_id else gen_random_uuid() end as new_id, k.logged_at, k.batch_id,
             case when named.entry_id is null then k.offline_id end as offline_id,
             case when same.entry_id is null then k.identity end as identity
      from private.entry_keys as k
      left join private.entry_keys as same on same.user_id = p_into_id and same.identity = k.identity
      left join private.entry_keys as named on named.user_id = p_into_id and named.offline_id = k.offline_id
      left join private.entry_keys as taken on taken.user_id = p_into_id and taken.entry_id = k.entry_id
      where k.user_id = p_from_id and k.deleted_at is not null
        and (k.identity is not null and same.entry_id is null or k.offline_id is not null and named.entry_id is null)
      order by k.revision
      limit max_keys) as t
    having count(*) > 0);
end;
$$;
comment on function private.tombstones_to_merge(uuid, uuid, integer) is
  'The tombstones of an anonymous user that hold an identity or an offline_id which the account does not have yet, as '
  'keys of the account; {} if there are none.';

create function private.merge_tombstones(p_from_id uuid, p_into_id uuid, max_keys integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  keys private.user_keys[] := private.tombstones_to_merge(p_from_id, p_into_id, max_keys);
begin
  if keys = '{}' then
    return 0;
  end if;
  perform private.add_to_states('{}', keys);
  perform private.insert_keys(keys);
  update private.entry_keys as k set deleted_at = now()
  where k.user_id = p_into_id and k.entry_id = any (keys[1].entry_ids);
  return cardinality(keys[1].entry_ids);
end;
$$;
comment on function private.merge_tombstones(uuid, uuid, integer) is
  'Gives an account the tombstones of an anonymous user, so that what was deleted stays deleted; returns how many. The caller must hold both locks.';

-- The end -----------------------------------------------------------------------------------
create function private.finish_merge(merge private.merges)
returns void
language plpgsql
set search_path = ''
as $$
begin
  update private.migration_batches as b
  set user_id = merge.into_id,
      completed_onboarding = b.completed_onboarding and merge.completed_onboarding,
      preferences = (
        select coalesce(jsonb_object_agg(p.key, p.value), '{}') from jsonb_each(b.preferences) as p
        where merge.preferences -> p.key = p.value)
  where b.user_id = merge.from_id;
  update private.migration_payloads as p set user_id = merge.into_id
  where p.user_id = merge.from_id
    and not exists (select from private.migration_payloads as o where o.user_id = merge.into_id and o.sha256 = p.sha256);
  insert into public.devices (user_id, device_id, platform, app_version, last_seen_at)
  select merge.into_id, d.device_id, d.platform, d.app_version, d.last_seen_at
  from public.devices as d where d.user_id = merge.from_id
  on conflict (user_id, device_id) do nothing;
  perform private.drop_oldest_devices(merge.into_id, null);
  perform private.audit('merged', merge.into_id, jsonb_build_object(
    'from', merge.from_id, 'entries', merge.entries, 'duplicates', merge.duplicates));
end;
$$;
comment on function private.finish_merge(private.merges) is
  'What moves once all entries have: imports, which can then be rolled back in the account, payloads, devices. The caller must hold both locks.';

create function private.merge_slice(p_from_id uuid, p_into_id uuid, max_rows integer)
returns private.merges
language plpgsql
set search_path = ''
set carbon.rewards_are_quiet = 'on'
as $$
declare
  merge private.merges;
  slice record;
begin
  perform private.lock_users(array[p_from_id, p_into_id]);
  merge := private.begin_merge(p_from_id, p_into_id);
  if merge.finished_at is not null then
    return merge;
  end if;
  slice := private.merge_entries(p_from_id, p_into_id, max_rows);
  merge.entries := merge.entries + slice.moved;
  merge.duplicates := merge.duplicates + slice.duplicates;
  if slice.moved + slice.duplicates < max_rows and private.merge_tombstones(p_from_id, p_into_id, max_rows) < max_rows then
    perform private.finish_merge(merge);
    merge.finished_at := now();
  end if;
  update private.merges as m
  set entries = merge.entries, duplicates = merge.duplicates, finished_at = merge.finished_at
  where m.from_id = p_from_id;
  return merge;
end;
$$;
comment on function private.merge_slice(uuid, uuid, integer) is
  'Takes both locks and moves the next max_rows entries of a merge, or what comes after the last one; a merge that is '
  'finished is only read. Returns its row. Errors: those of private.begin_merge.';

create function private.merge_accounts(from_id uuid, into_id uuid)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  merge private.merges := private.merge_slice(from_id, into_id, carbon.limit_of('migrated_entries'));
begin
  return jsonb_build_object(
    'entries', merge.entries, 'duplicates', merge.duplicates, 'is_complete', merge.finished_at is not null);
end;
$$;
grant execute on function private.merge_accounts(uuid, uuid) to service_role;
select private.expose(
  'private.merge_accounts(uuid, uuid)',
  'For the service role: moves the diary of an anonymous user into an account. Entries keep their ids, times and imports; '
  'those that the account has or had, by identity or offline_id, are dropped as duplicates; preferences are taken over '
  'where the account has none. Rewards of both are evaluated again. Returns {entries, duplicates, is_complete}, the '
  'same again when repeated; is_complete is false while more than 20,000 entries are left: repeat it, or a job does. '
  'Errors: PT409 carbon.diary_not_mergeable unless the first user is anonymous, the second is not, both are open, and '
  'the first has not been merged into another account.');

create function private.continue_merges(max_merges integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  merge private.merges;
  worked_on integer := 0;
begin
  for merge in
    select m.* from private.merges as m
    where m.from_gone_at is null and m.started_at < now() - interval '1 minute'
    order by m.started_at limit max_merges
  loop
    worked_on := worked_on + 1;
    if merge.finished_at is null and exists (select from public.profiles as p where p.id = merge.into_id) then
      perform private.merge_accounts(merge.from_id, merge.into_id);
    else
      delete from auth.users as u where u.id = merge.from_id;
      update private.merges as m set from_gone_at = now() where m.from_id = merge.from_id;
      delete from private.merges as m
      where m.from_id = merge.from_id and not exists (select from public.profiles as p where p.id = m.into_id);
    end if;
  end loop;
  return worked_on;
end;
$$;
comment on function private.continue_merges(integer) is
  'Moves the next slice of merges that are not complete, and deletes the anonymous user of those that are, or whose '
  'account was deleted, if the Worker did not; takes at most that number of merges, begun a minute ago or earlier, and '
  'returns how many. Can be run at any time.';

select cron.schedule('carbon_merges', '* * * * *', $job$
  do $$
  begin
    for turn in 1..100 loop
      exit when private.continue_merges(1) = 0; commit;
    end loop;
  end;
  $$
$job$);

-- The number of an anonymous user -------------------------------------------------------------
create function private.phone_owner(phone_number text)
returns uuid
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return (
    select u.id from auth.users as u
    where u.phone = ltrim(phone_number, '+') and u.phone_confirmed_at is not null);
end;
$$;
grant execute on function private.phone_owner(text) to service_role;
select private.expose(
  'private.phone_owner(text)',
  'For the service role: the user who has confirmed this number (E.164); null if nobody has.');

create function private.make_way_for_phone(phone_number text, user_id uuid)
returns boolean
language plpgsql security definer
set search_path = ''
as $$
declare
  digits constant text := ltrim(phone_number, '+');
begin
  if not exists (
    select from public.profiles as p
    where p.id = make_way_for_phone.user_id and p.is_anonymous and coalesce(p.closed_until, '-infinity') <= now())
  then
    return false;
  end if;
  -- Auth inserts a user for every number that requests a code.
  delete from auth.users as u
  where u.phone = digits and u.phone_confirmed_at is null
    and not exists (select from public.profiles as p where p.id = u.id);
  return not exists (select from auth.users as u where u.phone = digits);
end;
$$;
grant execute on function private.make_way_for_phone(text, uuid) to service_role;
select private.expose(
  'private.make_way_for_phone(text, uuid)',
  'For the service role: whether Auth may give this number (E.164) to this user, who has proved it: they are anonymous '
  'and open, and nobody has confirmed the number. Deletes what an earlier request for a code left of it, a user who never '
  'confirmed anything.');

revoke execute on function private.merge_accounts(uuid, uuid), public.merge_accounts(uuid, uuid),
  private.phone_owner(text), public.phone_owner(text),
  private.make_way_for_phone(text, uuid), public.make_way_for_phone(text, uuid) from public, anon, authenticated;
