//! What makes two occurrences of an entry the same one.

use carbon_domain::error::DomainError;
use carbon_domain::identity;
use carbon_domain::units::Weight;
use pgrx::datum::Uuid;
use pgrx::prelude::*;

use crate::convert::to_chrono;
use crate::error::{OrRaise, raise};

/// The identity of an entry: 16 bytes of SHA-256 over id, category, method, grams and instant, written as a
/// uuid. `id` may be NULL (the entry has no id of its own); any other NULL returns NULL.
///
/// Errors: 22023 `carbon.weight_out_of_range` for grams outside of 10..=100,000, `carbon.logged_at_invalid`
/// for an instant outside chrono's calendar (infinity).
#[pg_extern(immutable, parallel_safe)]
fn entry_identity(
    id: Option<&str>,
    category: Option<&str>,
    method: Option<&str>,
    weight_grams: Option<i32>,
    logged_at: Option<TimestampWithTimeZone>,
) -> Option<Uuid> {
    let (category, method, weight_grams, logged_at) =
        (category?, method?, weight_grams?, logged_at?);
    let weight = Weight::from_grams(weight_grams.into()).or_raise();
    let instant = to_chrono(logged_at).unwrap_or_else(|| raise(DomainError::LoggedAtInvalid));
    Some(Uuid::from_bytes(identity::identity(
        id,
        category,
        method,
        weight.grams(),
        instant,
    )))
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one, refused_with};

    fn identity(arguments: &str) -> String {
        one(&format!("select carbon.entry_identity({arguments})::text"))
    }

    #[pg_test]
    fn the_identity_depends_on_exactly_five_values() {
        let reference = identity("'1', 'food_waste', 'composted', 500, '2024-06-01 00:00Z'");
        assert_eq!(
            reference,
            identity("'1', 'food_waste', 'composted', 500, '2024-06-01 07:00+07'")
        );
        for other in [
            "'2', 'food_waste', 'composted', 500, '2024-06-01 00:00Z'",
            "null, 'food_waste', 'composted', 500, '2024-06-01 00:00Z'",
            "'', 'food_waste', 'composted', 500, '2024-06-01 00:00Z'",
            "'1', 'paper_cardboard', 'composted', 500, '2024-06-01 00:00Z'",
            "'1', 'food_waste', 'reduced', 500, '2024-06-01 00:00Z'",
            "'1', 'food_waste', 'composted', 501, '2024-06-01 00:00Z'",
            "'1', 'food_waste', 'composted', 500, '2024-06-01 00:00:00.000001Z'",
        ] {
            assert_ne!(reference, identity(other), "{other}");
        }
    }

    #[pg_test]
    fn only_the_id_may_be_null() {
        for arguments in [
            "'1', null, 'composted', 500, now()",
            "'1', 'food_waste', null, 500, now()",
            "'1', 'food_waste', 'composted', null, now()",
            "'1', 'food_waste', 'composted', 500, null",
        ] {
            assert!(
                is_null(&format!("select carbon.entry_identity({arguments})")),
                "{arguments}"
            );
        }
    }

    #[pg_test]
    fn impossible_weights_and_instants_are_refused() {
        assert_eq!(
            refused_with("select carbon.entry_identity('1', 'a', 'b', 9, now())"),
            "carbon.weight_out_of_range"
        );
        assert_eq!(
            refused_with("select carbon.entry_identity('1', 'a', 'b', 500, 'infinity')"),
            "carbon.logged_at_invalid"
        );
    }
}
