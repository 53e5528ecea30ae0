//! `/user/profile`: a user's own settings.

use carbon_domain::DomainError;
use carbon_domain::profile::parse_changes;
use serde_json::{Map, Value, json};

use crate::clients::moderation::refused_fields;
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
    let unreviewed = review_names(call, &changes).await?;
    let mut arguments = json!({ "changes": changes });
    if !unreviewed.is_empty() {
        arguments["unreviewed"] = json!(unreviewed);
    }
    let text = call.write("update_profile", &arguments).await?;
    if ["privacy_level", "visible_in_leaderboard"]
        .iter()
        .any(|name| !arguments["changes"][name].is_null())
    {
        cache::invalidate_boards().await;
    }
    Ok(Reply::ok_text(&text))
}

/// Shows new names to the operators' moderation service, if there is one. Returns the fields that it should have seen and
/// did not: the database's own lists then decide alone, and an operator looks at the names later.
async fn review_names(
    call: &Call,
    changes: &Map<String, Value>,
) -> Result<Vec<&'static str>, ApiError> {
    let Some(service) = &call.app.config.moderation else {
        return Ok(Vec::new());
    };
    let names: Vec<(&'static str, &str)> = ["username", "display_name"]
        .into_iter()
        .filter_map(|field| Some((field, changes.get(field)?.as_str()?)))
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let Some(refused) = refused_fields(service, &names).await else {
        return Ok(names.iter().map(|(field, _)| *field).collect());
    };
    let problems: Vec<FieldProblem> = names
        .iter()
        .filter(|(field, _)| refused.iter().any(|refused| refused == field))
        .map(|(field, _)| FieldProblem::domain(field, DomainError::TextNotAllowed))
        .collect();
    if problems.is_empty() {
        Ok(Vec::new())
    } else {
        Err(ApiError::fields(problems))
    }
}
