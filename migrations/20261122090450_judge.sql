-- The judge: compares what a person has reached with what the ledger says they hold, and writes the
-- difference as new rows. One way for everything, so any order of events ends where a recomputation does.

create function private.settle(people uuid[], by_version bigint)
returns void
language plpgsql security definer
set search_path = ''
as $$
begin
  update public.user_totals as t
  set settled_until = greatest(t.settled_until, d.yesterday),
      awaiting_day = (select min(u.local_date) from public.user_days as u
                      where u.user_id = t.user_id and u.local_date > greatest(t.settled_until, d.yesterday)),
      rules_version = coalesce(by_version, t.rules_version)
  from unnest(people) as p (user_id)
  join public.user_preferences as c on c.user_id = p.user_id
  cross join lateral (select carbon.local_date(now(), coalesce(c.time_zone, carbon.default_time_zone())) - 1 as yesterday) as d
  where t.user_id = p.user_id and (t.settled_until < d.yesterday or t.rules_version <> by_version);
end;
$$;
comment on function private.settle(uuid[], bigint) is
  'Notes for these people that the days before their own today have ended (never goes back) and by which version of the achievements they are judged (null = as before). Under the lock of their totals.';

create type private.verdict as (
  user_id uuid,
  source text,
  source_id text,
  is_met boolean,
  credits integer,
  local_date date
);
comment on type private.verdict is
  'What a person has reached or not: an achievement, or the challenge of a day; credits = what it is worth today.';

create function private.judge_achievements(people uuid[])
returns private.verdict[]
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return array(
    select (t.user_id, 'achievement', a.id, a.id <> all (t.achievements), a.credits_reward, null)::private.verdict
    from unnest(people) as p (person)
    join public.user_totals as t on t.user_id = p.person
    cross join private.achievement_rules as r
    cross join lateral private.tallied_days(p.person, '-infinity', 'infinity') as d
    cross join lateral unnest(carbon.turned(
      r.rules, t.achievements, t.credits, t.tally, d.dates, d.tallies, t.settled_until, true)) as n (id)
    join public.achievements as a on a.id = n.id);
end;
$$;
comment on function private.judge_achievements(uuid[]) is
  'The active achievements that these people have reached and do not hold, or hold and have not reached, from their sums.';

create function private.judge_challenges(people uuid[], days date[])
returns private.verdict[]
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
      from unnest(people, judge_challenges.days) as w (person, day)
      join public.profiles as p on p.id = w.person
      where w.day >= carbon.local_date(p.created_at, carbon.default_time_zone())
    ), challenges as materialized (
      select d.day, c.*
      from (select distinct n.day from days as n) as d
      cross join lateral private.challenges_on(d.day) as c
      where c.active
    )
    select (d.person, 'challenge', c.id::text, carbon.is_day_reached(c.rule, d.tally), c.credits_reward, d.day)::private.verdict
    from days as d
    join challenges as c on c.day = d.day);
end;
$$;
comment on function private.judge_challenges(uuid[], date[]) is
  'What these people have reached and not of the active challenges of these days (two lists side by side), from their sums.';

create function private.give(verdicts private.verdict[], cause uuid)
returns private.rewards[]
language plpgsql security definer
set search_path = ''
as $$
declare
  written private.rewards[];
begin
  if cardinality(verdicts) = 0 then
    return null;
  end if;
  with turned as (
    -- The ledger has the last word on what is held: whoever asks twice is paid once.
    select v.*, coalesce(h.sequence, 0) as sequence, h.credits as given
    from unnest(verdicts) as v
    left join lateral (
      select l.sequence, l.credits from private.rewards as l
      where l.user_id = v.user_id and l.source = v.source and l.source_id = v.source_id
      order by l.sequence desc limit 1) as h on true
    where v.is_met <> (coalesce(h.sequence, 0) % 2 = 1)
  ), added as (
    insert into private.rewards as l (user_id, number, source, source_id, sequence, credits, entry_id, local_date)
    select n.user_id,
           t.ledger_rows + row_number() over (partition by n.user_id order by n.source, n.local_date, n.source_id),
           n.source, n.source_id, n.sequence + 1, case when n.is_met then n.credits else -n.given end, cause, n.local_date
    from turned as n
    join public.user_totals as t on t.user_id = n.user_id
    returning l.*
  ), by_user as (
    select a.user_id, sum(a.credits) as credits, count(*) as rows,
           coalesce(array_agg(a.source_id) filter (where a.source = 'achievement' and a.sequence % 2 = 1), '{}') as won,
           coalesce(array_agg(a.source_id) filter (where a.source = 'achievement' and a.sequence % 2 = 0), '{}') as lost
    from added as a
    group by a.user_id
  ), totals as (
    update public.user_totals as t
    set rewards = t.rewards + b.credits,
        ledger_rows = t.ledger_rows + b.rows,
        achievements = array(
          select a.id from unnest(t.achievements || b.won) as a (id) where a.id <> all (b.lost) order by a.id)
    from by_user as b
    where t.user_id = b.user_id
  )
  select array_agg(a::private.rewards order by a.user_id, a.number) into written from added as a;
  return written;
end;
$$;
comment on function private.give(private.verdict[], uuid) is
  'Gives what is met and not held, takes back what is held and not met: new rows of the ledger, which are returned (null = none), in step with totals. cause: the one entry, if it was one. The caller holds the people''s locks and tells the outbox.';

create function private.level_people(people uuid[])
returns private.rewards[]
language plpgsql security definer
set search_path = ''
as $$
declare
  written private.rewards[];
begin
  with moved as (
    select t.user_id, t.level as before, carbon.level(t.credits + t.rewards) as after, t.ledger_rows
    from unnest(people) as p (user_id)
    join public.user_totals as t on t.user_id = p.user_id
    where carbon.level(t.credits + t.rewards) <> t.level
  ), steps as (
    select m.user_id, s.level, m.ledger_rows + row_number() over (
             partition by m.user_id order by case when m.after > m.before then s.level else -s.level end) as number
    from moved as m
    cross join lateral generate_series(least(m.before, m.after) + 1, greatest(m.before, m.after)) as s (level)
  ), added as (
    insert into private.rewards as l (user_id, number, source, source_id, sequence, credits)
    select s.user_id, s.number, 'level', s.level::text, 1 + coalesce((
             select max(l.sequence) from private.rewards as l
             where l.user_id = s.user_id and l.source = 'level' and l.source_id = s.level::text), 0), 0
    from steps as s
    returning l.*
  ), counted as (
    update public.user_totals as t
    set level = m.after, ledger_rows = t.ledger_rows + abs(m.after - m.before)
    from moved as m
    where t.user_id = m.user_id
  )
  select array_agg(a::private.rewards order by a.user_id, a.number) into written from added as a;
  return written;
end;
$$;
comment on function private.level_people(uuid[]) is
  'Writes into the ledger, without points, the levels that totals have reached or fallen below; returns the rows.';

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
  'An achievement or challenge of the ledger as answers and events show it, with its names in both languages.';

create function private.judge_people(people uuid[], touched_people uuid[], touched_days date[], cause uuid)
returns private.rewards[]
language plpgsql security definer
set search_path = ''
-- One plan for one person and for thousands, kept: by indexes, and never made anew for the length of a list.
-- What is called from here runs under the same settings.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  written private.rewards[];
begin
  -- The version is read before the rules: whoever is judged by newer ones is judged once more.
  perform private.settle(people, (select r.version from private.achievement_rules as r));
  written := private.give(private.judge_achievements(people) || private.judge_challenges(touched_people, touched_days), cause);
  return written || private.level_people(people);
end;
$$;
comment on function private.judge_people(uuid[], uuid[], date[], uuid) is
  'Gives and takes back what the people''s sums say, for all achievements and for the challenges of the days touched (two lists side by side), and keeps totals and levels in step; returns the rows of the ledger (null = none). cause: the one entry, if it was one. The caller holds the people''s locks and tells the outbox.';

create function private.judge(people uuid[], totals_before bigint[], touched_people uuid[], touched_days date[])
returns void
language plpgsql security definer
set search_path = ''
-- As in private.judge_people.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  written private.rewards[] := private.judge_people(people, touched_people, touched_days, null);
begin
  insert into private.outbox (user_id, rewards, change, total, level, revision, first_reward, last_reward)
  select t.user_id, coalesce(l.credits, 0), nullif(t.credits + t.rewards - b.total, 0), t.credits + t.rewards, t.level,
         t.revision, l.first_number, l.last_number
  from unnest(people, totals_before) as b (user_id, total)
  join public.user_totals as t on t.user_id = b.user_id
  left join (
    select w.user_id, sum(w.credits) as credits, min(w.number) as first_number, max(w.number) as last_number
    from unnest(written) as w
    group by w.user_id) as l on l.user_id = b.user_id
  where t.credits + t.rewards <> b.total or l.user_id is not null;
end;
$$;
comment on function private.judge(uuid[], bigint[], uuid[], date[]) is
  'private.judge_people for what a statement of many rows, a repair or a job changed, with a row of the outbox for each person whose total or ledger is another. totals_before: their totals before what caused it.';

create function private.judge_entry(person uuid, day date, is_first boolean, has_ended boolean, challenges private.verdict[],
                                    cause uuid)
returns void
language plpgsql security definer
set search_path = ''
as $$
declare
  totals public.user_totals;
  rules text[];
  looks_from date;
  days record;
begin
  if has_ended then
    perform private.settle(array[person], null);
  end if;
  select t.* into totals from public.user_totals as t where t.user_id = person;
  rules := (select r.rules from private.achievement_rules as r);
  looks_from := carbon.looks_from(rules, totals.achievements, day, is_first, has_ended, totals.settled_until);
  days := private.tallied_days(person, coalesce(looks_from, day), case when looks_from is null then day else 'infinity' end);
  perform private.give(challenges || array(
    select (person, 'achievement', a.id, a.id <> all (totals.achievements), a.credits_reward, null)::private.verdict
    from unnest(carbon.turned(rules, totals.achievements, totals.credits, totals.tally, days.dates, days.tallies,
                              totals.settled_until, coalesce(looks_from = '1970-01-01', false))) as n (id)
    join public.achievements as a on a.id = n.id), cause);

  select t.* into totals from public.user_totals as t where t.user_id = person;
  if carbon.level(totals.credits + totals.rewards) <> totals.level then
    perform private.level_people(array[person]);
  end if;
end;
$$;
comment on function private.judge_entry(uuid, date, boolean, boolean, private.verdict[], uuid) is
  'What private.judge_people does, for one new entry: looks only at what an entry on this day can turn. is_first: the day''s first; has_ended: an earlier day may have ended unnoticed; challenges: those of the day that are reached.';

create function private.answer_rewards(person uuid, rows_before bigint)
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
    where r.user_id = person and r.number > rows_before);
end;
$$;
comment on function private.answer_rewards(uuid, bigint) is
  'What a write has earned: {achievements_unlocked, challenges_completed, level_up}, from the rows of the person''s ledger after rows_before.';

create function private.settle_days(most integer)
returns integer
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  rules record;
  ended record;
begin
  select r.rules, r.version into rules from private.achievement_rules as r;
  with waiting as materialized (
    select t.user_id, t.credits + t.rewards as total, t.achievements, t.settled_until, t.rules_version,
           carbon.local_date(now(), coalesce(c.time_zone, carbon.default_time_zone())) - 1 as yesterday
    from public.user_totals as t
    join public.user_preferences as c on c.user_id = t.user_id
    -- By the calendar of most, so that the index ends where their today begins; by one's own for the few further west.
    where t.awaiting_day < carbon.local_date(now(), carbon.default_time_zone())
      and t.awaiting_day < carbon.local_date(now(), coalesce(c.time_zone, carbon.default_time_zone()))
    order by t.awaiting_day
    limit most
    for no key update of t skip locked
  ), looked_at as (
    -- A day that ends turns only what counts whole days: the days before it have been counted.
    select w.user_id, w.total,
           w.rules_version <> rules.version or carbon.moved_by_end(rules.rules, w.achievements, d.tallies) as is_moved
    from waiting as w
    cross join lateral private.tallied_days(w.user_id, w.settled_until + 1, w.yesterday) as d
  )
  select count(*)::integer as people,
         array_agg(l.user_id) filter (where l.is_moved) as moved,
         array_agg(l.total) filter (where l.is_moved) as totals,
         array_agg(l.user_id) filter (where not l.is_moved) as others
  into ended
  from looked_at as l;
  if ended.moved is not null then
    perform private.judge(ended.moved, ended.totals, '{}', '{}');
  end if;
  if ended.others is not null then
    perform private.settle(ended.others, null);
  end if;
  return ended.people;
end;
$$;
comment on function private.settle_days(integer) is
  'Notes, for up to this many people, that a day with entries has ended since their last write, and compares with the ledger those whom that can turn an achievement for. Returns how many people. Safe at any time, also twice at once: a later write looks anyway.';
