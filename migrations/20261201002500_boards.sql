-- Boards: users ranked by credits in a period, for the country or a province. Writers append changes to
-- private.outbox, and the worker folds them into these tables: docs/decisions/0018.

-- Who is listed -----------------------------------------------------------------------------
create table private.board_exclusions (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  reason text not null,
  excluded_at timestamptz not null default now(),
  constraint reason_has_1_to_500_characters check (length(reason) between 1 and 500)
);
comment on table private.board_exclusions is
  'Accounts that an operator excluded from all boards; the audit log also records who did it and when.';
comment on column private.board_exclusions.reason is 'The reason, for other operators; never shown to users.';
alter table private.board_exclusions enable row level security;
grant select on private.board_exclusions to service_role;

create view private.board_people with (security_invoker = true) as
select
  p.id as user_id,
  p.privacy_level < 3 and p.visible_in_leaderboard and not p.is_anonymous and p.closed_until is null
    and not exists (select from private.board_exclusions as x where x.user_id = p.id) as is_listed,
  p.privacy_level,
  p.display_name,
  p.province,
  p.avatar_url
from public.profiles as p;
comment on view private.board_people is
  'Users whom boards list once they have an entry: privacy level 1 or 2, visible, not anonymous, not '
  'excluded, neither deleted nor banned. The only definition of this rule. Also has the columns that a board '
  'row shows of a user, as far as their privacy level allows.';

-- Folded scores -----------------------------------------------------------------------------
create table private.board_scores (
  user_id uuid primary key,
  is_listed boolean not null,
  boards integer[] not null,
  credits bigint[] not null,
  entries bigint[] not null,
  constraint lists_are_side_by_side check (
    cardinality(credits) = cardinality(boards) and cardinality(entries) = cardinality(boards))
-- Every write of the user updates this row as a HOT update: in the same page, without index writes.
) with (fillfactor = 70);
comment on table private.board_scores is
  'A user''s score on each retained board, up to the worker''s position; written by the worker alone. Retained are the current period, the previous one, later ones, and all time.';
comment on column private.board_scores.is_listed is
  'As in private.board_people: shown and counted on the boards where the user has an entry.';
comment on column private.board_scores.boards is 'carbon.board_id(timeframe, day, province), ascending; carbon.board_scope() reads one back.';
comment on column private.board_scores.credits is
  'Credits of the entries, parallel to boards; on the country''s all-time board including the net of rewards.';
comment on column private.board_scores.entries is 'Number of entries, parallel to boards.';
alter table private.board_scores enable row level security;

create view private.board_places with (security_invoker = true) as
select s.user_id, b.board, b.credits, b.entries, s.is_listed and b.entries > 0 as is_listed
from private.board_scores as s
cross join lateral unnest(s.boards, s.credits, s.entries) as b (board, credits, entries);
comment on view private.board_places is
  'The scores of all users, one row per board, and whether they are listed and counted on it: what private.board_order must contain.';

-- Separate from the scores: a change of place changes an index key, so its update can never be a HOT update.
create table private.board_order (
  board integer not null,
  is_listed boolean not null,
  credits bigint not null,
  user_id uuid not null
);
comment on table private.board_order is
  'The order of each board, readable in both directions: by credits descending, ties by user id; unlisted users apart. Equal to private.board_places.';
-- On -credits, so that one ascending scan gives credits descending with ties by ascending user id. Conditions use
-- -credits as well, or they could not use the index.
create unique index board_order_places on private.board_order (board, is_listed, (-credits), user_id);
alter table private.board_order enable row level security;

-- The tree of one board. Each node is a row of 256 counts of listed users, by score:
--
--   level 2   node = score >> 24   one count per 65,536 scores     board ── node 0 [ 0 .. 255 ]
--                                                                                    │ slot score >> 16 & 255
--   level 1   node = score >> 16   one count per 256 scores                node 2 [ 0 .. 255 ]
--                                                                                    │ slot score >> 8 & 255
--   level 0   node = score >> 8    one count per score                   node 513 [ 0 .. 255 ]
--                                                                                      slot score & 255
--
-- A rank is read downwards: 1 + the counts after the score's slot in its node of each level (and all counts of
-- level-2 nodes further up). For a score of 131,400 these are slots 2, 1 and 72 of the nodes 0, 2 and 513: three rows,
-- however many users there are. A change of a score updates one count per level on each side of the move.
create table private.board_nodes (
  board integer not null,
  level smallint not null,
  node bigint not null,
  people integer[] not null,
  constraint board_nodes_pkey primary key (board, level, node)
) with (fillfactor = 50);
comment on table private.board_nodes is
  'The tree of each board, a radix tree with counts: how many listed users have each score, and the same for blocks of 256 and of 65,536 scores. A rank reads one slice of one row per level.';
comment on column private.board_nodes.level is '0 counts single scores, 1 blocks of 256, 2 blocks of 65,536.';
comment on column private.board_nodes.node is 'The score shifted right by 8 × (level + 1) bits; negative for negative scores.';
comment on column private.board_nodes.people is '256 counts of listed users, in the order of their scores or blocks.';
alter table private.board_nodes enable row level security;

create table private.board_notifications (
  board integer primary key,
  is_waiting boolean not null,
  sent_at timestamptz not null default '-infinity'
);
comment on table private.board_notifications is
  'Boards of the current period that changed since leaderboard_changed was last sent for them.';
alter table private.board_notifications enable row level security;

-- Changes of who is listed ------------------------------------------------------------------
create function private.tg_profiles__requeue_boards()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into private.outbox (user_id) values (old.id);
  return null;
end;
$$;
comment on function private.tg_profiles__requeue_boards() is
  'Row trigger: queues the user for the worker, which updates their places. Readers check the profile themselves.';
create trigger tg_profiles__requeue_boards after update on public.profiles
  for each row
  when ((old.privacy_level, old.visible_in_leaderboard, old.is_anonymous, old.closed_until)
        is distinct from (new.privacy_level, new.visible_in_leaderboard, new.is_anonymous, new.closed_until))
  execute function private.tg_profiles__requeue_boards();
create trigger tg_profiles__leave_boards after delete on public.profiles
  for each row execute function private.tg_profiles__requeue_boards();

create function private.tg_board_exclusions__requeue_boards()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into private.outbox (user_id) values (coalesce(new.user_id, old.user_id));
  return null;
end;
$$;
comment on function private.tg_board_exclusions__requeue_boards() is
  'Row trigger: queues a user whose exclusion was added or removed, so that the worker updates their places.';
create trigger tg_board_exclusions__requeue_boards after insert or delete on private.board_exclusions
  for each row execute function private.tg_board_exclusions__requeue_boards();
