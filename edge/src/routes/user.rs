//! `/user/profile`: what a person says about themself.

use carbon_domain::profile::parse_changes;
use serde_json::json;

use crate::call::Call;
use crate::error::{ApiError, FieldProblem};
use crate::reply::{Caching, Reply};
use crate::request::parse_json;

/// `GET /user/profile`
pub async fn profile(call: &Call) -> Result<Reply, ApiError> {
    let text = call.rest().rpc_text("get_profile", "{}".to_owned()).await?;
    Ok(Reply::ok_text(&text).cached(Caching::Private))
}

/// `PUT /user/profile`: any of the fields; missing = unchanged, null clears.
pub async fn update_profile(call: &Call) -> Result<Reply, ApiError> {
    let changes = parse_changes(&parse_json(&call.body)?)
        .map_err(|errors| ApiError::fields(errors.into_iter().map(FieldProblem::from).collect()))?;
    let arguments = json!({ "changes": changes });
    let text = call
        .rest()
        .rpc_text("update_profile", arguments.to_string())
        .await?;
    Ok(Reply::ok_text(&text))
}
