-- What users do with one another: ask, accept, decline, remove, block, and find by user name or code. All of it under
-- the pair's lock; a user who blocks the caller is answered like one who does not exist.

-- Limits ------------------------------------------------------------------------------------
alter table private.person_counters
  add column request_hour_began timestamptz not null default '-infinity',
  add column requests_in_hour integer not null default 0,
  add column lookup_hour_began timestamptz not null default '-infinity',
  add column lookups_in_hour integer not null default 0;
comment on column private.person_counters.requests_in_hour is 'Friend requests sent since request_hour_began.';
comment on column private.person_counters.lookups_in_hour is 'People found by user name or code since lookup_hour_began.';

create function private.count_friend_request(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
  counted record;
begin
  if not private.is_client() or not private.has_limits() then
    return;
  end if;
  insert into private.person_counters as c (user_id, request_hour_began, requests_in_hour) values (p_user_id, now(), 1)
  on conflict (user_id) do update
    set request_hour_began = case when c.request_hour_began <= now() - interval '1 hour' then now() else c.request_hour_began end,
        requests_in_hour = case when c.request_hour_began <= now() - interval '1 hour' then 1 else c.requests_in_hour + 1 end
  returning c.* into counted;
  if counted.requests_in_hour > carbon.limit_of('friend_requests_per_hour') then
    perform carbon.raise_limit('carbon.friend_requests_per_hour',
      ceil(extract(epoch from counted.request_hour_began + interval '1 hour' - now()))::integer);
  end if;
end;
$$;
comment on function private.count_friend_request(uuid) is
  'Counts a friend request that is about to be sent; PT429 carbon.friend_requests_per_hour above 20 an hour. The edge also counts those that are refused.';

create function private.count_lookup(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
  counted record;
begin
  if not private.is_client() or not private.has_limits() then
    return;
  end if;
  insert into private.person_counters as c (user_id, lookup_hour_began, lookups_in_hour) values (p_user_id, now(), 1)
  on conflict (user_id) do update
    set lookup_hour_began = case when c.lookup_hour_began <= now() - interval '1 hour' then now() else c.lookup_hour_began end,
        lookups_in_hour = case when c.lookup_hour_began <= now() - interval '1 hour' then 1 else c.lookups_in_hour + 1 end
  returning c.* into counted;
  if counted.lookups_in_hour > carbon.limit_of('person_lookups_per_hour') then
    perform carbon.raise_limit('carbon.person_lookups_per_hour',
      ceil(extract(epoch from counted.lookup_hour_began + interval '1 hour' - now()))::integer);
  end if;
end;
$$;
comment on function private.count_lookup(uuid) is
  'Counts a person who is about to be shown to this user; PT429 carbon.person_lookups_per_hour above 30 an hour. The edge also counts look-ups that find nobody.';

create function private.refuse_full(one_id uuid, other_id uuid)
returns void
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  if (select max(c.friends)
      from (select count(*) as friends
            from private.friends as f
            join public.profiles as p on p.id = f.friend_id and p.closed_until is null
            where f.user_id in (one_id, other_id)
            group by f.user_id) as c) >= carbon.limit_of('friends') then
    perform private.raise_error('carbon.friends_full', 'PT409');
  end if;
end;
$$;
comment on function private.refuse_full(uuid, uuid) is
  'PT409 carbon.friends_full if one of the two has 1,000 friends, closed accounts not counted. Several acceptances at once may exceed it by their number.';

-- Finding people ------------------------------------------------------------------------------
create function private.found_person(username text, code text, user_id uuid, out person_id uuid, out found_by text)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  if num_nonnulls(username, code, user_id) <> 1 then
    perform private.raise_error('carbon.person_required', '22023');
  elsif found_person.username is not null then
    person_id := (select p.id from public.profiles as p where lower(p.username) = lower(btrim(found_person.username)));
    found_by := 'username';
  elsif found_person.code is not null then
    person_id := (select c.user_id from private.friend_codes as c
                  where c.code = carbon.normalised_code(found_person.code, carbon.limit_of('friend_code_signs')));
    found_by := 'code';
  else
    person_id := found_person.user_id;
    found_by := 'listing';
  end if;
end;
$$;
comment on function private.found_person(text, text, uuid) is
  'Whom exactly one of user name (case-insensitive), code and id names, null = nobody, and how they were found. 22023 carbon.person_required. Does not say whether the caller may see them.';

create function private.card_for(viewer uuid, person_id uuid, found_by text)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (select c.card from private.cards(viewer, array[person_id], found_by) as c);
end;
$$;
comment on function private.card_for(uuid, uuid, text) is
  'The card of one person, as in private.cards; null if the viewer may not see who it is.';

create function private.find_person(username_or_code text)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  found_card jsonb;
  target record;
begin
  target := private.found_person(coalesce(username_or_code, ''), null, null);
  found_card := private.card_for(caller_id, target.person_id, target.found_by);
  if found_card is null then
    target := private.found_person(null, coalesce(username_or_code, ''), null);
    found_card := private.card_for(caller_id, target.person_id, target.found_by);
  end if;
  if found_card is null then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  perform private.count_lookup(caller_id);
  return found_card;
end;
$$;
grant execute on function private.find_person(text) to authenticated;
select private.expose(
  'private.find_person(text)',
  'The card of the person with this user name (case-insensitive) or code, as far as the caller may see it: '
  '{id, display_name, avatar_url, province, level, credits, daily_streak}. People of privacy level 3 are '
  'found by their code only. Errors: PT404 carbon.not_found, also for somebody who blocks the caller, PT429 '
  'carbon.person_lookups_per_hour.');

create function private.friend_code(renew boolean default false)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  signs constant integer := carbon.limit_of('friend_code_signs');
  own_code text;
begin
  perform private.refuse_closed(caller_id);
  perform private.require_account(caller_id);
  own_code := (select c.code from private.friend_codes as c where c.user_id = caller_id);
  -- Two users never get one code: another try.
  while own_code is null or renew loop
    begin
      insert into private.friend_codes as c (user_id, code)
      values (caller_id, carbon.invite_code(extensions.gen_random_bytes(2 * signs), signs))
      on conflict (user_id) do update set code = case when renew then excluded.code else c.code end,
        made_at = case when renew then now() else c.made_at end
      returning c.code into own_code;
      exit;
    exception
      when unique_violation or not_null_violation then
        own_code := null;
    end;
  end loop;
  return jsonb_build_object('code', own_code);
end;
$$;
grant execute on function private.friend_code(boolean) to authenticated;
select private.expose(
  'private.friend_code(boolean)',
  'The code by which others find the caller whatever the privacy level, as {code}; made at the first call. '
  'renew = a new one, and the old one finds nobody any more. Errors: 42501 carbon.account_required.');

-- Requests ------------------------------------------------------------------------------------
create function private.notify_friend(recipient_id uuid, event text, request_id uuid, about_id uuid)
returns void
language plpgsql security definer
set search_path = ''
as $$
begin
  perform private.send_messages(array[(
    recipient_id, 'user:' || recipient_id || ':friends', event,
    jsonb_build_object('request_id', request_id, 'user_id', about_id))::private.message]);
end;
$$;
comment on function private.notify_friend(uuid, text, uuid, uuid) is
  'Sends friend_request or friend_accepted {request_id, user_id} to a user''s friends topic when the transaction commits.';

create function private.send_request(asker_id uuid, addressee_id uuid)
returns private.friend_pairs
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  pair private.friend_pairs;
begin
  perform private.refuse_full(asker_id, addressee_id);
  if (select count(*) from private.friend_pairs as p where p.requested_by = asker_id and p.state = 'pending')
     >= carbon.limit_of('open_friend_requests') then
    perform private.raise_error('carbon.open_friend_requests', 'PT409');
  end if;
  perform private.count_friend_request(asker_id);
  insert into private.friend_pairs as p (low_id, high_id, requested_by, state, hidden_at)
  values (least(asker_id, addressee_id), greatest(asker_id, addressee_id), asker_id, 'pending', (
    select now() from private.friend_declines as d
    where d.asker_id = send_request.asker_id and d.decliner_id = addressee_id and d.declined_at > now() - interval '30 days'))
  returning p.* into pair;
  if pair.hidden_at is null then
    perform private.notify_friend(addressee_id, 'friend_request', pair.id, asker_id);
  end if;
  return pair;
end;
$$;
comment on function private.send_request(uuid, uuid) is
  'Writes a new request and notifies the addressee; hidden and without a notification within 30 days of a '
  'decline. The caller holds the pair''s lock, and there is no pair. Errors: PT409 carbon.friends_full, '
  'carbon.open_friend_requests, PT429 carbon.friend_requests_per_hour.';

create function private.request_friend(username text default null, code text default null, user_id uuid default null)
returns jsonb
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  caller_id uuid := private.caller_id();
  target record;
  pair private.friend_pairs;
  is_duplicate boolean := false;
begin
  perform private.refuse_closed(caller_id);
  perform private.require_account(caller_id);
  target := private.found_person(username, code, user_id);
  if target.person_id = caller_id then
    perform private.raise_error('carbon.self_request', '22023');
  elsif target.person_id is null or not private.lock_pair(caller_id, target.person_id) then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  select p.* into pair from private.friend_pairs as p
  where p.low_id = least(caller_id, target.person_id) and p.high_id = greatest(caller_id, target.person_id);
  -- A request has shown each to the other, however it began.
  if private.card_for(caller_id, target.person_id, case when pair.id is null then target.found_by else 'code' end) is null then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;

  if pair.state = 'pending' and pair.requested_by = caller_id and pair.hidden_at <= now() - interval '30 days' then
    perform private.forget_pair(caller_id, target.person_id);
    pair := null;
  end if;
  if pair.id is null then
    pair := private.send_request(caller_id, target.person_id);
  elsif pair.state = 'pending' and pair.requested_by <> caller_id then
    -- Both asked, or the one who declined asks now.
    perform private.refuse_full(caller_id, target.person_id);
    perform private.accept_pair(pair.id);
    pair.state := 'accepted';
    perform private.notify_friend(target.person_id, 'friend_accepted', pair.id, caller_id);
  else
    is_duplicate := true;
  end if;
  return jsonb_build_object('request_id', pair.id, 'status', pair.state,
                            'user', private.card_for(caller_id, target.person_id, 'code'))
      || case when is_duplicate then '{"duplicate": true}'::jsonb else '{}' end;
end;
$$;
grant execute on function private.request_friend(text, text, uuid) to authenticated;
select private.expose(
  'private.request_friend(text, text, uuid)',
  'Asks the person with this user name, code or id (exactly one of the three) to be friends: {request_id, '
  'status, user}. status is pending, or accepted if they had asked the caller already. Asking again changes '
  'nothing and adds duplicate: true. By id only people whom the caller may see on boards; people of privacy '
  'level 2 by user name or code, of level 3 by code. Errors: PT404 carbon.not_found, also for somebody who '
  'blocks the caller, 42501 carbon.account_required, 22023 carbon.person_required, carbon.self_request, PT409 '
  'carbon.friends_full, carbon.open_friend_requests, PT429 carbon.friend_requests_per_hour.');

create function private.received_request(caller_id uuid, request_id uuid)
returns private.friend_pairs
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  pair private.friend_pairs;
begin
  select p.* into pair from private.friend_pairs as p where p.id = request_id and caller_id in (p.low_id, p.high_id);
  if pair.id is not null and private.lock_pair(pair.low_id, pair.high_id) then
    select p.* into pair from private.friend_pairs as p
    where p.id = request_id and p.requested_by <> caller_id and p.hidden_at is null;
    if private.card_for(caller_id, pair.requested_by, 'code') is not null then
      return pair;
    end if;
  end if;
  perform private.raise_error('carbon.not_found', 'PT404');
end;
$$;
comment on function private.received_request(uuid, uuid) is
  'The pair of a request that the user received and sees, with its lock held; PT404 carbon.not_found for any other.';

create function private.accept_friend(request_id uuid)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  pair private.friend_pairs;
begin
  perform private.refuse_closed(caller_id);
  pair := private.received_request(caller_id, request_id);
  -- Accepted already: the answer was lost.
  if pair.state = 'pending' then
    perform private.refuse_full(pair.low_id, pair.high_id);
    perform private.accept_pair(pair.id);
    perform private.notify_friend(pair.requested_by, 'friend_accepted', pair.id, caller_id);
  end if;
  return jsonb_build_object('request_id', pair.id, 'status', 'accepted');
end;
$$;
grant execute on function private.accept_friend(uuid) to authenticated;
select private.expose(
  'private.accept_friend(uuid)',
  'Accepts a request that the caller received: {request_id, status: accepted}; again: the same. Errors: PT404 '
  'carbon.not_found, also for requests to others, declined or withdrawn, PT409 carbon.friends_full.');

create function private.reject_friend(request_id uuid)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  pair private.friend_pairs;
begin
  perform private.refuse_closed(caller_id);
  pair := private.received_request(caller_id, request_id);
  if pair.state <> 'pending' then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  update private.friend_pairs as p set hidden_at = now() where p.id = pair.id;
  insert into private.friend_declines as d (asker_id, decliner_id) values (pair.requested_by, caller_id)
  on conflict (asker_id, decliner_id) do update set declined_at = now();
  return jsonb_build_object('request_id', pair.id, 'status', 'rejected');
end;
$$;
grant execute on function private.reject_friend(uuid) to authenticated;
select private.expose(
  'private.reject_friend(uuid)',
  'Declines a request that the caller received: {request_id, status: rejected}. The one who asked goes on '
  'seeing it as pending and is not told. Errors: PT404 carbon.not_found, also for requests to others, '
  'declined, withdrawn or accepted.');

create function private.remove_friend(user_id uuid)
returns jsonb
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  caller_id uuid := private.caller_id();
  other_id alias for user_id;
begin
  perform private.refuse_closed(caller_id);
  if not coalesce(private.lock_pair(caller_id, other_id), false) then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  delete from public.user_blocks as b where b.blocker_id = caller_id and b.blocked_id = other_id;
  if not found then
    if not exists (
      select from private.friend_pairs as p
      where p.low_id = least(caller_id, other_id) and p.high_id = greatest(caller_id, other_id)
        and (p.state = 'accepted' or p.requested_by = caller_id)) then
      perform private.raise_error('carbon.not_found', 'PT404');
    end if;
    perform private.forget_pair(caller_id, other_id);
  end if;
  return jsonb_build_object('user_id', other_id, 'status', 'none');
end;
$$;
grant execute on function private.remove_friend(uuid) to authenticated;
select private.expose(
  'private.remove_friend(uuid)',
  'Ends the friendship with a user, withdraws the caller''s request to them, or removes the caller''s block: '
  '{user_id, status: none}. The other is not told; removing a block restores nothing. Errors: PT404 '
  'carbon.not_found if there is none of these.');

create function private.block_user(user_id uuid)
returns jsonb
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  caller_id uuid := private.caller_id();
  other_id alias for user_id;
begin
  perform private.refuse_closed(caller_id);
  perform private.require_account(caller_id);
  if other_id = caller_id then
    perform private.raise_error('carbon.self_request', '22023');
  elsif not coalesce(private.lock_pair(caller_id, other_id), false) then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  if not exists (select from public.user_blocks as b where b.blocker_id = caller_id and b.blocked_id = other_id) then
    -- Who has shown themselves to the caller, now or by a request; not a blocker, so no two block each other.
    if private.card_for(caller_id, other_id, case when exists (
         select from private.friend_pairs as p
         where p.low_id = least(caller_id, other_id) and p.high_id = greatest(caller_id, other_id)) then 'code' else 'username' end) is null then
      perform private.raise_error('carbon.not_found', 'PT404');
    end if;
    perform private.forget_pair(caller_id, other_id);
    insert into public.user_blocks (blocker_id, blocked_id) values (caller_id, other_id);
  end if;
  return jsonb_build_object('user_id', other_id, 'status', 'blocked');
end;
$$;
grant execute on function private.block_user(uuid) to authenticated;
select private.expose(
  'private.block_user(uuid)',
  'Blocks a user: {user_id, status: blocked}; again: the same. Ends friendship and requests, and each of the '
  'two sees the other as a deleted account from now on. Nobody is told; remove_friend ends it. Errors: PT404 '
  'carbon.not_found, also for somebody who blocks the caller, 42501 carbon.account_required, 22023 '
  'carbon.self_request.');

create function private.drop_old_declines(max_rows integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  dropped integer;
begin
  delete from private.friend_declines as d
  where d.ctid = any (array(
    select o.ctid from private.friend_declines as o where o.declined_at < now() - interval '30 days' limit max_rows));
  get diagnostics dropped = row_count;
  return dropped;
end;
$$;
comment on function private.drop_old_declines(integer) is
  'Deletes at most max_rows declines older than 30 days, which hide nothing any more; returns how many.';
select cron.schedule('carbon_friend_declines', '20 19 * * *', $$select private.drop_old_declines(100000)$$);
