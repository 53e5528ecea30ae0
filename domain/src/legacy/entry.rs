//! One entry of an old diary: its members, and their values after aliases, rounding and repair.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::entry::{Location, MAX_OFFLINE_ID_CHARS, MAX_PLACE_CHARS, check_device_id, uuid};
use crate::error::DomainError;
use crate::identity::identity;
use crate::raw_json::{Kind, Text, each_member, kind};
use crate::time::{check_logged_at, parse_instant};
use crate::units::{Degrees, Weight};
use crate::waste::{category_alias, current, method_alias};
use crate::zone;

/// Longest notes imported from an old diary, in Unicode scalar values (the API's own limit is 500).
pub const MAX_LEGACY_NOTES_CHARS: usize = 4_000;

/// The form in which a key's entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryShape {
    /// As the app stores them: `{id, categoryId, disposal, weight, timestamp, …}`.
    App,
    /// The same, or `{type, data: entry, …}`.
    Queue,
    /// As clients send them to the API: `{offline_id, category_id, disposal_method, weight_kg, logged_at, …}`.
    Api,
}

/// What an entry to import says, by the names of its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryColumns {
    /// Category, after aliases.
    pub category_id: &'static str,
    /// Method, after aliases.
    pub disposal_method: &'static str,
    /// Kilograms.
    #[serde(rename = "weight_kg")]
    pub weight: Weight,
    /// When it was logged.
    #[serde(serialize_with = "instant")]
    pub logged_at: DateTime<Utc>,
    /// The zone where it was logged (normalised payload only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// At most 4,000 characters.
    pub notes: Option<String>,
    /// At most 200 characters.
    pub place: Option<String>,
    /// Degrees (normalised payload only).
    pub location_lat: Option<Degrees>,
    /// Degrees (normalised payload only).
    pub location_lng: Option<Degrees>,
    /// UUID (normalised payload only).
    pub image_id: Option<String>,
    /// The entry's own device, else the payload's.
    pub device_id: Option<String>,
}

fn instant<S: Serializer>(instant: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::time::instant_text(*instant))
}

/// An entry that can be imported.
#[derive(Debug, PartialEq)]
pub(super) struct ParsedEntry {
    pub id: Option<String>,
    pub identity: [u8; 16],
    pub columns: EntryColumns,
    /// Fields whose text had to be changed, and how.
    pub changes: Vec<(&'static str, &'static str)>,
}

/// An entry that cannot be imported.
#[derive(Debug, PartialEq)]
pub(super) struct RejectedEntry {
    /// Its id, if it has one that can be shown.
    pub id: Option<String>,
    pub error: DomainError,
}

/// The members of an entry that are fields; of repeated ones the last counts, as in the browser.
#[derive(Default)]
struct Members<'a> {
    id: Option<&'a RawValue>,
    offline_id: Option<&'a RawValue>,
    category: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    weight: Option<&'a RawValue>,
    logged_at: Option<&'a RawValue>,
    time_zone: Option<&'a RawValue>,
    notes: Option<&'a RawValue>,
    place: Option<&'a RawValue>,
    location: Option<&'a RawValue>,
    image: Option<&'a RawValue>,
    device: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

impl<'a> Members<'a> {
    fn of(object: &'a RawValue, shape: EntryShape) -> Members<'a> {
        let mut members = Members::default();
        each_member(object, |name, value| {
            let slot = if shape == EntryShape::Api {
                members.api_slot(name)
            } else {
                members.app_slot(name)
            };
            if let Some(slot) = slot {
                *slot = Some(value).filter(|value| kind(value) != Kind::Null);
            }
        });
        members
    }

    fn app_slot(&mut self, name: &[u8]) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            b"id" => &mut self.id,
            b"categoryId" => &mut self.category,
            b"disposal" => &mut self.method,
            b"weight" => &mut self.weight,
            b"timestamp" => &mut self.logged_at,
            b"notes" => &mut self.notes,
            b"location" => &mut self.place,
            b"data" => &mut self.data,
            _ => return None,
        })
    }

    fn api_slot(&mut self, name: &[u8]) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            b"id" => &mut self.id,
            b"offline_id" => &mut self.offline_id,
            b"category_id" => &mut self.category,
            b"disposal_method" => &mut self.method,
            b"weight_kg" => &mut self.weight,
            b"logged_at" => &mut self.logged_at,
            b"time_zone" => &mut self.time_zone,
            b"notes" => &mut self.notes,
            b"place" => &mut self.place,
            b"location" => &mut self.location,
            b"image_id" => &mut self.image,
            b"device_id" => &mut self.device,
            _ => return None,
        })
    }
}

/// Parses one entry.
///
/// # Errors
/// The first thing that is wrong with it, and the id it can be found by.
pub(super) fn read(
    value: &RawValue,
    shape: EntryShape,
    now: DateTime<Utc>,
) -> Result<ParsedEntry, RejectedEntry> {
    if kind(value) != Kind::Object {
        return Err(RejectedEntry {
            id: None,
            error: DomainError::NotAnObject,
        });
    }
    let mut members = Members::of(value, shape);
    if shape == EntryShape::Queue
        && members.category.is_none()
        && let Some(data) = members.data.filter(|data| kind(data) == Kind::Object)
    {
        members = Members::of(data, EntryShape::App);
    }
    let mut changes = Vec::new();
    let shown = |id: Option<String>| move |error| RejectedEntry { id, error };
    if shape == EntryShape::Api {
        let id = offline_id(members.offline_id, &mut changes);
        let own = members
            .id
            .and_then(|id| usable_id(id, "id", &mut Vec::new()));
        let shown_id = id.clone().unwrap_or_default().or(own);
        id.and_then(|id| members.read(id, now, changes))
            .map_err(shown(shown_id))
    } else {
        let id = members.id.and_then(|id| usable_id(id, "id", &mut changes));
        members.read(id.clone(), now, changes).map_err(shown(id))
    }
}

impl Members<'_> {
    fn read(
        &self,
        id: Option<String>,
        now: DateTime<Utc>,
        mut changes: Vec<(&'static str, &'static str)>,
    ) -> Result<ParsedEntry, DomainError> {
        let (category_id, disposal_method) = pair(self.category, self.method)?;
        let weight = weight(self.weight)?;
        let logged_at = logged_at(self.logged_at, now)?;
        let time_zone = self.time_zone.map(time_zone).transpose()?;
        let location = self.location.map(point).transpose()?;
        let image_id = self.image.map(image_id).transpose()?;
        let device_id = self.device.map(device_id).transpose()?;
        let notes = free_text(self.notes, "notes", MAX_LEGACY_NOTES_CHARS, &mut changes);
        let place = free_text(self.place, "place", MAX_PLACE_CHARS, &mut changes);
        let identity = identity(
            id.as_deref(),
            category_id,
            disposal_method,
            weight.grams(),
            logged_at,
        );
        Ok(ParsedEntry {
            id,
            identity,
            columns: EntryColumns {
                category_id,
                disposal_method,
                weight,
                logged_at,
                time_zone,
                notes,
                place,
                location_lat: location.map(|location| location.latitude),
                location_lng: location.map(|location| location.longitude),
                image_id,
                device_id,
            },
            changes,
        })
    }
}

/// Text or a number, as text. A text that is too long is replaced by its hash, so that two of them remain different.
fn usable_id(
    value: &RawValue,
    field: &'static str,
    changes: &mut Vec<(&'static str, &'static str)>,
) -> Option<String> {
    let text = match kind(value) {
        Kind::Text(raw) => repaired(raw, field, changes),
        Kind::Number(text) => Text {
            text: text.to_owned(),
            ..Text::default()
        },
        _ => return None,
    };
    if text.text.is_empty() {
        return None;
    }
    if text.text.chars().nth(MAX_OFFLINE_ID_CHARS).is_none() {
        return Some(text.text);
    }
    changes.push((field, "hashed"));
    let digest = Sha256::digest(text.text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256:{hex}"))
}

/// An API entry's own id: 1 to 200 characters.
fn offline_id(
    value: Option<&RawValue>,
    changes: &mut Vec<(&'static str, &'static str)>,
) -> Result<Option<String>, DomainError> {
    let Some(value) = value else { return Ok(None) };
    let Kind::Text(raw) = kind(value) else {
        return Err(DomainError::OfflineIdInvalid);
    };
    let text = repaired(raw, "offline_id", changes).text;
    let fits = !text.is_empty() && text.chars().nth(MAX_OFFLINE_ID_CHARS).is_none();
    if fits {
        Ok(Some(text))
    } else {
        Err(DomainError::OfflineIdInvalid)
    }
}

fn pair(
    category: Option<&RawValue>,
    method: Option<&RawValue>,
) -> Result<(&'static str, &'static str), DomainError> {
    let name = |value: Option<&RawValue>, missing, not_text| match kind(value.ok_or(missing)?) {
        Kind::Text(raw) => Ok(Text::decode(raw).text),
        _ => Err(not_text),
    };
    let category = name(
        category,
        DomainError::CategoryRequired,
        DomainError::CategoryNotText,
    )?;
    let category = current().category(category_alias(&category))?;
    let method = name(
        method,
        DomainError::MethodRequired,
        DomainError::MethodNotText,
    )?;
    Ok((category.id, category.method(method_alias(&method))?.id))
}

fn weight(value: Option<&RawValue>) -> Result<Weight, DomainError> {
    match kind(value.ok_or(DomainError::WeightRequired)?) {
        Kind::Number(text) => Weight::from_kg_text(text),
        _ => Err(DomainError::WeightNotANumber),
    }
}

fn logged_at(value: Option<&RawValue>, now: DateTime<Utc>) -> Result<DateTime<Utc>, DomainError> {
    let Kind::Text(raw) = kind(value.ok_or(DomainError::LoggedAtRequired)?) else {
        return Err(DomainError::LoggedAtInvalid);
    };
    let instant = parse_instant(&Text::decode(raw).text).ok_or(DomainError::LoggedAtInvalid)?;
    check_logged_at(instant, now)?;
    Ok(instant)
}

fn time_zone(value: &RawValue) -> Result<String, DomainError> {
    let Kind::Text(raw) = kind(value) else {
        return Err(DomainError::TimeZoneInvalid);
    };
    zone::canonical(&Text::decode(raw).text).map(str::to_owned)
}

fn point(value: &RawValue) -> Result<Location, DomainError> {
    let (mut latitude, mut longitude) = (None, None);
    each_member(value, |name, value| match (name, kind(value)) {
        (b"latitude", Kind::Number(text)) => latitude = Some(text),
        (b"longitude", Kind::Number(text)) => longitude = Some(text),
        _ => {}
    });
    match (latitude, longitude) {
        (Some(latitude), Some(longitude)) => Location::from_text(latitude, longitude),
        _ => Err(DomainError::LocationInvalid),
    }
}

fn image_id(value: &RawValue) -> Result<String, DomainError> {
    match kind(value) {
        Kind::Text(raw) => uuid(&Text::decode(raw).text).ok_or(DomainError::ImageIdInvalid),
        _ => Err(DomainError::ImageIdInvalid),
    }
}

fn device_id(value: &RawValue) -> Result<String, DomainError> {
    let Kind::Text(raw) = kind(value) else {
        return Err(DomainError::DeviceIdInvalid);
    };
    let text = Text::decode(raw).text;
    check_device_id(&text)?;
    Ok(text)
}

/// Text that never makes an entry fail: it is repaired, cut, or (if it is not text at all) dropped.
fn free_text(
    value: Option<&RawValue>,
    field: &'static str,
    max_chars: usize,
    changes: &mut Vec<(&'static str, &'static str)>,
) -> Option<String> {
    let Kind::Text(raw) = kind(value?) else {
        changes.push((field, "not_text_dropped"));
        return None;
    };
    let mut text = repaired(raw, field, changes);
    if text.cut(max_chars) {
        changes.push((field, "cut"));
    }
    Some(text.text).filter(|text| !text.is_empty())
}

fn repaired(
    raw: &str,
    field: &'static str,
    changes: &mut Vec<(&'static str, &'static str)>,
) -> Text {
    let text = Text::decode(raw);
    if text.nul_dropped {
        changes.push((field, "nul_dropped"));
    }
    if text.surrogates_replaced {
        changes.push((field, "surrogate_replaced"));
    }
    text
}
