-- Levels, trees and streaks, always derived when read.

create view public.user_gamification with (security_invoker = true) as
select
  s.user_id,
  s.credits + s.rewards as total_credits,
  s.level as current_level,
  carbon.credits_to_next_level(s.credits + s.rewards) as credits_to_next_level,
  carbon.run_as_of(s.current_run, s.latest_day, carbon.local_date(now(), s.time_zone)) as daily_streak,
  s.longest_run as max_streak,
  carbon.trees(s.credits + s.rewards) as trees_saved,
  s.latest_day as last_activity_date,
  to_jsonb(s.achievements) as achievements_unlocked,
  p.created_at,
  coalesce(s.last_change_at, p.created_at) as updated_at
from private.user_state as s
join public.profiles as p on p.id = s.user_id;
comment on view public.user_gamification is
  'A user''s credits, level, streaks and trees; own row only. A view, so that no missed job can lose a streak: whether a run continues is determined when it is read.';
comment on column public.user_gamification.total_credits is
  'Credits of the entries plus the net of the rewards; may be negative.';
comment on column public.user_gamification.achievements_unlocked is 'Ids of the achievements currently held.';
comment on column public.user_gamification.credits_to_next_level is 'Null at the highest level.';
comment on column public.user_gamification.daily_streak is
  'Consecutive days with entries that end today, yesterday or later.';
grant select on public.user_gamification to authenticated, service_role;

create function private.get_gamification_profile()
returns jsonb
language plpgsql stable security definer
set search_path = ''
-- Same as in private.own_rank.
set plan_cache_mode = force_generic_plan
as $$
declare
  caller_id uuid := private.caller_id();
  totals record;
  today date := carbon.local_date(now(), carbon.default_time_zone());
  everybody integer := carbon.board_id('all_time', today, null);
  standing private.board_standing := private.board_standing(private.own_change(caller_id, everybody));
begin
  select s.credits + s.rewards as credits, s.level, s.achievements, s.grams * 0.001 as weight_kg,
         s.co2e_avoided_mg * 0.000001 as co2e_avoided_kg, s.province, s.longest_run,
         carbon.run_as_of(s.current_run, s.latest_day, carbon.local_date(now(), s.time_zone)) as run
  into totals
  from private.user_state as s where s.user_id = caller_id;
  if not found then
    perform private.raise_error('carbon.unknown_user', '23503');
  end if;
  return jsonb_build_object(
    'total_credits', totals.credits,
    'current_level', totals.level,
    'credits_to_next_level', carbon.credits_to_next_level(totals.credits),
    'progress_percentage', carbon.level_progress(totals.credits),
    'daily_streak', totals.run,
    'max_streak', totals.longest_run,
    'trees_saved', carbon.trees(totals.credits),
    'achievements_count', cardinality(totals.achievements),
    'total_waste_kg', trim_scale(totals.weight_kg),
    'co2e_avoided_kg', trim_scale(totals.co2e_avoided_kg),
    'rank', jsonb_build_object(
      'global', standing.rank,
      'province', case when totals.province is not null then
        private.own_rank(caller_id, carbon.board_id('all_time', today, totals.province)) end,
      'percentile', case when standing.rank is not null then carbon.percentile(standing.below, standing.others) end));
end;
$$;
grant execute on function private.get_gamification_profile() to authenticated;
select private.expose(
  'private.get_gamification_profile()',
  'The caller''s totals and level, in the contract''s format without the level''s name and icon; ranks are '
  'those of the all-time boards, province null if the profile has none. Errors: 23503 carbon.unknown_user.');
