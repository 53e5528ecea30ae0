-- Why an entry is refused, on any interface: its time, how much the user has already written, an id that is already
-- taken, notes that are too long.

create function private.write_limit_violation(earliest timestamptz, latest timestamptz, in_statement bigint, in_window bigint,
                                      in_day bigint, in_all bigint)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    when latest > now() + interval '5 minutes' then 'carbon.logged_at_in_future'
    when earliest < now() - interval '7 years' then 'carbon.logged_at_too_old'
    when in_statement > carbon.limit_of('rows_per_statement') then 'carbon.rows_per_statement'
    when in_window > carbon.limit_of('rows_per_hour') then 'carbon.rows_per_hour'
    when in_day > carbon.limit_of('entries_per_day') then 'carbon.entries_per_day'
    when in_all > carbon.limit_of('entries_in_all') then 'carbon.entries_in_all' end;
end;
$$;
comment on function private.write_limit_violation(timestamptz, timestamptz, bigint, bigint, bigint, bigint) is
  'The token of the limit that entries violate, null if none: times more than 5 minutes in the future or 7 '
  'years in the past (carbon.logged_at_in_future, carbon.logged_at_too_old); per user on any interface more '
  'than 500 rows a statement or 5,060 an hour (carbon.rows_per_statement, carbon.rows_per_hour), imports '
  'aside; with imports more than 40,000 a day or 400,000 in all (carbon.entries_per_day, '
  'carbon.entries_in_all); null = not counted. Returns a token rather than raising, because PL/pgSQL can '
  'evaluate that without a separate query.';

create function private.raise_write_limit(token text)
returns void
language plpgsql stable
set search_path = ''
as $$
begin
  if token like 'carbon.logged_at%' then
    perform private.raise_error(token, '22023');
  end if;
  perform carbon.raise_limit(token, case token when 'carbon.rows_per_statement' then 1 when 'carbon.rows_per_hour' then 3600
                                     else 86400 end);
end;
$$;
comment on function private.raise_write_limit(text) is
  'Raises the token returned by private.write_limit_violation: 22023 for times, PT429 for row counts.';

create function private.raise_duplicate_offline_ids(offline_ids text[])
returns void
language plpgsql stable
set search_path = ''
as $$
declare
  texts record;
begin
  select m.message_en, m.message_th into texts
  from carbon.error_messages() as m
  where m.token = 'carbon.offline_id_known';
  raise exception using
    errcode = '23505',
    message = 'offline_id: ' || texts.message_en,
    detail = 'carbon.offline_id_known ' || to_json(offline_ids),
    hint = texts.message_th;
end;
$$;
comment on function private.raise_duplicate_offline_ids(text[]) is
  'Raises 23505 for a statement of several entries some of which are already stored: DETAIL is carbon.offline_id_known and the JSON list of their offline_ids.';

create function private.raise_duplicate_entry(offline_id text)
returns void
language plpgsql stable
set search_path = ''
as $$
begin
  if offline_id is null then
    raise unique_violation using message = 'An entry of this person has had this id already.';
  end if;
  perform private.raise_duplicate_offline_ids(array[offline_id]);
end;
$$;
comment on function private.raise_duplicate_entry(text) is
  'Raises 23505 for a single new entry whose key exists: carbon.offline_id_known with its offline_id, if it has one.';

create function private.tg_waste_entries__refuse_notes()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  perform private.raise_error('carbon.notes_too_long', '22023');
  return null;
end;
$$;
comment on function private.tg_waste_entries__refuse_notes() is
  'Row trigger: an imported entry may retain long notes, but clients cannot write new ones (22023 carbon.notes_too_long).';
create trigger tg_waste_entries__refuse_notes before update of notes on public.waste_entries
  for each row when (length(new.notes) > carbon.limit_of('notes_chars') and new.notes is distinct from old.notes)
  execute function private.tg_waste_entries__refuse_notes();
