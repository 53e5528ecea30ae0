\set person random(1, :people)
\set grams random(10, 5000)
\set seconds_ago random(0, 3600)
insert into public.bare_entries
  (id, user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, device_id, offline_id,
   factor_set, created_at, updated_at, carbon_credits, co2e_kg, co2e_avoided_kg, local_date)
select gen_random_uuid(), md5(:person::text)::uuid, 'food_waste', 'composted', :grams::integer * 0.001,
       now() - :seconds_ago::integer * interval '1 second', 'Asia/Bangkok', 'TH-10', 'bench', gen_random_uuid()::text,
       'tgo-app-2024', now(), now(), 100, 0.123456, 0.123456, '2026-01-01'
from set_config('request.jwt.claims',
       '{"role":"authenticated","sub":"' || md5(:person::text)::uuid || '"}', false);
