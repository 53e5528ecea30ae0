-- Moderation: names that others see, through every interface of the database, and the operators' lists.
begin;
\ir helpers.psql
select plan(29);
select tests.act_as_operator() \g /dev/null
select tests.sign_up('mod', 'c0000000-0000-4000-8000-000000000001') \g /dev/null

select is(tests.token('mod', 'select tests.update_profile(''{"display_name": "เหี้ย"}'')'), '22023 carbon.text_not_allowed', 'the rpc refuses a listed word in a display name');
select is(tests.token('mod', 'select tests.update_profile(''{"username": "big_bitch"}'')'), '22023 carbon.text_not_allowed', 'and in a user name');
select is(tests.token('mod', 'update public.profiles set display_name = ''ควย'' where id = auth.uid()'), '22023 carbon.text_not_allowed', 'a direct write is refused with the same error');
select is(tests.token('mod', 'update public.profiles set username = ''fuck.you'' where id = auth.uid()'), '22023 carbon.text_not_allowed', 'for the user name, too');
select throws_ok('insert into public.profiles (id, display_name) values (''c0000000-0000-4000-8000-000000000009'', ''shit'')', '22023', null, 'a new profile is checked');
select is(tests.token('mod', 'select private.write_preferences(auth.uid(), ''{"display_name": "shit"}'')'), '42501 ', 'clients cannot call the import''s writer');
select throws_ok($$select private.write_preferences('c0000000-0000-4000-8000-000000000001', '{"display_name": "shit"}')$$, '22023', null, 'and an import''s preferences are checked');
select tests.act_as('mod') \g /dev/null
select is(tests.update_profile('{"display_name": "ผู้เชี่ยวชาญจาก Nigeria"}') ->> 'display_name', 'ผู้เชี่ยวชาญจาก Nigeria', 'words that only contain a listed one are stored');

-- Names of before -------------------------------------------------------------------------------
select tests.act_as_operator() \g /dev/null
set local session_replication_role = replica;
update public.profiles set display_name = 'shit', username = 'old_shit' where id = tests.id('mod');
set local session_replication_role = origin;
select tests.act_as('mod') \g /dev/null
select is(tests.update_profile('{"province": "TH-10"}') ->> 'display_name', 'shit', 'a name of before the list does not block other changes');
select is(tests.update_profile('{"display_name": "shit", "username": "old_shit", "daily_goal": 7}') ->> 'daily_goal', '7', 'also when it is sent back with them');
select is(tests.token('mod', 'select tests.update_profile(''{"display_name": "shit!"}'')'), '22023 carbon.text_not_allowed', 'but a new one is checked');
select tests.act_as('mod') \g /dev/null
select is(tests.update_profile('{"display_name": null, "username": null}') ->> 'display_name', null, 'and it can be cleared');

-- The operators' words --------------------------------------------------------------------------
select tests.act_as('service') \g /dev/null
select is(public.set_moderation_word('durian*', 'blocked', 'nok') ->> 'changed', 'true', 'an operator blocks a word');
select is(public.set_moderation_word('durian*', 'blocked') ->> 'changed', 'false', 'once');
select is(public.set_moderation_word('หี', 'allowed') ->> 'changed', 'true', 'or allows one');
select is((select string_agg(w.word || ' ' || w.state, ', ') from public.moderation_word_list() as w), 'durian* blocked, หี allowed', 'and lists them');
select is(tests.token('service', 'select public.set_moderation_word(''two words'', ''blocked'')'), '22023 carbon.word_invalid', 'a word is one word');
select is(tests.token('service', 'select public.set_moderation_word(''word'', ''maybe'')'), '22023 carbon.word_state_invalid', 'blocked or allowed');
select is(tests.token('mod', 'select tests.update_profile(''{"display_name": "Durianlover"}'')'), '22023 carbon.text_not_allowed', 'the next write is checked by them');
select tests.act_as('mod') \g /dev/null
select is(tests.update_profile('{"display_name": "หี"}') ->> 'display_name', 'หี', 'in both directions');
select tests.act_as('service') \g /dev/null
select is(public.set_moderation_word('หี', 'unlisted') ->> 'changed', 'true', 'a word is taken off the list');
select tests.act_as_operator() \g /dev/null
select is((select count(*)::integer from private.audit_log as a where a.action = 'moderation_word' and a.details ->> 'operator' = 'nok'), 1, 'commands are audited');

-- Community challenges --------------------------------------------------------------------------
create function tests.makes(title text) returns text language sql
as $$ select tests.token('service', format('select public.make_community_challenge(%L)', jsonb_build_object(
  'title_th', 'สัปดาห์ปุ๋ยหมัก', 'title_en', title, 'description_th', 'ก', 'description_en', 'a', 'challenge_type', 'national',
  'criteria', '{"metric": "weight_kg"}'::jsonb, 'target_value', 1000, 'start_date', current_date + 10, 'end_date', current_date + 16,
  'credits_reward', 5, 'operator_name', 'nok'))) $$;
select is(tests.makes('A shit week'), '22023 carbon.text_not_allowed', 'a title of a community challenge is checked');
select is(tests.makes(U&'A\200Bweek'), '22023 carbon.text_has_hidden_characters', 'also for hidden characters');
select is(tests.makes('A week for compost'), 'not refused', 'others are made');

-- The second look -------------------------------------------------------------------------------
select tests.act_as('mod') \g /dev/null
select public.update_profile('{"changes": {"display_name": "ใจดี"}, "unreviewed": ["display_name", "phone_number", 7]}') \g /dev/null
select tests.act_as('service') \g /dev/null
select is((select string_agg(t.field || ' ' || t.value, ', ') from public.list_texts_to_review() as t where t.user_id = tests.id('mod')), 'display_name ใจดี', 'a name that the service has not seen is listed, as it is now');
select is(public.review_text(tests.id('mod'), 'display_name', false, 'nok') ->> 'allowed', 'false', 'an operator refuses it');
select tests.act_as('mod') \g /dev/null
select is(public.get_profile() ->> 'display_name', null, 'which clears it');
select is(tests.token('service', format('select public.review_text(%L, ''display_name'', true)', tests.id('mod'))), 'PT404 carbon.not_found', 'once');
select finish();
rollback;
