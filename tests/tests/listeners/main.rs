//! Many users listen at the same time through the gateway, each to their own topic and the shared one: every event of the
//! database arrives exactly once, and the test prints how long after its commit. `cargo xtask bench realtime` runs it with
//! 5,000 listeners.
//!
//! Settings of the environment: `CARBON_LISTENERS` (20), `CARBON_LISTENER_ROUNDS` (1), `CARBON_LISTENER_SECONDS` of a round
//! (2) and `CARBON_LISTENER_EVENTS` a second (50). One line a round is printed, with a JSON object.

mod listener;
mod sender;

use std::sync::Arc;
use std::time::{Duration, Instant};

use carbon_tests::system::System;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::mpsc;

use crate::listener::{Arrival, Listener};
use crate::sender::{Sender, Sent};

/// Connections that are made at the same time.
const AT_ONCE: usize = 32;
/// How long after a round its last events may still arrive.
const PATIENCE: Duration = Duration::from_secs(10);

struct Settings {
    listeners: usize,
    rounds: usize,
    round: Duration,
    events_per_second: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_reaches_its_listeners_once() {
    let settings = Settings {
        listeners: setting("CARBON_LISTENERS").unwrap_or(20),
        rounds: setting("CARBON_LISTENER_ROUNDS").unwrap_or(1),
        round: Duration::from_secs(setting("CARBON_LISTENER_SECONDS").unwrap_or(2)),
        events_per_second: setting("CARBON_LISTENER_EVENTS").unwrap_or(50),
    };
    let system = System::load().expect("the running system");
    let (arrivals, mut arrived) = mpsc::unbounded_channel();
    let begun = Instant::now();
    let user_ids: Vec<String> = stream::iter(0..settings.listeners)
        .map(|_| Listener::join(&system, arrivals.clone()))
        .buffer_unordered(AT_ONCE)
        .map(|joined| joined.expect("a listener"))
        .collect()
        .await;
    println!(
        "{} listen, after {:.1} s",
        user_ids.len(),
        begun.elapsed().as_secs_f64()
    );
    let user_ids = Arc::new(user_ids);
    let mut sender = Sender::new(&system, user_ids.clone()).await;
    for _ in 0..settings.rounds {
        let sent = sender
            .round(settings.round, settings.events_per_second)
            .await;
        let round = collect(&mut arrived, &sent, user_ids.len()).await;
        println!("round {}", report(&sent, &round));
        assert_eq!(
            round.own.len(),
            sent.own.len(),
            "events to one that arrived, and that were sent"
        );
        assert_eq!(
            round.shared.len(),
            sent.shared.len() * user_ids.len(),
            "events to all that arrived, and that were sent"
        );
    }
}

/// Milliseconds from the commit to the arrival.
#[derive(Default)]
struct Round {
    own: Vec<f64>,
    shared: Vec<f64>,
}

async fn collect(
    arrived: &mut mpsc::UnboundedReceiver<Arrival>,
    sent: &Sent,
    user_ids: usize,
) -> Round {
    let expected = sent.own.len() + sent.shared.len() * user_ids;
    let mut round = Round::default();
    while round.own.len() + round.shared.len() < expected {
        let Ok(Some(arrival)) = tokio::time::timeout(PATIENCE, arrived.recv()).await else {
            break;
        };
        let (times, committed) = match arrival.shared {
            true => (&mut round.shared, sent.shared.get(&arrival.number)),
            false => (&mut round.own, sent.own.get(&arrival.number)),
        };
        let committed = committed.expect("an event of this round, seen once in it");
        times.push(
            arrival
                .at
                .saturating_duration_since(*committed)
                .as_secs_f64()
                * 1000.0,
        );
    }
    round
}

fn report(sent: &Sent, round: &Round) -> serde_json::Value {
    json!({
        "own": sent.own.len(),
        "own_median_ms": percentile(&round.own, 50),
        "own_p99_ms": percentile(&round.own, 99),
        "shared": sent.shared.len(),
        "shared_median_ms": percentile(&round.shared, 50),
        "shared_p99_ms": percentile(&round.shared, 99),
    })
}

fn percentile(times: &[f64], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * percent / 100)
        .copied()
        .unwrap_or_default()
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
