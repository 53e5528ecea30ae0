//! Changes of a profile, validated and normalised.

use carbon_domain::error::{DomainError, FieldError};
use carbon_domain::profile;
use pgrx::prelude::*;
use serde_json::Value;

use crate::error::raise;

/// The changes normalised, as JSON text with the same names; what they do not name stays as it is. NULL for NULL.
///
/// Whether a user name is taken and whether a time zone exists is not looked at here.
///
/// Errors: 22023 with the token of the first bad field, `carbon.not_an_object` for anything else than an object.
#[pg_extern(immutable, strict, parallel_safe)]
fn parse_profile_changes_text(changes: &str) -> String {
    // PostgreSQL wrote the text: what cannot be read back is nested too deep, and no change of a profile is.
    let changes: Value =
        serde_json::from_str(changes).unwrap_or_else(|_| raise(DomainError::NotAnObject));
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

extension_sql_file!(
    "../sql/profile.sql",
    name = "parse_profile_changes",
    requires = [parse_profile_changes_text]
);

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{failure, is_null, one, refused_with};

    fn parsed(changes: &str) -> String {
        one(&format!(
            "select carbon.parse_profile_changes('{changes}')::text"
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
        let deep = "(repeat('[', 1000) || repeat(']', 1000))::jsonb";
        assert_eq!(
            refused_with(&format!("select carbon.parse_profile_changes({deep})")),
            "carbon.not_an_object"
        );
    }
}
