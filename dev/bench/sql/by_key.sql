\set person random(1, :people)
select t.credits from private.user_state as t where t.user_id = md5(:person::text)::uuid;
