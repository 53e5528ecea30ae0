-- What users do with referrals: get a code, redeem one, see what has come of theirs.

create function private.generate_referral_code()
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  own_code text;
begin
  perform private.require_account(caller_id);
  select c.code into own_code from private.referral_codes as c where c.user_id = caller_id;
  while own_code is null loop
    -- Another user may have the code, or this user got one meanwhile.
    insert into private.referral_codes (user_id, code)
    values (caller_id, carbon.invite_code(extensions.gen_random_bytes(64), carbon.limit_of('referral_code_signs')))
    on conflict do nothing;
    select c.code into own_code from private.referral_codes as c where c.user_id = caller_id;
  end loop;
  return jsonb_build_object('code', own_code);
end;
$$;
grant execute on function private.generate_referral_code() to authenticated;
select private.expose(
  'private.generate_referral_code()',
  'The caller''s referral code, made at the first call: {code}. Errors: 42501 carbon.account_required.');

create function private.referral_progress(referral private.referrals)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  days_needed constant integer := carbon.limit_of('referral_days');
begin
  -- The days as they are now; the status follows within a minute.
  return jsonb_build_object(
    'referral_id', referral.id, 'status', referral.status, 'days_needed', days_needed,
    'days_done', least(days_needed, case when referral.closed_at is null then (private.referral_days(referral)).days else referral.days_done end));
end;
$$;
comment on function private.referral_progress(private.referrals) is
  'A referral as its referee sees it: {referral_id, status, days_needed, days_done}.';

create function private.count_redeem(p_user_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
  counted record;
begin
  if not private.is_client() or not private.has_limits() then
    return;
  end if;
  insert into private.person_counters as c (user_id, redeem_hour_began, redeems_in_hour) values (p_user_id, now(), 1)
  on conflict (user_id) do update
    set redeem_hour_began = case when c.redeem_hour_began <= now() - interval '1 hour' then now() else c.redeem_hour_began end,
        redeems_in_hour = case when c.redeem_hour_began <= now() - interval '1 hour' then 1 else c.redeems_in_hour + 1 end
  returning c.* into counted;
  if counted.redeems_in_hour > carbon.limit_of('redeems_per_hour') then
    perform carbon.raise_limit('carbon.redeems_per_hour',
      ceil(extract(epoch from counted.redeem_hour_began + interval '1 hour' - now()))::integer);
  end if;
end;
$$;
comment on function private.count_redeem(uuid) is
  'Counts a code that this user tries; PT429 carbon.redeems_per_hour above 10 an hour.';

create function private.refusal_answer(token text, error_code text, http_status text)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
  perform set_config('response.status', http_status, true);
  return (
    select jsonb_build_object('code', error_code, 'message', coalesce(m.field || ': ', '') || m.message_en, 'details', m.token,
                              'hint', m.message_th)
    from carbon.error_messages() as m
    where m.token = refusal_answer.token);
end;
$$;
comment on function private.refusal_answer(text, text, text) is
  'An error that commits what was counted: sets the status of PostgREST''s answer, and returns the answer in the form of a raised error.';

create function private.referee_hashes(p_user_id uuid)
returns bytea[]
language plpgsql stable
set search_path = ''
as $$
declare
  hash_key bytea := (select s.value from private.secrets as s where s.name = 'past_referees');
begin
  return array(
    select extensions.hmac(convert_to(w.way, 'UTF8'), hash_key, 'sha256')
    from (
      select 'phone ' || p.phone_number as way from public.profiles as p where p.id = p_user_id and p.phone_number is not null
      union all
      select 'identity ' || i.provider || ' ' || i.subject from private.identities as i where i.user_id = p_user_id) as w);
end;
$$;
comment on function private.referee_hashes(uuid) is
  'Keyed hashes of everything that this user signs in with.';

create function private.referral_refusal(p_referee_id uuid, p_referrer_id uuid)
returns text
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  -- Of two merged accounts a profile has the time of the older one.
  began timestamptz := (select p.created_at from public.profiles as p where p.id = p_referee_id);
begin
  return case
    when p_referrer_id is null
      or exists (select from private.relation(p_referee_id, array[p_referrer_id]) as r where r.relation = 'blocked')
      or exists (select from public.profiles as p where p.id = p_referrer_id and p.closed_until is not null) then 'carbon.not_found'
    when p_referrer_id = p_referee_id then 'carbon.self_referral'
    when exists (select from private.referrals as r where r.referee_id = p_referee_id) then 'carbon.already_redeemed'
    when began < now() - make_interval(days => carbon.limit_of('referee_account_days')) then 'carbon.account_too_old'
    when exists (select from public.profiles as p where p.id = p_referrer_id and p.is_anonymous) then 'carbon.account_required'
    when (select p.created_at from public.profiles as p where p.id = p_referrer_id) >= began then 'carbon.referral_order'
    when exists (
      select from private.past_referees as h
      where h.subject_hash = any (private.referee_hashes(p_referee_id))
        and h.redeemed_at > now() - make_interval(days => carbon.limit_of('past_referee_days'))) then 'carbon.referral_reused'
    end;
end;
$$;
comment on function private.referral_refusal(uuid, uuid) is
  'The token of what is against a referral, null if nothing. Only an older account refers, so nobody can be referred in a ring. A referrer who blocks the referee, or is blocked or closed, is answered like an unknown code.';

create function private.redeem_referral(code text)
returns jsonb
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  caller_id uuid := private.caller_id();
  stated_code text := carbon.normalised_code(coalesce(code, ''), carbon.limit_of('referral_code_signs'));
  v_referrer_id uuid;
  refusal text;
  referral private.referrals;
begin
  perform private.lock_user(caller_id);
  perform private.require_account(caller_id);
  perform private.count_redeem(caller_id);
  -- A deletion of the referrer has ended, or waits until the referral is stored.
  select c.user_id into v_referrer_id
  from private.referral_codes as c
  join public.profiles as p on p.id = c.user_id
  where c.code = stated_code
  for key share of p;
  refusal := private.referral_refusal(caller_id, v_referrer_id);
  if refusal is not null then
    -- Answered and not raised: a wrong code counts.
    return case refusal
      when 'carbon.not_found' then private.refusal_answer(refusal, 'PT404', '404')
      when 'carbon.account_required' then private.refusal_answer(refusal, '42501', '403')
      else private.refusal_answer(refusal, 'PT409', '409') end;
  end if;
  insert into private.past_referees as h (subject_hash)
  select u.subject_hash from unnest(private.referee_hashes(caller_id)) as u (subject_hash)
  on conflict (subject_hash) do update set redeemed_at = now();
  insert into private.referrals (referrer_id, referee_id, referral_code, time_zone)
  select v_referrer_id, caller_id, stated_code, s.time_zone
  from private.user_state as s where s.user_id = caller_id
  returning * into referral;
  return private.referral_progress(referral);
end;
$$;
grant execute on function private.redeem_referral(text) to authenticated;
select private.expose(
  'private.redeem_referral(text)',
  'The caller says who brought them, by code (case, spaces and dashes do not matter): {referral_id, status, days_needed, '
  'days_done}. Both sides are rewarded when the caller has created entries on 3 days within 30 days. Errors: 42501 '
  'carbon.account_required (of either side), PT429 carbon.redeems_per_hour above 10 tries an hour; answered with their '
  'status and without being raised, so that tries count: PT404 carbon.not_found, PT409 carbon.self_referral, '
  'carbon.already_redeemed, carbon.account_too_old (more than 14 days), carbon.referral_order (the referrer''s account is '
  'not the older one), carbon.referral_reused (the number or identity was referred within 90 days).');

create function private.get_referral_stats()
returns jsonb
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  caller_id uuid := private.caller_id();
begin
  return (
    select jsonb_build_object(
      'code', (select c.code from private.referral_codes as c where c.user_id = caller_id),
      'invited', count(*),
      'pending', count(*) filter (where r.status = 'pending'),
      'completed', count(*) filter (where r.status in ('completed', 'rewarded')),
      'held', count(*) filter (where r.status = 'held'),
      'credits_earned', (
        select coalesce(sum(l.credits), 0) from private.rewards as l where l.user_id = caller_id and l.source = 'referral'),
      'redeemed', (select private.referral_progress(o) from private.referrals as o where o.referee_id = caller_id))
    from private.referrals as r
    where r.referrer_id = caller_id);
end;
$$;
grant execute on function private.get_referral_stats() to authenticated;
select private.expose(
  'private.get_referral_stats()',
  'What has come of the caller''s code and of the one they redeemed: {code (null before generate_referral_code), invited, '
  'pending, completed, held, credits_earned, redeemed}. redeemed is {referral_id, status, days_needed, days_done}, null if '
  'none. credits_earned counts both sides.');
