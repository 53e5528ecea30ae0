-- Community challenges after any order of joining, leaving, creates, batches, changes, deletions, imports and moves: the
-- contributions are those of an independent sum over the entries, and totals, boards and rewards follow from them.
begin;
\ir helpers.psql
set local carbon.limits = off;
select plan(7);
select tests.act_as_operator() \g /dev/null
select private.lock_boards(true) \g /dev/null
select tests.sign_up('r' || n, ('d0000000-0000-4000-8000-00000000000' || n)::uuid) from generate_series(1, 4) as n \g /dev/null
select setseed(0.21) \g /dev/null
create table tests.challenges as
select n, (public.make_community_challenge(jsonb_build_object(
         'title_th', 'ก', 'title_en', 'a', 'description_th', 'ก', 'description_en', 'a',
         'challenge_type', case when n = 2 then 'provincial' else 'national' end, 'province', case when n = 2 then 'TH-50' end,
         'criteria', c.criteria, 'target_value', c.target, 'min_contribution', c.least, 'credits_reward', 30,
         'start_date', current_date - 9, 'end_date', current_date + 3)) ->> 'id')::uuid as id
from (values (1, '{"metric": "weight_kg"}'::jsonb, 100000, 10000), (2, '{"metric": "entries"}', 20, 3),
             (3, '{"metric": "credits", "category_any_of": ["plastic_bottles", "food_waste", "glass_bottles"]}', 100, 10),
             (4, '{"metric": "co2e_avoided_kg"}', 20000000, 500000), (5, '{"metric": "entries", "disposal_method": "recycled"}', 1000000, 1)) as c (n, criteria, target, least);
grant select on tests.challenges to public;

create function tests.random_operation() returns void language plpgsql
as $$
declare
  who text := 'r' || 1 + floor(random() * 4);
  methods text[] := (select array_agg(f.category_id || ' ' || f.method) from carbon.factors() as f);
  pair text[] := string_to_array(methods[1 + floor(random() * 32)], ' ');
  entry jsonb := jsonb_build_object('category_id', pair[1], 'disposal_method', pair[2], 'weight_kg', round((0.01 + random() * 9)::numeric, 3),
    'logged_at', now() - random() * 14 * interval '1 day');
  chosen record;
  challenge uuid := (select c.id from tests.challenges as c order by random() limit 1);
begin
  select e.id, e.logged_at into chosen from public.waste_entries as e where e.user_id = tests.id(who) order by random() limit 1;
  if random() < 0.1 then
    update public.profiles set province = (array['TH-10', 'TH-50', null])[1 + floor(random() * 3)] where id = tests.id(who);
  end if;
  perform tests.act_as(who);
  case floor(random() * 11)
    when 0, 1 then perform public.create_waste_entry(json_build_object('entry', entry));
    when 2 then perform public.create_waste_entries(json_build_object('entries', jsonb_build_array(entry, entry || '{"weight_kg": 5}', entry || '{"weight_kg": 1}')));
    when 3 then
      insert into public.waste_entries (category_id, disposal_method, weight_kg, logged_at)
      select pair[1], pair[2], (entry ->> 'weight_kg')::numeric, (entry ->> 'logged_at')::timestamptz - g * interval '1 day' from generate_series(0, 1) as g;
    when 4 then if chosen.id is not null then perform tests.update_entry(chosen.id, entry); end if;
    when 5 then if chosen.id is not null then perform public.delete_waste_entry(chosen.id); end if;
    when 6 then update public.waste_entries set weight_kg = weight_kg + 0.125, logged_at = logged_at - interval '9 hours' where random() < 0.2 and weight_kg < 90;
    when 7 then perform public.migrate_local(jsonb_build_object('waste_entries', jsonb_build_array(entry))::text);
    when 8 then
      if not exists (select from public.community_participations as p where p.challenge_id = challenge) then
        perform public.join_community_challenge(challenge);
        -- As if that had been some days ago.
        perform tests.act_as_operator();
        update private.participations set joined_on = current_date - floor(random() * 12)::integer
        where challenge_id = challenge and user_id = tests.id(who);
        perform public.recompute_user(tests.id(who));
      end if;
    when 9 then
      if random() < 0.5 and exists (select from public.community_participations as p where p.challenge_id = challenge) then
        perform public.leave_community_challenge(challenge);
      end if;
    else
      perform tests.act_as('service');
      update public.waste_entries set province = 'TH-50' where user_id = tests.id(who) and random() < 0.1;
  end case;
  perform tests.act_as_operator();
  if random() < 0.1 then
    perform private.merge_boards(100000);
    perform private.evaluate_community_rewards(3);
  end if;
end;
$$;
do $$
begin
  for i in 1..500 loop
    perform tests.random_operation();
  end loop;
  perform private.merge_boards(100000);
  for i in 1..50 loop
    exit when private.evaluate_community_rewards(3) is null;
  end loop;
  perform private.merge_boards(100000);
end;
$$;

create view tests.sums as
select p.challenge_id, p.user_id, coalesce(sum(case c.criteria ->> 'metric' when 'weight_kg' then e.weight_kg * 1000 when 'entries' then 1
                                                    when 'credits' then e.carbon_credits else e.co2e_avoided_kg * 1000000 end), 0)::bigint as contribution
from private.participations as p
join public.community_challenges as c on c.id = p.challenge_id
left join public.waste_entries as e on e.user_id = p.user_id and e.batch_id is null
  and e.local_date >= c.start_date and e.local_date >= p.joined_on and e.local_date <= c.end_date
  and (c.province is null or e.province = c.province)
  and (c.criteria -> 'category_any_of' is null or c.criteria -> 'category_any_of' ? e.category_id)
  and (c.criteria ->> 'disposal_method' is null or c.criteria ->> 'disposal_method' = e.disposal_method)
where p.challenge_id in (select t.id from tests.challenges as t)
group by p.challenge_id, p.user_id;

select ok((select count(*) > 3 and bool_or(s.contribution > 0) from tests.sums as s), 'there is something to compare');
select is((select jsonb_agg(jsonb_build_array(s.*, v.contribution)) from tests.sums as s
           join private.contributions as v on v.challenge_id = s.challenge_id and v.user_id = s.user_id where v.contribution <> s.contribution),
  null, 'contributions are the sums over the entries');
select is((select jsonb_agg(jsonb_build_array(c.n, s.total, t.total)) from tests.challenges as c
           cross join lateral (select coalesce(sum(x.contribution), 0) as total from tests.sums as x where x.challenge_id = c.id) as s
           cross join lateral (select coalesce(sum(x.total), 0) as total from private.community_totals as x where x.challenge_id = c.id) as t
           where s.total <> t.total), null, 'totals are their sums');
select is((select jsonb_agg(s.*) from tests.sums as s
           join public.community_challenges as c on c.id = s.challenge_id
           left join private.board_order as o on o.board = c.board and o.user_id = s.user_id
           where o.credits is distinct from s.contribution), null, 'contributors'' boards show them');
select is((select jsonb_agg(jsonb_build_array(p.name, c.n, r.paid, w.due)) from tests.people as p
           cross join tests.challenges as t
           join public.community_challenges as c0 on c0.id = t.id
           cross join lateral (select t.n) as c
           cross join lateral (select coalesce(sum(l.credits), 0) as paid from private.rewards as l
                               where l.user_id = p.id and l.source = 'community' and l.source_id = t.id::text) as r
           cross join lateral (select 30 * count(*) as due from tests.sums as s
                               where s.challenge_id = t.id and s.user_id = p.id and s.contribution >= c0.min_contribution
                                 and exists (select from private.community_facts as f where f.challenge_id = t.id and f.milestone = 100)) as w
           where r.paid <> w.due), null, 'rewards are held by those who contributed enough');
select is(private.check_communities(), '[]', 'no total differs from the contributions');
select tests.all_right();
select * from finish();
rollback;
