-- What each function is, for whoever looks at it with \df+. A test refuses a function without its line here.

comment on function current_factor_set() is
    'Id of the factor set that new entries are computed with.';
comment on function credits(text, text, numeric, text) is
    'Credits (points) of a weight in kilograms, 0.01 to 100: factor × kilograms, halves towards +∞. The weight is rounded half up to grams first. NULL for any NULL. 22023 with the token as DETAIL for an unknown factor set, category or method and for a weight out of range (22003 beyond 2,147,483 kg, where grams leave the integers).';
comment on function credits_for_grams(text, text, integer, text) is
    'Credits (points) of a weight in whole grams, 10 to 100,000. What carbon.credits calls.';
comment on function co2e_kg(text, text, numeric, text) is
    'Kilograms CO2e that this way of treating the weight (kg) lets off, six decimals, negative when it takes more out of the air. Arguments and errors as carbon.credits.';
comment on function co2e_avoided_kg(text, text, numeric, text) is
    'Kilograms CO2e that this way of treating the weight (kg) spares against throwing it away, six decimals. Arguments and errors as carbon.credits.';
comment on function co2e_milligrams(text, text, integer, text) is
    'Milligrams CO2e of a weight in whole grams. What carbon.co2e_kg calls.';
comment on function co2e_avoided_milligrams(text, text, integer, text) is
    'Milligrams CO2e spared by a weight in whole grams. What carbon.co2e_avoided_kg calls.';
comment on function local_date(timestamptz, text) is
    'The day of an instant in a time zone (IANA name); Asia/Bangkok''s for a zone that is not known. The zones'' rules are compiled in. NULL for any NULL.';
comment on function time_zone(text) is
    'The name by which a time zone is kept: one that was replaced becomes the one of today. NULL for NULL. 22023 carbon.time_zone_invalid for anything but an IANA name of a place.';
comment on function parse_date(text, text, timestamptz) is
    'A local day written YYYY-MM-DD, no later than tomorrow; the second argument is the field that an error names. NULL for any NULL. 22023 carbon.date_invalid, carbon.date_in_future, carbon.date_buddhist_era.';
comment on function parse_month(text, timestamptz) is
    'A month written YYYY-MM that has begun by tomorrow, as its first day. NULL for any NULL. 22023 carbon.month_invalid, carbon.date_in_future, carbon.date_buddhist_era.';
comment on function json_member(text, text) is
    'A member of a JSON object as JSON text, of repeated ones the last; the object may hold what jsonb refuses. NULL for a missing one.';
comment on function json_members(text, text[]) is
    'The members of a JSON object by these names, each as carbon.json_member, in one walk over it.';
comment on function json_scalar(text) is
    'A text, number or flag given as JSON text, as text. NULL for null, lists and objects, and for a text that PostgreSQL cannot hold.';
comment on function entry_changes(text, timestamptz) is
    'The changes of an entry, given as JSON text, as text that jsonb can hold: the members that mean something, with what their fields refuse for the same reason in place of what it cannot hold. 22023 carbon.not_an_object.';
comment on function entry_credits(text, text, integer, text) is
    'carbon.credits_for_grams of an entry; what it lacks is refused by its field: 22023 carbon.category_required, carbon.method_required, carbon.weight_required.';
comment on function entry_field(text, text, timestamptz) is
    'Validates one field of an entry by itself, by its column''s name and given as JSON text: its normal form. NULL for NULL where the field may be missing. 22023 with the field''s token.';
comment on function refuse(text) is
    'Ends the statement with the error of a token (22023): for constraints, behind an OR.';
comment on function level(bigint) is
    'Level 1 to 5 of a total of credits; 1 for a negative one.';
comment on function credits_to_next_level(bigint) is
    'Credits missing to the next level; NULL at the highest.';
comment on function level_progress(bigint) is
    'Whole per cent, 0 to 100, from the level of a total to the next; 100 at the highest.';
comment on function trees(bigint) is
    'Trees that a total of credits stands for; 0 for a negative one.';
comment on function streak(date[], date) is
    'One row: the run of consecutive days that ends on as_of, the day before it or later, and the longest run. Order, repetitions and NULL days do not matter.';
comment on type derived is
    'What follows from one more entry: the user''s state after it, rows for the ledger (sources, source_ids, credits; null = none), what answers say of them, and the run that goes on.';
comment on function derive_entry(bigint, bytea, bigint, integer, text[], text[], date, date, date, integer, integer, integer, date, text, text, integer, integer, boolean, bytea, bytea, text[], date[], bytea[], date[], date) is
    'The state of a user after one more entry and what it earned; NULL where something held is lost and everything has to be evaluated. Arguments: the state before, the entry, its day with it, days that have to be known besides, the user''s today. XX000 without carbon.keep_rules for the day.';
comment on function has_rules(bigint, date) is
    'Whether this session keeps what can be earned on the day as of the version.';
comment on function keep_rules(bigint, date, jsonb, jsonb) is
    'Keeps for this session what can be earned on a day: two lists of {id, rule, credits, shown}, achievements and challenges. 22023 carbon.metric_unknown.';
comment on function day_state(date[], bytea[], date) is
    'One row: what days with these tallies come to, when the ends of those up to the date have been seen: the first open day, the latest day, the run that ends on it, the longest run, days without plastic that have ended.';
comment on function run_as_of(integer, date, date) is
    'The run of days that still goes on as of the day: the first argument where it ends the day before or later, else 0.';
comment on function longest_run(date[]) is
    'The longest run of consecutive days. What carbon.max_streak ends with.';
comment on aggregate max_streak(date) is
    'The longest run of consecutive days, 0 without days. Order, repetitions and NULL days do not matter.';
comment on function default_time_zone() is
    'The time zone (IANA name) of people who chose none.';
comment on function limit_of(text) is
    'The limit of a name in carbon.limits(). NULL for NULL, XX000 for another name.';
comment on function limits() is
    'How many entries one person may write, by name.';
comment on function normalize_phone(text, text) is
    'A Thai mobile number as +66…, however it was typed; country_code is meant where the number has none. 22023 carbon.phone_… for anything else.';
comment on function entry_identity(text, text, text, integer, timestamptz) is
    'What makes two occurrences of an entry the same one: 16 bytes of SHA-256 over id (may be NULL), category, method, grams and instant, as a uuid.';
comment on type entry_in is
    'One entry as clients send it, taken apart into columns, or the mistakes in it.';
comment on function parse_entry(text, timestamptz) is
    'Validates one entry, given as JSON text: its columns, or errors and a readable offline_id, as carbon.parse_entries_text has them. NULL counts as JSON''s null.';
comment on function parse_entries(jsonb, timestamptz) is
    'Validates a list of at most 500 entries as clients send them: one row each, ordinal from 1, columns of a good one (weight_kg rounded half up to grams, logged_at or now), or errors [{field, token, code, message_th, message_en}]. No row for a NULL argument. 22023 carbon.not_a_list, carbon.batch_too_large.';
comment on function parse_entries_text(text, timestamptz) is
    'The same from JSON text, which may hold what jsonb refuses: that costs its own entry. Of a refused entry a readable offline_id is told. What carbon.parse_entries calls.';
comment on function parse_profile_changes(text) is
    'Validates and normalises changes of a profile (missing = unchanged, null clears). 22023 with the token of the first bad field. Whether a user name is taken is not looked at.';
comment on function profile_field(text, text) is
    'One field of a profile as it is kept, as text; value is JSON text, and without one the answer is what clearing the field leaves. 22023 with the token of what is wrong, carbon.unknown_field, carbon.field_read_only.';
comment on function search_key(text) is
    'A text in the form in which searches compare: equal for writings that look the same (case, composition, zero-width characters, the order of Thai marks).';
comment on function text_contains(text, text) is
    'Whether a text holds what a key made by carbon.search_key stands for.';
comment on function parse_migration(text, timestamptz) is
    'Reads an old diary: {"local_storage": {key: string}, "device_id"?} or {"waste_entries": […], …}. Answers received = entries + duplicates + rejected_count, with the entries to import, rejections and adjustments (1,000 listed of each), unreadable keys, claims, preferences. Never holds U+0000. 22023 carbon.migration_unreadable for neither form.';
comment on function parse_migration_text(text, timestamptz) is
    'The same as JSON text. What carbon.parse_migration calls.';
comment on function factors() is
    'Every compiled factor: set, category, method, names, credits per kilogram, kilograms CO2e per kilogram, basis. The truth behind the table waste_factors.';
comment on function categories() is
    'The waste categories of the current factor set in their order, position from 1.';
comment on function levels() is
    'The levels, lowest first, with the total of credits each begins at.';
comment on function provinces() is
    'The 77 provinces by ISO 3166-2 code.';
comment on function is_province(text) is
    'Whether this is the ISO code of a province (TH-10).';
comment on function error_messages() is
    'Every mistake that any layer reports: token, usual field (NULL for none), Thai and English text.';
comment on function tally(text, text, bigint, bigint) is
    'The tally of so many entries of a category and method (negative: taken away) that weigh so many grams in all. 22023 carbon.unknown_category, carbon.unknown_method.';
comment on function add_tallies(bytea, bytea) is
    'The sum of two tallies; equal sums are equal bytes. 22023 carbon.tally_invalid.';
comment on function count_entry(bytea, text, text, integer, integer) is
    'A tally and one entry more (side 1) or less (-1). The step of carbon.tally_of.';
comment on aggregate sum_tallies(bytea) is
    'The sum of tallies; empty without any.';
comment on aggregate tally_of(text, text, integer, integer) is
    'The tally of entries: category, method, grams, and side 1 to add or -1 to take away.';
comment on function tally_rows(bytea) is
    'What a tally holds: category, method, entries and kilograms of each pair it counts.';
comment on function achievement_rule(jsonb) is
    'The criteria of an achievement in the short form that is judged. 22023 with the member that is wrong: carbon.metric_unknown, carbon.at_least_invalid, carbon.unknown_category, carbon.unknown_method, carbon.criteria_member_unknown, carbon.not_an_object.';
comment on function challenge_rule(jsonb) is
    'The criteria of a challenge in the short form that is judged. Errors as carbon.achievement_rule.';
comment on function rule_target(text) is
    'How much a rule asks for, in units of its metric (grams for weights).';
comment on function rule_value(text, bigint, bytea, date[], bytea[], date) is
    'What a person has reached of a rule, in units of its metric: credits and tally of everything, the days with the tally of each, and the last day that is known to have ended.';
comment on function day_value(text, bytea) is
    'What one day has reached of a challenge''s rule, from the day''s tally.';
comment on function changed_achievements(text[], text[], bigint, bytea, date[], bytea[], date) is
    'The achievements that are reached and not held, or held and not reached: rules (texts of id and rule), ids held, credits and tally of everything, days with the tally of each, and the last day that is known to have ended.';
comment on function is_reached_by_day_end(text[], text[], bytea[]) is
    'Whether the end of days with these tallies can turn one of the achievements (texts of id and rule) that are not among the ids held, where nothing else happened since they were last looked at.';
comment on function is_day_reached(text, bytea) is
    'Whether the tally of a day has reached what a challenge''s rule asks for.';
comment on function rule_progress(text, bigint) is
    '{value, at_least, percentage} of a rule as people are shown them: weights in kilograms, whole per cent 0 to 100.';
comment on function challenge_id(date, text) is
    'The id of the challenge of a type on a day: the same for whoever computes it.';
comment on function seed_goals() is
    'What the product starts with: kind achievement or challenge, each with its texts, points and criteria. Their tables may have been edited since.';
comment on function board_period(text, date, integer) is
    'First and last day of the period of a timeframe (daily, weekly from Monday, monthly, all_time) that holds the day, or of the one that many periods before it; NULLs for all_time. 22023 carbon.timeframe_invalid, carbon.date_invalid.';
comment on function board_id(text, date, text) is
    'The number of the board of a timeframe''s period that holds the day, in a province (ISO code) or in the country (NULL). Ordered by timeframe, period, province. 22023 carbon.timeframe_invalid, carbon.date_invalid, carbon.unknown_province.';
comment on function boards_of(date, text, date) is
    'The boards that an entry of this day and province (NULL = none) counts on, as far as they are kept today: current period, the one before, later ones.';
comment on function dropped_boards(date) is
    'Ranges of the boards that are no longer kept today: first_board up to, not including, before_board.';
comment on function board_scope(integer) is
    'What a board''s number says: timeframe, first and last day (NULL for all_time), province (NULL for the country). No row for any other number.';
comment on function percentile(bigint, bigint) is
    'How many of all other listed people have fewer points, in per cent with at most two decimals, halves up; 100 without others.';
comment on function seal(text, text, bytea) is
    'The content encrypted and signed for a purpose with a key of 32 bytes (XChaCha20-Poly1305), in the letters of URLs; differs each time. NULL for any NULL.';
comment on function unseal(text, text, bytea) is
    'What carbon.seal made for the purpose with the key; NULL for anything else and for any NULL.';
comment on function board_node(integer[], integer[]) is
    'A node of a board''s counted tree, 256 counts: so many people in each slot (0 to 255) given.';
comment on function add_board_nodes(integer[], integer[]) is
    'Two nodes of a board''s counted tree, slot by slot.';
comment on function people_after(integer[], integer) is
    'How many people a node of a board''s counted tree holds after a slot (0 to 255); all of them for -1.';
comment on function check_request() is
    'Called by PostgREST before each request (db-pre-request): refuses tokens of ended sessions (PT401 carbon.session_ended) and holds one of the person''s 8 slots until the transaction ends (PT429 carbon.too_many_at_once), with a body of 10,000 bytes and more also those for what is heavy. Callers without a person are not counted.';
comment on function hold_heavy_slot() is
    'Called by what costs much (imports, batches, searches): holds one of the caller''s 2 slots for that and one of everybody''s (carbon.heavy_slots, half of them open to anonymous people) until the transaction ends; once a transaction. PT429 carbon.too_many_at_once when none is free.';
comment on function is_session_live() is
    'Whether the caller''s token still opens anything: its session (claim session_id) exists, is this person''s and has not run out. A token without session_id is asked about its person, who must be neither deleted nor banned; a caller without a person (anon, service_role) passes. One row by its key.';
comment on function raise_limit(text, integer) is
    'Raises PT429 with a token. Inside a request of PostgREST it is an error of the form that makes the same answer and tells the client when to come again (Retry-After, in seconds).';
comment on function board_ranks(bigint[], bigint, bigint, integer) is
    'Competition ranks of rows that follow one another on a board, by their points: with so many listed people above the first and so many with its points. The last argument is the place, from 1, of a row that is shown but moves nobody; NULL for none.';
comment on function board_row(bigint, uuid, text, text, text, bigint, integer, bigint, boolean, boolean) is
    'A row of a board as JSON: rank, id, name, province, picture, points on the board, level, total of credits (shown as trees), whether it is the reader''s, whether it is masked, which names nobody. NULL for a NULL number.';
comment on function wake_worker() is
    'Statement trigger, for a table that is read by the background worker: wakes it once the transaction has committed. Does nothing where the server does not preload the library.';
comment on function fold_scores(integer[], bigint[], bigint[], date[], text[], bigint[], bigint[], bigint, date) is
    'Adds what the outbox says of one user to their scores (boards, credits and entries side by side): sums of days by province, a NULL day changed none, and the change of their rewards. Without boards that are no longer kept today and those on which nothing is left.';
comment on function place_changes(integer[], bigint[], bigint[], boolean, integer[], bigint[], bigint[], boolean, date) is
    'Where a user''s places on boards differ between two states of their scores, lists side by side; NULL credits = not on that board. Nobody is listed without an entry. Boards that are no longer kept today are not mentioned.';
comment on function tree_changes(integer[], bigint[], bigint[]) is
    'What moves of listed users (board, credits left, credits reached; NULL = not listed) add to the 256 counts of each node of the boards'' trees that changes.';
