-- Hooks that Auth calls inside the database.

create function private.reject_password(event jsonb)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  -- People sign in by code or a proven identity; a password set by a stolen token would outlive it.
  return jsonb_build_object(
    'decision', 'reject',
    'message', (select m.message_en from carbon.error_messages() as m where m.token = 'carbon.passwords_not_used'),
    'should_logout_user', false);
end;
$$;
comment on function private.reject_password(jsonb) is
  'Auth''s password verification hook (GOTRUE_HOOK_PASSWORD_VERIFICATION_ATTEMPT_URI = pg-functions://postgres/private/reject_password): rejects every password, nobody here has one.';

create function private.custom_access_token(event jsonb)
returns jsonb
language sql immutable
set search_path = ''
as $$
  -- Nothing reads what people write about themselves out of a token, and a long token is one that no server takes.
  select jsonb_build_object('claims', (event -> 'claims') - 'user_metadata');
$$;
comment on function private.custom_access_token(jsonb) is
  'Auth''s custom access token hook (GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_URI = pg-functions://postgres/private/custom_access_token): the claims of a token as they are, amr included, without user_metadata. It adds none.';

-- What people write about themselves --------------------------------------------------------------
create function private.tg_users__cap_user_metadata()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  if octet_length(new.raw_user_meta_data::text) > carbon.limit_of('user_metadata_bytes') then
    -- Auth answers PTnnn as it stands and any other SQLSTATE as 500.
    perform private.raise_error('carbon.user_metadata_too_large', 'PT413');
  end if;
  return new;
end;
$$;
comment on function private.tg_users__cap_user_metadata() is
  'Keeps raw_user_meta_data at 4 KiB at most, so that sessions can be opened and answered whatever a client wrote: PT413 carbon.user_metadata_too_large. Other changes of a user go through.';
create trigger tg_users__cap_user_metadata before insert or update of raw_user_meta_data on auth.users
  for each row execute function private.tg_users__cap_user_metadata();

grant usage on schema private, carbon to supabase_auth_admin;
grant execute on function private.reject_password(jsonb), private.custom_access_token(jsonb) to supabase_auth_admin;
