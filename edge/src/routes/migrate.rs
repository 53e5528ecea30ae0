//! `/user/migrate-local`: an old diary moves in, and out again.

use carbon_domain::DomainError;
use serde_json::{Value, json};

use super::names;
use crate::clients::MIGRATION_DEADLINE_MS;
use crate::clients::rest::parsed;
use crate::error::ApiError;
use crate::http::body::check_json;
use crate::http::call::Call;
use crate::http::query::path_uuid;
use crate::http::reply::Reply;

/// `POST /user/migrate-local?dry_run=true`: the body goes to the database as it came. It is checked
/// to be JSON but never rebuilt, because old dumps hold escapes that would not survive it.
pub async fn migrate(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    let dry_run = query.flag("dry_run");
    query.arguments()?;
    check_json(&call.body)?;
    let arguments = arguments(&call.body, dry_run);
    let text = write(call, "migrate_local", arguments).await?;
    let mut answer = parsed("migrate_local", &text)?;
    for list in ["rejected", "adjusted"] {
        let lines = answer.get_mut(list).and_then(Value::as_array_mut);
        for line in lines
            .into_iter()
            .flatten()
            .filter(|line| line.get("message_th").is_some())
        {
            names::choose_message(line, call.lang);
        }
    }
    Ok(Reply::ok(&answer))
}

async fn write(call: &Call, operation: &str, arguments: String) -> Result<String, ApiError> {
    call.write_within(MIGRATION_DEADLINE_MS, operation, arguments)
        .await?
        .text()
}

/// The rpc's arguments, with the body as one text; written in one go, because it may have 10 MiB.
fn arguments(body: &str, dry_run: bool) -> String {
    let mut text = format!(r#"{{"dry_run":{dry_run},"payload":"#).into_bytes();
    text.reserve(body.len() + body.len() / 4);
    serde_json::to_writer(&mut text, body).expect("writing to memory cannot fail");
    text.push(b'}');
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// `DELETE /user/migrate-local/{batch_id}`: takes back what the batch added.
pub async fn roll_back(call: &Call) -> Result<Reply, ApiError> {
    let batch_id = path_uuid("batch_id", call.parameter(), DomainError::BatchIdInvalid)?;
    let arguments = json!({ "batch_id": batch_id }).to_string();
    let text = write(call, "rollback_migration", arguments).await?;
    Ok(Reply::ok_text(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_handed_over_as_it_came() {
        let body = r#"{"local_storage":{"notes":"\ud800 \u0000 \"ก\""}}"#;
        let arguments: Value = serde_json::from_str(&arguments(body, true)).unwrap();
        assert_eq!(arguments, json!({"dry_run": true, "payload": body}));
    }
}
