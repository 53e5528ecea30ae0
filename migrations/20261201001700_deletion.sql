-- Deletion of a user: deletes rows without a foreign key together with the profile.

create function private.tg_profiles__delete_diary()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  perform private.erase_participations(old.id);
  -- Lock the state first: this waits for writers of the user's entries; after that the triggers find no state row and
  -- maintain no sums.
  delete from private.user_state as t where t.user_id = old.id;
  delete from public.waste_entries as e where e.user_id = old.id;
  delete from public.user_days as d where d.user_id = old.id;
  delete from private.entry_keys as k where k.user_id = old.id;
  delete from private.rewards as r where r.user_id = old.id;
  delete from public.activity_feed as a where a.user_id = old.id;
  -- The job ends the others: their anonymous users are still to be deleted.
  delete from private.merges as m where m.into_id = old.id and m.from_gone_at is not null;
  delete from private.identities as i where i.user_id = old.id;
  perform private.audit('profile_deleted', old.id);
  return old;
end;
$$;
comment on function private.tg_profiles__delete_diary() is
  'Row trigger before a profile is deleted (when Auth deletes its user): deletes everything of the user that has no foreign key.';
create trigger tg_profiles__delete_diary before delete on public.profiles
  for each row execute function private.tg_profiles__delete_diary();

create function private.tg_users__lock_person()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- Writers lock the state before they read the profile; a deletion uses the same order.
  perform from private.user_state as t where t.user_id = old.id for update;
  return old;
end;
$$;
comment on function private.tg_users__lock_person() is
  'Row trigger before Auth deletes a user: waits for writers of the user''s entries before the profile is locked.';
create trigger tg_users__lock_person before delete on auth.users
  for each row execute function private.tg_users__lock_person();
