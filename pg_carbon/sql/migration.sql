-- The payload is text, because jsonb cannot hold U+0000, which old diaries may contain; the answer never does.
create function parse_migration(payload text, now timestamptz)
returns jsonb
language sql immutable strict parallel safe
return @extschema@.parse_migration_text(payload, now)::jsonb;
