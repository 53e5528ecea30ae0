-- A population for boards: users with sums, as their entries would have left them, without the entries. Run
-- by the superuser in a separate database, with triggers off; private.rebuild_boards() then builds the
-- boards.
create or replace procedure bench.add_crowd(people integer)
language plpgsql
as $$
declare
  today date := carbon.local_date(now(), 'Asia/Bangkok');
begin
  set session_replication_role = replica;
  for start_at in 1..people by 250000 loop
    create temp table population on commit drop as
    select md5(n::text)::uuid as id, n,
           -- The same population each time: figures from the digits of a hash. Credits are dense at the
           -- bottom and sparse at the top, a tenth live in the province that pages are read from, one in
           -- fifty is not listed.
           (power((h & 65535) / 65536.0, 2) * 20000)::bigint as credits,
           case when (h >> 16 & 255) < 26 then 'TH-10' else (array['TH-20', 'TH-30', 'TH-40', 'TH-50'])[1 + (h >> 16 & 3)] end as province,
           (h >> 24 & 63) = 0 as is_hidden, (h >> 30 & 15)::integer as days_ago
    from (select g.n, hashint8extended(g.n, 0) & 9007199254740991 as h
          from generate_series(start_at, least(start_at + 249999, people)) as g (n)) as x;
    insert into public.profiles (id, province, privacy_level, display_name)
    select c.id, c.province, case when c.is_hidden then 3 else 1 end, 'Person ' || c.n from population as c;
    insert into private.user_state (user_id, entries, grams, credits, began) select c.id, 10, 10000, c.credits, '2026-01-01' from population as c;
    -- Half of the credits long ago, the others within the last sixteen days.
    insert into public.user_days (user_id, local_date, province, entries, weight_kg, credits, credits_positive, credits_negative,
                                  co2e_kg, co2e_avoided_kg)
    select c.id, d.day, c.province, 5, 5, d.credits, d.credits, 0, 0, 0
    from population as c
    cross join lateral (values (today - 200, c.credits / 2), (today - c.days_ago, c.credits - c.credits / 2)) as d (day, credits);
    commit;
  end loop;
  -- The users who write and read in the measurements; some of them in a province that no other user is
  -- from.
  insert into public.user_preferences (user_id) select md5(n::text)::uuid from generate_series(1, least(people, 10000)) as n;
  update public.profiles set province = 'TH-96' where id in (select md5(n::text)::uuid from generate_series(1, 40) as n);
  set session_replication_role = origin;
  commit;
end;
$$;

-- The rank by counting all users above.
create or replace function bench.counted_rank(person uuid, board_number integer)
returns bigint
language plpgsql stable
set enable_seqscan = off
as $$
begin
  return (
    select 1 + count(*) from private.board_order as s
    where s.board = board_number and s.is_listed
      and -s.credits < (select -o.credits from private.board_places as o where o.user_id = person and o.board = board_number));
end;
$$;

-- Reads the small province's board every 5 ms until a user has at least these credits on it: another
-- connection may have added some in the meantime. After ten seconds it raises an error, which ends the run.
create or replace function bench.wait_for_credits(person uuid, credits bigint)
returns void
language plpgsql
as $$
begin
  for turn in 1..2000 loop
    perform from json_array_elements(public.get_leaderboard('province', 'daily', 'TH-96', page_size => 100) -> 'leaderboard') as r
    where r ->> 'user_id' = person::text and (r ->> 'credits')::bigint >= wait_for_credits.credits;
    if found then
      return;
    end if;
    perform pg_sleep(0.005);
  end loop;
  raise exception 'the points never came';
end;
$$;
grant execute on function bench.wait_for_credits(uuid, bigint) to authenticated;
