//! `/health`: whether the Worker runs, and whether what it depends on answers.

use futures_util::future::join;
use serde_json::json;
use worker::Method;

use crate::call::Call;
use crate::clients::{Outgoing, send};
use crate::error::ApiError;
use crate::reply::Reply;

/// A dependency that takes longer than this (milliseconds) is not ready.
const READY_DEADLINE_MS: u64 = 2_000;

/// `GET /health` and `/health/live`: the Worker runs.
pub fn live() -> Reply {
    Reply::ok(&json!({"status": "ok"}))
}

/// `GET /health/ready`: the database answers through PostgREST, and Auth answers.
pub async fn ready(call: &Call) -> Result<Reply, ApiError> {
    let (database, auth) = join(
        answers(call, "/rest/v1/waste_categories?select=id&limit=1"),
        answers(call, "/auth/v1/health"),
    )
    .await;
    let word = |up: bool| if up { "ok" } else { "down" };
    let checks = json!({"database": word(database), "auth": word(auth)});
    if database && auth {
        Ok(Reply::ok(&json!({"status": "ok", "checks": checks})))
    } else {
        Err(ApiError::unavailable(format!("not ready: {checks}"))
            .with_details(json!({ "checks": checks })))
    }
}

async fn answers(call: &Call, path: &str) -> bool {
    let config = &call.app.config;
    let headers = [
        ("apikey", config.anon_key.as_str()),
        ("x-edge-secret", config.edge_secret.as_str()),
    ];
    let answer = send(Outgoing {
        method: Method::Get,
        url: &format!("{}{path}", config.supabase_url),
        headers: &headers,
        body: None,
        deadline_ms: READY_DEADLINE_MS,
    })
    .await;
    answer.is_ok_and(|answer| answer.is_ok())
}
