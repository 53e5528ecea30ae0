//! Thai mobile numbers in E.164.

use carbon_domain::phone;
use pgrx::prelude::*;

use crate::error::OrRaise;

/// The number as `+66…`, however a person typed it; `country_code` is what a number without one means.
/// NULL for any NULL.
///
/// Errors: 22023 with a `carbon.phone_…` token for anything that is no Thai mobile number.
#[pg_extern(immutable, strict, parallel_safe)]
fn normalize_phone(input: &str, country_code: default!(&str, "'66'")) -> String {
    phone::normalize(input, Some(country_code)).or_raise().to_string()
}
