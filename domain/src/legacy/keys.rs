//! What each key of the payload holds.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Migration;
use super::collect::Collector;
use super::entry::EntryShape;
use super::preferences::{achievements, claim, finite_number, preferences, switches};
use crate::entry::check_device_id;
use crate::error::DomainError;
use crate::raw_json::{Kind, Text, decode_json, each_member, kind, parse};

/// What a key of the app's localStorage holds.
#[derive(Clone, Copy)]
enum KeyRole {
    Entries(EntryShape),
    Credits,
    Claim,
    Achievements,
    Preferences,
    Switches,
    Onboarding,
}

/// The keys that are read, in this order; of an entry in several keys the first occurrence is imported. Other keys are
/// ignored.
const KEYS: [(&str, KeyRole); 14] = [
    ("wasteEntries", KeyRole::Entries(EntryShape::App)),
    (
        "carbon-pixels-waste-entries",
        KeyRole::Entries(EntryShape::App),
    ),
    ("waste_entries_v2", KeyRole::Entries(EntryShape::App)),
    ("recentWasteEntries", KeyRole::Entries(EntryShape::App)),
    ("pending-sync", KeyRole::Entries(EntryShape::Queue)),
    (TOTAL_KEY, KeyRole::Credits),
    (OLD_TOTAL_KEY, KeyRole::Credits),
    ("carbon-pixels-user-stats", KeyRole::Claim),
    ("carbon-pixels-daily-streak", KeyRole::Claim),
    ("carbon-pixels-achievements", KeyRole::Achievements),
    ("notificationPreferences", KeyRole::Switches),
    ("userPreferences", KeyRole::Preferences),
    ("carbon-pixels-preferences", KeyRole::Preferences),
    ("onboarding_completed", KeyRole::Onboarding),
];

/// The total that the app shows, and the key that older builds used for it.
const TOTAL_KEY: &str = "carbonCredits";
const OLD_TOTAL_KEY: &str = "carbon_credits_v2";

/// The members of the payload itself; of repeated ones the last counts.
#[derive(Default)]
struct Payload<'a> {
    local_storage: Option<&'a RawValue>,
    device_id: Option<&'a RawValue>,
    waste_entries: Option<&'a RawValue>,
    carbon_credits: Option<&'a RawValue>,
    achievements: Option<&'a RawValue>,
    user_preferences: Option<&'a RawValue>,
    onboarding_completed: Option<&'a RawValue>,
}

impl<'a> Payload<'a> {
    fn of(object: &'a RawValue) -> Payload<'a> {
        let mut payload = Payload::default();
        each_member(object, |name, value| {
            let slot = match name {
                b"local_storage" => &mut payload.local_storage,
                b"device_id" => &mut payload.device_id,
                b"waste_entries" => &mut payload.waste_entries,
                b"carbon_credits" => &mut payload.carbon_credits,
                b"achievements" => &mut payload.achievements,
                b"user_preferences" => &mut payload.user_preferences,
                b"onboarding_completed" => &mut payload.onboarding_completed,
                _ => return,
            };
            // Null means missing.
            *slot = Some(value).filter(|value| kind(value) != Kind::Null);
        });
        payload
    }

    fn is_of_either_form(&self) -> bool {
        let holds = |member: Option<&RawValue>, expected| {
            member.is_none_or(|value| kind(value) == expected)
        };
        let names_any = [
            self.local_storage,
            self.waste_entries,
            self.carbon_credits,
            self.achievements,
        ]
        .iter()
        .chain([&self.user_preferences])
        .any(Option::is_some);
        names_any
            && holds(self.local_storage, Kind::Object)
            && holds(self.waste_entries, Kind::List)
    }
}

/// Parses a payload. See [`super::parse`].
pub(super) fn read(payload: &str, now: DateTime<Utc>) -> Result<Migration, DomainError> {
    let object = parse(payload).ok_or(DomainError::MigrationUnreadable)?;
    let payload = Payload::of(object);
    if !payload.is_of_either_form() {
        return Err(DomainError::MigrationUnreadable);
    }
    let mut collector = Collector::new(now, payload.device_id.and_then(device_id));
    if let Some(dump) = payload.local_storage {
        read_dump(dump, &mut collector);
    }
    read_normalised(&payload, &mut collector);
    Ok(collector.out)
}

fn device_id(value: &RawValue) -> Option<String> {
    let Kind::Text(raw) = kind(value) else {
        return None;
    };
    Some(Text::decode(raw).text).filter(|text| check_device_id(text).is_ok())
}

fn read_normalised(payload: &Payload<'_>, collector: &mut Collector) {
    if let Some(list) = payload.waste_entries {
        collector.add_list("waste_entries", list, EntryShape::Api);
    }
    if let Some(credits) = payload.carbon_credits {
        collector.out.credits_claimed = finite_number(credits);
    }
    if let Some(list) = payload.achievements {
        collector.out.achievements_claimed = achievements(list);
    }
    if let Some(object) = payload.user_preferences {
        preferences(object, &mut collector.out.preferences);
    }
    if let Some(Kind::Flag(flag)) = payload.onboarding_completed.map(kind) {
        collector.out.onboarding_completed = Some(flag);
    }
}

fn read_dump(dump: &RawValue, collector: &mut Collector) {
    let mut values: [Option<&RawValue>; KEYS.len()] = [None; KEYS.len()];
    each_member(dump, |name, value| {
        if let Some(at) = KEYS.iter().position(|(key, _)| key.as_bytes() == name) {
            values[at] = Some(value);
        }
    });
    for ((key, role), value) in KEYS.into_iter().zip(values) {
        let Some(text) = value.and_then(stored_text) else {
            continue;
        };
        if let Err(reason) = read_key(key, role, &text, collector) {
            collector.unreadable(key, reason);
        }
    }
    let has_total = KEYS
        .iter()
        .zip(values)
        .any(|((key, _), value)| *key == TOTAL_KEY && value.is_some());
    if let (false, Some(Value::Number(old))) = (has_total, collector.out.claims.get(OLD_TOTAL_KEY))
    {
        collector.out.credits_claimed = Some(old.clone());
    }
}

/// The JSON that localStorage holds under a key. localStorage has only strings, but values that a client has parsed
/// already are accepted, too.
fn stored_text(value: &RawValue) -> Option<Cow<'_, str>> {
    match kind(value) {
        Kind::Null => None,
        Kind::Text(raw) => Some(Cow::Owned(decode_json(raw))),
        _ => Some(Cow::Borrowed(value.get())),
    }
}

/// Reads one key; the error is the reason why nothing could be read.
fn read_key(
    key: &'static str,
    role: KeyRole,
    text: &str,
    collector: &mut Collector,
) -> Result<(), &'static str> {
    if let KeyRole::Credits = role
        && is_no_number(text)
    {
        return Ok(());
    }
    let value = parse(text).ok_or("not_json")?;
    if kind(value) == Kind::Null {
        return Ok(());
    }
    let out = &mut collector.out;
    match role {
        KeyRole::Entries(shape) => read_entries(key, value, shape, collector)?,
        KeyRole::Credits => {
            let number = finite_number(value);
            if key == TOTAL_KEY {
                out.credits_claimed = number;
            } else if let Some(number) = number {
                out.claims.insert(key.into(), number.into());
            }
        }
        KeyRole::Claim => {
            if let Some(claim) = claim(value) {
                out.claims.insert(key.into(), claim);
            }
        }
        KeyRole::Achievements => out.achievements_claimed = achievements(value),
        KeyRole::Preferences => preferences(expect_object(value)?, &mut out.preferences),
        KeyRole::Switches => switches(expect_object(value)?, &mut out.preferences),
        KeyRole::Onboarding => out.onboarding_completed = Some(flag(value).ok_or("not_a_flag")?),
    }
    Ok(())
}

/// What JavaScript writes in place of a number: a readable value, but not a claim.
fn is_no_number(text: &str) -> bool {
    matches!(
        text.trim(),
        "NaN" | "Infinity" | "-Infinity" | "undefined" | ""
    )
}

fn read_entries(
    key: &'static str,
    value: &RawValue,
    shape: EntryShape,
    collector: &mut Collector,
) -> Result<(), &'static str> {
    match kind(value) {
        Kind::List => collector.add_list(key, value, shape),
        Kind::Object if shape == EntryShape::Queue => collector.add(key, 0, value, shape),
        _ => return Err("not_a_list"),
    }
    Ok(())
}

fn expect_object(value: &RawValue) -> Result<&RawValue, &'static str> {
    if kind(value) == Kind::Object {
        Ok(value)
    } else {
        Err("not_an_object")
    }
}

/// `true` or `false`, also as a string.
fn flag(value: &RawValue) -> Option<bool> {
    match value.get() {
        "true" | "\"true\"" => Some(true),
        "false" | "\"false\"" => Some(false),
        _ => None,
    }
}
