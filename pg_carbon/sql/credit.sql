-- Credits by weight in kilograms: one expression over a C function that takes whole grams, so the planner inlines it.
-- The numeric is rounded half up to grams, so only integers are passed to C.

create function credits(category text, method text, weight_kg numeric, factor_set text default 'tgo-app-2024')
returns integer
language sql immutable strict parallel safe
return @extschema@.credits_for_grams(category, method, (weight_kg * 1000)::integer, factor_set);
