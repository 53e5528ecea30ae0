-- Friends and blocks: who is whose friend, who asked whom, who blocks whom, and the one function that says how a viewer
-- stands to others. docs/decisions/0043.

-- Pairs -------------------------------------------------------------------------------------
-- One row a pair, smaller id first: two people who ask each other at the same moment meet in it.
create table private.friend_pairs (
  low_id uuid not null references public.profiles (id) on delete cascade,
  high_id uuid not null references public.profiles (id) on delete cascade,
  id uuid not null default gen_random_uuid() unique,
  requested_by uuid not null,
  state text not null,
  hidden_at timestamptz,
  created_at timestamptz not null default now(),
  accepted_at timestamptz,
  primary key (low_id, high_id),
  constraint the_smaller_id_comes_first check (low_id < high_id),
  constraint one_of_the_two_asked check (requested_by in (low_id, high_id)),
  constraint state_is_pending_or_accepted check (state in ('pending', 'accepted')),
  constraint an_accepted_pair_says_when check ((state = 'accepted') = (accepted_at is not null)),
  constraint only_a_pending_request_is_hidden check (state = 'pending' or hidden_at is null)
);
comment on table private.friend_pairs is
  'Friendships and requests, one row for each two users, written under the pair''s lock (private.lock_pair). The source of private.friends.';
comment on column private.friend_pairs.id is 'What clients call request_id.';
comment on column private.friend_pairs.hidden_at is
  'The addressee declined and no longer sees the request; the one who asked sees it as pending.';
create index friend_pairs_high_id on private.friend_pairs (high_id, low_id);
create index friend_pairs_asked on private.friend_pairs (requested_by, created_at, id) where state = 'pending';
create index friend_pairs_received on private.friend_pairs
  ((case when requested_by = low_id then high_id else low_id end), created_at, id) where state = 'pending' and hidden_at is null;
alter table private.friend_pairs enable row level security;

create table private.friends (
  user_id uuid not null references public.profiles (id) on delete cascade,
  friend_id uuid not null references public.profiles (id) on delete cascade,
  since timestamptz not null,
  primary key (user_id, friend_id)
);
comment on table private.friends is
  'The neighbour rows of accepted pairs, one in each direction, for reading: derived from private.friend_pairs and always equal to it.';
alter table private.friends enable row level security;
-- Inserted far more often than changed: index-only scans of a friend list need the visibility map.
alter table private.friends set (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_insert_threshold = 1000);

create table private.friend_declines (
  asker_id uuid not null references public.profiles (id) on delete cascade,
  decliner_id uuid not null references public.profiles (id) on delete cascade,
  declined_at timestamptz not null default now(),
  primary key (asker_id, decliner_id)
);
comment on table private.friend_declines is
  'Who declined whose request, for 30 days: a new request within that time is hidden from the one who declined, also if the asker withdrew the first.';
create index friend_declines_decliner on private.friend_declines (decliner_id);
create index friend_declines_declined_at on private.friend_declines (declined_at);
alter table private.friend_declines enable row level security;

create table public.user_blocks (
  blocker_id uuid not null references public.profiles (id) on delete cascade,
  blocked_id uuid not null references public.profiles (id) on delete cascade,
  created_at timestamptz not null default now(),
  primary key (blocker_id, blocked_id),
  constraint nobody_blocks_themselves check (blocker_id <> blocked_id)
);
comment on table public.user_blocks is
  'Who blocks whom. Each of the two sees the other as a deleted account; users can read only their own blocks, and write through block_user and remove_friend.';
create index user_blocks_blocked on public.user_blocks (blocked_id, blocker_id);
alter table public.user_blocks enable row level security;
create policy "people read their own blocks" on public.user_blocks
  for select to authenticated using (blocker_id = (select auth.uid()));
grant select on public.user_blocks to authenticated;

create table private.friend_codes (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  code text not null unique,
  made_at timestamptz not null default now(),
  constraint code_is_normalised check (code = carbon.normalised_code(code, carbon.limit_of('friend_code_signs')))
);
comment on table private.friend_codes is
  'The code by which a user lets others find them, whatever their privacy level; a new one replaces it.';
alter table private.friend_codes enable row level security;

-- Who may, and who is who ---------------------------------------------------------------------
create function private.require_account(p_user_id uuid)
returns void
language plpgsql stable security definer
set search_path = ''
as $$
begin
  if not exists (select from public.profiles as p where p.id = p_user_id and not p.is_anonymous and p.closed_until is null) then
    perform private.raise_error('carbon.account_required', '42501');
  end if;
end;
$$;
comment on function private.require_account(uuid) is
  'Refuses users without an account (42501 carbon.account_required): anonymous ones, who have neither a confirmed phone nor an identity, and closed ones.';

create function private.relation(viewer uuid, user_ids uuid[])
returns table (user_id uuid, relation text)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
rows 20
as $$
declare
  blocked_ids uuid[] := '{}';
begin
  -- Most viewers block nobody and are blocked by nobody: two empty look-ups instead of two for each user.
  if exists (select from public.user_blocks as b where b.blocker_id = viewer)
     or exists (select from public.user_blocks as b where b.blocked_id = viewer) then
    blocked_ids := array(
      select b.blocked_id from public.user_blocks as b where b.blocker_id = viewer and b.blocked_id = any (user_ids)
      union all
      select b.blocker_id from public.user_blocks as b where b.blocked_id = viewer and b.blocker_id = any (user_ids));
  end if;
  return query
  select u.user_id,
         case when viewer is null then 'visitor'
              when u.user_id = viewer then 'self'
              when u.user_id = any (blocked_ids) then 'blocked'
              when f.friend_id is not null then 'friend'
              else 'stranger' end
  from unnest(user_ids) with ordinality as u (user_id, place)
  left join private.friends as f on f.user_id = viewer and f.friend_id = u.user_id
  order by u.place;
end;
$$;
comment on function private.relation(uuid, uuid[]) is
  'How a viewer stands to each of these users, in their order: self, friend, stranger, blocked (in either '
  'direction), or visitor for all of them if the viewer is null. The only function that decides it.';

-- The pair's lock -----------------------------------------------------------------------------
create function private.lock_pair(one_id uuid, other_id uuid)
returns boolean
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  profiles_locked integer;
begin
  -- By key and not by row: a block must wait for a request although there is no row yet.
  perform pg_advisory_xact_lock(hashtextextended(least(one_id, other_id)::text || greatest(one_id, other_id)::text, 0));
  -- A deletion of either account has ended or waits. It takes the profile before the pair, so the same order here.
  perform from public.profiles as p where p.id in (one_id, other_id) order by p.id for key share;
  get diagnostics profiles_locked = row_count;
  return profiles_locked = 2;
end;
$$;
comment on function private.lock_pair(uuid, uuid) is
  'Locks two users'' friendship, requests and blocks until the end of the transaction, whether rows exist or '
  'not; false if there is no such pair of profiles. Never taken together with the lock of a state row.';

create function private.forget_pair(one_id uuid, other_id uuid)
returns void
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  delete from private.friend_pairs as p where p.low_id = least(one_id, other_id) and p.high_id = greatest(one_id, other_id);
  delete from private.friends as f where (f.user_id, f.friend_id) in ((one_id, other_id), (other_id, one_id));
end;
$$;
comment on function private.forget_pair(uuid, uuid) is
  'Deletes the pair of two users, request or friendship, with its neighbour rows. The caller holds the pair''s lock.';

create function private.accept_pair(pair_id uuid)
returns void
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  pair private.friend_pairs;
begin
  update private.friend_pairs as p set state = 'accepted', accepted_at = now(), hidden_at = null
  where p.id = pair_id
  returning p.* into pair;
  insert into private.friends (user_id, friend_id, since)
  values (pair.low_id, pair.high_id, pair.accepted_at), (pair.high_id, pair.low_id, pair.accepted_at);
  delete from private.friend_declines as d
  where (d.asker_id, d.decliner_id) in ((pair.low_id, pair.high_id), (pair.high_id, pair.low_id));
end;
$$;
comment on function private.accept_pair(uuid) is
  'Makes a pending pair a friendship, with its neighbour rows. The caller holds the pair''s lock and has checked the limits.';

-- Deletion ------------------------------------------------------------------------------------
create function private.tg_profiles__lock_pairs()
returns trigger
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  -- The rows go by their foreign keys. Several deletions at once take them in one order first, or three mutual
  -- friends could wait for one another.
  perform from private.friend_pairs as p where p.low_id = old.id or p.high_id = old.id order by p.low_id, p.high_id for update;
  perform from public.user_blocks as b where b.blocker_id = old.id or b.blocked_id = old.id
  order by b.blocker_id, b.blocked_id for update;
  perform from private.friend_declines as d where d.asker_id = old.id or d.decliner_id = old.id
  order by d.asker_id, d.decliner_id for update;
  return old;
end;
$$;
comment on function private.tg_profiles__lock_pairs() is
  'Row trigger before a profile is deleted: locks the user''s pairs, blocks and declines in the order of their keys.';
create trigger tg_profiles__lock_pairs before delete on public.profiles
  for each row execute function private.tg_profiles__lock_pairs();

-- The invariant -------------------------------------------------------------------------------
create function private.neighbours_of(p_user_id uuid)
returns setof private.friends
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return query
  select p_user_id, case p_user_id when p.low_id then p.high_id else p.low_id end, p.accepted_at
  from private.friend_pairs as p
  where (p.low_id = p_user_id or p.high_id = p_user_id) and p.state = 'accepted';
end;
$$;
comment on function private.neighbours_of(uuid) is
  'What private.friends must contain for this user: one row for each accepted pair.';

create function private.check_friends(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    with differences as (
      select 'friends' as what, to_jsonb(must) as expected, to_jsonb(is_now) as found
      from private.neighbours_of(p_user_id) as must
      full join (select f.* from private.friends as f where f.user_id = p_user_id) as is_now on is_now.friend_id = must.friend_id
      where must is distinct from is_now
      union all
      select 'blocked and a pair', null, to_jsonb(b)
      from public.user_blocks as b
      join private.friend_pairs as p
        on p.low_id = least(b.blocker_id, b.blocked_id) and p.high_id = greatest(b.blocker_id, b.blocked_id)
      where b.blocker_id = p_user_id or b.blocked_id = p_user_id
    )
    select coalesce(jsonb_agg(to_jsonb(d)), '[]') from differences as d);
end;
$$;
comment on function private.check_friends(uuid) is
  'Differences between this user''s friends and their pairs, and pairs that are blocked as well.';

create function private.repair_friends(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  neighbour_id uuid;
begin
  for neighbour_id in
    select coalesce(must.friend_id, is_now.friend_id) as friend_id
    from private.neighbours_of(p_user_id) as must
    full join (select f.* from private.friends as f where f.user_id = p_user_id) as is_now on is_now.friend_id = must.friend_id
    where must is distinct from is_now
    order by friend_id
  loop
    perform private.lock_pair(p_user_id, neighbour_id);
    delete from private.friends as f where f.user_id = p_user_id and f.friend_id = neighbour_id;
    insert into private.friends select n.* from private.neighbours_of(p_user_id) as n where n.friend_id = neighbour_id;
  end loop;
end;
$$;
comment on function private.repair_friends(uuid) is
  'Rebuilds those of this user''s neighbour rows that differ from their pairs.';
