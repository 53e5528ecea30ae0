-- The beginning and end of users: Auth's users, profiles, deletion.
begin;
\ir helpers.psql
select plan(55);
grant usage on schema tests, extensions to supabase_auth_admin;
grant all on tests.people to supabase_auth_admin;

-- As Auth itself writes.
set local role supabase_auth_admin;
insert into auth.users (id, aud, role, phone, is_anonymous, created_at, updated_at)
values (tests.id('own'), 'authenticated', 'authenticated', '66600000001', false, now(), now());
reset role;
select is((select count(*)::integer from public.profiles as p where p.id = tests.id('own')), 0, 'a number that is not verified yet has no profile');
select is(tests.token('own', format('select public.create_waste_entry(json_build_object(''entry'', %L::jsonb))', tests.entry())), '23503 carbon.unknown_user', 'and cannot log');
select is(tests.token('own', 'select public.get_profile()'), '23503 carbon.unknown_user', 'nor has a profile');
set local role supabase_auth_admin;
update auth.users set phone_confirmed_at = now() where id = tests.id('own');
reset role;
select is((select p.phone_number || ' ' || p.is_anonymous from public.profiles as p where p.id = tests.id('own')), '+66600000001 false', 'a verified number has a profile');
select is((select count(*)::integer from public.user_totals as t join public.user_preferences as c using (user_id) where t.user_id = tests.id('own')), 1, 'with totals and preferences');
set local role supabase_auth_admin;
update auth.users set phone = '66600000002' where id = tests.id('own');
insert into auth.users (id, aud, role, is_anonymous, created_at, updated_at)
values (tests.id('anonymous'), 'authenticated', 'authenticated', true, now(), now());
insert into auth.users (id, aud, role, email, email_confirmed_at, created_at, updated_at)
values (tests.id('other'), 'authenticated', 'authenticated', 'line-u1@users.invalid', now(), now(), now());
reset role;
select is((select p.phone_number from public.profiles as p where p.id = tests.id('own')), '+66600000002', 'the number follows Auth');
select is((select p.is_anonymous from public.profiles as p where p.id = tests.id('anonymous')), true, 'an anonymous user has a profile at once');
select is((select p.phone_number from public.profiles as p where p.id = tests.id('other')), null, 'so has an identity without a phone');
set local role supabase_auth_admin;
update auth.users set is_anonymous = false, phone = '66600000003', phone_confirmed_at = now() where id = tests.id('anonymous');
reset role;
select is((select p.phone_number || ' ' || p.is_anonymous from public.profiles as p where p.id = tests.id('anonymous')), '+66600000003 false', 'and may add a number later');

-- The profile ----------------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
select is(public.get_profile() - '{id,created_at,updated_at}'::text[],
  '{"is_anonymous": false, "phone_number": "+66600000002", "username": null, "display_name": null, "avatar_url": null, "province": null,
    "district": null, "privacy_level": 1, "visible_in_leaderboard": true, "language": "th", "time_zone": "Asia/Bangkok", "daily_goal": 100,
    "measurement_unit": "kg", "theme": "notebook", "auto_sync": true, "onboarding_completed": false,
    "notification_settings": {"daily_reminder": true, "achievement_unlocked": true, "level_up": true, "friend_activity": true,
                              "challenge_complete": true, "community_milestone": true}}'::jsonb, 'preferences that are not set have their defaults');
select is(tests.update_profile('{"username": "Som.Chai", "province": "TH-50", "language": "en", "daily_goal": 50, "notification_settings": {"level_up": false}}')
  -> 'notification_settings' -> 'level_up', 'false', 'changes are answered');
select is((select array_agg(c.theme || c.time_zone) from public.user_preferences as c), array[null::text], 'preferences that were not set stay unset');
select is(tests.update_profile('{"daily_goal": null, "province": null}') -> 'daily_goal', '100', 'null clears');
select is(tests.token('other', 'select tests.update_profile(''{"username": "som.chai"}'')'), '23505 carbon.username_taken', 'user names are unique, case-insensitively');
select is(tests.token('own', 'select tests.update_profile(''{"time_zone": "Mars/Base"}'')'), '22023 carbon.time_zone_invalid', 'time zones must exist');
select is(tests.token('own', 'select tests.update_profile(''{"time_zone": "XYZ+5"}'')'), '22023 carbon.time_zone_invalid', 'and have an IANA name');
select is(tests.token('own', 'select tests.update_profile(''{"province": "TH-99"}'')'), '22023 carbon.unknown_province', 'provinces must exist');
select is(tests.token('own', 'select tests.update_profile(''{"username": "Adm1n"}'')'), '22023 carbon.username_reserved', 'user names that could be taken for the service are refused');
select is(tests.token('own', 'select tests.update_profile(''{"display_name": "\u3164"}'')'), '22023 carbon.display_name_invalid', 'a name has visible characters');
select is(tests.update_profile('{"display_name": " สม\u200bชาย "}') ->> 'display_name', 'สมชาย', 'and is stored without invisible ones');
select is(tests.token('own', 'update public.profiles set display_name = U&''\202Ea'' where id is not null'), '22023 carbon.display_name_invalid', 'the column refuses what the rpc refuses');
select is(tests.outcome('own', 'update public.profiles set display_name = '' a '' where id is not null'), '23514', 'and takes only the normal form');
select is(tests.token('own', 'update public.user_preferences set daily_goal = 0 where user_id is not null'), '22023 carbon.daily_goal_invalid', 'preferences likewise');
select is((json '" e\u0301 "')::public.profile_display_name::text, '" e\u0301 "', 'SQL itself does not use PostgREST''s cast');
select is(private.profile_display_name('" e\u0301 "')::text, 'é', 'which returns the normal form');
select is(tests.token('own', 'select public.register_device(''d'', ''fridge'')'), '22023 carbon.platform_invalid', 'unknown platforms are refused');

-- Metadata that users write about themselves---------------------------------------------------------
select tests.act_as_operator() \g /dev/null
set local role supabase_auth_admin;
select is(private.custom_access_token('{"user_id": "u", "claims": {"sub": "u", "amr": [{"method": "otp"}], "user_metadata": {"a": 1}}}'),
  '{"claims": {"sub": "u", "amr": [{"method": "otp"}]}}', 'a token has every claim except what users write about themselves');
select is(private.custom_access_token('{"claims": {"sub": "u"}}'), '{"claims": {"sub": "u"}}', 'also if there is none');
-- A text of n characters has n + 9 bytes of JSON.
select lives_ok(format('update auth.users set raw_user_meta_data = %L where id = %L', jsonb_build_object('a', repeat('x', 4087)), tests.id('own')),
  '4 KiB are accepted');
select throws_ok(format('update auth.users set raw_user_meta_data = %L where id = %L', jsonb_build_object('a', repeat('x', 4088)), tests.id('own')),
  'PT413', null, 'and no more');
select throws_ok(format('insert into auth.users (id, is_anonymous, raw_user_meta_data) values (gen_random_uuid(), true, %L)', jsonb_build_object('a', repeat('ก', 1400))),
  'PT413', null, 'counted in bytes, and also when an account is created');
select lives_ok(format('update auth.users set last_sign_in_at = now() where id = %L', tests.id('own')), 'other writes of Auth are not checked');
reset role;
select is((select octet_length(u.raw_user_meta_data::text) from auth.users as u where u.id = tests.id('own')), 4096, 'a refusal leaves nothing behind');

-- The end --------------------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry(1, '{"offline_id": "o"}'))), public.register_device('d', 'ios', '1.0'),
       public.migrate_local(jsonb_build_object('waste_entries', jsonb_build_array(tests.entry(2, '{"logged_at": "2024-01-01T00:00:00Z"}')))::text) \g /dev/null
select tests.act_as_operator() \g /dev/null
set local role supabase_auth_admin;
select lives_ok(format('delete from auth.users where id = %L', tests.id('own')), 'Auth deletes a user without errors');
reset role;
select is((select count(*)::integer from public.waste_entries as e where e.user_id = tests.id('own'))
        + (select count(*)::integer from public.user_days as d where d.user_id = tests.id('own'))
        + (select count(*)::integer from private.entry_keys as k where k.user_id = tests.id('own'))
        + (select count(*)::integer from public.user_totals as t where t.user_id = tests.id('own'))
        + (select count(*)::integer from public.devices as d where d.user_id = tests.id('own'))
        + (select count(*)::integer from private.migration_payloads as m where m.user_id = tests.id('own')), 0, 'nothing of theirs is left');
select is((select count(*)::integer from private.audit_log as a where a.subject = tests.id('own') and a.action = 'profile_deleted'), 1, 'except the audit line');
select is(tests.token('own', format('select public.create_waste_entry(json_build_object(''entry'', %L::jsonb))', tests.entry())), '23503 carbon.unknown_user', 'a token that outlives its user cannot write');
select is(tests.outcome('own', 'insert into public.waste_entries (category_id, disposal_method, weight_kg) values (''food_waste'', ''composted'', 1)'),
  '23503', 'nor by REST');

-- Auth's soft delete, and bans ------------------------------------------------------------------
select tests.act_as_operator() \g /dev/null
select tests.sign_up('soft', 'a0000000-0000-4000-8000-00000000000a'), tests.sign_up('banned', 'a0000000-0000-4000-8000-00000000000b') \g /dev/null
update public.profiles set display_name = 'Probe Person', province = 'TH-58' where id in (tests.id('soft'), tests.id('banned'));
select tests.act_as('soft') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry())) \g /dev/null
select tests.act_as('banned') \g /dev/null
select public.create_waste_entry(json_build_object('entry', tests.entry())) \g /dev/null
select tests.act_as_operator() \g /dev/null
create function tests.listed(name text) returns boolean language sql
as $$ select coalesce((select b.is_listed from private.board_people as b where b.user_id = tests.id(listed.name)), false) $$;
create function tests.shown() returns text[] language sql
as $$ select array_agg(l ->> 'display_name') from json_array_elements(public.get_leaderboard() -> 'leaderboard') as l where l ->> 'user_id' in (tests.id('soft')::text, tests.id('banned')::text) $$;
select private.lock_boards(true) \g /dev/null
select private.merge_boards(100000) \g /dev/null
select is(tests.shown(), array['Probe Person', 'Probe Person'], 'both are on a board');
set local role supabase_auth_admin;
update auth.users set phone = 'b1a7a0f5e34bb77', deleted_at = now() where id = tests.id('soft');
update auth.users set banned_until = now() + interval '1 hour' where id = tests.id('banned');
reset role;
select is(tests.shown(), null, 'a soft-deleted or banned user is off every board at once');
select is((select private.merge_boards(10000) is not null and tests.shown() is null), true, 'nor when the boards have been merged');
select is(array[tests.listed('soft'), tests.listed('banned')], array[false, false], 'and is not listed');
select is((select p.phone_number from public.profiles as p where p.id = tests.id('soft')), null, 'Auth''s hash is not taken for a number');
select is(tests.token(p.name, s.statement), 'PT401 carbon.session_ended', p.name || ': ' || s.what)
from (values ('soft'), ('banned')) as p (name), (values
  ('create by rpc is refused', format('select public.create_waste_entry(json_build_object(''entry'', %L::jsonb))', tests.entry())),
  ('create by REST', 'insert into public.waste_entries (category_id, disposal_method, weight_kg) values (''food_waste'', ''composted'', 1)'),
  ('change by REST', 'update public.waste_entries set notes = ''x'' where weight_kg > 0'),
  ('change of the profile by REST', 'update public.profiles set display_name = ''x'' where id is not null')) as s (what, statement);
select tests.act_as_operator() \g /dev/null
update auth.users set banned_until = now() where id = tests.id('banned');
select is(tests.listed('banned'), true, 'a ban that Auth lifts ends at once');
update public.profiles set closed_until = now() where id = tests.id('banned');
select private.reopen_profiles(10) \g /dev/null
select is(array[tests.listed('soft'), tests.listed('banned')], array[false, true], 'and one that expires ends when the job runs');

-- Users who never verified a number----------------------------------------------------------------
select tests.act_as_operator() \g /dev/null
insert into auth.users (id, aud, role, phone, created_at)
values ('b0000000-0000-4000-8000-000000000001', 'authenticated', 'authenticated', '66600000011', now() - interval '25 hours'),
       ('b0000000-0000-4000-8000-000000000002', 'authenticated', 'authenticated', '66600000012', now() - interval '23 hours');
set local role postgres;
select private.drop_unconfirmed_users() \g /dev/null
reset role;
select is((select array_agg(u.phone::text) from auth.users as u where u.phone like '6660000001%'), array['66600000012'], 'users without a verified number are deleted after a day');
select is((select count(*)::integer from public.profiles where id in (tests.id('other'), tests.id('anonymous'))), 2, 'nobody else is deleted');
select * from finish();
rollback;
