-- Reading the feed: nothing is copied to anybody's own list when somebody achieves something; the newest items of one's
-- friends are merged when one looks (docs/decisions/0046).

create function private.feed_authors(viewer uuid, user_ids uuid[])
returns uuid[]
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return array(
    select r.user_id
    from private.relation(viewer, user_ids) as r
    join public.profiles as p on p.id = r.user_id
    -- Whose total one sees, one also sees what they do; the same rule as for cards.
    where r.relation in ('self', 'friend') and carbon.sight(r.relation, p.privacy_level::smallint, 'listing') = 'everything'
      and (r.relation = 'self' or not p.is_anonymous and p.closed_until is null));
end;
$$;
comment on function private.feed_authors(uuid, uuid[]) is
  'Those of these users whose items a viewer sees: the viewer, and friends who neither closed their account nor hide what they do, by their privacy_level of now.';

create function private.feed_page(viewer uuid, newest timestamptz, after_id uuid, max_rows integer)
returns public.activity_feed[]
language plpgsql stable
set search_path = ''
-- One plan, by the primary key, for one friend and for a thousand.
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  -- Whether they may be seen is decided for those few who did something, not for a thousand friends.
  user_ids uuid[] := array(select f.friend_id from private.friends as f where f.user_id = viewer) || viewer;
  max_found constant integer := 4 * max_rows;
  oldest timestamptz := private.feed_start();
  upper_bound timestamptz := newest;
  lower_bound timestamptz;
  span interval := interval '1 day';
  items public.activity_feed[];
  authors uuid[];
  seen_authors uuid[];
  page public.activity_feed[] := '{}';
begin
  -- The newest items of many friends lie close together: look at one day first, and further back only while the page is
  -- not full. Each step costs one search of the index for each friend and month, so it goes as far as what was found so
  -- far lets expect to fill the page, and sixteen times as far after nothing.
  while cardinality(page) < max_rows and upper_bound >= oldest loop
    lower_bound := greatest(newest - span, oldest);
    items := array(
      select a from public.activity_feed as a
      where a.user_id = any (user_ids) and a.created_at >= lower_bound and a.created_at <= upper_bound
        and (after_id is null or (a.created_at, a.id) < (upper_bound, after_id))
        and (a.visibility <> 'private' or a.user_id = viewer)
      order by a.created_at desc, a.id desc
      limit max_found);
    if cardinality(items) = max_found then
      -- There may be more of this window.
      upper_bound := items[max_found].created_at;
      after_id := items[max_found].id;
    else
      upper_bound := lower_bound - interval '1 microsecond';
      after_id := null;
    end if;
    if cardinality(items) > 0 then
      authors := array(select distinct i.user_id from unnest(items) as i);
      seen_authors := private.feed_authors(viewer, authors);
      if cardinality(seen_authors) < cardinality(authors) then
        items := array(select i from unnest(items) as i where i.user_id = any (seen_authors) order by i.created_at desc, i.id desc);
        user_ids := array(select u.user_id from unnest(user_ids) as u (user_id)
                          where u.user_id <> all (authors) or u.user_id = any (seen_authors));
      end if;
      page := page || items[1:max_rows - cardinality(page)];
    end if;
    if after_id is null then
      span := span * least(16, 2.0 * max_rows / greatest(cardinality(page), 1));
    end if;
  end loop;
  return page;
end;
$$;
comment on function private.feed_page(uuid, timestamptz, uuid, integer) is
  'The newest items at or before newest (with after_id: after that item) that a viewer sees, newest first.';

create function private.get_feed(page_size integer default null, cursor text default null)
returns jsonb
language plpgsql stable security definer
set search_path = ''
set enable_seqscan = off
as $$
declare
  caller_id uuid := private.caller_id();
  size integer := coalesce(page_size, 20);
  position_of_cursor text[];
  -- By the clock: an item may have begun after this transaction and be committed already.
  newest timestamptz := clock_timestamp();
  after_id uuid;
  page public.activity_feed[];
begin
  if size not between 1 and 50 then
    perform private.raise_error('carbon.limit_invalid', '22023');
  end if;
  if cursor is not null then
    begin
      position_of_cursor := string_to_array(convert_from(decode(translate(cursor, '-_', '+/'), 'base64'), 'UTF8'), ',');
      newest := position_of_cursor[1]::timestamptz;
      after_id := position_of_cursor[2]::uuid;
    exception when others then
      perform private.raise_error('carbon.cursor_invalid', '22023');
    end;
    if newest is null or after_id is null then
      perform private.raise_error('carbon.cursor_invalid', '22023');
    end if;
    newest := least(newest, clock_timestamp());
  end if;

  -- One more than the page shows, to detect a next page.
  page := private.feed_page(caller_id, newest, after_id, size + 1);
  return jsonb_build_object(
    'items', coalesce((
      select jsonb_agg(jsonb_build_object(
        'id', a.id, 'user', c.card, 'activity_type', a.activity_type, 'data', a.activity_data,
        'created_at', a.created_at, 'is_me', a.user_id = caller_id) order by a.created_at desc, a.id desc)
      from unnest(page[1:size]) as a
      join private.cards(caller_id, array(select distinct p.user_id from unnest(page[1:size]) as p)) as c on c.user_id = a.user_id), '[]'),
    'next_cursor', case when cardinality(page) > size then translate(encode(convert_to(
      (to_json(page[size].created_at) #>> '{}') || ',' || page[size].id, 'UTF8'), 'base64'), E'+/\n', '-_') end,
    'limit', size);
end;
$$;
grant execute on function private.get_feed(integer, text) to authenticated;
select private.expose(
  'private.get_feed(integer, text)',
  'What the caller and their friends have achieved, newest first, for the present month and the three before it: {items: '
  '[{id, user: card, activity_type, data, created_at, is_me}], next_cursor, limit}. activity_type and data: '
  'achievement_unlocked {achievement_id}, level_up {level}, tree_saved {trees}, streak {days}, community_completed '
  '{challenge_id}. Who is seen is decided now: no friends of before, nobody blocked in either direction or at '
  'privacy_level 3, and nothing achieved while it was 3 but the caller''s own. page_size is 1 to 50, default 20. Errors: 22023 '
  'carbon.limit_invalid, carbon.cursor_invalid.');
