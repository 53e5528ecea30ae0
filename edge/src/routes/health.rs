//! `/health`: whether the Worker runs, and whether what it depends on answers.

use std::cell::RefCell;

use futures_util::future::join;
use serde_json::{Map, Value, json};
use worker::Method;

use crate::call::{Call, now_ms};
use crate::clients::{Outgoing, send};
use crate::error::ApiError;
use crate::reply::Reply;

/// A dependency that takes longer than this (milliseconds) is not ready.
const READY_DEADLINE_MS: u64 = 2_000;

/// Anybody may ask, so what was found out counts for a moment (milliseconds).
const DETAILS_FOR_MS: i64 = 1_000;

/// Something the service cannot do without.
#[derive(Clone, Copy, Debug)]
enum Dependency {
    Database,
    Auth,
}

/// How a dependency answered.
#[derive(Clone, Copy, Debug)]
struct Found {
    up: bool,
    milliseconds: i64,
}

impl Found {
    fn word(self) -> &'static str {
        if self.up { "ok" } else { "down" }
    }
}

impl Dependency {
    async fn ask(self, call: &Call) -> Found {
        let path = match self {
            Self::Database => "/rest/v1/waste_categories?select=id&limit=1",
            Self::Auth => "/auth/v1/health",
        };
        let config = &call.app.config;
        let headers = [
            ("apikey", config.anon_key.as_str()),
            ("x-edge-secret", config.edge_secret.as_str()),
            ("x-request-id", call.request_id.as_str()),
        ];
        let started_ms = now_ms();
        let answer = send(Outgoing {
            method: Method::Get,
            url: &format!("{}{path}", config.supabase_url),
            headers: &headers,
            body: None,
            deadline_ms: READY_DEADLINE_MS,
        })
        .await;
        Found {
            up: answer.is_ok_and(|answer| answer.is_ok()),
            milliseconds: now_ms() - started_ms,
        }
    }
}

/// `GET /health` and `/health/live`: the Worker runs.
pub fn live() -> Reply {
    Reply::ok(&json!({"status": "ok"}))
}

/// `GET /health/ready` and `/user/health`: the database answers through PostgREST, and Auth answers.
pub async fn ready(call: &Call) -> Result<Reply, ApiError> {
    let (database, auth) = both(call).await;
    let checks = json!({"database": database.word(), "auth": auth.word()});
    judged(database.up && auth.up, checks)
}

/// `GET /{waste,gamification,social,analytics}/health`: what these areas need is the database.
pub async fn area(call: &Call) -> Result<Reply, ApiError> {
    let database = Dependency::Database.ask(call).await;
    judged(database.up, json!({"database": database.word()}))
}

/// `GET /health/detailed`: each dependency with its state and how long it took, in milliseconds.
pub async fn detailed(call: &Call) -> Result<Reply, ApiError> {
    thread_local! { static LAST: RefCell<Option<(i64, bool, Value)>> = const { RefCell::new(None) }; }
    let recent = LAST.with_borrow(|last| {
        let last = last.as_ref();
        last.filter(|(at_ms, ..)| now_ms() - at_ms < DETAILS_FOR_MS)
            .cloned()
    });
    if let Some((_, up, checks)) = recent {
        return judged(up, checks);
    }
    let (database, auth) = both(call).await;
    let shown = [("database", database), ("auth", auth)].map(|(name, found)| {
        let facts = json!({"status": found.word(), "latency_ms": found.milliseconds});
        (name.to_owned(), facts)
    });
    let (up, checks) = (database.up && auth.up, Value::Object(Map::from_iter(shown)));
    LAST.replace(Some((now_ms(), up, checks.clone())));
    judged(up, checks)
}

async fn both(call: &Call) -> (Found, Found) {
    join(Dependency::Database.ask(call), Dependency::Auth.ask(call)).await
}

fn judged(up: bool, checks: Value) -> Result<Reply, ApiError> {
    if up {
        Ok(Reply::ok(&json!({"status": "ok", "checks": checks})))
    } else {
        Err(ApiError::unavailable(format!("not ready: {checks}"))
            .with_details(json!({ "checks": checks })))
    }
}
