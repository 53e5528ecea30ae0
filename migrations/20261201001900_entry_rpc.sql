-- Writing entries by rpc: operations that need one transaction and the answer defined by the contract.
--
-- Public functions run as the caller and only delegate; the private ones run as their owner and always act for
-- auth.uid(), never for an id from the request.

create function private.entry_json(entry public.waste_entries, revision bigint)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return jsonb_build_object(
    'id', entry.id,
    'category_id', entry.category_id,
    'disposal_method', entry.disposal_method,
    'weight_kg', trim_scale(entry.weight_kg),
    'carbon_credits', entry.carbon_credits,
    'co2e_kg', trim_scale(entry.co2e_kg),
    'co2e_avoided_kg', trim_scale(entry.co2e_avoided_kg),
    'factor_set', entry.factor_set,
    'logged_at', entry.logged_at,
    'local_date', entry.local_date,
    'time_zone', entry.time_zone,
    'location', case when entry.location_lat is not null then jsonb_build_object(
      'latitude', trim_scale(entry.location_lat), 'longitude', trim_scale(entry.location_lng)) end,
    'notes', entry.notes,
    'place', entry.place,
    'province', entry.province,
    'image_id', entry.image_id,
    'device_id', entry.device_id,
    'offline_id', entry.offline_id,
    'created_at', entry.created_at,
    'updated_at', entry.updated_at,
    'revision', revision);
end;
$$;
comment on function private.entry_json(public.waste_entries, bigint) is
  'An entry in the contract''s format, without names that depend on the language.';

create function private.entry_lines(p_user_id uuid, entries public.waste_entries[],
                                    out lines json[], out times timestamptz[], out ids uuid[])
language plpgsql stable
set search_path = ''
-- Same as in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
as $$
begin
  -- json, not jsonb: writing a row directly as text costs half, and nothing here reads it again.
  select array_agg(row_to_json(line)), array_agg(line.logged_at), array_agg(line.id) into lines, times, ids
  from (
    select e.id, e.category_id, e.disposal_method, trim_scale(e.weight_kg) as weight_kg, e.carbon_credits,
           trim_scale(e.co2e_kg) as co2e_kg, trim_scale(e.co2e_avoided_kg) as co2e_avoided_kg, e.factor_set,
           e.logged_at, e.local_date, e.time_zone,
           case when e.location_lat is not null then json_build_object(
             'latitude', trim_scale(e.location_lat), 'longitude', trim_scale(e.location_lng)) end as location,
           e.notes, e.place, e.province, e.image_id, e.device_id, e.offline_id, e.created_at, e.updated_at,
           -- A separate query per line: joined, a plan for few keys would be used for many.
           (select k.revision from private.entry_keys as k where k.user_id = p_user_id and k.entry_id = e.id) as revision
    from unnest(entries) as e
    order by e.logged_at desc, e.id desc) as line;
end;
$$;
comment on function private.entry_lines(uuid, public.waste_entries[]) is
  'A user''s entries as entry-out (the members of private.entry_json), newest first, with their times and ids; nulls if there are none.';

create function private.raise_entry_error(errors jsonb)
returns void
language plpgsql stable
set search_path = ''
as $$
begin
  raise exception using
    errcode = '22023',
    message = concat_ws(': ', nullif(errors #>> '{0,field}', ''), errors #>> '{0,message_en}'),
    detail = errors #>> '{0,token}',
    hint = coalesce(errors #>> '{0,message_th}', '');
end;
$$;
comment on function private.raise_entry_error(jsonb) is
  'Raises the first error that carbon.parse_entries found in an entry (22023).';

create function private.lock_writer(out user_id uuid, out time_zone text, out province text,
                                    out revision bigint, out ledger_rows bigint)
language plpgsql security definer
set search_path = ''
as $$
declare
  state private.user_state := (private.lock_state(auth.uid(), true)).state;
begin
  user_id := state.user_id;
  time_zone := state.time_zone;
  province := state.province;
  revision := state.revision;
  ledger_rows := state.ledger_rows;
end;
$$;
comment on function private.lock_writer() is
  'Takes the caller''s own lock until the end of the transaction and returns the profile values copied to new '
  'entries. Raises 42501 carbon.not_signed_in, 23503 carbon.unknown_user, PT401 carbon.session_ended for '
  'deleted and banned users.';

create function private.try_lock_writer(out user_id uuid, out time_zone text, out province text,
                                        out revision bigint, out ledger_rows bigint)
language plpgsql security definer
set search_path = ''
as $$
begin
  perform from private.user_state as t where t.user_id = auth.uid() for no key update skip locked;
  if not found and exists (select from private.user_state as t where t.user_id = auth.uid()) then
    perform carbon.raise_limit('carbon.already_running', 2);
  end if;
  select w.* into user_id, time_zone, province, revision, ledger_rows from private.lock_writer() as w;
end;
$$;
comment on function private.try_lock_writer() is
  'As private.lock_writer(), for long operations: does not wait if the caller''s lock is held, but raises PT429 carbon.already_running.';

create function private.streak_json(user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
-- Same as in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
as $$
begin
  return (
    select jsonb_build_object(
      'current', carbon.run_as_of(s.current_run, s.latest_day, carbon.local_date(now(), s.time_zone)), 'max', s.longest_run)
    from private.user_state as s
    where s.user_id = streak_json.user_id);
end;
$$;
comment on function private.streak_json(uuid) is
  'The streak {current, max} of a user as of today in their own zone, in days.';

-- Create ------------------------------------------------------------------------------------
--
-- Public functions that accept texts take the request body as a single unnamed json parameter: for any other function
-- PostgREST parses the parameters, also with json_to_record(), and refuses the entire body for half a surrogate pair
-- or U+0000 anywhere in it.

create function private.existing_entry_json(p_user_id uuid, stated carbon.entry_in)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  existing private.entry_keys;
  entry public.waste_entries;
  answer jsonb := '{"duplicate": true, "achievements_unlocked": [], "challenges_completed": [], "level_up": null}';
begin
  select k.* into existing
  from (
    select i.* from private.entry_keys as i where i.user_id = p_user_id and i.offline_id = stated.offline_id
    union all
    select i.* from private.entry_keys as i
    where i.user_id = p_user_id and i.identity = carbon.entry_identity(
      stated.offline_id, stated.category_id, stated.disposal_method, (stated.weight_kg * 1000)::integer, stated.logged_at)) as k
  limit 1;
  answer := answer || jsonb_build_object('streak', private.streak_json(p_user_id));
  if existing.deleted_at is not null then
    return answer || jsonb_build_object(
      'id', existing.entry_id, 'offline_id', stated.offline_id, 'revision', existing.revision, 'deleted', true);
  end if;
  select e.* into entry from public.waste_entries as e
  where e.user_id = p_user_id and e.logged_at = existing.logged_at and e.id = existing.entry_id;
  return answer || private.entry_json(entry, existing.revision);
end;
$$;
comment on function private.existing_entry_json(uuid, carbon.entry_in) is
  'The answer for a duplicate entry, recognised by its offline_id or else its identity: the entry as it is now, or that it has been deleted.';

create function private.create_waste_entry(entry text)
returns jsonb
language plpgsql security definer
set search_path = ''
-- Same as in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set carbon.records_entries = 'on'
as $$
declare
  caller_id uuid := auth.uid();
  stated carbon.entry_in := carbon.parse_entry(entry, now());
  writer private.writer;
  state private.user_state;
  new_id uuid := gen_random_uuid();
  created public.waste_entries;
  derived carbon.derived;
  answer jsonb;
begin
  if stated.errors is not null then
    perform private.raise_entry_error(stated.errors);
  end if;
  writer := private.lock_state(caller_id, true);
  state := writer.state;

  -- Insert the key first: its unique indexes show whether the entry is new.
  insert into private.entry_keys (user_id, entry_id, logged_at, revision, offline_id, identity)
  values (caller_id, new_id, stated.logged_at, state.revision + 1, stated.offline_id,
          case when stated.offline_id is not null then
            carbon.entry_identity(stated.offline_id, stated.category_id, stated.disposal_method,
                                  (stated.weight_kg * 1000)::integer, stated.logged_at) end)
  on conflict do nothing;
  if not found then
    return private.existing_entry_json(caller_id, stated);
  end if;

  insert into public.waste_entries as e
    (id, user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, location_lat, location_lng,
     notes, place, image_id, device_id, offline_id)
  values
    (new_id, caller_id, stated.category_id, stated.disposal_method, stated.weight_kg, stated.logged_at,
     coalesce(stated.time_zone, state.time_zone), state.province, stated.location_lat, stated.location_lng,
     stated.notes, stated.place, stated.image_id::uuid, stated.device_id, stated.offline_id)
  returning e.* into created;
  derived := private.record_entry(state, writer.rules, created);

  answer := private.entry_json(created, state.revision + 1) || jsonb_build_object(
    'duplicate', false, 'streak', jsonb_build_object('current', derived.streak, 'max', derived.longest_run));
  return answer || coalesce(
    derived.earned, '{"achievements_unlocked": [], "challenges_completed": [], "level_up": null}')::jsonb;
end;
$$;
comment on function private.create_waste_entry(text) is
  'Body of public.create_waste_entry: entry is the JSON text of entry-in.';

create function public.create_waste_entry(json)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
  return private.create_waste_entry(carbon.json_member($1::text, 'entry'));
end;
$$;
comment on function public.create_waste_entry(json) is
  'Creates one entry of the caller. Input: the body {entry}, entry-in; a text that cannot be stored is '
  'refused with its own field. Returns entry-out with duplicate, achievements_unlocked, '
  'challenges_completed, level_up, streak. A duplicate offline_id returns the first entry with duplicate '
  'true; if that was deleted, with deleted true and no figures. Errors: 22023 with the field''s token, 23503 '
  'carbon.unknown_user, PT429.';

create function private.existing_credits(p_user_id uuid, entry_time timestamptz, p_entry_id uuid)
returns integer
language plpgsql stable
set search_path = ''
-- Same as in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
as $$
begin
  return (
    select e.carbon_credits from public.waste_entries as e
    where e.user_id = p_user_id and e.logged_at = entry_time and e.id = p_entry_id);
end;
$$;
comment on function private.existing_credits(uuid, timestamptz, uuid) is
  'The credits of an entry whose time is given. A separate query, which opens that month alone: joined to a batch, it would open all 89 months for missing entries.';

create function private.batch_lines(writer record, entries text)
returns jsonb
language plpgsql
set search_path = ''
-- As in private.tg_waste_entries__count_inserted: by index, and with one plan for one line or 500.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  lines jsonb;
begin
  with stated as materialized (
    select p.*, gen_random_uuid() as new_id,
           case when p.offline_id is not null and p.errors is null then carbon.entry_identity(
             p.offline_id, p.category_id, p.disposal_method, (p.weight_kg * 1000)::integer, p.logged_at) end as identity
    from carbon.parse_entries_text(entries, now()) as p
  ), matched as materialized (
    -- The entry that each line refers to: an existing one, the first line of this batch with the same offline_id, or
    -- itself.
    select s.*,
           coalesce(k.entry_id, first_value(k.entry_id) over same_offline_id) as existing_id,
           coalesce(k.logged_at, first_value(k.logged_at) over same_offline_id) as existing_at,
           case when s.offline_id is null then s.new_id else first_value(s.new_id) over same_offline_id end as first_id
    from stated as s
    left join lateral (
      select i.entry_id, i.logged_at from private.entry_keys as i
      where i.user_id = writer.user_id and i.offline_id = s.offline_id
      union all
      select i.entry_id, i.logged_at from private.entry_keys as i
      where i.user_id = writer.user_id and i.identity = s.identity
      limit 1) as k on true
    where s.errors is null
    window same_offline_id as (partition by s.offline_id order by s.ordinal)
  ), created as (
    insert into public.waste_entries as e
      (id, user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, location_lat, location_lng,
       notes, place, image_id, device_id, offline_id)
    select k.new_id, writer.user_id, k.category_id, k.disposal_method, k.weight_kg, k.logged_at,
           coalesce(k.time_zone, writer.time_zone), writer.province, k.location_lat, k.location_lng, k.notes, k.place,
           k.image_id::uuid, k.device_id, k.offline_id
    from matched as k
    where k.existing_id is null and k.first_id = k.new_id order by k.ordinal
    returning e.id, e.carbon_credits
  )
  select jsonb_agg(case
    when s.errors is not null then jsonb_build_object(
      'offline_id', s.offline_id, 'id', null, 'status', 'error', 'carbon_credits', null, 'error', s.errors -> 0)
    else jsonb_build_object(
      'offline_id', s.offline_id, 'id', coalesce(k.existing_id, k.first_id),
      'status', case when k.existing_id is null and k.first_id = k.new_id then 'created' else 'duplicate' end,
      'carbon_credits', case when k.existing_id is null then c.carbon_credits
                             else private.existing_credits(writer.user_id, k.existing_at, k.existing_id) end)
    end order by s.ordinal)
  into lines
  from stated as s
  left join matched as k on k.ordinal = s.ordinal
  left join created as c on c.id = k.first_id;
  return lines;
end;
$$;
comment on function private.batch_lines(record, text) is
  'Creates the valid entries of a list, given as JSON text, and returns the lines of the batch answer; null for an empty list. The caller must hold the writer''s lock.';

create function private.create_waste_entries(entries text)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  writer record;
  lines jsonb;
begin
  if entries is null then
    perform private.raise_error('carbon.entries_required', '22023');
  end if;
  writer := private.lock_writer();
  lines := coalesce(private.batch_lines(writer, entries), '[]');

  return private.answer_rewards(writer.user_id, writer.ledger_rows) || (
    select jsonb_build_object(
      'processed', count(*),
      'created', count(*) filter (where line ->> 'status' = 'created'),
      'duplicates', count(*) filter (where line ->> 'status' = 'duplicate'),
      'errors', count(*) filter (where line ->> 'status' = 'error'),
      'total_credits_earned', coalesce(sum((line -> 'carbon_credits')::integer)
                                         filter (where line ->> 'status' = 'created'), 0),
      'entries', lines)
    from jsonb_array_elements(lines) as line);
end;
$$;
comment on function private.create_waste_entries(text) is
  'Body of public.create_waste_entries: entries is the JSON text of the list.';

create function public.create_waste_entries(json)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  entries text := carbon.json_member($1::text, 'entries');
begin
  return private.create_waste_entries(case when left(entries, 1) = '[' then entries end);
end;
$$;
comment on function public.create_waste_entries(json) is
  'Creates up to 500 entries of the caller; an invalid entry never affects the valid ones, even if it has a '
  'text or a depth that PostgreSQL cannot store. Input: the body {entries}. Returns the contract''s batch '
  'answer, each error {token, field, code, message_th, message_en}. Errors: 22023 carbon.entries_required, '
  'carbon.batch_too_large, 23503 carbon.unknown_user, PT429.';

-- Update and delete -------------------------------------------------------------------------
create function private.own_entry_key(p_user_id uuid, p_entry_id uuid)
returns private.entry_keys
language plpgsql stable
set search_path = ''
-- Same as in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
as $$
declare
  key private.entry_keys;
begin
  select k.* into key from private.entry_keys as k
  where k.user_id = p_user_id and k.entry_id = p_entry_id and k.deleted_at is null;
  if not found then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  return key;
end;
$$;
comment on function private.own_entry_key(uuid, uuid) is
  'The key of an existing entry of this user; PT404 carbon.not_found if there is none, even if another user has an entry with that id.';

create function private.merged_entry(entry public.waste_entries, changes jsonb, zone_of_person text)
returns public.waste_entries
language plpgsql stable
set search_path = ''
as $$
declare
  stated record;
  shown jsonb := private.entry_json(entry, null);
begin
  -- A value sent exactly as it was returned counts as unchanged and is not validated again: the long notes of an
  -- imported entry, or a time that is now too far in the past, must not block a new weight.
  select coalesce(jsonb_object_agg(c.key, c.value), '{}') into changes
  from jsonb_each(changes - '{offline_id,device_id}'::text[]) as c
  where c.value is distinct from shown -> c.key;

  select p.* into stated
  from carbon.parse_entries(jsonb_build_array(
    jsonb_build_object('category_id', entry.category_id, 'disposal_method', entry.disposal_method,
                       'weight_kg', entry.weight_kg) || changes), now()) as p;
  if stated.errors is not null then
    perform private.raise_entry_error(stated.errors);
  elsif changes ? 'logged_at' and jsonb_typeof(changes -> 'logged_at') = 'null' then
    perform private.raise_error('carbon.logged_at_required', '22023');
  end if;

  entry.category_id := stated.category_id;
  entry.disposal_method := stated.disposal_method;
  entry.weight_kg := stated.weight_kg;
  if changes ? 'logged_at' then entry.logged_at := stated.logged_at; end if;
  if changes ? 'time_zone' then entry.time_zone := coalesce(stated.time_zone, zone_of_person); end if;
  if changes ? 'location' then
    entry.location_lat := stated.location_lat;
    entry.location_lng := stated.location_lng;
  end if;
  if changes ? 'notes' then entry.notes := stated.notes; end if;
  if changes ? 'place' then entry.place := stated.place; end if;
  if changes ? 'image_id' then entry.image_id := stated.image_id; end if;
  return entry;
end;
$$;
comment on function private.merged_entry(public.waste_entries, jsonb, text) is
  'The entry with the changes applied: missing = unchanged, null clears (a zone: resets it to the user''s), a value sent as it was returned is unchanged. Raises 22023 with the field''s token.';

create function private.update_waste_entry(p_entry_id uuid, changes text, expected_revision bigint)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  stated jsonb := carbon.entry_changes(coalesce(changes, 'null'), now())::jsonb;
  writer record;
  key private.entry_keys;
  before public.waste_entries;
  after public.waste_entries;
begin
  writer := private.lock_writer();
  key := private.own_entry_key(writer.user_id, p_entry_id);
  select e.* into before from public.waste_entries as e
  where e.user_id = key.user_id and e.logged_at = key.logged_at and e.id = key.entry_id;

  if key.revision <> expected_revision then
    perform set_config('response.status', '409', true);
    return jsonb_build_object('code', 'carbon.revision_conflict', 'entry', private.entry_json(before, key.revision));
  end if;

  after := private.merged_entry(before, stated, writer.time_zone);
  if (before.category_id, before.disposal_method, before.weight_kg, before.logged_at, before.time_zone,
      before.location_lat, before.location_lng, before.notes, before.place, before.image_id)
     is not distinct from
     (after.category_id, after.disposal_method, after.weight_kg, after.logged_at, after.time_zone,
      after.location_lat, after.location_lng, after.notes, after.place, after.image_id) then
    return private.entry_json(before, key.revision);
  end if;

  update public.waste_entries as e
  set category_id = after.category_id, disposal_method = after.disposal_method, weight_kg = after.weight_kg,
      logged_at = after.logged_at, time_zone = after.time_zone, location_lat = after.location_lat,
      location_lng = after.location_lng,
      notes = after.notes, place = after.place, image_id = after.image_id
  where e.user_id = key.user_id and e.logged_at = key.logged_at and e.id = key.entry_id
  returning e.* into after;
  return private.entry_json(after, writer.revision + 1);
end;
$$;
comment on function private.update_waste_entry(uuid, text, bigint) is
  'Body of public.update_waste_entry: changes is the JSON text of the changes.';

create function public.update_waste_entry(json)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  member text[] := carbon.json_members($1::text, array['entry_id', 'changes', 'expected_revision']);
begin
  return private.update_waste_entry(carbon.json_scalar(member[1])::uuid, member[2], carbon.json_scalar(member[3])::bigint);
end;
$$;
comment on function public.update_waste_entry(json) is
  'Changes an entry of the caller. Input: the body {entry_id, changes, expected_revision}, the last one '
  'optional; changes has any field of entry-in but offline_id and device_id (those are ignored); missing = '
  'unchanged, null clears. Returns entry-out. If expected_revision is given and is not the entry''s: status '
  '409 and {code: carbon.revision_conflict, entry}. Errors: 22023 with the field''s token, PT404 '
  'carbon.not_found.';

create function private.delete_waste_entry(entry_id uuid)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  writer record;
  key private.entry_keys;
begin
  writer := private.lock_writer();
  key := private.own_entry_key(writer.user_id, entry_id);
  delete from public.waste_entries as e
  where e.user_id = key.user_id and e.logged_at = key.logged_at and e.id = key.entry_id;
  return jsonb_build_object('id', key.entry_id, 'deleted', true, 'revision', writer.revision + 1);
end;
$$;
grant execute on function private.delete_waste_entry(uuid) to authenticated;
select private.expose(
  'private.delete_waste_entry(uuid)',
  'Deletes an entry of the caller and leaves a tombstone for their other devices. Returns {id, deleted, revision}. Deleting it again: PT404 carbon.not_found.');

grant execute on function private.create_waste_entry(text), public.create_waste_entry(json),
  private.create_waste_entries(text), public.create_waste_entries(json),
  private.update_waste_entry(uuid, text, bigint), public.update_waste_entry(json) to authenticated;
