//! `/waste`: the categories, and a user's entries.

use std::cell::OnceCell;

use carbon_domain::entry::{EntryIn, MAX_BATCH_ENTRIES, storable_members};
use carbon_domain::json;
use carbon_domain::waste::{Category, Method, current};
use carbon_domain::{DomainError, FieldError, Lang};
use chrono::{DateTime, Utc};
use serde_json::{Map, Number, Value, json as value};

use super::fields::integer;
use super::names;
use crate::clients::DEADLINE_MS;
use crate::clients::rest::parsed;
use crate::clock::iso;
use crate::error::{ApiError, FieldProblem};
use crate::http::body::{MAX_JSON_DEPTH, check_json, not_json};
use crate::http::call::Call;
use crate::http::query::path_uuid;
use crate::http::reply::{Caching, Reply};

/// Categories change with a release only.
const CATEGORIES_MAX_AGE_SECS: u32 = 86_400;

/// Members of the answer to a create whose names are localized.
const EARNED: [&str; 2] = ["achievements_unlocked", "challenges_completed"];

/// `GET /waste/categories`: the figures compiled into the service.
pub async fn categories(call: &Call) -> Result<Reply, ApiError> {
    thread_local! {
        static TEXTS: [OnceCell<String>; 2] = const { [OnceCell::new(), OnceCell::new()] };
    }
    let reply = TEXTS.with(|texts| {
        let text = &texts[usize::from(call.lang == Lang::En)];
        Reply::ok_text(text.get_or_init(|| categories_in(call.lang).to_string()))
    });
    // They are compiled in, and change with the release, which is part of every tag.
    Ok(reply
        .cached(Caching::Public(CATEGORIES_MAX_AGE_SECS))
        .tagged("categories".to_owned()))
}

pub(super) fn categories_in(lang: Lang) -> Value {
    let set = current();
    let categories: Vec<Value> = set
        .categories
        .iter()
        .map(|c| show_category(c, lang))
        .collect();
    value!({"factor_set": set.id, "categories": categories})
}

fn show_category(category: &Category, lang: Lang) -> Value {
    let methods: Vec<Value> = category
        .methods
        .iter()
        .map(|m| show_method(m, lang))
        .collect();
    value!({
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
    value!({
        "method": method.id,
        "name": method.name(lang),
        "name_th": method.name_th,
        "name_en": method.name_en,
        "credits_per_kg": method.credits_per_kg,
        // Exact decimals, never doubles.
        "kg_co2e_per_kg": Number::from_string_unchecked(method.kg_co2e_per_kg()),
    })
}

/// `POST /waste/entries`: 201 for a new entry, 200 for one that exists already.
pub async fn create(call: &Call) -> Result<Reply, ApiError> {
    let arguments = value!({"entry": read_entry(&call.body, call.now())?});
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

/// Reads an entry by the rules of the domain and puts it into its normal form. What is ignored may be anything
/// that the grammar of JSON allows; a text that cannot be stored is named by its field.
pub(super) fn read_entry(body: &str, now: DateTime<Utc>) -> Result<Value, ApiError> {
    let value = json::read(body, MAX_JSON_DEPTH).ok_or_else(not_json)?;
    let problems = |errors: Vec<FieldError>| errors.into_iter().map(FieldProblem::from).collect();
    EntryIn::parse(&value, now)
        .map(|entry| entry.to_json())
        .map_err(|errors| ApiError::fields(problems(errors)))
}

/// `POST /waste/entries/batch`: up to 500 entries, each checked on its own.
pub async fn create_batch(call: &Call) -> Result<Reply, ApiError> {
    let arguments = batch_arguments(&call.body, call.now())?;
    let answer = call
        .write_within(DEADLINE_MS, "create_waste_entries", arguments)
        .await?
        .text()?;
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

/// The rpc's arguments. The entries are read one by one, because together they may have 7 MiB.
fn batch_arguments(body: &str, now: DateTime<Utc>) -> Result<String, ApiError> {
    check_json(body)?;
    if !body.trim_start().starts_with('{') {
        return Err(ApiError::domain(DomainError::NotAnObject));
    }
    let entries = json::member(body, "entries").and_then(json::elements);
    let entries = entries.filter(|entries| !entries.is_empty());
    let entries = entries.ok_or_else(|| ApiError::domain(DomainError::EntriesRequired))?;
    if entries.len() > MAX_BATCH_ENTRIES {
        return Err(ApiError::domain(DomainError::BatchTooLarge));
    }
    let entries = entries.iter().map(|text| storable(text, now).to_string());
    Ok(format!(
        r#"{{"entries":[{}]}}"#,
        entries.collect::<Vec<_>>().join(",")
    ))
}

/// An entry of a batch in its normal form. One that is not valid stays so, for the database to name in
/// its line, but without what would make PostgreSQL refuse the batch.
fn storable(text: &str, now: DateTime<Utc>) -> Value {
    if let Ok(entry) = EntryIn::read(text, now) {
        return entry.to_json();
    }
    match json::read(text, MAX_JSON_DEPTH) {
        Some(Value::Object(members)) => Value::Object(storable_members(members, now)),
        _ => Value::Null,
    }
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
        Reply::with_meta(&value!({"entries": answer["entries"]}), Some(meta))
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
            let included = match name {
                "limit" => true,
                "next_cursor" => !by_page,
                _ => by_page,
            };
            if included {
                meta.insert(name.to_owned(), value);
            }
        }
    }
    meta.insert("timestamp".to_owned(), value!(iso(call.now())));
    meta
}

fn entry_id(call: &Call) -> Result<Value, ApiError> {
    path_uuid("id", call.parameter(), DomainError::EntryIdInvalid)
}

/// `GET /waste/entries/{id}`
pub async fn get(call: &Call) -> Result<Reply, ApiError> {
    let arguments = value!({"entry_id": entry_id(call)?});
    let entry = call.read("get_waste_entry", &arguments).await?;
    Ok(Reply::personal(entry.map(|mut entry| {
        names::add_to_entry(&mut entry, call.lang);
        entry
    })))
}

/// `PUT /waste/entries/{id}`: any of the fields; missing = unchanged, null clears.
pub async fn update(call: &Call) -> Result<Reply, ApiError> {
    let entry_id = entry_id(call)?;
    let mut changes = match json::read(&call.body, MAX_JSON_DEPTH) {
        Some(Value::Object(changes)) => changes,
        Some(_) => return Err(ApiError::domain(DomainError::NotAnObject)),
        None => return Err(not_json()),
    };
    let expected_revision = match changes.remove("expected_revision") {
        None | Some(Value::Null) => Value::Null,
        Some(number) => match integer(&number) {
            Some(revision) if revision >= 1 => value!(revision),
            _ => return Err(ApiError::domain(DomainError::ExpectedRevisionInvalid)),
        },
    };
    let arguments = value!({
        "entry_id": entry_id,
        "changes": storable_members(changes, call.now()),
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
            value!({ "entry": entry }),
        ));
    }
    Err(ApiError::from_postgrest(answer.status, &answer.body))
}

/// `DELETE /waste/entries/{id}`
pub async fn delete(call: &Call) -> Result<Reply, ApiError> {
    let arguments = value!({"entry_id": entry_id(call)?});
    let answer = call.write("delete_waste_entry", &arguments).await?;
    Ok(Reply::ok_text(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_one_entry_of_a_batch_can_cost_the_others() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let good = r#"{"category_id":"food_waste","disposal_method":"composted","weight_kg":1"#;
        let plain = storable(&format!("{good}}}"), now);
        let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        let odd =
            format!(r#"{good},"x\u0000":"\u0000","\ud83d":"\ud83d","y":1e999999,"z":{deep}}}"#);
        assert_eq!(storable(&odd, now), plain);
        for (given, field, left) in [
            (r#""notes":"a\u0000""#, "notes", value!(false)),
            (r#""notes":"a\ud83d""#, "notes", value!(false)),
            (&format!(r#""notes":{deep}"#), "notes", value!({})),
            (
                r#""category_id":"a\ud83d""#,
                "category_id",
                value!("a\u{fffd}\u{fffd}\u{fffd}"),
            ),
            (r#""weight_kg":1e999999"#, "weight_kg", value!(0)),
            (r#""place":[1e999999]"#, "place", value!(false)),
            (
                r#""location":{"latitude":1e999999,"longitude":1,"z":"\u0000"}"#,
                "location",
                value!({"latitude": 999, "longitude": 1}),
            ),
        ] {
            let stored = storable(&format!(r#"{good},{given},"z\u0000":1}}"#), now);
            assert_eq!(stored[field], left, "{given}");
            assert!(EntryIn::parse(&stored, now).is_err());
            assert!(!stored.to_string().contains("u0000"));
        }
        assert_eq!(storable(r#""\u0000""#, now), Value::Null);
    }

    #[test]
    fn a_batch_is_a_list_of_1_to_500_entries_in_an_object() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let code = |body: &str| {
            let error = batch_arguments(body, now).unwrap_err();
            let shown: Value = serde_json::from_str(&error.envelope(Lang::En, "")).unwrap();
            let field = &shown["error"]["details"]["fields"][0];
            field["code"].as_str().unwrap().to_owned()
        };
        assert_eq!(code("{"), "not_json");
        assert_eq!(code("[]"), "not_an_object");
        assert_eq!(code(r#"{"entries":{}}"#), "entries_required");
        assert_eq!(code(r#"{"entries":[]}"#), "entries_required");
        let many = format!(r#"{{"entries":[{}]}}"#, vec!["5"; 501].join(","));
        assert_eq!(code(&many), "batch_too_large");
        let two = batch_arguments(r#" {"entries":[5,{"notes":"\ud83d"}]}"#, now).unwrap();
        assert_eq!(two, r#"{"entries":[null,{"notes":false}]}"#);
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
