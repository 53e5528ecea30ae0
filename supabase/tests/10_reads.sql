-- Lists and sums of one's own entries.
begin;
\ir helpers.psql
select plan(55);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, logged_at, notes, place)
select tests.id('own'), case when g % 2 = 0 then 'food_waste' else 'metal_cans' end, case when g % 2 = 0 then 'composted' else 'sold' end,
       g, 'Asia/Bangkok', '2024-06-30 12:00+07'::timestamptz - g * interval '20 days', case when g = 7 then 'Lunch 100%_x\' when g = 11 then 'ขวดน้ำ' end,
       case when g = 9 then 'ตลาด Or Tor Kor' when g = 13 then U&'Cafe\0301' end
from generate_series(1, 60) as g;
insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, logged_at)
select tests.id('other'), 'food_waste', 'disposed', 1, 'Asia/Bangkok', '2024-06-30 12:00+07';

create function tests.weights(answer json) returns text language sql
as $$ select coalesce(string_agg(e ->> 'weight_kg', ' ' order by n), '') from json_array_elements(answer -> 'entries') with ordinality as x (e, n) $$;
create function tests.walk(page_size integer, q text default null) returns text language plpgsql
as $$
declare
  answer json;
  walked text := '';
  cursor text;
begin
  loop
    answer := public.list_waste_entries(page_size => walk.page_size, cursor => cursor, q => walk.q);
    walked := walked || ' ' || tests.weights(answer);
    cursor := answer ->> 'next_cursor';
    exit when cursor is null;
  end loop;
  return ltrim(walked);
end;
$$;
grant execute on function tests.weights(json), tests.walk(integer, text) to public;
create table tests.series as select string_agg(g::text, ' ' order by g) as expected from generate_series(1, 60) as g;
grant select on tests.series to public;

select tests.act_as('own') \g /dev/null
select is(tests.weights(public.list_waste_entries(page_size => 4)), '1 2 3 4', 'newest first');
select is(json_array_length(public.list_waste_entries() -> 'entries'), 20, 'a page has 20 by default');
select is((select array_agg(e::jsonb order by n) from json_array_elements(public.list_waste_entries() -> 'entries') with ordinality as x (e, n)),
  (select array_agg(public.get_waste_entry((e ->> 'id')::uuid) order by n)
   from json_array_elements(public.list_waste_entries() -> 'entries') with ordinality as x (e, n)), 'each as get_waste_entry shows it');
select is(tests.walk(7), expected, 'by cursor every entry comes once') from tests.series;
select is(tests.walk(60), expected, 'even on one page') from tests.series;
select is(tests.weights(public.list_waste_entries(page => 3, page_size => 25)), '51 52 53 54 55 56 57 58 59 60', 'pages by number');
select is(public.list_waste_entries(page => 3, page_size => 25)::jsonb - 'entries',
  '{"page": 3, "limit": 25, "total": 60, "total_pages": 3, "next_cursor": null}', 'with totals');
select is(public.list_waste_entries(page_size => 100)::jsonb - 'entries',
  '{"page": null, "limit": 100, "total": null, "total_pages": null, "next_cursor": null}', 'without page no totals');
select is(tests.weights(public.list_waste_entries(page => 9)), '', 'a page beyond the end is empty');
select is(tests.weights(public.list_waste_entries(date_from => '2024-05-21', date_to => '2024-06-10')), '1 2', 'dates are local days, inclusive');
select is(tests.weights(public.list_waste_entries(date_from => '2024-05-22', date_to => '2024-06-09')), '', 'and exact');
select is(tests.weights(public.list_waste_entries(date_to => '2021-04-30')), '58 59 60', 'years back');
select is(tests.weights(public.list_waste_entries(category_id => 'food_waste', page_size => 3)), '2 4 6', 'by category');
select is(tests.weights(public.list_waste_entries(disposal_method => 'sold', page_size => 3)), '1 3 5', 'by method');
select is(public.list_waste_entries(category_id => 'food_waste', page => 1)::jsonb -> 'total', '30', 'with a total of their own');
select is(tests.weights(public.list_waste_entries(q => 'LUNCH')), '7', 'a part of the notes, case-insensitively');
select is(tests.weights(public.list_waste_entries(q => '100%_X\')), '7', 'wildcards are literal');
select is(tests.weights(public.list_waste_entries(q => '%')), '7', 'even alone');
select is(tests.weights(public.list_waste_entries(q => 'ตลาด')), '9', 'a part of the place');
select is(tests.walk(1, 'o'), '9', 'searched to the end');
select is(tests.weights(public.list_waste_entries(q => U&'\0E19\0E33\0E49')), '11', 'a tone typed after SARA AM');
select is(tests.weights(public.list_waste_entries(q => U&'\0E19\0E4D\0E49\0E32')), '11', 'SARA AM decomposed');
select is(tests.weights(public.list_waste_entries(q => U&'\0E02\200B\0E27\0E14\200B')), '11', 'zero-width characters are ignored');
select is(tests.weights(public.list_waste_entries(q => 'CAFÉ')), '13', 'composed finds decomposed');
select is(tests.weights(public.list_waste_entries(q => U&'cafe\0301')), '13', 'and decomposed itself');
select is(tests.weights(public.list_waste_entries(q => 'ขวดนำ')), '', 'another word is not found');
select is(json_array_length(public.list_waste_entries(q => U&'\200B') -> 'entries'), 20, 'a search of invisible characters is no filter');
select is(json_array_length(public.list_waste_entries(q => '') -> 'entries'), 20, 'an empty search is no filter');
select is(tests.token('own', 'select public.list_waste_entries(' || w.arguments || ')'), '22023 carbon.' || w.token, w.token) from (values
  ('page_size => 0', 'limit_invalid'), ('page_size => 101', 'limit_invalid'), ('page => 0', 'page_invalid'), ('cursor => ''x''', 'cursor_invalid'),
  ('page => 1, cursor => ''x''', 'page_and_cursor'), ('date_from => ''2024-02-01'', date_to => ''2024-01-01''', 'date_range_invalid'),
  ('q => repeat(''x'', 101)', 'query_invalid')) as w (arguments, token);
select tests.act_as('other') \g /dev/null
select is(tests.weights(public.list_waste_entries()), '1', 'another''s list is another');
-- Entries with equal times are ordered by id, so that pages never skip or repeat one.
insert into public.waste_entries (category_id, disposal_method, weight_kg, logged_at) select 'food_waste', 'composted', g, '2024-06-01' from generate_series(1, 9) as g;
select is((select count(distinct w)::integer from regexp_split_to_table(tests.walk(2), ' ') as w), 9, 'entries of the same moment are listed once each');

-- Sums -------------------------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
select is(public.waste_stats_daily('2024-06-10'),
  '{"date": "2024-06-10", "total_entries": 1, "total_weight_kg": 1, "total_credits": 40, "credits_positive": 40, "credits_negative": 0,
    "co2e_kg": 0.1, "co2e_avoided_kg": 0.7, "trees_equivalent": 0, "categories": {"metal_cans": {"entries": 1, "weight_kg": 1, "credits": 40}}}',
  'a day');
select is(public.waste_stats_monthly('2024-05') - '{co2e_kg,co2e_avoided_kg}'::text[],
  '{"month": "2024-05", "total_entries": 2, "total_weight_kg": 5, "total_credits": 164, "credits_positive": 164, "credits_negative": 0, "trees_equivalent": 0,
    "days": [{"date": "2024-05-01", "entries": 1, "weight_kg": 3, "credits": 120}, {"date": "2024-05-21", "entries": 1, "weight_kg": 2, "credits": 44}]}',
  'a month and its days');
select is(tests.token('own', 'select public.waste_stats_monthly(''2024-13'')'), '22023 carbon.month_invalid', 'an invalid month is refused');
select is(tests.token('own', 'select public.' || d.call), '22023 carbon.' || d.token, d.call) from (values
  ('waste_stats_daily(''0000-01-01'')', 'date_invalid'), ('waste_stats_daily(''2569-11-28'')', 'date_buddhist_era'),
  ('waste_stats_daily(''9999-12-31'')', 'date_in_future'), ('waste_stats_daily(''now'')', 'date_invalid'),
  ('waste_stats_monthly(''2569-01'')', 'date_buddhist_era'), ('waste_stats_by_category(date_from => ''0000-01-01'')', 'date_invalid'),
  ('waste_stats_by_category(date_to => ''05/11/2024'')', 'date_invalid'), ('list_waste_entries(date_from => ''0000-01-01'')', 'date_invalid'),
  ('list_waste_entries(date_to => ''2567-05-21'')', 'date_buddhist_era')) as d (call, token);
select is(public.waste_stats_by_category('2024-05-01', '2024-05-31') #> '{categories,0}',
  '{"category_id": "food_waste", "entries": 1, "weight_kg": 2, "credits": 44, "co2e_kg": 0.6652, "co2e_avoided_kg": 4.3948,
    "methods": {"composted": {"entries": 1, "weight_kg": 2, "credits": 44}}}', 'a category and its methods');
select is((select jsonb_agg(c -> 'entries') from jsonb_array_elements(public.waste_stats_by_category() -> 'categories') as c), '[30, 30]', 'without dates all entries count');
select is(tests.token('own', 'select public.waste_stats_by_category(''2024-05-02'', ''2024-05-01'')'), '22023 carbon.date_range_invalid', 'date_from must not be after date_to');
select tests.act_as_operator() \g /dev/null
select tests.all_right();
-- A later change of the zone moves no entry; new entries use it.
update public.user_preferences set time_zone = 'Pacific/Kiritimati' where user_id = tests.id('own');
select tests.act_as('own') \g /dev/null
select is(public.waste_stats_daily('2024-06-10') -> 'total_entries', '1', 'old entries stay on their day');
select is(public.create_waste_entry(json_build_object('entry', tests.entry(1, '{"logged_at": "2024-06-09T12:00:00Z"}'))) ->> 'local_date', '2024-06-10', 'new ones are counted by the new zone');
select tests.act_as_operator() \g /dev/null
select * from finish();
rollback;
