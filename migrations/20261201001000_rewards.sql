-- Achievements and challenges as data that operators edit, and the ledger of rewards.

-- Achievements ------------------------------------------------------------------------------
create table public.achievements (
  id text primary key,
  name_th text not null,
  name_en text not null,
  description_th text not null,
  description_en text not null,
  icon text not null,
  credits_reward integer not null,
  criteria jsonb not null,
  active boolean not null default true,
  created_at timestamptz not null default now(),
  rule text not null generated always as (carbon.achievement_rule(criteria)) stored,
  constraint id_is_a_short_name check (id ~ '^[a-z0-9_]{1,50}$'),
  constraint names_have_1_to_200_characters check (length(name_th) between 1 and 200 and length(name_en) between 1 and 200),
  constraint credits_reward_is_between_0_and_100000 check (credits_reward between 0 and 100000)
);
comment on table public.achievements is
  'Goals that a user can reach once. Operators add rows as described in docs/gamification.md. Rows are never deleted, because the ledger refers to them.';
comment on column public.achievements.criteria is
  '{metric, at_least} and filters; checked on write (22023 names the invalid member).';
comment on column public.achievements.active is 'false: no longer granted or revoked.';
comment on column public.achievements.rule is 'The criteria in the compact form that is evaluated.';
alter table public.achievements enable row level security;
create policy "everybody reads the achievements" on public.achievements
  for select to anon, authenticated using (true);
grant select on public.achievements to anon, authenticated;
grant select, insert, update on public.achievements to service_role;

create table private.achievement_rules (
  version bigint not null,
  catalogue_version bigint not null,
  rules text[] not null
);
comment on table private.achievement_rules is
  'A single row with all rules to evaluate. A user who was evaluated by an older version is evaluated again at their next write.';
comment on column private.achievement_rules.version is 'Incremented when achievements change.';
comment on column private.achievement_rules.catalogue_version is
  'Incremented when achievements or challenges change; sessions cache the catalogue under this number.';
comment on column private.achievement_rules.rules is 'Id and rule of every active achievement.';
alter table private.achievement_rules enable row level security;
insert into private.achievement_rules (version, catalogue_version, rules) values (1, 1, '{}');

create function private.tg_achievements__new_rules()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- A separate statement, so that the next one's snapshot includes the changes of the previous lock holder.
  perform from private.achievement_rules for update;
  update private.achievement_rules as r
  set version = r.version + 1, catalogue_version = r.catalogue_version + 1,
      rules = array(select a.id || ' ' || a.rule from public.achievements as a where a.active order by a.id);
  return null;
end;
$$;
comment on function private.tg_achievements__new_rules() is
  'Statement trigger: achievements changed, so every user is evaluated again at their next write.';
create trigger tg_achievements__new_rules after insert or update on public.achievements
  for each statement execute function private.tg_achievements__new_rules();

-- Challenges --------------------------------------------------------------------------------
create table public.challenge_types (
  id text primary key,
  title_th text not null,
  title_en text not null,
  description_th text not null,
  description_en text not null,
  icon text not null,
  credits_reward integer not null,
  criteria jsonb not null,
  starts_on date not null default carbon.local_date(now(), carbon.default_time_zone()),
  ends_on date not null default 'infinity',
  rule text not null generated always as (carbon.challenge_rule(criteria)) stored,
  constraint id_is_a_short_name check (id ~ '^[a-z0-9_]{1,50}$'),
  constraint titles_have_1_to_200_characters check (length(title_th) between 1 and 200 and length(title_en) between 1 and 200),
  constraint credits_reward_is_between_0_and_100000 check (credits_reward between 0 and 100000)
);
comment on table public.challenge_types is
  'The challenges of every day from starts_on to ends_on. Operators add and change rows; a change takes effect from the day after tomorrow.';
comment on column public.challenge_types.criteria is
  '{metric: entries_today, at_least} and filters; checked on write (22023 names the invalid member).';
comment on column public.challenge_types.rule is 'The criteria in the compact form that is evaluated.';
alter table public.challenge_types enable row level security;
create policy "everybody reads the types of challenges" on public.challenge_types
  for select to anon, authenticated using (true);
grant select on public.challenge_types to anon, authenticated;
grant select, insert, update on public.challenge_types to service_role;

create table public.daily_challenges (
  id uuid primary key generated always as (carbon.challenge_id(date, challenge_type)) stored,
  date date not null,
  challenge_type text not null,
  title_th text not null,
  title_en text not null,
  description_th text not null,
  description_en text not null,
  icon text not null,
  target_value integer not null generated always as (carbon.rule_target(carbon.challenge_rule(criteria))) stored,
  credits_reward integer not null,
  criteria jsonb not null,
  active boolean not null default true,
  rule text not null generated always as (carbon.challenge_rule(criteria)) stored,
  constraint daily_challenges_are_one_a_day_and_type unique (date, challenge_type),
  constraint credits_reward_is_between_0_and_100000 check (credits_reward between 0 and 100000)
);
comment on table public.daily_challenges is
  'The challenges of each day, created ahead from challenge_types; operators may add one for a single day. If a day has no row for a type, readers compute it from the type.';
comment on column public.daily_challenges.target_value is 'Number of entries that the criteria require.';
comment on column public.daily_challenges.active is 'false: not shown, and neither granted nor revoked.';
comment on column public.daily_challenges.rule is 'The criteria in the compact form that is evaluated.';
alter table public.daily_challenges enable row level security;
create policy "everybody reads the challenges" on public.daily_challenges
  for select to anon, authenticated using (true);
grant select on public.daily_challenges to anon, authenticated;
grant select, insert, update on public.daily_challenges to service_role;

create function private.tg_any__new_challenges()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  update private.achievement_rules as r set catalogue_version = r.catalogue_version + 1;
  return null;
end;
$$;
comment on function private.tg_any__new_challenges() is
  'Statement trigger: challenges changed, so sessions reload the catalogue.';
create trigger tg_challenge_types__new_challenges after insert or update or delete on public.challenge_types
  for each statement execute function private.tg_any__new_challenges();
create trigger tg_daily_challenges__new_challenges after insert or update or delete on public.daily_challenges
  for each statement execute function private.tg_any__new_challenges();

create function private.challenges_on(day date)
returns table (id uuid, challenge_type text, title_th text, title_en text, description_th text, description_en text,
               icon text, credits_reward integer, criteria jsonb, rule text, active boolean)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select c.id, c.challenge_type, c.title_th, c.title_en, c.description_th, c.description_en, c.icon,
         c.credits_reward, c.criteria, c.rule, c.active
  from public.daily_challenges as c
  where c.date = day
  union all
  select carbon.challenge_id(day, t.id), t.id, t.title_th, t.title_en, t.description_th, t.description_en, t.icon,
         t.credits_reward, t.criteria, t.rule, true
  from public.challenge_types as t
  where day between t.starts_on and t.ends_on
    and not exists (select from public.daily_challenges as c where c.date = day and c.challenge_type = t.id);
end;
$$;
comment on function private.challenges_on(date) is
  'The challenges of a day: its rows, and challenges computed from the types where a row is missing. Read-only.';
grant execute on function private.challenges_on(date) to anon, authenticated, service_role;

create function private.make_challenges(days_ahead integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  made integer;
begin
  insert into public.daily_challenges
    (date, challenge_type, title_th, title_en, description_th, description_en, icon, credits_reward, criteria)
  select d.day, t.id, t.title_th, t.title_en, t.description_th, t.description_en, t.icon, t.credits_reward, t.criteria
  from public.challenge_types as t
  cross join lateral (
    select carbon.local_date(now(), carbon.default_time_zone()) + n as day from generate_series(0, days_ahead) as n) as d
  where d.day between t.starts_on and t.ends_on
  on conflict (date, challenge_type) do nothing;
  get diagnostics made = row_count;
  return made;
end;
$$;
comment on function private.make_challenges(integer) is
  'Creates missing rows from today (Bangkok) to the given number of days ahead; returns how many. Can be run at any time.';

create function private.tg_challenge_types__make_days_ahead()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  -- The day after tomorrow has not begun in any time zone, so no entry can have that date; challenges of a day that
  -- has begun do not change.
  delete from public.daily_challenges as c
  where c.challenge_type = new.id and c.date > carbon.local_date(now(), carbon.default_time_zone()) + 1;
  perform private.make_challenges(14);
  return null;
end;
$$;
comment on function private.tg_challenge_types__make_days_ahead() is
  'Row trigger: creates the rows of a new type and, when a type changes, recreates its rows from the day after tomorrow on.';
create trigger tg_challenge_types__make_days_ahead after insert or update on public.challenge_types
  for each row execute function private.tg_challenge_types__make_days_ahead();

do $$
begin
  insert into public.achievements (id, name_th, name_en, description_th, description_en, icon, credits_reward, criteria)
  select a.id, a.name_th, a.name_en, a.description_th, a.description_en, a.icon, a.credits_reward, a.criteria
  from carbon.seed_goals() as a
  where a.kind = 'achievement';
  insert into public.challenge_types
    (id, title_th, title_en, description_th, description_en, icon, credits_reward, criteria, starts_on)
  select c.id, c.name_th, c.name_en, c.description_th, c.description_en, c.icon, c.credits_reward, c.criteria, '-infinity'
  from carbon.seed_goals() as c
  where c.kind = 'challenge';
  perform private.make_challenges(14);
end;
$$;

-- The ledger --------------------------------------------------------------------------------
create function private.visibility_now(p_user_id uuid, source text)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  if source not in ('achievement', 'community', 'level', 'streak', 'tree') then
    -- Four challenges a day would bury everything else; a referral is nobody else's business.
    return null;
  end if;
  return (select (array['public', 'friends', 'private'])[p.privacy_level] from public.profiles as p where p.id = p_user_id);
end;
$$;
comment on function private.visibility_now(uuid, text) is
  'Who may see a feed item of this user by their present privacy_level: public (1), friends (2), private (3); null for sources of the ledger that have no feed items.';

create table private.rewards (
  user_id uuid not null,
  number bigint not null,
  source text not null,
  source_id text not null,
  sequence integer not null,
  credits integer not null,
  entry_id uuid,
  local_date date,
  created_at timestamptz not null default now(),
  -- Functions that set it: imports, repairs, evaluations by new rules.
  quiet boolean not null default (current_setting('carbon.rewards_are_quiet', true) is not distinct from 'on'),
  visibility text,
  primary key (user_id, number),
  constraint rewards_are_given_and_taken_in_turns unique (user_id, source, source_id, sequence),
  constraint source_is_known check (source in ('achievement', 'challenge', 'community', 'level', 'referral', 'streak', 'tree')),
  constraint visibility_is_public_friends_or_private check (visibility in ('public', 'friends', 'private'))
);
comment on table private.rewards is
  'The append-only ledger of rewards: what was granted or revoked, why, when, for how many credits, and by '
  'which entry or day. A row with an odd sequence grants; the next one of the same source revokes. Written '
  'under the lock of the user''s state row.';
comment on column private.rewards.number is 'From 1, gapless per user.';
comment on column private.rewards.source_id is
  'Id of the achievement, of the day''s challenge, of the community challenge or of the referral; or the mark: the level, the trees, the days of the longest run.';
comment on column private.rewards.sequence is 'From 1, gapless per source: odd grants, even revokes.';
comment on column private.rewards.credits is
  'Credits; a revocation has the amount of its grant. Marks (levels, trees, streaks) have no credits.';
comment on column private.rewards.entry_id is 'The entry that caused it, if any; it may have been deleted since.';
comment on column private.rewards.local_date is
  'The day of a challenge; for other rewards the latest day evaluated, if any.';
comment on column private.rewards.quiet is
  'true: granted by an import, a repair or new rules, not by what the user just did; neither in the feed nor pushed.';
comment on column private.rewards.visibility is
  'Who could see the feed item of this row by the user''s privacy_level when it was written: public, friends or private; null = the source has no feed items.';
alter table private.rewards enable row level security;
grant select on private.rewards to service_role;

create function private.own_rewards()
returns table (user_id uuid, number bigint, source text, source_id text, sequence integer, credits integer, entry_id uuid,
               local_date date, created_at timestamptz)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  return query
  select r.user_id, r.number, r.source, r.source_id, r.sequence, r.credits, r.entry_id, r.local_date, r.created_at
  from private.rewards as r
  where r.user_id = auth.uid();
end;
$$;
comment on function private.own_rewards() is
  'The reward ledger of the caller.';
grant execute on function private.own_rewards() to authenticated;

create function private.community_names(challenge_id text, out name_th text, out name_en text)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  if challenge_id is not null then
    select c.title_th, c.title_en into name_th, name_en
    from public.community_challenges as c where c.id = community_names.challenge_id::uuid;
  end if;
end;
$$;
comment on function private.community_names(text) is
  'The names of a community challenge in somebody''s ledger, who may have left it; nulls for null.';
grant execute on function private.community_names(text) to authenticated;

create view public.credit_history with (security_invoker = true) as
select
  r.user_id,
  r.number,
  r.source,
  r.source_id,
  case when r.sequence % 2 = 1 then 'granted' else 'taken_back' end as event,
  r.credits,
  coalesce(a.name_th, c.title_th, n.name_th, m.name_th, f.name_th, r.source_id) as name_th,
  coalesce(a.name_en, c.title_en, n.name_en, m.name_en, f.name_en, r.source_id) as name_en,
  r.entry_id,
  r.local_date,
  r.created_at
from private.own_rewards() as r
left join public.achievements as a on r.source = 'achievement' and a.id = r.source_id
left join lateral (
  -- Named as on that day, or else by its type, even if the type has ended since.
  select d.title_th, d.title_en from public.daily_challenges as d
  where r.source = 'challenge' and d.date = r.local_date and d.id::text = r.source_id
  union all
  select t.title_th, t.title_en from public.challenge_types as t
  where r.source = 'challenge' and carbon.challenge_id(r.local_date, t.id)::text = r.source_id
  limit 1) as c on true
left join lateral private.community_names(case when r.source = 'community' then r.source_id end) as n on true
left join lateral carbon.mark_names(r.source, r.source_id) as m on true
left join (values ('referral', 'ชวนเพื่อน', 'Referral')) as f (source, name_th, name_en) on f.source = r.source;
comment on view public.credit_history is
  'The reward ledger with names; own rows only. Credits of entries are stored with the entries: total = their sum + the sum of these.';
comment on column public.credit_history.event is 'granted or taken_back.';
grant select on public.credit_history to authenticated;
