//! The golden cases, which SQL and the edge run from the same files: `[{name, input, expected}]`.
//!
//! `expected` is the answer, or `{"error": token}` / `{"errors": [{field, token}]}` where the input is refused.

use carbon_domain::entry::EntryIn;
use carbon_domain::mark::{Mark, MarkedState};
use carbon_domain::units::{MicroKg, Weight};
use carbon_domain::{
    DomainError, credit, emission, identity, legacy, level, moderation, phone, profile, streak,
    time, waste, zone,
};
use chrono::{DateTime, Duration, NaiveDate, Utc};
use serde_json::{Value, json};

/// Runs every case of a file and shows all differences, not only the first.
fn run(file: &str, answer: impl Fn(&Value) -> Value) {
    let cases: Vec<Value> = serde_json::from_str(file).expect("the vectors are JSON");
    assert!(!cases.is_empty());
    let mut differences = Vec::new();
    for case in &cases {
        let actual = answer(&case["input"]);
        if actual != case["expected"] {
            differences.push(format!(
                "{}\n  expected {}\n  answered {actual}",
                case["name"], case["expected"]
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn text<'a>(input: &'a Value, name: &str) -> &'a str {
    input[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} is missing in {input}"))
}

fn refused(error: DomainError) -> Value {
    json!({"error": error.token()})
}

fn instant(text: &str) -> DateTime<Utc> {
    time::parse_instant(text).expect("an instant")
}

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

fn weight(input: &Value) -> Result<Weight, DomainError> {
    Weight::from_kg_text(&input["weight_kg"].to_string())
}

/// The figures of a factor set for the pair and weight of a case.
fn with_pair<T>(
    input: &Value,
    figure: impl Fn(&waste::FactorSet, &str, &str, Weight) -> Result<T, DomainError>,
) -> Result<T, DomainError> {
    let set = waste::factor_set(text(input, "factor_set"))?;
    figure(
        set,
        text(input, "category_id"),
        text(input, "disposal_method"),
        weight(input)?,
    )
}

#[test]
fn moderation_of_texts() {
    let own = moderation::WordLists::default();
    run(include_str!("../vectors/moderation.json"), |input| {
        moderation::check(text(input, "text"), &own).map_or_else(refused, |()| json!("shown"))
    });
}

#[test]
fn credits() {
    run(include_str!("../vectors/credits.json"), |input| {
        with_pair(input, credit::credits).map_or_else(refused, Value::from)
    });
}

#[test]
fn emissions() {
    let both = |set: &waste::FactorSet,
                category: &str,
                method: &str,
                weight|
     -> Result<(MicroKg, MicroKg), _> {
        let avoided = emission::co2e_avoided(set, category, method, weight)?;
        Ok((emission::co2e(set, category, method, weight)?, avoided))
    };
    run(
        include_str!("../vectors/emissions.json"),
        |input| match with_pair(input, both) {
            Ok((co2e, avoided)) => json!({"co2e_kg": co2e, "co2e_avoided_kg": avoided}),
            Err(error) => refused(error),
        },
    );
}

#[test]
fn levels() {
    run(include_str!("../vectors/levels.json"), |input| {
        let total = input["total"].as_i64().expect("a total");
        json!({
            "level": level::level(total),
            "credits_to_next_level": level::credits_to_next_level(total),
            "progress_percentage": level::progress_percentage(total),
            "trees": level::trees(total),
        })
    });
}

#[test]
fn marks() {
    run(include_str!("../vectors/marks.json"), |input| {
        let longest_run = input["longest_run"].as_i64().expect("days");
        let state = MarkedState {
            total: input["total"].as_i64().expect("a total"),
            longest_run: i32::try_from(longest_run).expect("a number of days"),
        };
        let shown = |mark: &Mark| format!("{} {}", mark.kind.source(), mark.value);
        json!(state.marks().iter().map(shown).collect::<Vec<_>>())
    });
}

#[test]
fn streaks() {
    run(include_str!("../vectors/streaks.json"), |input| {
        let days = input["days"].as_array().expect("days").iter();
        let days = days.map(|one| day(one.as_str().expect("a day")));
        json!(streak::streak(days, day(text(input, "as_of"))))
    });
}

#[test]
fn phones() {
    run(include_str!("../vectors/phones.json"), |input| {
        let country_code = input["country_code"].as_str();
        phone::normalize(text(input, "phone_number"), country_code)
            .map_or_else(refused, |phone| json!(phone))
    });
}

#[test]
fn identities() {
    run(include_str!("../vectors/identity.json"), |input| {
        let grams = input["weight_grams"]
            .as_u64()
            .and_then(|grams| u32::try_from(grams).ok());
        let (category, method) = (text(input, "category_id"), text(input, "disposal_method"));
        let at = instant(text(input, "logged_at"));
        let bytes = identity::identity(
            input["id"].as_str(),
            category,
            method,
            grams.expect("grams"),
            at,
        );
        identity::uuid_text(bytes).into()
    });
}

#[test]
fn local_dates() {
    run(include_str!("../vectors/local_dates.json"), |input| {
        let at = instant(text(input, "at"));
        let offset = Duration::minutes(input["utc_offset_minutes"].as_i64().expect("an offset"));
        let day = zone::local_day(at, text(input, "time_zone"));
        assert_eq!(
            day,
            (at.naive_utc() + offset).date(),
            "the case's own offset"
        );
        day.to_string().into()
    });
}

#[test]
fn time_zones() {
    run(include_str!("../vectors/time_zones.json"), |input| {
        zone::canonical(text(input, "time_zone")).map_or_else(refused, Value::from)
    });
}

#[test]
fn dates() {
    run(include_str!("../vectors/dates.json"), |input| {
        let (written, now) = (text(input, "date"), instant(text(input, "now")));
        time::parse_date(written, now).map_or_else(refused, |date| date.to_string().into())
    });
}

fn field_errors(errors: &[carbon_domain::FieldError]) -> Value {
    let one = |error: &carbon_domain::FieldError| json!({"field": error.field, "token": error.error.token()});
    json!({"errors": errors.iter().map(one).collect::<Vec<_>>()})
}

#[test]
fn entries() {
    run(
        include_str!("../vectors/entries.json"),
        |input| match EntryIn::parse(&input["entry"], instant(text(input, "now"))) {
            Ok(entry) => json!({"entry": entry.to_json()}),
            Err(errors) => field_errors(&errors),
        },
    );
}

#[test]
fn profiles() {
    run(
        include_str!("../vectors/profiles.json"),
        |input| match profile::parse_changes(&input["changes"]) {
            Ok(changes) => json!({"changes": changes}),
            Err(errors) => field_errors(&errors),
        },
    );
}

#[test]
fn migrations() {
    run(
        include_str!("../vectors/migrations.json"),
        |input| match legacy::parse(text(input, "payload"), instant(text(input, "now"))) {
            Ok(found) => {
                let accepted = found.entries.len() as u64;
                assert_eq!(
                    found.received,
                    accepted + found.duplicates + found.rejected_count
                );
                json!(found)
            }
            Err(error) => refused(error),
        },
    );
}
