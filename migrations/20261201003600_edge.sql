-- What the edge needs of the database: idempotent writes, and reads that are skipped when nothing changed.

-- Idempotency -------------------------------------------------------------------------------
create table private.idempotency_keys (
  user_id uuid not null references public.profiles (id) on delete cascade,
  key text not null,
  scope text not null,
  fingerprint bytea not null,
  answer jsonb not null,
  created_at timestamptz not null default now(),
  primary key (user_id, key, scope),
  constraint answer_has_at_most_128_kib check (octet_length(answer::text) <= carbon.limit_of('stored_answer_bytes'))
);
comment on table private.idempotency_keys is
  'Answers of writes that came with an Idempotency-Key, written in the write''s own transaction; retained for 24 hours, at most 8 MiB per user. Read and written by run_once only.';
comment on column private.idempotency_keys.scope is 'Method and path that the key was used with.';
comment on column private.idempotency_keys.fingerprint is 'SHA-256 of the request''s query and body.';
comment on column private.idempotency_keys.answer is
  'The part of the operation''s answer that private.stored_answer() retains; private.restored_answer() restores the rest.';
-- Rows are in time order, so a BRIN index finds the expired ones.
create index idempotency_keys_created_at on private.idempotency_keys using brin (created_at);
alter table private.idempotency_keys enable row level security;

create function private.run_operation(operation text, arguments text)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
  case operation
    when 'create_waste_entry' then
      return public.create_waste_entry(arguments::json);
    when 'create_waste_entries' then
      return public.create_waste_entries(arguments::json);
    when 'update_waste_entry' then
      return public.update_waste_entry(arguments::json);
    when 'delete_waste_entry' then
      return public.delete_waste_entry((arguments::jsonb ->> 'entry_id')::uuid);
    when 'update_profile' then
      return public.update_profile(arguments::json);
    when 'sync_changes' then
      return (select public.sync_changes((a.json ->> 'since_revision')::bigint, (a.json ->> 'max_changes')::integer, a.json ->> 'device_id')
              from (select arguments::jsonb as json) as a);
    when 'migrate_local' then
      return (select public.migrate_local(a.json ->> 'payload', coalesce((a.json ->> 'dry_run')::boolean, false))
              from (select arguments::jsonb as json) as a);
    when 'rollback_migration' then
      return public.rollback_migration((arguments::jsonb ->> 'batch_id')::uuid);
    when 'check_achievements' then
      return public.check_achievements();
    when 'refresh_challenge_progress' then
      return public.refresh_challenge_progress();
    when 'request_friend' then
      return (select public.request_friend(a.json ->> 'username', a.json ->> 'code', (a.json ->> 'user_id')::uuid)
              from (select arguments::jsonb as json) as a);
    when 'accept_friend' then
      return public.accept_friend((arguments::jsonb ->> 'request_id')::uuid);
    when 'reject_friend' then
      return public.reject_friend((arguments::jsonb ->> 'request_id')::uuid);
    when 'remove_friend' then
      return public.remove_friend((arguments::jsonb ->> 'user_id')::uuid);
    when 'block_user' then
      return public.block_user((arguments::jsonb ->> 'user_id')::uuid);
    when 'friend_code' then
      return public.friend_code(coalesce((arguments::jsonb ->> 'renew')::boolean, false));
    when 'join_community_challenge' then
      return (select public.join_community_challenge((a.json ->> 'challenge_id')::uuid, a.json ->> 'join_code')
              from (select arguments::jsonb as json) as a);
    when 'leave_community_challenge' then
      return public.leave_community_challenge((arguments::jsonb ->> 'challenge_id')::uuid);
    when 'generate_referral_code' then
      return public.generate_referral_code();
    when 'redeem_referral' then
      return public.redeem_referral(arguments::jsonb ->> 'code');
    else
      perform private.raise_error('carbon.not_found', 'PT404');
  end case;
end;
$$;
comment on function private.run_operation(text, text) is
  'Runs a write that allows an Idempotency-Key, by its name; PT404 carbon.not_found for any other.';

create function private.stored_answer(operation text, answer jsonb)
returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return case operation
    -- A page is read from the rows again.
    when 'sync_changes' then answer - 'changes'
    -- Up to 500 lines: about 100 bytes each without messages and what the request itself contains.
    when 'create_waste_entries' then jsonb_set(answer, '{entries}', coalesce((
      select jsonb_agg((l.line - 'offline_id')
                       || case when l.line -> 'error' is null then '{}'
                          else jsonb_build_object('error', (l.line -> 'error') - array['message_th', 'message_en']) end
                       order by l.place)
      from jsonb_array_elements(answer -> 'entries') with ordinality as l (line, place)), '[]'))
    -- Up to 3,000 lines, which can be restored from the request's bytes.
    when 'migrate_local' then answer - array['rejected', 'adjusted', 'unreadable_keys']
    else answer end;
end;
$$;
comment on function private.stored_answer(text, jsonb) is
  'The part of an answer to store: ids, statuses and counts. Omits what the rows or the same request can provide again.';

create function private.restored_answer(p_user_id uuid, operation text, arguments text, stored jsonb)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return case operation
    when 'sync_changes' then stored || jsonb_build_object('changes', private.changes_between(
      p_user_id, (arguments::jsonb ->> 'since_revision')::bigint, (stored ->> 'revision')::bigint))
    when 'create_waste_entries' then jsonb_set(stored, '{entries}', coalesce((
      select jsonb_agg(l.line || jsonb_build_object('offline_id', i.offline_id)
                       || case when m.token is null then '{}'
                          else jsonb_build_object('error', (l.line -> 'error')
                            || jsonb_build_object('message_th', m.message_th, 'message_en', m.message_en)) end
                       order by l.place)
      from jsonb_array_elements(stored -> 'entries') with ordinality as l (line, place)
      left join carbon.parse_entries_text(carbon.json_member(arguments, 'entries'), now()) as i on i.ordinal = l.place
      left join carbon.error_messages() as m on m.token = l.line #>> '{error,token}'), '[]'))
    when 'migrate_local' then stored || (
      select jsonb_build_object('rejected', p.parsed -> 'rejected', 'adjusted', p.parsed -> 'adjusted',
                                'unreadable_keys', p.parsed -> 'unreadable_keys')
      from (select carbon.parse_migration(arguments::jsonb ->> 'payload', now()) as parsed) as p)
    else stored end;
end;
$$;
comment on function private.restored_answer(uuid, text, text, jsonb) is
  'The first answer, restored from what private.stored_answer() retained, the arguments of the same request, and the rows: changes made since then are not in a sync page but come with a later one.';

create function private.count_stored_bytes(p_user_id uuid, bytes bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
  max_bytes constant integer := carbon.limit_of('stored_answers_bytes');
  held bigint;
begin
  insert into private.person_counters as c (user_id, stored_bytes) values (p_user_id, bytes)
  on conflict (user_id) do update set stored_bytes = c.stored_bytes + excluded.stored_bytes
  returning c.stored_bytes into held;
  if held <= max_bytes then
    return;
  end if;
  -- Rows from a day ago have expired in the meantime.
  select coalesce(sum(octet_length(k.answer::text) + octet_length(k.key) + octet_length(k.scope) + 100), 0) into held
  from private.idempotency_keys as k
  where k.user_id = p_user_id and k.created_at > now() - interval '24 hours';
  if held > max_bytes then
    perform carbon.raise_limit('carbon.kept_answers', 3600);
  end if;
  update private.person_counters as c set stored_bytes = held where c.user_id = p_user_id;
end;
$$;
comment on function private.count_stored_bytes(uuid, bigint) is
  'Counts the bytes of an answer that was just stored; PT429 carbon.kept_answers above 8 MiB in 24 hours. Refuses rather than evicts: a write whose answer was evicted would run a second time.';

create function private.run_once(idempotency_key text, request_scope text, request_fingerprint text, operation text,
                                 arguments text)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  digest bytea;
  existing record;
  answer jsonb;
  stored jsonb;
begin
  if coalesce(idempotency_key, '') !~ '^[\x21-\x7e]{1,255}$' then
    perform private.raise_error('carbon.idempotency_key_invalid', '22023');
  elsif coalesce(length(request_scope), 0) not between 1 and 300
        or coalesce(request_fingerprint, '') !~ '^[0-9a-f]{64}$' then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  digest := decode(request_fingerprint, 'hex');

  -- A concurrent request with the same key holds this lock until its transaction ends; the next statement sees its
  -- answer.
  if not pg_try_advisory_xact_lock(hashtextextended(concat_ws(' ', caller_id, request_scope, idempotency_key), 0)) then
    perform carbon.raise_limit('carbon.already_running', 1);
  end if;
  select k.fingerprint, k.answer into existing
  from private.idempotency_keys as k
  where k.user_id = caller_id and k.key = idempotency_key and k.scope = request_scope
    and k.created_at > now() - interval '24 hours';
  if found then
    if existing.fingerprint <> digest then
      perform private.raise_error('carbon.idempotency_key_reused', 'PT409');
    end if;
    return jsonb_build_object('replayed', true, 'answer', private.restored_answer(caller_id, operation, arguments, existing.answer));
  end if;

  answer := private.run_operation(operation, arguments);
  -- A refusal returned as a status wrote nothing, so it is not stored: it runs again, like one that raises.
  if coalesce(current_setting('response.status', true), '') <> '' then
    return answer;
  end if;
  stored := private.stored_answer(operation, answer);
  insert into private.idempotency_keys as k (user_id, key, scope, fingerprint, answer)
  values (caller_id, idempotency_key, request_scope, digest, stored)
  on conflict (user_id, key, scope) do update
    set fingerprint = excluded.fingerprint, answer = excluded.answer, created_at = excluded.created_at;
  perform private.count_stored_bytes(caller_id, octet_length(stored::text) + octet_length(idempotency_key) + octet_length(request_scope) + 100);
  return jsonb_build_object('replayed', false, 'answer', answer);
end;
$$;
comment on function private.run_once(text, text, text, text, text) is
  'Body of public.run_once: arguments is the JSON text of the operation''s body.';

create function public.run_once(json)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  member text[] := carbon.json_members($1::text, array['idempotency_key', 'request_scope', 'request_fingerprint', 'operation', 'arguments']);
begin
  return private.run_once(carbon.json_scalar(member[1]), carbon.json_scalar(member[2]), carbon.json_scalar(member[3]),
                          carbon.json_scalar(member[4]), coalesce(member[5], '{}'));
end;
$$;
comment on function public.run_once(json) is
  'Runs a write of the caller at most once for a key (1 to 255 visible ASCII characters) within its scope '
  '(method and path). Input: the body {idempotency_key, request_scope, request_fingerprint, operation, '
  'arguments}. Returns {replayed, answer}. The same fingerprint (SHA-256 in hex) within 24 hours returns the '
  'first answer, another one PT409 carbon.idempotency_key_reused; while the same request is running PT429 '
  'carbon.already_running: repeat it to get its answer. operation is one of create_waste_entry, '
  'create_waste_entries, update_waste_entry, delete_waste_entry, update_profile, sync_changes, '
  'migrate_local, rollback_migration, check_achievements, refresh_challenge_progress, request_friend, '
  'accept_friend, reject_friend, remove_friend, block_user, friend_code, '
  'join_community_challenge, leave_community_challenge, generate_referral_code, redeem_referral, with its arguments by name. Refusals are not stored. Errors: those of the operation, 22023 carbon.idempotency_key_invalid, '
  'PT429 carbon.kept_answers above 8 MiB of answers in 24 hours.';

create function private.drop_old_keys(max_rows integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  dropped integer;
begin
  delete from private.idempotency_keys as k
  where k.ctid = any (array(
    select o.ctid from private.idempotency_keys as o where o.created_at < now() - interval '24 hours' limit max_rows));
  get diagnostics dropped = row_count;
  return dropped;
end;
$$;
comment on function private.drop_old_keys(integer) is
  'Deletes at most max_rows answers older than 24 hours, whose keys already count as new; returns how many.';

-- Six times 100,000 an hour: 14 million writes a day.
select cron.schedule('carbon_idempotency_keys', '*/10 * * * *', $$select private.drop_old_keys(100000)$$);

-- Reads that are skipped when nothing changed -------------------------------------------------
create function private.user_etag(p_user_id uuid, question text, at timestamptz)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  -- The rows' transaction ids change with them, regardless of who writes and in which order; the revision, the times
  -- and the release distinguish databases that were restored or migrated.
  return (
    select md5(concat_ws('|', p_user_id, question, t.revision, t.xmin, p.updated_at, p.xmin, c.updated_at, c.xmin,
                         carbon.local_date(at, coalesce(c.time_zone, carbon.default_time_zone())),
                         (select max(m.version) from private.schema_migrations as m)))
    from private.user_state as t
    join public.profiles as p on p.id = t.user_id
    join public.user_preferences as c on c.user_id = t.user_id
    where t.user_id = p_user_id);
end;
$$;
comment on function private.user_etag(uuid, text, timestamptz) is
  'A tag for an answer that depends only on the user''s own entries, profile and preferences and on their date at that moment: it changes if any of these changes. Null for an unknown user.';

create function private.read_operation(operation text, arguments jsonb)
returns json
language plpgsql stable
set search_path = ''
as $$
begin
  case operation
    -- From here answers are passed on as text: lists are json.
    when 'get_profile' then
      return public.get_profile();
    when 'get_gamification_profile' then
      return public.get_gamification_profile();
    when 'get_waste_entry' then
      return public.get_waste_entry((arguments ->> 'entry_id')::uuid);
    when 'list_waste_entries' then
      return public.list_waste_entries(
        (arguments ->> 'page')::integer, (arguments ->> 'page_size')::integer, arguments ->> 'cursor',
        arguments ->> 'date_from', arguments ->> 'date_to', arguments ->> 'category_id',
        arguments ->> 'disposal_method', arguments ->> 'q');
    when 'waste_stats_daily' then
      return public.waste_stats_daily(arguments ->> 'day');
    when 'waste_stats_monthly' then
      return public.waste_stats_monthly(arguments ->> 'month');
    when 'waste_stats_by_category' then
      return public.waste_stats_by_category(arguments ->> 'date_from', arguments ->> 'date_to');
    when 'sync_status' then
      return public.sync_status();
    when 'get_achievements' then
      return public.get_achievements();
    when 'get_challenges_today' then
      return public.get_challenges_today();
    when 'get_challenge_history' then
      return public.get_challenge_history((arguments ->> 'page_size')::integer, arguments ->> 'cursor');
    when 'get_feed' then
      return public.get_feed((arguments ->> 'page_size')::integer, arguments ->> 'cursor');
    when 'get_leaderboard' then
      return public.get_leaderboard(
        coalesce(arguments ->> 'board_type', 'global'), coalesce(arguments ->> 'timeframe', 'all_time'),
        arguments ->> 'province', (arguments ->> 'page')::integer, (arguments ->> 'page_size')::integer,
        arguments ->> 'cursor', coalesce((arguments ->> 'around_me')::boolean, false));
    when 'list_friends' then
      return public.list_friends(coalesce(arguments ->> 'status', 'accepted'), (arguments ->> 'page_size')::integer,
                                 arguments ->> 'cursor');
    when 'list_friends_by_credits' then
      return public.list_friends_by_credits((arguments ->> 'page_size')::integer, arguments ->> 'cursor');
    when 'get_community_challenges' then
      return public.get_community_challenges(coalesce(arguments ->> 'status', 'active'), (arguments ->> 'joined')::boolean);
    when 'get_community_leaderboard' then
      return public.get_community_leaderboard(
        (arguments ->> 'challenge_id')::uuid, coalesce(arguments ->> 'ranked_by', 'people'),
        (arguments ->> 'page_size')::integer, arguments ->> 'cursor');
    when 'get_referral_stats' then
      return public.get_referral_stats();
    when 'get_share_card' then
      return public.get_share_card(arguments ->> 'kind', arguments ->> 'id');
    else
      perform private.raise_error('carbon.not_found', 'PT404');
  end case;
end;
$$;
comment on function private.read_operation(text, jsonb) is
  'Runs a read of the caller, by its name; PT404 carbon.not_found for any other.';

create function private.read_if_changed(operation text, arguments jsonb default '{}', known_tags text[] default '{}')
returns json
language plpgsql stable security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  question text := concat_ws(' ', operation, arguments);
  tag text;
  answer json;
begin
  if operation in ('get_profile', 'get_waste_entry', 'list_waste_entries', 'waste_stats_daily', 'waste_stats_monthly',
                   'waste_stats_by_category') then
    tag := private.user_etag(caller_id, question, now());
    if tag = any (known_tags) then
      return json_build_object('tag', tag);
    end if;
    answer := private.read_operation(operation, arguments);
  else
    -- Other users' writes and devices count here as well, so the tag is computed from the answer itself. An encrypted
    -- cursor differs at each read but always means the end of the rows, so only its presence counts. Its content must
    -- not: a tag could be compared with tags computed for users who were visible before they chose to be masked.
    answer := private.read_operation(operation, arguments);
    tag := md5(concat_ws('|', caller_id, question, answer::jsonb - '{as_of,next_cursor}'::text[],
                         answer ->> 'next_cursor' is not null));
    if tag = any (known_tags) then
      return json_build_object('tag', tag);
    end if;
  end if;
  return json_build_object('tag', tag, 'answer', answer);
end;
$$;
grant execute on function private.read_if_changed(text, jsonb, text[]) to authenticated;
select private.expose(
  'private.read_if_changed(text, jsonb, text[])',
  'Reads data of the caller together with its tag: {tag, answer}; without answer if the tag is one of '
  'known_tags. operation is one of get_profile, get_gamification_profile, get_waste_entry, '
  'list_waste_entries, waste_stats_daily, waste_stats_monthly, waste_stats_by_category, sync_status, '
  'get_achievements, get_challenges_today, get_challenge_history, get_leaderboard, list_friends, '
  'list_friends_by_credits, get_feed, get_community_challenges, get_community_leaderboard, get_referral_stats, get_share_card, with its arguments by name. If an answer depends on the caller''s own data alone and its tag matches, it is not computed. '
  'Errors: those of the operation.');

grant execute on function private.run_once(text, text, text, text, text), public.run_once(json) to authenticated;
