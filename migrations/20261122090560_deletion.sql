-- Deletion of a person: what has no foreign key goes with the profile.

create function private.tg_profiles__delete_diary()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- The state first: this waits for whoever is writing this person's entries, and from here on the
  -- triggers see that there is nobody to keep sums for.
  delete from private.user_state as t where t.user_id = old.id;
  delete from public.waste_entries as e where e.user_id = old.id;
  delete from public.user_days as d where d.user_id = old.id;
  delete from private.entry_keys as k where k.user_id = old.id;
  delete from private.rewards as r where r.user_id = old.id;
  perform private.audit('profile_deleted', old.id);
  return old;
end;
$$;
comment on function private.tg_profiles__delete_diary() is
  'Row trigger before a profile goes (as Auth deletes its user): takes everything along that has no foreign key.';
create trigger tg_profiles__delete_diary before delete on public.profiles
  for each row execute function private.tg_profiles__delete_diary();

create function private.tg_users__lock_person()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- Writers hold the state first and then look at the profile; a deletion keeps that order.
  perform from private.user_state as t where t.user_id = old.id for update;
  return old;
end;
$$;
comment on function private.tg_users__lock_person() is
  'Row trigger before Auth deletes a user: waits for whoever is writing that person''s entries, before the profile is locked.';
create trigger tg_users__lock_person before delete on auth.users
  for each row execute function private.tg_users__lock_person();
