-- Community challenges as clients see them: the list, joining and leaving, boards.

create function private.visible_challenge(p_challenge_id uuid, viewer uuid)
returns public.community_challenges
language plpgsql stable
set search_path = ''
as $$
declare
  challenge public.community_challenges;
begin
  select c.* into challenge from public.community_challenges as c
  where c.id = p_challenge_id
    and (c.challenge_type <> 'school'
         or exists (select from private.participations as p where p.challenge_id = c.id and p.user_id = viewer));
  if challenge.id is null then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  return challenge;
end;
$$;
comment on function private.visible_challenge(uuid, uuid) is
  'A community challenge that the viewer may see. Raises PT404 carbon.not_found, also for challenges of schools that they do not take part in.';

create function private.challenge_phase(challenge public.community_challenges)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  today date := carbon.local_date(now(), carbon.default_time_zone());
begin
  return case when challenge.status = 'cancelled' then 'cancelled'
              when challenge.end_date < today then 'ended'
              when challenge.start_date > today then 'upcoming'
              else 'active' end;
end;
$$;
comment on function private.challenge_phase(public.community_challenges) is
  'upcoming, active or ended by the date in Bangkok, or cancelled.';

create function private.community_json(challenge public.community_challenges, viewer uuid)
returns jsonb
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  sums record;
  own private.contributions;
begin
  select coalesce(challenge.final_total, sum(t.total), 0)::bigint as total, coalesce(sum(t.participants), 0)::bigint as participants
  into sums
  from private.community_totals as t where t.challenge_id = challenge.id;
  select p.* into own from private.contributions as p
  where p.challenge_id = challenge.id and p.user_id = viewer;
  return jsonb_build_object(
    'id', challenge.id,
    'title_th', challenge.title_th, 'title_en', challenge.title_en,
    'description_th', challenge.description_th, 'description_en', challenge.description_en,
    'challenge_type', challenge.challenge_type,
    'province', challenge.province,
    'status', private.challenge_phase(challenge),
    'metric', challenge.criteria ->> 'metric',
    'unit', carbon.community_unit(challenge.rule),
    'target_value', challenge.target_value,
    'total', sums.total,
    'percent', carbon.community_percent(sums.total, challenge.target_value),
    'participants', sums.participants,
    'start_date', challenge.start_date,
    'end_date', challenge.end_date,
    'credits_reward', challenge.credits_reward,
    'min_contribution', challenge.min_contribution,
    'milestones', (
      select jsonb_agg(jsonb_build_object('percent', m.milestone, 'reached_at', f.reached_at) order by m.milestone)
      from unnest(challenge.milestones) as m (milestone)
      left join private.community_facts as f on f.challenge_id = challenge.id and f.milestone = m.milestone),
    'joined', own.user_id is not null,
    'own_contribution', own.contribution,
    'own_rank', case when own.user_id is not null then private.own_rank(viewer, challenge.board) end);
end;
$$;
comment on function private.community_json(public.community_challenges, uuid) is
  'A community challenge as the viewer sees it; own_contribution and own_rank are null unless they take part.';

create function private.pending_since()
returns timestamptz
language plpgsql stable
set search_path = ''
as $$
begin
  return coalesce((
    select o.created_at from private.outbox as o
    where o.id >= (select s.low_water_mark from private.worker_state as s)
    order by o.id limit 1), now());
end;
$$;
comment on function private.pending_since() is
  'Since when changes wait to be folded: boards and totals include everything before; now if nothing waits.';

create function private.get_community_challenges(status text default 'active', joined boolean default null)
returns json
language plpgsql stable security definer
set search_path = ''
as $$
declare
  viewer uuid := private.caller_id();
begin
  if status is null or status not in ('active', 'upcoming', 'ended') then
    perform private.raise_error('carbon.challenge_status_invalid', '22023');
  end if;
  return (
    with visible as (
      select c as challenge, private.challenge_phase(c) as phase, p.user_id is not null as is_joined
      from public.community_challenges as c
      left join private.participations as p on p.challenge_id = c.id and p.user_id = viewer
      where p.user_id is not null or c.challenge_type <> 'school' and c.status = 'active'
    ), listed as (
      -- What ends next comes first, what has ended last.
      select v.challenge, row_number() over (
               order by case when get_community_challenges.status = 'ended' then -1 else 1 end * ((v.challenge).end_date - date '2000-01-01'),
                        (v.challenge).id) as place
      from visible as v
      where (v.phase = get_community_challenges.status or v.phase = 'cancelled' and get_community_challenges.status = 'ended')
        and (joined is null or v.is_joined = joined)
      order by place
      limit 200
    )
    select json_build_object(
      'challenges', coalesce(json_agg(private.community_json(l.challenge, viewer) order by l.place), '[]'), 'as_of', private.pending_since())
    from listed as l);
end;
$$;
grant execute on function private.get_community_challenges(text, boolean) to authenticated;
select private.expose(
  'private.get_community_challenges(text, boolean)',
  'Community challenges of a status (active, upcoming or ended, by the date in Bangkok) that the caller may see, at most '
  '200; joined true or false = only those they take part in or do not. Returns {challenges, as_of}: totals count writes '
  'up to as_of. target_value, total, min_contribution and own_contribution are integers in unit. Challenges of schools '
  'and cancelled ones (under ended) are listed for their participants alone. Errors: 22023 '
  'carbon.challenge_status_invalid, 42501 carbon.not_signed_in.');

-- Joining and leaving -------------------------------------------------------------------------
create function private.join_community_challenge(challenge_id uuid, join_code text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  writer record := private.lock_writer();
  today date := carbon.local_date(now(), carbon.default_time_zone());
  challenge public.community_challenges;
  stated_code text := carbon.normalised_code(join_code, carbon.limit_of('join_code_signs'));
  total_before bigint;
begin
  perform private.require_account(writer.user_id);
  -- As the foreign key does: an operator who changes the challenge waits, and the other way round.
  select c.* into challenge from public.community_challenges as c
  where c.id = join_community_challenge.challenge_id for key share;
  if challenge.id is null then
    perform private.raise_error('carbon.not_found', 'PT404');
  elsif exists (select from private.participations as p
                where p.challenge_id = challenge.id and p.user_id = writer.user_id) then
    perform private.raise_error('carbon.challenge_joined', 'PT409');
  elsif challenge.join_code is not null and challenge.join_code is distinct from stated_code then
    perform private.raise_error('carbon.join_code_invalid', '42501');
  elsif private.challenge_phase(challenge) not in ('active', 'upcoming') then
    perform private.raise_error('carbon.challenge_ended', 'PT409');
  elsif (select count(*) from private.participations as p
         join public.community_challenges as c on c.id = p.challenge_id
         where p.user_id = writer.user_id and c.end_date >= today and c.status = 'active')
        >= carbon.limit_of('challenges_per_person') then
    perform private.raise_error('carbon.challenges_full', 'PT409');
  end if;

  insert into private.participations (challenge_id, user_id, province, joined_on)
  values (challenge.id, writer.user_id, writer.province, today);
  insert into private.outbox (user_id, communities)
  values (writer.user_id, array[(challenge.id, challenge.board, writer.province, 0, 1, 0)::private.community_change]);
  -- What was logged earlier today counts; nothing can hold a reward of it yet.
  perform private.repair_contributions(writer.user_id);
  select s.credits + s.rewards into total_before from private.user_state as s where s.user_id = writer.user_id;
  perform private.evaluate_rewards(array[writer.user_id], array[total_before], '{}', '{}');
  return private.community_json(challenge, writer.user_id);
end;
$$;
grant execute on function private.join_community_challenge(uuid, text) to authenticated;
select private.expose(
  'private.join_community_challenge(uuid, text)',
  'Joins a community challenge, today or before it starts; entries count from today on. join_code: for a challenge of a '
  'school; case, spaces and dashes do not matter. Returns the challenge as in get_community_challenges. Errors: 42501 '
  'carbon.not_signed_in, carbon.account_required, carbon.join_code_invalid; PT404 carbon.not_found; PT409 '
  'carbon.challenge_joined, carbon.challenge_ended, carbon.challenges_full (20 running ones); PT401 carbon.session_ended.');

create function private.leave_community_challenge(challenge_id uuid)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  writer record := private.lock_writer();
  challenge public.community_challenges := private.visible_challenge(challenge_id, writer.user_id);
  removed private.contributions;
  total_before bigint;
begin
  select p.* into removed from private.contributions as p
  where p.challenge_id = challenge.id and p.user_id = writer.user_id;
  if removed.user_id is null then
    perform private.raise_error('carbon.not_found', 'PT404');
  elsif challenge.end_date < carbon.local_date(now(), carbon.default_time_zone()) then
    perform private.raise_error('carbon.challenge_ended', 'PT409');
  end if;
  delete from private.participations as p where p.challenge_id = challenge.id and p.user_id = writer.user_id;
  insert into private.outbox (user_id, communities)
  values (writer.user_id,
          array[(challenge.id, challenge.board, removed.province, -removed.contribution, -1, 0)::private.community_change]);
  perform private.set_communities(writer.user_id);
  select s.credits + s.rewards into total_before from private.user_state as s where s.user_id = writer.user_id;
  perform private.evaluate_rewards(array[writer.user_id], array[total_before], '{}', '{}');
  return private.community_json(challenge, writer.user_id);
end;
$$;
grant execute on function private.leave_community_challenge(uuid) to authenticated;
select private.expose(
  'private.leave_community_challenge(uuid)',
  'Leaves a community challenge until its last day has ended: the contribution leaves the total, a reward is taken back; '
  'joining again starts over. Returns the challenge. Errors: 42501 carbon.not_signed_in; PT404 carbon.not_found; PT409 '
  'carbon.challenge_ended; PT401 carbon.session_ended.');

-- Boards --------------------------------------------------------------------------------------
create function private.contributors(viewer uuid, challenge public.community_challenges, requested_page private.board_page)
returns json
language plpgsql stable
set search_path = ''
as $$
declare
  answer private.board_view;
begin
  if not exists (
    select from carbon.dropped_boards(carbon.local_date(now(), carbon.default_time_zone())) as d
    where challenge.board >= d.first_board and challenge.board < d.before_board) then
    answer := private.board_view_of(viewer, challenge.board, null, requested_page, false);
  end if;
  return json_build_object(
    -- Rows are those of every board; what they are ranked by are no credits here.
    'leaderboard', coalesce((
      select json_agg(r.line::jsonb - 'credits' || jsonb_build_object('contribution', r.line -> 'credits') order by r.place)
      from json_array_elements(answer.shown) with ordinality as r (line, place)), '[]'),
    'current_user', case when (answer.own ->> 'rank') is not null then
      answer.own - array['credits', 'rank_change'] || jsonb_build_object('contribution', answer.own -> 'credits') end,
    'next_cursor', answer.next_cursor);
end;
$$;
comment on function private.contributors(uuid, public.community_challenges, private.board_page) is
  'The contributors'' board of a community challenge as the viewer may see it; empty 90 days after its end.';

create function private.contributing_provinces(p_challenge_id uuid)
returns json
language plpgsql stable
set search_path = ''
as $$
begin
  return json_build_object('leaderboard', coalesce((
    select json_agg(json_build_object(
             'province', t.province, 'total', t.total, 'participants', t.participants,
             'rank', case when t.province is not null then r.rank end) order by r.rank nulls last, t.province nulls last)
    from private.community_totals as t
    left join (
      select o.province, rank() over (order by o.total desc) as rank
      from private.community_totals as o
      where o.challenge_id = p_challenge_id and o.province is not null and (o.participants > 0 or o.total <> 0)) as r
      on r.province = t.province
    where t.challenge_id = p_challenge_id and (t.participants > 0 or t.total <> 0)), '[]'));
end;
$$;
comment on function private.contributing_provinces(uuid) is
  'The sums of a community challenge by the participants'' provinces, with competition ranks; participants without a province come last and have no rank.';

create function private.get_community_leaderboard(
  challenge_id uuid, ranked_by text default 'people', page_size integer default null, cursor text default null)
returns json
language plpgsql stable security definer
set search_path = ''
-- As in private.get_leaderboard.
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  viewer uuid := private.caller_id();
  challenge public.community_challenges := private.visible_challenge(challenge_id, viewer);
  size integer := coalesce(page_size, 20);
  requested_page private.board_page := (null, size, null, null);
  answer json;
begin
  if size not between 1 and 100 then
    perform private.raise_error('carbon.limit_invalid', '22023');
  elsif ranked_by is null or ranked_by not in ('people', 'provinces') then
    perform private.raise_error('carbon.ranked_by_invalid', '22023');
  end if;
  if cursor is not null then
    select null, size, c.credits, c.user_id into requested_page from private.open_cursor(cursor) as c;
  end if;
  answer := case ranked_by when 'people' then private.contributors(viewer, challenge, requested_page)
                           else private.contributing_provinces(challenge.id) end;
  return json_build_object(
    'leaderboard', answer -> 'leaderboard',
    'current_user', answer -> 'current_user',
    'unit', carbon.community_unit(challenge.rule),
    'as_of', private.pending_since(),
    'limit', size,
    'next_cursor', answer ->> 'next_cursor');
end;
$$;
grant execute on function private.get_community_leaderboard(uuid, text, integer, text) to authenticated;
select private.expose(
  'private.get_community_leaderboard(uuid, text, integer, text)',
  'The board of a community challenge, ranked_by people (rows as in get_leaderboard, with contribution in unit instead of '
  'credits; participants whom boards list, masked alike) or provinces ({province, total, participants, rank}; of the '
  'participants'' profiles at joining): {leaderboard, current_user, unit, as_of, limit, next_cursor}. page_size 1 to '
  '100, default 20. Empty 90 days after the challenge ended. Errors: 22023 carbon.limit_invalid, '
  'carbon.ranked_by_invalid, carbon.cursor_invalid; 42501 carbon.not_signed_in; PT404 carbon.not_found.');
