-- What is looked at before a request is let in, whichever way it comes: whether its session goes on.

create function private.is_session_live()
returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
declare
  claims jsonb := auth.jwt();
  session text := nullif(claims ->> 'session_id', '');
begin
  -- The keys of the service and of the web page stand for nobody.
  if claims ->> 'sub' is null then
    return true;
  end if;
  -- Tokens of operators and tests name no session; the person counts for them too.
  return coalesce((
    select u.deleted_at is null and coalesce(u.banned_until <= now(), true)
           and (session is null or exists (
             select from auth.sessions as s
             where s.id = session::uuid and s.user_id = u.id and coalesce(s.not_after > now(), true)))
    from auth.users as u
    where u.id = (claims ->> 'sub')::uuid), session is null);
end;
$$;
comment on function private.is_session_live() is
  'Whether the caller''s token still opens anything: its session (claim session_id) exists and has not run out, and its person is neither deleted nor banned. A token without session_id is asked about its person alone; a caller without a person (anon, service_role) passes. Two rows by their keys.';
grant execute on function private.is_session_live() to anon, authenticated, service_role;
