//! What the clients do: random operations, each driven to a definite answer and noted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carbon_tests::system::System;
use futures_util::future::join;
use rand::Rng;
use serde_json::{Value, json};

use crate::caller::{Caller, Request, Said, Way, now_ms};
use crate::ledger::{Entry, Ledger, kilograms};
use crate::report::Report;

/// Calls of one client before its person makes room for a new one: with two clients a person stays
/// far below the rows an hour that the database takes from one.
const CALLS_A_LIFE: usize = 250;

/// What all clients share.
pub struct World {
    pub system: System,
    /// Every (category, method) there is.
    pub pairs: Vec<(String, String)>,
    pub report: Report,
    /// No new calls after this.
    pub until: Instant,
}

/// A person's end, to be compared with the database.
pub struct Life {
    pub token: String,
    pub user_id: String,
    pub clients: Vec<Client>,
}

/// One client of a person.
pub struct Client {
    caller: Caller,
    name: String,
    count: usize,
    pub ledger: Ledger,
    pub device: Device,
}

/// What a client knows by the sync feed.
#[derive(Clone, Default)]
pub struct Device {
    pub since: i64,
    /// The revision of each entry, by id.
    pub entries: BTreeMap<String, i64>,
}

/// One seat at the table: person after person until the time is over.
pub async fn seat(world: Arc<World>, seed: u64, seat: u64) -> Vec<Life> {
    let mut lives = Vec::new();
    while Instant::now() < world.until {
        let seed = seed
            .wrapping_mul(1_000)
            .wrapping_add(seat * 100 + lives.len() as u64);
        let token = Caller::new(world.clone(), seed, None).sign_in().await;
        let claims = token.split('.').nth(1).expect("a JWT has three parts");
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url"))
                .expect("claims");
        let client = |number: u64| Client {
            caller: Caller::new(
                world.clone(),
                seed.wrapping_mul(2).wrapping_add(number),
                Some(token.clone()),
            ),
            name: format!("{seat}-{}-{number}", lives.len()),
            count: 0,
            ledger: Ledger::default(),
            device: Device::default(),
        };
        let (mut one, mut two) = (client(0), client(1));
        join(one.live(), two.live()).await;
        lives.push(Life {
            user_id: claims["sub"].as_str().expect("a subject").to_owned(),
            clients: vec![one, two],
            token,
        });
    }
    lives
}

impl Client {
    async fn live(&mut self) {
        for _ in 0..CALLS_A_LIFE {
            if Instant::now() >= self.caller.world.until {
                return;
            }
            let kind = self.act().await;
            self.caller.world.report.done(kind);
            // Like people, not like a benchmark: faults should meet every kind of call.
            let pause = self.caller.rng.random_range(10..120);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn act(&mut self) -> &'static str {
        let way = if self.caller.rng.random_bool(0.6) {
            Way::Edge
        } else {
            Way::Rest
        };
        match self.caller.rng.random_range(0..100) {
            0..30 => self.create(way).await,
            30..36 => self.create_with_key().await,
            36..42 => self.insert_row().await,
            42..54 => self.batch(way).await,
            54..64 => self.update(way).await,
            64..68 => self.update_row().await,
            68..76 => self.delete(way).await,
            76..82 => self.migrate(way).await,
            82..86 => self.roll_back(way).await,
            86..88 => self.sign_in().await,
            _ => self.sync(way).await,
        }
    }

    fn entry(&mut self) -> (String, Entry) {
        self.count += 1;
        let tag = format!("{}-{}", self.name, self.count);
        let world = self.caller.world.clone();
        (
            tag,
            Entry::random(&mut self.caller.rng, &world.pairs, now_ms()),
        )
    }

    fn entries(&mut self, most: usize) -> Vec<(String, Entry)> {
        let count = self.caller.rng.random_range(2..=most);
        (0..count).map(|_| self.entry()).collect()
    }

    /// Calls a function of the database, or the Worker's route for it.
    async fn call(
        &mut self,
        way: Way,
        edge: (&'static str, String, Value),
        rpc: (&str, Value),
    ) -> Said {
        let request = match way {
            Way::Edge => Request::new(way, edge.0, edge.1, edge.2),
            Way::Rest => Request::new(way, "POST", format!("rpc/{}", rpc.0), rpc.1),
        };
        self.caller.settle(&request).await
    }

    fn wrong(&self, what: &str, said: &Said) {
        self.caller.world.report.wrong(format!("{what}: {said:?}"));
    }

    async fn create(&mut self, way: Way) -> &'static str {
        let (tag, entry) = self.entry();
        let sent = entry.to_json(&tag, true);
        let edge = ("POST", "/waste/entries".to_owned(), sent.clone());
        let said = self
            .call(way, edge, ("create_waste_entry", json!({ "entry": sent })))
            .await;
        let duplicate = said.body["duplicate"] == json!(true);
        if !said.is_ok() || (duplicate && !said.again) {
            self.wrong("create", &said);
        } else {
            self.ledger
                .add(tag, entry, said.body["id"].as_str().map(str::to_owned));
        }
        "create"
    }

    /// Without an offline_id: the Idempotency-Key alone makes the call repeatable.
    async fn create_with_key(&mut self) -> &'static str {
        let (tag, entry) = self.entry();
        let sent = entry.to_json(&tag, false);
        let request = Request::new(Way::Edge, "POST", "/waste/entries", sent).with_key(&tag);
        let said = self.caller.settle(&request).await;
        if said.status == 201 {
            self.ledger
                .add(tag, entry, said.body["id"].as_str().map(str::to_owned));
        } else {
            self.wrong("create with a key", &said);
        }
        "create with a key"
    }

    async fn insert_row(&mut self) -> &'static str {
        let (tag, entry) = self.entry();
        let request = Request::new(
            Way::Rest,
            "POST",
            "waste_entries",
            entry.to_json(&tag, true),
        );
        let said = self.caller.settle(&request).await;
        let known = said.status == 409 && said.again && said.body["code"] == "23505";
        if said.is_ok() || known {
            self.ledger
                .add(tag, entry, said.body[0]["id"].as_str().map(str::to_owned));
        } else {
            self.wrong("insert", &said);
        }
        "insert by REST"
    }

    async fn batch(&mut self, way: Way) -> &'static str {
        let entries = self.entries(6);
        let sent = as_sent(&entries);
        let body = json!({ "entries": sent });
        let edge = ("POST", "/waste/entries/batch".to_owned(), body.clone());
        let said = self.call(way, edge, ("create_waste_entries", body)).await;
        let whole = said.body["created"].as_u64().unwrap_or(0)
            + said.body["duplicates"].as_u64().unwrap_or(0);
        let half = said.body["created"] != json!(0) && said.body["duplicates"] != json!(0);
        if !said.is_ok() || whole != entries.len() as u64 || half {
            self.wrong("batch", &said);
        }
        for (place, (tag, entry)) in entries.into_iter().enumerate() {
            let id = said.body["entries"][place]["id"]
                .as_str()
                .map(str::to_owned);
            self.ledger.add(tag, entry, id);
        }
        "batch"
    }

    async fn revision(&mut self, id: &str) -> Option<i64> {
        let request = Request::new(
            Way::Edge,
            "GET",
            format!("/waste/entries/{id}"),
            Value::Null,
        );
        let said = self.caller.settle(&request).await;
        if !said.is_ok() {
            self.wrong("read", &said);
        }
        said.body["revision"].as_i64()
    }

    /// By the revision that was read, so that a late twin of the call changes nothing.
    async fn update(&mut self, way: Way) -> &'static str {
        let Some((tag, id)) = self.ledger.any(&mut self.caller.rng, true) else {
            return self.create(way).await;
        };
        let Some(revision) = self.revision(&id).await else {
            return "update";
        };
        let grams = self.caller.rng.random_range(10..=5_000);
        let changes = json!({ "weight_kg": kilograms(grams) });
        let mut body = changes.clone();
        body["expected_revision"] = json!(revision);
        let edge = ("PUT", format!("/waste/entries/{id}"), body);
        let rpc = json!({ "entry_id": id, "changes": changes, "expected_revision": revision });
        let said = self.call(way, edge, ("update_waste_entry", rpc)).await;
        // A try without an answer may have been carried out: then the entry is as wanted.
        let done = said.again && said.status == 409 && self.weighs(&id, grams).await;
        if said.is_ok() || done {
            if let Some(stored) = self.ledger.stored.get_mut(&tag) {
                stored.entry.grams = grams;
            }
        } else {
            self.wrong("update", &said);
        }
        "update"
    }

    async fn weighs(&mut self, id: &str, grams: i64) -> bool {
        let request = Request::new(
            Way::Edge,
            "GET",
            format!("/waste/entries/{id}"),
            Value::Null,
        );
        let said = self.caller.settle(&request).await;
        carbon_tests::figures::decimal(&said.body["weight_kg"].to_string(), 3) == Some(grams)
    }

    async fn update_row(&mut self) -> &'static str {
        let Some((tag, id)) = self.ledger.any(&mut self.caller.rng, true) else {
            return self.insert_row().await;
        };
        let grams = self.caller.rng.random_range(10..=5_000);
        let changes = json!({ "weight_kg": kilograms(grams) });
        let request = Request::new(
            Way::Rest,
            "PATCH",
            format!("waste_entries?id=eq.{id}"),
            changes,
        );
        let said = self.caller.settle(&request).await;
        if said.is_ok() && said.body.as_array().is_some_and(|rows| rows.len() == 1) {
            if let Some(stored) = self.ledger.stored.get_mut(&tag) {
                stored.entry.grams = grams;
                stored.settled = true;
            }
        } else {
            self.wrong("change by REST", &said);
        }
        "change by REST"
    }

    async fn delete(&mut self, way: Way) -> &'static str {
        let Some((tag, id)) = self.ledger.any(&mut self.caller.rng, false) else {
            return self.create(way).await;
        };
        let edge = ("DELETE", format!("/waste/entries/{id}"), Value::Null);
        let said = self
            .call(way, edge, ("delete_waste_entry", json!({ "entry_id": id })))
            .await;
        if said.is_ok() || (said.again && said.status == 404) {
            self.ledger.remove(&tag);
        } else {
            self.wrong("delete", &said);
        }
        "delete"
    }

    async fn migrate(&mut self, way: Way) -> &'static str {
        let entries = self.entries(25);
        let sent = as_sent(&entries);
        let body = json!({ "waste_entries": sent });
        let rpc = json!({ "payload": body.to_string() });
        let edge = ("POST", "/user/migrate-local".to_owned(), body);
        let said = self.call(way, edge, ("migrate_local", rpc)).await;
        let count = |name: &str| said.body[name].as_u64().unwrap_or(0);
        let (migrated, duplicate) = (count("migrated_entries"), count("duplicate_entries"));
        let whole = entries.len() as u64;
        if !said.is_ok()
            || ![(whole, 0), (0, whole)].contains(&(migrated, duplicate))
            || (duplicate > 0 && !said.again)
        {
            self.wrong("migration", &said);
        }
        if let (false, Some(batch)) = (said.again, said.body["batch_id"].as_str()) {
            let tags = entries.iter().map(|(tag, _)| tag.clone()).collect();
            self.ledger.batches.push((batch.to_owned(), tags));
        }
        for (tag, entry) in entries {
            self.ledger.add(tag, entry, None);
        }
        "migration"
    }

    async fn roll_back(&mut self, way: Way) -> &'static str {
        let Some((batch, tags)) = self.ledger.batches.pop() else {
            return self.migrate(way).await;
        };
        let edge = (
            "DELETE",
            format!("/user/migrate-local/{batch}"),
            Value::Null,
        );
        let said = self
            .call(
                way,
                edge,
                ("rollback_migration", json!({ "batch_id": batch })),
            )
            .await;
        let removed = said.body["removed_entries"].as_u64() == Some(tags.len() as u64);
        if !(said.is_ok() && removed || said.again && said.status == 404) {
            self.wrong("roll-back", &said);
        }
        for tag in tags {
            self.ledger.remove(&tag);
        }
        "roll-back"
    }

    /// Somebody else signs in by phone. A code whose right answer was lost is used up.
    async fn sign_in(&mut self) -> &'static str {
        let Some(said) = self.caller.sign_in_by_phone().await else {
            return "message lost";
        };
        if !(said.is_ok() || said.again && said.status == 401) {
            self.wrong("sign-in", &said);
        }
        "sign-in by phone"
    }

    async fn sync(&mut self, way: Way) -> &'static str {
        let mut device = std::mem::take(&mut self.device);
        device.pull(&mut self.caller, way, 50).await;
        self.device = device;
        "sync"
    }
}

impl Device {
    /// Asks for what changed, page by page, until there is no more.
    pub async fn pull(&mut self, caller: &mut Caller, way: Way, page: i64) {
        loop {
            let request = match way {
                Way::Edge => {
                    let body = json!({ "since_revision": self.since, "limit": page });
                    Request::new(way, "POST", "/user/sync/request", body)
                }
                Way::Rest => {
                    let body = json!({ "since_revision": self.since, "max_changes": page });
                    Request::new(way, "POST", "rpc/sync_changes", body)
                }
            };
            let said = caller.settle(&request).await;
            if !said.is_ok() || !self.take(&said.body) {
                caller
                    .world
                    .report
                    .wrong(format!("sync from {}: {said:?}", self.since));
                return;
            }
            if said.body["has_more"] != json!(true) {
                return;
            }
        }
    }

    /// Takes a page in; false if its revisions do not grow or it ends before what it claims.
    fn take(&mut self, page: &Value) -> bool {
        for change in page["changes"].as_array().into_iter().flatten() {
            let revision = change["revision"].as_i64().unwrap_or(0);
            if revision <= self.since {
                return false;
            }
            self.since = revision;
            if change["op"] == "delete" {
                self.entries.remove(change["id"].as_str().unwrap_or(""));
            } else {
                let id = change["entry"]["id"].as_str().unwrap_or("");
                self.entries.insert(id.to_owned(), revision);
            }
        }
        page["revision"].as_i64() == Some(self.since)
    }
}

impl Client {
    /// The caller, for the last look.
    pub fn caller(&self, token: &str) -> Caller {
        Caller::new(self.caller.world.clone(), 0, Some(token.to_owned()))
    }
}

/// Entries as a batch or an old diary holds them.
fn as_sent(entries: &[(String, Entry)]) -> Vec<Value> {
    entries
        .iter()
        .map(|(tag, entry)| entry.to_json(tag, true))
        .collect()
}
