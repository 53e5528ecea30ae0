//! Changes of a profile, validated and normalised.

use carbon_domain::error::{DomainError, FieldError};
use carbon_domain::json;
use carbon_domain::profile;
use pgrx::prelude::*;
use serde_json::Value;

use crate::error::{OrRaise, raise};

/// Levels of nesting: a profile has an object of switches, and a list in place of a switch must still parse as a list.
const PROFILE_LEVELS: usize = 3;

/// The changes of a profile, given as JSON text, normalised, as JSON text with the same names; fields that they do not
/// name stay unchanged. NULL for NULL. A text that PostgreSQL cannot store fails only its own field.
///
/// Does not check whether a user name is taken or a time zone exists.
///
/// Errors: 22023 with the token of the first invalid field, `carbon.not_an_object` for anything but an object.
#[pg_extern(immutable, strict, parallel_safe)]
fn parse_profile_changes(changes: &str) -> String {
    let changes = json::read(changes, PROFILE_LEVELS).unwrap_or_default();
    match profile::parse_changes(&changes) {
        Ok(changes) => Value::Object(changes).to_string(),
        Err(errors) => raise(
            errors
                .into_iter()
                .next()
                .unwrap_or(FieldError::from(DomainError::NotAnObject)),
        ),
    }
}

/// One field of a profile as it is stored, as text; `value` is JSON text. A missing value (NULL or `null`) returns the value
/// after clearing the field: NULL or its default. NULL for a NULL field.
///
/// Errors: 22023 with the token of what is wrong with the field, `carbon.unknown_field`, `carbon.field_read_only`.
#[pg_extern(immutable, parallel_safe)]
fn profile_field(field: Option<&str>, value: Option<&str>) -> Option<String> {
    // PostgreSQL wrote the text, so it can only fail to parse because of its depth, and no field is a list.
    let value =
        serde_json::from_str(value.unwrap_or("null")).unwrap_or_else(|_| Value::Array(Vec::new()));
    match profile::field(field?, &value).or_raise() {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{failure, is_null, one, refused_with};

    fn parsed(changes: &str) -> String {
        one(&format!(
            "select carbon.parse_profile_changes('{changes}')::jsonb::text"
        ))
    }

    #[pg_test]
    fn changes_are_normalised_and_null_clears() {
        assert_eq!(
            parsed(r#"{"language":"th-TH","display_name":" ส้ม ","daily_goal":5e1}"#),
            r#"{"language": "th", "daily_goal": 50, "display_name": "ส้ม"}"#
        );
        assert_eq!(
            parsed(r#"{"province":null,"privacy_level":null}"#),
            r#"{"province": null, "privacy_level": 1}"#
        );
        assert_eq!(parsed("{}"), "{}");
        assert!(is_null("select carbon.parse_profile_changes(null)"));
    }

    #[pg_test]
    fn the_first_invalid_field_is_named() {
        let failure = failure(
            r#"select carbon.parse_profile_changes('{"auto_sync":1,"visible_in_leaderboard":"yes"}')"#,
        );
        assert_eq!(
            (failure.state.as_str(), failure.detail.as_str()),
            ("22023", "carbon.flag_invalid")
        );
        assert!(failure.message.starts_with("auto_sync: "), "{failure:?}");
    }

    #[pg_test]
    fn one_field_is_returned_as_text_in_its_normal_form() {
        let stored = |field: &str, value: &str| {
            one::<String>(&format!(
                "select carbon.profile_field('{field}', '{value}')"
            ))
        };
        assert_eq!(stored("display_name", r#"" สม\u200bชาย ""#), "สมชาย");
        assert_eq!(stored("daily_goal", "5e1"), "50");
        assert_eq!(stored("auto_sync", "false"), "false");
        assert_eq!(stored("privacy_level", "null"), "1");
        assert_eq!(
            stored("notification_settings", r#"{"level_up": false}"#),
            r#"{"level_up":false}"#
        );
        assert_eq!(
            one::<String>("select carbon.profile_field('visible_in_leaderboard', null)"),
            "true"
        );
        assert!(is_null("select carbon.profile_field('theme', null)"));
        assert!(is_null("select carbon.profile_field(null, '1')"));
    }

    #[pg_test]
    fn a_field_that_cannot_be_stored_is_refused_by_its_own_token() {
        for (field, value, token) in [
            ("display_name", r#""\u3164""#, "carbon.display_name_invalid"),
            (
                "display_name",
                r#""a\u0000""#,
                "carbon.display_name_invalid",
            ),
            ("district", "7", "carbon.district_invalid"),
            ("username", r#""Admin""#, "carbon.username_reserved"),
            ("privacy_level", r#""2""#, "carbon.privacy_level_invalid"),
            ("phone_number", "null", "carbon.field_read_only"),
            ("credits", "1", "carbon.unknown_field"),
        ] {
            let statement = format!("select carbon.profile_field('{field}', '{value}')");
            assert_eq!(refused_with(&statement), token, "{field} {value}");
        }
        let deep = "select carbon.profile_field('theme', repeat('[', 1000) || repeat(']', 1000))";
        assert_eq!(refused_with(deep), "carbon.theme_invalid");
    }

    #[pg_test]
    fn read_only_fields_are_refused() {
        assert_eq!(
            refused_with(
                r#"select carbon.parse_profile_changes('{"phone_number":"+66812345678"}')"#
            ),
            "carbon.field_read_only"
        );
        assert_eq!(
            refused_with(r#"select carbon.parse_profile_changes('{"credits":1}')"#),
            "carbon.unknown_field"
        );
        assert_eq!(
            refused_with("select carbon.parse_profile_changes('[]')"),
            "carbon.not_an_object"
        );
        let deep = "repeat('[', 1000) || repeat(']', 1000)";
        assert_eq!(
            refused_with(&format!("select carbon.parse_profile_changes({deep})")),
            "carbon.not_an_object"
        );
    }
}
