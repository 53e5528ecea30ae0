-- The payload is text, because jsonb cannot store U+0000, which old diaries may contain; the answer never contains
-- it.
create function parse_migration(payload text, now timestamptz)
returns jsonb
language sql immutable strict parallel safe
return @extschema@.parse_migration_text(payload, now)::jsonb;
