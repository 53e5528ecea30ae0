//! One of the devices: it writes for everybody, and knows exactly what it has written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::line::{Line, Said, Statement, Told, Voice};
use super::people::{Crowd, Soul};
use crate::compare::now_millis;
use crate::diary::{Four, ZONES};
use crate::operation::Sent;

const DAY_MILLIS: i64 = 86_400_000;

/// An entry as its device left it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub four: Four,
    pub batch: Option<String>,
}

/// What a device wrote for one person and has not deleted since.
#[derive(Clone, Debug, Default)]
pub struct Own {
    pub entries: BTreeMap<String, Kept>,
    pub batches: Vec<String>,
}

/// A device and its connection.
pub struct Device<'a> {
    pub crowd: &'a Crowd,
    pub rng: StdRng,
    pub line: Line<'a>,
    name: String,
    count: usize,
    /// Whether it logs what gives points just now, or what costs them: totals pass their thresholds in both directions.
    saving: bool,
    pub own: BTreeMap<String, Own>,
}

impl<'a> Device<'a> {
    pub fn new(crowd: &'a Crowd, seed: u64, place: usize) -> Self {
        Self {
            crowd,
            rng: StdRng::seed_from_u64(seed),
            line: Line::new(&crowd.system, &crowd.cuts),
            name: format!("{seed:x}-{place}-{}", now_millis()),
            count: 0,
            saving: true,
            own: BTreeMap::new(),
        }
    }

    /// One operation more.
    pub async fn act(&mut self) {
        if self.rng.random_ratio(1, 40) {
            self.saving = !self.saving;
        }
        let soul = self.crowd.anyone(&mut self.rng);
        match self.rng.random_range(0..200) {
            0..50 => self.create(&soul).await,
            50..62 => self.create_once(&soul).await,
            62..74 => self.repeat_another().await,
            74..92 => self.batch(&soul).await,
            92..108 => self.insert_rows(&soul).await,
            108..112 => self.insert_for_several().await,
            112..130 => self.update(&soul).await,
            130..138 => self.update_several(&soul).await,
            138..152 => self.delete(&soul).await,
            152..160 => self.delete_several(&soul).await,
            160..167 => self.migrate(&soul).await,
            167..172 => self.roll_back(&soul).await,
            172..178 => self.several_at_once(&soul).await,
            178..181 => self.die_halfway(&soul).await,
            181..186 => self.settle(&soul).await,
            186..193 => self.choose(&soul).await,
            193..196 => self.exclude(&soul).await,
            196..199 => self.run_a_job().await,
            _ => self.leave(&soul).await,
        }
        self.forget_the_gone();
    }

    fn forget_the_gone(&mut self) {
        let living: Vec<Arc<Soul>> = self.crowd.living();
        self.own
            .retain(|id, _| living.iter().any(|soul| soul.id == *id));
    }

    pub fn own(&mut self, soul: &Soul) -> &mut Own {
        self.own.entry(soul.id.clone()).or_default()
    }

    /// Calls as the person; None if the person is gone meanwhile.
    pub async fn call(&mut self, soul: &Soul, statements: &[Statement]) -> Option<Told> {
        let told = self.line.call(Voice::Person(&soul.id), statements).await;
        if soul.is_gone() {
            return None;
        }
        if let Said::Refused(code, token, words) = &told.said {
            let known = ["23505", "PT404"].contains(&code.as_str());
            assert!(known, "{statements:?}: {code} {token} {words}");
        }
        Some(told)
    }

    /// Calls one statement that must succeed.
    pub async fn must(&mut self, soul: &Soul, statement: Statement) -> Option<(Value, bool)> {
        let told = self.call(soul, std::slice::from_ref(&statement)).await?;
        match told.said {
            Said::Done(mut answers) => Some((answers.remove(0), told.again)),
            refused => panic!("{statement:?}: {refused:?}"),
        }
    }

    pub fn keep(&mut self, soul: &Soul, id: &Value, four: &Four, batch: Option<&str>) {
        let id = id.as_str().expect("an id").to_owned();
        let kept = Kept {
            four: four.clone(),
            batch: batch.map(str::to_owned),
        };
        self.own(soul).entries.insert(id, kept);
    }

    /// Up to so many of the device's own entries of this person.
    pub fn some_of(&mut self, soul: &Soul, most: usize) -> Vec<(String, Kept)> {
        let own = self.own.entry(soul.id.clone()).or_default();
        let chosen = own.entries.iter().choose_multiple(&mut self.rng, most);
        let copy = |(id, kept): (&String, &Kept)| (id.clone(), kept.clone());
        chosen.into_iter().map(copy).collect()
    }

    /// An entry nobody has sent yet, by an offline_id of its own.
    pub fn fresh(&mut self) -> Sent {
        self.count += 1;
        Sent {
            four: self.four(),
            offline_id: Some(format!("{}-{}", self.name, self.count)),
            bad: false,
        }
    }

    pub fn several(&mut self, most: usize) -> Vec<Sent> {
        let count = self.rng.random_range(1..=most);
        (0..count).map(|_| self.fresh()).collect()
    }

    /// Mostly things that criteria look for, of a weight that moves totals across the thresholds.
    pub fn four(&mut self) -> Four {
        let pairs = &self.crowd.pairs[usize::from(self.saving)];
        let (category, method) = pairs.choose(&mut self.rng).cloned().expect("a pair");
        let grams = match self.rng.random_range(0..10) {
            0..7 => self.rng.random_range(10..3_000),
            7..9 => self.rng.random_range(1..=8) * 500,
            _ => self.rng.random_range(10..=40_000),
        };
        Four {
            category,
            method,
            grams,
            at_millis: self.instant(),
        }
    }

    /// Today mostly, days of the last weeks often, and within a moment of somebody's midnight.
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

    /// Whoever deletes a person puts somebody new in the place.
    async fn leave(&mut self, soul: &Arc<Soul>) {
        let hot = self.crowd.living();
        let hot = hot.iter().take(super::people::HOT);
        if hot.into_iter().any(|one| one.id == soul.id) || soul.gone.swap(true, Ordering::SeqCst) {
            return;
        }
        let new = self.crowd.born(&mut self.rng).await;
        self.crowd.replace(soul, new);
        let sql = "with gone as (delete from auth.users where id = $1::text::uuid returning id)
            select to_jsonb(count(*))::text from gone";
        let statement = Statement::new(sql, &[&soul.id]);
        let told = self.line.call(Voice::Job, &[statement]).await;
        match told.said {
            Said::Done(_) => {}
            refused => panic!("{}: {refused:?}", soul.id),
        }
    }

    /// Sends again what another device is sending, or has sent a while ago.
    async fn repeat_another(&mut self) {
        let chosen = {
            let sends = self.crowd.sends.lock().expect("sends");
            sends.iter().choose(&mut self.rng).cloned()
        };
        let Some((soul, sent)) = chosen else { return };
        let entry = crate::ways::entry_in(&sent).to_string();
        let statement = Statement::new(super::acts::CREATE, &[&entry]);
        if let Some((answer, _)) = self.must(&soul, statement).await {
            assert!(answer["id"].is_string(), "{answer}");
        }
    }

    /// A connection that ends in the middle of its transaction has written nothing.
    async fn die_halfway(&mut self, soul: &Soul) {
        let sent = self.fresh();
        let entry = json!(crate::ways::entry_in(&sent)).to_string();
        self.line
            .abandon(
                Voice::Person(&soul.id),
                &Statement::new(super::acts::CREATE, &[&entry]),
            )
            .await;
    }
}
