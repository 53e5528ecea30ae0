//! What makes two occurrences of an entry the same one.

use carbon_domain::error::DomainError;
use carbon_domain::identity;
use carbon_domain::units::Weight;
use pgrx::datum::Uuid;
use pgrx::prelude::*;

use crate::convert::to_chrono;
use crate::error::{OrRaise, raise};

/// The identity of an entry: 16 bytes of SHA-256 over id, category, method, grams and instant, written as a
/// uuid. `id` may be NULL (the entry has none of its own); any other NULL gives NULL.
///
/// Errors: 22023 `carbon.weight_out_of_range` for grams outside of 10..=100,000, `carbon.logged_at_invalid`
/// for an instant that no calendar has (infinity).
#[pg_extern(immutable, parallel_safe)]
fn entry_identity(
    id: Option<&str>,
    category: Option<&str>,
    method: Option<&str>,
    weight_grams: Option<i32>,
    logged_at: Option<TimestampWithTimeZone>,
) -> Option<Uuid> {
    let (category, method, weight_grams, logged_at) = (category?, method?, weight_grams?, logged_at?);
    let weight = Weight::from_grams(weight_grams.into()).or_raise();
    let instant = to_chrono(logged_at).unwrap_or_else(|| raise(DomainError::LoggedAtInvalid));
    Some(Uuid::from_bytes(identity::identity(id, category, method, weight.grams(), instant)))
}
