-- Moderation: one function checks every text that other users see, for every interface (docs/decisions/0049).

create table private.moderation_words (
  word text primary key,
  is_blocked boolean not null,
  created_at timestamptz not null default now(),
  constraint word_is_listable check (carbon.is_listable_word(word) and length(word) <= 100)
);
comment on table private.moderation_words is
  'The operators'' words, added to the compiled lists (domain/data/moderation.json); docs/how-to/keep-the-word-list.md. Texts stored before are not checked again.';
comment on column private.moderation_words.word is
  'Letters of one script. A Latin word matches as a word, with an asterisk before or after it also within longer ones; a Thai word matches whole clusters anywhere.';
comment on column private.moderation_words.is_blocked is
  'true: texts with it are refused; false: nothing within it is refused.';
alter table private.moderation_words enable row level security;

create function private.check_shown_text(field text, value text)
returns void
language plpgsql stable security definer
set search_path = ''
as $$
declare
  blocked text[];
  allowed text[];
begin
  select coalesce(array_agg(w.word) filter (where w.is_blocked), '{}'), coalesce(array_agg(w.word) filter (where not w.is_blocked), '{}')
  into blocked, allowed
  from private.moderation_words as w;
  perform carbon.check_shown_text(field, value, blocked, allowed);
end;
$$;
comment on function private.check_shown_text(text, text) is
  'Checks a text that other users will see, by the compiled word lists and the operators'' own; every writer of such a text '
  'calls it. Does nothing for null. 22023 carbon.text_has_hidden_characters, carbon.text_not_allowed, named by the field.';

create function private.is_shown_text(value text)
returns boolean
language plpgsql stable security definer
set search_path = ''
as $$
begin
  perform private.check_shown_text('', value);
  return true;
exception
  when invalid_parameter_value then
    return false;
end;
$$;
comment on function private.is_shown_text(text) is
  'Whether private.check_shown_text lets a text pass, for writers that go on without it.';

create function private.tg_profiles__check_names()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- A name of before that is sent again is not checked again.
  if tg_op = 'INSERT' or new.username is distinct from old.username then
    perform private.check_shown_text('username', new.username);
  end if;
  if tg_op = 'INSERT' or new.display_name is distinct from old.display_name then
    perform private.check_shown_text('display_name', new.display_name);
  end if;
  return new;
end;
$$;
comment on function private.tg_profiles__check_names() is
  'Row trigger: a new user name or display name may be shown to others, whoever writes it.';
create trigger tg_profiles__check_new_names before insert on public.profiles
  for each row when (new.username is not null or new.display_name is not null)
  execute function private.tg_profiles__check_names();
create trigger tg_profiles__check_names before update of username, display_name on public.profiles
  for each row when ((old.username, old.display_name) is distinct from (new.username, new.display_name))
  execute function private.tg_profiles__check_names();

create function private.tg_community_challenges__check_texts()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
declare
  shown record;
begin
  for shown in
    select n.key, n.value
    from jsonb_each_text(to_jsonb(new)) as n
    where n.key in ('title_th', 'title_en', 'description_th', 'description_en')
      and (tg_op = 'INSERT' or n.value is distinct from to_jsonb(old) ->> n.key)
    order by n.key
  loop
    perform private.check_shown_text(shown.key, shown.value);
  end loop;
  return new;
end;
$$;
comment on function private.tg_community_challenges__check_texts() is
  'Row trigger: new titles and descriptions of a community challenge may be shown to others.';
create trigger tg_community_challenges__check_texts
  before insert or update of title_th, title_en, description_th, description_en on public.community_challenges
  for each row execute function private.tg_community_challenges__check_texts();

create function private.set_moderation_word(word text, state text, operator_name text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  is_changed boolean;
begin
  if not coalesce(carbon.is_listable_word(word) and length(word) <= 100, false) then
    perform private.raise_error('carbon.word_invalid', '22023');
  end if;
  if state = 'unlisted' then
    delete from private.moderation_words as w where w.word = set_moderation_word.word;
  elsif state in ('blocked', 'allowed') then
    insert into private.moderation_words as w (word, is_blocked)
    values (set_moderation_word.word, state = 'blocked')
    on conflict on constraint moderation_words_pkey do update set is_blocked = excluded.is_blocked
    where w.is_blocked <> excluded.is_blocked;
  else
    perform private.raise_error('carbon.word_state_invalid', '22023');
  end if;
  is_changed := found;
  perform private.audit('moderation_word', null, jsonb_strip_nulls(jsonb_build_object(
    'operator', operator_name, 'word', word, 'state', state, 'changed', is_changed)));
  return jsonb_build_object('word', word, 'state', state, 'changed', is_changed);
end;
$$;
grant execute on function private.set_moderation_word(text, text, text) to service_role;
select private.expose(
  'private.set_moderation_word(text, text, text)',
  'For the service role: puts a word on the operators'' list (state blocked or allowed) or takes it off (unlisted). Takes '
  'effect with the next write; texts stored before stay. Audited. Returns {word, state, changed}. Errors: 22023 '
  'carbon.word_invalid, carbon.word_state_invalid.');

create function private.moderation_word_list()
returns table (word text, state text, created_at timestamptz)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select w.word, case when w.is_blocked then 'blocked' else 'allowed' end, w.created_at
  from private.moderation_words as w
  order by w.word;
end;
$$;
grant execute on function private.moderation_word_list() to service_role;
select private.expose(
  'private.moderation_word_list()',
  'For the service role: the operators'' own words with their state, blocked or allowed.');

-- The second look -------------------------------------------------------------------------------
create table private.texts_to_review (
  user_id uuid not null references public.profiles (id) on delete cascade,
  field text not null,
  queued_at timestamptz not null default now(),
  primary key (user_id, field),
  constraint field_is_username_or_display_name check (field in ('username', 'display_name'))
);
comment on table private.texts_to_review is
  'Names that were stored on the local lists'' word alone, because the moderation service did not answer the Worker; an operator looks at them. The text itself is read from the profile.';
alter table private.texts_to_review enable row level security;

create function private.queue_text_review(p_user_id uuid, fields jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into private.texts_to_review (user_id, field)
  select p_user_id, f.field
  from jsonb_array_elements_text(case jsonb_typeof(fields) when 'array' then fields else '[]' end) as f (field)
  where f.field in ('username', 'display_name')
  on conflict (user_id, field) do update set queued_at = now();
end;
$$;
comment on function private.queue_text_review(uuid, jsonb) is
  'Queues names of this user for review by an operator: fields is a JSON list of username and display_name.';

create function private.list_texts_to_review(max_rows integer default 100)
returns table (user_id uuid, field text, value text, queued_at timestamptz)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select r.user_id, r.field, case r.field when 'username' then p.username::text else p.display_name::text end, r.queued_at
  from private.texts_to_review as r
  join public.profiles as p on p.id = r.user_id
  order by r.queued_at, r.user_id, r.field
  limit least(greatest(max_rows, 1), 1000);
end;
$$;
grant execute on function private.list_texts_to_review(integer) to service_role;
select private.expose(
  'private.list_texts_to_review(integer)',
  'For the service role: names that the moderation service has not seen, oldest first, at most max_rows (1 to 1,000).');

create function private.review_text(user_id uuid, field text, is_allowed boolean, operator_name text default null)
returns jsonb
language plpgsql security definer
set search_path = ''
as $$
declare
  p_user_id alias for user_id;
begin
  delete from private.texts_to_review as r where r.user_id = p_user_id and r.field = review_text.field;
  if not found then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  if not is_allowed then
    update public.profiles as p
    set username = case when review_text.field = 'username' then null else p.username end,
        display_name = case when review_text.field = 'display_name' then null else p.display_name end
    where p.id = p_user_id;
  end if;
  perform private.audit('text_reviewed', p_user_id, jsonb_strip_nulls(jsonb_build_object(
    'operator', operator_name, 'field', field, 'allowed', is_allowed)));
  return jsonb_build_object('user_id', p_user_id, 'field', field, 'allowed', is_allowed);
end;
$$;
grant execute on function private.review_text(uuid, text, boolean, text) to service_role;
select private.expose(
  'private.review_text(uuid, text, boolean, text)',
  'For the service role: takes a name off the list of texts to review, and clears it if it is not allowed. Audited. Returns {user_id, field, allowed}. Errors: PT404 carbon.not_found.');
