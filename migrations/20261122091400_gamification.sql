-- What a person has reached: levels, trees and streaks, always derived when read.

create view public.user_gamification with (security_invoker = true) as
select
  t.user_id,
  t.credits + t.rewards as total_credits,
  t.level as current_level,
  carbon.credits_to_next_level(t.credits + t.rewards) as credits_to_next_level,
  s.current_streak as daily_streak,
  s.max_streak,
  carbon.trees(t.credits + t.rewards) as trees_saved,
  (select max(d.local_date) from public.user_days as d where d.user_id = t.user_id) as last_activity_date,
  to_jsonb(t.achievements) as achievements_unlocked,
  p.created_at,
  coalesce(t.last_change_at, p.created_at) as updated_at
from public.user_totals as t
join public.profiles as p on p.id = t.user_id
left join public.user_preferences as c on c.user_id = t.user_id
cross join lateral carbon.streak(
  array(select d.local_date from public.user_days as d where d.user_id = t.user_id),
  carbon.local_date(now(), coalesce(c.time_zone, carbon.default_time_zone()))) as s;
comment on view public.user_gamification is
  'Points, level, streaks and trees of a person; own row only. A view, so that no job can lose a streak: it counts the days that have entries.';
comment on column public.user_gamification.total_credits is 'Points of the entries and the net of the rewards; may be negative.';
comment on column public.user_gamification.achievements_unlocked is 'Ids of the achievements held now.';
comment on column public.user_gamification.credits_to_next_level is 'Null at the highest level.';
comment on column public.user_gamification.daily_streak is 'Days in a row that end today, yesterday or later.';
grant select on public.user_gamification to authenticated, service_role;

create function private.get_gamification_profile()
returns jsonb
language plpgsql stable security definer
set search_path = ''
-- As in private.own_rank.
set plan_cache_mode = force_generic_plan
as $$
declare
  person uuid := private.caller_id();
  totals record;
  today date := carbon.local_date(now(), carbon.default_time_zone());
  everybody integer := carbon.board_id('all_time', today, null);
  standing private.board_standing := private.board_standing(private.own_change(person, everybody));
  province text;
  streak jsonb;
begin
  select t.credits + t.rewards as credits, t.level, t.achievements, t.weight_kg, t.co2e_avoided_kg into totals
  from public.user_totals as t where t.user_id = person;
  if not found then
    perform private.raise_error('carbon.unknown_user', '23503');
  end if;
  select p.province into province from public.profiles as p where p.id = person;
  streak := private.streak_json(person, private.caller_time_zone());
  return jsonb_build_object(
    'total_credits', totals.credits,
    'current_level', totals.level,
    'credits_to_next_level', carbon.credits_to_next_level(totals.credits),
    'progress_percentage', carbon.level_progress(totals.credits),
    'daily_streak', streak -> 'current',
    'max_streak', streak -> 'max',
    'trees_saved', carbon.trees(totals.credits),
    'achievements_count', cardinality(totals.achievements),
    'total_waste_kg', trim_scale(totals.weight_kg),
    'co2e_avoided_kg', trim_scale(totals.co2e_avoided_kg),
    'rank', jsonb_build_object(
      'global', standing.rank,
      'province', case when province is not null then
        private.own_rank(person, carbon.board_id('all_time', today, province)) end,
      'percentile', case when standing.rank is not null then carbon.percentile(standing.below, standing.others) end));
end;
$$;
comment on function private.get_gamification_profile() is
  'Body of public.get_gamification_profile.';

create function public.get_gamification_profile()
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return private.get_gamification_profile();
end;
$$;
comment on function public.get_gamification_profile() is
  'What the caller has reached, in the contract''s shape without the level''s name and icon; ranks are those of the all-time boards, province null without one in the profile. Errors: 23503 carbon.unknown_user.';
grant execute on function private.get_gamification_profile(), public.get_gamification_profile() to authenticated;
