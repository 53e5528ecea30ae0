//! What users may change in their profile and preferences, field by field.

use serde_json::{Map, Value};

use crate::error::{DomainError, FieldError};
use crate::lang::Lang;
use crate::province;
use crate::units::{is_whole, scaled_decimal};
use crate::zone;

/// Credits a day that a user may aim for.
const DAILY_GOAL: std::ops::RangeInclusive<i64> = 1..=100_000;
/// Longest user name, as in the source document's column.
const MAX_USERNAME_CHARS: usize = 50;
const MIN_USERNAME_CHARS: usize = 3;
/// User names that could be taken for the service itself. They are compared by [`skeleton`]: case-insensitively, without
/// separators, and with digits as the letters that they resemble. The last lines are Thai in Latin letters: ผู้ดูแล (in
/// charge), เจ้าหน้าที่ (official), ระบบ (system), ทีมงาน (staff), ช่วยเหลือ (help), แอดมิน (admin).
const RESERVED_USERNAMES: [&str; 62] = [
    "admin",
    "admins",
    "administrator",
    "sysadmin",
    "root",
    "superuser",
    "owner",
    "operator",
    "moderator",
    "mod",
    "staff",
    "team",
    "official",
    "system",
    "support",
    "help",
    "helpdesk",
    "helpcenter",
    "info",
    "contact",
    "service",
    "security",
    "abuse",
    "billing",
    "privacy",
    "legal",
    "press",
    "news",
    "noreply",
    "donotreply",
    "postmaster",
    "hostmaster",
    "webmaster",
    "mailerdaemon",
    "nobody",
    "anonymous",
    "guest",
    "everyone",
    "null",
    "undefined",
    "unknown",
    "deleted",
    "api",
    "www",
    "carbon",
    "carbonpixel",
    "carbonpixels",
    "carbonpixelsadmin",
    "carbonpixelsteam",
    "carbonpixelsofficial",
    "carbonpixelssupport",
    "tgo",
    "phudulae",
    "pudulae",
    "phudulaerabob",
    "chaonathi",
    "jaonatee",
    "rabob",
    "teamngan",
    "chuailuea",
    "chuayluea",
    "aedmin",
];
/// Longest theme name, as in the source document's column.
const MAX_THEME_CHARS: usize = 20;
/// More switches than there will ever be push categories.
const MAX_SWITCHES: usize = 30;

/// The result of checking one field.
type Checked = Result<Value, FieldError>;

/// Normalises a change of the profile: missing = unchanged, null clears (a flag goes back to its default).
///
/// Texts are trimmed, `th-TH` becomes `th`. PostgreSQL checks whether a user name is taken; time zones
/// are parsed by [`zone::canonical`].
///
/// # Errors
/// One error for every invalid field, in the order of the names. Read-only and unknown fields are errors too, so that a
/// typing mistake does not pass as a change.
pub fn parse_changes(changes: &Value) -> Result<Map<String, Value>, Vec<FieldError>> {
    let Value::Object(members) = changes else {
        return Err(vec![FieldError::new("", DomainError::NotAnObject)]);
    };
    let mut out = Map::new();
    let mut errors = Vec::new();
    for (name, value) in members {
        match field(name, value) {
            Ok(value) => drop(out.insert(name.clone(), value)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(out)
    } else {
        Err(errors)
    }
}

/// Checks and normalises one field of the profile; null returns the value after clearing it.
///
/// # Errors
/// What is wrong with it.
pub fn field(name: &str, value: &Value) -> Checked {
    if value.is_null() {
        return cleared(name);
    }
    let checked = match name {
        "username" => username(value),
        "display_name" => name_of(value, DomainError::DisplayNameInvalid),
        "district" => name_of(value, DomainError::DistrictInvalid),
        "province" => province_code(value),
        "privacy_level" => integer(value, 1..=3).ok_or(DomainError::PrivacyLevelInvalid),
        "visible_in_leaderboard" | "onboarding_completed" | "auto_sync" => flag(value),
        "language" => language(value),
        "time_zone" => time_zone(value),
        "daily_goal" => integer(value, DAILY_GOAL).ok_or(DomainError::DailyGoalInvalid),
        "measurement_unit" => measurement_unit(value),
        "theme" => theme(value),
        "notification_settings" => notification_settings(value),
        _ => Err(unwritable(name)),
    };
    checked.map_err(|error| named(name, error))
}

/// The value of a field after clearing it with null.
fn cleared(name: &str) -> Checked {
    match name {
        "privacy_level" => Ok(Value::from(1)),
        "visible_in_leaderboard" => Ok(Value::from(true)),
        "onboarding_completed" => Ok(Value::from(false)),
        "username"
        | "display_name"
        | "district"
        | "province"
        | "auto_sync"
        | "language"
        | "time_zone"
        | "daily_goal"
        | "measurement_unit"
        | "theme"
        | "notification_settings" => Ok(Value::Null),
        _ => Err(named(name, unwritable(name))),
    }
}

fn unwritable(name: &str) -> DomainError {
    match name {
        "id" | "is_anonymous" | "phone_number" | "avatar_url" | "created_at" | "updated_at"
        | "last_active_at" => DomainError::FieldReadOnly,
        _ => DomainError::UnknownField,
    }
}

/// Field names are the client's here, so they are cut, which bounds the error's length, and freed of U+0000.
fn named(name: &str, error: DomainError) -> FieldError {
    let name: String = name
        .chars()
        .filter(|character| *character != '\0')
        .take(64)
        .collect();
    FieldError::new(name, error)
}

fn flag(value: &Value) -> Result<Value, DomainError> {
    if value.is_boolean() {
        Ok(value.clone())
    } else {
        Err(DomainError::FlagInvalid)
    }
}

/// A whole number, which may be written `3.0` or `3e0`.
fn integer(value: &Value, range: std::ops::RangeInclusive<i64>) -> Option<Value> {
    let Value::Number(number) = value else {
        return None;
    };
    let integer = scaled_decimal(number.as_str(), 0, 12).ok()?;
    (is_whole(number.as_str()) && range.contains(&integer)).then(|| Value::from(integer))
}

fn username(value: &Value) -> Result<Value, DomainError> {
    let name = value.as_str().ok_or(DomainError::UsernameInvalid)?.trim();
    let fits = (MIN_USERNAME_CHARS..=MAX_USERNAME_CHARS).contains(&name.len());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !fits || !name.bytes().all(plain) {
        return Err(DomainError::UsernameInvalid);
    }
    if RESERVED_USERNAMES.map(skeleton).contains(&skeleton(name)) {
        return Err(DomainError::UsernameReserved);
    }
    Ok(name.into())
}

/// What a user name looks like at a glance: lower-case letters only, digits as the letters that they resemble.
fn skeleton(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| match character.to_ascii_lowercase() {
            '0' => 'o',
            '1' | 'l' => 'i',
            '3' => 'e',
            '4' => 'a',
            '5' => 's',
            '7' => 't',
            letter => letter,
        })
        .collect()
}

fn name_of(value: &Value, invalid: DomainError) -> Result<Value, DomainError> {
    let text = value.as_str().ok_or(invalid)?;
    name_text(text).map(Value::from).ok_or(invalid)
}

#[cfg(feature = "unicode-tables")]
use crate::text::name as name_text;

/// Without the tables a name is passed on unchanged, and the database checks it. Only what PostgreSQL cannot parse at all
/// is refused here.
#[cfg(not(feature = "unicode-tables"))]
fn name_text(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| text.to_owned())
}

fn province_code(value: &Value) -> Result<Value, DomainError> {
    let found = value.as_str().and_then(province::by_iso);
    found
        .map(|province| province.iso.into())
        .ok_or(DomainError::UnknownProvince)
}

fn language(value: &Value) -> Result<Value, DomainError> {
    let found = value
        .as_str()
        .filter(|tag| tag.len() <= 5)
        .and_then(Lang::from_tag);
    found
        .map(|lang| lang.code().into())
        .ok_or(DomainError::LanguageInvalid)
}

fn time_zone(value: &Value) -> Result<Value, DomainError> {
    let name = value.as_str().ok_or(DomainError::TimeZoneInvalid)?;
    zone::canonical(name).map(Value::from)
}

fn measurement_unit(value: &Value) -> Result<Value, DomainError> {
    match value.as_str() {
        Some(unit @ ("kg" | "g" | "lb")) => Ok(unit.into()),
        _ => Err(DomainError::MeasurementUnitInvalid),
    }
}

fn theme(value: &Value) -> Result<Value, DomainError> {
    match value.as_str() {
        Some(name) if is_slug(name, MAX_THEME_CHARS) => Ok(name.into()),
        _ => Err(DomainError::ThemeInvalid),
    }
}

/// Switches by name. Unknown names are stored, because a newer client may have more push categories.
fn notification_settings(value: &Value) -> Result<Value, DomainError> {
    let Value::Object(switches) = value else {
        return Err(DomainError::NotificationSettingsInvalid);
    };
    let valid = |(name, value): (&String, &Value)| is_slug(name, 50) && value.is_boolean();
    if switches.len() <= MAX_SWITCHES && switches.iter().all(valid) {
        Ok(value.clone())
    } else {
        Err(DomainError::NotificationSettingsInvalid)
    }
}

/// Lower-case letters, digits, dashes and underscores, beginning with a letter.
pub(crate) fn is_slug(text: &str, max_chars: usize) -> bool {
    let letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    text.len() <= max_chars
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error_of(name: &str, value: Value) -> DomainError {
        let errors = parse_changes(&json!({name: value})).unwrap_err();
        assert_eq!((errors.len(), errors[0].field.as_ref()), (1, name));
        errors[0].error
    }

    #[test]
    fn every_field_is_normalised() {
        let changes = json!({
            "username": " Somchai_1 ", "display_name": " สมชาย ใจดี ", "province": "TH-10", "district": "บางรัก",
            "privacy_level": 2, "visible_in_leaderboard": false, "language": "th-TH", "time_zone": "Asia/Bangkok",
            "daily_goal": 250, "measurement_unit": "g", "theme": "dark", "auto_sync": true,
            "notification_settings": {"daily_reminder": false}, "onboarding_completed": true,
        });
        let mut expected = changes.clone();
        expected["username"] = json!("Somchai_1");
        expected["display_name"] = json!("สมชาย ใจดี");
        expected["language"] = json!("th");
        assert_eq!(Value::Object(parse_changes(&changes).unwrap()), expected);
        assert_eq!(parse_changes(&json!({})).unwrap(), Map::new());
    }

    #[test]
    fn null_clears() {
        let changes = json!({"username": null, "theme": null, "privacy_level": null, "visible_in_leaderboard": null,
            "onboarding_completed": null});
        let expected = json!({"username": null, "theme": null, "privacy_level": 1, "visible_in_leaderboard": true,
            "onboarding_completed": false});
        assert_eq!(Value::Object(parse_changes(&changes).unwrap()), expected);
        assert_eq!(
            error_of("phone_number", Value::Null),
            DomainError::FieldReadOnly
        );
    }

    #[test]
    fn bad_values_are_named() {
        use DomainError as E;
        let long = "x".repeat(101);
        for (name, value, error) in [
            ("username", json!("ab"), E::UsernameInvalid),
            ("username", json!("a b c"), E::UsernameInvalid),
            ("username", json!(7), E::UsernameInvalid),
            ("username", json!("admin"), E::UsernameReserved),
            ("display_name", json!("  "), E::DisplayNameInvalid),
            ("display_name", json!("\u{3164}"), E::DisplayNameInvalid),
            ("display_name", json!("a\u{7}b"), E::DisplayNameInvalid),
            ("display_name", json!(long), E::DisplayNameInvalid),
            ("district", json!([]), E::DistrictInvalid),
            ("province", json!("TH-99"), E::UnknownProvince),
            ("privacy_level", json!(0), E::PrivacyLevelInvalid),
            ("privacy_level", json!("2"), E::PrivacyLevelInvalid),
            ("auto_sync", json!(1), E::FlagInvalid),
            ("language", json!("de"), E::LanguageInvalid),
            ("language", json!("th-and-more"), E::LanguageInvalid),
            ("time_zone", json!("Asia//Bangkok"), E::TimeZoneInvalid),
            ("time_zone", json!("+07:00"), E::TimeZoneInvalid),
            ("daily_goal", json!(0), E::DailyGoalInvalid),
            ("daily_goal", json!(2.5), E::DailyGoalInvalid),
            (
                "measurement_unit",
                json!("stone"),
                E::MeasurementUnitInvalid,
            ),
            ("theme", json!("Dark Mode"), E::ThemeInvalid),
            (
                "notification_settings",
                json!({"daily_reminder": "yes"}),
                E::NotificationSettingsInvalid,
            ),
            (
                "notification_settings",
                json!([true]),
                E::NotificationSettingsInvalid,
            ),
            ("id", json!("x"), E::FieldReadOnly),
            ("is_admin", json!(true), E::UnknownField),
        ] {
            assert_eq!(error_of(name, value.clone()), error, "{name} {value}");
        }
        let errors = parse_changes(&json!("x")).unwrap_err();
        assert_eq!(errors[0].error, E::NotAnObject);
    }

    #[test]
    fn user_names_that_could_be_taken_for_the_service_are_reserved() {
        for name in [
            "admin",
            "Admin",
            "a.d-m_i.n",
            "adm1n",
            "R00T",
            "carbon_pixels",
            "Carbon-Pixels",
            "carb0nplxels",
            "5upport",
            "phu_dulae",
            "-help-",
        ] {
            assert_eq!(
                error_of("username", json!(name)),
                DomainError::UsernameReserved,
                "{name}"
            );
        }
        for name in [
            "adminton",
            "somchai",
            "carbon_pixels_fan",
            "helper",
            "mod_erator2",
        ] {
            assert!(field("username", &json!(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_slug_is_lower_case_begins_with_a_letter_and_has_a_maximum_length() {
        for good in ["a", "dark", "dark-2", "high_contrast", &"x".repeat(10)] {
            assert!(is_slug(good, 10_usize.max(good.len())), "{good}");
        }
        for bad in [
            "", "2dark", "-dark", "_dark", "Dark", "dArk", "da rk", "dark.", "dé",
        ] {
            assert!(!is_slug(bad, 10), "{bad}");
        }
        assert!(is_slug(&"x".repeat(10), 10));
        assert!(!is_slug(&"x".repeat(11), 10));
    }

    #[test]
    fn what_is_stored_can_be_sent_again() {
        for (name, value) in [
            ("display_name", json!(" e\u{301}\u{200B} ")),
            ("district", json!("\u{FEFF}บางรัก")),
            ("username", json!(" a.b ")),
            ("language", json!("TH-th")),
            ("daily_goal", json!(5e1)),
        ] {
            let stored = field(name, &value).unwrap();
            assert_eq!(field(name, &stored), Ok(stored.clone()), "{name} {value}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_point() {
        let goal = |text: &str| integer(&serde_json::from_str(text).unwrap(), DAILY_GOAL);
        assert_eq!(goal("100.0"), Some(json!(100)));
        assert_eq!(goal("1e2"), Some(json!(100)));
        for text in ["100.0001", "1.00000000000000000000001", "1e999999999", "-5"] {
            assert_eq!(goal(text), None, "{text}");
        }
    }
}
