\set person random(1, :people)
select private.own_rank(md5(:person::text)::uuid, :board::integer);
