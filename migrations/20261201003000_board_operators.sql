-- Operators' functions for boards: exclude an account, and find accounts to review.

create function private.set_board_exclusion(p_user_id uuid, is_excluded boolean, reason text, operator_name text)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  is_changed boolean;
begin
  if coalesce(length(reason), 0) not between 1 and 500 then
    perform private.raise_error('carbon.reason_invalid', '22023');
  elsif not exists (select from public.profiles as p where p.id = p_user_id) then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  if is_excluded then
    insert into private.board_exclusions (user_id, reason)
    values (p_user_id, set_board_exclusion.reason) on conflict (user_id) do nothing;
  else
    delete from private.board_exclusions as x where x.user_id = p_user_id;
  end if;
  is_changed := found;
  perform private.audit(
    case when is_excluded then 'excluded_from_boards' else 'included_in_boards' end, p_user_id,
    jsonb_strip_nulls(jsonb_build_object('operator', operator_name, 'reason', reason, 'changed', is_changed)));
  return jsonb_build_object('user_id', p_user_id, 'excluded', is_excluded, 'changed', is_changed);
end;
$$;
comment on function private.set_board_exclusion(uuid, boolean, text, text) is
  'Excludes an account from boards, or includes it again, and audits that with the reason and the operator''s name. Raises 22023 carbon.reason_invalid, PT404 carbon.not_found.';

create function private.exclude_from_boards(user_id uuid, reason text, operator_name text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
begin
  return private.set_board_exclusion(user_id, true, reason, operator_name);
end;
$$;
grant execute on function private.exclude_from_boards(uuid, text, text) to service_role;
select private.expose(
  'private.exclude_from_boards(uuid, text, text)',
  'For the service role: removes an account from every board at once and permanently, neither listed nor '
  'counted; the account itself still sees its rank. Audited with the reason (1 to 500 characters) and the '
  'operator''s name if given. Returns {user_id, excluded, changed}; repeating it changes nothing. Errors: '
  '22023 carbon.reason_invalid, PT404 carbon.not_found.');

create function private.include_in_boards(user_id uuid, reason text, operator_name text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
begin
  return private.set_board_exclusion(user_id, false, reason, operator_name);
end;
$$;
grant execute on function private.include_in_boards(uuid, text, text) to service_role;
select private.expose(
  'private.include_in_boards(uuid, text, text)',
  'For the service role: reverses an exclusion. Audited with the reason and the operator''s name if given. '
  'Returns {user_id, excluded, changed}. Errors: 22023 carbon.reason_invalid, PT404 carbon.not_found.');

-- Accounts to review ------------------------------------------------------------------------
create function private.farmed_accounts(timeframe text default 'monthly', max_users integer default 1000)
returns table (user_id uuid, credits bigint, entries bigint, busiest_day_entries bigint, heaviest_day_kg numeric,
               seconds_apart bigint, same_weight_percent integer, backdated_entries bigint, signals text[])
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
  board_id integer := carbon.board_id(timeframe, today, null);
  first_day date := coalesce((select p.first_day from carbon.board_period(timeframe, today, 0) as p), today - 89);
begin
  return query
  with listed as (
    select s.user_id, s.credits from private.board_order as s
    where s.board = board_id and s.is_listed
    order by -s.credits, s.user_id
    limit least(greatest(max_users, 1), 10000)
  ), held as (
    select r.referrer_id as user_id, count(*) as referrals
    from private.referrals as r
    where r.status = 'held' and r.referrer_id is not null
    group by r.referrer_id
  ), candidates as (
    select l.user_id, l.credits from listed as l
    union all
    select h.user_id, 0 from held as h where not exists (select from listed as l where l.user_id = h.user_id)
  ), stated as (
    -- Imported entries were not logged here and say nothing about rates.
    select j.user_id, j.credits, e.local_date, e.category_id, e.disposal_method, e.weight_kg, e.logged_at, e.created_at,
           e.created_at - lag(e.created_at) over same_thing as since_the_last
    from candidates as j
    join public.waste_entries as e on e.user_id = j.user_id
    where e.batch_id is null and e.local_date >= first_day
      -- A local day begins at most 14 hours before the day in UTC: the bound lets the query skip months.
      and e.logged_at >= first_day - interval '1 day'
    window same_thing as (partition by j.user_id, e.category_id, e.disposal_method, e.weight_kg order by e.created_at)
  ), by_day as (
    select s.user_id, s.local_date, count(*) as entries, sum(s.weight_kg) as weight_kg
    from stated as s group by s.user_id, s.local_date
  ), by_weight as (
    select s.user_id, s.weight_kg, count(*) as entries from stated as s group by s.user_id, s.weight_kg
  ), figures as (
    select j.user_id, j.credits, count(s.user_id) as entries,
           coalesce((select max(d.entries) from by_day as d where d.user_id = j.user_id), 0) as busiest,
           coalesce((select max(d.weight_kg) from by_day as d where d.user_id = j.user_id), 0) as heaviest,
           count(*) filter (where s.since_the_last < interval '5 seconds') as seconds_apart,
           coalesce((select max(w.entries) from by_weight as w where w.user_id = j.user_id) * 100 / nullif(count(s.user_id), 0), 0)::integer as same_weight,
           count(*) filter (where s.created_at > s.logged_at + interval '3 days') as backdated
    from candidates as j
    left join stated as s on s.user_id = j.user_id
    group by j.user_id, j.credits
  ), suspicions as (
    select f.*, array_remove(array[
      case when f.busiest > 50 then 'busy_days' end,
      case when f.heaviest > 100 then 'heavy_days' end,
      case when f.seconds_apart > 20 then 'seconds_apart' end,
      case when f.entries > 100 and f.same_weight > 80 then 'same_weight' end,
      case when f.backdated > 50 and f.backdated * 2 > f.entries then 'backdated' end,
      case when exists (select from held as h where h.user_id = f.user_id) then 'held_referrals' end], null) as found_signals
    from figures as f
  )
  select g.user_id, g.credits, g.entries, g.busiest, g.heaviest, g.seconds_apart, g.same_weight, g.backdated, g.found_signals
  from suspicions as g
  where g.found_signals <> '{}'
  order by cardinality(g.found_signals) desc, g.credits desc, g.user_id;
end;
$$;
grant execute on function private.farmed_accounts(text, integer) to service_role;
select private.expose(
  'private.farmed_accounts(text, integer)',
  'For the service role: which of the first max_users users (1 to 10,000) of the country''s board show signs '
  'of farming, for manual review; does nothing to them. Checks what they logged in the board''s period '
  '(all_time: the last 90 days), imports aside. Signals: busy_days, more than 50 entries on a day (one every '
  '20 minutes awake); heavy_days, more than 100 kg on a day (a household produces 1 to 5); seconds_apart, '
  'more than 20 entries within 5 seconds of an equal one; same_weight, more than 80 % of over 100 entries '
  'with one weight; backdated, more than 50 entries and half of all logged over 3 days after their time; '
  'held_referrals, referrals that wait for decide_referral (held_referrals lists them), also of users who are not among the first. '
  'Errors: 22023 carbon.timeframe_invalid.');

-- The source document's view ------------------------------------------------------------------
create function private.monthly_board(max_rows integer)
returns table (id uuid, display_name text, province text, total_credits bigint, current_level integer, trees_saved bigint,
               rank bigint, province_rank bigint, month_credits bigint)
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
  board_id integer := carbon.board_id('monthly', today, null);
  own private.board_change := private.own_change(auth.uid(), board_id);
  found_rows private.board_rows := private.board_rows(board_id, own, (null, max_rows, null, null)::private.board_page);
  counts record;
begin
  counts := private.board_counts(board_id, coalesce(found_rows.credits[1], 0), own);
  return query
  select case when m.is_shown then r.user_id end, case when m.is_shown then p.display_name::text end, p.province::text,
         t.credits + t.rewards, t.level, carbon.trees(t.credits + t.rewards), r.rank,
         case when p.province is not null then
           private.own_rank(r.user_id, carbon.board_id('monthly', today, p.province)) end,
         r.credits
  from rows from (
         unnest(found_rows.people[: max_rows], found_rows.credits[: max_rows],
                carbon.board_ranks(found_rows.credits[: max_rows], counts.above, counts.equal, null)),
         private.relation(auth.uid(), found_rows.people[: max_rows]))
       with ordinality as r (user_id, credits, rank, same_id, relation, place)
  join private.board_people as p on p.user_id = r.user_id
  join private.user_state as t on t.user_id = r.user_id
  cross join lateral (
    select carbon.sight(r.relation, p.privacy_level::smallint, 'listing') not in ('nothing', 'masked') as is_shown) as m
  where p.is_listed
  order by r.place;
end;
$$;
comment on function private.monthly_board(integer) is
  'The first users of the country''s board of the current month as the caller may see them.';

create view public.leaderboard_monthly with (security_invoker = true) as
select b.id, b.display_name, b.province, b.total_credits, b.current_level, b.trees_saved, b.rank, b.province_rank, b.month_credits
from private.monthly_board(500) as b;
comment on view public.leaderboard_monthly is
  'The first 500 rows of the country''s board of the current month, computed at each read; get_leaderboard returns all of them. Users of privacy level 2 who are not the caller''s friends, and users blocked in either direction, have neither id nor name here.';
comment on column public.leaderboard_monthly.id is 'The user; null if masked.';
comment on column public.leaderboard_monthly.province is 'The province of the profile.';
comment on column public.leaderboard_monthly.total_credits is 'All credits of the user, rewards included.';
comment on column public.leaderboard_monthly.rank is 'Competition rank by month_credits.';
comment on column public.leaderboard_monthly.province_rank is
  'Rank on that province''s board of the current month, by the entries with that province; null without any.';
comment on column public.leaderboard_monthly.month_credits is 'Credits of the current month''s entries.';
grant select on public.leaderboard_monthly to anon, authenticated, service_role;

grant execute on function private.monthly_board(integer) to anon, authenticated, service_role;
