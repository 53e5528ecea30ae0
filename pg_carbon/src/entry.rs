//! Entries as clients send them, validated and split into columns.

use carbon_domain::entry::{self, EntryIn, MAX_BATCH_ENTRIES};
use carbon_domain::error::{DomainError, FieldError};
use carbon_domain::json;
use chrono::{DateTime, Utc};
use pgrx::prelude::*;
use pgrx::{AnyNumeric, IntoDatum, JsonB};
use serde_json::Value;

use crate::convert::{Composite, from_chrono, instant, numeric};
use crate::error::{OrRaise, raise};

/// The columns of one entry, in the order in which [`parse_entries_text`] names them.
type Row = (
    i32,
    Option<&'static str>,
    Option<&'static str>,
    Option<AnyNumeric>,
    Option<TimestampWithTimeZone>,
    Option<String>,
    Option<AnyNumeric>,
    Option<AnyNumeric>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<JsonB>,
);

/// Validates a JSON list of at most 500 entries, one row each in their order; no row for a NULL argument.
///
/// The text may contain what `jsonb` refuses (half a surrogate pair, U+0000, endless nesting): it fails only its own entry,
/// or nothing where it is ignored. `logged_at` is `now` if an entry states none. `errors` is NULL for a valid entry, else a
/// list of `{field, token, code, message_th, message_en}`, and of the other columns only `ordinal` and a readable
/// `offline_id` are not NULL.
///
/// Errors: 22023 `carbon.not_a_list`, `carbon.batch_too_large`, `carbon.logged_at_invalid` when `now` is infinite.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn parse_entries_text(
    entries: &str,
    now: TimestampWithTimeZone,
) -> TableIterator<
    'static,
    (
        name!(ordinal, i32),
        name!(category_id, Option<&'static str>),
        name!(disposal_method, Option<&'static str>),
        name!(weight_kg, Option<AnyNumeric>),
        name!(logged_at, Option<TimestampWithTimeZone>),
        name!(time_zone, Option<String>),
        name!(location_lat, Option<AnyNumeric>),
        name!(location_lng, Option<AnyNumeric>),
        name!(notes, Option<String>),
        name!(place, Option<String>),
        name!(image_id, Option<String>),
        name!(device_id, Option<String>),
        name!(offline_id, Option<String>),
        name!(errors, Option<JsonB>),
    ),
> {
    let now = instant("now", now);
    let entries = list(entries).unwrap_or_else(|error| raise(FieldError::new("entries", error)));
    let rows: Vec<Row> = entries
        .into_iter()
        .zip(1..)
        .map(|(entry, ordinal)| row(ordinal, entry, now))
        .collect();
    TableIterator::new(rows)
}

extension_sql!(
    "create type entry_in as (
       category_id text, disposal_method text, weight_kg numeric, logged_at timestamptz, time_zone text,
       location_lat numeric, location_lng numeric, notes text, place text, image_id text, device_id text, offline_id text,
       errors jsonb);",
    name = "entry_in_type"
);

static ENTRY_IN: Composite = Composite::new("carbon.entry_in");

/// Validates one entry, given as JSON text (NULL as JSON's null): its columns, or `errors` and a readable `offline_id`, as
/// [`parse_entries_text`] returns them for each entry of a list.
///
/// Errors: 22023 `carbon.logged_at_invalid` when `now` is infinite.
#[pg_extern(immutable, parallel_safe, requires = ["entry_in_type"])]
fn parse_entry(
    entry: Option<&str>,
    now: TimestampWithTimeZone,
) -> pgrx::composite_type!('static, "entry_in") {
    let (
        _,
        category,
        method,
        weight,
        at,
        zone,
        lat,
        lng,
        notes,
        place,
        image,
        device,
        offline,
        errors,
    ) = row(0, entry.unwrap_or("null"), instant("now", now));
    ENTRY_IN.value([
        category.into_datum(),
        method.into_datum(),
        weight.into_datum(),
        at.into_datum(),
        zone.into_datum(),
        lat.into_datum(),
        lng.into_datum(),
        notes.into_datum(),
        place.into_datum(),
        image.into_datum(),
        device.into_datum(),
        offline.into_datum(),
        errors.into_datum(),
    ])
}

/// A member of a JSON object, as JSON text; of repeated ones the last. NULL if it is missing, if the value is not an
/// object, and for NULL. The object may contain what `jsonb` refuses, even in the member.
#[pg_extern(immutable, strict, parallel_safe)]
fn json_member(object: &str, name: &str) -> Option<String> {
    json::member(object, name).map(str::to_owned)
}

/// The members of a JSON object with these names, each as [`json_member`], in one pass.
#[pg_extern(immutable, strict, parallel_safe)]
fn json_members(object: &str, names: Vec<String>) -> Vec<Option<String>> {
    let members = json::members(object, &names);
    members
        .into_iter()
        .map(|member| member.map(str::to_owned))
        .collect()
}

/// A text, number or flag given as JSON text, as text. NULL for NULL and `null`, for lists and objects, and for a text
/// that PostgreSQL cannot store (half a surrogate pair, U+0000).
#[pg_extern(immutable, strict, parallel_safe)]
fn json_scalar(value: &str) -> Option<String> {
    match json::read(value, 0)? {
        Value::String(text) => (!text.contains('\0')).then_some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) if matches!(value.trim(), "true" | "false") => Some(flag.to_string()),
        _ => None,
    }
}

/// The changes of an entry, given as JSON text, in a form that `jsonb` can store: the members that are fields. What jsonb
/// cannot store is replaced by something that the field refuses for the same reason.
///
/// Errors: 22023 `carbon.not_an_object`.
#[pg_extern(immutable, strict, parallel_safe)]
fn entry_changes(changes: &str, now: TimestampWithTimeZone) -> String {
    let changes = entry::storable_changes(changes, instant("now", now));
    changes.or_raise().to_string()
}

/// Validates one field of an entry on its own, given as JSON text, and returns its normal form as text; NULL for NULL if
/// the field may be missing. `name` is that of the column.
///
/// Errors: 22023 with the field's token.
#[pg_extern(immutable, parallel_safe)]
fn entry_field(name: &str, value: Option<&str>, now: TimestampWithTimeZone) -> Option<String> {
    entry::field(name, value, instant("now", now)).or_raise()
}

/// Ends the statement with the error of a token; constraints evaluate it when a value violates them. Volatile, because the
/// planner would call it otherwise.
///
/// Errors: 22023 with this token; XX000 for a token that does not exist.
#[pg_extern(volatile, strict, parallel_safe)]
fn refuse(token: &str) -> bool {
    raise(DomainError::from_token(token).expect("a token of docs/error-codes.md"))
}

fn list(entries: &str) -> Result<Vec<&str>, DomainError> {
    let entries = json::elements(entries).ok_or(DomainError::NotAList)?;
    if entries.len() > MAX_BATCH_ENTRIES {
        return Err(DomainError::BatchTooLarge);
    }
    Ok(entries)
}

fn row(ordinal: i32, text: &str, now: DateTime<Utc>) -> Row {
    match EntryIn::read(text, now) {
        Ok(entry) => good_row(ordinal, entry),
        Err(errors) => {
            let offline_id = json::member(text, "offline_id")
                .and_then(|id| entry::field("offline_id", Some(id), now).ok().flatten());
            let errors = serde_json::to_value(errors).expect("errors are plain texts");
            (
                ordinal,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                offline_id,
                Some(JsonB(errors)),
            )
        }
    }
}

fn good_row(ordinal: i32, entry: EntryIn) -> Row {
    let degrees = entry.location.map(|at| {
        (
            numeric(&at.latitude.to_string()),
            numeric(&at.longitude.to_string()),
        )
    });
    let (location_lat, location_lng) = degrees.unzip();
    (
        ordinal,
        Some(entry.category_id),
        Some(entry.disposal_method),
        Some(numeric(&entry.weight.kg_text())),
        from_chrono(entry.logged_at),
        entry.time_zone,
        location_lat,
        location_lng,
        entry.notes,
        entry.place,
        entry.image_id,
        entry.device_id,
        entry.offline_id,
        None,
    )
}

extension_sql!(
    r"-- JSON is passed to C as text: numbers retain their digits, and what jsonb cannot store is an error of its own field
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
",
    name = "parse_entries",
    requires = [parse_entries_text]
);

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one, plan, refused_with};

    const NOW: &str = "timestamptz '2024-06-01 08:30:00.123456+07'";

    fn parsed(column: &str, entries: &str) -> String {
        one(&format!(
            "select coalesce(string_agg({column}, ' | ' order by ordinal), '') from carbon.parse_entries('{entries}', {NOW})"
        ))
    }

    #[pg_test]
    fn a_valid_entry_is_split_into_columns() {
        let entry = r#"[{"category_id":"food_waste","disposal_method":"composted","weight_kg":1.2345,"logged_at":"2024-05-31T23:00:00+07:00",
            "location":{"latitude":13.75630001,"longitude":-100.5},"notes":"มื้อเย็น","place":"บ้าน","image_id":"0F0E0D0C-0b0a-4908-8706-050403020100",
            "device_id":"d1","offline_id":"o1","carbon_credits":999}]"#;
        let columns = parsed(
            "concat_ws(',', ordinal, category_id, disposal_method, weight_kg, extract(epoch from logged_at), location_lat, location_lng, notes, place, image_id, device_id, offline_id, coalesce(errors::text, 'good'))",
            entry,
        );
        assert_eq!(
            columns,
            "1,food_waste,composted,1.235,1717171200.000000,13.7563,-100.5,มื้อเย็น,บ้าน,0f0e0d0c-0b0a-4908-8706-050403020100,d1,o1,good"
        );
    }

    #[pg_test]
    fn a_single_entry_has_the_same_columns_as_in_a_list() {
        for entry in [
            r#"{"category_id":"food_waste","disposal_method":"composted","weight_kg":1.2345,"offline_id":"o1","notes":"x"}"#,
            r#"{"category_id":"rocks","offline_id":"o2"}"#,
            "[]",
        ] {
            let same = format!(
                "select (carbon.parse_entry('{entry}', {NOW}))::text
                      = (select row(category_id, disposal_method, weight_kg, logged_at, time_zone, location_lat, location_lng,
                                    notes, place, image_id, device_id, offline_id, errors)::text
                         from carbon.parse_entries_text('[{entry}]', {NOW}))"
            );
            assert!(one::<bool>(&same), "{entry}");
        }
        assert!(one::<bool>(&format!(
            "select (carbon.parse_entry(null, {NOW})).errors is not null"
        )));
    }

    #[pg_test]
    fn an_entry_without_a_time_is_logged_now_to_the_microsecond() {
        let entry = r#"[{"category_id":"food_waste","disposal_method":"composted","weight_kg":1}]"#;
        assert_eq!(parsed(&format!("(logged_at = {NOW})::text"), entry), "true");
        assert_eq!(
            parsed(
                "num_nulls(time_zone, location_lat, location_lng, notes, place, image_id, device_id, offline_id, errors)::text",
                entry
            ),
            "9"
        );
    }

    #[pg_test]
    fn an_invalid_entry_names_each_field_and_fails_no_other_entry() {
        let entries = r#"[{"category_id":"gold","disposal_method":"melted","weight_kg":"1","notes":7},
            {"category_id":"food_waste","disposal_method":"composted","weight_kg":0.1}, 5]"#;
        assert_eq!(
            parsed(
                "coalesce((select string_agg(e->>'field' || '=' || (e->>'token'), ',') from jsonb_array_elements(errors) e), weight_kg::text)",
                entries
            ),
            "category_id=carbon.unknown_category,weight_kg=carbon.weight_not_a_number,notes=carbon.notes_invalid | 0.100 | =carbon.not_an_object"
        );
        let keys = "(select string_agg(k, ',' order by k) from jsonb_object_keys(errors->0) k)";
        assert_eq!(
            parsed(keys, "[5]"),
            "code,field,message_en,message_th,token"
        );
        assert_eq!(
            parsed(
                "num_nonnulls(category_id, disposal_method, weight_kg, logged_at)::text",
                entries
            ),
            "0 | 4 | 0"
        );
    }

    #[pg_test]
    fn numbers_retain_the_digits_they_were_written_with() {
        let weights = [
            "0.30000000000000004",
            "2.00049999999999999999999",
            "1e-2",
            "100.0004",
            "0.0095",
        ];
        let entries: Vec<String> = weights
            .iter()
            .map(|weight| format!(r#"{{"category_id":"food_waste","disposal_method":"composted","weight_kg":{weight}}}"#))
            .collect();
        assert_eq!(
            parsed("weight_kg::text", &format!("[{}]", entries.join(","))),
            "0.300 | 2.000 | 0.010 | 100.000 | 0.010"
        );
        let huge =
            r#"[{"category_id":"food_waste","disposal_method":"composted","weight_kg":1e400}]"#;
        assert_eq!(
            parsed("errors->0->>'token'", huge),
            "carbon.weight_out_of_range"
        );
    }

    #[pg_test]
    fn anything_but_a_list_of_entries_is_refused() {
        let call = |json: &str| format!("select * from carbon.parse_entries({json}, {NOW})");
        assert_eq!(refused_with(&call("'{}'")), "carbon.not_a_list");
        assert_eq!(refused_with(&call("'null'")), "carbon.not_a_list");
        assert_eq!(
            refused_with(&call(
                "(select jsonb_agg('{}'::jsonb) from generate_series(1, 501))"
            )),
            "carbon.batch_too_large"
        );
        let deep = call("(repeat('[', 1000) || repeat(']', 1000))::jsonb");
        assert_eq!(
            one::<String>(&format!(
                "select e.errors #>> '{{0,token}}' from ({deep}) as e"
            )),
            "carbon.not_an_object"
        );
        assert_eq!(
            refused_with("select * from carbon.parse_entries('[]', 'infinity')"),
            "carbon.logged_at_invalid"
        );
    }

    #[pg_test]
    fn what_jsonb_cannot_store_fails_only_its_own_entry() {
        let good = r#"{"category_id":"food_waste","disposal_method":"composted","weight_kg":1"#;
        let deep = format!("{}1{}", r#"{"a":"#.repeat(1_000), "}".repeat(1_000));
        let entries = format!(
            r#"[{good}}},{good},"notes":"a\ud83d","offline_id":"o2"}},{good},"place":"\u0000","offline_id":"\u0000"}},{good},"x":"\ud83d","y":{deep}}},{good},"weight_kg":1e999999999}}]"#
        );
        let lines = one::<String>(&format!(
            "select string_agg(coalesce((select string_agg(e->>'field', ',') from jsonb_array_elements(p.errors) e), 'good')
                     || coalesce(' ' || p.offline_id, ''), ' | ' order by p.ordinal)
             from carbon.parse_entries_text($json${entries}$json$, {NOW}) as p"
        ));
        assert_eq!(
            lines,
            "good | notes o2 | place,offline_id | good | weight_kg"
        );
    }

    #[pg_test]
    fn a_member_is_returned_as_it_was_written() {
        let member = |name: &str| {
            format!(
                r#"carbon.json_member('{{"a":1.50, "b":"\ud83d", "a" : [1e5, null]}}', '{name}')"#
            )
        };
        assert_eq!(
            one::<String>(&format!("select {}", member("a"))),
            "[1e5, null]"
        );
        assert_eq!(
            one::<String>(&format!("select {}", member("b"))),
            r#""\ud83d""#
        );
        for nothing in [
            member("c"),
            "carbon.json_member('[1]', 'a')".to_owned(),
            "carbon.json_member('{', 'a')".to_owned(),
        ] {
            assert!(is_null(&format!("select {nothing}")), "{nothing}");
        }
    }

    #[pg_test]
    fn a_single_field_is_refused_with_its_token() {
        let call = |name: &str, value: &str| {
            format!("select carbon.entry_field('{name}', {value}, {NOW})")
        };
        assert_eq!(one::<String>(&call("weight_kg", "'1.2345'")), "1.235");
        assert_eq!(
            one::<String>(&call("time_zone", "'\"Asia/Saigon\"'")),
            "Asia/Ho_Chi_Minh"
        );
        assert!(is_null(&call("notes", "null")));
        assert_eq!(
            refused_with(&call("weight_kg", "'\"1\"'")),
            "carbon.weight_not_a_number"
        );
        assert_eq!(
            refused_with(&call("weight_kg", "null")),
            "carbon.weight_required"
        );
        assert_eq!(
            refused_with(&call("logged_at", "'\"now\"'")),
            "carbon.logged_at_invalid"
        );
        assert_eq!(
            refused_with("select carbon.refuse('carbon.notes_too_long')"),
            "carbon.notes_too_long"
        );
    }

    #[pg_test]
    fn null_and_the_empty_list_return_no_row() {
        for arguments in ["null, now()", "'[]', null", "'[]', now()"] {
            assert_eq!(
                one::<i64>(&format!(
                    "select count(*) from carbon.parse_entries({arguments})"
                )),
                0
            );
        }
        let five_hundred = "(select jsonb_agg('{}'::jsonb) from generate_series(1, 500))";
        assert_eq!(
            one::<i64>(&format!(
                "select count(*) from carbon.parse_entries({five_hundred}, now())"
            )),
            500
        );
    }

    #[pg_test]
    fn the_set_of_entries_is_inlined() {
        let plan = plan(&format!("select * from carbon.parse_entries('[]', {NOW})"));
        assert!(plan.contains("parse_entries_text"), "{plan}");
    }
}
