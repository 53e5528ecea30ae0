-- The feed of the population of boards.sql and social.sql: items of the last 88 days, half of them by a tenth of the
-- people, a tenth of them private. The friends of viewer 200 never did anything. Run by the superuser, with triggers off.
create or replace procedure bench.add_feed(people integer, items bigint)
language plpgsql
as $$
declare
  part constant integer := 500000;
  parts integer := ceil(items::numeric / part);
begin
  set session_replication_role = replica;
  perform setseed(0.5);
  create temp table silent as select f.friend_id from private.friends as f where f.user_id = md5('200')::uuid;
  create unique index on silent (friend_id);
  analyze silent;
  -- In the order of time, as they come in life: the rows of one person lie far apart.
  for nth in 1..parts loop
    insert into public.activity_feed (user_id, created_at, id, activity_type, activity_data, visibility)
    select i.user_id, i.created_at, gen_random_uuid(), 'level_up', '{"level": 2}', case when random() < 0.1 then 'private' else 'public' end
    from (
      select md5((1 + floor(random() * case when random() < 0.5 then people / 10 else people end)::integer)::text)::uuid as user_id,
             now() - interval '88 days' * ((parts - nth + random()) / parts) as created_at
      from generate_series(1, least(part, items - (nth - 1)::bigint * part))) as i
    where not exists (select from silent as s where s.friend_id = i.user_id)
    order by i.created_at;
    commit;
  end loop;
  drop table silent;
  set session_replication_role = origin;
  commit;
end;
$$;
