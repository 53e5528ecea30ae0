//! Cuts connections at random: those of the devices, and the worker that empties the outbox.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carbon_tests::system::System;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::NoTls;

use super::line::APPLICATION;

/// One of the devices' connections, wherever its transaction stands.
const CUT_ONE: &str = "select count(pg_terminate_backend(a.pid)) from (
    select pid from pg_stat_activity where application_name = $1 order by random() limit 1) as a";
/// The worker, if it runs.
const CUT_WORKER: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
    where backend_type = 'carbon worker'";
/// Cuts of connections between two of the worker.
const CUTS_A_WORKER: u32 = 8;

/// Cuts until it is dropped, as long as there is something left to do: the last at work could be cut for ever.
pub async fn kill(system: &System, seed: u64, left: &AtomicUsize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (client, connection) = tokio_postgres::connect(&system.db_url, NoTls)
        .await
        .expect("the database");
    tokio::spawn(connection);
    for turn in 1_u32.. {
        if left.load(Ordering::Relaxed) == 0 {
            return pending().await;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..400))).await;
        client
            .query_one(CUT_ONE, &[&APPLICATION])
            .await
            .expect("a connection is cut");
        if turn % CUTS_A_WORKER == 0 {
            client
                .query_one(CUT_WORKER, &[])
                .await
                .expect("the worker is cut");
        }
    }
}
