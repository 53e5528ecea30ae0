\set person random(1, :people)
select bench.counted_rank(md5(:person::text)::uuid, :board::integer);
