//! Thai mobile numbers in E.164.

use carbon_domain::phone;
use pgrx::prelude::*;

use crate::error::OrRaise;

/// The number as `+66…`, in any notation that people type; `country_code` applies to numbers without one.
/// NULL for any NULL.
///
/// Errors: 22023 with a `carbon.phone_…` token for anything but a Thai mobile number.
#[pg_extern(immutable, strict, parallel_safe)]
fn normalize_phone(input: &str, country_code: default!(&str, "'66'")) -> String {
    phone::normalize(input, Some(country_code))
        .or_raise()
        .to_string()
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one, refused_with};

    #[pg_test]
    fn a_thai_mobile_number_becomes_e164() {
        assert_eq!(
            one::<String>("select carbon.normalize_phone('081-234-5678')"),
            "+66812345678"
        );
        assert_eq!(
            one::<String>("select carbon.normalize_phone('๐๘๑ ๒๓๔ ๕๖๗๘', '+66')"),
            "+66812345678"
        );
    }

    #[pg_test]
    fn other_numbers_are_refused_with_the_reason() {
        assert_eq!(
            refused_with("select carbon.normalize_phone('')"),
            "carbon.phone_required"
        );
        assert_eq!(
            refused_with("select carbon.normalize_phone('+1 202 555 0100')"),
            "carbon.phone_foreign"
        );
        assert_eq!(
            refused_with("select carbon.normalize_phone('02 123 4567')"),
            "carbon.phone_landline"
        );
        assert_eq!(
            refused_with("select carbon.normalize_phone('0812345678', '1')"),
            "carbon.phone_foreign"
        );
    }

    #[pg_test]
    fn no_number_gives_null() {
        assert!(is_null("select carbon.normalize_phone(null)"));
        assert!(is_null("select carbon.normalize_phone('0812345678', null)"));
    }
}
