//! The final comparison, when everything is up: the ledgers against the tables, the recomputation and the sync feed.

use std::collections::{BTreeMap, BTreeSet};

use carbon_tests::earned::day_of;
use carbon_tests::rewards::{self, ChallengeIds, Row};
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::caller::Way;
use crate::ledger::Entry;
use crate::life::{Device, Life, World};

/// Rows of a user: tag, id, contents.
const ROWS: &str = "select notes, id::text, category_id, disposal_method, (weight_kg * 1000)::bigint, \
    (extract(epoch from logged_at) * 1000)::bigint, offline_id from public.waste_entries where user_id = $1::text::uuid";

/// The revision of a user's totals, the newest one of their entry keys, and how many of these occur twice.
const REVISIONS: &str = "select t.revision, coalesce(max(k.revision), 0), count(k.revision) - count(distinct k.revision) \
    from public.user_totals t left join private.entry_keys k using (user_id) where t.user_id = $1::text::uuid group by 1";

/// Every difference between what was acknowledged and what is stored.
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
        ledger(&client, who, &mut found).await;
        feed(life, &stored, &mut found).await;
    }
    found
}

/// Compares ledgers with rows; returns the ids that are stored.
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

/// The reward ledger, and the day and type of each of its challenge ids; no row for deleted users.
const LEDGER: &str = "select jsonb_build_object('rewards', t.rewards,
    'rows', (select coalesce(jsonb_agg(to_jsonb(r) order by r.number), '[]') from private.rewards r where r.user_id = t.user_id),
    'ids', (select coalesce(jsonb_object_agg(carbon.challenge_id(r.local_date, c.id), jsonb_build_array(r.local_date, c.id)), '{}')
      from (select distinct local_date from private.rewards where user_id = t.user_id and local_date is not null) r, public.challenge_types c))::text
    from public.user_totals t where t.user_id = $1::text::uuid";

/// Rewards are granted once, revoked for what they paid, and add up to the total.
async fn ledger(client: &Client, who: &String, found: &mut Vec<String>) {
    let Some(row) = client.query_opt(LEDGER, &[who]).await.expect("the ledger") else {
        return;
    };
    let facts: Value = serde_json::from_str(row.get(0)).expect("JSON");
    let ids = facts["ids"].as_object().expect("ids");
    let meaning = |of: &Value| Some((day_of(&of[0])?, of[1].as_str()?.to_owned()));
    let ids: ChallengeIds = ids
        .iter()
        .filter_map(|(id, of)| Some((id.clone(), meaning(of)?)))
        .collect();
    let rows: Vec<Row> = facts["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(Row::of)
        .collect();
    match rewards::read(&rows, &ids) {
        Ok((earned, _)) if facts["rewards"] == earned.rewards => {}
        Ok((earned, _)) => found.push(format!(
            "{who}: rewards of {}, the totals say {}",
            earned.rewards, facts["rewards"]
        )),
        Err(wrong) => found.push(format!("{who}: the ledger: {wrong:?}")),
    }
}

/// A device that followed the feed all along and a new device end up with the same entries, and these are the stored ones.
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
