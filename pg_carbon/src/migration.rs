//! Old diaries: parses a payload of `migrate-local`.

use carbon_domain::legacy;
use pgrx::prelude::*;

use crate::convert::instant;
use crate::error::OrRaise;

/// Everything in a payload, as JSON text: the entries to import, what was rejected and why, what was
/// adjusted, claims and preferences. received = entries + duplicates + rejected_count, always. NULL for any NULL.
///
/// `now` bounds the entries' times. The text has no U+0000, so it can be cast to jsonb.
///
/// Errors: 22023 `carbon.migration_unreadable` for anything in neither of the two forms,
/// `carbon.logged_at_invalid` when `now` is infinite.
#[pg_extern(immutable, strict, parallel_safe)]
fn parse_migration_text(payload: &str, now: TimestampWithTimeZone) -> String {
    let migration = legacy::parse(payload, instant("now", now)).or_raise();
    serde_json::to_string(&migration).expect("what was read can be written")
}

extension_sql_file!(
    "../sql/migration.sql",
    name = "parse_migration",
    requires = [parse_migration_text]
);

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one, refused_with};

    const NOW: &str = "timestamptz '2024-06-01 08:30+07'";

    fn found(path: &str, payload: &str) -> String {
        one(&format!(
            "select coalesce((carbon.parse_migration($payload${payload}$payload$, {NOW}) #> '{{{path}}}')::text, 'missing')"
        ))
    }

    fn dump(entries: &str) -> String {
        let entries = entries.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            r#"{{"local_storage":{{"wasteEntries":"{entries}","carbonCredits":"12.5"}},"device_id":"d1"}}"#
        )
    }

    const ENTRY: &str = r#"{"id":"1717200000000","categoryId":"food_waste","disposal":"animalFeed","weight":0.30000000000000004,"timestamp":"2024-06-01T00:00:00.000Z"}"#;

    #[pg_test]
    fn a_dump_of_local_storage_becomes_entries() {
        let payload = dump(&format!("[{ENTRY},{ENTRY},{{}}]"));
        assert_eq!(found("received", &payload), "3");
        assert_eq!(found("duplicates", &payload), "1");
        assert_eq!(found("rejected_count", &payload), "1");
        assert_eq!(found("credits_claimed", &payload), "12.5");
        assert_eq!(found("device_id", &payload), r#""d1""#);
        assert_eq!(
            found("entries,0,disposal_method", &payload),
            r#""animal_feed""#
        );
        assert_eq!(found("entries,0,weight_kg", &payload), "0.3");
        assert_eq!(found("entries,0,legacy_id", &payload), r#""1717200000000""#);
        assert_eq!(found("entries,0,offline_id", &payload), "null");
    }

    #[pg_test]
    fn the_identity_equals_that_of_the_trigger() {
        let identity = one::<String>(
            "select carbon.entry_identity('1717200000000', 'food_waste', 'animal_feed', 300, '2024-06-01 00:00Z')::text",
        );
        assert_eq!(
            found("entries,0,identity", &dump(&format!("[{ENTRY}]"))),
            format!("\"{identity}\"")
        );
    }

    #[pg_test]
    fn the_null_character_does_not_reach_jsonb() {
        let entry = ENTRY.replace("\"weight\"", r#""notes":"a\u0000b\ud83d","weight""#);
        let payload = dump(&format!("[{entry}]"));
        assert_eq!(found("entries,0,notes", &payload), "\"ab\u{fffd}\"");
        assert_eq!(found("adjusted_count", &payload), "2");
        let claim = r#"{"local_storage":{"wasteEntries":"[{\"id\":\"\\u0000\",\"categoryId\":\"\\u0000\"}]","userPreferences":"{\"theme\":\"\\u0000\"}"}}"#;
        assert_eq!(found("received", claim), "1");
    }

    #[pg_test]
    fn the_normalised_payload_needs_a_time_for_each_entry() {
        let payload = r#"{"waste_entries":[{"category_id":"food_waste","disposal_method":"composted","weight_kg":1,"offline_id":"o1","logged_at":"2024-06-01T00:00:00Z"},
            {"category_id":"food_waste","disposal_method":"composted","weight_kg":1,"offline_id":"o2"}],"carbon_credits":1e3}"#;
        assert_eq!(found("entries,0,offline_id", payload), r#""o1""#);
        assert_eq!(found("entries,0,legacy_id", payload), "null");
        assert_eq!(
            found("rejected,0,reason", payload),
            r#""logged_at_required""#
        );
        assert_eq!(found("rejected,0,index", payload), "1");
    }

    #[pg_test]
    fn claims_that_are_not_finite_numbers_are_ignored() {
        for claim in ["1e999999999", "NaN", "null", "\\\"7\\\"", "-"] {
            let payload = format!(r#"{{"local_storage":{{"carbonCredits":"{claim}"}}}}"#);
            assert!(
                matches!(found("credits_claimed", &payload).as_str(), "null" | "7"),
                "{claim}"
            );
        }
        let payload = r#"{"local_storage":{"carbonCredits":"2.5e+22","carbon-pixels-user-stats":"{\"a\":1e999999999,\"b\":1e308}"}}"#;
        assert_eq!(found("credits_claimed", payload), "25000000000000000000000");
    }

    #[pg_test]
    fn anything_but_a_payload_is_refused() {
        let deep = format!("'{}'", "[".repeat(100_000));
        for payload in [
            "''",
            "'[]'",
            "'{}'",
            "'null'",
            "'{\"local_storage\":5}'",
            "E'{\\x01'",
            &deep,
        ] {
            let statement = format!("select carbon.parse_migration({payload}, now())");
            assert_eq!(refused_with(&statement), "carbon.migration_unreadable");
        }
        let infinite = "select carbon.parse_migration('{\"local_storage\":{}}', 'infinity')";
        assert_eq!(refused_with(infinite), "carbon.logged_at_invalid");
    }

    #[pg_test]
    fn no_payload_gives_null() {
        assert!(is_null("select carbon.parse_migration(null, now())"));
        assert!(is_null("select carbon.parse_migration('{}', null)"));
    }
}
