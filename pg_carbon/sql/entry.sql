-- JSON is passed to C as text: numbers retain their digits, and what jsonb cannot store is an error of its own field
-- only. None of the wrappers is strict, because PostgreSQL inlines a set-returning function only then; the functions
-- they call are strict.

create function parse_entries(entries jsonb, now timestamptz)
returns table (
    ordinal integer,
    category_id text,
    disposal_method text,
    weight_kg numeric,
    logged_at timestamptz,
    time_zone text,
    location_lat numeric,
    location_lng numeric,
    notes text,
    place text,
    image_id uuid,
    device_id text,
    offline_id text,
    errors jsonb
)
language sql immutable parallel safe rows 20
begin atomic
    select parsed.ordinal, parsed.category_id, parsed.disposal_method, parsed.weight_kg, parsed.logged_at,
           parsed.time_zone, parsed.location_lat, parsed.location_lng, parsed.notes, parsed.place, parsed.image_id::uuid,
           parsed.device_id, parsed.offline_id, parsed.errors
    from @extschema@.parse_entries_text(entries::text, now) as parsed;
end;

alter function parse_entries_text(text, timestamptz) rows 20;
