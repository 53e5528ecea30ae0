-- Hooks that Auth calls in the database.

create function private.reject_password(event jsonb)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  -- Users sign in by code or a verified identity; a password set with a stolen token would outlive that token.
  return jsonb_build_object(
    'decision', 'reject',
    'message', (select m.message_en from carbon.error_messages() as m where m.token = 'carbon.passwords_not_used'),
    'should_logout_user', false);
end;
$$;
comment on function private.reject_password(jsonb) is
  'Auth''s password verification hook (GOTRUE_HOOK_PASSWORD_VERIFICATION_ATTEMPT_URI = pg-functions://postgres/private/reject_password): rejects every password, because users have none.';

create function private.custom_access_token(event jsonb)
returns jsonb
language sql immutable
set search_path = ''
as $$
  -- Nothing reads user metadata from a token, and servers reject tokens that are too long.
  select jsonb_build_object('claims', (event -> 'claims') - 'user_metadata');
$$;
comment on function private.custom_access_token(jsonb) is
  'Auth''s custom access token hook (GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_URI = '
  'pg-functions://postgres/private/custom_access_token): returns the claims of a token unchanged, amr '
  'included, but without user_metadata. Adds none.';

-- User metadata -----------------------------------------------------------------------------------
create function private.tg_users__cap_user_metadata()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  if octet_length(new.raw_user_meta_data::text) > carbon.limit_of('user_metadata_bytes') then
    -- Auth returns PTnnn as that status and any other SQLSTATE as 500.
    perform private.raise_error('carbon.user_metadata_too_large', 'PT413');
  end if;
  return new;
end;
$$;
comment on function private.tg_users__cap_user_metadata() is
  'Limits raw_user_meta_data to 4 KiB, so that sessions can be created and returned regardless of what a client wrote: PT413 carbon.user_metadata_too_large. Does not affect other changes of a user.';
create trigger tg_users__cap_user_metadata before insert or update of raw_user_meta_data on auth.users
  for each row execute function private.tg_users__cap_user_metadata();

grant usage on schema private, carbon to supabase_auth_admin;
grant execute on function private.reject_password(jsonb), private.custom_access_token(jsonb) to supabase_auth_admin;
