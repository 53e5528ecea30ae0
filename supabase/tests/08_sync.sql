-- Devices: every change in order of revision, deletions included, nothing missed.
begin;
\ir helpers.psql
select plan(21);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')) \g /dev/null
create function tests.short(changes jsonb) returns text language sql
as $$ select coalesce(string_agg(c ->> 'revision' || (c ->> 'op') || coalesce(c #>> '{entry,weight_kg}', ''), ' ' order by n), '')
      from jsonb_array_elements(changes -> 'changes') with ordinality as x (c, n) $$;
grant execute on function tests.short(jsonb) to public;
select tests.act_as('own') \g /dev/null
select is(public.sync_status(), '{"revision": 0, "entries": 0, "last_change_at": null, "devices": []}', 'a new diary is empty');
select is(public.register_device('phone', 'android', '1.0') -> 'user' -> 'is_new_user', 'true', 'the first device is a new user''s');
select is(public.register_device('tablet', 'ios', '1.0') -> 'user' -> 'is_new_user', 'false', 'the second is not');
select public.create_waste_entry(json_build_object('entry', tests.entry(1))) ->> 'id' as first, public.create_waste_entry(json_build_object('entry', tests.entry(2))) ->> 'id' as second,
       public.create_waste_entry(json_build_object('entry', tests.entry(3))) ->> 'id' as third \gset
select tests.update_entry(:'first', '{"weight_kg": 4}'), tests.update_entry(:'first', '{"weight_kg": 5}') \g /dev/null
select public.delete_waste_entry(:'second') \g /dev/null

select is(tests.short(public.sync_changes(0)), '3upsert3 5upsert5 6delete', 'each entry once, with its newest revision, in order');
select is(public.sync_changes(0) -> 'revision', '6', 'up to the newest');
select is(public.sync_changes(0) #>> '{changes,2,id}', :'second'::text, 'a deletion names its entry');
select is(public.sync_changes(0) #> '{changes,0,entry,revision}', '3', 'an entry has its revision');
select is(tests.short(public.sync_changes(0, 2)) || ' ' || (public.sync_changes(0, 2) ->> 'revision') || (public.sync_changes(0, 2) ->> 'has_more'),
  '3upsert3 5upsert5 5true', 'a full page states that there is more, and from where');
select is(tests.short(public.sync_changes(5, 2)) || (public.sync_changes(5, 2) ->> 'has_more'), '6deletefalse', 'the last page states that there is not');
select is(public.sync_changes(6), '{"changes": [], "revision": 6, "has_more": false}', 'without changes the answer is empty');
select is(tests.token('own', 'select public.sync_changes(7)'), 'PT409 carbon.revision_ahead', 'a device ahead of the server must be restored');
select is(tests.token('own', 'select public.sync_changes(-1)'), '22023 carbon.since_revision_invalid', 'revisions begin at 0');
select is(tests.token('own', 'select public.sync_changes(0, 501)'), '22023 carbon.limit_invalid', 'at most 500 a page');
select is(tests.short(public.sync_changes(0)), '', 'of another''s changes nothing shows') from tests.act_as('other');
select tests.act_as('own') \g /dev/null
select public.sync_changes(0, 2, 'phone'), public.sync_changes(0, 500, 'laptop') \g /dev/null
select is((select jsonb_object_agg(d ->> 'device_id', d -> 'revision_seen') from jsonb_array_elements(public.sync_status() -> 'devices') as d),
  '{"phone": 5, "tablet": 0, "laptop": 6}', 'a device''s revision is the newest that it was sent');
select public.sync_changes(0, 1, 'made up ' || g) from generate_series(1, 80) as g \g /dev/null
select is((select count(*)::integer from public.devices), 50, 'invented devices do not fill the table');

-- Changes through REST are in the feed, too.
insert into public.waste_entries (category_id, disposal_method, weight_kg) values ('food_waste', 'composted', 9);
update public.waste_entries set weight_kg = 10 where weight_kg in (9, 3);
delete from public.waste_entries where id = :'first';
select is(tests.short(public.sync_changes(6)), '8upsert10 9upsert10 10delete', 'changes by REST have revisions like all others');
select is((select t.revision::integer from public.user_totals as t), 10, 'without gaps');
update public.waste_entries set weight_kg = weight_kg where weight_kg > 0;
select is((select t.revision::integer from public.user_totals as t), 10, 'an update without changes has no revision');
select tests.act_as_operator() \g /dev/null
select is((select array_agg(distinct k.revision order by k.revision) from private.entry_keys as k where k.user_id = tests.id('own')),
  array[6, 8, 9, 10]::bigint[], 'tombstones are retained');
select tests.all_right();
select * from finish();
rollback;
