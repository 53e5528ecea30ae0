-- Days are collected in any order and counted once at the end, so neither order nor repetitions nor the number of
-- parallel workers can change the result. 0 without days.
create aggregate max_streak(date) (
    sfunc = array_append,
    stype = date[],
    combinefunc = array_cat,
    finalfunc = @extschema@.longest_run,
    initcond = '{}',
    parallel = safe
);

alter function streak(date[], date) rows 1;
