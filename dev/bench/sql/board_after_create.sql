-- One user of the small province creates; another one there reads the board until the new credits are on
-- it.
\set writer random(1, 20)
\set reader random(21, 40)
select set_config('request.jwt.claims', '{"role":"authenticated","sub":"' || md5(:writer::text)::uuid || '"}', false);
select (public.create_waste_entry(json_build_object('entry', jsonb_build_object(
          'category_id', 'food_waste', 'disposal_method', 'composted', 'weight_kg', 5, 'offline_id', gen_random_uuid())))
        ->> 'id') is not null;
select sum(d.credits) as credits from public.user_days as d
where d.user_id = md5(:writer::text)::uuid and d.province = 'TH-96' and d.local_date = carbon.local_date(now(), 'Asia/Bangkok') \gset
select set_config('request.jwt.claims', '{"role":"authenticated","sub":"' || md5(:reader::text)::uuid || '"}', false);
select bench.wait_for_credits(md5(:writer::text)::uuid, :credits::bigint);
