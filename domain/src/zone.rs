//! Time zones: which names are valid, and the day of an instant in one.
//!
//! Names and rules are those of the IANA database in chrono-tz, behind the feature `time-zones`. The extension contains
//! them, so that local days do not depend on the server's files. The Worker does without and only checks the form of a
//! name; the database then checks whether the zone exists.

#[cfg(feature = "time-zones")]
use std::collections::HashMap;
#[cfg(feature = "time-zones")]
use std::sync::OnceLock;

#[cfg(feature = "time-zones")]
use chrono::{DateTime, NaiveDate, Offset, TimeZone, Utc};
#[cfg(feature = "time-zones")]
use chrono_tz::Tz;

use crate::error::DomainError;

/// The longest IANA name has 32 characters.
const MAX_NAME_CHARS: usize = 50;

/// Whether a name has the form of an IANA name: parts of letters, digits, `_`, `+`, `-`, joined by slashes.
fn has_shape(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-');
    let part = |part: &str| !part.is_empty() && part.bytes().all(letter);
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic());
    name.len() <= MAX_NAME_CHARS && starts_well && name.split('/').all(part)
}

/// The name by which a zone is stored: a replaced name becomes its replacement (`Asia/Saigon` becomes
/// `Asia/Ho_Chi_Minh`), `UTC` becomes `Etc/UTC`. Without the feature `time-zones` any name of the right form is unchanged.
///
/// Names are written exactly as IANA writes them. Abbreviations (`EST`, `ICT`), offsets, `localtime`, `Factory`,
/// `posix/…` and `right/…` are not names of places and are refused.
///
/// # Errors
/// [`DomainError::TimeZoneInvalid`]
pub fn canonical(name: &str) -> Result<&str, DomainError> {
    if !has_shape(name) {
        return Err(DomainError::TimeZoneInvalid);
    }
    #[cfg(feature = "time-zones")]
    {
        if let Some(today) = links().get(name) {
            return Ok(today);
        }
        if !name.contains('/') || name.parse::<Tz>().is_err() {
            return Err(DomainError::TimeZoneInvalid);
        }
    }
    Ok(name)
}

#[cfg(feature = "time-zones")]
fn links() -> &'static HashMap<&'static str, &'static str> {
    static LINKS: OnceLock<HashMap<&str, &str>> = OnceLock::new();
    LINKS.get_or_init(|| {
        include_str!("../data/time-zone-links.txt")
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(name, _)| *name != "#")
            .collect()
    })
}

/// The day of an instant in a time zone. An unknown name counts as Asia/Bangkok, so that everything that was ever stored
/// can be read, counted and restored.
#[cfg(feature = "time-zones")]
#[must_use]
pub fn local_day(at: DateTime<Utc>, zone: &str) -> NaiveDate {
    let zone = zone.parse().unwrap_or(Tz::Asia__Bangkok);
    let utc = at.naive_utc();
    let offset = zone.offset_from_utc_datetime(&utc).fix();
    utc.checked_add_offset(offset).unwrap_or(utc).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_another_form_are_refused() {
        for name in [
            "",
            "/",
            "Asia/",
            "Asia//Bangkok",
            "+07:00",
            "Asia/Bang kok",
            "กรุงเทพ",
            "7",
            &"A".repeat(51),
        ] {
            assert_eq!(canonical(name), Err(DomainError::TimeZoneInvalid), "{name}");
        }
        assert_eq!(canonical("Asia/Bangkok"), Ok("Asia/Bangkok"));
    }

    #[test]
    fn a_time_zone_s_name_is_made_of_parts_and_has_at_most_fifty_letters() {
        let fits = has_shape;
        for good in [
            "UTC",
            "Etc/GMT+7",
            "America/Argentina/Buenos_Aires",
            &format!("A/{}", "b".repeat(48)),
        ] {
            assert!(fits(good), "{good}");
        }
        for bad in [
            "",
            "7UTC",
            "/Asia",
            "Asia/",
            "Asia/Bang kok",
            "Asia/กรุงเทพ",
            &format!("A/{}", "b".repeat(49)),
        ] {
            assert!(!fits(bad), "{bad}");
        }
    }

    #[cfg(feature = "time-zones")]
    mod with_the_table {
        use super::*;

        #[test]
        fn a_replaced_name_becomes_its_replacement() {
            for (name, today) in [
                ("Asia/Saigon", "Asia/Ho_Chi_Minh"),
                ("Asia/Calcutta", "Asia/Kolkata"),
                ("Asia/Rangoon", "Asia/Yangon"),
                ("Europe/Kiev", "Europe/Kyiv"),
                ("US/Pacific", "America/Los_Angeles"),
                ("UTC", "Etc/UTC"),
                ("GMT", "Etc/GMT"),
                ("Japan", "Asia/Tokyo"),
                ("Asia/Vientiane", "Asia/Vientiane"),
                ("Asia/Phnom_Penh", "Asia/Phnom_Penh"),
                ("Etc/GMT-7", "Etc/GMT-7"),
            ] {
                assert_eq!(canonical(name), Ok(today), "{name}");
            }
        }

        #[test]
        fn names_that_are_not_of_places_are_refused() {
            for name in [
                "localtime",
                "Factory",
                "posixrules",
                "posix/Asia/Bangkok",
                "right/Asia/Bangkok",
                "EST",
                "ICT",
                "PST8PDT",
                "asia/bangkok",
                "Asia/BANGKOK",
                "Asia/Atlantis",
                "XYZ+5",
            ] {
                assert_eq!(canonical(name), Err(DomainError::TimeZoneInvalid), "{name}");
            }
        }

        #[test]
        fn every_link_leads_to_a_zone_with_the_same_offsets() {
            assert!(links().len() > 100);
            for (name, today) in links() {
                assert_eq!(canonical(today), Ok(*today), "{name} leads to {today}");
                let (old, new): (Tz, Tz) = (name.parse().unwrap(), today.parse().unwrap());
                for month in 0..24 {
                    let at =
                        DateTime::from_timestamp(1_700_000_000 + month * 2_629_746, 0).unwrap();
                    let hours = |zone: Tz| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
                    assert_eq!(hours(old), hours(new), "{name} and {today} at {at}");
                }
            }
        }

        #[test]
        fn a_day_is_that_of_the_zone_or_of_bangkok_for_an_unknown_zone() {
            let at = crate::time::parse_instant("2024-06-01T18:30:00Z").unwrap();
            let day = |zone| local_day(at, zone).to_string();
            assert_eq!(day("Etc/UTC"), "2024-06-01");
            assert_eq!(day("Asia/Bangkok"), "2024-06-02");
            assert_eq!(day("America/Los_Angeles"), "2024-06-01");
            for gone in ["Mars/Base", "", "localtime"] {
                assert_eq!(day(gone), "2024-06-02", "{gone}");
            }
            for end in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
                for zone in ["Etc/GMT-14", "Etc/GMT+12"] {
                    let _ = local_day(end, zone);
                }
            }
        }
    }
}
