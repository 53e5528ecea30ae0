-- What operators do through the Worker, and that it was done.

create function public.audit_operator(action text, details jsonb)
returns void
language sql security definer
set search_path = ''
as $$
  select private.audit('operator.' || audit_operator.action, null, audit_operator.details);
$$;
comment on function public.audit_operator(text, jsonb) is
  'Writes one line of the audit log for an operator''s command, before the Worker carries it out. For the service role alone.';
revoke execute on function public.audit_operator(text, jsonb) from public, anon, authenticated;
grant execute on function public.audit_operator(text, jsonb) to service_role;
