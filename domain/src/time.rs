//! Instants: how they are written, and how far from now an entry may be.

use std::borrow::Cow;

use chrono::{DateTime, Datelike, Duration, Months, NaiveDate, SecondsFormat, Utc};

use crate::error::DomainError;

/// How far ahead a device's clock may be.
pub const FUTURE_TOLERANCE: Duration = Duration::minutes(5);

/// How old an entry may be: retention is 7 years.
pub const OLDEST_MONTHS: u32 = 7 * 12;

/// Years by which the Buddhist era, as Thailand counts it, is ahead of the common era.
const BUDDHIST_ERA_AHEAD: i32 = 543;

/// Where a day begins first: 14 hours before UTC.
const FURTHEST_EAST: Duration = Duration::hours(14);

/// The zone of users who have chosen none.
pub const DEFAULT_TIME_ZONE: &str = "Asia/Bangkok";

/// Parses ISO 8601 with a zone (`2024-06-01T08:30:00.123+07:00`, `…Z`, `…+0700`, `…+07`, without seconds).
///
/// Truncated to microseconds, as PostgreSQL stores them. `None` for anything else, also for a time without a zone.
#[must_use]
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    // The longest sensible notation has 35 characters; anything much longer is not a time.
    if text.len() > 64 || !text.is_ascii() {
        return None;
    }
    let full = with_full_zone(text)?;
    let instant = DateTime::parse_from_rfc3339(&with_seconds(&full)).ok()?;
    DateTime::from_timestamp_micros(instant.timestamp_micros())
}

/// Completes a zone written `+07` or `+0700` to `+07:00`.
fn with_full_zone(text: &str) -> Option<Cow<'_, str>> {
    let time_starts = text.find(['T', 't', ' '])?;
    let Some(sign) = text[time_starts..]
        .rfind(['+', '-'])
        .map(|at| time_starts + at)
    else {
        return Some(Cow::Borrowed(text));
    };
    let (time, zone) = text.split_at(sign);
    Some(match zone.len() {
        3 => Cow::Owned(format!("{time}{zone}:00")),
        5 if !zone.contains(':') => Cow::Owned(format!("{time}{}:{}", &zone[..3], &zone[3..])),
        _ => Cow::Borrowed(text),
    })
}

/// Completes `08:30+07:00` to `08:30:00+07:00`.
fn with_seconds(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    match bytes.get(16) {
        Some(b'Z' | b'z' | b'+' | b'-') if bytes.get(13) == Some(&b':') => {
            Cow::Owned(format!("{}:00{}", &text[..16], &text[16..]))
        }
        _ => Cow::Borrowed(text),
    }
}

/// Checks that an entry is at most 5 minutes in the future and at most 7 years in the past.
///
/// # Errors
/// [`DomainError::LoggedAtInFuture`], [`DomainError::LoggedAtBuddhistEra`], [`DomainError::LoggedAtTooOld`]
pub fn check_logged_at(logged_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), DomainError> {
    let latest = now
        .checked_add_signed(FUTURE_TOLERANCE)
        .unwrap_or(DateTime::<Utc>::MAX_UTC);
    let oldest = now
        .checked_sub_months(Months::new(OLDEST_MONTHS))
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    if logged_at > latest {
        return Err(if is_buddhist_era(logged_at.year(), now) {
            DomainError::LoggedAtBuddhistEra
        } else {
            DomainError::LoggedAtInFuture
        });
    }
    if logged_at < oldest {
        return Err(DomainError::LoggedAtTooOld);
    }
    Ok(())
}

/// Whether a future year is probably a present one, written in the Buddhist era.
fn is_buddhist_era(year: i32, now: DateTime<Utc>) -> bool {
    let meant = year - BUDDHIST_ERA_AHEAD;
    (now.year() - 100..=now.year() + 1).contains(&meant)
}

/// Parses a local day, `YYYY-MM-DD`, that is no later than tomorrow in the easternmost zone.
///
/// # Errors
/// [`DomainError::DateInvalid`], [`DomainError::DateInFuture`], [`DomainError::DateBuddhistEra`]
pub fn parse_date(text: &str, now: DateTime<Utc>) -> Result<NaiveDate, DomainError> {
    let date = calendar_date(text).ok_or(DomainError::DateInvalid)?;
    check_date(date, now)?;
    Ok(date)
}

/// Parses a month, `YYYY-MM`, that has begun by tomorrow, as its first day.
///
/// # Errors
/// [`DomainError::MonthInvalid`], [`DomainError::DateInFuture`], [`DomainError::DateBuddhistEra`]
pub fn parse_month(text: &str, now: DateTime<Utc>) -> Result<NaiveDate, DomainError> {
    let first = match text.len() {
        7 => calendar_date(&format!("{text}-01")),
        _ => None,
    };
    let first = first.ok_or(DomainError::MonthInvalid)?;
    check_date(first, now)?;
    Ok(first)
}

fn check_date(date: NaiveDate, now: DateTime<Utc>) -> Result<(), DomainError> {
    let tomorrow = now
        .checked_add_signed(FURTHEST_EAST + Duration::days(1))
        .map_or(NaiveDate::MAX, |at| at.date_naive());
    if date <= tomorrow {
        Ok(())
    } else if is_buddhist_era(date.year(), now) {
        Err(DomainError::DateBuddhistEra)
    } else {
        Err(DomainError::DateInFuture)
    }
}

/// A day of the calendar written with four, two and two digits, from the year 1.
fn calendar_date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    let form = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !form {
        return None;
    }
    let year = text[..4].parse().ok().filter(|year| *year > 0)?;
    NaiveDate::from_ymd_opt(year, text[5..7].parse().ok()?, text[8..].parse().ok()?)
}

/// Formats an instant as all answers do: UTC, with as many decimals as it needs, `2024-06-01T01:30:00.123Z`.
#[must_use]
pub fn instant_text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(written: &str) -> Option<String> {
        parse_instant(written).map(instant_text)
    }

    #[test]
    fn iso_8601_with_a_zone_is_read_in_its_usual_writings() {
        for written in [
            "2024-06-01T08:30:00+07:00",
            "2024-06-01T01:30:00Z",
            "2024-06-01t01:30:00.000z",
            "2024-06-01T08:30:00+0700",
            "2024-06-01T08:30:00+07",
            "2024-06-01T08:30+07:00",
            "2024-06-01T01:30Z",
            "2024-05-31T20:30:00-05:00",
        ] {
            assert_eq!(
                text(written).as_deref(),
                Some("2024-06-01T01:30:00Z"),
                "{written}"
            );
        }
    }

    #[test]
    fn instants_are_truncated_to_microseconds() {
        assert_eq!(
            text("2024-06-01T01:30:00.1234569Z").as_deref(),
            Some("2024-06-01T01:30:00.123456Z")
        );
        assert_eq!(
            text("2016-12-31T23:59:60Z").as_deref(),
            Some("2017-01-01T00:00:00Z")
        );
    }

    #[test]
    fn invalid_instants_are_refused() {
        for written in [
            "",
            "2024-06-01",
            "2024-06-01T08:30:00",
            "2024-06-01T24:30:00Z",
            "2024-02-30T00:00:00Z",
            "1717205400000",
            "yesterday",
            "2024-06-01T08:30:00+99:00",
            "2024-06-01T08:30:00+",
            "๒๐๒๔-06-01T08:30:00Z",
            "+010000-01-01T00:00:00Z",
        ] {
            assert_eq!(text(written), None, "{written}");
        }
        assert_eq!(text(&"9".repeat(1000)), None);
    }

    #[test]
    fn entries_are_between_seven_years_old_and_five_minutes_ahead() {
        let at = |written| parse_instant(written).unwrap();
        let now = at("2024-02-29T12:00:00Z");
        assert_eq!(check_logged_at(at("2024-02-29T12:05:00Z"), now), Ok(()));
        let ahead = check_logged_at(at("2024-02-29T12:05:00.001Z"), now);
        assert_eq!(ahead, Err(DomainError::LoggedAtInFuture));
        assert_eq!(check_logged_at(at("2017-02-28T12:00:00Z"), now), Ok(()));
        let old = check_logged_at(at("2017-02-28T11:59:59Z"), now);
        assert_eq!(old, Err(DomainError::LoggedAtTooOld));
        for end in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            assert_eq!(check_logged_at(end, end), Ok(()));
        }
    }

    #[test]
    fn a_time_has_at_most_64_characters_all_of_them_ascii() {
        let decimals = |count| format!("2024-06-01T01:30:00.{}Z", "0".repeat(count));
        assert_eq!(decimals(43).len(), 64);
        assert_eq!(text(&decimals(43)).as_deref(), Some("2024-06-01T01:30:00Z"));
        assert_eq!(text(&decimals(44)), None);
        // U+2212, a minus sign that no keyboard types.
        assert_eq!(text("2024-05-31T20:30:00\u{2212}05:00"), None);
    }

    #[test]
    fn zones_and_minutes_are_written_with_all_their_digits() {
        for written in [
            "2024-06-01T08:30:00+7:00",
            "2024-06-01T08:30:00+07:0",
            "2024-06-01T08:30:00+070",
            "2024-06-01T08:30:00+07:000",
            "2024-06-01T08-30Z",
            "2024-06-01T083000Z",
            "2024-06-01T08:3+07:00",
        ] {
            assert_eq!(text(written), None, "{written}");
        }
    }

    #[test]
    fn retention_is_seven_years() {
        assert_eq!(OLDEST_MONTHS, 84);
    }

    #[test]
    fn a_year_of_the_buddhist_era_is_distinguished_from_one_that_is_only_ahead() {
        let at = |written| parse_instant(written).unwrap();
        let now = at("2026-11-28T12:00:00Z");
        for (written, error) in [
            ("2569-11-28T12:00:00Z", DomainError::LoggedAtBuddhistEra),
            ("2560-01-01T00:00:00Z", DomainError::LoggedAtBuddhistEra),
            ("2570-01-01T00:00:00Z", DomainError::LoggedAtBuddhistEra),
            ("2469-01-01T00:00:00Z", DomainError::LoggedAtBuddhistEra),
            ("2468-12-31T23:59:59Z", DomainError::LoggedAtInFuture),
            ("2571-01-01T00:00:00Z", DomainError::LoggedAtInFuture),
            ("2027-11-28T12:00:00Z", DomainError::LoggedAtInFuture),
        ] {
            assert_eq!(check_logged_at(at(written), now), Err(error), "{written}");
        }
    }

    #[test]
    fn a_date_exists_and_is_no_later_than_tomorrow_anywhere() {
        let now = parse_instant("2026-11-28T09:59:59Z").unwrap();
        let read = |text: &str| parse_date(text, now).map(|date| date.to_string());
        for good in ["2026-11-29", "2024-02-29", "0001-01-01"] {
            assert_eq!(read(good).as_deref(), Ok(good));
        }
        // On Kiritimati it is 23:59 of the same day, and a second later the next.
        assert_eq!(read("2026-11-30"), Err(DomainError::DateInFuture));
        let later = parse_instant("2026-11-28T10:00:00Z").unwrap();
        assert!(parse_date("2026-11-30", later).is_ok());
        for (text, error) in [
            ("0000-01-01", DomainError::DateInvalid),
            ("2023-02-29", DomainError::DateInvalid),
            ("2024-2-9", DomainError::DateInvalid),
            ("24-02-09", DomainError::DateInvalid),
            ("2024-02-09T00:00", DomainError::DateInvalid),
            ("+024-02-09", DomainError::DateInvalid),
            ("๒๕๖๙-๑", DomainError::DateInvalid),
            ("05/11/2026", DomainError::DateInvalid),
            ("now", DomainError::DateInvalid),
            ("", DomainError::DateInvalid),
            ("2569-11-28", DomainError::DateBuddhistEra),
            ("2027-11-28", DomainError::DateInFuture),
            ("9999-12-31", DomainError::DateInFuture),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_month_exists_and_has_begun_by_tomorrow() {
        let now = parse_instant("2026-11-29T10:00:00Z").unwrap();
        let read = |text: &str| parse_month(text, now).map(|first| first.to_string());
        assert_eq!(read("2026-11").as_deref(), Ok("2026-11-01"));
        assert_eq!(read("2026-12").as_deref(), Ok("2026-12-01"));
        for (text, error) in [
            ("2026-13", DomainError::MonthInvalid),
            ("0000-01", DomainError::MonthInvalid),
            ("2026-1", DomainError::MonthInvalid),
            ("2026-11-01", DomainError::MonthInvalid),
            ("2027-01", DomainError::DateInFuture),
            ("2569-11", DomainError::DateBuddhistEra),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
    }
}
