//! Entries as clients send them, validated and taken apart into columns.

use carbon_domain::entry::{EntryIn, MAX_BATCH_ENTRIES};
use carbon_domain::error::{DomainError, FieldError};
use chrono::{DateTime, Utc};
use pgrx::prelude::*;
use pgrx::{AnyNumeric, JsonB};
use serde_json::Value;

use crate::convert::{from_chrono, numeric, to_chrono};
use crate::error::raise;

/// The columns of one entry, in the order in which [`parse_entries_text`] names them.
type Row = (
    i32,
    Option<&'static str>,
    Option<&'static str>,
    Option<AnyNumeric>,
    Option<TimestampWithTimeZone>,
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
/// `logged_at` is `now` when an entry states none. `errors` is NULL for a good entry, else a list of
/// `{field, token, code, message_th, message_en}` and every other column but `ordinal` is NULL.
///
/// Errors: 22023 `carbon.not_a_list`, `carbon.batch_too_large`, `carbon.entry_too_large` (nested deeper than
/// 127 levels), `carbon.logged_at_invalid` when `now` is infinite.
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
    let now = to_chrono(now)
        .unwrap_or_else(|| raise(FieldError::new("now", DomainError::LoggedAtInvalid)));
    let entries = list(entries).unwrap_or_else(|error| raise(FieldError::new("entries", error)));
    TableIterator::new(
        entries
            .into_iter()
            .zip(1..)
            .map(move |(entry, ordinal)| row(ordinal, &entry, now)),
    )
}

fn list(entries: &str) -> Result<Vec<Value>, DomainError> {
    match serde_json::from_str(entries) {
        Ok(Value::Array(entries)) if entries.len() <= MAX_BATCH_ENTRIES => Ok(entries),
        Ok(Value::Array(_)) => Err(DomainError::BatchTooLarge),
        Ok(_) => Err(DomainError::NotAList),
        // PostgreSQL wrote the text, so the only thing left to go wrong is its depth.
        Err(_) => Err(DomainError::EntryTooLarge),
    }
}

fn row(ordinal: i32, entry: &Value, now: DateTime<Utc>) -> Row {
    match EntryIn::parse(entry, now) {
        Ok(entry) => good_row(ordinal, entry),
        Err(errors) => {
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

extension_sql_file!(
    "../sql/entry.sql",
    name = "parse_entries",
    requires = [parse_entries_text]
);

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{one, plan, refused_with};

    const NOW: &str = "timestamptz '2024-06-01 08:30:00.123456+07'";

    fn parsed(column: &str, entries: &str) -> String {
        one(&format!(
            "select coalesce(string_agg({column}, ' | ' order by ordinal), '') from carbon.parse_entries('{entries}', {NOW})"
        ))
    }

    #[pg_test]
    fn a_good_entry_becomes_its_columns() {
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
    fn an_entry_without_a_time_is_logged_now_to_the_microsecond() {
        let entry = r#"[{"category_id":"food_waste","disposal_method":"composted","weight_kg":1}]"#;
        assert_eq!(parsed(&format!("(logged_at = {NOW})::text"), entry), "true");
        assert_eq!(
            parsed(
                "num_nulls(location_lat, location_lng, notes, place, image_id, device_id, offline_id, errors)::text",
                entry
            ),
            "8"
        );
    }

    #[pg_test]
    fn a_bad_entry_names_each_field_and_costs_no_other() {
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
    fn numbers_keep_the_digits_they_were_written_with() {
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
    fn what_is_no_list_of_entries_is_refused() {
        let call = |json: &str| format!("select * from carbon.parse_entries({json}, {NOW})");
        assert_eq!(refused_with(&call("'{}'")), "carbon.not_a_list");
        assert_eq!(refused_with(&call("'null'")), "carbon.not_a_list");
        assert_eq!(
            refused_with(&call(
                "(select jsonb_agg('{}'::jsonb) from generate_series(1, 501))"
            )),
            "carbon.batch_too_large"
        );
        assert_eq!(
            refused_with(&call("(repeat('[', 1000) || repeat(']', 1000))::jsonb")),
            "carbon.entry_too_large"
        );
        assert_eq!(
            refused_with("select * from carbon.parse_entries('[]', 'infinity')"),
            "carbon.logged_at_invalid"
        );
    }

    #[pg_test]
    fn null_and_the_empty_list_give_no_row() {
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
