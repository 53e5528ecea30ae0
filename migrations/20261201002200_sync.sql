-- Synchronising devices: each requests the changes after the revision it has, deletions included.

create function private.sync_status()
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  answer jsonb;
begin
  select jsonb_build_object('revision', t.revision, 'entries', t.entries, 'last_change_at', t.last_change_at)
  into answer
  from private.user_state as t where t.user_id = caller_id;
  if not found then
    perform private.raise_error('carbon.unknown_user', '23503');
  end if;
  return answer || jsonb_build_object('devices', (
    select coalesce(jsonb_agg(jsonb_build_object(
      'device_id', d.device_id, 'platform', d.platform, 'app_version', d.app_version,
      'last_seen_at', d.last_seen_at, 'revision_seen', d.revision_seen) order by d.last_seen_at desc, d.device_id), '[]')
    from public.devices as d where d.user_id = caller_id));
end;
$$;
grant execute on function private.sync_status() to authenticated;
select private.expose(
  'private.sync_status()',
  'The state of the caller''s diary and devices: {revision, entries, last_change_at, devices}. Errors: 23503 carbon.unknown_user.');

create function private.changes_between(p_user_id uuid, since_revision bigint, last_revision bigint)
returns jsonb
language plpgsql stable
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
  earliest timestamptz;
  latest timestamptz;
begin
  -- The function is stable, so both statements see the same snapshot; with concrete bounds, the second opens only the
  -- months it needs.
  select min(k.logged_at), max(k.logged_at) into earliest, latest
  from private.entry_keys as k
  where k.user_id = p_user_id and k.revision > since_revision and k.revision <= last_revision and k.deleted_at is null;

  return (
    select coalesce(jsonb_agg(case
      when k.deleted_at is not null then jsonb_build_object('revision', k.revision, 'op', 'delete', 'id', k.entry_id)
      else jsonb_build_object('revision', k.revision, 'op', 'upsert', 'entry', private.entry_json(e, k.revision))
      end order by k.revision), '[]')
    from private.entry_keys as k
    left join lateral (
      -- One lookup per key: the limit prevents a join over all entries in between.
      select w.* from public.waste_entries as w
      where w.user_id = p_user_id and w.logged_at between earliest and latest
        and w.logged_at = k.logged_at and w.id = k.entry_id
      limit 1) as e on true
    where k.user_id = p_user_id and k.revision > since_revision and k.revision <= last_revision);
end;
$$;
comment on function private.changes_between(uuid, bigint, bigint) is
  'The changes after one revision up to another, in order: each entry once, with its newest revision.';

create function private.sync_changes(since_revision bigint, max_changes integer default 500, device_id text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  current_revision bigint;
  last_revision bigint;
  page_size integer := coalesce(max_changes, 500);
  has_more boolean := false;
begin
  if coalesce(since_revision, -1) < 0 then
    perform private.raise_error('carbon.since_revision_invalid', '22023');
  elsif page_size not between 1 and 500 then
    perform private.raise_error('carbon.limit_invalid', '22023');
  elsif length(device_id) not between 1 and carbon.limit_of('device_id_chars') then
    perform private.raise_error('carbon.device_id_invalid', '22023');
  end if;
  select t.revision into current_revision from private.user_state as t where t.user_id = caller_id;
  if not found then
    perform private.raise_error('carbon.unknown_user', '23503');
  elsif since_revision > current_revision then
    perform private.raise_error('carbon.revision_ahead', 'PT409');
  end if;

  -- Concurrent writes have a revision above current_revision and come with the next request.
  select k.revision into last_revision
  from private.entry_keys as k
  where k.user_id = caller_id and k.revision > since_revision and k.revision <= current_revision
  order by k.revision offset page_size - 1 limit 1;
  has_more := last_revision < current_revision;
  last_revision := coalesce(last_revision, current_revision);

  if device_id is not null then
    perform private.note_device(caller_id, device_id, null, null, last_revision);
  end if;
  return jsonb_build_object(
    'changes', private.changes_between(caller_id, since_revision, last_revision),
    'revision', last_revision,
    'has_more', coalesce(has_more, false));
end;
$$;
grant execute on function private.sync_changes(bigint, integer, text) to authenticated;
select private.expose(
  'private.sync_changes(bigint, integer, text)',
  'The caller''s changes after since_revision, at most max_changes (1 to 500), in order: {changes: '
  '[{revision, op: upsert, entry} | {revision, op: delete, id}], revision, has_more}. revision is the newest '
  'one in the answer: pass it as the next since_revision. With device_id, records that the device has '
  'received it. Errors: PT409 carbon.revision_ahead, 22023, 23503 carbon.unknown_user.');
