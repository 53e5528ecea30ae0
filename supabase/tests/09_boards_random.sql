-- Compares boards with an oracle that adds up entries and ranks all users, for random users and changes. While all or some
-- changes are pending, one's own row is exact, other rows are as of the last folding, and hidden users are not shown. Once
-- everything is folded, all rows are exact.
begin;
\ir helpers.psql
\ir boards_oracle.psql
select plan(21);
select setseed(0.25) \g /dev/null
update public.profiles set visible_in_leaderboard = false;

create table tests.random_users as
select n, md5('random' || n)::uuid as id from generate_series(1, 60) as n;
select tests.sign_up('random' || c.n, c.id, c.n % 10 = 0) from tests.random_users as c \g /dev/null

-- Few weights and few days, so that there are ties, and users without an entry in a period.
create procedure tests.log(entries integer) language plpgsql
as $$
begin
  insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, province, logged_at)
  select c.id, case when r.sort < 0.8 then 'food_waste' else 'plastic_bottles' end,
         case when r.sort < 0.8 then 'composted' else 'disposed' end, 1 + floor(r.weight * 4), 'Asia/Bangkok',
         (array['TH-10', 'TH-50', null])[1 + floor(r.province * 3)::integer], now() - floor(r.days * r.days * 70) * interval '1 day'
  from (select 1 + floor(random() * 60)::integer as n, random() as weight, random() as province, random() as days, random() as sort
        from generate_series(1, entries)) as r
  join tests.random_users as c on c.n = r.n
  join public.profiles as p on p.id = c.id;
end;
$$;
create procedure tests.shake() language plpgsql
as $$
begin
  call tests.log(80);
  update public.waste_entries as e
  set weight_kg = 1 + floor(random() * 4), province = (array['TH-10', 'TH-50', null])[1 + floor(random() * 3)::integer],
      logged_at = e.logged_at - floor(random() * 3) * interval '1 day'
  where e.user_id in (select c.id from tests.random_users as c) and random() < 0.2;
  delete from public.waste_entries as e where e.user_id in (select c.id from tests.random_users as c) and random() < 0.2;
  update public.profiles as p set privacy_level = 1 + floor(random() * 3), visible_in_leaderboard = random() < 0.85
  where p.id in (select c.id from tests.random_users as c where random() < 0.3);
  delete from private.board_exclusions as x where random() < 0.5;
  insert into private.board_exclusions (user_id, reason)
  select p.id, 'test' from public.profiles as p join tests.random_users as c on c.id = p.id where random() < 0.1 on conflict do nothing;
  update auth.users as u set is_anonymous = not u.is_anonymous
  where u.id in (select c.id from tests.random_users as c where random() < 0.05);
  with rewarded as (
    update private.user_state as t set rewards = t.rewards + 50 where t.user_id in (select c.id from tests.random_users as c where random() < 0.2)
    returning t.user_id
  )
  insert into private.outbox (user_id, rewards) select r.user_id, 50 from rewarded as r;
  delete from auth.users as u where u.id in (select c.id from tests.random_users as c where random() < 0.03);
end;
$$;

create table tests.viewers as select array_agg(c.id) as ids from tests.random_users as c where c.n % 15 = 0;
call tests.log(300);
update tests.reads set others_as_folded = true;
select is(tests.board_difference(v.ids), null, 'everything pending') from tests.viewers as v;
update tests.reads set others_as_folded = false;
select ok(private.merge_boards(150) = 150, 'a slice is folded in') ;
update tests.reads set others_as_folded = true;
select is(tests.board_difference(v.ids), null, 'a part folded in') from tests.viewers as v;
update tests.reads set others_as_folded = false;
select ok(private.merge_boards(1000000) > 0, 'the rest is folded');
select is(tests.board_difference(v.ids), null, 'everything folded in') from tests.viewers as v;
select is(private.check_all_boards(), '[]', 'equal to a recount');

call tests.shake();
update tests.reads set others_as_folded = true;
select is(tests.board_difference(v.ids), null, 'changes pending on what is folded in') from tests.viewers as v;
update tests.reads set others_as_folded = false;
select is(private.check_all_boards(), '[]', 'equal to a recount, pending changes included');
select ok(private.merge_boards(60) = 60, 'a slice of the changes') ;
call tests.shake();
update tests.reads set others_as_folded = true;
select is(tests.board_difference(v.ids), null, 'and changes on top of it') from tests.viewers as v;
update tests.reads set others_as_folded = false;
select is(private.check_all_boards(), '[]', 'equal to a recount, pending changes included');
select ok(private.merge_boards(1000000) > 0, 'all changes are folded');
select is(tests.board_difference(v.ids), null, 'all changes are folded') from tests.viewers as v;
select is(private.check_all_boards(), '[]', 'equal to a recount');

call tests.shake();
select ok(private.rebuild_boards() > 0, 'boards are rebuilt');
select is(tests.board_difference(v.ids), null, 'rebuilt boards are the same') from tests.viewers as v;
select is(private.check_all_boards(), '[]', 'equal to a recount');
select is(private.folded_scores(array(select o from private.outbox as o), current_date), null, 'nothing is left for boards, only messages');

call tests.shake();
delete from auth.users as u using tests.random_users as c where u.id = c.id;
update tests.reads set others_as_folded = true;
select is(tests.board_difference(v.ids), null, 'everybody gone') from tests.viewers as v;
update tests.reads set others_as_folded = false;
select ok(private.merge_boards(1000000) > 0, 'and are folded');
select is((select count(*) from private.board_scores as s join tests.random_users as c on c.id = s.user_id), 0::bigint,
          'deleted accounts leave no row');
select * from finish();
rollback;
