//! What the clients do: random operations, each repeated until it has a definite reply and then recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carbon_tests::system::System;
use futures_util::future::join;
use rand::Rng;
use serde_json::{Value, json};

use crate::caller::{Caller, Reply, Request, Way, now_ms};
use crate::ledger::{Entry, Ledger, kilograms};
use crate::report::Report;

/// Calls of one client before its user is replaced by a new one: with two clients a user stays far below
/// the hourly limit of rows.
const CALLS_PER_PERSON: usize = 250;

/// What all clients share.
pub struct World {
    pub system: System,
    /// Every (category, method) there is.
    pub pairs: Vec<(String, String)>,
    pub report: Report,
    /// No new calls after this.
    pub until: Instant,
}

/// A user whose clients are done, to be compared with the database.
pub struct Life {
    pub token: String,
    pub user_id: String,
    pub clients: Vec<Client>,
}

/// One client of a user.
pub struct Client {
    caller: Caller,
    name: String,
    count: usize,
    pub ledger: Ledger,
    pub device: Device,
}

/// What a client has learnt from the sync feed.
#[derive(Clone, Default)]
pub struct Device {
    pub since: i64,
    /// The revision of each entry, by id.
    pub entries: BTreeMap<String, i64>,
}

/// Runs one user after the other until the time is over; `seat` numbers the users who run at the same time.
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
        for _ in 0..CALLS_PER_PERSON {
            if Instant::now() >= self.caller.world.until {
                return;
            }
            let kind = self.act().await;
            self.caller.world.report.done(kind);
            // A user's pace, not a benchmark's: faults should hit every kind of call.
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

    fn entries(&mut self, max_entries: usize) -> Vec<(String, Entry)> {
        let count = self.caller.rng.random_range(2..=max_entries);
        (0..count).map(|_| self.entry()).collect()
    }

    /// Calls a function of the database, or the Worker's route for it.
    async fn call(
        &mut self,
        way: Way,
        edge: (&'static str, String, Value),
        rpc: (&str, Value),
    ) -> Reply {
        let request = match way {
            Way::Edge => Request::new(way, edge.0, edge.1, edge.2),
            Way::Rest => Request::new(way, "POST", format!("rpc/{}", rpc.0), rpc.1),
        };
        self.caller.call(&request).await
    }

    fn wrong(&self, what: &str, reply: &Reply) {
        self.caller.world.report.wrong(format!("{what}: {reply:?}"));
    }

    async fn create(&mut self, way: Way) -> &'static str {
        let (tag, entry) = self.entry();
        let sent = entry.to_json(&tag, true);
        let edge = ("POST", "/waste/entries".to_owned(), sent.clone());
        let reply = self
            .call(way, edge, ("create_waste_entry", json!({ "entry": sent })))
            .await;
        let duplicate = reply.body["duplicate"] == json!(true);
        if !reply.is_ok() || (duplicate && !reply.again) {
            self.wrong("create", &reply);
        } else {
            self.ledger
                .add(tag, entry, reply.body["id"].as_str().map(str::to_owned));
        }
        "create"
    }

    /// Without an offline_id: the Idempotency-Key alone makes the call repeatable.
    async fn create_with_key(&mut self) -> &'static str {
        let (tag, entry) = self.entry();
        let sent = entry.to_json(&tag, false);
        let request = Request::new(Way::Edge, "POST", "/waste/entries", sent).with_key(&tag);
        let reply = self.caller.call(&request).await;
        if reply.status == 201 {
            self.ledger
                .add(tag, entry, reply.body["id"].as_str().map(str::to_owned));
        } else {
            self.wrong("create with a key", &reply);
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
        let reply = self.caller.call(&request).await;
        let is_duplicate = reply.status == 409 && reply.again && reply.body["code"] == "23505";
        if reply.is_ok() || is_duplicate {
            self.ledger
                .add(tag, entry, reply.body[0]["id"].as_str().map(str::to_owned));
        } else {
            self.wrong("insert", &reply);
        }
        "insert by REST"
    }

    async fn batch(&mut self, way: Way) -> &'static str {
        let entries = self.entries(6);
        let sent = as_sent(&entries);
        let body = json!({ "entries": sent });
        let edge = ("POST", "/waste/entries/batch".to_owned(), body.clone());
        let reply = self.call(way, edge, ("create_waste_entries", body)).await;
        let answered = reply.body["created"].as_u64().unwrap_or(0)
            + reply.body["duplicates"].as_u64().unwrap_or(0);
        let is_partial = reply.body["created"] != json!(0) && reply.body["duplicates"] != json!(0);
        if !reply.is_ok() || answered != entries.len() as u64 || is_partial {
            self.wrong("batch", &reply);
        }
        for (place, (tag, entry)) in entries.into_iter().enumerate() {
            let id = reply.body["entries"][place]["id"]
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
        let reply = self.caller.call(&request).await;
        if !reply.is_ok() {
            self.wrong("read", &reply);
        }
        reply.body["revision"].as_i64()
    }

    /// With the revision that was read, so that a late twin of the call changes nothing.
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
        let reply = self.call(way, edge, ("update_waste_entry", rpc)).await;
        // A try without an answer may have been carried out: then the entry has the new weight already.
        let done = reply.again && reply.status == 409 && self.weighs(&id, grams).await;
        if reply.is_ok() || done {
            if let Some(stored) = self.ledger.stored.get_mut(&tag) {
                stored.entry.grams = grams;
            }
        } else {
            self.wrong("update", &reply);
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
        let reply = self.caller.call(&request).await;
        carbon_tests::figures::decimal(&reply.body["weight_kg"].to_string(), 3) == Some(grams)
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
        let reply = self.caller.call(&request).await;
        if reply.is_ok() && reply.body.as_array().is_some_and(|rows| rows.len() == 1) {
            if let Some(stored) = self.ledger.stored.get_mut(&tag) {
                stored.entry.grams = grams;
                stored.is_final = true;
            }
        } else {
            self.wrong("change by REST", &reply);
        }
        "change by REST"
    }

    async fn delete(&mut self, way: Way) -> &'static str {
        let Some((tag, id)) = self.ledger.any(&mut self.caller.rng, false) else {
            return self.create(way).await;
        };
        let edge = ("DELETE", format!("/waste/entries/{id}"), Value::Null);
        let reply = self
            .call(way, edge, ("delete_waste_entry", json!({ "entry_id": id })))
            .await;
        if reply.is_ok() || (reply.again && reply.status == 404) {
            self.ledger.remove(&tag);
        } else {
            self.wrong("delete", &reply);
        }
        "delete"
    }

    async fn migrate(&mut self, way: Way) -> &'static str {
        let entries = self.entries(25);
        let sent = as_sent(&entries);
        let body = json!({ "waste_entries": sent });
        let rpc = json!({ "payload": body.to_string() });
        let edge = ("POST", "/user/migrate-local".to_owned(), body);
        let reply = self.call(way, edge, ("migrate_local", rpc)).await;
        let count = |name: &str| reply.body[name].as_u64().unwrap_or(0);
        let (migrated, duplicate) = (count("migrated_entries"), count("duplicate_entries"));
        let all = entries.len() as u64;
        if !reply.is_ok()
            || ![(all, 0), (0, all)].contains(&(migrated, duplicate))
            || (duplicate > 0 && !reply.again)
        {
            self.wrong("migration", &reply);
        }
        if let (false, Some(batch)) = (reply.again, reply.body["batch_id"].as_str()) {
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
        let reply = self
            .call(
                way,
                edge,
                ("rollback_migration", json!({ "batch_id": batch })),
            )
            .await;
        let removed = reply.body["removed_entries"].as_u64() == Some(tags.len() as u64);
        if !(reply.is_ok() && removed || reply.again && reply.status == 404) {
            self.wrong("roll-back", &reply);
        }
        for tag in tags {
            self.ledger.remove(&tag);
        }
        "roll-back"
    }

    /// Another user signs in by phone. If the answer to the correct code was lost, the repeated call is refused: the code is
    /// used.
    async fn sign_in(&mut self) -> &'static str {
        let Some(reply) = self.caller.sign_in_by_phone().await else {
            return "message lost";
        };
        if !(reply.is_ok() || reply.again && reply.status == 401) {
            self.wrong("sign-in", &reply);
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
    /// Fetches what changed, page by page, until there is no more.
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
            let reply = caller.call(&request).await;
            if !reply.is_ok() || !self.take(&reply.body) {
                caller
                    .world
                    .report
                    .wrong(format!("sync from {}: {reply:?}", self.since));
                return;
            }
            if reply.body["has_more"] != json!(true) {
                return;
            }
        }
    }

    /// Applies a page; false if its revisions do not grow, or if it ends before the revision that it claims.
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
    /// A new caller of the same world, for the final comparison.
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
