insert into public.bare_entries
  (id, user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, device_id, offline_id,
   factor_set, created_at, updated_at, carbon_credits, co2e_kg, co2e_avoided_kg, local_date)
select gen_random_uuid(), user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, device_id,
       case when :with_offline_id then offline_id end,
       factor_set, created_at, updated_at, 100, 0.123456, 0.123456, '2026-01-01'
from bench.bulk_rows where part = :part;
