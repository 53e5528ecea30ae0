-- What closes referrals: the job, and operators' decisions about held ones.

create function private.evaluate_both_sides(user_ids uuid[], referral_ids uuid[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  locked record;
  derived_id uuid;
begin
  perform private.lock_users(user_ids);
  perform private.apply_new_rules(user_ids);
  -- Who has no state row is being deleted.
  select coalesce(array_agg(s.user_id order by s.user_id), '{}') as user_ids,
         coalesce(array_agg(s.credits + s.rewards order by s.user_id), '{}') as totals
  into locked
  from private.user_state as s where s.user_id = any (user_ids);
  for derived_id in
    select r.id from private.referrals as r
    where r.id = any (referral_ids) and r.closed_at is null
    order by r.created_at, r.id
  loop
    perform private.derive_referral(derived_id);
  end loop;
  perform private.evaluate_rewards(locked.user_ids, locked.totals, '{}', '{}');
end;
$$;
comment on function private.evaluate_both_sides(uuid[], uuid[]) is
  'Locks these users in the order of their ids, evaluates them by the newest rules, derives these open referrals, the older ones first, and grants or revokes the rewards of both sides.';

create function private.close_referrals(max_rows integer default 200)
returns jsonb
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  due record;
begin
  select coalesce(array_agg(c.id), '{}') as ids, coalesce(array_agg(c.referrer_id), '{}') || coalesce(array_agg(c.referee_id), '{}') as user_ids
  into due
  from (
    select r.id, r.referrer_id, r.referee_id
    from private.referrals as r
    join private.user_state as s on s.user_id = r.referee_id
    where r.closed_at is null
      and (s.revision <> r.seen_revision
           or coalesce(r.completed_at, r.created_at) + make_interval(days => carbon.limit_of('referral_window_days')) <= now())
    order by r.id
    limit greatest(max_rows, 1)) as c;
  if due.ids <> '{}' then
    perform private.evaluate_both_sides(due.user_ids, due.ids);
  end if;
  return jsonb_build_object('checked', cardinality(due.ids), 'finished', cardinality(due.ids) < greatest(max_rows, 1));
end;
$$;
grant execute on function private.close_referrals(integer) to service_role;
select private.expose(
  'private.close_referrals(integer)',
  'For the service role and crontabs: derives at most max_rows open referrals whose referee has written since, or whose '
  'time is over, and grants or revokes the rewards. Can be run at any time, also concurrently. Returns {checked, finished}.');

create function private.drop_past_referees(max_rows integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  dropped integer;
begin
  delete from private.past_referees as h
  where h.ctid = any (array(
    select o.ctid from private.past_referees as o
    where o.redeemed_at < now() - make_interval(days => carbon.limit_of('past_referee_days')) limit max_rows));
  get diagnostics dropped = row_count;
  delete from private.referrals as r
  where r.ctid = any (array(select o.ctid from private.referrals as o where o.referrer_id is null and o.referee_id is null limit max_rows));
  return dropped;
end;
$$;
comment on function private.drop_past_referees(integer) is
  'Deletes at most max_rows hashes of referees 90 days after they redeemed, and as many referrals of which both accounts are gone; returns how many hashes.';

select cron.schedule('carbon_close_referrals', '* * * * *', $job$
  do $$
  begin
    for turn in 1..50 loop
      exit when (private.close_referrals(200) ->> 'finished')::boolean; commit;
    end loop;
  end;
  $$
$job$);
select cron.schedule('carbon_past_referees', '23 19 * * *', $$select private.drop_past_referees(100000)$$);

-- Operators -------------------------------------------------------------------------------------
create function private.held_referrals(max_rows integer default 100)
returns table (referral_id uuid, referrer_id uuid, referee_id uuid, held_for text[], created_at timestamptz,
               completed_at timestamptz, rewarded_referrals bigint)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select r.id, r.referrer_id, r.referee_id, r.held_for, r.created_at, r.completed_at,
         (select count(*) from private.referrals as o where o.referrer_id = r.referrer_id and o.status = 'rewarded')
  from private.referrals as r
  where r.status = 'held'
  order by r.completed_at, r.id
  limit least(greatest(max_rows, 1), 1000);
end;
$$;
grant execute on function private.held_referrals(integer) to service_role;
select private.expose(
  'private.held_referrals(integer)',
  'For the service role: referrals that wait for decide_referral, oldest first, at most max_rows (1 to 1,000). held_for: '
  'shared_device (with the referrer, or with 3 other referees), many_referees (more than 10 rewarded in 30 days), cap '
  '(50 rewarded in all). rewarded_referrals: the referrer''s.');

create function private.decide_referral(referral_id uuid, decision text, reason text, operator_name text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  r private.referrals;
  user_ids uuid[];
  is_changed boolean;
begin
  if coalesce(decide_referral.decision, '') not in ('pay', 'refuse') then
    perform private.raise_error('carbon.decision_invalid', '22023');
  elsif coalesce(length(reason), 0) not between 1 and 500 then
    perform private.raise_error('carbon.reason_invalid', '22023');
  end if;
  select array_remove(array[o.referrer_id, o.referee_id], null) into user_ids from private.referrals as o where o.id = referral_id;
  perform private.lock_users(user_ids);
  select o.* into r from private.referrals as o where o.id = referral_id for update;
  if r.id is null then
    perform private.raise_error('carbon.not_found', 'PT404');
  elsif r.status <> 'held' and r.decision is distinct from decide_referral.decision then
    perform private.raise_error('carbon.referral_not_held', 'PT409');
  end if;
  is_changed := r.status = 'held';
  if is_changed then
    update private.referrals as o
    set decision = decide_referral.decision,
        -- Held beyond the time in which entries could undo it: only the decision is missing.
        status = case when o.closed_at is null then o.status when decide_referral.decision = 'pay' then 'rewarded' else 'completed' end,
        referrer_credits = case when decide_referral.decision = 'pay' then s.referrer_credits else 0 end,
        referee_credits = case when decide_referral.decision = 'pay' then s.referee_credits else 0 end
    from private.referral_settings as s
    where o.id = referral_id;
    perform private.evaluate_both_sides(user_ids, array[referral_id]);
  end if;
  perform private.audit('referral_decided', r.referee_id, jsonb_strip_nulls(jsonb_build_object(
    'operator', operator_name, 'referral', referral_id, 'decision', decision, 'reason', reason, 'changed', is_changed)));
  return jsonb_build_object('referral_id', referral_id, 'decision', decision, 'changed', is_changed);
end;
$$;
grant execute on function private.decide_referral(uuid, text, text, text) to service_role;
select private.expose(
  'private.decide_referral(uuid, text, text, text)',
  'For the service role: decides a held referral, pay or refuse; final. Audited with the reason (1 to 500 characters) and '
  'the operator''s name if given. Returns {referral_id, decision, changed}; repeating the same decision changes nothing. '
  'Errors: 22023 carbon.decision_invalid, carbon.reason_invalid, PT404 carbon.not_found, PT409 carbon.referral_not_held.');
