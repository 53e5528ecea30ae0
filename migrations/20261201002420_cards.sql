-- Cards: what a viewer sees of other people. Who sees what is in domain/src/visibility.rs; everything that shows one
-- person to another asks here or, for rows of boards, private.board_json.

create function private.cards(viewer uuid, user_ids uuid[], found_by text default 'listing')
returns table (user_id uuid, relation text, card jsonb)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
rows 20
as $$
begin
  return query
  select r.user_id, r.relation,
         carbon.card(r.relation, p.privacy_level::smallint, found_by, p.id, p.display_name, p.avatar_url, p.province, s.level,
                     s.credits + s.rewards, carbon.run_as_of(s.current_run, s.latest_day, carbon.local_date(now(), s.time_zone)))
  from private.relation(viewer, user_ids) as r
  join public.profiles as p on p.id = r.user_id
  join private.user_state as s on s.user_id = r.user_id
  where carbon.sight(r.relation, p.privacy_level::smallint, found_by) <> 'nothing'
    and (r.relation = 'self' or not p.is_anonymous and p.closed_until is null);
end;
$$;
comment on function private.cards(uuid, uuid[], text) is
  'Those of these users whom a viewer (null = a signed-out visitor) may see, found by listing, username, '
  'code or block (the viewer''s own): how they stand to one another, and the card {id, display_name, avatar_url, province, level, '
  'credits, daily_streak} with null for what the viewer may not see; card is null for somebody to be shown masked. No '
  'row for everybody else, as for a deleted account: blocked in either direction, closed, anonymous, or '
  'hidden by their privacy level.';
