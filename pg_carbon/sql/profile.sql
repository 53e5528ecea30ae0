create function parse_profile_changes(changes jsonb)
returns jsonb
language sql immutable strict parallel safe
return @extschema@.parse_profile_changes_text(changes::text)::jsonb;
