-- Descriptions of all functions, as shown by \df+. A test fails if a function has none here.

comment on function current_factor_set() is
    'Id of the factor set that new entries are computed with.';
comment on function credits(text, text, numeric, text) is
  'Credits of a weight in kilograms, 0.01 to 100: factor × kilograms, halves towards +∞. The weight is first '
  'rounded half up to grams. NULL for any NULL. 22023 with the token as DETAIL for an unknown factor set, '
  'category or method and for a weight out of range (22003 above 2,147,483 kg, where grams exceed the '
  'integer range).';
comment on function credits_for_grams(text, text, integer, text) is
  'Credits of a weight in whole grams, 10 to 100,000. Called by carbon.credits.';
comment on function co2e_kg(text, text, numeric, text) is
  'Kilograms CO2e emitted by disposing of the weight (kg) by this method, six decimals, negative if it removes more than it emits. Arguments and errors as carbon.credits.';
comment on function co2e_avoided_kg(text, text, numeric, text) is
  'Kilograms CO2e avoided by this method compared with throwing the same weight (kg) away, six decimals. Arguments and errors as carbon.credits.';
comment on function co2e_milligrams(text, text, integer, text) is
  'Milligrams CO2e of a weight in whole grams. Called by carbon.co2e_kg.';
comment on function co2e_avoided_milligrams(text, text, integer, text) is
  'Milligrams CO2e avoided for a weight in whole grams. Called by carbon.co2e_avoided_kg.';
comment on function local_date(timestamptz, text) is
  'The local date of an instant in a time zone (IANA name); an unknown zone counts as Asia/Bangkok. The rules of the zones are compiled in. NULL for any NULL.';
comment on function time_zone(text) is
  'The name by which a time zone is stored: a replaced name becomes its current one. NULL for NULL. 22023 carbon.time_zone_invalid for anything but an IANA name of a place.';
comment on function parse_date(text, text, timestamptz) is
  'A local day written YYYY-MM-DD, no later than tomorrow; the second argument is the field that an error '
  'names. NULL for any NULL. 22023 carbon.date_invalid, carbon.date_in_future, carbon.date_buddhist_era.';
comment on function parse_month(text, timestamptz) is
    'A month written YYYY-MM that has begun by tomorrow, as its first day. NULL for any NULL. 22023 carbon.month_invalid, carbon.date_in_future, carbon.date_buddhist_era.';
comment on function json_member(text, text) is
  'A member of a JSON object as JSON text; of repeated ones the last. The object may contain what jsonb refuses. NULL if the member is missing.';
comment on function json_members(text, text[]) is
  'The members of a JSON object with these names, each as carbon.json_member, in one pass.';
comment on function json_scalar(text) is
  'A text, number or flag given as JSON text, as text. NULL for null, lists and objects, and for a text that PostgreSQL cannot store.';
comment on function entry_changes(text, timestamptz) is
  'The changes of an entry, given as JSON text, in a form that jsonb can store: the members that are fields. '
  'What jsonb cannot store is replaced by something that the field refuses for the same reason. 22023 '
  'carbon.not_an_object.';
comment on function entry_credits(text, text, integer, text) is
  'carbon.credits_for_grams of an entry; a missing value is refused by its field: 22023 carbon.category_required, carbon.method_required, carbon.weight_required.';
comment on function entry_field(text, text, timestamptz) is
  'Validates one field of an entry on its own, by the name of its column, given as JSON text, and returns its normal form. NULL for NULL if the field may be missing. 22023 with the field''s token.';
comment on function refuse(text) is
  'Ends the statement with the error of a token (22023): for constraints, after an OR.';
comment on function level(bigint) is
  'Level 1 to 5 of a total of credits; 1 for a negative total.';
comment on function credits_to_next_level(bigint) is
  'Credits missing to the next level; NULL at the highest level.';
comment on function level_progress(bigint) is
  'Progress of a total from its level to the next, in whole percent, 0 to 100; 100 at the highest level.';
comment on function trees(bigint) is
  'Trees of a total of credits; 0 for a negative total.';
comment on function streak(date[], date) is
    'One row: the run of consecutive days that ends on as_of, the day before it or later, and the longest run. Order, repetitions and NULL days do not matter.';
comment on type derived is
  'Result of carbon.derive_entry: the user''s state after the entry, new ledger rows (sources, source_ids, credits; null = none), their JSON for answers, and the current run.';
comment on function derive_entry(bigint, bytea, bigint, integer, text[], text[], date, date, date, integer, integer, integer, date, text, text, integer, integer, boolean, bytea, bytea, text[], date[], bytea[], date[], date) is
  'The state of a user after one more entry and what it earned; NULL if a held reward is lost, so that '
  'everything has to be evaluated. Arguments: the state before, the entry, its day including it, further '
  'days that the evaluation needs, the user''s today. XX000 without carbon.keep_rules for the day.';
comment on function has_rules(bigint, date) is
  'Whether this session has cached the goals of the day as of the version.';
comment on function keep_rules(bigint, date, jsonb, jsonb) is
  'Caches the goals of a day for this session: two lists of {id, rule, credits, shown}, achievements and challenges. 22023 carbon.metric_unknown.';
comment on function day_state(date[], bytea[], date) is
  'One row: the sums of days with these tallies, those up to the date closed: the first open day, the latest day, the run that ends on it, the longest run, closed plastic-free days.';
comment on function run_as_of(integer, date, date) is
  'The streak as of the day: the first argument if that run ends the day before or later, else 0.';
comment on function longest_run(date[]) is
  'The longest run of consecutive days. Final function of carbon.max_streak.';
comment on aggregate max_streak(date) is
    'The longest run of consecutive days, 0 without days. Order, repetitions and NULL days do not matter.';
comment on function default_time_zone() is
  'The time zone (IANA name) of users who have not chosen one.';
comment on function limit_of(text) is
  'The value of a limit in carbon.limits(). NULL for NULL, XX000 for an unknown name.';
comment on function limits() is
  'All limits by name.';
comment on function normalize_phone(text, text) is
  'A Thai mobile number as +66…, in any notation that people type; country_code applies to numbers without one. 22023 carbon.phone_… for anything else.';
comment on function entry_identity(text, text, text, integer, timestamptz) is
  'Identifies duplicates of an entry: 16 bytes of SHA-256 over id (may be NULL), category, method, grams and instant, as a uuid.';
comment on type entry_in is
  'One entry as clients send it, split into columns, or its errors.';
comment on function parse_entry(text, timestamptz) is
  'Validates one entry, given as JSON text: its columns, or errors and a readable offline_id, as carbon.parse_entries_text returns them. NULL counts as JSON null.';
comment on function parse_entries(jsonb, timestamptz) is
  'Validates a list of at most 500 entries as clients send them: one row each, ordinal from 1, the columns '
  'of a valid entry (weight_kg rounded half up to grams, logged_at or now), or errors [{field, token, code, '
  'message_th, message_en}]. No row for a NULL argument. 22023 carbon.not_a_list, carbon.batch_too_large.';
comment on function parse_entries_text(text, timestamptz) is
  'The same from JSON text, which may contain what jsonb refuses: that fails only its own entry. A refused entry still has its offline_id if that is readable. Called by carbon.parse_entries.';
comment on function parse_profile_changes(text) is
  'Validates and normalises changes of a profile (missing = unchanged, null clears). 22023 with the token of the first invalid field. Does not check whether a user name is taken.';
comment on function profile_field(text, text) is
  'One field of a profile as it is stored, as text; value is JSON text, and null returns the value after '
  'clearing the field. 22023 with the token of the error, carbon.unknown_field, carbon.field_read_only.';
comment on function share_card(text, text, text) is
  'Title and text of a card to share, in both languages, about the thing of these names. subject: achievement, milestone or referral; no row for any other.';
comment on function check_shown_text(text, text, text[], text[]) is
  'Checks a text that other users will see, as the value of a field; blocked and allowed words are added to the '
  'compiled lists. True, also for NULL. 22023 carbon.text_has_hidden_characters, carbon.text_not_allowed, named by '
  'the field.';
comment on function is_listable_word(text) is
  'Whether a word can be on a list of words: letters of one script, a Latin word perhaps with an asterisk before or after it.';
comment on function search_key(text) is
  'A text in the form in which it is compared: equal for spellings that look the same (case, composition, zero-width characters, the order of Thai marks).';
comment on function text_contains(text, text) is
  'Whether a text contains the search text of a key returned by carbon.search_key.';
comment on function parse_migration(text, timestamptz) is
  'Parses an old diary: {"local_storage": {key: string}, "device_id"?} or {"waste_entries": […], …}. Returns '
  'received = entries + duplicates + rejected_count, with the entries to import, rejections and adjustments '
  '(1,000 of each listed), unreadable keys, claims, preferences. Never contains U+0000. 22023 '
  'carbon.migration_unreadable for anything in neither form.';
comment on function parse_migration_text(text, timestamptz) is
  'The same as JSON text. Called by carbon.parse_migration.';
comment on function factors() is
  'Every compiled factor: set, category, method, names, credits per kilogram, kilograms CO2e per kilogram, basis. The source of the table waste_factors.';
comment on function categories() is
  'The waste categories of the current factor set in display order, position from 1.';
comment on function levels() is
  'The levels, lowest first, each with the total of credits at which it begins.';
comment on function changed_marks(bigint, integer, text[], text[]) is
  'The marks (level, tree, streak) that a total of credits and a longest run reach and that are not held (is_reached), or that are held and not reached, in the order of their rows in the ledger. The lists name source and id of what is held; other sources are ignored.';
comment on function mark_names(text, text) is
  'Thai and English name of the mark of a row of the ledger, by its source (level, tree, streak) and id; no row for anything else.';
comment on function provinces() is
    'The 77 provinces by ISO 3166-2 code.';
comment on function is_province(text) is
    'Whether this is the ISO code of a province (TH-10).';
comment on function error_messages() is
  'Every error that any layer reports: token, usual field (NULL for none), Thai and English text.';
comment on function tally(text, text, bigint, bigint) is
  'The tally of a number of entries of one category and method (negative: subtracted) with their total grams. 22023 carbon.unknown_category, carbon.unknown_method.';
comment on function add_tallies(bytea, bytea) is
    'The sum of two tallies; equal sums are equal bytes. 22023 carbon.tally_invalid.';
comment on function count_entry(bytea, text, text, integer, integer) is
  'A tally with one entry added (side 1) or subtracted (-1). Transition function of carbon.tally_of.';
comment on aggregate sum_tallies(bytea) is
  'The sum of tallies; the empty tally without rows.';
comment on aggregate tally_of(text, text, integer, integer) is
  'The tally of entries: category, method, grams, and side 1 to add or -1 to subtract.';
comment on function tally_rows(bytea) is
  'The contents of a tally: category, method, entries and kilograms of each pair in it.';
comment on function achievement_rule(jsonb) is
  'The criteria of an achievement in the compact form that is evaluated. 22023 names the invalid member: '
  'carbon.metric_unknown, carbon.at_least_invalid, carbon.unknown_category, carbon.unknown_method, '
  'carbon.criteria_member_unknown, carbon.not_an_object.';
comment on function challenge_rule(jsonb) is
  'The criteria of a challenge in the compact form that is evaluated. Errors as carbon.achievement_rule.';
comment on function rule_target(text) is
  'The target of a rule, in units of its metric (grams for weights).';
comment on function rule_value(text, bigint, bytea, date[], bytea[], date) is
  'What a user has reached of a rule, in units of its metric: from the credits and tally of all entries, the days with their tallies, and the last closed day.';
comment on function day_value(text, bytea) is
  'What a day has reached of a challenge''s rule, from its tally.';
comment on function changed_achievements(text[], text[], bigint, bytea, date[], bytea[], date) is
  'The achievements that are reached and not held, or held and not reached: rules (texts of id and rule), ids held, credits and tally of all entries, days with their tallies, and the last closed day.';
comment on function is_reached_by_day_end(text[], text[], bytea[]) is
  'Whether closing days with these tallies can change one of the achievements (texts of id and rule) that are not among the ids held, if nothing else has happened since the last evaluation.';
comment on function is_day_reached(text, bytea) is
  'Whether the tally of a day meets a challenge''s rule.';
comment on function rule_progress(text, bigint) is
  '{value, at_least, percentage} of a rule as shown to users: weights in kilograms, whole percent 0 to 100.';
comment on function challenge_id(date, text) is
  'The id of the challenge of a type on a day; depends on nothing else.';
comment on function seed_goals() is
  'The initial goals of the product: kind achievement or challenge, each with its texts, credits and criteria. Their tables may have been edited since.';
comment on function board_period(text, date, integer) is
  'First and last day of the period of a timeframe (daily, weekly from Monday, monthly, all_time) that '
  'contains the day, or of the period that many before it; NULLs for all_time. 22023 '
  'carbon.timeframe_invalid, carbon.date_invalid.';
comment on function board_id(text, date, text) is
  'The id of the board whose period contains the day, in a province (ISO code) or in the country (NULL). '
  'Ordered by timeframe, period, province. 22023 carbon.timeframe_invalid, carbon.date_invalid, '
  'carbon.unknown_province.';
comment on function boards_of(date, text, date) is
  'The boards that an entry of this day and province (NULL = none) counts on and that are retained today: current period, the previous one, later ones.';
comment on function dropped_boards(date) is
  'Ranges of expired boards, which are not retained today: from first_board up to, but not including, before_board.';
comment on function board_scope(integer) is
  'The meaning of a board''s id: timeframe, first and last day (NULL for all_time), province (NULL for the country). No row for any other number.';
comment on function percentile(bigint, bigint) is
  'The percentage of all other listed users who have fewer credits, with at most two decimals, halves up; 100 without others.';
comment on function seal(text, text, bytea) is
  'The content encrypted and authenticated for a purpose with a key of 32 bytes (XChaCha20-Poly1305), as URL-safe text; differs each time. NULL for any NULL.';
comment on function unseal(text, text, bytea) is
  'The content of a text of carbon.seal for this purpose and key; NULL for any other text and for any NULL.';
comment on function board_node(integer[], integer[]) is
  'A node of a board''s tree, 256 counts: sets the given number of users in each given slot (0 to 255).';
comment on function add_board_nodes(integer[], integer[]) is
  'The sum of two nodes of a board''s tree, slot by slot.';
comment on function people_after(integer[], integer) is
  'How many users a node of a board''s tree counts after a slot (0 to 255); all of them for -1.';
comment on function check_request() is
  'Called by PostgREST before each request (db-pre-request): refuses tokens of ended sessions (PT401 '
  'carbon.session_ended) and holds one of the user''s 8 slots until the transaction ends (PT429 '
  'carbon.too_many_at_once); with a body of 10,000 bytes or more also heavy slots. Callers without a user '
  'are not counted.';
comment on function hold_heavy_slot() is
  'Called by expensive operations (imports, batches, searches): holds one of the caller''s 2 heavy slots and '
  'one of the shared ones (carbon.heavy_slots, half of them available to anonymous users) until the '
  'transaction ends; once per transaction. PT429 carbon.too_many_at_once if none is free.';
comment on function is_session_live() is
  'Whether the caller''s token is still valid: its session (claim session_id) exists, belongs to the user and '
  'has not expired. For a token without session_id, checks that its user is neither deleted nor banned; a '
  'caller without a user (anon, service_role) passes. Reads one row by its key.';
comment on function raise_limit(text, integer) is
  'Raises PT429 with a token. In a PostgREST request, raises it in the form that yields the same answer with a Retry-After header (seconds).';
comment on function board_ranks(bigint[], bigint, bigint, integer) is
  'Competition ranks of consecutive rows of a board, from their credits, the number of listed users above '
  'the first row, and the number with the same credits as it. The last argument is the place, from 1, of a '
  'row that is shown but affects no rank; NULL for none.';
comment on function board_row(bigint, uuid, text, text, text, bigint, integer, bigint, text, smallint) is
  'A row of a board as JSON: rank, id, name, province, picture, credits on the board, level, total of '
  'credits (shown as trees), how the reader stands to the user, the user''s privacy level. Without id, name '
  'and picture (masked) if the reader may not see who it is. NULL for a NULL number, relation or privacy level.';
comment on function sight(text, smallint, text) is
  'How much a viewer sees of a person: nothing, masked, identity, public, profile or everything. Arguments: '
  'relation (self, friend, stranger, blocked, visitor), the person''s privacy level, and how the viewer found '
  'them (listing, username, code, block). NULL for any NULL. XX000 for any other relation or way.';
comment on function card(text, smallint, text, uuid, text, text, text, integer, bigint, integer) is
  'The card of a person (id, name, picture, province, level, total of credits, streak) as a viewer may see '
  'it; the first three arguments as in carbon.sight. Members that the viewer may not see are null. NULL if '
  'the viewer may not see who it is.';
comment on function invite_code(bytea, integer) is
  'A code of this many signs (digits and capital letters without 0, 1, I, L, O) from random bytes; NULL if they are too few: twice as many bytes as signs practically always suffice.';
comment on function normalised_code(text, integer) is
  'A code of this many signs as it is stored, from what somebody typed: case, spaces and dashes do not matter. NULL for anything else.';
comment on function wake_worker() is
  'Statement trigger for a table that the background worker reads: wakes the worker at commit. Does nothing if the server does not preload the library.';
comment on function fold_scores(integer[], bigint[], bigint[], date[], text[], bigint[], bigint[], bigint, integer[], bigint[], bigint[], date) is
  'Adds a user''s outbox rows to their scores (boards, credits and entries in parallel lists): sums of days '
  'by province (a NULL day = none changed), the change of their rewards, and their community challenges '
  '(contributors'' boards, what was added to the contribution, 1 = joined, -1 = left). Omits boards that are '
  'not retained today and boards without entries or credits left.';
comment on function place_changes(integer[], bigint[], bigint[], boolean, integer[], bigint[], bigint[], boolean, date) is
  'Where a user''s places on boards differ between two states of their scores, in parallel lists; NULL '
  'credits = not on that board. A user is listed only with an entry. Omits boards that are not retained '
  'today.';
comment on function tree_changes(integer[], bigint[], bigint[]) is
  'What changes of listed users'' scores (board, credits before, credits after; NULL = not listed) add to the 256 counts of each changed node of the boards'' trees.';
comment on function challenge_board(date, integer) is
  'The number of the contributors'' board of the community challenge that ends on a day and is the given one (from 0) among those. NULL for any NULL. 22023 carbon.date_invalid outside 2026 to 2070 and above 32,767.';
comment on function community_rule(jsonb) is
  'The criteria of a community challenge in the compact form that is evaluated: metric weight_kg, entries, '
  'credits or co2e_avoided_kg and the filters of achievements. NULL for NULL. 22023 names the invalid member.';
comment on function community_unit(text) is
  'The unit of a rule''s targets and contributions: g, entries, credits or mg. NULL for NULL. 22023 carbon.metric_unknown.';
comment on function contribution(text, date, date, text, date, text, text, text, integer, integer, bigint) is
  'What an entry (local day, province, category, method, grams, credits, milligrams CO2e avoided) contributes '
  'to a community challenge (rule, first and last day, only province or NULL), in the unit of its metric; 0 '
  'if it does not count. 22023 carbon.metric_unknown, carbon.date_invalid.';
comment on function community_percent(bigint, bigint) is
  'The whole percentage of a target that a total is, rounded down, 0 to 100. NULL for any NULL.';
comment on function reached_milestones(bigint, bigint, integer[]) is
  'Those of the milestones (percent of the target) that the total has reached. NULL for any NULL.';
