insert into public.waste_entries
  (id, user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, device_id, offline_id,
   factor_set, created_at, updated_at)
select gen_random_uuid(), user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, device_id,
       case when :with_offline_id then offline_id end,
       factor_set, created_at, updated_at
from bench.bulk_rows where part = :part;
