//! The audit trail: one row of auth.audit_log_entries an action, in the transaction of the action.

use super::db;
use super::error::ApiResult;
use super::user::User;
use chrono::Utc;
use deadpool_postgres::GenericClient;
use serde_json::{Value, json};
use uuid::Uuid;

/// The actor: a user, or a key of the service under the name of its role.
pub enum Actor<'a> {
    User(&'a User),
    /// A role such as service_role.
    Role(&'a str),
}

fn log_type(action: &str) -> &'static str {
    match action {
        "login" | "logout" => "account",
        "user_signedup" | "user_deleted" => "team",
        "token_revoked" | "token_refreshed" => "token",
        _ => "user",
    }
}

/// Writes the row. `traits` are left out when null.
pub async fn write(
    db: &impl GenericClient,
    actor: Actor<'_>,
    action: &str,
    traits: Value,
) -> ApiResult<()> {
    let (id, name) = match actor {
        Actor::User(user) if user.phone.is_empty() => (user.id, user.email.as_str()),
        Actor::User(user) => (user.id, user.phone.as_str()),
        Actor::Role(role) => (Uuid::nil(), role),
    };
    let mut payload = json!({
        "action": action,
        "actor_id": id,
        "actor_username": name,
        "actor_via_sso": false,
        "log_type": log_type(action),
    });
    if !traits.is_null() {
        payload["traits"] = traits;
    }
    let sql = "insert into auth.audit_log_entries (instance_id, id, payload, created_at) values ($1, $2, $3, $4)";
    db::execute(
        db,
        sql,
        &[&Uuid::nil(), &Uuid::new_v4(), &payload, &Utc::now()],
    )
    .await
}
