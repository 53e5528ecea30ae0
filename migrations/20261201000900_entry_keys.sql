-- One narrow key for every entry that ever existed, whose uniqueness a table partitioned by month cannot enforce.

create table private.entry_keys (
  user_id uuid not null,
  entry_id uuid not null,
  logged_at timestamptz not null,
  revision bigint not null,
  deleted_at timestamptz,
  offline_id text,
  identity uuid,
  batch_id uuid,
  constraint entry_keys_pkey primary key (user_id, entry_id),
  constraint entry_keys_revision_is_unique unique (user_id, revision)
);
comment on table private.entry_keys is
  'One row for every entry that ever existed, retained after its deletion: where it is stored (logged_at leads to its month), the number of its newest change, and what identifies a duplicate.';
comment on column private.entry_keys.revision is
  'Number of the newest change of this entry in the user''s own gapless sequence.';
comment on column private.entry_keys.deleted_at is
  'Not null = tombstone: the entry is deleted, devices learn of the deletion, its keys stay taken.';
comment on column private.entry_keys.identity is
  'Hash of id, category, method, weight and time at creation, for imported entries and those with an offline_id; edits never change it, a roll-back frees it.';
comment on column private.entry_keys.batch_id is 'The import that created the entry.';
create unique index entry_keys_offline_id_is_unique on private.entry_keys (user_id, offline_id)
  where offline_id is not null;
create unique index entry_keys_identity_is_unique on private.entry_keys (user_id, identity)
  where identity is not null;
alter table private.entry_keys enable row level security;
