//! Many people and a few whom everybody writes to, by eight connections that are cut at random. Now and then everybody stops,
//! and everything that is kept and shown about everybody must be what a recount of the entries gives.

mod acts;
mod device;
mod killer;
mod line;
mod people;

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

use self::device::{Device, Kept};
use self::people::{Crowd, Soul};
use crate::diary::{Four, ZONES, Zone, figures_of};
use crate::recount::{self, Counted};
use crate::snapshot::Snapshot;
use crate::{setting, standings};

const DEFAULT_OPERATIONS: usize = 10_000;
const DEVICES: usize = 8;
/// Operations between two counts of everything.
const OPERATIONS_A_ROUND: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_connections_cut_at_random_leave_what_a_recount_of_everybody_gives() {
    let seed: u64 =
        setting("CARBON_TEST_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let operations = setting("CARBON_TEST_CROWD_OPERATIONS").unwrap_or(DEFAULT_OPERATIONS);
    println!("CARBON_TEST_SEED={seed} CARBON_TEST_CROWD_OPERATIONS={operations}");
    let system = System::load().expect("the running system");
    let factors = Factors::load().expect("the factors");
    let begin = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed);
    let crowd = Crowd::gather(system, factors, &mut rng).await;
    let mut devices: Vec<Device> = (0..DEVICES)
        .map(|place| Device::new(&crowd, rng.random(), place))
        .collect();
    let mut settled = BTreeMap::new();
    let (mut done, mut counting) = (0, 0.0);
    while done < operations {
        let now = OPERATIONS_A_ROUND.min(operations - done);
        let left = AtomicUsize::new(now);
        let acts = devices.iter_mut().map(|device| act(device, &left));
        tokio::select! {
            _ = join_all(acts) => {}
            () = killer::kill(&crowd.system, rng.random(), &left) => {}
        }
        done += now;
        let counted = Instant::now();
        compare(&crowd, &devices, done / OPERATIONS_A_ROUND, &mut settled).await;
        counting += counted.elapsed().as_secs_f64();
    }
    let left = crowd.buried.lock().expect("buried").len();
    leave(&crowd).await;
    println!(
        "{done} operations of {DEVICES} devices in {:.1} s, {:.1} s of it counting; {} connections cut, {} people left",
        begin.elapsed().as_secs_f64(),
        counting,
        crowd.cuts.load(Ordering::Relaxed),
        left,
    );
}

/// Everybody goes, and nothing of them stays, on no board either.
async fn leave(crowd: &Crowd) {
    for soul in crowd.living() {
        crowd.delete(&soul).await;
    }
    let snapshot = Snapshot::take(&crowd.system).await;
    compare_graves(&snapshot, crowd).await;
    standings::compare(&snapshot, 0, &[], &BTreeSet::new()).await;
}

/// Whoever is free does the next operation.
async fn act(device: &mut Device<'_>, left: &AtomicUsize) {
    let take = |left: usize| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        device.act().await;
    }
}

/// Everything about everybody, as of one moment; then the system's own recomputation, which must find nothing to mend.
async fn compare(
    crowd: &Crowd,
    devices: &[Device<'_>],
    round: usize,
    settled: &mut BTreeMap<String, NaiveDate>,
) {
    let snapshot = Snapshot::take(&crowd.system).await;
    let goals = Goals::of(&snapshot.value(Goals::STATEMENT, &[]).await);
    let souls = crowd.living();
    let (mut ids, mut excluded) = (Vec::new(), BTreeSet::new());
    for soul in &souls {
        let entries = compare_entries(&snapshot, soul, devices, &crowd.factors).await;
        let chosen = *soul.chosen.lock().await;
        let counted = Counted {
            id: &soul.id,
            entries: &entries,
            minutes: ZONES[chosen.zone].minutes,
            eastmost: soul.eastmost.load(Ordering::SeqCst),
            settled_before: settled.get(&soul.id).copied(),
        };
        if let (_, Some(until)) = recount::compare(&snapshot, &counted, &goals).await {
            settled.insert(soul.id.clone(), until);
        }
        ids.push(soul.id.clone());
        if chosen.excluded {
            excluded.insert(soul.id.clone());
        }
    }
    standings::compare(&snapshot, round, &ids, &excluded).await;
    compare_graves(&snapshot, crowd).await;
    drop(snapshot);
    recompute(crowd, &ids).await;
}

/// The rows of a person: none lost, none twice, none come back, each with its figures and its day.
async fn compare_entries(
    snapshot: &Snapshot,
    soul: &Arc<Soul>,
    devices: &[Device<'_>],
    factors: &Factors,
) -> Vec<Logged> {
    let rows = snapshot.value(ROWS, &[&soul.id]).await;
    let own = devices.iter().filter_map(|device| device.own.get(&soul.id));
    let mut kept: BTreeMap<&String, &Kept> = own.flat_map(|own| &own.entries).collect();
    let mut entries = Vec::new();
    for row in rows.as_array().expect("rows") {
        let id = row["id"].as_str().expect("an id").to_owned();
        let known = kept
            .remove(&id)
            .unwrap_or_else(|| panic!("{}: nobody wrote {row}", soul.id));
        entries.push(compare_entry(row, known, factors));
    }
    assert!(kept.is_empty(), "{}: lost {kept:?}", soul.id);
    entries
}

const ROWS: &str = "select coalesce(jsonb_agg(jsonb_build_object('id', id, 'category', category_id, 'method', disposal_method,
    'grams', (weight_kg * 1000)::bigint, 'at', (extract(epoch from logged_at) * 1000)::bigint, 'zone', time_zone,
    'credits', carbon_credits, 'day', local_date, 'province', province, 'batch', batch_id)), '[]')::text
  from public.waste_entries where user_id = $1::text::uuid";

fn compare_entry(row: &Value, kept: &Kept, factors: &Factors) -> Logged {
    let Four {
        category,
        method,
        grams,
        at_millis,
    } = &kept.four;
    let is = |zone: &&Zone| json!(zone.name) == row["zone"];
    let zone = ZONES.iter().find(is).expect("a zone of ours");
    let credits = figures_of(factors, &kept.four).credits;
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
        kept.batch
    ]);
    assert_eq!(seen, expected, "{row}");
    Logged {
        category: category.clone(),
        method: method.clone(),
        grams: *grams,
        credits,
        day: day_of(&row["day"]).expect("a day"),
        imported: kept.batch.is_some(),
        province: row["province"].as_str().map(str::to_owned),
    }
}

/// Of who is gone nothing is left.
async fn compare_graves(snapshot: &Snapshot, crowd: &Crowd) {
    let ids: Vec<String> = {
        let buried = crowd.buried.lock().expect("buried");
        buried.iter().map(|soul| soul.id.clone()).collect()
    };
    let left = snapshot.value(LEFT, &[&ids.join(",")]).await;
    assert_eq!(left, json!(0), "rows of deleted people: {ids:?}");
}

const LEFT: &str = "with gone as (select unnest(string_to_array($1::text, ','))::uuid as id)
  select to_jsonb((select count(*) from public.profiles where id in (select id from gone))
    + (select count(*) from public.waste_entries where user_id in (select id from gone))
    + (select count(*) from private.user_state where user_id in (select id from gone))
    + (select count(*) from public.user_days where user_id in (select id from gone))
    + (select count(*) from private.entry_keys where user_id in (select id from gone))
    + (select count(*) from private.rewards where user_id in (select id from gone))
    + (select count(*) from private.board_exclusions where user_id in (select id from gone))
    + (select count(*) from private.idempotency_keys where user_id in (select id from gone)))::text";

/// The system's own check and recomputation of everybody find no difference.
async fn recompute(crowd: &Crowd, ids: &[String]) {
    let (client, connection) = tokio_postgres::connect(&crowd.system.db_url, NoTls)
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
