-- One new entry, the way the app writes: carbon.derive_entry derives its consequences from the user's state and the
-- entry's day, and they are written row by row under the lock of the state row.
--
--   entry (the caller writes its row and its key)
--     └──► carbon.derive_entry ◄── state row (locked), user_days of its day, cached rules
--                      │
--                      ├──► private.user_days       sums of the day
--                      ├──► private.rewards         rows granted
--                      ├──► private.outbox ───┐     what changed, for the worker
--                      └──► private.user_state│     totals, level, run, revision
--   ─────────────────── commit ───────────────┼────────────────────────────────────────
--                                             ▼
--                         worker (private.merge_boards), woken at commit
--                                             ├──► private.board_scores, board_order, board_nodes
--                                             └──► realtime.messages ──► the user's devices
--
-- Everything above the line is one transaction, so an entry is never stored without its consequences; everything
-- below is another one, so no write waits for boards or messages.

create type private.writer as (
  state private.user_state,
  rules private.achievement_rules
);
comment on type private.writer is
  'What the creation of one entry starts from: the locked state row of its user, and the achievement rules.';

create function private.lock_state(p_user_id uuid, must_be_open boolean)
returns private.writer
language plpgsql security definer
set search_path = ''
-- As in private.tg_waste_entries__count_inserted.
set enable_seqscan = off
as $$
declare
  writer private.writer;
begin
  if p_user_id is null then
    perform private.raise_error('carbon.not_signed_in', '42501');
  end if;
  select s, r into writer
  from private.user_state as s, private.achievement_rules as r
  where s.user_id = p_user_id
  for no key update of s;
  if not found then
    perform private.raise_error('carbon.unknown_user', '23503');
  elsif must_be_open and (writer.state).closed_until > now() then
    perform private.raise_error('carbon.session_ended', 'PT401');
  end if;
  return writer;
end;
$$;
comment on function private.lock_state(uuid, boolean) is
  'Locks the state row of this user until the end of the transaction, and returns it with the achievement rules. Raises '
  '42501 carbon.not_signed_in for null, 23503 carbon.unknown_user, and PT401 carbon.session_ended if the user must be '
  'open and is banned or deleted.';

create function private.post_derived_rewards(state private.user_state, entry public.waste_entries, derived carbon.derived)
returns boolean
language plpgsql security definer
set search_path = ''
as $$
declare
  is_posted boolean;
begin
  with posted as materialized (
    select n.*, coalesce((
      select max(l.sequence) from private.rewards as l
      where l.user_id = state.user_id and l.source = n.source and l.source_id = n.source_id), 0) as sequence
    from unnest(derived.sources, derived.source_ids, derived.credits) with ordinality as n (source, source_id, credits, place)
  )
  insert into private.rewards (user_id, number, source, source_id, sequence, credits, entry_id, local_date, visibility)
  select state.user_id, state.ledger_rows + p.place, p.source, p.source_id, p.sequence + 1, p.credits,
         case when p.source in ('achievement', 'challenge') then entry.id end,
         case when p.source = 'challenge' then entry.local_date end, private.visibility_now(state.user_id, p.source)
  from posted as p
  where not exists (select from posted as o where o.source in ('achievement', 'challenge') and o.sequence % 2 = 1);
  -- The ledger is authoritative for what is held, so a repeated call does not pay twice.
  is_posted := found;
  -- Most rewards are challenges, which have no feed items.
  if is_posted and derived.sources && '{achievement,level,streak,tree}' then
    perform private.refresh_feed(array(
      select l from private.rewards as l where l.user_id = state.user_id and l.number > state.ledger_rows));
  end if;
  return is_posted;
end;
$$;
comment on function private.post_derived_rewards(private.user_state, public.waste_entries, carbon.derived) is
  'Appends what was derived from an entry to the reward ledger, and to the feed. False, and nothing is appended, if the ledger says that '
  'one of these rewards is held already.';

-- One function of more than 60 lines, because every create runs it: its two long statements list the columns of a user day
-- and of the state row, and each call of a function costs 1 to 2 µs more (docs/decisions/0016). What few entries need
-- (rules not cached, open days, rewards, a complete evaluation) is in functions of its own.
create function private.record_entry(state private.user_state, rules private.achievement_rules, entry public.waste_entries)
returns carbon.derived
language plpgsql security definer
set search_path = ''
as $$
declare
  by_client boolean := current_setting('role') in ('authenticated', 'anon');
  weight_grams integer := entry.weight_kg * 1000;
  is_imported boolean := entry.batch_id is not null;
  total_before bigint;
  rows_before bigint := state.ledger_rows;
  today date := carbon.local_date(now(), state.time_zone);
  day record;
  open_days date[];
  open_tallies bytea[];
  all_days date[];
  held text[];
  derived carbon.derived;
  refused text;
  total bigint;
  contributed private.contributed;
begin
  if state.rules_version not in (0, rules.version) then
    perform private.apply_new_rules(array[state.user_id]);
    select s.* into state from private.user_state as s where s.user_id = state.user_id;
  end if;
  total_before := state.credits + state.rewards;
  state.entries := state.entries + 1;
  if by_client then
    if state.day_started_at <= now() - interval '24 hours' then
      state.day_started_at := now();
      state.day_rows := 0;
    end if;
    state.day_rows := state.day_rows + 1;
    if state.window_started_at <= now() - interval '1 hour' then
      state.window_started_at := now();
      state.window_rows := 0;
    end if;
    if not is_imported then
      state.window_rows := state.window_rows + 1;
    end if;
  end if;
  -- Far from every limit, skip the exact check.
  if entry.logged_at not between now() - interval '1 year' and now() or state.window_rows > 500
     or state.day_rows > 5000 or state.entries > 100000 then
    refused := private.write_limit_violation(entry.logged_at, entry.logged_at, null,
                                     case when by_client then state.window_rows end,
                                     case when by_client then state.day_rows end,
                                     case when by_client then state.entries end);
    if refused is not null then
      perform private.raise_write_limit(refused);
    end if;
  end if;

  -- Add the entry to its day, and read back the day's tally including it.
  with counted as (
    insert into public.user_days as d
      (user_id, local_date, province, imported, tally, entries, weight_kg, credits, credits_positive, credits_negative,
       co2e_kg, co2e_avoided_kg)
    values (state.user_id, entry.local_date, entry.province, is_imported,
            carbon.tally(entry.category_id, entry.disposal_method, 1, weight_grams), 1, entry.weight_kg, entry.carbon_credits,
            greatest(entry.carbon_credits, 0), least(entry.carbon_credits, 0), entry.co2e_kg, entry.co2e_avoided_kg)
    on conflict (user_id, local_date, province, imported) do update
      set entries = d.entries + 1,
          tally = carbon.add_tallies(d.tally, excluded.tally),
          weight_kg = d.weight_kg + excluded.weight_kg,
          credits = d.credits + excluded.credits,
          credits_positive = d.credits_positive + excluded.credits_positive,
          credits_negative = d.credits_negative + excluded.credits_negative,
          co2e_kg = d.co2e_kg + excluded.co2e_kg,
          co2e_avoided_kg = d.co2e_avoided_kg + excluded.co2e_avoided_kg
    returning d.entries, d.tally
  )
  -- A day has further rows if the province changed or entries were imported.
  select c.entries = 1 and o.tally = '' as is_first, carbon.add_tallies(c.tally, o.tally) as tally,
         carbon.add_tallies(c.tally, o.stated) as stated
  into day
  from counted as c
  cross join (
    select carbon.sum_tallies(u.tally) as tally, carbon.sum_tallies(u.tally) filter (where not u.imported) as stated
    from public.user_days as u
    where u.user_id = state.user_id and u.local_date = entry.local_date
      and (u.province, u.imported) is distinct from (entry.province, is_imported)) as o;

  if state.communities_until is not null and not is_imported
     and state.communities_until >= carbon.local_date(now(), carbon.default_time_zone()) then
    contributed := private.contributed_by(
      state.community_ids, state.community_terms, state.contributions, entry.local_date, entry.province, entry.category_id,
      entry.disposal_method, weight_grams, entry.carbon_credits, (entry.co2e_avoided_kg * 1000000)::bigint);
  end if;

  if rules.version = state.rules_version and contributed.moves_reward is not true then
    if not carbon.has_rules(rules.catalogue_version, entry.local_date) then
      perform private.load_rules(rules.catalogue_version, entry.local_date);
    end if;
    -- An open day that has ended is closed now, which needs the tallies of all open days.
    if least(state.first_open_day, case when entry.local_date > state.days_closed_through then entry.local_date end) < today then
      select d.dates, d.tallies into open_days, open_tallies
      from private.tallied_days(state.user_id, state.days_closed_through + 1, 'infinity') as d;
    end if;
    -- A late entry: the state row has the challenges of latest_day only, and a new day may join two runs.
    if entry.local_date < state.latest_day then
      held := private.held_challenges(state.user_id, entry.local_date);
      if day.is_first then
        all_days := array(select distinct d.local_date from public.user_days as d where d.user_id = state.user_id);
      end if;
    end if;
    derived := carbon.derive_entry(
      state.credits, state.tally, state.rewards, state.level, state.achievements, state.latest_challenges,
      state.days_closed_through, state.first_open_day, state.latest_day, state.current_run, state.longest_run,
      state.plastic_free_days, entry.local_date, entry.category_id, entry.disposal_method, weight_grams, entry.carbon_credits,
      day.is_first, day.tally, case when not is_imported and entry.local_date >= state.began then day.stated end, held,
      open_days, open_tallies, all_days, today);
  end if;

  -- The user's first entry, or a held reward is lost: evaluate everything.
  if derived.level is null then
    return private.record_evaluated(state, entry, total_before, contributed);
  end if;

  if derived.sources is not null and not private.post_derived_rewards(state, entry, derived) then
    return private.record_evaluated(state, entry, total_before, contributed);
  end if;

  total := state.credits + entry.carbon_credits + derived.rewards;
  with published as (
    insert into private.outbox
      (user_id, local_date, province, entries, credits, rewards, change, total, level, revision, first_reward, last_reward,
       communities)
    values (state.user_id, entry.local_date, entry.province, 1, entry.carbon_credits, derived.rewards - state.rewards,
            nullif(total - total_before, 0), total, derived.level, state.revision + 1,
            case when derived.sources is not null then state.ledger_rows + 1 end,
            case when derived.sources is not null then state.ledger_rows + cardinality(derived.sources) end,
            contributed.communities)
  )
  update private.user_state as s
  set entries = state.entries,
      grams = state.grams + weight_grams,
      credits = state.credits + entry.carbon_credits,
      co2e_mg = state.co2e_mg + (entry.co2e_kg * 1000000)::bigint,
      co2e_avoided_mg = state.co2e_avoided_mg + (entry.co2e_avoided_kg * 1000000)::bigint,
      tally = derived.tally,
      rewards = derived.rewards,
      level = derived.level,
      achievements = derived.achievements,
      ledger_rows = state.ledger_rows + coalesce(cardinality(derived.sources), 0),
      revision = state.revision + 1,
      last_change_at = now(),
      days_closed_through = derived.days_closed_through,
      first_open_day = derived.first_open_day,
      latest_day = derived.latest_day,
      latest_challenges = derived.latest_challenges,
      current_run = derived.current_run,
      longest_run = derived.longest_run,
      plastic_free_days = derived.plastic_free_days,
      window_started_at = state.window_started_at,
      window_rows = state.window_rows,
      day_started_at = state.day_started_at,
      day_rows = state.day_rows,
      contributions = coalesce(contributed.contributions, state.contributions)
  where s.user_id = state.user_id;
  if state.ledger_rows > rows_before then
    -- The answer has what new rules granted, too.
    derived.earned := private.answer_rewards(state.user_id, rows_before);
  end if;
  return derived;
end;
$$;
comment on function private.record_entry(private.user_state, private.achievement_rules, public.waste_entries) is
  'Records one new entry: limits, its day, rewards, outbox, state. The caller writes the entry''s key, and '
  'learns from its unique indexes whether the entry is new. state = the user''s state row before the entry, '
  'which the caller has locked. Returns what was derived; if the entry loses something held, or is the user''s '
  'first, only what was earned and the runs.';

create function private.record_evaluated(state private.user_state, entry public.waste_entries, total_before bigint,
                                         contributed private.contributed)
returns carbon.derived
language plpgsql security definer
set search_path = ''
as $$
declare
  after private.user_state;
  derived carbon.derived;
  total bigint;
begin
  update private.user_state as s
  set entries = state.entries,
      grams = state.grams + (entry.weight_kg * 1000)::integer,
      credits = state.credits + entry.carbon_credits,
      co2e_mg = state.co2e_mg + (entry.co2e_kg * 1000000)::bigint,
      co2e_avoided_mg = state.co2e_avoided_mg + (entry.co2e_avoided_kg * 1000000)::bigint,
      tally = carbon.add_tallies(state.tally, carbon.tally(entry.category_id, entry.disposal_method, 1, (entry.weight_kg * 1000)::integer)),
      revision = state.revision + 1,
      last_change_at = now(),
      window_started_at = state.window_started_at,
      window_rows = state.window_rows,
      day_started_at = state.day_started_at,
      day_rows = state.day_rows,
      contributions = coalesce(contributed.contributions, state.contributions)
  where s.user_id = state.user_id;
  perform private.evaluate_people(array[state.user_id], array[state.user_id], array[entry.local_date], entry.id);
  select s.* into after from private.user_state as s where s.user_id = state.user_id;
  total := after.credits + after.rewards;
  insert into private.outbox
    (user_id, local_date, province, entries, credits, rewards, change, total, level, revision, first_reward, last_reward,
     communities)
  values (state.user_id, entry.local_date, entry.province, 1, entry.carbon_credits, after.rewards - state.rewards,
          nullif(total - total_before, 0), total, after.level, after.revision,
          case when after.ledger_rows > state.ledger_rows then state.ledger_rows + 1 end,
          case when after.ledger_rows > state.ledger_rows then after.ledger_rows end, contributed.communities);
  derived.earned := private.answer_rewards(state.user_id, state.ledger_rows);
  derived.streak := carbon.run_as_of(after.current_run, after.latest_day, carbon.local_date(now(), after.time_zone));
  derived.longest_run := after.longest_run;
  return derived;
end;
$$;
comment on function private.record_evaluated(private.user_state, public.waste_entries, bigint, private.contributed) is
  'The last step of private.record_entry when everything must be evaluated: something held was lost, a contribution crossed what a reward needs, or the user was never evaluated.';
