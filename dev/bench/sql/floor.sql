-- The minimum that a correct create must do, for comparison: one row, one counter under its lock, one row
-- of a log, in PL/pgSQL, with one commit. Unpartitioned, with only a primary key.
create table bench.floor_entry (like public.waste_entries, primary key (user_id, logged_at, id));
create table bench.floor_state (
  user_id uuid primary key, n bigint not null, grams bigint not null, at timestamptz) with (fillfactor = 70);
create table bench.floor_log (
  id bigint generated always as identity primary key, user_id uuid not null, local_date date, province text,
  entries integer, credits bigint, rewards bigint);

create function bench.floor_pl(entry jsonb)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  uid uuid := auth.uid();
  r bigint;
  i uuid := gen_random_uuid();
begin
  update bench.floor_state as s set n = s.n + 1, grams = 5, at = now() where s.user_id = uid returning s.n into r;
  insert into bench.floor_entry
    (id, user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, device_id, offline_id,
     factor_set, created_at, updated_at, carbon_credits, co2e_kg, co2e_avoided_kg, local_date)
  values (i, uid, entry ->> 'category_id', entry ->> 'disposal_method', (entry ->> 'weight_kg')::numeric,
          (entry ->> 'logged_at')::timestamptz, 'Asia/Bangkok', 'TH-10', entry ->> 'device_id', entry ->> 'offline_id',
          'tgo-app-2024', now(), now(), 100, 0.123456, 0.123456, '2026-01-01');
  insert into bench.floor_log (user_id, local_date, province, entries, credits, rewards)
  values (uid, '2026-01-01', 'TH-10', 1, 100, 0);
  return jsonb_build_object('id', i, 'revision', r);
end;
$$;
grant execute on function bench.floor_pl(jsonb) to authenticated;
insert into bench.floor_state select s.user_id, 0, 0, null from private.user_state as s;
