-- Importing an old diary atomically, and rolling it back within 30 days.

create table private.migration_batches (
  id uuid primary key,
  user_id uuid not null references public.profiles (id) on delete cascade,
  created_at timestamptz not null default now(),
  payload_sha256 bytea not null,
  entries integer not null,
  credits bigint not null,
  preferences jsonb not null default '{}',
  completed_onboarding boolean not null default false,
  rolled_back_at timestamptz
);
comment on table private.migration_batches is
  'One row per import: what it created and which preferences it set, so that a roll-back can undo exactly that.';
comment on column private.migration_batches.preferences is
  'The preferences that the import set, with their values: a roll-back clears those still unchanged.';
create index migration_batches_user on private.migration_batches (user_id, created_at);
alter table private.migration_batches enable row level security;
grant select on private.migration_batches to service_role;

create table private.migration_payloads (
  user_id uuid not null references public.profiles (id) on delete cascade,
  sha256 bytea not null,
  payload jsonb compression lz4 not null,
  created_at timestamptz not null default now(),
  primary key (user_id, sha256),
  constraint payload_has_at_most_4_mib check (octet_length(payload::text) <= carbon.limit_of('stored_import_bytes'))
);
comment on table private.migration_payloads is
  'What was recognised in imports that created something, once per content, for 30 days, readable by the service role alone: to find out what happened to an entry.';
comment on column private.migration_payloads.sha256 is 'Of the text as sent.';
comment on column private.migration_payloads.payload is
  'As parsed by carbon.parse_migration(): pictures, unknown keys and other unrecognised content are not stored. Above 4 MiB the entries are omitted.';
create index migration_payloads_created_at on private.migration_payloads (created_at);
alter table private.migration_payloads enable row level security;
grant select on private.migration_payloads to service_role;

-- Preferences -------------------------------------------------------------------------------
create function private.preferences_not_yet_set(p_user_id uuid, offered jsonb)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_object_agg(o.key, o.value), '{}')
    from jsonb_each(offered) as o
    where o.value <> 'null'
      and o.key in ('language', 'time_zone', 'daily_goal', 'measurement_unit', 'theme', 'auto_sync',
                    'notification_settings', 'display_name', 'province', 'district')
      and not exists (
        select from public.profiles as p
        join public.user_preferences as c on c.user_id = p.id
        where p.id = p_user_id
          and (to_jsonb(p) || to_jsonb(c)) -> o.key <> 'null'));
end;
$$;
comment on function private.preferences_not_yet_set(uuid, jsonb) is
  'Those of the given preferences that the user has not set yet.';

create function private.write_preferences(p_user_id uuid, changes jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
  profile public.profiles;
  preferences public.user_preferences;
begin
  if changes = '{}' then
    return;
  end if;
  select p.* into profile from public.profiles as p where p.id = p_user_id;
  select c.* into preferences from public.user_preferences as c where c.user_id = p_user_id;
  -- Only members named like columns, null included.
  profile := jsonb_populate_record(profile, changes);
  preferences := jsonb_populate_record(preferences, changes);
  update public.profiles as p
  set display_name = profile.display_name, province = profile.province, district = profile.district,
      notification_settings = profile.notification_settings
  where p.id = p_user_id;
  update public.user_preferences as c
  set language = preferences.language, time_zone = preferences.time_zone, daily_goal = preferences.daily_goal,
      measurement_unit = preferences.measurement_unit, theme = preferences.theme, auto_sync = preferences.auto_sync
  where c.user_id = p_user_id;
end;
$$;
comment on function private.write_preferences(uuid, jsonb) is
  'Writes the given members to a user''s preferences; a null member clears.';

-- Import ------------------------------------------------------------------------------------
create function private.new_migrated_entries(p_user_id uuid, entries jsonb)
returns table (category_id text, disposal_method text, weight_kg numeric, logged_at timestamptz, time_zone text,
               location_lat numeric, location_lng numeric, notes text, place text, image_id uuid, device_id text, offline_id text, legacy_id text)
language plpgsql stable
set search_path = ''
-- Most users have few entries, so the planner assumes that of all: for a diary of 10,000 entries that already exist
-- it would compare every entry with every key. A hash join takes one pass over each.
set enable_nestloop = off
as $$
begin
  return query
  with stated as materialized (
    select e.*,
           row_number() over (partition by e.identity order by e.ordinal) as of_identity,
           row_number() over (partition by e.offline_id order by e.ordinal) as of_offline_id
    from jsonb_to_recordset(entries) as e (
      ordinal integer, identity uuid, category_id text, disposal_method text, weight_kg numeric, logged_at timestamptz,
      time_zone text, location_lat numeric, location_lng numeric, notes text, place text, image_id uuid, device_id text,
      offline_id text, legacy_id text)
  )
  select s.category_id, s.disposal_method, s.weight_kg, s.logged_at, s.time_zone, s.location_lat, s.location_lng, s.notes,
         s.place, s.image_id, s.device_id, s.offline_id, s.legacy_id
  from stated as s
  where s.of_identity = 1
    and (s.offline_id is null or s.of_offline_id = 1)
    and not exists (
      select from private.entry_keys as k where k.user_id = p_user_id and k.identity = s.identity)
    and not exists (
      select from private.entry_keys as k where k.user_id = p_user_id and k.offline_id = s.offline_id)
  order by s.ordinal;
end;
$$;
comment on function private.new_migrated_entries(uuid, jsonb) is
  'Those of the parsed entries of an import that this user does not have and never had: by identity, and by offline_id if they have one. Of equal entries within the import only the first counts.';

create function private.stored_payload(parsed jsonb)
returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return case
    when octet_length(parsed::text) <= carbon.limit_of('stored_import_bytes') then parsed
    when octet_length((parsed - 'entries')::text) <= carbon.limit_of('stored_import_bytes') then parsed - 'entries'
    else parsed - array['entries', 'rejected', 'adjusted', 'unreadable_keys', 'preferences'] end;
end;
$$;
comment on function private.stored_payload(jsonb) is
  'The part of a parsed import to store: everything recognised, or above 4 MiB what fits.';

create function private.write_migration(writer record, batch_id uuid, hash bytea, parsed jsonb, preferences jsonb,
                                        completes_onboarding boolean, dry_run boolean,
                                        out written bigint, out credits bigint)
language plpgsql
set search_path = ''
as $$
declare
  zone text := coalesce(preferences ->> 'time_zone', writer.time_zone);
begin
  with created as (
    insert into public.waste_entries as w
      (user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, location_lat, location_lng,
       notes, place, image_id, device_id, offline_id, legacy_id, batch_id)
    select writer.user_id, e.category_id, e.disposal_method, e.weight_kg, e.logged_at,
           coalesce(e.time_zone, zone), writer.province,
           -- A dry run leaves dead rows behind, so omit columns that do not affect its answer.
           e.location_lat, e.location_lng, case when not dry_run then e.notes end, case when not dry_run then e.place end,
           e.image_id,
           coalesce(e.device_id, parsed ->> 'device_id'), e.offline_id, e.legacy_id, write_migration.batch_id
    from private.new_migrated_entries(writer.user_id, parsed -> 'entries') as e
    returning w.carbon_credits
  )
  select count(*), coalesce(sum(c.carbon_credits), 0) into written, credits from created as c;
  if dry_run then
    return;
  end if;

  perform private.write_preferences(writer.user_id, preferences);
  if completes_onboarding then
    update public.profiles as p set onboarding_completed = true where p.id = writer.user_id;
  end if;

  insert into private.migration_batches
    (id, user_id, payload_sha256, entries, credits, preferences, completed_onboarding)
  values (batch_id, writer.user_id, hash, written, credits, preferences, completes_onboarding);
  if written > 0 or preferences <> '{}' or completes_onboarding then
    insert into private.migration_payloads (user_id, sha256, payload)
    values (writer.user_id, hash, private.stored_payload(parsed))
    on conflict (user_id, sha256) do nothing;
  end if;
  perform private.audit('migrated', writer.user_id, jsonb_build_object('batch_id', batch_id, 'entries', written));
end;
$$;
comment on function private.write_migration(record, uuid, bytea, jsonb, jsonb, boolean, boolean) is
  'Writes a parsed import in the caller''s transaction: entries, preferences not yet set, the batch, and the '
  'recognised content if anything was created. For a dry run only the entries, without their texts.';

create function private.migration_json(parsed jsonb, batch_id uuid, written bigint, credits bigint, earned jsonb, level integer)
returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return jsonb_build_object(
    'batch_id', batch_id,
    'received_entries', parsed -> 'received',
    'migrated_entries', written,
    'duplicate_entries', (parsed ->> 'received')::bigint - (parsed ->> 'rejected_count')::bigint - written,
    'rejected_entries', parsed -> 'rejected_count',
    'rejected', parsed -> 'rejected',
    'adjusted_entries', parsed -> 'adjusted_count',
    'adjusted', parsed -> 'adjusted',
    'unreadable_keys', parsed -> 'unreadable_keys',
    'credits_claimed', parsed -> 'credits_claimed',
    'credits_imported', credits,
    'achievements_granted', jsonb_path_query_array(earned, '$.achievements_unlocked[*].id'),
    'current_level', level);
end;
$$;
comment on function private.migration_json(jsonb, uuid, bigint, bigint, jsonb, integer) is
  'The answer of private.migrate_local: what was parsed, written and earned; batch_id null for a dry run.';

create function private.migrate_local(payload text, dry_run boolean default false)
returns jsonb
language plpgsql security definer
set search_path = ''
set carbon.rewards_are_quiet = 'on'
as $$
declare
  writer record;
  parsed jsonb;
  batch_id uuid;
  preferences jsonb;
  completes_onboarding boolean;
  written bigint;
  credits bigint;
  earned jsonb;
  level integer;
begin
  perform carbon.hold_heavy_slot();
  writer := private.try_lock_writer();
  perform private.count_import(writer.user_id);
  parsed := carbon.parse_migration(payload, now());
  if parsed is null then
    perform private.raise_error('carbon.migration_unreadable', '22023');
  elsif jsonb_array_length(parsed -> 'entries') > carbon.limit_of('migrated_entries') then
    perform carbon.raise_limit('carbon.migration_too_many_entries', 1);
  end if;
  preferences := private.preferences_not_yet_set(writer.user_id, coalesce(nullif(parsed -> 'preferences', 'null'), '{}'));
  completes_onboarding := coalesce((parsed ->> 'onboarding_completed')::boolean, false)
    and not exists (select from public.profiles as p where p.id = writer.user_id and p.onboarding_completed);

  -- A dry run does everything and rolls it back, so its answer is the one that the real import will give.
  begin
    batch_id := gen_random_uuid();
    select m.written, m.credits into written, credits
    from private.write_migration(writer, batch_id, sha256(convert_to(payload, 'UTF8')), parsed, preferences,
                                 completes_onboarding, dry_run) as m;
    earned := private.answer_rewards(writer.user_id, writer.ledger_rows);
    level := (select t.level from private.user_state as t where t.user_id = writer.user_id);
    if dry_run then
      raise exception using errcode = 'CP000';
    end if;
  exception
    when sqlstate 'CP000' then
      batch_id := null;
  end;

  return private.migration_json(parsed, batch_id, written, credits, earned, level);
end;
$$;
grant execute on function private.migrate_local(text, boolean) to authenticated;
select private.expose(
  'private.migrate_local(text, boolean)',
  'Imports an old diary: payload is the JSON text of the normalised form or of a raw dump of the app''s '
  'localStorage. All in one transaction; received = migrated + duplicate + rejected. Each call that is not a '
  'dry run gets its own batch_id, even if it found nothing new (its roll-back then removes nothing); dry_run '
  'returns the same with batch_id null and writes nothing. Errors: 22023 carbon.migration_unreadable, PT429 '
  'carbon.migration_too_many_entries (20,000), carbon.imports_per_hour (10, dry runs and roll-backs '
  'included), carbon.imports_per_day (30), carbon.already_running (the caller''s entries are being written), '
  '23503 carbon.unknown_user.');

-- Roll-back ---------------------------------------------------------------------------------
create function private.rollback_migration(batch_id uuid)
returns jsonb
language plpgsql security definer
set search_path = ''
set carbon.rewards_are_quiet = 'on'
as $$
declare
  writer record;
  batch private.migration_batches;
  earliest timestamptz;
  latest timestamptz;
  removed bigint;
  credits_removed bigint;
begin
  perform carbon.hold_heavy_slot();
  writer := private.try_lock_writer();
  perform private.count_import(writer.user_id);
  update private.migration_batches as b set rolled_back_at = now()
  where b.id = rollback_migration.batch_id and b.user_id = writer.user_id and b.rolled_back_at is null
    and b.created_at > now() - interval '30 days'
  returning b.* into batch;
  if not found then
    perform private.raise_error('carbon.batch_not_found', 'PT404');
  end if;

  select min(k.logged_at), max(k.logged_at) into earliest, latest
  from private.entry_keys as k
  where k.user_id = writer.user_id and k.batch_id = batch.id and k.deleted_at is null;
  with gone as (
    delete from public.waste_entries as e
    where e.user_id = writer.user_id and e.batch_id = batch.id and e.logged_at between earliest and latest
    returning e.carbon_credits
  )
  select count(*), coalesce(sum(g.carbon_credits), 0) into removed, credits_removed from gone as g;

  -- Free the keys of all entries it created, including those that the user has deleted since.
  update private.entry_keys as k set offline_id = null, identity = null
  where k.user_id = writer.user_id and k.batch_id = batch.id;

  -- Clear what the import set and the user has not changed since.
  perform private.write_preferences(writer.user_id, (
    select coalesce(jsonb_object_agg(s.key, null), '{}')
    from jsonb_each(batch.preferences) as s
    join public.profiles as p on p.id = writer.user_id
    join public.user_preferences as c on c.user_id = p.id
    where (to_jsonb(p) || to_jsonb(c)) -> s.key = s.value));
  if batch.completed_onboarding then
    update public.profiles as p set onboarding_completed = false where p.id = writer.user_id;
  end if;
  perform private.audit('migration_rolled_back', writer.user_id,
                        jsonb_build_object('batch_id', batch.id, 'entries', removed));
  return jsonb_build_object('batch_id', batch.id, 'removed_entries', removed, 'credits_removed', credits_removed);
end;
$$;
grant execute on function private.rollback_migration(uuid) to authenticated;
select private.expose(
  'private.rollback_migration(uuid)',
  'Undoes an import of the caller within 30 days: deletes every entry it created, edited since or not, and '
  'clears the preferences it set that are unchanged; the same dump can be imported again. Returns {batch_id, '
  'removed_entries, credits_removed}. Repeated, or for another user''s batch or an expired one: PT404 '
  'carbon.batch_not_found.');
