//! The operators' moderation service: whether it refuses texts that other users will see.

use serde_json::{Value, json};
use worker::Method;

use super::{Outgoing, send};
use crate::config::Moderation;
use crate::observe::metrics;

/// Milliseconds for the call; after it the database's own lists decide alone.
const DEADLINE_MS: u64 = 2_000;

/// Which of these texts, by field, the service refuses; `None` if it did not answer in time or not as agreed.
pub async fn refused_fields(service: &Moderation, texts: &[(&str, &str)]) -> Option<Vec<String>> {
    let texts: Vec<Value> = texts
        .iter()
        .map(|(field, text)| json!({"field": field, "text": text}))
        .collect();
    let answer = send(Outgoing {
        method: Method::Post,
        url: &service.url,
        headers: &[("authorization", &format!("Bearer {}", service.key))],
        body: Some(json!({ "texts": texts }).to_string()),
        deadline_ms: DEADLINE_MS,
    })
    .await;
    let refused = answer
        .ok()
        .and_then(|answer| answer.is_ok().then(|| refused_in(&answer.body)).flatten());
    if refused.is_none() {
        metrics::add(
            "carbon_dependency_errors_total",
            r#"dependency="moderation""#,
            1,
        );
    }
    refused
}

/// The fields of `{"refused": [field, …]}`.
fn refused_in(body: &str) -> Option<Vec<String>> {
    let body: Value = serde_json::from_str(body).ok()?;
    let fields = body["refused"].as_array()?;
    fields
        .iter()
        .map(|field| field.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_lists_the_refused_fields_or_counts_as_none() {
        let listed = refused_in(r#"{"refused":["username"],"more":1}"#);
        assert_eq!(listed, Some(vec!["username".to_owned()]));
        assert_eq!(refused_in(r#"{"refused":[]}"#), Some(Vec::new()));
        for body in [
            "",
            "null",
            "[]",
            r#"{"refused":true}"#,
            r#"{"refused":[1]}"#,
        ] {
            assert_eq!(refused_in(body), None, "{body}");
        }
    }
}
