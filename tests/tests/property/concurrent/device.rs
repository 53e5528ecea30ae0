//! One of the devices: it writes for all users, and knows exactly what it has written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::flaky_connection::{FlakyConnection, Outcome, Reply, Role, Statement};
use super::population::{Population, TestUser};
use crate::compare::now_millis;
use crate::diary::{Content, ZONES};
use crate::operation::Sent;

const DAY_MILLIS: i64 = 86_400_000;

/// An entry as its device last wrote it.
#[derive(Clone, Debug)]
pub struct DeviceEntry {
    pub content: Content,
    pub batch: Option<String>,
}

/// What a device wrote for one user and has not deleted since.
#[derive(Clone, Debug, Default)]
pub struct Own {
    pub entries: BTreeMap<String, DeviceEntry>,
    pub batches: Vec<String>,
}

/// A device and its connection.
pub struct Device<'a> {
    pub population: &'a Population,
    pub rng: StdRng,
    pub connection: FlakyConnection<'a>,
    name: String,
    count: usize,
    /// Whether it logs entries that earn points at present, or ones that cost points. It alternates, so that totals pass
    /// their thresholds in both directions.
    saving: bool,
    pub own: BTreeMap<String, Own>,
}

impl<'a> Device<'a> {
    pub fn new(population: &'a Population, seed: u64, place: usize) -> Self {
        Self {
            population,
            rng: StdRng::seed_from_u64(seed),
            connection: FlakyConnection::new(&population.system, &population.cuts),
            name: format!("{seed:x}-{place}-{}", now_millis()),
            count: 0,
            saving: true,
            own: BTreeMap::new(),
        }
    }

    /// Runs one random operation. The numbers are shares of 200.
    pub async fn act(&mut self) {
        if self.rng.random_ratio(1, 40) {
            self.saving = !self.saving;
        }
        let user = self.population.anyone(&mut self.rng);
        match self.rng.random_range(0..200) {
            0..50 => self.create(&user).await,
            50..62 => self.create_once(&user).await,
            62..74 => self.repeat_another().await,
            74..92 => self.batch(&user).await,
            92..108 => self.insert_rows(&user).await,
            108..112 => self.insert_for_several().await,
            112..130 => self.update(&user).await,
            130..138 => self.update_several(&user).await,
            138..152 => self.delete(&user).await,
            152..160 => self.delete_several(&user).await,
            160..167 => self.migrate(&user).await,
            167..172 => self.roll_back(&user).await,
            172..178 => self.several_at_once(&user).await,
            178..181 => self.abort_mid_transaction(&user).await,
            181..186 => self.close_days(&user).await,
            186..190 => self.choose(&user).await,
            190..194 => self.meet(&user).await,
            194..196 => self.exclude(&user).await,
            196..199 => self.run_a_job().await,
            _ => self.leave(&user).await,
        }
        self.forget_deleted_users();
    }

    fn forget_deleted_users(&mut self) {
        let existing: Vec<Arc<TestUser>> = self.population.existing();
        self.own
            .retain(|id, _| existing.iter().any(|user| user.id == *id));
    }

    pub fn own(&mut self, user: &TestUser) -> &mut Own {
        self.own.entry(user.id.clone()).or_default()
    }

    /// Calls as the user; None if the user was deleted meanwhile.
    pub async fn call(&mut self, user: &TestUser, statements: &[Statement]) -> Option<Reply> {
        let reply = self
            .connection
            .call(Role::Person(&user.id), statements)
            .await;
        if user.is_gone() {
            return None;
        }
        if let Outcome::Refused(code, token, words) = &reply.outcome {
            let expected = ["23505", "PT404"].contains(&code.as_str());
            assert!(expected, "{statements:?}: {code} {token} {words}");
        }
        Some(reply)
    }

    /// Calls one statement that must succeed.
    pub async fn must(&mut self, user: &TestUser, statement: Statement) -> Option<(Value, bool)> {
        let reply = self.call(user, std::slice::from_ref(&statement)).await?;
        match reply.outcome {
            Outcome::Done(mut answers) => Some((answers.remove(0), reply.again)),
            refused => panic!("{statement:?}: {refused:?}"),
        }
    }

    pub fn record(&mut self, user: &TestUser, id: &Value, content: &Content, batch: Option<&str>) {
        let id = id.as_str().expect("an id").to_owned();
        let entry = DeviceEntry {
            content: content.clone(),
            batch: batch.map(str::to_owned),
        };
        self.own(user).entries.insert(id, entry);
    }

    /// Up to `max_entries` of the device's own entries of this user.
    pub fn some_of(&mut self, user: &TestUser, max_entries: usize) -> Vec<(String, DeviceEntry)> {
        let own = self.own.entry(user.id.clone()).or_default();
        let chosen = own
            .entries
            .iter()
            .choose_multiple(&mut self.rng, max_entries);
        let copy = |(id, entry): (&String, &DeviceEntry)| (id.clone(), entry.clone());
        chosen.into_iter().map(copy).collect()
    }

    /// An entry that has not been sent yet, with an offline_id of its own.
    pub fn fresh(&mut self) -> Sent {
        self.count += 1;
        Sent {
            content: self.content(),
            offline_id: Some(format!("{}-{}", self.name, self.count)),
            bad: false,
        }
    }

    pub fn several(&mut self, max_entries: usize) -> Vec<Sent> {
        let count = self.rng.random_range(1..=max_entries);
        (0..count).map(|_| self.fresh()).collect()
    }

    /// Mostly what criteria count, of a weight that moves totals across the thresholds.
    pub fn content(&mut self) -> Content {
        let pairs = &self.population.pairs[usize::from(self.saving)];
        let (category, method) = pairs.choose(&mut self.rng).cloned().expect("a pair");
        let grams = match self.rng.random_range(0..10) {
            0..7 => self.rng.random_range(10..3_000),
            7..9 => self.rng.random_range(1..=8) * 500,
            _ => self.rng.random_range(10..=40_000),
        };
        Content {
            category,
            method,
            grams,
            at_millis: self.instant(),
        }
    }

    /// Mostly today, often a day of the last weeks, and sometimes within a millisecond of midnight in one of the zones.
    fn instant(&mut self) -> i64 {
        let latest = now_millis() - 5_000;
        let back = match self.rng.random_range(0..10) {
            0..4 => 0,
            4..8 => self.rng.random_range(0..12),
            _ => self.rng.random_range(0..90),
        };
        let at = latest - back * DAY_MILLIS - self.rng.random_range(0..DAY_MILLIS / 4);
        if self.rng.random_ratio(1, 8) {
            let zone = ZONES.choose(&mut self.rng).expect("a zone");
            let offset = zone.minutes * 60_000;
            let midnight = (at + offset).div_euclid(DAY_MILLIS) * DAY_MILLIS - offset;
            return (midnight + self.rng.random_range(-1..=1)).min(latest);
        }
        at
    }

    /// Deletes a user, after a new one has taken the place. The hot users stay: all devices go on writing to them.
    async fn leave(&mut self, user: &Arc<TestUser>) {
        let hot = self.population.existing();
        let hot = hot.iter().take(super::population::HOT);
        if hot.into_iter().any(|one| one.id == user.id) || user.gone.swap(true, Ordering::SeqCst) {
            return;
        }
        let new = self.population.sign_up(&mut self.rng).await;
        self.population.replace(user, new);
        let sql = "with gone as (delete from auth.users where id = $1::text::uuid returning id)
            select to_jsonb(count(*))::text from gone";
        let statement = Statement::new(sql, &[&user.id]);
        let reply = self.connection.call(Role::Job, &[statement]).await;
        match reply.outcome {
            Outcome::Done(_) => {}
            refused => panic!("{}: {refused:?}", user.id),
        }
    }

    /// Sends again what another device is sending, or sent a while ago.
    async fn repeat_another(&mut self) {
        let chosen = {
            let sends = self.population.sends.lock().expect("sends");
            sends.iter().choose(&mut self.rng).cloned()
        };
        let Some((user, sent)) = chosen else { return };
        let entry = crate::ways::entry_in(&sent).to_string();
        let statement = Statement::new(super::acts::CREATE, &[&entry]);
        if let Some((answer, _)) = self.must(&user, statement).await {
            assert!(answer["id"].is_string(), "{answer}");
        }
    }

    /// A connection that ends in the middle of its transaction must have written nothing.
    async fn abort_mid_transaction(&mut self, user: &TestUser) {
        let sent = self.fresh();
        let entry = json!(crate::ways::entry_in(&sent)).to_string();
        self.connection
            .abandon(
                Role::Person(&user.id),
                &Statement::new(super::acts::CREATE, &[&entry]),
            )
            .await;
    }
}
