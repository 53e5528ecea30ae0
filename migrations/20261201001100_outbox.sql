-- The outbox: rows that a write appends in its own transaction. After the commit the worker turns them into board
-- updates and Realtime messages. docs/decisions/0018 and 0019.

create type private.community_change as (
  challenge_id uuid,
  board integer,
  province text,
  contribution bigint,
  people bigint,
  erased bigint
);
comment on type private.community_change is
  'How a write changed a user''s community challenge (and its contributors'' board, and the province that their contribution '
  'counts for): what was added to the contribution, 1 for joining or -1 for leaving, and what an erased account leaves in '
  'the total.';

create type private.contributed as (
  communities private.community_change[],
  contributions bigint[],
  moves_reward boolean
);
comment on type private.contributed is
  'What an entry changed in its user''s community challenges (null = nothing), their contributions after it, and whether that crosses what a reward needs.';

create table private.outbox (
  id bigint generated always as identity primary key,
  user_id uuid not null,
  local_date date,
  province text,
  entries integer not null default 0,
  credits bigint not null default 0,
  rewards bigint not null default 0,
  change bigint,
  total bigint,
  level integer,
  revision bigint,
  first_reward bigint,
  last_reward bigint,
  communities private.community_change[],
  created_at timestamptz not null default now()
);
comment on table private.outbox is
  'Changes that boards and users'' devices have not received yet, appended by writers under the lock of the '
  'user''s state row and taken by the worker right after the commit. A single new entry is one row; a '
  'statement of many rows appends one per user, day and province, and one per user for total and rewards. A '
  'row without day, rewards and revision requests that boards check the user again.';
comment on column private.outbox.local_date is 'The day whose sums changed; null if none.';
comment on column private.outbox.entries is 'Entries added minus entries removed.';
comment on column private.outbox.credits is
  'Credits of entries added minus credits of entries removed; may be negative.';
comment on column private.outbox.rewards is 'Change of the net of the user''s reward ledger.';
comment on column private.outbox.change is
  'Total after the write minus total before, as published by credits_changed; null = the total did not change.';
comment on column private.outbox.total is 'The user''s total after the write, rewards included.';
comment on column private.outbox.level is 'The level of that total.';
comment on column private.outbox.revision is 'The user''s revision after the write.';
comment on column private.outbox.first_reward is
  'Number of the first row that the write added to the user''s reward ledger; null = none.';
comment on column private.outbox.last_reward is 'Number of the last row that the write added.';
comment on column private.outbox.communities is 'Changes of community challenges that the user takes part in; null = none.';
comment on column private.outbox.created_at is 'When the write''s transaction began.';
alter table private.outbox enable row level security;
-- Empty most of the time, and small only if deleted rows are vacuumed: by row count, not by a share of the table.
alter table private.outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0);

-- A BEFORE trigger, so that no queue of trigger events builds up; the worker is woken at commit.
create trigger tg_outbox__wake_worker before insert on private.outbox
  for each statement execute function carbon.wake_worker();

create table private.worker_state (
  is_only boolean primary key default true,
  low_water_mark bigint not null default 0,
  next_low_water_mark bigint,
  next_low_water_mark_from xid8,
  messages_wait_until timestamptz,
  dropped_on date,
  constraint there_is_one_row check (is_only)
);
comment on table private.worker_state is 'Progress of the worker.';
comment on column private.worker_state.low_water_mark is
  'No row of private.outbox below this id exists or can still appear: readers of the oldest row start here and do not walk over deleted rows.';
comment on column private.worker_state.next_low_water_mark is
  'The low-water mark once every transaction that was running when it was recorded has ended.';
comment on column private.worker_state.next_low_water_mark_from is
  'The first transaction id not yet assigned when next_low_water_mark was recorded.';
comment on column private.worker_state.messages_wait_until is
  'When to retry messages that realtime.messages refused; null = none waiting.';
comment on column private.worker_state.dropped_on is 'The day for which expired boards were deleted.';
alter table private.worker_state enable row level security;
alter table private.worker_state set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
insert into private.worker_state (is_only) values (true);

-- Messages ----------------------------------------------------------------------------------
create type private.message as (
  user_id uuid,
  topic text,
  event text,
  payload jsonb
);
comment on type private.message is
  'A message to the subscribers of a topic; user_id = its only recipient, null = all.';

create table private.waiting_messages (
  topic text not null,
  event text not null,
  user_id uuid,
  payload jsonb not null,
  noted_at timestamptz not null default now(),
  primary key (topic, event)
);
comment on table private.waiting_messages is
  'Messages that realtime.messages refused (a day without a partition), the newest of each topic and event; the worker retries until they are sent.';
alter table private.waiting_messages enable row level security;

create function private.messages_of(pending private.outbox[])
returns private.message[]
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    with facts as (
      select o.id, 1 as part, o.user_id, o.created_at, l as reward,
             case l.source when 'challenge' then 'challenge_completed' else 'achievement_unlocked' end as event, null as payload
      from unnest(pending) as o
      join private.rewards as l on l.user_id = o.user_id and l.number between o.first_reward and o.last_reward
      where l.source in ('achievement', 'challenge') and l.sequence % 2 = 1
      union all
      select o.id, 2, o.user_id, o.created_at, null, 'level_up', jsonb_build_object(
               'from', min(l.source_id::integer) - 1, 'to', max(l.source_id::integer))
      from unnest(pending) as o
      join private.rewards as l on l.user_id = o.user_id and l.number between o.first_reward and o.last_reward
      where l.source = 'level' and l.sequence % 2 = 1
      group by o.id, o.user_id, o.created_at
      union all
      select o.id, 3, o.user_id, o.created_at, null, 'credits_changed', jsonb_build_object(
               'total_credits', o.total, 'credits', o.change, 'current_level', o.level, 'revision', o.revision)
      from unnest(pending) as o
      where o.change is not null
    ), newest as (
      -- A message older than 10 s is obsolete; the newest of its kind has the user's current state.
      select f.*, f.created_at >= now() - interval '10 seconds'
                  or row_number() over (partition by f.user_id, f.event order by f.id desc, (f.reward).number desc) = 1 as is_sent
      from facts as f
    )
    select array_agg((
             n.user_id, 'user:' || n.user_id || case n.event when 'challenge_completed' then ':challenges' else ':gamification' end,
             n.event,
             case when n.part = 1 then
               private.reward_json(n.reward) - 'id' || jsonb_build_object(
                 case (n.reward).source when 'challenge' then 'challenge_id' else 'achievement_id' end, (n.reward).source_id)
             else n.payload end)::private.message
             order by n.id, n.part, (n.reward).number)
    from newest as n
    -- Do not send messages about deleted users.
    join public.profiles as p on p.id = n.user_id
    where n.is_sent);
end;
$$;
comment on function private.messages_of(private.outbox[]) is
  'Builds the messages of outbox rows, in the order of each user''s writes: achievement_unlocked and '
  'challenge_completed, level_up, credits_changed. Revoked rewards only show in credits_changed. null = '
  'none.';

create function private.insert_messages(messages private.message[], takes_waiting boolean)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if takes_waiting then
    -- Waiting messages go first, except those that have a newer one now or belong to a deleted user.
    with gone as (
      delete from private.waiting_messages as w returning w.*
    )
    select array_agg((g.user_id, g.topic, g.event, g.payload)::private.message order by g.noted_at) || messages into messages
    from gone as g
    where (g.user_id is null or exists (select from public.profiles as p where p.id = g.user_id))
      and not exists (select from unnest(messages) as m where m.topic = g.topic and m.event = g.event);
    update private.worker_state as s set messages_wait_until = null;
  end if;
  -- Same insert as realtime.send, for all messages at once. The owner bypasses row-level security.
  insert into realtime.messages (id, topic, extension, event, payload, private)
  select m.id, m.topic, 'broadcast', m.event, m.payload || jsonb_build_object('id', m.id), true
  from (select u.*, gen_random_uuid() as id from unnest(messages) with ordinality as u (user_id, topic, event, payload, place)) as m
  order by m.place;
end;
$$;
comment on function private.insert_messages(private.message[], boolean) is
  'Inserts messages for Realtime in order, waiting ones first if they are to be included. Adds a member id to each payload.';

create function private.send_messages(messages private.message[], is_careful boolean default true)
returns void
language plpgsql security definer
set search_path = ''
as $$
declare
  wait_until timestamptz := (select s.messages_wait_until from private.worker_state as s);
begin
  if wait_until is null and messages is null then
    return;
  end if;
  if wait_until is null or wait_until <= now() then
    if not is_careful then
      perform private.insert_messages(messages, wait_until is not null);
      return;
    end if;
    begin
      perform private.insert_messages(messages, wait_until is not null);
      return;
    exception
      when others then
        raise warning 'messages wait: % %', sqlstate, sqlerrm;
    end;
  end if;
  insert into private.waiting_messages as w (topic, event, user_id, payload)
  select distinct on (m.topic, m.event) m.topic, m.event, m.user_id, m.payload
  from unnest(messages) with ordinality as m (user_id, topic, event, payload, place)
  order by m.topic, m.event, m.place desc
  on conflict (topic, event) do update set payload = excluded.payload, noted_at = excluded.noted_at;
  update private.worker_state as s set messages_wait_until = now() + interval '10 seconds'
  where s.messages_wait_until is null or s.messages_wait_until <= now();
end;
$$;
comment on function private.send_messages(private.message[], boolean) is
  'Sends messages to the subscribers of their private topics, in order, when the transaction commits; adds a '
  'member id to each payload. All messages go through this function. In careful mode it never fails: a '
  'message that cannot be sent is stored and retried every ten seconds, also by a call with null.';
