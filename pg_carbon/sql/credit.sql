-- Points and emissions by weight in kilograms. Each is one expression over a C function that takes
-- whole grams, so the planner inlines it: the numeric arrives as the caller wrote it, is rounded
-- half up to grams, and only integers cross into the extension.

create function credits(category text, method text, weight_kg numeric, factor_set text default 'tgo-app-2024')
returns integer
language sql immutable strict parallel safe
return @extschema@.credits_for_grams(category, method, (weight_kg * 1000)::integer, factor_set);

-- A product with 0.000001 has exactly six decimals and costs a third of a division by a million.
create function co2e_kg(category text, method text, weight_kg numeric, factor_set text default 'tgo-app-2024')
returns numeric
language sql immutable strict parallel safe
return @extschema@.co2e_milligrams(category, method, (weight_kg * 1000)::integer, factor_set)::numeric * 0.000001;

create function co2e_avoided_kg(category text, method text, weight_kg numeric, factor_set text default 'tgo-app-2024')
returns numeric
language sql immutable strict parallel safe
return @extschema@.co2e_avoided_milligrams(category, method, (weight_kg * 1000)::integer, factor_set)::numeric * 0.000001;
