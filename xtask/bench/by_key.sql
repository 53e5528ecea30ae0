\set person random(1, :people)
select t.credits from public.user_totals as t where t.user_id = md5(:person::text)::uuid;
