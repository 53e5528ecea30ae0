-- Achievements and challenges as clients see them, always derived when read, and the two calls that post rewards.

-- Achievements ------------------------------------------------------------------------------
create function private.achievement_json(achievement public.achievements)
returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return jsonb_build_object(
    'id', achievement.id, 'name_th', achievement.name_th, 'name_en', achievement.name_en,
    'description_th', achievement.description_th, 'description_en', achievement.description_en,
    'icon', achievement.icon, 'credits_reward', achievement.credits_reward, 'criteria', achievement.criteria);
end;
$$;
comment on function private.achievement_json(public.achievements) is
  'An achievement as in answers, with its texts in both languages.';

create function private.achievement_progress(p_user_id uuid)
returns table (achievement_id text, is_held boolean, unlocked_at timestamptz, progress jsonb)
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
begin
  return query
  select a.id, a.id = any (t.achievements),
         case when a.id = any (t.achievements) then (
           select max(r.created_at) from private.rewards as r
           where r.user_id = p_user_id and r.source = 'achievement' and r.source_id = a.id) end,
         carbon.rule_progress(a.rule, carbon.rule_value(a.rule, t.credits, t.tally, d.dates, d.tallies, t.days_closed_through))
  from private.user_state as t
  cross join lateral private.tallied_days(p_user_id, '-infinity', 'infinity') as d
  cross join public.achievements as a
  where t.user_id = p_user_id and (a.active or a.id = any (t.achievements));
end;
$$;
comment on function private.achievement_progress(uuid) is
  'For every active achievement, and inactive ones that are held: whether this user holds it, since when, and {value, at_least, percentage}.';

create function private.own_achievement_progress()
returns table (user_id uuid, achievement_id text, is_held boolean, unlocked_at timestamptz, progress jsonb)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select auth.uid(), p.achievement_id, p.is_held, p.unlocked_at, p.progress
  from private.achievement_progress(auth.uid()) as p;
end;
$$;
comment on function private.own_achievement_progress() is
  'private.achievement_progress of the caller.';

create view public.user_achievements with (security_invoker = true) as
select p.user_id, p.achievement_id, p.unlocked_at, p.progress, p.is_held as notified
from private.own_achievement_progress() as p;
comment on view public.user_achievements is
  'The caller''s achievements, held or in progress; derived when read.';
comment on column public.user_achievements.unlocked_at is 'Null while it is not held.';
comment on column public.user_achievements.progress is '{value, at_least, percentage}; weights in kilograms.';
comment on column public.user_achievements.notified is
  'Whether the user''s devices were notified: true from the moment it is granted.';
grant select on public.user_achievements to authenticated;
grant execute on function private.own_achievement_progress() to authenticated;

create function public.list_achievements()
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return jsonb_build_object('achievements', coalesce((
    select jsonb_agg(private.achievement_json(a) order by a.created_at, a.credits_reward, a.id)
    from public.achievements as a where a.active), '[]'));
end;
$$;
comment on function public.list_achievements() is
  'All achievements: {achievements: [{id, name_th, name_en, description_th, description_en, icon, credits_reward, criteria}]}. Public.';

create function private.get_achievements()
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'achievements', coalesce(jsonb_agg(private.achievement_json(a) || jsonb_build_object(
        'unlocked', p.is_held, 'unlocked_at', p.unlocked_at, 'progress', p.progress)
        order by a.created_at, a.credits_reward, a.id), '[]'),
      'unlocked_count', count(*) filter (where p.is_held),
      'total_count', count(*))
    from private.achievement_progress(private.caller_id()) as p
    join public.achievements as a on a.id = p.achievement_id);
end;
$$;
grant execute on function private.get_achievements() to authenticated;
select private.expose(
  'private.get_achievements()',
  'The caller''s achievements: {achievements: [as list_achievements, with unlocked, unlocked_at, progress {value, at_least, percentage}], unlocked_count, total_count}.');

create function private.evaluate_caller_rewards()
returns record
language plpgsql security definer
set search_path = ''
as $$
declare
  writer record := private.lock_writer();
  today date := carbon.local_date(now(), writer.time_zone);
begin
  perform private.apply_new_rules(array[writer.user_id]);
  perform private.evaluate_rewards(
    array[writer.user_id],
    array(select t.credits + t.rewards from private.user_state as t where t.user_id = writer.user_id),
    array[writer.user_id], array[today]);
  return row(writer.user_id, writer.ledger_rows, today);
end;
$$;
comment on function private.evaluate_caller_rewards() is
  'Evaluates the caller''s achievements and today''s challenges; returns (user_id, the ledger''s rows before, today).';

create function private.check_achievements()
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid;
  rows_before bigint;
  today date;
begin
  select j.user_id, j.rows, j.today into caller_id, rows_before, today
  from private.evaluate_caller_rewards() as j (user_id uuid, rows bigint, today date);
  return (
    select jsonb_build_object(
      'met', coalesce(jsonb_agg(p.achievement_id order by p.achievement_id) filter (where p.is_held), '[]'),
      'missing', coalesce(jsonb_agg(jsonb_build_object('id', p.achievement_id, 'progress', p.progress)
                                    order by p.achievement_id) filter (where not p.is_held), '[]'),
      'newly_unlocked', private.answer_rewards(caller_id, rows_before) -> 'achievements_unlocked',
      'taken_back', coalesce((
        select jsonb_agg(r.source_id order by r.number) from private.rewards as r
        where r.user_id = caller_id and r.number > rows_before and r.source = 'achievement' and r.sequence % 2 = 0), '[]'))
    from private.achievement_progress(caller_id) as p);
end;
$$;
grant execute on function private.check_achievements() to authenticated;
select private.expose(
  'private.check_achievements()',
  'Evaluates the caller''s achievements now, including days that have ended: {met: [ids], missing: [{id, '
  'progress}], newly_unlocked, taken_back: [ids]}. Errors: 42501 carbon.not_signed_in, 23503 '
  'carbon.unknown_user.');

-- Challenges --------------------------------------------------------------------------------
create function private.challenge_json(challenge record)
returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
  return jsonb_build_object(
    'id', challenge.id, 'challenge_type', challenge.challenge_type, 'title_th', challenge.title_th,
    'title_en', challenge.title_en, 'description_th', challenge.description_th,
    'description_en', challenge.description_en, 'icon', challenge.icon,
    'target_value', carbon.rule_target(challenge.rule), 'credits_reward', challenge.credits_reward,
    'criteria', challenge.criteria);
end;
$$;
comment on function private.challenge_json(record) is
  'A row of private.challenges_on as in answers, with its texts in both languages.';

create function private.challenge_progress(p_user_id uuid, day date)
returns table (challenge_id uuid, progress integer, completed boolean, completed_at timestamptz, credits_earned integer,
               shown jsonb)
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  tally bytea := (select coalesce(carbon.sum_tallies(d.tally), '') from public.user_days as d
                  where d.user_id = p_user_id and d.local_date = day and not d.imported);
begin
  -- A completed challenge remains visible if it was switched off later.
  return query
  select c.id, carbon.day_value(c.rule, tally)::integer, coalesce(h.is_held, false),
         case when h.is_held then h.created_at end, case when h.is_held then h.credits else 0 end,
         private.challenge_json(c)
  from private.challenges_on(day) as c
  left join lateral (
    select r.sequence % 2 = 1 as is_held, r.created_at, r.credits from private.rewards as r
    where r.user_id = p_user_id and r.source = 'challenge' and r.source_id = c.id::text
    order by r.sequence desc limit 1) as h on true
  where (c.active or h.is_held)
    and day >= (select s.began from private.user_state as s where s.user_id = p_user_id);
end;
$$;
comment on function private.challenge_progress(uuid, date) is
  'The challenges of a day and this user''s progress; none for days before the profile began.';

create function private.own_challenge_days()
returns table (user_id uuid, local_date date)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select distinct d.user_id, d.local_date from public.user_days as d
  where d.user_id = auth.uid() and not d.imported
    and d.local_date >= (select s.began from private.user_state as s where s.user_id = auth.uid());
end;
$$;
comment on function private.own_challenge_days() is
  'The days on which the caller has entries that count for challenges.';

create function private.own_challenge_progress(day date)
returns table (challenge_id uuid, progress integer, completed boolean, completed_at timestamptz, credits_earned integer)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select p.challenge_id, p.progress, p.completed, p.completed_at, p.credits_earned
  from private.challenge_progress(auth.uid(), day) as p;
end;
$$;
comment on function private.own_challenge_progress(date) is
  'private.challenge_progress of the caller, without the texts.';

create view public.user_daily_challenges with (security_invoker = true) as
select d.user_id, p.challenge_id, p.progress, p.completed, p.completed_at, p.credits_earned
from private.own_challenge_days() as d
cross join lateral private.own_challenge_progress(d.local_date) as p;
comment on view public.user_daily_challenges is
  'The caller''s challenges of the days on which they logged an entry; derived when read, never set by clients.';
grant select on public.user_daily_challenges to authenticated;
grant execute on function private.own_challenge_days(), private.own_challenge_progress(date) to authenticated;

create function public.list_challenges(day date default null)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  challenge_day date := coalesce(day, carbon.local_date(now(), carbon.default_time_zone()));
begin
  return jsonb_build_object('date', challenge_day, 'challenges', coalesce((
    select jsonb_agg(private.challenge_json(c) order by c.credits_reward, c.challenge_type)
    from private.challenges_on(challenge_day) as c where c.active), '[]'));
end;
$$;
comment on function public.list_challenges(date) is
  'The challenges of a day, null = today in Bangkok: {date, challenges: [{id, challenge_type, title_th, title_en, description_th, description_en, icon, target_value, credits_reward, criteria}]}. Public.';

create function private.challenges_json(p_user_id uuid, day date)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return jsonb_build_object('date', day, 'challenges', coalesce((
    select jsonb_agg(p.shown || jsonb_build_object(
      'progress', p.progress, 'completed', p.completed, 'completed_at', p.completed_at,
      'credits_earned', p.credits_earned) order by (p.shown ->> 'credits_reward')::integer, p.shown ->> 'challenge_type')
    from private.challenge_progress(p_user_id, day) as p), '[]'));
end;
$$;
comment on function private.challenges_json(uuid, date) is
  'A user''s challenges of a day: {date, challenges}.';

create function private.get_challenges_today()
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return private.challenges_json(private.caller_id(), carbon.local_date(now(), private.caller_time_zone()));
end;
$$;
grant execute on function private.get_challenges_today() to authenticated;
select private.expose(
  'private.get_challenges_today()',
  'The challenges of the caller''s own local day: {date, challenges: [as list_challenges, with progress, completed, completed_at, credits_earned]}.');

create function private.refresh_challenge_progress()
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid;
  rows_before bigint;
  today date;
begin
  select j.user_id, j.rows, j.today into caller_id, rows_before, today
  from private.evaluate_caller_rewards() as j (user_id uuid, rows bigint, today date);
  return private.challenges_json(caller_id, today) || jsonb_build_object(
    'newly_completed', private.answer_rewards(caller_id, rows_before) -> 'challenges_completed');
end;
$$;
grant execute on function private.refresh_challenge_progress() to authenticated;
select private.expose(
  'private.refresh_challenge_progress()',
  'Evaluates the challenges of the caller''s current local day again, from their entries alone: as '
  'get_challenges_today, with newly_completed. Errors: 42501 carbon.not_signed_in, 23503 '
  'carbon.unknown_user.');

create function private.get_challenge_history(page_size integer default null, cursor text default null)
returns jsonb
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  caller_id uuid := private.caller_id();
  size integer := coalesce(page_size, 20);
  before date;
begin
  if size not between 1 and 100 then
    perform private.raise_error('carbon.limit_invalid', '22023');
  elsif cursor is not null then
    if cursor !~ '^\d{4}-\d{2}-\d{2}$' then
      perform private.raise_error('carbon.cursor_invalid', '22023');
    end if;
    before := cursor::date;
  end if;
  return (
    with days as materialized (
      select distinct d.local_date from public.user_days as d
      where d.user_id = caller_id and not d.imported and d.local_date < coalesce(before, 'infinity')
        and d.local_date >= (select s.began from private.user_state as s where s.user_id = caller_id)
      order by d.local_date desc
      limit size + 1
    ), shown as (
      select d.local_date from days as d order by d.local_date desc limit size
    )
    select jsonb_build_object(
      'history', coalesce(jsonb_agg(
        p.shown - array['description_th', 'description_en', 'criteria', 'credits_reward'] || jsonb_build_object(
          'date', s.local_date, 'progress', p.progress, 'completed', p.completed, 'completed_at', p.completed_at,
          'credits_earned', p.credits_earned)
        order by s.local_date desc, p.shown ->> 'challenge_type'), '[]'),
      'next_cursor', case when (select count(*) from days) > size then (select min(x.local_date) from shown as x) end,
      'limit', size)
    from shown as s
    cross join lateral private.challenge_progress(caller_id, s.local_date) as p);
exception
  when datetime_field_overflow then
    perform private.raise_error('carbon.cursor_invalid', '22023');
end;
$$;
grant execute on function private.get_challenge_history(integer, text) to authenticated;
select private.expose(
  'private.get_challenge_history(integer, text)',
  'The caller''s challenges by day, newest first, of the days on which they logged an entry: {history: '
  '[{date, id, challenge_type, title_th, title_en, icon, target_value, progress, completed, completed_at, '
  'credits_earned}], next_cursor, limit}. page_size counts days, 1 to 100, default 20. Errors: 22023 '
  'carbon.limit_invalid, carbon.cursor_invalid.');

grant execute on function private.achievement_json(public.achievements), public.list_achievements(),
  private.challenge_json(record), public.list_challenges(date) to anon, authenticated, service_role;
