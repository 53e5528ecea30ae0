//! Removes from entries what PostgreSQL's own JSON cannot store, for callers that pass them to it before their fields are
//! validated.

use chrono::{DateTime, Utc};
use serde_json::{Map, Number, Value};

use super::{ENTRY_FIELDS, ENTRY_LEVELS};
use crate::error::DomainError;
use crate::json;

/// The changes of an entry, given as JSON text, in a form that PostgreSQL can store. The same fields refuse the
/// replacements for the same reason.
///
/// # Errors
/// `NotAnObject` for anything but an object.
pub fn storable_changes(changes: &str, now: DateTime<Utc>) -> Result<Value, DomainError> {
    match json::read(changes, ENTRY_LEVELS) {
        Some(Value::Object(members)) => Ok(Value::Object(storable_members(members, now))),
        _ => Err(DomainError::NotAnObject),
    }
}

/// Fields whose values are names from a list.
const NAMES: [&str; 2] = ["category_id", "disposal_method"];

/// The members that are fields, without what PostgreSQL cannot store: U+0000, half surrogate pairs (parsed as U+0000) and
/// endless numbers. The same fields refuse the replacements for the same reason.
#[must_use]
pub fn storable_members(members: Map<String, Value>, now: DateTime<Utc>) -> Map<String, Value> {
    let fields = members
        .into_iter()
        .filter(|(name, _)| ENTRY_FIELDS.contains(&name.as_str()));
    fields
        .map(|(name, value)| {
            let value = match value {
                // Zero kilograms are out of range, too.
                Value::Number(number) => storable_number(&name, number, 0, now),
                Value::Bool(_) | Value::Null => value,
                // Any text could be a name, but no category or method has U+FFFD in its name.
                Value::String(text) if text.contains('\0') && NAMES.contains(&name.as_str()) => {
                    Value::from(text.replace('\0', "\u{fffd}"))
                }
                Value::String(text) if text.contains('\0') => Value::from(false),
                Value::String(_) => value,
                Value::Object(point) => plain_members(point, now),
                Value::Array(_) => Value::from(false),
            };
            (name, value)
        })
        .collect()
}

/// A location with its two numbers only; out of range stays out of range.
fn plain_members(point: Map<String, Value>, now: DateTime<Utc>) -> Value {
    let numbers = point.into_iter().filter_map(|(name, value)| {
        let field = match name.as_str() {
            "latitude" => "location_lat",
            "longitude" => "location_lng",
            _ => return None,
        };
        match value {
            Value::Number(number) => Some((name, storable_number(field, number, 999, now))),
            _ => None,
        }
    });
    Value::Object(numbers.collect())
}

/// The number as it was written; an endless one in the normal form of its field or, if the field refuses it, `refused`,
/// which the field refuses as well.
fn storable_number(field: &str, number: Number, refused: i32, now: DateTime<Utc>) -> Value {
    if !is_endless(&number) {
        return Value::Number(number);
    }
    let normal = super::field(field, Some(number.as_str()), now)
        .ok()
        .flatten();
    let normal = normal.and_then(|text| text.parse().ok());
    normal.map_or_else(|| Value::from(refused), Value::Number)
}

/// Whether a number is longer than any sensible one, such as `1e999999`.
fn is_endless(number: &Number) -> bool {
    let text = number.as_str();
    text.len() > 40
        || text
            .split_once(['e', 'E'])
            .is_some_and(|(_, exponent)| exponent.trim_start_matches(['+', '-', '0']).len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_number_becomes_the_normal_form_of_its_field() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let changed = |changes: &str| storable_changes(changes, now).unwrap().to_string();
        let exact = "0.1000000000000000055511151231257827021181583404541015625";
        for (sent, stored) in [
            (
                r#"{"weight_kg":0.30000000000000004}"#.to_owned(),
                r#"{"weight_kg":0.30000000000000004}"#,
            ),
            (
                format!(r#"{{"weight_kg":{exact}}}"#),
                r#"{"weight_kg":0.100}"#,
            ),
            (
                format!(r#"{{"location":{{"latitude":{exact},"longitude":-1e-400}}}}"#),
                r#"{"location":{"latitude":0.1,"longitude":0}}"#,
            ),
            (r#"{"notes":1e-999}"#.to_owned(), r#"{"notes":0}"#),
        ] {
            assert_eq!(changed(&sent), stored);
        }
    }

    #[test]
    fn a_number_of_forty_characters_or_with_a_two_digit_exponent_stays_as_it_was_written() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let changed = |weight: &str| {
            let changes = format!(r#"{{"weight_kg":{weight}}}"#);
            storable_changes(&changes, now).unwrap()["weight_kg"].to_string()
        };
        let forty = format!("1.{}", "5".repeat(38));
        for stays in [&forty, "1.5e-10", "1e+00000099", "1e+99"] {
            assert_eq!(changed(stays), stays);
        }
        assert_eq!(changed(&format!("{forty}5")), "1.556");
        for refused in ["1e100", "1e+0000100"] {
            assert_eq!(changed(refused), "0", "{refused}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_stored_stays_a_text_that_names_nothing() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let changes = r#"{"category_id":"food\u0000waste","disposal_method":"compo\u0000sted"}"#;
        assert_eq!(
            storable_changes(changes, now).unwrap().to_string(),
            "{\"category_id\":\"food\u{fffd}waste\",\"disposal_method\":\"compo\u{fffd}sted\"}"
        );
    }

    #[test]
    fn half_an_emoji_and_endless_nesting_fail_only_their_own_field() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let changes =
            format!(r#"{{"notes":"a\ud83d","place":{deep},"offline_id":"a","x":"\u0000"}}"#);
        let stored = storable_changes(&changes, now).unwrap();
        assert_eq!(
            stored.to_string(),
            r#"{"notes":false,"offline_id":"a","place":false}"#
        );
        for other in ["[]", "null", "{", "1"] {
            assert_eq!(storable_changes(other, now), Err(DomainError::NotAnObject));
        }
    }
}
