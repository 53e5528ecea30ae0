-- The sum of no rows is the empty tally.
create aggregate sum_tallies(bytea) (
    sfunc = @extschema@.add_tallies,
    stype = bytea,
    combinefunc = @extschema@.add_tallies,
    initcond = '',
    parallel = safe
);

create aggregate tally_of(category text, method text, grams integer, side integer) (
    sfunc = @extschema@.count_entry,
    stype = bytea,
    combinefunc = @extschema@.add_tallies,
    initcond = '',
    parallel = safe
);
