//! `/user/profile`: a user's own settings.

use carbon_domain::profile::parse_changes;
use serde_json::json;

use crate::error::{ApiError, FieldProblem};
use crate::http::body::parse_json;
use crate::http::call::Call;
use crate::http::reply::Reply;
use crate::storage::cache;

/// `GET /user/profile`
pub async fn profile(call: &Call) -> Result<Reply, ApiError> {
    let profile = call.read("get_profile", &json!({})).await?;
    Ok(Reply::personal(profile))
}

/// `PUT /user/profile`: any of the fields; missing = unchanged, null clears.
pub async fn update_profile(call: &Call) -> Result<Reply, ApiError> {
    let changes = parse_changes(&parse_json(&call.body)?)
        .map_err(|errors| ApiError::fields(errors.into_iter().map(FieldProblem::from).collect()))?;
    let arguments = json!({ "changes": changes });
    let text = call.write("update_profile", &arguments).await?;
    if ["privacy_level", "visible_in_leaderboard"]
        .iter()
        .any(|name| !arguments["changes"][name].is_null())
    {
        cache::invalidate_boards().await;
    }
    Ok(Reply::ok_text(&text))
}
