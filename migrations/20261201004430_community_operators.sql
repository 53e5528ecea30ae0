-- Operators' functions for community challenges: make or change one, and cancel one.

create function private.stated_challenge(challenge jsonb, current public.community_challenges)
returns public.community_challenges
language plpgsql
set search_path = ''
as $$
declare
  members constant text[] := '{title_th,title_en,description_th,description_en,challenge_type,province,criteria,target_value,start_date,end_date,credits_reward,min_contribution,milestones,created_by}';
  stated public.community_challenges;
begin
  if exists (select from jsonb_object_keys(challenge) as k (name)
             where k.name <> all (members || array['id', 'operator_name'])) then
    perform private.raise_error('carbon.unknown_field', '22023');
  end if;
  -- Generated columns are not copied: they are computed again.
  stated := jsonb_populate_record(current, challenge - array['id', 'operator_name']);
  stated.credits_reward := coalesce(stated.credits_reward, 0);
  stated.min_contribution := coalesce(stated.min_contribution, 1);
  stated.milestones := coalesce(stated.milestones, '{25,50,75,100}');
  stated.milestones := array(select distinct m from unnest(stated.milestones) as m order by m);
  if current.id is null and stated.end_date < carbon.local_date(now(), carbon.default_time_zone()) then
    perform private.raise_error('carbon.challenge_ended', 'PT409');
  end if;
  if stated.challenge_type is distinct from 'school' then
    stated.join_code := null;
  elsif stated.join_code is null then
    stated.join_code := carbon.invite_code(extensions.gen_random_bytes(2 * carbon.limit_of('join_code_signs')), carbon.limit_of('join_code_signs'));
  end if;
  if stated.end_date is not null and (current.board is null or stated.end_date <> current.end_date) then
    -- One operator at a time, so that two challenges never get one number.
    perform pg_advisory_xact_lock(hashtextextended('private.community_challenges', 0));
    stated.board := carbon.challenge_board(stated.end_date, (
      select coalesce(max(c.board) - carbon.challenge_board(stated.end_date, 0) + 1, 0)
      from public.community_challenges as c where c.end_date = stated.end_date));
  end if;
  return stated;
end;
$$;
comment on function private.stated_challenge(jsonb, public.community_challenges) is
  'A community challenge as stated by an operator: members that are missing stay as they are (current; all null = a new one). Raises 22023 carbon.unknown_field, PT409 carbon.challenge_ended.';

create function private.make_community_challenge(challenge jsonb)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  current public.community_challenges;
  stated public.community_challenges;
  is_new boolean := challenge ->> 'id' is null;
begin
  if jsonb_typeof(challenge) is distinct from 'object' then
    perform private.raise_error('carbon.not_an_object', '22023');
  end if;
  if not is_new then
    -- Also keeps new participants away: a participation locks its challenge.
    select c.* into current from public.community_challenges as c where c.id = (challenge ->> 'id')::uuid for update;
    if current.id is null then
      perform private.raise_error('carbon.not_found', 'PT404');
    end if;
  end if;
  stated := private.stated_challenge(challenge, current);
  stated.id := coalesce(current.id, gen_random_uuid());
  insert into public.community_challenges as c
    (id, title_th, title_en, description_th, description_en, challenge_type, province, join_code, criteria, target_value,
     start_date, end_date, credits_reward, min_contribution, milestones, created_by, board)
  values (stated.id, stated.title_th, stated.title_en, stated.description_th, stated.description_en, stated.challenge_type,
          stated.province, stated.join_code, stated.criteria, stated.target_value, stated.start_date, stated.end_date,
          stated.credits_reward, stated.min_contribution, stated.milestones, stated.created_by, stated.board)
  on conflict (id) do update
    set title_th = excluded.title_th, title_en = excluded.title_en, description_th = excluded.description_th,
        description_en = excluded.description_en, challenge_type = excluded.challenge_type, province = excluded.province,
        join_code = excluded.join_code, criteria = excluded.criteria, target_value = excluded.target_value,
        start_date = excluded.start_date, end_date = excluded.end_date, credits_reward = excluded.credits_reward,
        min_contribution = excluded.min_contribution, milestones = excluded.milestones, created_by = excluded.created_by,
        board = excluded.board;
  insert into private.community_progress (challenge_id) values (stated.id) on conflict (challenge_id) do nothing;
  perform private.audit(
    case when is_new then 'made_community_challenge' else 'changed_community_challenge' end, null,
    jsonb_strip_nulls(jsonb_build_object('challenge_id', stated.id, 'operator', challenge ->> 'operator_name')));
  return jsonb_build_object('id', stated.id, 'join_code', stated.join_code, 'is_new', is_new);
end;
$$;
grant execute on function private.make_community_challenge(jsonb) to service_role;
select private.expose(
  'private.make_community_challenge(jsonb)',
  'For the service role: makes a community challenge, or with id changes one. Members: title_th, title_en, '
  'description_th, description_en, challenge_type (national, provincial or school), province (provincial ones), '
  'criteria {metric, filters}, target_value (unit of the metric: grams, milligrams CO2e, entries or credits), '
  'start_date, end_date, credits_reward (0), min_contribution (1), milestones ([25, 50, 75, 100]), created_by, '
  'operator_name. Once somebody has joined only the texts can change. Audited. Returns {id, join_code (schools), '
  'is_new}. Errors: 22023 carbon.not_an_object, carbon.unknown_field and those of criteria and texts, 23502 and '
  '23514 name the column or the rule, PT404 carbon.not_found, PT409 carbon.challenge_ended, '
  'carbon.challenge_has_participants.');

create function private.cancel_community_challenge(challenge_id uuid, reason text, operator_name text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  is_changed boolean;
begin
  if coalesce(length(reason), 0) not between 1 and 500 then
    perform private.raise_error('carbon.reason_invalid', '22023');
  elsif not exists (select from public.community_challenges as c where c.id = cancel_community_challenge.challenge_id) then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  update public.community_challenges as c set status = 'cancelled'
  where c.id = cancel_community_challenge.challenge_id and c.status = 'active';
  is_changed := found;
  if is_changed then
    -- Rewards that were granted are taken back, slice by slice.
    update private.community_progress as g
    set evaluate_after = '00000000-0000-0000-0000-000000000000', evaluation = g.evaluation + 1
    where g.challenge_id = cancel_community_challenge.challenge_id;
  end if;
  perform private.audit('cancelled_community_challenge', null, jsonb_strip_nulls(jsonb_build_object(
    'challenge_id', challenge_id, 'reason', reason, 'operator', operator_name, 'changed', is_changed)));
  return jsonb_build_object('challenge_id', challenge_id, 'status', 'cancelled', 'changed', is_changed);
end;
$$;
grant execute on function private.cancel_community_challenge(uuid, text, text) to service_role;
select private.expose(
  'private.cancel_community_challenge(uuid, text, text)',
  'For the service role: cancels a community challenge for good: nobody joins, no milestone is reached, and rewards '
  'that were granted are taken back within minutes. Audited with the reason (1 to 500 characters) and the operator''s '
  'name if given. Returns {challenge_id, status, changed}; repeating it changes nothing. Errors: 22023 '
  'carbon.reason_invalid, PT404 carbon.not_found.');

-- Slices ------------------------------------------------------------------------------------
create function private.evaluate_community_rewards(max_rows integer)
returns integer
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  due private.community_progress;
  user_ids uuid[];
begin
  -- Not by locking the row: the worker writes it, and must not wait for a slice.
  if not pg_try_advisory_xact_lock(hashtextextended('private.evaluate_community_rewards', 0)) then
    return null;
  end if;
  select g.* into due from private.community_progress as g where g.evaluate_after is not null order by g.challenge_id limit 1;
  if due.challenge_id is null then
    return null;
  end if;
  user_ids := array(
    select p.user_id from private.participations as p
    where p.challenge_id = due.challenge_id and p.user_id > due.evaluate_after
    order by p.user_id limit max_rows);
  if user_ids <> '{}' then
    perform private.lock_users(user_ids);
    perform private.evaluate_rewards(
      array(select s.user_id from private.user_state as s where s.user_id = any (user_ids) order by s.user_id),
      array(select s.credits + s.rewards from private.user_state as s where s.user_id = any (user_ids) order by s.user_id),
      '{}', '{}');
  end if;
  update private.community_progress as g
  set evaluate_after = case when cardinality(user_ids) = max_rows then user_ids[max_rows] end
  -- Unless everybody has to be evaluated again in the meantime.
  where g.challenge_id = due.challenge_id and g.evaluation = due.evaluation;
  return cardinality(user_ids);
end;
$$;
comment on function private.evaluate_community_rewards(integer) is
  'Evaluates the rewards of the next participants, at most max_rows, of a challenge that has reached its target or was '
  'cancelled; returns how many, null if nothing is due. One slice per transaction: writes of these users wait for it.';

create function private.freeze_communities(max_rows integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  challenge_ids uuid[];
begin
  -- Ten minutes after contributions have stopped moving no transaction is left that began before.
  challenge_ids := array(
    select c.id from public.community_challenges as c
    where c.final_total is null and c.closes_on < carbon.local_date(now() - interval '10 minutes', carbon.default_time_zone())
    order by c.closes_on limit max_rows);
  if challenge_ids = '{}' or exists (
       select from private.outbox as o
       where o.id >= (select s.low_water_mark from private.worker_state as s) and o.communities is not null
         and o.created_at < now() - interval '10 minutes') then
    return 0;
  end if;
  perform private.lock_boards(true);
  perform private.repair_communities(challenge_ids);
  update public.community_challenges as c
  set final_total = coalesce((select sum(t.total)::bigint from private.community_totals as t where t.challenge_id = c.id), 0)
  where c.id = any (challenge_ids);
  return cardinality(challenge_ids);
end;
$$;
comment on function private.freeze_communities(integer) is
  'Writes the final total of challenges whose contributions no longer move, at most max_rows; returns how many. Compares totals with the participations first.';
