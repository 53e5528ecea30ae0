//! The Durable Object that adds up what the isolates counted: one for the service.

#![expect(
    missing_docs,
    reason = "the macro of a Durable Object writes public functions without comments"
)]

use std::cell::Cell;
use std::rc::Rc;

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

use super::object::{self, Class};
use crate::app::App;
use crate::clients::DEADLINE_MS;
use crate::clock::now_ms;
use crate::error::ApiError;
use crate::observe::metrics::{self, Sums};

const CLASS: Class = Class {
    binding: "METRICS",
    label: "metrics",
};
const NAME: &str = "service";
/// An isolate hands its counts over at most this often (milliseconds).
const FLUSH_EVERY_MS: i64 = 5_000;

#[durable_object(fetch)]
pub struct Metrics {
    state: State,
}

impl DurableObject for Metrics {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let counts: Sums = serde_json::from_str(&request.text().await?)?;
        // Sums in the form of another release start from zero, which Prometheus allows for.
        let mut sums: Sums = object::load(&self.state).unwrap_or_default();
        let changed = !counts.is_empty();
        metrics::merge(&mut sums, counts);
        let text = serde_json::to_string(&sums)?;
        if changed {
            object::save(&self.state, text.clone())?;
        }
        Response::ok(text)
    }
}

/// Hands this isolate's counts over and answers all sums.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`; the counts wait for the next time.
pub async fn exchange(app: &App) -> std::result::Result<Sums, ApiError> {
    let counts = metrics::take();
    let answer = object::send_command(app, &CLASS, NAME, &counts, DEADLINE_MS).await;
    if answer.is_err() {
        metrics::put_back(counts);
    }
    answer
}

/// Hands the counts over after the answer, if it is time again.
pub fn flush_after_answer(app: &Rc<App>) {
    thread_local! { static LAST_MS: Cell<i64> = const { Cell::new(0) }; }
    let now = now_ms();
    if now - LAST_MS.get() < FLUSH_EVERY_MS {
        return;
    }
    LAST_MS.set(now);
    let app = Rc::clone(app);
    app.clone().context.wait_until(async move {
        // What could not be handed over waits for the next time.
        let _ = exchange(&app).await;
    });
}
