//! An entry as clients send it (the contract's "entry in"), validated field by field.

mod storable;

use chrono::{DateTime, Datelike, Utc};
use serde_json::{Map, Value};

use crate::error::{DomainError, FieldError};
use crate::json;
use crate::legacy::MAX_LEGACY_NOTES_CHARS;
use crate::time::{check_logged_at, instant_text, parse_instant};
use crate::units::{Degrees, Weight};
use crate::waste::{Category, current};
use crate::zone;

pub use storable::{storable_changes, storable_members};

/// Longest notes that the API accepts, in Unicode scalar values.
pub const MAX_NOTES_CHARS: usize = 500;
/// Longest place, in Unicode scalar values.
pub const MAX_PLACE_CHARS: usize = 200;
/// Longest device id, in Unicode scalar values.
pub const MAX_DEVICE_ID_CHARS: usize = 100;
/// Longest offline id, in Unicode scalar values.
pub const MAX_OFFLINE_ID_CHARS: usize = 200;
/// Most entries in one batch.
pub const MAX_BATCH_ENTRIES: usize = 500;

/// Levels of nesting: an entry has a location, which has numbers.
const ENTRY_LEVELS: usize = 2;

/// The members of an entry as clients send it; all others are ignored.
pub const ENTRY_FIELDS: [&str; 11] = [
    "category_id",
    "disposal_method",
    "weight_kg",
    "logged_at",
    "time_zone",
    "location",
    "notes",
    "place",
    "image_id",
    "device_id",
    "offline_id",
];

/// A valid entry of the current factor set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryIn {
    /// Category, one of the factor set's own.
    pub category_id: &'static str,
    /// Method, one of the category's own.
    pub disposal_method: &'static str,
    /// 10..=100,000 grams.
    pub weight: Weight,
    /// When it was logged, in microseconds; now if the client stated no time.
    pub logged_at: DateTime<Utc>,
    /// The zone where it was logged, by [`zone::canonical`]; the user's own if the client stated none.
    pub time_zone: Option<String>,
    /// Where it was logged, if the client stated it.
    pub location: Option<Location>,
    /// At most 500 characters, without U+0000.
    pub notes: Option<String>,
    /// Free text about the place, at most 200 characters, without U+0000.
    pub place: Option<String>,
    /// UUID in lower case.
    pub image_id: Option<String>,
    /// 1 to 100 characters.
    pub device_id: Option<String>,
    /// 1 to 200 characters: the client's own id, by which an entry that is sent again is recognised.
    pub offline_id: Option<String>,
}

/// A point on the globe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// -90..=90 degrees.
    pub latitude: Degrees,
    /// -180..=180 degrees.
    pub longitude: Degrees,
}

impl EntryIn {
    /// Parses one entry. Unknown members are ignored, also credits that a client sends; null means missing.
    ///
    /// The weight is taken from the number's text, so `value` must come from a parser with arbitrary precision.
    ///
    /// # Errors
    /// One error for every invalid field, in the order of the fields.
    pub fn parse(value: &Value, now: DateTime<Utc>) -> Result<EntryIn, Vec<FieldError>> {
        let Value::Object(members) = value else {
            return Err(vec![FieldError::new("", DomainError::NotAnObject)]);
        };
        let mut reader = Reader {
            members,
            errors: Vec::new(),
        };
        let pair = reader.pair();
        let weight = reader.take("weight_kg", weight);
        let logged_at = reader.take("logged_at", |value| logged_at(value, now));
        let time_zone = reader.take("time_zone", time_zone);
        let location = reader.location();
        let notes = reader.take("notes", |value| free_text(value, &NOTES));
        let place = reader.take("place", |value| free_text(value, &PLACE));
        let image_id = reader.take("image_id", image_id);
        let device_id = reader.take("device_id", |value| free_text(value, &DEVICE_ID));
        let offline_id = reader.take("offline_id", |value| free_text(value, &OFFLINE_ID));
        if weight.is_none() && !reader.has_error("weight_kg") {
            reader.errors.push(DomainError::WeightRequired.into());
        }
        match (pair, weight) {
            (Some((category_id, disposal_method)), Some(weight)) if reader.errors.is_empty() => {
                Ok(EntryIn {
                    category_id,
                    disposal_method,
                    weight,
                    logged_at: logged_at.unwrap_or_else(|| whole_micros(now)),
                    time_zone,
                    location,
                    notes,
                    place,
                    image_id,
                    device_id,
                    offline_id,
                })
            }
            _ => Err(reader.errors),
        }
    }

    /// Parses one entry from JSON text. A text that PostgreSQL cannot store (half a surrogate pair, U+0000) fails only its
    /// own field, and a deeply nested value does no harm where it is ignored.
    ///
    /// # Errors
    /// As [`EntryIn::parse`].
    pub fn read(text: &str, now: DateTime<Utc>) -> Result<EntryIn, Vec<FieldError>> {
        let value = json::read(text, ENTRY_LEVELS).unwrap_or_default();
        EntryIn::parse(&value, now)
    }

    /// The normalised entry in the form in which clients send it, without fields that were not stated.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("category_id".into(), self.category_id.into());
        out.insert("disposal_method".into(), self.disposal_method.into());
        out.insert("weight_kg".into(), serde_json::json!(self.weight));
        out.insert("logged_at".into(), instant_text(self.logged_at).into());
        if let Some(location) = self.location {
            let point =
                serde_json::json!({"latitude": location.latitude, "longitude": location.longitude});
            out.insert("location".into(), point);
        }
        let texts = [
            ("time_zone", &self.time_zone),
            ("notes", &self.notes),
            ("place", &self.place),
            ("image_id", &self.image_id),
            ("device_id", &self.device_id),
            ("offline_id", &self.offline_id),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                out.insert(name.into(), text.as_str().into());
            }
        }
        Value::Object(out)
    }
}

/// Validates one field on its own, for clients that write columns: `value` is JSON text, `None` is null. Returns the
/// field's normal form as text. `name` is one of [`ENTRY_FIELDS`], with `location_lat` and
/// `location_lng` in place of the location.
///
/// Values that an old entry may have are accepted, because it may be sent back unchanged: long notes of an import, and a
/// time that by now is more than 7 years ago. Whether they are new is unknown here.
///
/// # Errors
/// What is wrong with the value, and for a required field that it is missing.
pub fn field(
    name: &str,
    value: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<String>, DomainError> {
    let value = value.and_then(|text| json::read(text, ENTRY_LEVELS));
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return match name {
            "weight_kg" => Err(DomainError::WeightRequired),
            "logged_at" => Err(DomainError::LoggedAtRequired),
            "time_zone" => Err(DomainError::TimeZoneInvalid),
            "category_id" => Err(DomainError::CategoryRequired),
            "disposal_method" => Err(DomainError::MethodRequired),
            _ => Ok(None),
        };
    };
    let read = match name {
        "category_id" => category(&value).map(|category| category.id.to_owned()),
        "disposal_method" => value
            .as_str()
            .map(str::to_owned)
            .ok_or(DomainError::MethodNotText),
        "weight_kg" => weight(&value).map(Weight::kg_text),
        "logged_at" => no_later_than_now(&value, now).map(instant_text),
        "time_zone" => time_zone(&value),
        "location_lat" => degrees(&value, 90, DomainError::LatitudeOutOfRange),
        "location_lng" => degrees(&value, 180, DomainError::LongitudeOutOfRange),
        "notes" => free_text(&value, &KEPT_NOTES),
        "place" => free_text(&value, &PLACE),
        "image_id" => image_id(&value),
        "device_id" => free_text(&value, &DEVICE_ID),
        "offline_id" => free_text(&value, &OFFLINE_ID),
        _ => Err(DomainError::UnknownField),
    };
    read.map(Some)
}

fn no_later_than_now(value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, DomainError> {
    match logged_at(value, now) {
        // Before year 1 PostgreSQL writes times with BC; no entry is that old.
        Err(DomainError::LoggedAtTooOld) => value
            .as_str()
            .and_then(parse_instant)
            .filter(|instant| instant.year() >= 1)
            .ok_or(DomainError::LoggedAtTooOld),
        read => read,
    }
}

fn degrees(value: &Value, limit: i32, out_of_range: DomainError) -> Result<String, DomainError> {
    let text = number_text(value).ok_or(DomainError::LocationInvalid)?;
    Degrees::from_text(text, limit)
        .map(|degrees| degrees.to_string())
        .ok_or(out_of_range)
}

/// Reads the members and collects all errors.
struct Reader<'a> {
    members: &'a Map<String, Value>,
    errors: Vec<FieldError>,
}

impl<'a> Reader<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn has_error(&self, field: &str) -> bool {
        self.errors.iter().any(|error| error.field == field)
    }

    /// Reads an optional field; an invalid one is recorded and returns `None`.
    fn take<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Value) -> Result<T, DomainError>,
    ) -> Option<T> {
        match read(self.get(name)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.errors.push(FieldError::new(name, error));
                None
            }
        }
    }

    fn pair(&mut self) -> Option<(&'static str, &'static str)> {
        let category = self.required("category_id", DomainError::CategoryRequired, category);
        let method = self.required("disposal_method", DomainError::MethodRequired, |value| {
            value.as_str().ok_or(DomainError::MethodNotText)
        });
        let (category, method) = (category?, method?);
        match category.method(method) {
            Ok(method) => Some((category.id, method.id)),
            Err(error) => {
                self.errors.push(error.into());
                None
            }
        }
    }

    fn required<T>(
        &mut self,
        name: &'static str,
        missing: DomainError,
        read: impl FnOnce(&'a Value) -> Result<T, DomainError>,
    ) -> Option<T> {
        if self.get(name).is_none() {
            self.errors.push(FieldError::new(name, missing));
            return None;
        }
        self.take(name, read)
    }

    fn location(&mut self) -> Option<Location> {
        let location = self.get("location")?;
        let number = |name| location.get(name).and_then(number_text);
        let (Some(latitude), Some(longitude)) = (number("latitude"), number("longitude")) else {
            self.errors.push(DomainError::LocationInvalid.into());
            return None;
        };
        match Location::from_text(latitude, longitude) {
            Ok(location) => Some(location),
            Err(error) => {
                self.errors.push(error.into());
                None
            }
        }
    }
}

impl Location {
    /// Parses two JSON numbers; the range is checked before they are rounded half up.
    ///
    /// # Errors
    /// [`DomainError::LatitudeOutOfRange`], [`DomainError::LongitudeOutOfRange`]
    pub fn from_text(latitude: &str, longitude: &str) -> Result<Location, DomainError> {
        Ok(Location {
            latitude: Degrees::from_text(latitude, 90).ok_or(DomainError::LatitudeOutOfRange)?,
            longitude: Degrees::from_text(longitude, 180)
                .ok_or(DomainError::LongitudeOutOfRange)?,
        })
    }
}

/// A number's text as it was written; `None` for any other value.
fn number_text(value: &Value) -> Option<&str> {
    match value {
        Value::Number(number) => Some(number.as_str()),
        _ => None,
    }
}

fn category(value: &Value) -> Result<&'static Category, DomainError> {
    current().category(value.as_str().ok_or(DomainError::CategoryNotText)?)
}

fn weight(value: &Value) -> Result<Weight, DomainError> {
    Weight::from_kg_text(number_text(value).ok_or(DomainError::WeightNotANumber)?)
}

fn time_zone(value: &Value) -> Result<String, DomainError> {
    let name = value.as_str().ok_or(DomainError::TimeZoneInvalid)?;
    zone::canonical(name).map(str::to_owned)
}

fn logged_at(value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, DomainError> {
    let instant = value
        .as_str()
        .and_then(parse_instant)
        .ok_or(DomainError::LoggedAtInvalid)?;
    check_logged_at(instant, now)?;
    Ok(instant)
}

fn whole_micros(instant: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(instant.timestamp_micros()).unwrap_or(instant)
}

/// The rule of a text field.
struct TextRule {
    min_chars: usize,
    max_chars: usize,
    /// Not text, too short, or with U+0000, which PostgreSQL cannot store.
    invalid: DomainError,
    too_long: DomainError,
}

const NOTES: TextRule = TextRule {
    min_chars: 0,
    max_chars: MAX_NOTES_CHARS,
    invalid: DomainError::NotesInvalid,
    too_long: DomainError::NotesTooLong,
};
/// Notes that may have been imported.
const KEPT_NOTES: TextRule = TextRule {
    max_chars: MAX_LEGACY_NOTES_CHARS,
    ..NOTES
};
const PLACE: TextRule = TextRule {
    min_chars: 0,
    max_chars: MAX_PLACE_CHARS,
    invalid: DomainError::PlaceInvalid,
    too_long: DomainError::PlaceTooLong,
};
const DEVICE_ID: TextRule = TextRule {
    min_chars: 1,
    max_chars: MAX_DEVICE_ID_CHARS,
    invalid: DomainError::DeviceIdInvalid,
    too_long: DomainError::DeviceIdInvalid,
};
const OFFLINE_ID: TextRule = TextRule {
    min_chars: 1,
    max_chars: MAX_OFFLINE_ID_CHARS,
    invalid: DomainError::OfflineIdInvalid,
    too_long: DomainError::OfflineIdInvalid,
};

fn free_text(value: &Value, rule: &TextRule) -> Result<String, DomainError> {
    let text = value.as_str().ok_or(rule.invalid)?;
    if text.contains('\0') {
        return Err(rule.invalid);
    }
    let length = text.chars().count();
    if length > rule.max_chars {
        Err(rule.too_long)
    } else if length < rule.min_chars {
        Err(rule.invalid)
    } else {
        Ok(text.to_owned())
    }
}

fn image_id(value: &Value) -> Result<String, DomainError> {
    value
        .as_str()
        .and_then(uuid)
        .ok_or(DomainError::ImageIdInvalid)
}

/// A UUID in its usual notation (8-4-4-4-12 hexadecimal digits), in lower case.
pub(crate) fn uuid(text: &str) -> Option<String> {
    let shape = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    shape.then(|| text.to_ascii_lowercase())
}

/// Checks a device id: 1 to 100 characters without U+0000.
///
/// # Errors
/// [`DomainError::DeviceIdInvalid`]
pub fn check_device_id(text: &str) -> Result<(), DomainError> {
    free_text(&Value::from(text), &DEVICE_ID).map(|_| ())
}

#[cfg(test)]
mod tests;
