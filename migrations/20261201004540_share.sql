-- Cards that users share with people outside: a title, a text and the end of a link, only of what they hold.

create function private.shared_names(p_user_id uuid, kind text, id text, out name_th text, out name_en text)
language plpgsql stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  held record;
begin
  case kind
    when 'achievement' then
      select a.name_th, a.name_en into name_th, name_en
      from public.achievements as a
      where a.id = shared_names.id and a.id = any (private.held_achievements(p_user_id));
    when 'milestone' then
      held := private.held_marks(p_user_id);
      select m.name_th, m.name_en into name_th, name_en
      from unnest(held.sources, held.source_ids) as h (source, source_id)
      cross join lateral carbon.mark_names(h.source, h.source_id) as m
      where h.source || '-' || h.source_id = shared_names.id
      union all
      select c.title_th, c.title_en
      from public.community_challenges as c
      where 'community-' || c.id = shared_names.id and (
        select max(l.sequence) % 2 = 1 from private.rewards as l
        where l.user_id = p_user_id and l.source = 'community' and l.source_id = c.id::text);
    when 'referral' then
      select c.code, c.code into name_th, name_en
      from private.referral_codes as c
      where c.user_id = p_user_id;
    else
      null;
  end case;
end;
$$;
comment on function private.shared_names(uuid, text, text) is
  'The names of what this user may share under a kind and an id; null if they do not hold it.';

create function private.get_share_card(kind text, id text default null)
returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  names record := private.shared_names(private.caller_id(), kind, id);
  answer jsonb;
begin
  select jsonb_build_object(
    'kind', kind, 'id', case when kind = 'referral' then names.name_en else id end, 'title_th', c.title_th, 'title_en', c.title_en,
    'text_th', c.text_th, 'text_en', c.text_en)
  into answer
  from carbon.share_card(kind, names.name_th, names.name_en) as c;
  if answer is null then
    perform private.raise_error('carbon.not_found', 'PT404');
  end if;
  return answer;
end;
$$;
grant execute on function private.get_share_card(text, text) to authenticated;
select private.expose(
  'private.get_share_card(text, text)',
  'A card to share, of what the caller holds: {kind, id, title_th, title_en, text_th, text_en}. kind achievement with the '
  'achievement''s id; kind milestone with level-N, tree-N, streak-N or community-ID (a challenge whose reward they hold); kind referral with the caller''s own code, without '
  'an id. Names nobody. Errors: PT404 carbon.not_found for anything that the caller does not hold.');
