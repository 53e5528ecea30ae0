//! The time, and how answers write it.

use chrono::{DateTime, SecondsFormat, Utc};
use worker::Date;

/// Milliseconds since 1970. The runtime's clock advances only when something came from outside.
pub fn now_ms() -> i64 {
    i64::try_from(Date::now().as_millis()).unwrap_or(i64::MAX)
}

/// A time as ISO 8601 in UTC with milliseconds.
pub fn iso(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The same for milliseconds since 1970.
pub fn iso_ms(at_ms: i64) -> String {
    iso(DateTime::from_timestamp_millis(at_ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_utc_with_milliseconds() {
        assert_eq!(iso_ms(1_800_000_000_123), "2027-01-15T08:00:00.123Z");
    }
}
