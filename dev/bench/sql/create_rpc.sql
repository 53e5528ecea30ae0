\set person random(1, :people)
\set grams random(10, 5000)
\set seconds_ago random(0, 3600)
select public.create_waste_entry(json_build_object('entry', jsonb_build_object(
         'category_id', 'food_waste', 'disposal_method', 'composted', 'weight_kg', :grams::integer * 0.001,
         'logged_at', now() - :seconds_ago::integer * interval '1 second',
         'device_id', 'bench', 'offline_id', gen_random_uuid())))
from set_config('request.jwt.claims',
       '{"role":"authenticated","sub":"' || md5(:person::text)::uuid || '"}', false);
