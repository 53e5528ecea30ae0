-- Friends and blocks among the population of boards.sql. Run by the superuser in a separate database, with triggers off.
-- People 1 to 200 have 500 friends, 201 to 250 have 1,000; everybody else has about four. Of each viewer's friends every
-- tenth has privacy level 2, and viewers block five people and are blocked by five.
create or replace procedure bench.add_friends(people integer)
language plpgsql
as $$
begin
  set session_replication_role = replica;
  update public.profiles as p set privacy_level = 2
  where p.privacy_level = 1 and (hashtext(p.id::text) & 127) < 13;
  commit;
  create temp table edges as
  select distinct on (least(a, b), greatest(a, b)) md5(a::text)::uuid as one_id, md5(b::text)::uuid as other_id
  from (
    -- Steps that share no divisor with the number of people meet nobody twice.
    select v as a, 1001 + ((v::bigint * 7919 + i::bigint * 104729) % (people - 1000))::integer as b
    from generate_series(1, 250) as v, generate_series(1, case when v > 200 then 1000 else 500 end) as i
    union all
    select n, 1001 + ((n::bigint * 31 + k * 17) % (people - 1000))::integer
    from generate_series(1001, people) as n, generate_series(1, 2) as k) as e
  where a <> b;
  insert into private.friend_pairs (low_id, high_id, requested_by, state, accepted_at)
  select least(e.one_id, e.other_id), greatest(e.one_id, e.other_id), e.one_id, 'accepted', now() from edges as e;
  insert into private.friends (user_id, friend_id, since)
  select e.one_id, e.other_id, now() from edges as e
  union all
  select e.other_id, e.one_id, now() from edges as e;
  drop table edges;
  insert into public.user_blocks (blocker_id, blocked_id)
  select md5(v::text)::uuid, md5((300 + v * 2 + k)::text)::uuid from generate_series(1, 250) as v, generate_series(1, 5) as k
  union
  select md5((400 + v * 2 + k)::text)::uuid, md5(v::text)::uuid from generate_series(1, 250) as v, generate_series(1, 5) as k;
  set session_replication_role = origin;
  commit;
end;
$$;
