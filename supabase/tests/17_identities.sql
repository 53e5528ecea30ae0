-- Identities of providers: whose they are, and their end.
begin;
\ir helpers.psql
select plan(36);
select tests.sign_up('own', tests.id('own')), tests.sign_up('other', tests.id('other')), tests.sign_up('anonymous', tests.id('anonymous'), true) \g /dev/null

-- Signing in -----------------------------------------------------------------------------------
select private.claim_identity('google', 'g1') ->> 'user_id' as new_id \gset
select is(private.claim_identity('google', 'g1') ->> 'user_id', :'new_id', 'a subject has one id from its first claim on');
select isnt(private.claim_identity('line', 'g1') ->> 'user_id', :'new_id', 'the same subject of another provider is somebody else');
select is(private.claim_identity('google', 'g1') - 'user_id', '{"exists": false, "address": null, "has_name": false}', 'Auth has no such user yet');
select is((select count(*)::integer from public.profiles as p where p.id = :'new_id'), 0, 'and there is no profile');
set local role supabase_auth_admin;
insert into auth.users (id, aud, role, email, is_anonymous, created_at, updated_at)
values (:'new_id', 'authenticated', 'authenticated', 'x@id.invalid', false, now(), now());
reset role;
select is(private.claim_identity('google', 'g1') ->> 'address', null, 'an unconfirmed address opens no session');
select is(private.claim_identity('google', 'g1') ->> 'exists', 'true', 'although Auth has the user');
set local role supabase_auth_admin;
update auth.users set email_confirmed_at = now() where id = :'new_id';
reset role;
select is(private.claim_identity('google', 'g1') ->> 'address', 'x@id.invalid', 'a confirmed one does');
select is((select p.is_anonymous from public.profiles as p where p.id = :'new_id'), false, 'and the account has a profile');
update public.profiles set display_name = 'Som' where id = :'new_id';
select is(private.claim_identity('google', 'g1') ->> 'has_name', 'true', 'a name that is there is known');
select throws_ok('select private.claim_identity(''twitter'', ''x'')', '23514', null, 'there are four providers');
select throws_ok('select private.claim_identity(''google'', '''')', '23514', null, 'a subject has at least one character');
select throws_ok(format('select private.claim_identity(''google'', %L)', repeat('x', 256)), '23514', null, 'and at most 255');

-- Linking --------------------------------------------------------------------------------------
select is(private.claim_identity('google', 'g2', tests.id('own'), true) ->> 'user_id', tests.id('own')::text, 'an unclaimed identity becomes the caller''s');
select is(private.claim_identity('google', 'g2', tests.id('own'), true) ->> 'address', null, 'a user with a number alone has no address');
select is((select count(*)::integer from private.audit_log as a where a.subject = tests.id('own') and a.action = 'identity_linked'), 1, 'linking is audited, once');
select is(tests.token('service', format('select private.claim_identity(''google'', ''g1'', %L, true)', tests.id('other'))), 'PT409 carbon.identity_taken', 'an identity is taken from nobody');
select is(tests.token('service', format('select private.claim_identity(''google'', ''g3'', %L, true)', tests.id('own'))), 'PT409 carbon.provider_linked', 'an account has one of each provider');
select is(private.claim_identity('google', 'g1', tests.id('other')) ->> 'user_id', :'new_id', 'without a link the holder is answered');
select is(private.claim_identity('line', 'l2', tests.id('anonymous')) ->> 'user_id', tests.id('anonymous')::text, 'an anonymous user''s first identity is theirs');
select is(tests.token('service', format('select private.claim_identity(''line'', ''l3'', %L, true)', gen_random_uuid())), '23503 carbon.unknown_user', 'nobody links to an account that does not exist');
update public.profiles set closed_until = 'infinity' where id = tests.id('other');
select is(tests.token('service', format('select private.claim_identity(''line'', ''l3'', %L, true)', tests.id('other'))), '23503 carbon.unknown_user', 'nor to a closed one');
update public.profiles set closed_until = null where id = tests.id('other');

-- The list -------------------------------------------------------------------------------------
select tests.act_as('own') \g /dev/null
select is(public.list_identities() -> 'identities' -> 0 ->> 'provider', 'google', 'users see their own');
select ok(public.list_identities()::text not like '%g2%', 'without the subject');
select tests.act_as_operator() \g /dev/null

-- Unlinking ------------------------------------------------------------------------------------
select is(private.unlink_identity(tests.id('own'), 'google') , '{"unlinked": true, "identities": []}', 'who has a number may remove the only identity');
select is(tests.token('service', format('select private.unlink_identity(%L, ''google'')', tests.id('own'))), 'PT404 carbon.not_found', 'once');
select is(tests.token('service', format('select private.unlink_identity(%L, ''google'')', :'new_id')), 'PT409 carbon.last_identity', 'the last way in stays');
select private.claim_identity('apple', 'a1', :'new_id', true, 'sealed') \g /dev/null
select private.claim_identity('apple', 'a1') \g /dev/null
select is(private.unlink_identity(:'new_id', 'apple'), '{"unlinked": false, "refresh_token": "sealed"}', 'a refresh token is revoked first; a sign-in without one leaves it');
select is(private.unlink_identity(:'new_id', 'apple', 'another') ->> 'unlinked', 'false', 'that one and no other');
select is(private.unlink_identity(:'new_id', 'apple', 'sealed') -> 'identities' -> 0 ->> 'provider', 'google', 'then the identity goes, and the other one stays');
select is((select array_agg(a.details ->> 'provider' order by a.id) from private.audit_log as a where a.action = 'identity_unlinked' and a.subject in (tests.id('own'), :'new_id')),
  array['google', 'apple'], 'both are audited');

-- The end --------------------------------------------------------------------------------------
set local role supabase_auth_admin;
update auth.users set deleted_at = now() where id = :'new_id';
delete from auth.users where id = tests.id('anonymous');
reset role;
select is((select count(*)::integer from private.identities as i where i.user_id in (:'new_id', tests.id('anonymous'))), 0, 'deletion frees the identities, also a soft one');
select isnt(private.claim_identity('google', 'g1') ->> 'user_id', :'new_id', 'so that the person starts over');
select private.claim_identity('facebook', 'f1'), private.claim_identity('facebook', 'f2') \g /dev/null
update private.identities set last_sign_in_at = now() - interval '25 hours' where subject = 'f1';
select cmp_ok(private.drop_unused_identities(1000), '>=', 1, 'a sign-in that was never completed is forgotten after a day');
select is((select array_agg(i.subject) from private.identities as i where i.provider = 'facebook' and i.subject in ('f1', 'f2')), array['f2'], 'and no earlier');
select private.claim_identity('facebook', 'f3', tests.id('own'), true) \g /dev/null
update private.identities set last_sign_in_at = now() - interval '1 year' where subject = 'f3';
select private.drop_unused_identities(1000) \g /dev/null
select is((select count(*)::integer from private.identities as i where i.subject = 'f3'), 1, 'one that belongs to somebody stays');
select is(private.drop_unused_identities(0), 0, 'at most so many at a time');
select * from finish();
rollback;
