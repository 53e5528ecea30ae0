//! The golden cases of the domain, through the edge's own entry points.

use carbon_domain::Lang;
use carbon_domain::units::Weight;
use serde_json::{Value, json};

use super::sign_in::read_request;
use super::waste::{categories_in, read_entry};
use crate::error::ApiError;

fn cases(text: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert!(cases.len() > 10);
    cases
}

/// What a client reads of a refusal: field and code of each problem.
fn shown_problems(error: &ApiError) -> Vec<(String, String)> {
    let shown: Value = serde_json::from_str(&error.envelope(Lang::En, "")).unwrap();
    assert_eq!(shown["error"]["code"], "VALIDATION_ERROR");
    let fields = shown["error"]["details"]["fields"]
        .as_array()
        .unwrap()
        .clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    fields
        .iter()
        .map(|field| (text(&field["field"]), text(&field["code"])))
        .collect()
}

fn code_of(token: &Value) -> String {
    token
        .as_str()
        .unwrap()
        .trim_start_matches("carbon.")
        .to_owned()
}

#[test]
fn entries_are_taken_and_refused_as_the_vectors_say() {
    for case in cases(include_str!("../../../domain/vectors/entries.json")) {
        let (name, input, expected) = (&case["name"], &case["input"], &case["expected"]);
        let now = input["now"].as_str().unwrap().parse().unwrap();
        match read_entry(&input["entry"].to_string(), now) {
            Ok(entry) => assert_eq!(
                same_numbers(&entry),
                same_numbers(&expected["entry"]),
                "{name}"
            ),
            Err(error) => {
                let expected_problems = expected["errors"]
                    .as_array()
                    .unwrap_or_else(|| panic!("{name}"));
                let expected_problems: Vec<_> = expected_problems
                    .iter()
                    .map(|e| {
                        (
                            e["field"].as_str().unwrap().to_owned(),
                            code_of(&e["token"]),
                        )
                    })
                    .collect();
                assert_eq!(shown_problems(&error), expected_problems, "{name}");
            }
        }
    }
}

/// Texts of numbers may differ (1.50, 1.5): compared as values.
fn same_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64().unwrap().to_string()),
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| (name.clone(), same_numbers(value)))
            .collect(),
        other => other.clone(),
    }
}

#[test]
fn phones_are_taken_and_refused_as_the_vectors_say() {
    for case in cases(include_str!("../../../domain/vectors/phones.json")) {
        let (name, expected) = (&case["name"], &case["expected"]);
        match read_request(case["input"].as_object().unwrap()) {
            Ok(request) => assert_eq!(request.phone.e164(), expected, "{name}"),
            Err(error) => {
                let expected_problems =
                    vec![("phone_number".to_owned(), code_of(&expected["error"]))];
                assert_eq!(shown_problems(&error), expected_problems, "{name}");
            }
        }
    }
}

#[test]
fn the_categories_show_the_figures_that_the_credits_follow_from() {
    let shown = categories_in(Lang::En);
    let mut compared = 0;
    for case in cases(include_str!("../../../domain/vectors/credits.json")) {
        let (input, expected) = (&case["input"], &case["expected"]);
        if input["factor_set"] != shown["factor_set"] || !expected.is_number() {
            continue;
        }
        let find = |list: &Value, name: &str, id: &Value| {
            list.as_array()
                .unwrap()
                .iter()
                .find(|item| item[name] == *id)
                .cloned()
                .unwrap()
        };
        let category = find(&shown["categories"], "id", &input["category_id"]);
        let method = find(&category["methods"], "method", &input["disposal_method"]);
        let grams = Weight::from_kg_text(&input["weight_kg"].to_string())
            .unwrap()
            .grams();
        let rate = method["credits_per_kg"].as_i64().unwrap();
        let credits = (rate * i64::from(grams) * 2 + 1000).div_euclid(2000);
        assert_eq!(expected.as_i64(), Some(credits), "{}", case["name"]);
        compared += 1;
    }
    assert!(compared >= 32);
}
