\set person random(1, :people)
\set grams random(10, 5000)
\set seconds_ago random(0, 3600)
insert into public.waste_entries (category_id, disposal_method, weight_kg, logged_at, device_id, offline_id)
select 'food_waste', 'composted', :grams::integer * 0.001, now() - :seconds_ago::integer * interval '1 second',
       'bench', gen_random_uuid()::text
from set_config('request.jwt.claims',
       '{"role":"authenticated","sub":"' || md5(:person::text)::uuid || '"}', false);
