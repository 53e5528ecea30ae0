-- The day an instant belongs to for somebody in a time zone (IANA name). One immutable expression:
-- a generated column can use it and the planner inlines it.
create function local_date("at" timestamptz, time_zone text)
returns date
language sql immutable strict parallel safe
return ("at" at time zone time_zone)::date;
