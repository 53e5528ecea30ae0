//! `/user/migrate-local`: an old diary moves in, and out again.

use carbon_domain::DomainError;
use serde_json::{Value, json};

use super::names;
use crate::call::Call;
use crate::clients::MIGRATION_DEADLINE_MS;
use crate::error::ApiError;
use crate::query::path_uuid;
use crate::reply::Reply;
use crate::request::check_json;

/// `POST /user/migrate-local?dry_run=true`: the body goes to the database as it came. It is checked
/// to be JSON but never rebuilt, because old dumps hold escapes that would not survive it.
pub async fn migrate(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    let dry_run = query.flag("dry_run");
    query.arguments()?;
    check_json(&call.body)?;
    let arguments = json!({"payload": call.body, "dry_run": dry_run}).to_string();
    let rest = call.rest().patient(MIGRATION_DEADLINE_MS);
    let text = rest.rpc_text("migrate_local", arguments).await?;
    let mut answer: Value = serde_json::from_str(&text)
        .map_err(|error| ApiError::internal(format!("migrate_local answered no JSON: {error}")))?;
    for list in ["rejected", "adjusted"] {
        for line in answer[list].as_array_mut().into_iter().flatten() {
            if line.get("message_th").is_some() {
                names::choose_message(line, call.lang);
            }
        }
    }
    Ok(Reply::ok(&answer))
}

/// `DELETE /user/migrate-local/{batch_id}`: takes back what the batch added.
pub async fn roll_back(call: &Call) -> Result<Reply, ApiError> {
    let batch_id = path_uuid("batch_id", call.parameter(), DomainError::BatchIdInvalid)?;
    let arguments = json!({ "batch_id": batch_id }).to_string();
    let rest = call.rest().patient(MIGRATION_DEADLINE_MS);
    let text = rest.rpc_text("rollback_migration", arguments).await?;
    Ok(Reply::ok_text(&text))
}
