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
  user_id uuid not null,
  board integer not null,
  credits bigint not null,
  entries bigint not null,
  is_listed boolean not null,
  constraint board_scores_pkey primary key (user_id, board)
) with (fillfactor = 80);
comment on table private.board_scores is
  'The points of a person on each board that is kept, as far as the worker has come; written by it alone. The current period, the one before, later ones, all time.';
comment on column private.board_scores.board is 'carbon.board_id(timeframe, day, province); carbon.board_scope() reads it back.';
comment on column private.board_scores.credits is 'Points of the entries; on the country''s board of all time with the net of rewards.';
comment on column private.board_scores.is_listed is 'Listed and counted: private.board_people says so, and there is an entry.';
-- The order of a board, both ways: by points downwards, equals by user id.
create index board_scores_order on private.board_scores (board, is_listed, (-credits), user_id);
alter table private.board_scores enable row level security;

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

create table private.board_news (
  board integer primary key,
  is_waiting boolean not null,
  sent_at timestamptz not null default '-infinity'
);
comment on table private.board_news is
  'Which boards of the current period changed since leaderboard_changed was last sent for them.';
alter table private.board_news enable row level security;

-- Who changes what they show ----------------------------------------------------------------
create function private.tg_profiles__look_again()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into private.outbox (user_id) values (old.id);
  return null;
end;
$$;
comment on function private.tg_profiles__look_again() is
  'Row trigger: boards look at this person again. Readers look for themselves.';
create trigger tg_profiles__look_again after update on public.profiles
  for each row
  when ((old.privacy_level, old.visible_in_leaderboard, old.is_anonymous, old.closed_until)
        is distinct from (new.privacy_level, new.visible_in_leaderboard, new.is_anonymous, new.closed_until))
  execute function private.tg_profiles__look_again();
create trigger tg_profiles__leave_boards after delete on public.profiles
  for each row execute function private.tg_profiles__look_again();

create function private.tg_board_exclusions__look_again()
returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into private.outbox (user_id) values (coalesce(new.user_id, old.user_id));
  return null;
end;
$$;
comment on function private.tg_board_exclusions__look_again() is
  'Row trigger: boards look at who was excluded or taken back.';
create trigger tg_board_exclusions__look_again after insert or delete on private.board_exclusions
  for each row execute function private.tg_board_exclusions__look_again();
