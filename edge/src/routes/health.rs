//! `/health`: whether the Worker runs, and whether what it depends on answers.

use std::cell::RefCell;

use futures_util::future::join;
use serde_json::{Map, Value, json};
use worker::Method;

use crate::clients::{Outgoing, send};
use crate::clock::now_ms;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::Reply;

/// A dependency that takes longer than this (milliseconds) is not ready.
const READY_DEADLINE_MS: i64 = 2_000;

/// Something the service cannot do without.
#[derive(Clone, Copy, Debug)]
enum Dependency {
    Database,
    Auth,
}

/// The result of one call to a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    up: bool,
    milliseconds: i64,
}

impl Probe {
    fn word(self) -> &'static str {
        if self.up { "ok" } else { "down" }
    }
}

/// What an isolate remembers of a dependency. Health checks are open to all and not counted, so however many come in, one
/// probe a second goes out.
#[derive(Clone, Copy, Debug, Default)]
struct DependencyState {
    /// The last result and when it came (milliseconds since 1970).
    last: Option<(i64, Probe)>,
    /// When the probe went out that is not answered yet.
    probe_started_at_ms: Option<i64>,
}

/// A result is valid for this long (milliseconds).
const FRESH_MS: i64 = 1_000;
/// While the next probe is out the last result remains valid, until this age.
const STALE_MS: i64 = FRESH_MS + READY_DEADLINE_MS;

impl DependencyState {
    /// The result to answer with; `None` for the caller that has to send the next probe, which is noted.
    fn answer(&mut self, now_ms: i64) -> Option<Probe> {
        let (at_ms, probe) = self.last.unzip();
        let age_ms = at_ms.map_or(i64::MAX, |at_ms| now_ms - at_ms);
        let in_flight =
            |probe_started_at_ms| (0..READY_DEADLINE_MS).contains(&(now_ms - probe_started_at_ms));
        let valid_for_ms = match self.probe_started_at_ms {
            Some(probe_started_at_ms) if in_flight(probe_started_at_ms) => STALE_MS,
            _ => FRESH_MS,
        };
        if (0..valid_for_ms).contains(&age_ms) {
            return probe;
        }
        self.probe_started_at_ms = Some(now_ms);
        None
    }

    fn record(&mut self, probe: Probe, now_ms: i64) {
        *self = Self {
            last: Some((now_ms, probe)),
            probe_started_at_ms: None,
        };
    }
}

thread_local! {
    static DEPENDENCIES: RefCell<[DependencyState; 2]> = const {
        RefCell::new([DependencyState { last: None, probe_started_at_ms: None }; 2])
    };
}

impl Dependency {
    /// Its state, probed at most once a second.
    async fn state(self, call: &Call) -> Probe {
        let state = DEPENDENCIES.with_borrow_mut(|all| all[self as usize].answer(now_ms()));
        if let Some(probe) = state {
            return probe;
        }
        let probe = self.probe(call).await;
        DEPENDENCIES.with_borrow_mut(|all| all[self as usize].record(probe, now_ms()));
        probe
    }

    async fn probe(self, call: &Call) -> Probe {
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
        Probe {
            up: answer.is_ok_and(|answer| answer.is_ok()),
            milliseconds: now_ms() - started_ms,
        }
    }
}

/// `GET /health` and `/health/live`: the Worker runs.
pub async fn live(_: &Call) -> Result<Reply, ApiError> {
    Ok(Reply::ok(&json!({"status": "ok"})))
}

/// `GET /health/ready` and `/user/health`: the database answers through PostgREST, and Auth answers.
pub async fn ready(call: &Call) -> Result<Reply, ApiError> {
    let (database, auth) = both(call).await;
    let checks = json!({"database": database.word(), "auth": auth.word()});
    readiness(database.up && auth.up, checks)
}

/// `GET /{waste,gamification,social,analytics}/health`: what these areas need is the database.
pub async fn area(call: &Call) -> Result<Reply, ApiError> {
    let database = Dependency::Database.state(call).await;
    readiness(database.up, json!({"database": database.word()}))
}

/// `GET /health/detailed`: each dependency with its state and how long it took, in milliseconds.
pub async fn detailed(call: &Call) -> Result<Reply, ApiError> {
    let (database, auth) = both(call).await;
    let shown = [("database", database), ("auth", auth)].map(|(name, probe)| {
        let facts = json!({"status": probe.word(), "latency_ms": probe.milliseconds});
        (name.to_owned(), facts)
    });
    readiness(database.up && auth.up, Value::Object(Map::from_iter(shown)))
}

async fn both(call: &Call) -> (Probe, Probe) {
    join(
        Dependency::Database.state(call),
        Dependency::Auth.state(call),
    )
    .await
}

fn readiness(up: bool, checks: Value) -> Result<Reply, ApiError> {
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
    const UP: Probe = Probe {
        up: true,
        milliseconds: 3,
    };

    #[test]
    fn a_result_is_valid_for_a_second() {
        let mut state = DependencyState::default();
        assert_eq!(state.answer(T0), None);
        state.record(UP, T0 + 3);
        assert_eq!(state.answer(T0 + 3), Some(UP));
        assert_eq!(state.answer(T0 + 3 + FRESH_MS - 1), Some(UP));
        assert_eq!(state.answer(T0 + 3 + FRESH_MS), None);
    }

    #[test]
    fn while_one_caller_probes_all_others_get_the_last_result() {
        let mut state = DependencyState::default();
        state.record(UP, T0);
        let next = T0 + FRESH_MS;
        assert_eq!(state.answer(next), None);
        for at in [next, next + READY_DEADLINE_MS - 1] {
            assert_eq!(state.answer(at), Some(UP));
        }
        // The probe never came back: another caller sends one.
        assert_eq!(state.answer(next + READY_DEADLINE_MS), None);
    }

    #[test]
    fn a_result_beyond_its_age_is_not_used() {
        let mut state = DependencyState::default();
        state.record(UP, T0);
        assert_eq!(state.answer(T0 + STALE_MS - 1), None);
        assert_eq!(state.answer(T0 + STALE_MS), None);
        assert_eq!(state.answer(T0 - 1), None, "a clock that went back");
    }
}
