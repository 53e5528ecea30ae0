//! What a diary has besides entries: preferences, of which the valid ones are imported, and claims, which are reported.

use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::profile;
use crate::raw_json::{Kind, Text, each_element, each_member, kind};

/// Most numbers of one claim.
const MAX_CLAIMED_NUMBERS: usize = 20;
/// Most claimed achievements that are reported.
const MAX_CLAIMED_ACHIEVEMENTS: usize = 100;
/// Names in claims are cut to this many characters.
const MAX_NAME_CHARS: usize = 64;

/// Adds the valid preferences of an object under the profile's names; existing ones stay.
pub(super) fn preferences(object: &RawValue, out: &mut Map<String, Value>) {
    let mut own = Map::new();
    each_member(object, |name, value| match name {
        b"notifications" | b"notificationSettings" | b"notification_settings" => {
            switches(value, out)
        }
        _ => {
            if let Some((field, value)) = preference(name, value) {
                own.insert(field.to_owned(), value);
            }
        }
    });
    fill(out, own);
}

/// Adds what is missing: of several keys the first counts, of repeated members of one key the last.
fn fill(out: &mut Map<String, Value>, own: Map<String, Value>) {
    for (name, value) in own {
        out.entry(name).or_insert(value);
    }
}

fn preference(name: &[u8], value: &RawValue) -> Option<(&'static str, Value)> {
    let field = match name {
        b"theme" => "theme",
        b"language" => "language",
        b"weightUnit" | b"measurementUnit" | b"measurement_unit" => "measurement_unit",
        b"dailyGoal" | b"daily_goal" => "daily_goal",
        b"autoSync" | b"auto_sync" => "auto_sync",
        b"timeZone" | b"timezone" | b"time_zone" => "time_zone",
        _ => return None,
    };
    let value = match kind(value) {
        Kind::Flag(flag) => Value::Bool(flag),
        Kind::Number(text) => Value::Number(text.parse().ok()?),
        Kind::Text(raw) => Value::String(Text::decode(raw).text),
        _ => return None,
    };
    let value = match (field, value.as_str()) {
        ("measurement_unit", Some(unit)) => unit_alias(unit).into(),
        _ => value,
    };
    profile::field(field, &value)
        .ok()
        .map(|value| (field, value))
}

fn unit_alias(unit: &str) -> &str {
    match unit {
        "kilogram" | "kilograms" | "kgs" => "kg",
        "gram" | "grams" => "g",
        "lbs" | "pound" | "pounds" => "lb",
        other => other,
    }
}

/// Adds the switches of an object that are push categories; existing ones stay.
pub(super) fn switches(object: &RawValue, out: &mut Map<String, Value>) {
    let mut own = Map::new();
    each_member(object, |name, value| {
        if let (Some(category), Kind::Flag(flag)) = (push_category(name), kind(value)) {
            own.insert(category.to_owned(), flag.into());
        }
    });
    if own.is_empty() {
        return;
    }
    let settings = out
        .entry("notification_settings")
        .or_insert_with(|| Map::new().into());
    if let Value::Object(settings) = settings {
        fill(settings, own);
    }
}

/// The push category of a name in the app.
fn push_category(name: &[u8]) -> Option<&'static str> {
    Some(match name {
        b"daily_reminder" | b"dailyReminder" | b"dailyReminders" => "daily_reminder",
        b"achievement_unlocked" | b"achievementUnlocked" | b"achievements" => {
            "achievement_unlocked"
        }
        b"level_up" | b"levelUp" => "level_up",
        b"friend_activity" | b"friendActivity" | b"friends" => "friend_activity",
        b"challenge_complete" | b"challengeComplete" | b"challenges" => "challenge_complete",
        b"community_milestone" | b"communityMilestone" | b"community" => "community_milestone",
        _ => return None,
    })
}

/// A number that a double can represent; integers up to 2^53 are without a decimal point.
pub(super) fn finite_number(value: &RawValue) -> Option<Number> {
    let Kind::Number(text) = kind(value) else {
        return None;
    };
    let number: f64 = text.parse().ok()?;
    // Every integer up to here has an exact double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        Some(Number::from(number as i64))
    } else {
        Number::from_f64(number)
    }
}

/// A claimed figure: a number, or the numbers among an object's members.
pub(super) fn claim(value: &RawValue) -> Option<Value> {
    if let Some(number) = finite_number(value) {
        return Some(number.into());
    }
    let mut numbers = Map::new();
    each_member(value, |name, value| {
        if let Some(number) = finite_number(value)
            && numbers.len() < MAX_CLAIMED_NUMBERS
        {
            numbers.insert(short(Text::repair(name)), number.into());
        }
    });
    (!numbers.is_empty()).then_some(Value::Object(numbers))
}

/// Ids of claimed achievements: texts, objects with an `id` that are not locked, or the names of an object's members
/// that are not false.
pub(super) fn achievements(value: &RawValue) -> Option<Vec<String>> {
    let mut ids: Vec<String> = Vec::new();
    let mut add = |id: Text| {
        let id = short(id);
        if ids.len() < MAX_CLAIMED_ACHIEVEMENTS && !id.is_empty() && !ids.contains(&id) {
            ids.push(id);
        }
    };
    match kind(value) {
        Kind::List => each_element(value, |element| {
            if let Some(id) = unlocked_id(element) {
                add(id);
            }
        }),
        Kind::Object => each_member(value, |name, value| {
            if !matches!(kind(value), Kind::Null | Kind::Flag(false)) && !is_locked(value) {
                add(Text::repair(name));
            }
        }),
        _ => return None,
    }
    Some(ids)
}

fn unlocked_id(element: &RawValue) -> Option<Text> {
    if let Kind::Text(raw) = kind(element) {
        return Some(Text::decode(raw));
    }
    let mut id = None;
    each_member(element, |name, value| {
        if let (b"id", Kind::Text(raw)) = (name, kind(value)) {
            id = Some(Text::decode(raw));
        }
    });
    id.filter(|_| !is_locked(element))
}

/// Whether an object states that it is not unlocked.
fn is_locked(object: &RawValue) -> bool {
    let mut locked = false;
    each_member(object, |name, value| {
        if let (b"unlocked" | b"earned" | b"completed", Kind::Flag(flag)) = (name, kind(value)) {
            locked = !flag;
        }
    });
    locked
}

fn short(mut text: Text) -> String {
    text.cut(MAX_NAME_CHARS);
    text.text
}
