-- Lists of friends, requests and blocks, and the source document's view of them.

create type private.friend_list_row as (
  user_id uuid,
  request_id uuid,
  since timestamptz,
  row_id uuid
);
comment on type private.friend_list_row is
  'A row of a list of friends, requests or blocks; row_id orders those of one time. request_id is null for a block.';

create function private.friend_list_rows(caller_id uuid, status text, before_time timestamptz, before_id uuid, how_many integer)
returns setof private.friend_list_row
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  case status
    when 'accepted' then
      return query
      select f.friend_id, p.id, f.since, f.friend_id
      from private.friends as f
      join private.friend_pairs as p
        on p.low_id = least(f.user_id, f.friend_id) and p.high_id = greatest(f.user_id, f.friend_id)
      where f.user_id = caller_id and (f.since, f.friend_id) < (before_time, before_id)
      order by f.since desc, f.friend_id desc limit how_many;
    when 'incoming' then
      return query
      select p.requested_by, p.id, p.created_at, p.id
      from private.friend_pairs as p
      where case when p.requested_by = p.low_id then p.high_id else p.low_id end = caller_id
        and p.state = 'pending' and p.hidden_at is null and (p.created_at, p.id) < (before_time, before_id)
      order by p.created_at desc, p.id desc limit how_many;
    when 'outgoing' then
      return query
      select case when p.requested_by = p.low_id then p.high_id else p.low_id end, p.id, p.created_at, p.id
      from private.friend_pairs as p
      where p.requested_by = caller_id and p.state = 'pending' and (p.created_at, p.id) < (before_time, before_id)
      order by p.created_at desc, p.id desc limit how_many;
    else
      return query
      select b.blocked_id, null::uuid, b.created_at, b.blocked_id
      from public.user_blocks as b
      where b.blocker_id = caller_id and (b.created_at, b.blocked_id) < (before_time, before_id)
      order by b.created_at desc, b.blocked_id desc limit how_many;
  end case;
end;
$$;
comment on function private.friend_list_rows(uuid, text, timestamptz, uuid, integer) is
  'The next rows of a user''s list (accepted, incoming, outgoing, else blocked) before a position, newest first, without regard to what may be seen of them.';

create function private.list_friends(status text default 'accepted', page_size integer default null, cursor text default null)
returns json
language plpgsql stable security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  size integer := coalesce(page_size, 20);
  list text := list_friends.status;
  before_time timestamptz := 'infinity';
  before_id uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  listed private.friend_list_row[];
begin
  if size not between 1 and 100 then
    perform private.raise_error('carbon.limit_invalid', '22023');
  elsif list is null or list not in ('accepted', 'incoming', 'outgoing', 'blocked') then
    perform private.raise_error('carbon.friend_status_invalid', '22023');
  end if;
  if cursor is not null then
    -- Microseconds since 1970: times are stored no finer.
    select timestamptz 'epoch' + c.credits * interval '1 microsecond', c.user_id into before_time, before_id
    from private.open_cursor(cursor) as c;
  end if;
  -- One more than requested, to detect a next page.
  listed := array(select r from private.friend_list_rows(caller_id, list, before_time, before_id, size + 1) as r);
  return json_build_object(
    'friends', coalesce((
      select json_agg(json_build_object('request_id', l.request_id, 'user', c.card, 'status', list, 'since', l.since) order by l.place)
      from unnest(listed[: size]) with ordinality as l (user_id, request_id, since, row_id, place)
      join private.cards(caller_id, array(select i.user_id from unnest(listed[: size]) as i),
                         case list when 'accepted' then 'listing' when 'blocked' then 'block' else 'code' end) as c
        on c.user_id = l.user_id and c.card is not null), '[]'),
    'limit', size,
    'next_cursor', case when cardinality(listed) > size then
      private.seal_cursor((extract(epoch from listed[size].since) * 1000000)::bigint, listed[size].row_id) end);
end;
$$;
grant execute on function private.list_friends(text, integer, text) to authenticated;
select private.expose(
  'private.list_friends(text, integer, text)',
  'The caller''s friends (status accepted), requests (incoming, outgoing) or blocks (blocked), newest first: '
  '{friends: [{request_id, user, status, since}], limit, next_cursor}. user is a card, as in find_person; of '
  'blocked users name and picture; request_id is null for a block. Closed accounts are left out, so a page '
  'may be shorter than page_size (1 to 100, default 20). Errors: 22023 carbon.friend_status_invalid, '
  'carbon.limit_invalid, carbon.cursor_invalid.');

create function private.list_friends_by_credits(page_size integer default null, cursor text default null)
returns json
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  caller_id uuid := private.caller_id();
  size integer := coalesce(page_size, 20);
  after_credits bigint;
  after_id uuid;
  user_ids uuid[];
  credits bigint[];
begin
  if size not between 1 and 100 then
    perform private.raise_error('carbon.limit_invalid', '22023');
  end if;
  if cursor is not null then
    select c.credits, c.user_id into after_credits, after_id from private.open_cursor(cursor) as c;
  end if;
  -- Friends who do not show their total come last: their place must not show it either.
  select array_agg(n.user_id order by n.credits desc, n.user_id), array_agg(n.credits order by n.credits desc, n.user_id)
  into user_ids, credits
  from (
    select s.user_id, s.credits
    from (select t.user_id, case carbon.sight('friend', p.privacy_level::smallint, 'listing')
                              when 'everything' then t.credits + t.rewards else -9223372036854775808 end as credits
          from private.friends as f
          join public.profiles as p on p.id = f.friend_id
          join private.user_state as t on t.user_id = f.friend_id
          where f.user_id = caller_id and p.closed_until is null) as s
    where after_id is null or s.credits < after_credits or s.credits = after_credits and s.user_id > after_id
    order by s.credits desc, s.user_id limit size + 1) as n;
  return json_build_object(
    'friends', coalesce((
      select json_agg(json_build_object('request_id', p.id, 'user', c.card, 'status', 'accepted', 'since', f.since) order by l.place)
      from unnest(user_ids[: size]) with ordinality as l (user_id, place)
      join private.cards(caller_id, user_ids[: size]) as c on c.user_id = l.user_id
      join private.friends as f on f.user_id = caller_id and f.friend_id = l.user_id
      join private.friend_pairs as p on p.low_id = least(caller_id, l.user_id) and p.high_id = greatest(caller_id, l.user_id)), '[]'),
    'limit', size,
    'next_cursor', case when cardinality(user_ids) > size then private.seal_cursor(credits[size], user_ids[size]) end);
end;
$$;
grant execute on function private.list_friends_by_credits(integer, text) to authenticated;
select private.expose(
  'private.list_friends_by_credits(integer, text)',
  'The caller''s friends as in list_friends, by their total of credits, those who do not show it last. Errors: '
  '22023 carbon.limit_invalid, carbon.cursor_invalid.');

-- The source document's view ------------------------------------------------------------------
create function private.own_friendships()
returns table (id uuid, requester_id uuid, addressee_id uuid, status text, created_at timestamptz, accepted_at timestamptz)
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  caller_id uuid := private.caller_id();
begin
  return query
  select p.id, p.requested_by, case when p.requested_by = p.low_id then p.high_id else p.low_id end, p.state, p.created_at, p.accepted_at
  from private.friend_pairs as p
  join public.profiles as o on o.id = case caller_id when p.low_id then p.high_id else p.low_id end and o.closed_until is null
  where (p.low_id = caller_id or p.high_id = caller_id) and (p.requested_by = caller_id or p.hidden_at is null)
  union all
  select null, b.blocker_id, b.blocked_id, 'blocked', b.created_at, null
  from public.user_blocks as b
  join public.profiles as o on o.id = b.blocked_id and o.closed_until is null
  where b.blocker_id = caller_id;
end;
$$;
comment on function private.own_friendships() is
  'The caller''s friendships, requests and blocks as they may know them: what they asked stays pending when it was declined, what they declined is gone. Errors: 42501 carbon.not_signed_in.';
grant execute on function private.own_friendships() to authenticated;

create view public.friendships with (security_invoker = true) as
select f.id, f.requester_id, f.addressee_id, f.status, f.created_at, f.accepted_at from private.own_friendships() as f;
comment on view public.friendships is
  'The caller''s friendships, requests and blocks; list_friends also says who the others are. Written by request_friend, accept_friend, reject_friend, remove_friend and block_user.';
comment on column public.friendships.id is 'What the functions call request_id; null for a block.';
comment on column public.friendships.requester_id is 'The one who asked, or who blocks.';
comment on column public.friendships.status is 'pending, accepted or blocked.';
grant select on public.friendships to authenticated;
