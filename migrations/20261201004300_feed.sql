-- The feed: what friends have achieved, derived from the reward ledger and merged when it is read
-- (docs/decisions/0045 and 0046).

create table public.activity_feed (
  user_id uuid not null,
  created_at timestamptz not null,
  id uuid not null,
  activity_type text not null,
  activity_data jsonb not null,
  visibility text not null,
  -- The only index. With one on created_at the planner walked the table for somebody whose friends are silent.
  primary key (user_id, created_at, id),
  constraint activity_type_is_known
    check (activity_type in ('achievement_unlocked', 'level_up', 'tree_saved', 'streak', 'community_completed')),
  constraint visibility_is_public_friends_or_private check (visibility in ('public', 'friends', 'private'))
) partition by range (created_at);
comment on table public.activity_feed is
  'What users have achieved, in monthly partitions: the present month and the three before it. Derived from the reward '
  'ledger: an item for each achievement, mark and community challenge whose newest row grants, at the time of its first '
  'grant that was not quiet. Users read their own rows here; get_feed() returns those of their friends.';
comment on column public.activity_feed.id is 'Follows from the user and what was achieved: the same after a rebuild.';
comment on column public.activity_feed.activity_type is
  'achievement_unlocked, level_up, tree_saved, streak or community_completed.';
comment on column public.activity_feed.activity_data is
  'Ids and numbers, never names or texts: {achievement_id}, {level}, {trees}, {days} or {challenge_id}.';
comment on column public.activity_feed.visibility is
  'public, friends or private, by the user''s privacy_level when it was achieved. Readers apply the stricter of this and the present privacy_level.';
alter table public.activity_feed enable row level security;
create policy "people read their own activities" on public.activity_feed
  for select to authenticated using (user_id = (select auth.uid()));
grant select on public.activity_feed to authenticated, service_role;

create table private.activity_feed_default partition of public.activity_feed default;
comment on table private.activity_feed_default is
  'Normally empty: items of a month whose partition is missing, until private.ensure_partitions() moves them there.';
alter table private.activity_feed_default enable row level security;
do $$ begin perform private.ensure_partitions(); end $$;

create function private.feed_start()
returns timestamptz
language plpgsql stable
set search_path = ''
as $$
begin
  return (date_trunc('month', now() at time zone 'UTC') - interval '3 months') at time zone 'UTC';
end;
$$;
comment on function private.feed_start() is
  'The time from which the feed is retained: the beginning (UTC) of the month three months ago.';

-- From the ledger ---------------------------------------------------------------------------
create type private.feed_item as (
  item public.activity_feed,
  is_shown boolean
);
comment on type private.feed_item is
  'An item of the feed, and whether the feed has it: whether what it is about is held.';

create function private.feed_items(user_ids uuid[], sources text[], source_ids text[])
returns setof private.feed_item
language plpgsql stable rows 10
set search_path = ''
-- As in private.evaluate_people.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return query
  select (c.user_id, granted.created_at, md5(concat_ws(' ', c.user_id, c.source, c.source_id))::uuid,
          case c.source when 'achievement' then 'achievement_unlocked' when 'community' then 'community_completed'
                        when 'level' then 'level_up' when 'streak' then 'streak' when 'tree' then 'tree_saved' end,
          case c.source when 'achievement' then jsonb_build_object('achievement_id', c.source_id)
                        when 'community' then jsonb_build_object('challenge_id', c.source_id)
                        when 'level' then jsonb_build_object('level', c.source_id::bigint)
                        when 'streak' then jsonb_build_object('days', c.source_id::bigint)
                        when 'tree' then jsonb_build_object('trees', c.source_id::bigint) end,
          granted.visibility)::public.activity_feed,
         newest.is_held
  from (select distinct u.* from unnest(user_ids, sources, source_ids) as u (user_id, source, source_id)) as c
  cross join lateral (
    select l.created_at, l.visibility from private.rewards as l
    where l.user_id = c.user_id and l.source = c.source and l.source_id = c.source_id
      and l.sequence % 2 = 1 and not l.quiet and l.visibility is not null
    order by l.sequence limit 1) as granted
  cross join lateral (
    select l.sequence % 2 = 1 as is_held from private.rewards as l
    where l.user_id = c.user_id and l.source = c.source and l.source_id = c.source_id
    order by l.sequence desc limit 1) as newest
  where granted.created_at >= private.feed_start();
end;
$$;
comment on function private.feed_items(uuid[], text[], text[]) is
  'The items of these sources of the ledger (three parallel lists) that the feed has or would have if they were held; none '
  'for what was only granted quietly and for what is older than the feed. The only place that derives items from the ledger.';

create function private.refresh_feed(written private.rewards[])
returns void
language plpgsql security definer
set search_path = ''
-- By key, however many items and partitions there are.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
  changed record;
begin
  select array_agg(w.user_id) as user_ids, array_agg(w.source) as sources, array_agg(w.source_id) as source_ids,
         bool_or(w.sequence % 2 = 0) as has_revocations
  into changed
  from unnest(written) as w
  where w.visibility is not null;
  if changed.user_ids is null then
    return;
  end if;
  if changed.has_revocations then
    delete from public.activity_feed as a
    using private.feed_items(changed.user_ids, changed.sources, changed.source_ids) as f
    where not f.is_shown
      and a.user_id = (f.item).user_id and a.created_at = (f.item).created_at and a.id = (f.item).id;
  end if;
  insert into public.activity_feed
  select (f.item).* from private.feed_items(changed.user_ids, changed.sources, changed.source_ids) as f
  where f.is_shown
  on conflict (user_id, created_at, id) do nothing;
end;
$$;
comment on function private.refresh_feed(private.rewards[]) is
  'Adds and removes the feed items that rows just written to the ledger grant and revoke; null = none were. The caller must hold the users'' locks.';

create function private.expected_feed(p_user_id uuid)
returns setof public.activity_feed
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select (f.item).*
  from (
    select array_agg(p_user_id) as user_ids, array_agg(s.source) as sources, array_agg(s.source_id) as source_ids
    from (
      select distinct l.source, l.source_id from private.rewards as l
      where l.user_id = p_user_id and l.visibility is not null) as s) as c
  cross join lateral private.feed_items(c.user_ids, c.sources, c.source_ids) as f
  where f.is_shown;
end;
$$;
comment on function private.expected_feed(uuid) is
  'What activity_feed must contain for this user, by their ledger.';

create function private.check_feed(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('what', 'activity_feed', 'expected', to_jsonb(must), 'found', to_jsonb(is_now))), '[]')
    from private.expected_feed(p_user_id) as must
    full join (
      -- Expired months remain until the job drops them.
      select a.* from public.activity_feed as a where a.user_id = p_user_id and a.created_at >= private.feed_start()) as is_now
      on is_now.created_at = must.created_at and is_now.id = must.id
    where must is distinct from is_now);
end;
$$;
comment on function private.check_feed(uuid) is
  'Differences between the feed and the ledger of this user; the ledger is checked separately.';

create function private.repair_feed(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  delete from public.activity_feed as a where a.user_id = p_user_id and a.created_at >= private.feed_start();
  insert into public.activity_feed select e.* from private.expected_feed(p_user_id) as e;
end;
$$;
comment on function private.repair_feed(uuid) is
  'Rebuilds a user''s items from their ledger.';

create function private.drop_expired_feed()
returns integer
language plpgsql
set search_path = ''
as $$
declare
  expired text;
  dropped integer := 0;
begin
  for expired in
    select c.relname from pg_catalog.pg_inherits as i
    join pg_catalog.pg_class as c on c.oid = i.inhrelid
    where i.inhparent = 'public.activity_feed'::regclass and c.relname ~ '_y\d{4}m\d{2}$'
      and c.relname < 'activity_feed_' || to_char(private.feed_start() at time zone 'UTC', '"y"YYYY"m"MM')
    order by c.relname
  loop
    execute format('drop table private.%I', expired);
    dropped := dropped + 1;
  end loop;
  return dropped;
end;
$$;
comment on function private.drop_expired_feed() is
  'Drops the partitions of the feed that end before it is retained; returns how many. Waits for readers as long as lock_timeout allows.';

-- Readers wait behind a drop that waits, so it gives up soon and is tried again.
select cron.schedule('carbon_expired_feed', '*/10 18-20 * * *',
  $$set lock_timeout = '500ms'; select private.drop_expired_feed()$$);
