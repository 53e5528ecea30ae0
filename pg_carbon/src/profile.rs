//! Changes of a profile, validated and normalised.

use carbon_domain::error::{DomainError, FieldError};
use carbon_domain::json;
use carbon_domain::profile;
use pgrx::prelude::*;
use serde_json::Value;

use crate::error::{OrRaise, raise};

/// A profile holds switches, those are in an object, and a list in place of one must stay one.
const PROFILE_LEVELS: usize = 3;

/// The changes of a profile, given as JSON text, normalised, as JSON text with the same names; what they do not name stays
/// as it is. NULL for NULL. A text that PostgreSQL cannot hold costs its own field.
///
/// Whether a user name is taken and whether a time zone exists is not looked at here.
///
/// Errors: 22023 with the token of the first bad field, `carbon.not_an_object` for anything else than an object.
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

/// One field of a profile as it is kept, as text; `value` is JSON text. A missing value (NULL or `null`) gives what
/// clearing the field leaves: NULL or its default. NULL for a NULL field.
///
/// Errors: 22023 with the token of what is wrong with the field, `carbon.unknown_field`, `carbon.field_read_only`.
#[pg_extern(immutable, parallel_safe)]
fn profile_field(field: Option<&str>, value: Option<&str>) -> Option<String> {
    // PostgreSQL wrote the text: what cannot be read back is nested too deep, and no field is a list.
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
    fn the_first_bad_field_is_named() {
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
    fn one_field_is_kept_as_text_in_its_normal_form() {
        let kept = |field: &str, value: &str| {
            one::<String>(&format!(
                "select carbon.profile_field('{field}', '{value}')"
            ))
        };
        assert_eq!(kept("display_name", r#"" สม\u200bชาย ""#), "สมชาย");
        assert_eq!(kept("daily_goal", "5e1"), "50");
        assert_eq!(kept("auto_sync", "false"), "false");
        assert_eq!(kept("privacy_level", "null"), "1");
        assert_eq!(
            kept("notification_settings", r#"{"level_up": false}"#),
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
    fn a_field_that_cannot_be_kept_is_refused_by_its_own_token() {
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
    fn what_nobody_may_change_is_refused() {
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
