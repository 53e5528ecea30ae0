-- What the measurements need beside the product's own tables: a bare table with the same columns, and users
-- with diaries. Run by the superuser in a scratch database.
create schema bench;
grant usage on schema bench to authenticated;

-- The same columns and the same primary key; nothing generated, no partition, trigger or policy.
create table public.bare_entries (like public.waste_entries);
alter table public.bare_entries add primary key (user_id, logged_at, id);
grant select, insert on public.bare_entries to authenticated;

-- One row per user, as Auth inserts them; the product's trigger creates their profiles.
create procedure bench.add_people(people integer)
language plpgsql
as $$
begin
  for start_at in 1..people by 10000 loop
    insert into auth.users (id, aud, role, phone, phone_confirmed_at, created_at, updated_at)
    select md5(n::text)::uuid, 'authenticated', 'authenticated', '668' || lpad(n::text, 8, '0'), now(), now(), now()
    from generate_series(start_at, least(start_at + 9999, people)) as n;
    commit;
  end loop;
end;
$$;

-- The entries of each user are spread evenly over the last year, inserted through the product's triggers.
create procedure bench.add_diaries(first_person integer, last_person integer, entries integer)
language plpgsql
as $$
begin
  for start_at in first_person..last_person by 2000 loop
    insert into public.waste_entries
      (user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, device_id)
    select md5(n::text)::uuid, 'food_waste', 'composted', 0.01 * (1 + (n + k) % 500),
           now() - k * interval '365 days' / entries, 'Asia/Bangkok', 'TH-10', 'bench'
    from generate_series(start_at, least(start_at + 1999, last_person)) as n,
         generate_series(1, entries) as k;
    commit;
  end loop;
end;
$$;

-- Without goals, a create shows what the rewards cost. The change itself must not cause an evaluation.
create procedure bench.offer_rewards(offered boolean)
language sql
as $$
  update public.achievements set active = offered;
  update public.challenge_types set ends_on = case when offered then date 'infinity' else date '-infinity' end;
  update public.daily_challenges set active = offered;
  update private.user_state set rules_version = (select r.version from private.achievement_rules as r);
$$;

-- 300 entries of one user over 150 days, the newest of them `newest` ago.
create procedure bench.add_diary(person uuid, newest interval)
language sql
as $$
  insert into auth.users (id, aud, role, is_anonymous, created_at, updated_at)
  values (person, 'authenticated', 'authenticated', true, now(), now());
  insert into public.waste_entries
    (user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, notes, device_id)
  select person, 'food_waste', 'composted', 0.5,
         now() - newest - k * interval '12 hours', 'Asia/Bangkok', 'TH-10', 'a note', 'bench'
  from generate_series(1, 300) as k;
$$;

-- The rows of the bulk inserts, figures included, so that both sides only read them: parts of 2,000 users
-- with 100 entries each, every part a separate table.
create procedure bench.make_bulk_rows(parts integer, people integer)
language plpgsql
as $$
begin
  create unlogged table bench.bulk_rows (
    part integer, user_id uuid, category_id text, disposal_method text, weight_kg numeric, logged_at timestamptz,
    time_zone text, province text, device_id text, offline_id text, factor_set text, created_at timestamptz,
    updated_at timestamptz) partition by list (part);
  for one in 1..parts loop
    execute format('create unlogged table bench.bulk_rows_%s partition of bench.bulk_rows for values in (%s)', one, one);
    insert into bench.bulk_rows
    select one, md5((((one - 1) * 2000 + n) % people + 1)::text)::uuid, 'food_waste', 'composted', 0.5,
           now() - k * interval '11 hours', 'Asia/Bangkok', 'TH-10', 'bench', gen_random_uuid()::text,
           carbon.current_factor_set(), now(), now()
    from generate_series(1, 2000) as n, generate_series(1, 100) as k;
  end loop;
end;
$$;

-- The diary of one user in the bare table too.
create procedure bench.copy_diary(person uuid)
language sql
as $$
  insert into public.bare_entries select e.* from public.waste_entries as e where e.user_id = person;
$$;

-- The cost of an empty pre-request function.
create function bench.nothing()
returns void
language plpgsql
as $$
begin
end;
$$;
grant execute on function bench.nothing() to authenticated;

-- One day after another up to yesterday, without the entries behind them: every other user has plastic in
-- each.
create procedure bench.add_days(first_person integer, last_person integer, days integer)
language plpgsql
as $$
begin
  for one in first_person..last_person loop
    insert into public.user_days (user_id, local_date, province, tally, entries, weight_kg, credits, credits_positive,
                                  credits_negative, co2e_kg, co2e_avoided_kg)
    select md5(one::text)::uuid, carbon.local_date(now(), 'Asia/Bangkok') - k, 'TH-13',
           carbon.tally(case when one % 2 = 0 then 'plastic_bags' else 'glass_bottles' end, 'recycled', 1, 500),
           1, 0.5, 5, 5, 0, 0, 0
    from generate_series(1, days) as k
    on conflict do nothing;
    if one % 100 = 0 then
      commit;
    end if;
  end loop;
  -- Rewards reached by then are granted before the measurement starts.
  update private.user_state as t set days_closed_through = carbon.local_date(now(), 'Asia/Bangkok') - 2
  where t.user_id in (select md5(n::text)::uuid from generate_series(first_person, last_person) as n);
  perform private.evaluate_rewards(array[md5(n::text)::uuid], array[0::bigint], '{}', '{}')
  from generate_series(first_person, last_person) as n;
  commit;
end;
$$;

-- As if yesterday had not been closed yet.
create procedure bench.end_a_day(first_person integer, last_person integer)
language sql
as $$
  update private.user_state as t
  set days_closed_through = carbon.local_date(now(), 'Asia/Bangkok') - 2, first_open_day = carbon.local_date(now(), 'Asia/Bangkok') - 1,
      plastic_free_days = t.plastic_free_days - 1
  where t.user_id in (select md5(n::text)::uuid from generate_series(first_person, last_person) as n);
$$;

-- Entries with long notes, for a user who then makes expensive requests.
create procedure bench.add_notes(person uuid, count integer)
language sql
as $$
  insert into public.waste_entries
    (user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, notes, device_id)
  select person, 'food_waste', 'composted', 0.5, now() - n * interval '4 hours', 'Asia/Bangkok', 'TH-10',
         repeat('a', 400) || n, 'bench'
  from generate_series(1, count) as n;
$$;

-- An anonymous diary of 10,000 entries and an account with 1,000, half of which are the same.
create procedure bench.make_merge(round integer)
language sql
as $$
  insert into auth.users (id, aud, role, phone, phone_confirmed_at, is_anonymous, created_at, updated_at)
  values (md5('from ' || round)::uuid, 'authenticated', 'authenticated', null, null, true, now(), now()),
         (md5('into ' || round)::uuid, 'authenticated', 'authenticated', '6660999' || lpad(round::text, 4, '0'), now(), false, now(), now());
  insert into public.waste_entries
    (user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, notes, device_id, offline_id)
  select md5(o.owner || ' ' || round)::uuid, 'food_waste', 'composted', 0.5,
         date_trunc('hour', now()) - n * interval '2 hours', 'Asia/Bangkok', 'TH-10', 'a note', 'bench', 'entry ' || n
  from (values ('from', 1, 10000), ('into', 9501, 10500)) as o (owner, first, last)
  cross join lateral generate_series(o.first, o.last) as n;
$$;
