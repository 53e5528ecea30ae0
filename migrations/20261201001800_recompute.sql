-- The invariant, executable: what all data derived from a user's entries must be, whether it is, and how to repair
-- it.

create function private.days_of_entries(p_user_id uuid)
returns setof public.user_days
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select p_user_id, e.local_date, e.province, e.batch_id is not null,
         carbon.tally_of(e.category_id, e.disposal_method, (e.weight_kg * 1000)::integer, 1), count(*)::integer, sum(e.weight_kg), sum(e.carbon_credits),
         sum(greatest(e.carbon_credits, 0)), sum(least(e.carbon_credits, 0)), sum(e.co2e_kg), sum(e.co2e_avoided_kg)
  from public.waste_entries as e
  where e.user_id = p_user_id
  group by e.local_date, e.province, e.batch_id is not null;
end;
$$;
comment on function private.days_of_entries(uuid) is
  'What user_days must contain for this user: the sums of their entries.';

create function private.check_state(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    with must as (
      select coalesce(sum(d.entries), 0) as entries, coalesce(sum(d.weight_kg), 0) * 1000 as grams,
             coalesce(sum(d.credits), 0) as credits, coalesce(sum(d.co2e_kg), 0) * 1000000 as co2e_mg,
             coalesce(sum(d.co2e_avoided_kg), 0) * 1000000 as co2e_avoided_mg, carbon.sum_tallies(d.tally) as tally
      from private.days_of_entries(p_user_id) as d
    )
    select coalesce(jsonb_agg(jsonb_build_object('what', 'user_state.' || c.name, 'expected', c.expected, 'found', c.found)), '[]')
    from private.user_state as s
    join public.profiles as p on p.id = s.user_id
    join public.user_preferences as f on f.user_id = s.user_id
    cross join must as m
    cross join lateral private.tallied_days(p_user_id, '-infinity', 'infinity') as d
    cross join lateral carbon.day_state(d.dates, d.tallies, s.days_closed_through) as n
    cross join lateral (values
      ('entries', m.entries::text, s.entries::text),
      ('grams', trim_scale(m.grams)::text, s.grams::text),
      ('credits', m.credits::text, s.credits::text),
      ('co2e_mg', trim_scale(m.co2e_mg)::text, s.co2e_mg::text),
      ('co2e_avoided_mg', trim_scale(m.co2e_avoided_mg)::text, s.co2e_avoided_mg::text),
      ('tally', m.tally::text, s.tally::text),
      ('first_open_day', n.first_open_day::text, s.first_open_day::text),
      ('latest_day', n.latest_day::text, s.latest_day::text),
      ('current_run', n.current_run::text, s.current_run::text),
      ('longest_run', n.longest_run::text, s.longest_run::text),
      ('plastic_free_days', n.plastic_free_days::text, s.plastic_free_days::text),
      ('time_zone', coalesce(f.time_zone, carbon.default_time_zone()), s.time_zone),
      ('province', p.province::text, s.province),
      ('began', carbon.local_date(p.created_at, carbon.default_time_zone())::text, s.began::text),
      ('closed_until', p.closed_until::text, s.closed_until::text)) as c (name, expected, found)
    where s.user_id = p_user_id and c.expected is distinct from c.found);
end;
$$;
comment on function private.check_state(uuid) is
  'Differences between this user''s state and their entries, days and profile; the ledger is checked separately.';

create function private.check_days(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('what', 'user_days', 'expected', to_jsonb(must), 'found', to_jsonb(is_now))), '[]')
    from private.days_of_entries(p_user_id) as must
    full join (select d.* from public.user_days as d where d.user_id = p_user_id) as is_now
      on is_now.local_date = must.local_date
     and coalesce(is_now.province, '') = coalesce(must.province, '')
     and is_now.imported = must.imported
    where must is distinct from is_now);
end;
$$;
comment on function private.check_days(uuid) is
  'Differences between user_days and the entries of this user.';

create function private.check_keys(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    with keys as (
      select k.* from private.entry_keys as k where k.user_id = p_user_id
    ), entries as (
      select e.id, e.logged_at, e.offline_id from public.waste_entries as e where e.user_id = p_user_id
    ), differences as (
      select 'entry_keys' as what, to_jsonb(e) as expected, to_jsonb(k) as found
      from entries as e
      full join (select * from keys where deleted_at is null) as k on k.entry_id = e.id
      where k.entry_id is null or e.id is null
         or k.logged_at <> e.logged_at or k.offline_id is distinct from e.offline_id
      union all
      -- Unique by its index and newest = the total's: together they prove that no number is assigned twice or ahead.
      select 'user_state.revision', to_jsonb(coalesce(max(k.revision), 0)), to_jsonb(min(t.revision))
      from private.user_state as t
      left join keys as k on true
      where t.user_id = p_user_id
      having coalesce(max(k.revision), 0) <> min(t.revision)
          or min(k.revision) < 1
          or count(k.revision) > min(t.revision)
    )
    select coalesce(jsonb_agg(to_jsonb(d)), '[]') from differences as d);
end;
$$;
comment on function private.check_keys(uuid) is
  'Differences between entry_keys and the entries of this user: each entry has one live key with its time, each tombstone has no entry, and the revision is that of the newest change.';

create function private.expected_rewards(p_user_id uuid)
returns table (source text, source_id text, is_met boolean)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select 'achievement' as source, a.id as source_id,
         carbon.rule_value(a.rule, t.credits, t.tally, d.dates, d.tallies, t.days_closed_through) >= carbon.rule_target(a.rule) as is_met
  from private.user_state as t
  cross join lateral private.tallied_days(p_user_id, '-infinity', 'infinity') as d
  cross join public.achievements as a
  where t.user_id = p_user_id and a.active
  union all
  select v.source, v.source_id, v.is_met
  from unnest(private.evaluate_challenges(
    array(select p_user_id from private.days_to_evaluate(p_user_id) as d),
    array(select d.local_date from private.days_to_evaluate(p_user_id) as d))) as v
  union all
  select 'community', c.source_id, c.is_met from private.due_community_rewards(p_user_id) as c
  union all
  select c.source, c.source_id, c.is_reached
  from private.user_state as t
  cross join private.held_marks(p_user_id) as h
  cross join lateral carbon.changed_marks(t.credits + t.rewards, t.longest_run, h.sources, h.source_ids) as c
  where t.user_id = p_user_id
  union all
  select v.source, v.source_id, v.is_met
  from unnest(private.evaluate_referrals(array[p_user_id])) as v;
end;
$$;
comment on function private.expected_rewards(uuid) is
  'Which active achievements, community challenges and challenges of the days to evaluate this user''s sums meet, which of their referrals are rewarded, and the marks in which the ledger differs from them.';

create function private.check_rewards(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    with ledger as (
      select r.* from private.rewards as r where r.user_id = p_user_id
    ), held as (
      select l.source, l.source_id, max(l.sequence) % 2 = 1 as is_held, max(l.sequence) <> count(*) as has_gap
      from ledger as l
      group by l.source, l.source_id
    ), differences as (
      select j.source || ' ' || j.source_id as what, to_jsonb(j.is_met) as expected,
             to_jsonb(coalesce(h.is_held, false)) as found
      from private.expected_rewards(p_user_id) as j
      left join held as h on h.source = j.source and h.source_id = j.source_id
      where j.is_met <> coalesce(h.is_held, false)
      union all
      select 'rewards.sequence ' || h.source_id, 'false', to_jsonb(h.has_gap) from held as h where h.has_gap
      union all
      select 'user_state.' || c.name, c.expected, c.found
      from private.user_state as t
      cross join lateral (values
        ('rewards', to_jsonb((select coalesce(sum(l.credits), 0) from ledger as l)), to_jsonb(t.rewards)),
        ('ledger_rows', to_jsonb((select count(*) from ledger as l)), to_jsonb(t.ledger_rows)),
        ('ledger_rows', to_jsonb((select coalesce(max(l.number), 0) from ledger as l)), to_jsonb(t.ledger_rows)),
        ('level', to_jsonb(carbon.level(t.credits + t.rewards)), to_jsonb(t.level)),
        ('achievements', to_jsonb(private.held_achievements(p_user_id)), to_jsonb(t.achievements)),
        ('latest_challenges', to_jsonb(case when t.latest_day is null then '{}' else private.held_challenges(p_user_id, t.latest_day) end),
         to_jsonb(t.latest_challenges))) as c (name, expected, found)
      where t.user_id = p_user_id and c.expected <> c.found
    )
    select coalesce(jsonb_agg(to_jsonb(d)), '[]') from differences as d);
end;
$$;
comment on function private.check_rewards(uuid) is
  'Differences between the reward ledger and what this user''s sums (checked separately) have reached: achievements, challenges, levels, the net, and gaps in numbers and sequences.';

create function private.days_to_evaluate(p_user_id uuid)
returns table (local_date date)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select d.local_date from public.user_days as d where d.user_id = p_user_id
  union
  select r.local_date from private.rewards as r where r.user_id = p_user_id and r.source = 'challenge';
end;
$$;
comment on function private.days_to_evaluate(uuid) is
  'The days whose challenges a recomputation evaluates: those with entries and those with rewards.';

create function private.check_user(user_id uuid)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
begin
  -- One snapshot for everything (the function is stable), so that a concurrent writer does not show as a difference.
  return private.check_state(user_id) || private.check_days(user_id) || private.check_keys(user_id)
      || private.check_rewards(user_id) || private.check_contributions(user_id) || private.check_feed(user_id)
      || private.check_boards(user_id)
      || private.check_friends(user_id) || private.check_referrals(user_id);
end;
$$;
grant execute on function private.check_user(uuid) to service_role;
select private.expose(
  'private.check_user(uuid)',
  'For the service role: every difference between the data derived for a user and a recomputation from their entries and friendships, as [{what, expected, found}]; [] if there are none or the user does not exist.');

create function private.repair_keys(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- Rows inserted or deleted past the triggers get a revision now, so that devices receive them.
  with lost as (
    select k.entry_id, row_number() over (order by k.revision) as place
    from private.entry_keys as k
    where k.user_id = p_user_id and k.deleted_at is null
      and not exists (select from public.waste_entries as e where e.user_id = p_user_id and e.id = k.entry_id)
  ), numbered as (
    update private.user_state as t
    set revision = t.revision + (select count(*) from lost), last_change_at = now()
    where t.user_id = p_user_id and exists (select from lost)
    returning t.revision - (select count(*) from lost) as revision
  )
  update private.entry_keys as k
  set deleted_at = now(), revision = n.revision + l.place
  from lost as l, numbered as n
  where k.user_id = p_user_id and k.entry_id = l.entry_id;

  with wrong as (
    select e.id, e.logged_at, e.offline_id, e.batch_id, row_number() over (order by e.logged_at, e.id) as place
    from public.waste_entries as e
    left join private.entry_keys as k on k.user_id = p_user_id and k.entry_id = e.id
    where e.user_id = p_user_id
      and (k.entry_id is null or k.deleted_at is not null or k.logged_at <> e.logged_at
           or k.offline_id is distinct from e.offline_id)
  ), numbered as (
    update private.user_state as t
    set revision = t.revision + (select count(*) from wrong), last_change_at = now()
    where t.user_id = p_user_id and exists (select from wrong)
    returning t.revision - (select count(*) from wrong) as revision
  )
  insert into private.entry_keys as k (user_id, entry_id, logged_at, revision, offline_id, batch_id)
  select p_user_id, w.id, w.logged_at, n.revision + w.place, w.offline_id, w.batch_id
  from wrong as w, numbered as n
  on conflict (user_id, entry_id) do update
    set logged_at = excluded.logged_at, revision = excluded.revision, offline_id = excluded.offline_id, deleted_at = null;

  update private.user_state as t
  set revision = k.newest
  from (select max(k.revision) as newest from private.entry_keys as k where k.user_id = p_user_id) as k
  where t.user_id = p_user_id and t.revision < k.newest;
end;
$$;
comment on function private.repair_keys(uuid) is
  'Gives every entry of a user a live key and turns every other key into a tombstone; each repaired key gets a new revision.';

create function private.held_achievements(p_user_id uuid)
returns text[]
language plpgsql stable
set search_path = ''
as $$
begin
  return array(
    select r.source_id from private.rewards as r
    where r.user_id = p_user_id and r.source = 'achievement'
    group by r.source_id
    having max(r.sequence) % 2 = 1
    order by r.source_id);
end;
$$;
comment on function private.held_achievements(uuid) is
  'Ids of the achievements that the ledger says a user holds, sorted.';

create function private.recompute_user(user_id uuid)
returns jsonb
language plpgsql security definer
set search_path = ''
set carbon.rewards_are_quiet = 'on'
as $$
declare
  p_user_id alias for user_id;
  differences jsonb;
begin
  perform from private.user_state as t where t.user_id = p_user_id for no key update;
  differences := private.check_user(p_user_id);
  if differences = '[]' then
    return differences;
  end if;

  perform private.repair_keys(p_user_id);
  delete from public.user_days as d where d.user_id = p_user_id;
  insert into public.user_days select d.* from private.days_of_entries(p_user_id) as d;
  update private.user_state as t
  set (entries, grams, credits, co2e_mg, co2e_avoided_mg, tally) = (
    select coalesce(sum(d.entries), 0), (coalesce(sum(d.weight_kg), 0) * 1000)::bigint, coalesce(sum(d.credits), 0),
           (coalesce(sum(d.co2e_kg), 0) * 1000000)::bigint, (coalesce(sum(d.co2e_avoided_kg), 0) * 1000000)::bigint,
           carbon.sum_tallies(d.tally)
    from public.user_days as d where d.user_id = p_user_id)
  where t.user_id = p_user_id;
  update private.user_state as t
  set time_zone = coalesce(f.time_zone, carbon.default_time_zone()), province = p.province,
      began = carbon.local_date(p.created_at, carbon.default_time_zone()), closed_until = p.closed_until
  from public.profiles as p
  join public.user_preferences as f on f.user_id = p.id
  where t.user_id = p_user_id and p.id = p_user_id;
  perform private.repair_contributions(p_user_id);
  update private.user_state as t
  set rewards = coalesce(l.credits, 0), ledger_rows = l.rows, achievements = private.held_achievements(p_user_id)
  from (select sum(r.credits) as credits, count(*) as rows from private.rewards as r where r.user_id = p_user_id) as l
  where t.user_id = p_user_id;
  perform private.evaluate_rewards(
    array[p_user_id], array(select t.credits + t.rewards from private.user_state as t where t.user_id = p_user_id),
    array(select p_user_id from private.days_to_evaluate(p_user_id) as d), array(select d.local_date from private.days_to_evaluate(p_user_id) as d));
  perform private.repair_feed(p_user_id);
  perform private.repair_boards(array[p_user_id]);
  perform private.repair_friends(p_user_id);
  -- Deriving it takes the other side's lock as well, so the job does.
  update private.referrals as r set seen_revision = -1 where r.referee_id = p_user_id and r.closed_at is null;
  perform private.audit('recomputed', p_user_id, jsonb_build_object('differences', jsonb_array_length(differences)));
  return differences;
end;
$$;
grant execute on function private.recompute_user(uuid) to service_role;
select private.expose(
  'private.recompute_user(uuid)',
  'For the service role: rebuilds everything derived from a user''s entries and returns the differences it '
  'repaired ([] if there were none). Can be run at any time; waits for writers of the user''s entries.');

-- The nightly check --------------------------------------------------------------------------
create table private.job_state (
  job text primary key,
  last_user uuid,
  last_run_at timestamptz not null default now(),
  last_result jsonb
);
comment on table private.job_state is
  'Where each job that works in slices continues, and the result of its last slice.';
comment on column private.job_state.last_user is
  'The user at which the last slice ended; null = start from the beginning.';
alter table private.job_state enable row level security;
grant select on private.job_state to service_role;
insert into private.job_state (job) values ('update_daily_streaks');

create function private.update_daily_streaks(max_users integer default 1000)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  came_to uuid;
  user_ids uuid[];
  v_user_id uuid;
  differing integer := 0;
  result jsonb;
begin
  select s.last_user into came_to from private.job_state as s
  where s.job = 'update_daily_streaks' for update skip locked;
  if not found then
    return '{"busy": true, "checked": 0, "repaired": 0, "finished": false}';
  end if;

  user_ids := array(
    select t.user_id from private.user_state as t
    where came_to is null or t.user_id > came_to
    order by t.user_id limit greatest(max_users, 1));
  foreach v_user_id in array user_ids loop
    -- The comparison takes no lock; only users with differences are locked and repaired.
    if private.check_user(v_user_id) <> '[]' and private.recompute_user(v_user_id) <> '[]' then
      differing := differing + 1;
    end if;
    perform private.close_elapsed_days(array[v_user_id]);
  end loop;

  result := jsonb_build_object('busy', false, 'checked', cardinality(user_ids), 'repaired', differing,
                               'finished', cardinality(user_ids) < greatest(max_users, 1));
  update private.job_state as s
  set last_user = case when (result ->> 'finished')::boolean then null else user_ids[cardinality(user_ids)] end,
      last_run_at = now(), last_result = result
  where s.job = 'update_daily_streaks';
  return result;
end;
$$;
grant execute on function private.update_daily_streaks(integer) to service_role;
select private.expose(
  'private.update_daily_streaks(integer)',
  'For the service role and crontabs: streaks are derived when read, so there is nothing to update; this '
  'takes the next slice of max_users users, compares the data derived for each with a recomputation, and '
  'repairs differences. Returns {busy, checked, repaired, finished}; can be run at any time, also '
  'concurrently.');
