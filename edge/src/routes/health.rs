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
const READY_DEADLINE_MS: i64 = 2_000;

/// Something the service cannot do without.
#[derive(Clone, Copy, Debug)]
enum Dependency {
    Database,
    Auth,
}

/// How a dependency answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    up: bool,
    milliseconds: i64,
}

impl Found {
    fn word(self) -> &'static str {
        if self.up { "ok" } else { "down" }
    }
}

/// What an isolate knows of a dependency. Anybody may ask how the service is, as often as they like and without being
/// counted: so one question a second goes out, whatever comes in.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The last answer and when it came (milliseconds since 1970).
    last: Option<(i64, Found)>,
    /// When the question went out that is not answered yet.
    asked_at_ms: Option<i64>,
}

/// An answer counts for so long (milliseconds).
const FRESH_MS: i64 = 1_000;
/// While the next question is out the last answer goes on counting, until this age.
const STALE_MS: i64 = FRESH_MS + READY_DEADLINE_MS;

impl Known {
    /// The answer to give; `None` for the caller that has to go and ask, which is then noted to be on the way.
    fn answer(&mut self, now_ms: i64) -> Option<Found> {
        let (at_ms, found) = self.last.unzip();
        let age_ms = at_ms.map_or(i64::MAX, |at_ms| now_ms - at_ms);
        let on_the_way = |asked_at_ms| (0..READY_DEADLINE_MS).contains(&(now_ms - asked_at_ms));
        let counts_for_ms = match self.asked_at_ms {
            Some(asked_at_ms) if on_the_way(asked_at_ms) => STALE_MS,
            _ => FRESH_MS,
        };
        if (0..counts_for_ms).contains(&age_ms) {
            return found;
        }
        self.asked_at_ms = Some(now_ms);
        None
    }

    fn learn(&mut self, found: Found, now_ms: i64) {
        *self = Self {
            last: Some((now_ms, found)),
            asked_at_ms: None,
        };
    }
}

thread_local! {
    static KNOWN: RefCell<[Known; 2]> = const {
        RefCell::new([Known { last: None, asked_at_ms: None }; 2])
    };
}

impl Dependency {
    /// How it is, asked at most once a second.
    async fn state(self, call: &Call) -> Found {
        let known = KNOWN.with_borrow_mut(|all| all[self as usize].answer(now_ms()));
        if let Some(found) = known {
            return found;
        }
        let found = self.ask(call).await;
        KNOWN.with_borrow_mut(|all| all[self as usize].learn(found, now_ms()));
        found
    }

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
            deadline_ms: READY_DEADLINE_MS.unsigned_abs(),
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
    let database = Dependency::Database.state(call).await;
    judged(database.up, json!({"database": database.word()}))
}

/// `GET /health/detailed`: each dependency with its state and how long it took, in milliseconds.
pub async fn detailed(call: &Call) -> Result<Reply, ApiError> {
    let (database, auth) = both(call).await;
    let shown = [("database", database), ("auth", auth)].map(|(name, found)| {
        let facts = json!({"status": found.word(), "latency_ms": found.milliseconds});
        (name.to_owned(), facts)
    });
    judged(database.up && auth.up, Value::Object(Map::from_iter(shown)))
}

async fn both(call: &Call) -> (Found, Found) {
    join(
        Dependency::Database.state(call),
        Dependency::Auth.state(call),
    )
    .await
}

fn judged(up: bool, checks: Value) -> Result<Reply, ApiError> {
    if up {
        Ok(Reply::ok(&json!({"status": "ok", "checks": checks})))
    } else {
        Err(ApiError::unavailable(format!("not ready: {checks}"))
            .with_details(json!({ "checks": checks })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: i64 = 1_800_000_000_000;
    const UP: Found = Found {
        up: true,
        milliseconds: 3,
    };

    #[test]
    fn an_answer_is_kept_for_a_second() {
        let mut known = Known::default();
        assert_eq!(known.answer(T0), None);
        known.learn(UP, T0 + 3);
        assert_eq!(known.answer(T0 + 3), Some(UP));
        assert_eq!(known.answer(T0 + 3 + FRESH_MS - 1), Some(UP));
        assert_eq!(known.answer(T0 + 3 + FRESH_MS), None);
    }

    #[test]
    fn while_one_asks_all_others_get_the_last_answer() {
        let mut known = Known::default();
        known.learn(UP, T0);
        let next = T0 + FRESH_MS;
        assert_eq!(known.answer(next), None);
        for at in [next, next + READY_DEADLINE_MS - 1] {
            assert_eq!(known.answer(at), Some(UP));
        }
        // Who asked never came back: somebody else goes.
        assert_eq!(known.answer(next + READY_DEADLINE_MS), None);
    }

    #[test]
    fn an_answer_beyond_its_age_is_given_to_nobody() {
        let mut known = Known::default();
        known.learn(UP, T0);
        assert_eq!(known.answer(T0 + STALE_MS - 1), None);
        assert_eq!(known.answer(T0 + STALE_MS), None);
        assert_eq!(known.answer(T0 - 1), None, "a clock that went back");
    }
}
