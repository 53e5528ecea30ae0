//! `/user/sync`: what a device needs to catch up.

use carbon_domain::DomainError;
use carbon_domain::entry::check_device_id;
use serde_json::{Value, json};

use super::fields::Fields;
use super::names;
use crate::clients::rest::parsed;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::Reply;

/// Changes in one answer.
const MAX_CHANGES: i64 = 500;

/// `GET /user/sync/status`
pub async fn status(call: &Call) -> Result<Reply, ApiError> {
    let status = call.read("sync_status", &json!({})).await?;
    Ok(Reply::personal(status))
}

/// `POST /user/sync/request`: the changes after a revision, deletions included.
pub async fn changes(call: &Call) -> Result<Reply, ApiError> {
    let answer = call.write("sync_changes", &arguments(call)?).await?;
    let mut answer = parsed("sync_changes", &answer)?;
    for change in answer["changes"].as_array_mut().into_iter().flatten() {
        if let Some(entry) = change
            .as_object_mut()
            .and_then(|change| change.get_mut("entry"))
        {
            names::add_to_entry(entry, call.lang);
        }
    }
    Ok(Reply::ok(&answer))
}

fn arguments(call: &Call) -> Result<Value, ApiError> {
    let body = call.object()?;
    let mut fields = Fields::of(&body);
    let error = DomainError::SinceRevisionInvalid;
    let since = fields.integer_in("since_revision", 0..=i64::MAX, error);
    if body.get("since_revision").is_none_or(Value::is_null) {
        fields.refuse("since_revision", error);
    }
    let limit = fields.integer_in("limit", 1..=MAX_CHANGES, DomainError::LimitInvalid);
    let device_id = fields.optional_text("device_id");
    if device_id
        .as_ref()
        .is_some_and(|id| check_device_id(id).is_err())
    {
        fields.refuse("device_id", DomainError::DeviceIdInvalid);
    }
    fields.end()?;
    Ok(json!({
        "since_revision": since,
        "max_changes": limit.unwrap_or(MAX_CHANGES),
        "device_id": device_id,
    }))
}
