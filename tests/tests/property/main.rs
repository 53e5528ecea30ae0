//! The invariant of the contract: after any order of creates, batches, late arrivals, changes, moves, deletions, migrations,
//! roll-backs and duplicates, through all three interfaces and several at once, everything derived equals a full
//! recomputation: sums, days, streaks, the reward ledger with what it pays for, and boards.
//!
//! This file drives one user at a time through all interfaces and checks each answer; `concurrent` has many users and
//! connections that are cut, and recounts all users at once.
//!
//! `CARBON_TEST_SEED` repeats a run, `CARBON_TEST_OPERATIONS` and `CARBON_TEST_CONCURRENT_OPERATIONS` set how many operations
//! there are.

mod apply;
mod community;
mod compare;
mod concurrent;
mod diary;
mod operation;
mod person;
mod plan;
mod recount;
mod snapshot;
mod standings;
mod ways;

use std::time::Instant;

use carbon_tests::figures::Factors;
use carbon_tests::system::System;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::compare::{Device, compare, now_millis};
use crate::diary::Diary;
use crate::person::Person;
use crate::plan::Planner;

/// Few enough that no user reaches the limits of rows or migrations in an hour.
const OPERATIONS_PER_PERSON: usize = 200;
const DEFAULT_OPERATIONS: usize = 2_400;
/// Users who act at the same time.
const PEOPLE_AT_ONCE: usize = 3;
/// Groups of operations between two comparisons.
const GROUPS_BETWEEN_COMPARISONS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_operations_everything_derived_equals_the_recomputation() {
    let system = System::load().expect("the running system");
    let factors = Factors::load().expect("the factors");
    let seed: u64 =
        setting("CARBON_TEST_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let operations: usize = setting("CARBON_TEST_OPERATIONS").unwrap_or(DEFAULT_OPERATIONS);
    let users = operations.div_ceil(OPERATIONS_PER_PERSON).max(1);
    println!("CARBON_TEST_SEED={seed} CARBON_TEST_OPERATIONS={operations}: {users} users");
    let begin = Instant::now();
    let lives = (0..users).map(|index| {
        let own = operations / users + usize::from(index < operations % users);
        live(
            &system,
            &factors,
            seed.wrapping_add(index as u64),
            index,
            own,
        )
    });
    let done: usize = stream::iter(lives)
        .buffer_unordered(PEOPLE_AT_ONCE)
        .fold(0, |sum, one| async move { sum + one })
        .await;
    println!(
        "{done} operations in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    assert!(done >= operations);
}

/// Runs one user's random operations; returns how many there were.
async fn live(
    system: &System,
    factors: &Factors,
    seed: u64,
    index: usize,
    operations: usize,
) -> usize {
    let person = match index {
        0 | 1 => Person::by_phone(system, rand::rng().random_range(0..100_000_000)).await,
        _ => Person::anonymous(system).await,
    };
    person.began_days_ago([0, 10, 40, 3_000][index % 4]).await;
    let mut planner = Planner {
        rng: StdRng::seed_from_u64(seed),
        pairs: factors.pairs(),
        now_millis: now_millis(),
    };
    let mut diary = Diary::default();
    let mut devices = vec![Device::default()];
    let (mut done, mut groups) = (0, 0);
    while done < operations {
        let group = planner.next(&diary);
        done += group.len();
        groups += 1;
        let trace = Trace {
            person: &person.id,
            seed,
            group: format!("{group:?}"),
        };
        let outcomes = join_all(
            group
                .iter()
                .map(|operation| ways::execute(&person, operation)),
        )
        .await;
        apply::apply(
            &mut diary,
            factors,
            group.into_iter().zip(outcomes).collect(),
        );
        if groups % GROUPS_BETWEEN_COMPARISONS == 0 {
            compare(&person, &mut diary, factors).await;
            let mut device = devices.last().cloned().unwrap_or_default();
            device.pull(&person, 7).await;
            device.assert_shows(&diary, factors);
            devices.push(device);
        }
        drop(trace);
    }
    compare(&person, &mut diary, factors).await;
    for (place, mut device) in devices.into_iter().enumerate() {
        device
            .pull(&person, if place == 0 { 500 } else { 11 })
            .await;
        device.assert_shows(&diary, factors);
    }
    person.leave().await;
    done
}

/// Prints which operations were under way when an assertion failed.
struct Trace<'a> {
    person: &'a str,
    seed: u64,
    group: String,
}

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "person {} with seed {}: {}",
                self.person, self.seed, self.group
            );
        }
    }
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
