//! What was acknowledged is stored exactly once, regardless of what fails: 8 clients write and read through the Worker and
//! through REST while `cargo xtask chaos` kills, stops and locks what they depend on. Each client repeats a call with the same
//! keys until it is acknowledged or definitely refused, and maintains a ledger of what was acknowledged; at the end, when
//! everything is up again, the ledgers are compared with the database.
//!
//! Settings of the environment: `CARBON_CHAOS_SECONDS` (5), `CARBON_TEST_SEED`, and `CARBON_CHAOS_FOLDER`, where the operator
//! of the faults leaves `faults.jsonl` (one line a fault) and `calm` (everything is up again). Without a folder nothing fails.

mod caller;
mod ledger;
mod life;
mod report;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carbon_tests::figures::Factors;
use carbon_tests::system::System;
use futures_util::future::join_all;
use rand::Rng;

use crate::life::World;
use crate::report::Report;

/// Users at the same time; each has two clients.
const PEOPLE_AT_ONCE: u64 = 4;
/// How long the system may take to be fully up again after the clients have finished.
const CALM_SECS: u64 = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_stored_once_under_random_faults() {
    let seed: u64 =
        setting("CARBON_TEST_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let seconds: u64 = setting("CARBON_CHAOS_SECONDS").unwrap_or(5);
    let folder: Option<PathBuf> = setting("CARBON_CHAOS_FOLDER");
    println!(
        "CARBON_TEST_SEED={seed}: {} clients for {seconds} s",
        2 * PEOPLE_AT_ONCE
    );
    let world = Arc::new(World {
        system: System::load().expect("the running system"),
        pairs: Factors::load().expect("the factors").pairs(),
        report: Report::default(),
        until: Instant::now() + Duration::from_secs(seconds),
    });
    let seats = (0..PEOPLE_AT_ONCE).map(|seat| tokio::spawn(life::seat(world.clone(), seed, seat)));
    let lives: Vec<_> = join_all(seats)
        .await
        .into_iter()
        .flat_map(|lives| lives.expect("a client's work"))
        .collect();
    if let Some(folder) = &folder {
        wait_for_calm(folder).await;
    }
    let differences = verify::all(&world, &lives).await;
    let faults = folder
        .map(|folder| report::faults(&folder))
        .unwrap_or_default();
    let wrong = world.report.print(&faults, lives.len());
    for line in differences.iter().chain(&wrong) {
        println!("  ✗ {line}");
    }
    assert!(
        differences.is_empty() && wrong.is_empty(),
        "{} differences, {} wrong answers with seed {seed}",
        differences.len(),
        wrong.len()
    );
}

async fn wait_for_calm(folder: &std::path::Path) {
    let begun = Instant::now();
    while !folder.join("calm").exists() {
        assert!(
            begun.elapsed() < Duration::from_secs(CALM_SECS),
            "the operator never reply that everything is up again"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
