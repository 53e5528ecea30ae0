-- Boards: who has how many points in a period, in the country or a province. Writers append what they
-- changed to private.outbox, the worker folds it into what lies here: docs/decisions/0018.

-- Who may be listed -------------------------------------------------------------------------
create table private.board_exclusions (
  user_id uuid primary key references public.profiles (id) on delete cascade,
  reason text not null,
  excluded_at timestamptz not null default now(),
  constraint reason_has_1_to_500_characters check (length(reason) between 1 and 500)
);
comment on table private.board_exclusions is
  'Accounts that an operator keeps off every board; who did it and when stands in the audit log too.';
comment on column private.board_exclusions.reason is 'Why, for the next operator; never shown to anybody else.';
alter table private.board_exclusions enable row level security;
grant select on private.board_exclusions to service_role;

create view private.board_people with (security_invoker = true) as
select
  p.id as user_id,
  p.privacy_level < 3 and p.visible_in_leaderboard and not p.is_anonymous and p.closed_until is null
    and not exists (select from private.board_exclusions as x where x.user_id = p.id) as is_listed,
  p.privacy_level = 2 as is_masked,
  p.display_name,
  p.province,
  p.avatar_url
from public.profiles as p;
comment on view private.board_people is
  'Whom boards list once they have an entry: privacy 1 and 2, visible, not anonymous, not excluded, neither deleted nor banned. The one place that says so. And what a row of a board shows of a person: nothing but the province of those who are masked.';

-- What is folded in -------------------------------------------------------------------------
create table private.board_scores (
  user_id uuid primary key,
  is_listed boolean not null,
  boards integer[] not null,
  credits bigint[] not null,
  entries bigint[] not null,
  constraint lists_are_side_by_side check (
    cardinality(credits) = cardinality(boards) and cardinality(entries) = cardinality(boards))
-- Every write of the user updates this row: it stays in its page and touches no index.
) with (fillfactor = 70);
comment on table private.board_scores is
  'What a user has on each board that is kept, as far as the worker has come; written by it alone. The current period, the one before, later ones, all time.';
comment on column private.board_scores.is_listed is 'As private.board_people says it: shown and counted on the boards on which there is an entry.';
comment on column private.board_scores.boards is 'carbon.board_id(timeframe, day, province), ascending; carbon.board_scope() reads one back.';
comment on column private.board_scores.credits is 'Points of the entries, side by side with boards; on the country''s board of all time with the net of rewards.';
comment on column private.board_scores.entries is 'Number of entries, side by side with boards.';
alter table private.board_scores enable row level security;

create view private.board_places with (security_invoker = true) as
select s.user_id, b.board, b.credits, b.entries, s.is_listed and b.entries > 0 as is_listed
from private.board_scores as s
cross join lateral unnest(s.boards, s.credits, s.entries) as b (board, credits, entries);
comment on view private.board_places is
  'The scores of every user, one row a board, and whether they are listed and counted on it: what private.board_order must hold.';

-- Apart from the scores: a place in an order is a place in an index, so that no update of it can stay in its page.
create table private.board_order (
  board integer not null,
  is_listed boolean not null,
  credits bigint not null,
  user_id uuid not null
);
comment on table private.board_order is
  'The order of each board, both ways: by points downwards, equals by user id; those who are not listed apart. Equal to private.board_places.';
create unique index board_order_places on private.board_order (board, is_listed, (-credits), user_id);
alter table private.board_order enable row level security;

create table private.board_nodes (
  board integer not null,
  level smallint not null,
  node bigint not null,
  people integer[] not null,
  constraint board_nodes_pkey primary key (board, level, node)
) with (fillfactor = 50);
comment on table private.board_nodes is
  'A counted radix tree for each board: how many listed people hold each score, and the same for blocks of 256 and of 65,536 scores. A rank is one slice of one row a level.';
comment on column private.board_nodes.level is '0 counts single scores, 1 blocks of 256, 2 blocks of 65,536.';
comment on column private.board_nodes.node is 'The score shifted right by 8 × (level + 1) bits; negative for negative scores.';
comment on column private.board_nodes.people is '256 counts in the order of their scores or blocks.';
alter table private.board_nodes enable row level security;

create table private.board_notifications (
  board integer primary key,
  is_waiting boolean not null,
  sent_at timestamptz not null default '-infinity'
);
comment on table private.board_notifications is
  'Which boards of the current period changed since leaderboard_changed was last sent for them.';
alter table private.board_notifications enable row level security;

-- Who changes what they show ----------------------------------------------------------------
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
  'Row trigger: boards look at this person again. Readers look for themselves.';
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
  'Row trigger: boards look at who was excluded or taken back.';
create trigger tg_board_exclusions__requeue_boards after insert or delete on private.board_exclusions
  for each row execute function private.tg_board_exclusions__requeue_boards();
