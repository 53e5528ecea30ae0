//! `/waste`: the categories, and a person's entries.

use std::cell::OnceCell;

use carbon_domain::entry::{EntryIn, MAX_BATCH_ENTRIES};
use carbon_domain::waste::{Category, Method, current};
use carbon_domain::{DomainError, FieldError, Lang};
use chrono::{DateTime, Utc};
use serde_json::{Map, Number, Value, json};

use super::fields::whole;
use super::names;
use crate::call::{Call, iso};
use crate::clients::DEADLINE_MS;
use crate::clients::rest::parsed;
use crate::error::{ApiError, FieldProblem};
use crate::query::path_uuid;
use crate::reply::{Caching, Reply};
use crate::request::parse_json;

/// Categories change with a release only.
const CATEGORIES_MAX_AGE_SECS: u32 = 86_400;

/// What a create leads to that has names.
const EARNED: [&str; 2] = ["achievements_unlocked", "challenges_completed"];

/// `GET /waste/categories`: the figures compiled into the service.
pub fn categories(call: &Call) -> Reply {
    thread_local! {
        static TEXTS: [OnceCell<String>; 2] = const { [OnceCell::new(), OnceCell::new()] };
    }
    let reply = TEXTS.with(|texts| {
        let text = &texts[usize::from(call.lang == Lang::En)];
        Reply::ok_text(text.get_or_init(|| categories_in(call.lang).to_string()))
    });
    // They are compiled in: the release tells them apart.
    reply
        .cached(Caching::Public(CATEGORIES_MAX_AGE_SECS))
        .tagged("categories".to_owned())
}

pub(super) fn categories_in(lang: Lang) -> Value {
    let set = current();
    let categories: Vec<Value> = set
        .categories
        .iter()
        .map(|c| show_category(c, lang))
        .collect();
    json!({"factor_set": set.id, "categories": categories})
}

fn show_category(category: &Category, lang: Lang) -> Value {
    let methods: Vec<Value> = category
        .methods
        .iter()
        .map(|m| show_method(m, lang))
        .collect();
    json!({
        "id": category.id,
        "name": category.name(lang),
        "name_th": category.name_th,
        "name_en": category.name_en,
        "icon": category.icon,
        "color": category.color,
        "methods": methods,
    })
}

fn show_method(method: &Method, lang: Lang) -> Value {
    json!({
        "method": method.id,
        "name": method.name(lang),
        "name_th": method.name_th,
        "name_en": method.name_en,
        "credits_per_kg": method.credits_per_kg,
        // Exact decimals, never doubles.
        "kg_co2e_per_kg": Number::from_string_unchecked(method.kg_co2e_per_kg()),
    })
}

/// `POST /waste/entries`: 201 for a new entry, 200 for one that is known.
pub async fn create(call: &Call) -> Result<Reply, ApiError> {
    let arguments = json!({"entry": read_entry(&call.body, call.now())?});
    let answer = call.write("create_waste_entry", &arguments).await?;
    let mut answer = parsed("create_waste_entry", &answer)?;
    names::add_to_entry(&mut answer, call.lang);
    names::choose_in(&mut answer, &EARNED, call.lang);
    if answer["duplicate"] == true {
        Ok(Reply::ok(&answer))
    } else {
        Ok(Reply::created(&answer))
    }
}

/// Reads an entry by the rules of the domain and puts it into its normal form.
pub(super) fn read_entry(body: &str, now: DateTime<Utc>) -> Result<Value, ApiError> {
    let entry = EntryIn::parse(&parse_json(body)?, now);
    let problems = |errors: Vec<FieldError>| errors.into_iter().map(FieldProblem::from).collect();
    entry
        .map(|entry| entry.to_json())
        .map_err(|errors| ApiError::fields(problems(errors)))
}

/// `POST /waste/entries/batch`: up to 500 entries, each judged by itself.
pub async fn create_batch(call: &Call) -> Result<Reply, ApiError> {
    let mut body = call.object()?;
    let entries = match body.remove("entries") {
        Some(Value::Array(entries)) if entries.len() > MAX_BATCH_ENTRIES => {
            return Err(ApiError::domain(DomainError::BatchTooLarge));
        }
        Some(Value::Array(entries)) if !entries.is_empty() => {
            let now = call.now();
            let entries = entries.into_iter().map(|entry| storable(entry, now));
            entries.collect::<Vec<_>>()
        }
        _ => return Err(ApiError::domain(DomainError::EntriesRequired)),
    };
    let arguments = json!({ "entries": entries });
    let answer = call.write("create_waste_entries", &arguments).await?;
    let mut answer = parsed("create_waste_entries", &answer)?;
    names::choose_in(&mut answer, &EARNED, call.lang);
    for line in answer["entries"].as_array_mut().into_iter().flatten() {
        let line = line.as_object_mut();
        if let Some(error) = line.and_then(|line| line.get_mut("error")) {
            names::choose_message(error, call.lang);
        }
    }
    Ok(Reply::ok(&answer))
}

/// An entry of a batch in its normal form. One that is not valid stays so, for the database to name in
/// its line, but without what would make PostgreSQL refuse the whole batch: U+0000 and endless numbers.
fn storable(entry: Value, now: DateTime<Utc>) -> Value {
    if let Ok(entry) = EntryIn::parse(&entry, now) {
        return entry.to_json();
    }
    let Value::Object(members) = entry else {
        return Value::Null;
    };
    let kept = members.into_iter().filter_map(|(name, value)| {
        let value = match value {
            // Zero is out of range as well.
            Value::Number(number) if is_endless(&number) => json!(0),
            Value::Number(_) | Value::Bool(_) | Value::Null => value,
            Value::String(text) if text.contains('\0') => json!(false),
            Value::String(_) => value,
            Value::Object(point) => plain_members(point),
            Value::Array(_) => json!(false),
        };
        ENTRY_FIELDS
            .contains(&name.as_str())
            .then_some((name, value))
    });
    Value::Object(kept.collect())
}

/// What an entry may hold; everything else is ignored anyway.
const ENTRY_FIELDS: [&str; 10] = [
    "category_id",
    "disposal_method",
    "weight_kg",
    "logged_at",
    "location",
    "notes",
    "place",
    "image_id",
    "device_id",
    "offline_id",
];

/// A location with nothing but its two numbers; out of range stays out of range.
fn plain_members(point: Map<String, Value>) -> Value {
    let numbers = point.into_iter().filter_map(|(name, value)| match value {
        Value::Number(number) if is_endless(&number) => Some((name, json!(999))),
        Value::Number(_) => Some((name, value)),
        _ => None,
    });
    let wanted = numbers.filter(|(name, _)| name == "latitude" || name == "longitude");
    Value::Object(wanted.collect())
}

/// Whether a number is written in more than any sensible one needs, such as `1e999999`.
fn is_endless(number: &Number) -> bool {
    let text = number.as_str();
    text.len() > 40
        || text
            .split_once(['e', 'E'])
            .is_some_and(|(_, exponent)| exponent.trim_start_matches(['+', '-', '0']).len() > 2)
}

/// `GET /waste/entries`: newest first, by page or by cursor.
pub async fn list(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    query.paging();
    query.date_range();
    query.checked(
        "category_id",
        "category_id",
        DomainError::UnknownCategory,
        |id| current().category(id).is_ok(),
    );
    query.checked(
        "disposal_method",
        "disposal_method",
        DomainError::UnknownMethod,
        is_a_method,
    );
    query.search("q");
    let read = call.read("list_waste_entries", &query.arguments()?).await?;
    let Some(mut answer) = read else {
        return Ok(Reply::unchanged());
    };
    names::add_to_entries(&mut answer["entries"], call.lang);
    let meta = take_meta(&mut answer, call);
    Ok(
        Reply::with_meta(&json!({"entries": answer["entries"]}), Some(meta))
            .cached(Caching::Private),
    )
}

fn is_a_method(id: &str) -> bool {
    current()
        .categories
        .iter()
        .any(|category| category.method(id).is_ok())
}

/// Moves what pages are made of from an rpc's answer into `meta`: by page `page`, `limit`, `total`,
/// `total_pages`; otherwise `limit` and `next_cursor`, which is null at the end.
pub fn take_meta(answer: &mut Value, call: &Call) -> Map<String, Value> {
    let mut meta = Map::new();
    if let Some(object) = answer.as_object_mut() {
        let by_page = object.get("page").is_some_and(|page| !page.is_null());
        for name in ["page", "limit", "total", "total_pages", "next_cursor"] {
            let value = object.remove(name).unwrap_or(Value::Null);
            let wanted = match name {
                "limit" => true,
                "next_cursor" => !by_page,
                _ => by_page,
            };
            if wanted {
                meta.insert(name.to_owned(), value);
            }
        }
    }
    meta.insert("timestamp".to_owned(), json!(iso(call.now())));
    meta
}

fn entry_id(call: &Call) -> Result<Value, ApiError> {
    path_uuid("id", call.parameter(), DomainError::EntryIdInvalid)
}

/// `GET /waste/entries/{id}`
pub async fn get(call: &Call) -> Result<Reply, ApiError> {
    let arguments = json!({"entry_id": entry_id(call)?});
    let entry = call.read("get_waste_entry", &arguments).await?;
    Ok(Reply::personal(entry.map(|mut entry| {
        names::add_to_entry(&mut entry, call.lang);
        entry
    })))
}

/// `PUT /waste/entries/{id}`: any of the fields; missing = unchanged, null clears.
pub async fn update(call: &Call) -> Result<Reply, ApiError> {
    let entry_id = entry_id(call)?;
    let mut changes = call.object()?;
    let expected_revision = match changes.remove("expected_revision") {
        None | Some(Value::Null) => Value::Null,
        Some(number) => match whole(&number) {
            Some(revision) if revision >= 1 => json!(revision),
            _ => return Err(ApiError::domain(DomainError::ExpectedRevisionInvalid)),
        },
    };
    let arguments = json!({
        "entry_id": entry_id,
        "changes": changes,
        "expected_revision": expected_revision,
    });
    let answer = call
        .write_within(DEADLINE_MS, "update_waste_entry", arguments.to_string())
        .await?;
    let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    if answer.is_ok() {
        let mut entry = body;
        names::add_to_entry(&mut entry, call.lang);
        return Ok(Reply::ok(&entry));
    }
    if answer.status == 409 && body["code"] == DomainError::RevisionConflict.token() {
        let mut entry = body["entry"].clone();
        names::add_to_entry(&mut entry, call.lang);
        return Err(ApiError::conflict(
            DomainError::RevisionConflict,
            json!({ "entry": entry }),
        ));
    }
    Err(ApiError::from_postgrest(answer.status, &answer.body))
}

/// `DELETE /waste/entries/{id}`
pub async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let arguments = json!({"entry_id": entry_id(call)?});
    let answer = call.write("delete_waste_entry", &arguments).await?;
    Ok(Reply::ok_text(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_one_entry_of_a_batch_can_cost_the_others() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let read = |text: &str| storable(serde_json::from_str(text).unwrap(), now);
        let good = r#"{"category_id":"food_waste","disposal_method":"composted","weight_kg":1"#;
        let plain = read(&format!("{good}}}"));
        let odd = read(&format!(r#"{good},"x\u0000":"\u0000","y":1e999999}}"#));
        assert_eq!(odd, plain);
        for (given, field, left) in [
            (r#""notes":"a\u0000""#, "notes", json!(false)),
            (r#""weight_kg":1e999999"#, "weight_kg", json!(0)),
            (r#""place":[1e999999]"#, "place", json!(false)),
            (
                r#""location":{"latitude":1e999999,"longitude":1,"z":"\u0000"}"#,
                "location",
                json!({"latitude": 999, "longitude": 1}),
            ),
        ] {
            let stored = read(&format!(r#"{good},{given},"z\u0000":1}}"#));
            assert_eq!(stored[field], left);
            assert!(EntryIn::parse(&stored, now).is_err());
            assert!(!stored.to_string().contains("u0000"));
        }
        assert_eq!(read(r#""\u0000""#), Value::Null);
    }

    #[test]
    fn categories_have_the_contract_s_fields_with_exact_figures() {
        let shown = categories_in(Lang::En);
        assert_eq!(shown["factor_set"], current().id);
        assert_eq!(shown["categories"].as_array().unwrap().len(), 8);
        let pairs: usize = shown["categories"]
            .as_array()
            .unwrap()
            .iter()
            .map(|category| category["methods"].as_array().unwrap().len())
            .sum();
        assert_eq!(pairs, 32);
        let food = &shown["categories"][0];
        assert_eq!(food["name"], food["name_en"]);
        assert_eq!(food["methods"][0]["kg_co2e_per_kg"].to_string(), "2.53");
        assert_eq!(
            categories_in(Lang::Th)["categories"][0]["name"],
            food["name_th"]
        );
    }
}
