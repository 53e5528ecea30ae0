-- What the public door needs of the database: answers that are given once, reads that are skipped when
-- nothing changed, and the request's id in the server's log.

-- Idempotency -------------------------------------------------------------------------------
create table private.idempotency_keys (
  user_id uuid not null references public.profiles (id) on delete cascade,
  key text not null,
  scope text not null,
  fingerprint bytea not null,
  answer jsonb not null,
  created_at timestamptz not null default now(),
  primary key (user_id, key, scope)
);
comment on table private.idempotency_keys is
  'Answers of writes that came with an Idempotency-Key, written in the write''s own transaction; 24 hours, and at most about 5,000 a person. Read and written by run_once only.';
comment on column private.idempotency_keys.scope is 'Method and path the key was used with.';
comment on column private.idempotency_keys.fingerprint is 'SHA-256 of the request''s query and body.';
comment on column private.idempotency_keys.answer is 'What the operation answered, without anything that depends on language.';
-- Rows come in the order of time, so that a summary for each range of pages finds the old ones.
create index idempotency_keys_created_at on private.idempotency_keys using brin (created_at);
alter table private.idempotency_keys enable row level security;

create function private.run_operation(operation text, arguments jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
  case operation
    when 'create_waste_entry' then
      return public.create_waste_entry(arguments -> 'entry');
    when 'create_waste_entries' then
      return public.create_waste_entries(arguments -> 'entries');
    when 'update_waste_entry' then
      return public.update_waste_entry((arguments ->> 'entry_id')::uuid, arguments -> 'changes',
                                       (arguments ->> 'expected_revision')::bigint);
    when 'delete_waste_entry' then
      return public.delete_waste_entry((arguments ->> 'entry_id')::uuid);
    when 'update_profile' then
      return public.update_profile(arguments -> 'changes');
    when 'sync_changes' then
      return public.sync_changes((arguments ->> 'since_revision')::bigint, (arguments ->> 'max_changes')::integer,
                                 arguments ->> 'device_id');
    when 'migrate_local' then
      return public.migrate_local(arguments ->> 'payload', coalesce((arguments ->> 'dry_run')::boolean, false));
    when 'rollback_migration' then
      return public.rollback_migration((arguments ->> 'batch_id')::uuid);
    when 'check_achievements' then
      return public.check_achievements();
    when 'refresh_challenge_progress' then
      return public.refresh_challenge_progress();
    else
      perform private.raise_error('carbon.not_found', 'PT404');
  end case;
end;
$$;
comment on function private.run_operation(text, jsonb) is
  'Runs one of the writes that may be asked for with an Idempotency-Key, by its name; PT404 carbon.not_found for any other.';

create function private.forget_oldest_keys(owner uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- Half a day of one write every nine seconds: nobody who uses the app comes near it.
  if (select count(*) from private.idempotency_keys as k where k.user_id = owner) > 5000 then
    delete from private.idempotency_keys as k
    where k.user_id = owner
      and k.created_at <= (select o.created_at from private.idempotency_keys as o where o.user_id = owner
                           order by o.created_at desc offset 4000 limit 1);
  end if;
end;
$$;
comment on function private.forget_oldest_keys(uuid) is
  'Of more than 5,000 keys of a person keeps the newest 4,000, so that made-up keys cannot fill the table.';

create function private.run_once(idempotency_key text, request_scope text, request_fingerprint text, operation text,
                                 arguments jsonb)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  owner uuid := private.caller_id();
  digest bytea;
  known record;
  answer jsonb;
begin
  if coalesce(idempotency_key, '') !~ '^[\x21-\x7e]{1,255}$' then
    perform private.raise_error('carbon.idempotency_key_invalid', '22023');
  elsif coalesce(length(request_scope), 0) not between 1 and 300
        or coalesce(request_fingerprint, '') !~ '^[0-9a-f]{64}$' then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  digest := decode(request_fingerprint, 'hex');

  -- A twin under way holds this lock to the end of its transaction; the next statement sees its answer.
  perform pg_advisory_xact_lock(hashtextextended(concat_ws(' ', owner, request_scope, idempotency_key), 0));
  select k.fingerprint, k.answer into known
  from private.idempotency_keys as k
  where k.user_id = owner and k.key = idempotency_key and k.scope = request_scope
    and k.created_at > now() - interval '24 hours';
  if found then
    if known.fingerprint <> digest then
      perform private.raise_error('carbon.idempotency_key_reused', 'PT409');
    end if;
    return jsonb_build_object('replayed', true, 'answer', known.answer);
  end if;

  answer := private.run_operation(operation, arguments);
  -- A refusal that answers by a status of its own wrote nothing and is judged anew, as those that raise.
  if coalesce(current_setting('response.status', true), '') <> '' then
    return answer;
  end if;
  insert into private.idempotency_keys as k (user_id, key, scope, fingerprint, answer)
  values (owner, idempotency_key, request_scope, digest, answer)
  on conflict (user_id, key, scope) do update
    set fingerprint = excluded.fingerprint, answer = excluded.answer, created_at = excluded.created_at;
  if random() < 0.01 then
    perform private.forget_oldest_keys(owner);
  end if;
  return jsonb_build_object('replayed', false, 'answer', answer);
end;
$$;
comment on function private.run_once(text, text, text, text, jsonb) is
  'Body of public.run_once.';

create function public.run_once(idempotency_key text, request_scope text, request_fingerprint text, operation text,
                                arguments jsonb default '{}')
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
  return private.run_once(idempotency_key, request_scope, request_fingerprint, operation, arguments);
end;
$$;
comment on function public.run_once(text, text, text, text, jsonb) is
  'Runs a write of the caller at most once for a key (1 to 255 visible ASCII characters) within its scope (method and path): {replayed, answer}. The same fingerprint (SHA-256 in hex) within 24 hours gets the first answer, another one PT409 carbon.idempotency_key_reused; a twin under way is waited for. operation is one of create_waste_entry, create_waste_entries, update_waste_entry, delete_waste_entry, update_profile, sync_changes, migrate_local, rollback_migration, check_achievements, refresh_challenge_progress, with its arguments by name. A refusal is not kept. Errors: those of the operation, 22023 carbon.idempotency_key_invalid.';

create function private.drop_old_keys(most integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  dropped integer;
begin
  delete from private.idempotency_keys as k
  where k.ctid = any (array(
    select o.ctid from private.idempotency_keys as o where o.created_at < now() - interval '24 hours' limit most));
  get diagnostics dropped = row_count;
  return dropped;
end;
$$;
comment on function private.drop_old_keys(integer) is
  'Deletes at most so many answers older than 24 hours, which are new keys already; returns how many.';

-- Six times 100,000 an hour: 14 million writes a day.
select cron.schedule('carbon_idempotency_keys', '*/10 * * * *', $$select private.drop_old_keys(100000)$$);

-- Reads that are skipped when nothing changed -------------------------------------------------
create function private.own_tag(owner uuid, question text, at timestamptz)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  -- The rows' transaction ids change with them, whoever writes and in whatever order; the revision, the times and
  -- the release tell databases apart that were restored or migrated.
  return (
    select md5(concat_ws('|', owner, question, t.revision, t.xmin, p.updated_at, p.xmin, c.updated_at, c.xmin,
                         carbon.local_date(at, coalesce(c.time_zone, carbon.default_time_zone())),
                         (select max(m.version) from private.schema_migrations as m)))
    from public.user_totals as t
    join public.profiles as p on p.id = t.user_id
    join public.user_preferences as c on c.user_id = t.user_id
    where t.user_id = owner);
end;
$$;
comment on function private.own_tag(uuid, text, timestamptz) is
  'A tag for an answer that depends on nothing but the person''s own entries, profile and preferences and on their date at that moment: it changes when any of these does. Null for somebody unknown.';

create function private.read_operation(operation text, arguments jsonb)
returns json
language plpgsql stable
set search_path = ''
as $$
begin
  case operation
    -- Answers are passed on as text from here: lists come as json.
    when 'get_profile' then
      return public.get_profile();
    when 'get_gamification_profile' then
      return public.get_gamification_profile();
    when 'get_waste_entry' then
      return public.get_waste_entry((arguments ->> 'entry_id')::uuid);
    when 'list_waste_entries' then
      return public.list_waste_entries(
        (arguments ->> 'page')::integer, (arguments ->> 'page_size')::integer, arguments ->> 'cursor',
        (arguments ->> 'date_from')::date, (arguments ->> 'date_to')::date, arguments ->> 'category_id',
        arguments ->> 'disposal_method', arguments ->> 'q');
    when 'waste_stats_daily' then
      return public.waste_stats_daily((arguments ->> 'day')::date);
    when 'waste_stats_monthly' then
      return public.waste_stats_monthly(arguments ->> 'month');
    when 'waste_stats_by_category' then
      return public.waste_stats_by_category((arguments ->> 'date_from')::date, (arguments ->> 'date_to')::date);
    when 'sync_status' then
      return public.sync_status();
    when 'get_achievements' then
      return public.get_achievements();
    when 'get_challenges_today' then
      return public.get_challenges_today();
    when 'get_challenge_history' then
      return public.get_challenge_history((arguments ->> 'page_size')::integer, arguments ->> 'cursor');
    when 'get_leaderboard' then
      return public.get_leaderboard(
        coalesce(arguments ->> 'board_type', 'global'), coalesce(arguments ->> 'timeframe', 'all_time'),
        arguments ->> 'province', (arguments ->> 'page')::integer, (arguments ->> 'page_size')::integer,
        arguments ->> 'cursor', coalesce((arguments ->> 'around_me')::boolean, false));
    else
      perform private.raise_error('carbon.not_found', 'PT404');
  end case;
end;
$$;
comment on function private.read_operation(text, jsonb) is
  'Runs one of a person''s reads by its name; PT404 carbon.not_found for any other.';

create function private.read_if_changed(operation text, arguments jsonb, known_tags text[])
returns json
language plpgsql stable security definer
set search_path = ''
as $$
declare
  owner uuid := private.caller_id();
  question text := concat_ws(' ', operation, arguments);
  tag text;
  answer json;
begin
  if operation in ('get_profile', 'get_waste_entry', 'list_waste_entries', 'waste_stats_daily', 'waste_stats_monthly',
                   'waste_stats_by_category') then
    tag := private.own_tag(owner, question, now());
    if tag = any (known_tags) then
      return json_build_object('tag', tag);
    end if;
    answer := private.read_operation(operation, arguments);
  else
    -- Others' deeds and devices count here as well: the answer itself is looked at. A sealed cursor is another one at
    -- each read; it stands where the rows end, so only whether there is one counts. What it holds must not: a tag
    -- could be compared with tags computed for people who were shown before they asked to be masked.
    answer := private.read_operation(operation, arguments);
    tag := md5(concat_ws('|', owner, question, answer::jsonb - '{as_of,next_cursor}'::text[],
                         answer ->> 'next_cursor' is not null));
    if tag = any (known_tags) then
      return json_build_object('tag', tag);
    end if;
  end if;
  return json_build_object('tag', tag, 'answer', answer);
end;
$$;
comment on function private.read_if_changed(text, jsonb, text[]) is
  'Body of public.read_if_changed.';

create function public.read_if_changed(operation text, arguments jsonb default '{}', known_tags text[] default '{}')
returns json
language plpgsql stable
set search_path = ''
as $$
begin
  return private.read_if_changed(operation, arguments, known_tags);
end;
$$;
comment on function public.read_if_changed(text, jsonb, text[]) is
  'Reads something of the caller''s together with a tag for it: {tag, answer}; without answer when the tag is one of known_tags. operation is one of get_profile, get_gamification_profile, get_waste_entry, list_waste_entries, waste_stats_daily, waste_stats_monthly, waste_stats_by_category, sync_status, get_achievements, get_challenges_today, get_challenge_history, get_leaderboard, with its arguments by name. What depends on the caller''s own data alone is not even read when the tag is known. Errors: those of the operation.';

-- The request's id in the server's log ----------------------------------------------------------
create function private.note_request()
returns void
language plpgsql
set search_path = ''
as $$
declare
  request_id text := current_setting('request.headers', true)::json ->> 'x-request-id';
begin
  if request_id ~ '^[0-9a-f]{32}$' then
    perform set_config('application_name', 'carbon ' || request_id, true);
  end if;
end;
$$;
comment on function private.note_request() is
  'Called by PostgREST before each request (db-pre-request): puts the request''s id into application_name until the transaction ends, so that the server''s log and pg_stat_activity name it.';

grant execute on function private.note_request() to anon, authenticated, service_role;
grant execute on function private.run_once(text, text, text, text, jsonb), public.run_once(text, text, text, text, jsonb),
  private.read_if_changed(text, jsonb, text[]), public.read_if_changed(text, jsonb, text[]) to authenticated;
