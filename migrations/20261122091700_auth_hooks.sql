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
grant usage on schema private, carbon to supabase_auth_admin;
grant execute on function private.reject_password(jsonb) to supabase_auth_admin;
