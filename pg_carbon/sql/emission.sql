-- Emissions by weight in kilograms, inlined like credits. A product with 0.000001 has exactly six decimals and
-- costs less than a division by a million.

create function co2e_kg(category text, method text, weight_kg numeric, factor_set text default 'tgo-app-2024')
returns numeric
language sql immutable strict parallel safe
return @extschema@.co2e_milligrams(category, method, (weight_kg * 1000)::integer, factor_set)::numeric * 0.000001;

create function co2e_avoided_kg(category text, method text, weight_kg numeric, factor_set text default 'tgo-app-2024')
returns numeric
language sql immutable strict parallel safe
return @extschema@.co2e_avoided_milligrams(category, method, (weight_kg * 1000)::integer, factor_set)::numeric * 0.000001;
