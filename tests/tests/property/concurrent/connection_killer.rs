//! Cuts connections at random: those of the devices, and that of the worker that empties the outbox.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carbon_tests::system::System;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::NoTls;

use super::flaky_connection::APPLICATION;

/// Ends one of the devices' connections, at whatever point its transaction is.
const CUT_ONE: &str = "select count(pg_terminate_backend(a.pid)) from (
    select pid from pg_stat_activity where application_name = $1 order by random() limit 1) as a";
/// Ends the worker, if it runs; the server starts it again.
const CUT_WORKER: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
    where backend_type = 'carbon worker'";
/// Connections that are cut between two cuts of the worker.
const CUTS_PER_WORKER_CUT: u32 = 8;

/// Cuts until it is dropped, but only while operations are left to begin: otherwise the last one at work could be cut
/// for ever.
pub async fn cut_at_random(system: &System, seed: u64, left: &AtomicUsize) {
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
        if turn % CUTS_PER_WORKER_CUT == 0 {
            client
                .query_one(CUT_WORKER, &[])
                .await
                .expect("the worker is cut");
        }
    }
}
