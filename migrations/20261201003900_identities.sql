-- Identities: by which providers a user signs in.

create table private.identities (
  provider text not null,
  subject text not null,
  user_id uuid not null,
  created_at timestamptz not null default now(),
  last_sign_in_at timestamptz not null default now(),
  refresh_token text,
  primary key (provider, subject),
  constraint provider_is_line_facebook_google_or_apple check (provider in ('line', 'facebook', 'google', 'apple')),
  constraint subject_has_1_to_255_characters check (length(subject) between 1 and 255),
  constraint refresh_token_has_at_most_4096_characters check (length(refresh_token) <= 4096)
);
comment on table private.identities is
  'Who at a provider is which user, at most one identity per provider and user. Written before Auth has the user, hence no foreign key; deleted with the profile. Read and written by functions alone.';
comment on column private.identities.subject is 'The provider''s own name of the person: sub of an ID token, or Facebook''s user id.';
comment on column private.identities.refresh_token is
  'Apple''s, encrypted by the Worker: revoked when the identity is removed. Null for other providers, or when the client sent no authorization code.';
create unique index identities_one_per_provider on private.identities (user_id, provider);
alter table private.identities enable row level security;

-- Signing in and linking ------------------------------------------------------------------
create function private.claimed_account(p_user_id uuid)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  account record;
begin
  select u.id, u.email, u.email_confirmed_at is not null and not coalesce(u.is_anonymous, false) as is_confirmed into account
  from auth.users as u where u.id = p_user_id;
  return jsonb_build_object(
    'user_id', p_user_id,
    'exists', account.id is not null,
    'address', case when account.is_confirmed then account.email end,
    'has_name', exists (select from public.profiles as p where p.id = p_user_id and p.display_name is not null));
end;
$$;
comment on function private.claimed_account(uuid) is
  'What a sign-in must know of an account: {user_id, exists, address, has_name}. address is the confirmed one by which Auth opens a session; null while the user is missing, anonymous, or has a phone number alone.';

create function private.claim_identity(p_provider text, p_subject text, p_user_id uuid default null, p_is_link boolean default false,
                                       p_refresh_token text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  holder uuid;
  is_new boolean;
begin
  if p_user_id is not null then
    -- A removal of an identity, and the user's deletion, take the same lock.
    perform private.lock_user(p_user_id);
    if not exists (select from public.profiles as p where p.id = p_user_id and p.closed_until is null) then
      perform private.raise_error('carbon.unknown_user', '23503');
    end if;
  end if;
  insert into private.identities as i (provider, subject, user_id, refresh_token)
  values (p_provider, p_subject, coalesce(p_user_id, gen_random_uuid()), p_refresh_token)
  on conflict (provider, subject) do update
    set last_sign_in_at = now(), refresh_token = coalesce(excluded.refresh_token, i.refresh_token)
    where not p_is_link or i.user_id = p_user_id
  returning i.user_id, i.xmax = 0 into holder, is_new;
  if holder is null then
    perform private.raise_error('carbon.identity_taken', 'PT409');
  end if;
  if is_new and p_user_id is not null then
    perform private.audit('identity_linked', p_user_id, jsonb_build_object('provider', p_provider));
  end if;
  return private.claimed_account(holder);
exception
  when unique_violation then
    perform private.raise_error('carbon.provider_linked', 'PT409');
end;
$$;
grant execute on function private.claim_identity(text, text, uuid, boolean, text) to service_role;
select private.expose(
  'private.claim_identity(text, text, uuid, boolean, text)',
  'For the service role: whose an identity is that the Worker has verified. An unclaimed one becomes that of p_user_id, or of a new id; '
  'claims at the same time get one id. p_refresh_token (encrypted) is stored if given. Returns {user_id, exists, address, has_name}: whether '
  'Auth has the user, the confirmed address by which it opens a session, and whether the profile has a display name. Errors: with p_is_link '
  'PT409 carbon.identity_taken if another user has it; PT409 carbon.provider_linked if p_user_id has another identity of the provider; '
  '23503 carbon.unknown_user if p_user_id has no open profile.');

-- The user's own list ---------------------------------------------------------------------
create function private.identities_json(p_user_id uuid)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  return coalesce((
    select jsonb_agg(jsonb_build_object('provider', i.provider, 'created_at', i.created_at, 'last_sign_in_at', i.last_sign_in_at)
                     order by i.created_at, i.provider)
    from private.identities as i where i.user_id = p_user_id), '[]');
end;
$$;
comment on function private.identities_json(uuid) is
  'A user''s identities, the oldest first: provider, created_at, last_sign_in_at. Neither subjects nor tokens.';

create function private.list_identities()
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  caller_id uuid := private.caller_id();
  answer jsonb;
begin
  select jsonb_build_object('phone_number', p.phone_number, 'is_anonymous', p.is_anonymous,
                            'identities', private.identities_json(caller_id))
  into answer
  from public.profiles as p where p.id = caller_id;
  if answer is null then
    perform private.raise_error('carbon.unknown_user', '23503');
  end if;
  return answer;
end;
$$;
grant execute on function private.list_identities() to authenticated;
select private.expose(
  'private.list_identities()',
  'How the caller can sign in: {phone_number, is_anonymous, identities: [{provider, created_at, last_sign_in_at}]}, the oldest first. '
  'Errors: 23503 carbon.unknown_user.');

create function private.unlink_identity(p_user_id uuid, p_provider text, p_revoked text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  token text;
begin
  -- Of two removals at once the second one sees what the first one left.
  perform private.lock_user(p_user_id);
  select i.refresh_token into token from private.identities as i where i.user_id = p_user_id and i.provider = p_provider;
  if not found then
    perform private.raise_error('carbon.not_found', 'PT404');
  elsif not exists (select from private.identities as i where i.user_id = p_user_id and i.provider <> p_provider)
        and not exists (select from public.profiles as p where p.id = p_user_id and p.phone_number is not null) then
    perform private.raise_error('carbon.last_identity', 'PT409');
  elsif token is distinct from p_revoked and token is not null then
    return jsonb_build_object('unlinked', false, 'refresh_token', token);
  end if;
  delete from private.identities as i where i.user_id = p_user_id and i.provider = p_provider;
  perform private.audit('identity_unlinked', p_user_id, jsonb_build_object('provider', p_provider));
  return jsonb_build_object('unlinked', true, 'identities', private.identities_json(p_user_id));
end;
$$;
grant execute on function private.unlink_identity(uuid, text, text) to service_role;
select private.expose(
  'private.unlink_identity(uuid, text, text)',
  'For the service role: removes a user''s identity of a provider. One with a refresh token is not removed before the provider has revoked '
  'that: the answer is {unlinked: false, refresh_token}, and the same call with that token as p_revoked removes it. Returns {unlinked: true, '
  'identities}, what is left. Errors: PT404 carbon.not_found; PT409 carbon.last_identity if neither a phone number nor another identity is left.');

-- The end ---------------------------------------------------------------------------------
create function private.tg_users__forget_identities()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  delete from private.identities as i where i.user_id = new.id;
  return null;
end;
$$;
comment on function private.tg_users__forget_identities() is
  'Row trigger on auth.users: a soft-deleted user''s identities are free, as the number is.';
create trigger tg_users__forget_identities after update of deleted_at on auth.users
  for each row when (new.deleted_at is not null) execute function private.tg_users__forget_identities();

create function private.drop_unused_identities(max_rows integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  dropped integer;
begin
  delete from private.identities as i
  where i.ctid = any (array(
    select o.ctid from private.identities as o
    where o.last_sign_in_at < now() - interval '1 day' and not exists (select from auth.users as u where u.id = o.user_id)
    limit max_rows for update skip locked));
  get diagnostics dropped = row_count;
  return dropped;
end;
$$;
comment on function private.drop_unused_identities(integer) is
  'Deletes at most max_rows identities of sign-ins that were not completed within a day, so that no subject is stored without an account; returns how many.';

select cron.schedule('carbon_unused_identities', '40 20 * * *', $$select private.drop_unused_identities(100000)$$);
