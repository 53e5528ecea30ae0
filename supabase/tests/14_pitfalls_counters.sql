-- Counter overflow: sums of points exceed 32 bits, upwards and downwards, in every function that shows them.
begin;
\ir helpers.psql
select plan(9);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null
select tests.act_as('other') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry(1))) \g /dev/null
select tests.act_as('own') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry(1))) \g /dev/null
select tests.act_as_operator() \g /dev/null

-- As if a user had logged for centuries: 3,000,000,000 points more, in the sums and for the boards.
create function tests.credit(points bigint) returns void language plpgsql
as $$
begin
  update private.user_state set credits = credits + points where user_id = tests.id('own');
  update public.user_days
  set credits = credits + points, credits_positive = credits_positive + greatest(points, 0), credits_negative = credits_negative + least(points, 0)
  where user_id = tests.id('own');
  insert into private.outbox (user_id, local_date, province, entries, credits, rewards)
  select tests.id('own'), d.local_date, d.province, 0, points, 0 from public.user_days as d where d.user_id = tests.id('own');
end;
$$;
create function tests.place(timeframe text) returns jsonb language sql stable
as $$ select tests.get_leaderboard('global', timeframe, around_me => true, page_size => 1) -> 'current_user' $$;
create function tests.total() returns bigint language sql stable
as $$ select (public.get_gamification_profile() ->> 'total_credits')::bigint $$;
grant execute on all functions in schema tests to public;

select tests.credit(3000000000) \g /dev/null
select tests.act_as('own') \g /dev/null
select lives_ok(format('select public.create_waste_entry(json_build_object(''entry'', %L::jsonb))', tests.entry(2)), 'an entry is added to billions');
select is(tests.total() > 3000000000, true, 'a total may exceed 32 bits');
select is((public.get_gamification_profile() ->> 'trees_saved')::bigint, tests.total() / 500, 'and so are its trees');
select is((tests.place('daily') ->> 'credits')::bigint, (select credits from public.user_totals), 'a board shows it');
select is(array[tests.place('daily') ->> 'rank', tests.place('all_time') ->> 'rank'], array['1', '1'], 'above everybody');
select tests.act_as_operator() \g /dev/null

select tests.credit(-7000000000) \g /dev/null
select tests.act_as('own') \g /dev/null
select lives_ok(format('select public.create_waste_entry(json_build_object(''entry'', %L::jsonb))', tests.entry(2)), 'an entry is added to minus billions');
select is(tests.total() < -3000000000, true, 'a total may be below 32 bits');
select is(public.get_gamification_profile() -> 'current_level', '1'::jsonb, 'of level 1');
select tests.act_as_operator() \g /dev/null
select private.lock_boards(true) \g /dev/null
select private.merge_boards(100000) \g /dev/null
select tests.act_as('own') \g /dev/null
select is((tests.place('daily') ->> 'rank')::bigint > 1, true, 'below the others');
select * from finish();
rollback;
