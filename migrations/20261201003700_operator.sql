-- Audit of operators' commands that go through the Worker.

create function private.audit_operator(action text, details jsonb)
returns void
language plpgsql security definer
set search_path = ''
as $$
begin
  perform private.audit('operator.' || audit_operator.action, null, audit_operator.details);
end;
$$;
grant execute on function private.audit_operator(text, jsonb) to service_role;
select private.expose(
  'private.audit_operator(text, jsonb)',
  'Appends a row to the audit log for an operator''s command, before the Worker runs it. For the service role alone.');

revoke execute on function private.audit_operator(text, jsonb), public.audit_operator(text, jsonb) from public, anon, authenticated;
