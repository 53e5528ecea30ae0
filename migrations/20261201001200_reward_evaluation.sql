-- Evaluation of rewards: compares what a user has reached with what the ledger says they hold, and appends the
-- difference as new rows. Used for everything but a single new entry, where private.record_entry derives the same
-- from less data, so any order of events gives the result of a recomputation.

create function private.load_rules(catalogue_version bigint, day date)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform carbon.keep_rules(catalogue_version, day, (
    select coalesce(jsonb_agg(jsonb_build_object(
      'id', a.id, 'rule', a.rule, 'credits', a.credits_reward, 'shown', jsonb_build_object(
        'id', a.id, 'name_th', a.name_th, 'name_en', a.name_en, 'icon', a.icon, 'credits_reward', a.credits_reward))), '[]')
    from public.achievements as a where a.active), (
    select coalesce(jsonb_agg(jsonb_build_object(
      'id', c.id, 'rule', c.rule, 'credits', c.credits_reward, 'shown', jsonb_build_object(
        'id', c.id, 'challenge_type', c.challenge_type, 'title_th', c.title_th, 'title_en', c.title_en, 'icon', c.icon,
        'credits_reward', c.credits_reward, 'date', day))), '[]')
    from private.challenges_on(day) as c where c.active));
end;
$$;
comment on function private.load_rules(bigint, date) is
  'Loads the catalogue of a day into this session, under the version that was read before it, so anything newer comes with the next version. Display data is that of private.reward_json.';

create function private.held_challenges(p_user_id uuid, day date)
returns text[]
language plpgsql stable
set search_path = ''
as $$
begin
  return array(
    select c.id::text from private.challenges_on(day) as c
    where (select l.sequence % 2 = 1 from private.rewards as l
           where l.user_id = p_user_id and l.source = 'challenge' and l.source_id = c.id::text
           order by l.sequence desc limit 1)
    order by 1);
end;
$$;
comment on function private.held_challenges(uuid, date) is
  'Ids of the challenges of a day that the ledger says a user holds, sorted; includes inactive ones.';

create type private.reward_evaluation as (
  user_id uuid,
  source text,
  source_id text,
  is_met boolean,
  credits integer,
  local_date date
);
comment on type private.reward_evaluation is
  'Whether a user has reached an achievement or a day''s challenge; credits = its current value.';

create function private.close_days(user_ids uuid[], by_version bigint)
returns private.reward_evaluation[]
language plpgsql security definer
set search_path = ''
as $$
declare
  changed private.reward_evaluation[];
begin
  with diaries as materialized (
    select s.user_id, s.credits, s.tally, s.achievements, s.rules_version, c.closed_through, d.dates, d.tallies
    from unnest(user_ids) as p (user_id)
    join private.user_state as s on s.user_id = p.user_id
    cross join lateral (
      select greatest(s.days_closed_through, carbon.local_date(now(), s.time_zone) - 1) as closed_through) as c
    cross join lateral private.tallied_days(p.user_id, '-infinity', 'infinity') as d
  ), closed as (
    update private.user_state as s
    set days_closed_through = d.closed_through, first_open_day = n.first_open_day, latest_day = n.latest_day,
        current_run = n.current_run, longest_run = n.longest_run, plastic_free_days = n.plastic_free_days,
        rules_version = by_version
    from diaries as d
    cross join lateral carbon.day_state(d.dates, d.tallies, d.closed_through) as n
    where s.user_id = d.user_id
  )
  select array_agg((d.user_id, 'achievement', a.id, a.id <> all (d.achievements), a.credits_reward, null)::private.reward_evaluation)
  into changed
  from diaries as d
  cross join private.achievement_rules as r
  cross join lateral unnest(carbon.changed_achievements(
    r.rules, d.achievements, d.credits, d.tally, d.dates, d.tallies, d.closed_through)) as n (id)
  join public.achievements as a on a.id = n.id;
  return coalesce(changed, '{}');
end;
$$;
comment on function private.close_days(uuid[], bigint) is
  'Closes these users'' days before their own today (never moves back), updates what depends on closed days, '
  'and sets the version of the achievement rules by which they are evaluated. Returns the active '
  'achievements that are reached and not held, or held and not reached. Computed from their sums, under the '
  'lock of their state rows.';

create function private.evaluate_challenges(user_ids uuid[], days date[])
returns private.reward_evaluation[]
language plpgsql stable security definer
set search_path = ''
as $$
begin
  -- Days before the profile began have no challenges.
  return array(
    with days as materialized (
      select w.person, w.day, (
        select coalesce(carbon.sum_tallies(x.tally), '') from public.user_days as x
        where x.user_id = w.person and x.local_date = w.day and not x.imported) as tally
      from unnest(user_ids, evaluate_challenges.days) as w (person, day)
      join private.user_state as s on s.user_id = w.person
      where w.day >= s.began
    ), challenges as materialized (
      select d.day, c.*
      from (select distinct n.day from days as n) as d
      cross join lateral private.challenges_on(d.day) as c
      where c.active
    )
    select (d.person, 'challenge', c.id::text, carbon.is_day_reached(c.rule, d.tally), c.credits_reward, d.day)::private.reward_evaluation
    from days as d
    join challenges as c on c.day = d.day);
end;
$$;
comment on function private.evaluate_challenges(uuid[], date[]) is
  'Whether these users have reached the active challenges of these days (two parallel lists), from their sums.';

create function private.post_reward_changes(evaluations private.reward_evaluation[], p_entry_id uuid)
returns private.rewards[]
language plpgsql security definer
set search_path = ''
as $$
declare
  written private.rewards[];
begin
  if cardinality(evaluations) = 0 then
    return null;
  end if;
  with changes as (
    -- The ledger is authoritative for what is held, so a repeated call does not pay twice.
    select v.*, coalesce(h.sequence, 0) as sequence, h.credits as given
    from unnest(evaluations) as v
    left join lateral (
      select l.sequence, l.credits from private.rewards as l
      where l.user_id = v.user_id and l.source = v.source and l.source_id = v.source_id
      order by l.sequence desc limit 1) as h on true
    where v.is_met <> (coalesce(h.sequence, 0) % 2 = 1)
  ), added as (
    insert into private.rewards as l (user_id, number, source, source_id, sequence, credits, entry_id, local_date, visibility)
    select n.user_id,
           s.ledger_rows + row_number() over (partition by n.user_id order by n.source, n.local_date, n.source_id),
           n.source, n.source_id, n.sequence + 1, case when n.is_met then n.credits else -n.given end, p_entry_id, n.local_date,
           private.visibility_now(n.user_id, n.source)
    from changes as n
    join private.user_state as s on s.user_id = n.user_id
    returning l.*
  ), by_user as (
    select a.user_id, sum(a.credits) as credits, count(*) as rows,
           coalesce(array_agg(a.source_id) filter (where a.source = 'achievement' and a.sequence % 2 = 1), '{}') as won,
           coalesce(array_agg(a.source_id) filter (where a.source = 'achievement' and a.sequence % 2 = 0), '{}') as lost
    from added as a
    group by a.user_id
  ), totals as (
    update private.user_state as s
    set rewards = s.rewards + b.credits,
        ledger_rows = s.ledger_rows + b.rows,
        achievements = array(
          select a.id from unnest(s.achievements || b.won) as a (id) where a.id <> all (b.lost) order by a.id)
    from by_user as b
    where s.user_id = b.user_id
  )
  select array_agg(a::private.rewards order by a.user_id, a.number) into written from added as a;
  return written;
end;
$$;
comment on function private.post_reward_changes(private.reward_evaluation[], uuid) is
  'Grants what is met and not held, revokes what is held and not met: appends rows to the ledger, returns '
  'them (null = none), and updates the state. p_entry_id: the entry that caused it, if there was exactly '
  'one. The caller must hold the users'' locks.';

create function private.held_marks(p_user_id uuid, out sources text[], out source_ids text[])
language plpgsql stable
set search_path = ''
as $$
begin
  select array_agg(h.source), array_agg(h.source_id) into sources, source_ids
  from (
    select l.source, l.source_id from private.rewards as l
    where l.user_id = p_user_id and l.source in ('level', 'streak', 'tree')
    group by l.source, l.source_id
    having max(l.sequence) % 2 = 1) as h;
  sources := coalesce(sources, '{}');
  source_ids := coalesce(source_ids, '{}');
end;
$$;
comment on function private.held_marks(uuid) is
  'Source and id of the marks (levels, trees, streaks) that the ledger says a user holds, in parallel lists.';

create function private.apply_mark_changes(user_ids uuid[])
returns private.rewards[]
language plpgsql security definer
set search_path = ''
as $$
declare
  written private.rewards[];
begin
  with changed as (
    select s.user_id, s.ledger_rows + c.place as number, c.source, c.source_id
    from unnest(user_ids) as p (user_id)
    join private.user_state as s on s.user_id = p.user_id
    cross join lateral private.held_marks(s.user_id) as h
    cross join lateral carbon.changed_marks(s.credits + s.rewards, s.longest_run, h.sources, h.source_ids)
      with ordinality as c (source, source_id, is_reached, place)
  ), added as (
    insert into private.rewards as l (user_id, number, source, source_id, sequence, credits, visibility)
    select c.user_id, c.number, c.source, c.source_id, 1 + coalesce((
             select max(l.sequence) from private.rewards as l
             where l.user_id = c.user_id and l.source = c.source and l.source_id = c.source_id), 0), 0,
           private.visibility_now(c.user_id, c.source)
    from changed as c
    returning l.*
  ), counted as (
    update private.user_state as s
    set level = carbon.level(s.credits + s.rewards), ledger_rows = s.ledger_rows + coalesce(a.rows, 0)
    from unnest(user_ids) as p (user_id)
    left join (select d.user_id, count(*) as rows from added as d group by d.user_id) as a on a.user_id = p.user_id
    where s.user_id = p.user_id and (a.rows > 0 or s.level <> carbon.level(s.credits + s.rewards))
  )
  select array_agg(a::private.rewards order by a.user_id, a.number) into written from added as a;
  return written;
end;
$$;
comment on function private.apply_mark_changes(uuid[]) is
  'Appends rows without credits to the ledger for the marks (levels, trees, streaks) that totals and longest runs have reached or fallen below; returns the rows.';

create function private.reward_json(reward private.rewards)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return case reward.source
    when 'achievement' then (
      select jsonb_build_object('id', a.id, 'name_th', a.name_th, 'name_en', a.name_en, 'icon', a.icon,
                                'credits_reward', reward.credits)
      from public.achievements as a where a.id = reward.source_id)
    when 'challenge' then (
      select jsonb_build_object('id', reward.source_id, 'challenge_type', c.id, 'title_th', c.title_th,
                                'title_en', c.title_en, 'icon', c.icon, 'credits_reward', reward.credits,
                                'date', reward.local_date)
      from (
        select d.challenge_type, d.title_th, d.title_en, d.icon from public.daily_challenges as d
        where d.id = reward.source_id::uuid
        union all
        select t.id, t.title_th, t.title_en, t.icon from public.challenge_types as t
        where carbon.challenge_id(reward.local_date, t.id) = reward.source_id::uuid
        limit 1) as c (id, title_th, title_en, icon)) end;
end;
$$;
comment on function private.reward_json(private.rewards) is
  'An achievement or challenge of the ledger as in answers and events, with its names in both languages.';

create function private.evaluate_people(user_ids uuid[], touched_people uuid[], touched_days date[], p_entry_id uuid)
returns private.rewards[]
language plpgsql security definer
set search_path = ''
-- Use one cached, index-based plan for one user and for thousands, never replanned for the length of a list.
-- Functions called from here run under the same settings.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  written private.rewards[];
begin
  -- Read the version before the rules: a user evaluated by newer rules is only evaluated once more.
  written := private.post_reward_changes(
    private.close_days(user_ids, (select r.version from private.achievement_rules as r))
      || private.evaluate_challenges(touched_people, touched_days)
      || private.evaluate_communities(user_ids)
      || private.evaluate_referrals(user_ids), p_entry_id);
  written := written || private.apply_mark_changes(user_ids);
  perform private.refresh_feed(written);
  -- Same as private.held_challenges for each of them, but reads the challenges of a day only once.
  with latest as materialized (
    select s.user_id, s.latest_day
    from unnest(user_ids) as p (user_id)
    join private.user_state as s on s.user_id = p.user_id
  ), challenges as materialized (
    select d.latest_day, c.id::text as id
    from (select distinct l.latest_day from latest as l where l.latest_day is not null) as d
    cross join lateral private.challenges_on(d.latest_day) as c
  ), held as (
    select l.user_id, coalesce(array_agg(c.id order by c.id) filter (where h.is_held), '{}') as ids
    from latest as l
    left join challenges as c on c.latest_day = l.latest_day
    left join lateral (
      select r.sequence % 2 = 1 as is_held from private.rewards as r
      where r.user_id = l.user_id and r.source = 'challenge' and r.source_id = c.id
      order by r.sequence desc limit 1) as h on true
    group by l.user_id
  )
  update private.user_state as s set latest_challenges = h.ids
  from held as h
  where s.user_id = h.user_id and s.latest_challenges <> h.ids;
  return written;
end;
$$;
comment on function private.evaluate_people(uuid[], uuid[], date[], uuid) is
  'Grants and revokes rewards according to the users'' sums, for all achievements and community challenges, by their referrals, and for the '
  'challenges of the changed days (two parallel lists), and updates the state and the feed; returns the new ledger rows (null = none). '
  'p_entry_id: the entry that caused it, if there was exactly one. The caller must hold the users'' locks and '
  'write the outbox.';

create function private.evaluate_rewards(user_ids uuid[], totals_before bigint[], touched_people uuid[], touched_days date[])
returns void
language plpgsql security definer
set search_path = ''
-- As in private.evaluate_people.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  written private.rewards[] := private.evaluate_people(user_ids, touched_people, touched_days, null);
begin
  insert into private.outbox (user_id, rewards, change, total, level, revision, first_reward, last_reward)
  select s.user_id, coalesce(l.credits, 0), nullif(s.credits + s.rewards - b.total, 0), s.credits + s.rewards, s.level,
         s.revision, l.first_number, l.last_number
  from unnest(user_ids, totals_before) as b (user_id, total)
  join private.user_state as s on s.user_id = b.user_id
  left join (
    select w.user_id, sum(w.credits) as credits, min(w.number) as first_number, max(w.number) as last_number
    from unnest(written) as w
    group by w.user_id) as l on l.user_id = b.user_id
  where s.credits + s.rewards <> b.total or l.user_id is not null;
end;
$$;
comment on function private.evaluate_rewards(uuid[], bigint[], uuid[], date[]) is
  'Runs private.evaluate_people after a statement of many rows, a repair or a job, and appends an outbox row for each user whose total or ledger changed. totals_before: their totals before the change.';

create function private.evaluate_quietly(user_ids uuid[], totals_before bigint[])
returns void
language plpgsql security definer
set search_path = ''
set carbon.rewards_are_quiet = 'on'
as $$
begin
  perform private.evaluate_rewards(user_ids, totals_before, '{}', '{}');
end;
$$;
comment on function private.evaluate_quietly(uuid[], bigint[]) is
  'private.evaluate_rewards for achievements and marks alone, with rows that are quiet.';

create function private.apply_new_rules(user_ids uuid[])
returns void
language plpgsql security definer
set search_path = ''
-- As in private.evaluate_people.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  outdated uuid[];
begin
  -- 0: never evaluated. Without entries no rule can have granted anything.
  select array_agg(s.user_id order by s.user_id) into outdated
  from unnest(user_ids) as p (user_id)
  join private.user_state as s on s.user_id = p.user_id
  cross join private.achievement_rules as r
  where s.rules_version not in (0, r.version);
  if outdated is not null then
    perform private.lock_users(outdated);
    perform private.evaluate_quietly(outdated, array(
      select s.credits + s.rewards from unnest(outdated) as o (user_id)
      join private.user_state as s on s.user_id = o.user_id order by s.user_id));
  end if;
end;
$$;
comment on function private.apply_new_rules(uuid[]) is
  'Evaluates those of these users who were last evaluated by older achievement rules, quietly. To be called before '
  'anything changes their sums, so that what new rules grant is told from what the change earns. Locks them.';

create function private.answer_rewards(p_user_id uuid, rows_before bigint)
returns jsonb
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  return (
    select jsonb_build_object(
      'achievements_unlocked', coalesce(jsonb_agg(private.reward_json(r) order by r.number)
        filter (where r.source = 'achievement' and r.sequence % 2 = 1), '[]'),
      'challenges_completed', coalesce(jsonb_agg(private.reward_json(r) order by r.number)
        filter (where r.source = 'challenge' and r.sequence % 2 = 1), '[]'),
      'level_up', case when count(*) filter (where r.source = 'level' and r.sequence % 2 = 1) > 0 then
        jsonb_build_object(
          'from', min(r.source_id::integer) filter (where r.source = 'level' and r.sequence % 2 = 1) - 1,
          'to', max(r.source_id::integer) filter (where r.source = 'level' and r.sequence % 2 = 1)) end)
    from private.rewards as r
    where r.user_id = p_user_id and r.number > rows_before);
end;
$$;
comment on function private.answer_rewards(uuid, bigint) is
  'What a write has earned: {achievements_unlocked, challenges_completed, level_up}, from the user''s ledger rows after rows_before.';

create function private.close_elapsed_days(user_ids uuid[])
returns integer
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  rules record;
  ended record;
begin
  select r.rules, r.version into rules from private.achievement_rules as r;
  with waiting as materialized (
    select s.user_id, s.credits + s.rewards as total, s.achievements, s.rules_version, s.days_closed_through,
           s.plastic_free_days, carbon.local_date(now(), s.time_zone) - 1 as yesterday
    from unnest(user_ids) as p (user_id)
    join private.user_state as s on s.user_id = p.user_id
    where s.first_open_day < carbon.local_date(now(), s.time_zone)
    order by s.user_id
    for no key update of s skip locked
  ), examined as materialized (
    -- Closing a day only changes rules about whole days; the days before it are already counted.
    select w.user_id, w.total, w.yesterday, w.plastic_free_days + n.plastic_free_days as plastic_free_days, n.first_open_day,
           w.rules_version <> rules.version as has_new_rules,
           w.rules_version <> rules.version
             or n.plastic_free_days > 0 and carbon.is_reached_by_day_end(rules.rules, w.achievements, d.tallies) as is_moved
    from waiting as w
    cross join lateral private.tallied_days(w.user_id, w.days_closed_through + 1, 'infinity') as d
    cross join lateral carbon.day_state(d.dates, d.tallies, w.yesterday) as n
  ), closed as (
    update private.user_state as s
    set days_closed_through = l.yesterday, first_open_day = l.first_open_day, plastic_free_days = l.plastic_free_days
    from examined as l
    where s.user_id = l.user_id and not l.is_moved
  )
  select count(*)::integer as checked,
         array_agg(l.user_id) filter (where l.is_moved and not l.has_new_rules) as moved,
         array_agg(l.total) filter (where l.is_moved and not l.has_new_rules) as totals,
         array_agg(l.user_id) filter (where l.has_new_rules) as outdated,
         array_agg(l.total) filter (where l.has_new_rules) as outdated_totals
  into ended
  from examined as l;
  if ended.moved is not null then
    perform private.evaluate_rewards(ended.moved, ended.totals, '{}', '{}');
  end if;
  if ended.outdated is not null then
    perform private.evaluate_quietly(ended.outdated, ended.outdated_totals);
  end if;
  return ended.checked;
end;
$$;
comment on function private.close_elapsed_days(uuid[]) is
  'Closes the first open day of those of these users for whom it has ended, and evaluates those whose '
  'achievements it can change. Returns how many users. Can be run at any time, also concurrently: users with '
  'a write in progress are skipped, because the write closes the day.';
