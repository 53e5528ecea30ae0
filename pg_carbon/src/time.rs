//! Days: of an instant in a time zone, and as people write them.

use carbon_domain::error::{DomainError, FieldError};
use carbon_domain::{time, zone};
use pgrx::datum::Date;
use pgrx::prelude::*;

use crate::convert::{date, instant, to_chrono};
use crate::error::{OrRaise, raise};

/// The day of an instant in a time zone (IANA name); infinite for an infinite instant, NULL for any NULL.
///
/// An unknown zone counts as Asia/Bangkok, so that stored entries can always be read and restored. The rules of the zones
/// are compiled in, so a server with other zone files returns the same.
#[pg_extern(immutable, strict, parallel_safe)]
fn local_date(at: TimestampWithTimeZone, time_zone: &str) -> Date {
    match to_chrono(at) {
        Some(at) => date(zone::local_day(at, time_zone)),
        None if i64::from(at) > 0 => Date::positive_infinity(),
        None => Date::negative_infinity(),
    }
}

/// The name by which a time zone is stored; NULL for NULL.
///
/// Errors: 22023 `carbon.time_zone_invalid` for anything but an IANA name of a place.
#[pg_extern(immutable, strict, parallel_safe)]
fn time_zone(name: &str) -> String {
    zone::canonical(name).or_raise().to_owned()
}

/// A local day written `YYYY-MM-DD`, no later than tomorrow anywhere on Earth; NULL for NULL. `field` is what an error
/// names.
///
/// Errors: 22023 `carbon.date_invalid`, `carbon.date_in_future`, `carbon.date_buddhist_era`.
#[pg_extern(immutable, strict, parallel_safe)]
fn parse_date(written: &str, field: &str, now: TimestampWithTimeZone) -> Date {
    let named = |error: DomainError| FieldError::new(field.to_owned(), error);
    let day = time::parse_date(written, instant("now", now)).map_err(named);
    date(day.or_raise())
}

/// A month written `YYYY-MM` that has begun by tomorrow, as its first day; NULL for NULL.
///
/// Errors: 22023 `carbon.month_invalid`, `carbon.date_in_future`, `carbon.date_buddhist_era`.
#[pg_extern(immutable, strict, parallel_safe)]
fn parse_month(written: &str, now: TimestampWithTimeZone) -> Date {
    match time::parse_month(written, instant("now", now)) {
        Ok(first) => date(first),
        Err(error) => raise(FieldError::new("month", error)),
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{failure, is_null, one, refused_with};

    const NOW: &str = "timestamptz '2026-11-28 09:59:59Z'";

    #[pg_test]
    fn a_day_is_that_of_the_zone_or_of_bangkok_for_an_unknown_zone() {
        let day = |zone: &str| {
            one::<String>(&format!(
                "select carbon.local_date('2024-06-01 18:30Z', '{zone}')::text"
            ))
        };
        assert_eq!(day("Etc/UTC"), "2024-06-01");
        assert_eq!(day("Asia/Bangkok"), "2024-06-02");
        assert_eq!(day("Mars/Base"), "2024-06-02");
        assert!(is_null("select carbon.local_date(null, 'Asia/Bangkok')"));
    }

    #[pg_test]
    fn infinite_instants_have_infinite_days() {
        for (at, day) in [
            ("infinity", "infinity"),
            ("-infinity", "-infinity"),
            ("294276-12-31 23:59Z", "infinity"),
            ("4714-11-24 BC", "4714-11-24 BC"),
        ] {
            let query = format!("select carbon.local_date('{at}', 'Etc/UTC')::text");
            assert_eq!(one::<String>(&query), day);
        }
    }

    #[pg_test]
    fn zones_are_stored_by_their_present_name() {
        assert_eq!(
            one::<String>("select carbon.time_zone('Asia/Saigon')"),
            "Asia/Ho_Chi_Minh"
        );
        for name in ["localtime", "Factory", "posix/Asia/Bangkok", "ICT", "XYZ+5"] {
            let call = format!("select carbon.time_zone('{name}')");
            assert_eq!(refused_with(&call), "carbon.time_zone_invalid");
        }
    }

    #[pg_test]
    fn a_refused_date_names_its_field() {
        let read =
            |date: &str| format!("select carbon.parse_date('{date}', 'date_from', {NOW})::text");
        assert_eq!(one::<String>(&read("2026-11-29")), "2026-11-29");
        for (date, token) in [
            ("0000-01-01", "carbon.date_invalid"),
            ("2569-11-28", "carbon.date_buddhist_era"),
            ("2026-11-30", "carbon.date_in_future"),
        ] {
            let failure = failure(&read(date));
            assert_eq!(failure.detail, token);
            assert!(
                failure.message.starts_with("date_from: "),
                "{}",
                failure.message
            );
        }
        let month = |month: &str| format!("select carbon.parse_month('{month}', {NOW})::text");
        assert_eq!(one::<String>(&month("2026-11")), "2026-11-01");
        assert_eq!(refused_with(&month("2026-13")), "carbon.month_invalid");
        assert_eq!(refused_with(&month("2569-11")), "carbon.date_buddhist_era");
    }
}
