//! The test's own model of one user's diary: what must be there after all operations so far, by the contract's rules alone.
//! It shares no code with the system.

use std::collections::{BTreeMap, BTreeSet};

use carbon_tests::earned::Logged;
use carbon_tests::figures::{self, Factors, Figures};
use chrono::NaiveDate;

/// A time zone without daylight saving: its IANA name and its minutes east of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    pub name: &'static str,
    pub minutes: i64,
}

/// Zones on both sides of the date line; the first is the default.
pub const ZONES: [Zone; 5] = [
    Zone {
        name: "Asia/Bangkok",
        minutes: 7 * 60,
    },
    Zone {
        name: "Asia/Kathmandu",
        minutes: 5 * 60 + 45,
    },
    Zone {
        name: "Pacific/Kiritimati",
        minutes: 14 * 60,
    },
    Zone {
        name: "Pacific/Pago_Pago",
        minutes: -11 * 60,
    },
    Zone {
        name: "Etc/UTC",
        minutes: 0,
    },
];

/// What identifies an entry besides its id: category, method, grams, instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    pub category: String,
    pub method: String,
    pub grams: i64,
    pub at_millis: i64,
}

/// An entry that is in the diary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub content: Content,
    pub zone: Zone,
    pub offline_id: Option<String>,
    pub batch: Option<String>,
}

impl Entry {
    pub fn day(&self) -> NaiveDate {
        figures::local_date(self.content.at_millis, self.zone.minutes)
    }
}

/// An identity stays taken once it is recorded, also after a deletion. Only a roll-back frees those of its batch.
pub type Identity = (Option<String>, Content);

/// A batch of a migration and whether it has been rolled back.
#[derive(Clone, Debug)]
pub struct Batch {
    pub id: String,
    pub rolled_back: bool,
}

/// Everything that the system should hold about one user's entries.
#[derive(Clone, Debug)]
pub struct Diary {
    pub live: BTreeMap<String, Entry>,
    /// The ids of all entries, deleted ones too.
    pub ever: BTreeSet<String>,
    /// offline_id → (entry id, the batch it came with).
    pub offline: BTreeMap<String, (String, Option<String>)>,
    /// identity → the batch it came with.
    pub identities: BTreeMap<Identity, Option<String>>,
    pub batches: Vec<Batch>,
    /// How many changes there were, which is the revision that the user must be at.
    pub changes: i64,
    pub zone: Zone,
    /// The easternmost zone that the user ever had, in minutes east of UTC: no day may close before it
    /// has ended there.
    pub eastmost: i64,
    /// The last closed day at the latest comparison.
    pub closed_through: Option<NaiveDate>,
    /// Identities of migrated entries worth sending again.
    pub migrated: Vec<Identity>,
}

impl Default for Diary {
    fn default() -> Self {
        Self {
            live: BTreeMap::new(),
            ever: BTreeSet::new(),
            offline: BTreeMap::new(),
            identities: BTreeMap::new(),
            batches: Vec::new(),
            changes: 0,
            zone: ZONES[0],
            eastmost: ZONES[0].minutes,
            closed_through: None,
            migrated: Vec::new(),
        }
    }
}

/// Sums of one local day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    pub entries: i64,
    pub figures: Figures,
    pub positive: i64,
    pub negative: i64,
}

impl Diary {
    /// Whether an entry that the API sends with this offline_id is a duplicate.
    pub fn has_sent(&self, offline_id: Option<&str>, content: &Content) -> bool {
        offline_id.is_some_and(|id| {
            self.offline.contains_key(id)
                || self
                    .identities
                    .contains_key(&(Some(id.to_owned()), content.clone()))
        })
    }

    /// Whether an entry of a dump is a duplicate: by its identity or, in the normalised form, by its offline_id.
    pub fn has_imported(&self, identity: &Identity, normalised: bool) -> bool {
        let by_offline = normalised
            && identity
                .0
                .as_ref()
                .is_some_and(|id| self.offline.contains_key(id));
        by_offline || self.identities.contains_key(identity)
    }

    /// Adds an entry that was created.
    pub fn insert(&mut self, id: &str, entry: Entry, identity_id: Option<String>) {
        if entry.offline_id.is_some() || entry.batch.is_some() {
            self.identities
                .insert((identity_id, entry.content.clone()), entry.batch.clone());
        }
        if let Some(offline_id) = &entry.offline_id {
            self.offline
                .insert(offline_id.clone(), (id.to_owned(), entry.batch.clone()));
        }
        assert!(
            self.ever.insert(id.to_owned()),
            "the id {id} was assigned twice"
        );
        self.live.insert(id.to_owned(), entry);
        self.changes += 1;
    }

    /// Removes what a batch added and frees its ids and identities; returns how many entries and credits went.
    pub fn roll_back(&mut self, batch: &str, factors: &Factors) -> (i64, i64) {
        let gone: Vec<String> = self
            .live
            .iter()
            .filter(|(_, entry)| entry.batch.as_deref() == Some(batch))
            .map(|(id, _)| id.clone())
            .collect();
        let mut credits = 0;
        for id in &gone {
            if let Some(entry) = self.live.remove(id) {
                credits += figures_of(factors, &entry.content).credits;
            }
        }
        self.offline
            .retain(|_, (_, owner)| owner.as_deref() != Some(batch));
        self.identities
            .retain(|_, owner| owner.as_deref() != Some(batch));
        let removed = i64::try_from(gone.len()).expect("a count");
        self.changes += removed;
        for one in self.batches.iter_mut().filter(|one| one.id == batch) {
            one.rolled_back = true;
        }
        (removed, credits)
    }

    /// All live entries in the form from which rewards are counted.
    pub fn logged(&self, factors: &Factors) -> Vec<Logged> {
        let of = |entry: &Entry| Logged {
            category: entry.content.category.clone(),
            method: entry.content.method.clone(),
            grams: entry.content.grams,
            credits: figures_of(factors, &entry.content).credits,
            day: entry.day(),
            imported: entry.batch.is_some(),
            province: None,
        };
        self.live.values().map(of).collect()
    }

    /// The sums of all live entries.
    pub fn totals(&self, factors: &Factors) -> Figures {
        let mut all = Figures::default();
        for entry in self.live.values() {
            all += figures_of(factors, &entry.content);
        }
        all
    }

    /// The sums of every local day that has entries.
    pub fn days(&self, factors: &Factors) -> BTreeMap<NaiveDate, Day> {
        let mut days = BTreeMap::<NaiveDate, Day>::new();
        for entry in self.live.values() {
            let day = days.entry(entry.day()).or_default();
            let own = figures_of(factors, &entry.content);
            day.entries += 1;
            day.figures += own;
            day.positive += own.credits.max(0);
            day.negative += own.credits.min(0);
        }
        days
    }

    /// The current run as of today in the user's zone, and the longest one.
    pub fn streak(&self, now_millis: i64) -> (i64, i64) {
        let days: BTreeSet<NaiveDate> = self.live.values().map(Entry::day).collect();
        figures::streak(&days, figures::local_date(now_millis, self.zone.minutes))
    }
}

/// The figures of an entry's content.
pub fn figures_of(factors: &Factors, content: &Content) -> Figures {
    factors.figures(&content.category, &content.method, content.grams)
}
