//! Eight devices write for many users at once, most of all for a few hot ones, by connections that are cut at random. Now and
//! then all stop, and everything that is stored and shown about every user must equal a recount of the entries.

mod acts;
mod connection_killer;
mod device;
mod flaky_connection;
mod population;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use carbon_tests::earned::{Goals, Logged, day_of};
use carbon_tests::figures::{Factors, local_date};
use carbon_tests::system::System;
use chrono::NaiveDate;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use self::device::{Device, DeviceEntry};
use self::population::{Population, TestUser};
use crate::diary::{Content, ZONES, Zone, figures_of};
use crate::recount::{self, Counted};
use crate::snapshot::Snapshot;
use crate::{setting, standings};

const DEFAULT_OPERATIONS: usize = 10_000;
const DEVICES: usize = 8;
/// Operations between two recounts.
const OPERATIONS_PER_ROUND: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_eight_connections_cut_at_random_leave_equals_a_recount_of_all_entries() {
    let seed: u64 =
        setting("CARBON_TEST_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let operations = setting("CARBON_TEST_CONCURRENT_OPERATIONS").unwrap_or(DEFAULT_OPERATIONS);
    println!("CARBON_TEST_SEED={seed} CARBON_TEST_CONCURRENT_OPERATIONS={operations}");
    let system = System::load().expect("the running system");
    let factors = Factors::load().expect("the factors");
    let begin = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed);
    let population = Population::gather(system, factors, &mut rng).await;
    let mut devices: Vec<Device> = (0..DEVICES)
        .map(|place| Device::new(&population, rng.random(), place))
        .collect();
    let mut closed = BTreeMap::new();
    let (mut done, mut counting) = (0, 0.0);
    while done < operations {
        let now = OPERATIONS_PER_ROUND.min(operations - done);
        let left = AtomicUsize::new(now);
        let acts = devices.iter_mut().map(|device| act(device, &left));
        tokio::select! {
            _ = join_all(acts) => {}
            () = connection_killer::cut_at_random(&population.system, rng.random(), &left) => {}
        }
        done += now;
        let counted = Instant::now();
        compare(
            &population,
            &devices,
            done / OPERATIONS_PER_ROUND,
            &mut closed,
        )
        .await;
        counting += counted.elapsed().as_secs_f64();
    }
    let left = population
        .deleted_users
        .lock()
        .expect("deleted_users")
        .len();
    leave(&population).await;
    println!(
        "{done} operations of {DEVICES} devices in {:.1} s, {:.1} s of it counting; {} connections cut, {} users deleted",
        begin.elapsed().as_secs_f64(),
        counting,
        population.cuts.load(Ordering::Relaxed),
        left,
    );
}

/// Deletes all users, and checks that nothing of them is left, on boards either.
async fn leave(population: &Population) {
    for user in population.existing() {
        population.delete(&user).await;
    }
    let snapshot = Snapshot::take(&population.system).await;
    compare_deleted(&snapshot, population).await;
    standings::compare(&snapshot, 0, &[], &BTreeSet::new()).await;
}

/// Takes operations from the common count `left` until there are none, so that a slow device holds nobody up.
async fn act(device: &mut Device<'_>, left: &AtomicUsize) {
    let take = |left: usize| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        device.act().await;
    }
}

/// Compares everything about all users as of one moment, and lets the system recompute itself, which must find no difference.
async fn compare(
    population: &Population,
    devices: &[Device<'_>],
    round: usize,
    closed: &mut BTreeMap<String, NaiveDate>,
) {
    let snapshot = Snapshot::take(&population.system).await;
    let goals = Goals::of(&snapshot.value(Goals::STATEMENT, &[]).await);
    let users = population.existing();
    let (mut ids, mut excluded) = (Vec::new(), BTreeSet::new());
    for user in &users {
        let entries = compare_entries(&snapshot, user, devices, &population.factors).await;
        let chosen = *user.chosen.lock().await;
        let counted = Counted {
            id: &user.id,
            entries: &entries,
            minutes: ZONES[chosen.zone].minutes,
            eastmost: user.eastmost.load(Ordering::SeqCst),
            closed_before: closed.get(&user.id).copied(),
        };
        if let (_, Some(until)) = recount::compare(&snapshot, &counted, &goals).await {
            closed.insert(user.id.clone(), until);
        }
        ids.push(user.id.clone());
        if chosen.excluded {
            excluded.insert(user.id.clone());
        }
    }
    standings::compare(&snapshot, round, &ids, &excluded).await;
    compare_deleted(&snapshot, population).await;
    drop(snapshot);
    recompute(population, &ids).await;
}

/// The rows of a user: none lost, none twice, none come back after a deletion, each with its figures and its day.
async fn compare_entries(
    snapshot: &Snapshot,
    user: &Arc<TestUser>,
    devices: &[Device<'_>],
    factors: &Factors,
) -> Vec<Logged> {
    let rows = snapshot.value(ROWS, &[&user.id]).await;
    let own = devices.iter().filter_map(|device| device.own.get(&user.id));
    let mut written: BTreeMap<&String, &DeviceEntry> = own.flat_map(|own| &own.entries).collect();
    let mut entries = Vec::new();
    for row in rows.as_array().expect("rows") {
        let id = row["id"].as_str().expect("an id").to_owned();
        let entry = written
            .remove(&id)
            .unwrap_or_else(|| panic!("{}: no device wrote {row}", user.id));
        entries.push(compare_entry(row, entry, factors));
    }
    assert!(written.is_empty(), "{}: lost {written:?}", user.id);
    entries
}

const ROWS: &str = "select coalesce(jsonb_agg(jsonb_build_object('id', id, 'category', category_id, 'method', disposal_method,
    'grams', (weight_kg * 1000)::bigint, 'at', (extract(epoch from logged_at) * 1000)::bigint, 'zone', time_zone,
    'credits', carbon_credits, 'day', local_date, 'province', province, 'batch', batch_id)), '[]')::text
  from public.waste_entries where user_id = $1::text::uuid";

fn compare_entry(row: &Value, entry: &DeviceEntry, factors: &Factors) -> Logged {
    let Content {
        category,
        method,
        grams,
        at_millis,
    } = &entry.content;
    let is_rows = |zone: &&Zone| json!(zone.name) == row["zone"];
    let zone = ZONES.iter().find(is_rows).expect("one of the zones");
    let credits = figures_of(factors, &entry.content).credits;
    let day = local_date(*at_millis, zone.minutes);
    let seen = json!([
        row["category"],
        row["method"],
        row["grams"],
        row["at"],
        row["credits"],
        row["day"],
        row["batch"]
    ]);
    let expected = json!([
        category,
        method,
        grams,
        at_millis,
        credits,
        day.to_string(),
        entry.batch
    ]);
    assert_eq!(seen, expected, "{row}");
    Logged {
        category: category.clone(),
        method: method.clone(),
        grams: *grams,
        credits,
        day: day_of(&row["day"]).expect("a day"),
        imported: entry.batch.is_some(),
        province: row["province"].as_str().map(str::to_owned),
    }
}

/// Deleted users leave no row behind.
async fn compare_deleted(snapshot: &Snapshot, population: &Population) {
    let ids: Vec<String> = {
        let deleted_users = population.deleted_users.lock().expect("deleted_users");
        deleted_users.iter().map(|user| user.id.clone()).collect()
    };
    let left = snapshot.value(LEFT, &[&ids.join(",")]).await;
    assert_eq!(left, json!(0), "rows of deleted users: {ids:?}");
}

const LEFT: &str = "with gone as (select unnest(string_to_array($1::text, ','))::uuid as id)
  select to_jsonb((select count(*) from public.profiles where id in (select id from gone))
    + (select count(*) from public.waste_entries where user_id in (select id from gone))
    + (select count(*) from private.user_state where user_id in (select id from gone))
    + (select count(*) from public.user_days where user_id in (select id from gone))
    + (select count(*) from private.entry_keys where user_id in (select id from gone))
    + (select count(*) from private.rewards where user_id in (select id from gone))
    + (select count(*) from public.activity_feed where user_id in (select id from gone))
    + (select count(*) from private.board_exclusions where user_id in (select id from gone))
    + (select count(*) from private.idempotency_keys where user_id in (select id from gone)))::text";

/// The system's own check and recomputation of all users find no difference.
async fn recompute(population: &Population, ids: &[String]) {
    let (client, connection) = tokio_postgres::connect(&population.system.db_url, NoTls)
        .await
        .expect("the database");
    tokio::spawn(connection);
    for function in ["check_user", "recompute_user"] {
        let statement = format!(
            "select coalesce(jsonb_agg(jsonb_build_array(x.id, x.found)) filter (where x.found <> '[]'), '[]')::text
             from (select id, public.{function}(id::uuid) as found from unnest($1::text[]) as id) as x"
        );
        let found: String = client
            .query_one(&statement, &[&ids])
            .await
            .unwrap_or_else(|error| panic!("{function}: {error:?}"))
            .get(0);
        assert_eq!(found, "[]", "{function} finds differences");
    }
}
