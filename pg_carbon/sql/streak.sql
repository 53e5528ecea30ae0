-- The days are collected as they come and counted once at the end, so neither their order nor
-- repetitions nor the number of parallel workers can change the answer. Without a day it is 0.
create aggregate max_streak(date) (
    sfunc = array_append,
    stype = date[],
    combinefunc = array_cat,
    finalfunc = @extschema@.longest_run,
    initcond = '{}',
    parallel = safe
);

alter function streak(date[], date) rows 1;
