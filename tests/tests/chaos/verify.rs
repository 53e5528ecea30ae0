//! The last look, when everything is up: the ledgers against the tables, the recomputation and the sync feed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::caller::Way;
use crate::ledger::Entry;
use crate::life::{Device, Life, World};

/// Rows of a person: tag, id, contents.
const ROWS: &str = "select notes, id::text, category_id, disposal_method, (weight_kg * 1000)::bigint, \
    (extract(epoch from logged_at) * 1000)::bigint, offline_id from public.waste_entries where user_id = $1::text::uuid";

/// Revisions that the keys of a person carry: newest, highest in the totals, how many twice.
const REVISIONS: &str = "select t.revision, coalesce(max(k.revision), 0), count(k.revision) - count(distinct k.revision) \
    from public.user_totals t left join private.entry_keys k using (user_id) where t.user_id = $1::text::uuid group by 1";

/// Every difference between what was acknowledged and what is.
pub async fn all(world: &World, lives: &[Life]) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(&world.system.db_url, NoTls)
        .await
        .expect("the database");
    tokio::spawn(connection);
    let mut found = Vec::new();
    for life in lives {
        let who = &life.user_id;
        let stored = compare(&client, life, &mut found).await;
        let text: String = client
            .query_one("select public.check_user($1::text::uuid)::text", &[who])
            .await
            .expect("the recomputation")
            .get(0);
        let differences: Value = serde_json::from_str(&text).expect("JSON");
        if differences != Value::Array(Vec::new()) {
            found.push(format!("{who}: the recomputation differs: {differences}"));
        }
        revisions(&client, who, &mut found).await;
        feed(life, &stored, &mut found).await;
    }
    found
}

/// Ledgers against rows; answers the ids that are stored.
async fn compare(client: &Client, life: &Life, found: &mut Vec<String>) -> BTreeSet<String> {
    let who = &life.user_id;
    let rows = client.query(ROWS, &[who]).await.expect("the rows");
    let mut stored: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for row in rows {
        let tag: Option<String> = row.get(0);
        ids.insert(row.get(1));
        let entry = Entry {
            category: row.get(2),
            method: row.get(3),
            grams: row.get(4),
            at_ms: row.get(5),
        };
        stored
            .entry(tag.unwrap_or_default())
            .or_default()
            .push(entry);
    }
    for (tag, acknowledged) in life.clients.iter().flat_map(|one| &one.ledger.stored) {
        match stored.remove(tag).as_deref() {
            None => found.push(format!("{who}: lost {tag}")),
            Some([entry]) if *entry == acknowledged.entry => {}
            Some([entry]) => found.push(format!(
                "{who}: {tag} is {entry:?}, not {:?}",
                acknowledged.entry
            )),
            Some(more) => found.push(format!("{who}: {tag} is there {} times", more.len())),
        }
    }
    let gone: BTreeSet<&String> = life
        .clients
        .iter()
        .flat_map(|one| &one.ledger.gone)
        .collect();
    for tag in stored.keys() {
        let why = if gone.contains(tag) {
            "came back"
        } else {
            "was never acknowledged"
        };
        found.push(format!("{who}: {tag} {why}"));
    }
    ids
}

async fn revisions(client: &Client, who: &String, found: &mut Vec<String>) {
    let Some(row) = client
        .query_opt(REVISIONS, &[who])
        .await
        .expect("the revisions")
    else {
        return;
    };
    let (total, newest, twice): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    if total != newest || twice != 0 {
        found.push(format!(
            "{who}: revision {total}, newest key {newest}, {twice} twice"
        ));
    }
}

/// A device that followed the feed through all of it knows what a new one learns, and that is what is stored.
async fn feed(life: &Life, stored: &BTreeSet<String>, found: &mut Vec<String>) {
    let who = &life.user_id;
    let mut fresh = Device::default();
    let mut caller = life.clients[0].caller(&life.token);
    fresh.pull(&mut caller, Way::Edge, 500).await;
    if fresh.entries.keys().ne(stored.iter()) {
        found.push(format!(
            "{who}: the feed shows {} entries of {}",
            fresh.entries.len(),
            stored.len()
        ));
    }
    for client in &life.clients {
        let mut device = client.device.clone();
        device.pull(&mut caller, Way::Rest, 100).await;
        if device.entries != fresh.entries || device.since != fresh.since {
            found.push(format!(
                "{who}: a device at {} shows {} entries, a new one at {} {}",
                device.since,
                device.entries.len(),
                fresh.since,
                fresh.entries.len()
            ));
        }
    }
}
