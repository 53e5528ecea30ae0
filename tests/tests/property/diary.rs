//! The test's own idea of one person's diary: what must be there after everything that happened, kept by the contract's rules
//! alone. It shares no code with the system.

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
pub struct Four {
    pub category: String,
    pub method: String,
    pub grams: i64,
    pub at_millis: i64,
}

/// An entry that lives in the diary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub four: Four,
    pub zone: Zone,
    pub offline_id: Option<String>,
    pub batch: Option<String>,
}

impl Entry {
    pub fn day(&self) -> NaiveDate {
        figures::local_date(self.four.at_millis, self.zone.minutes)
    }
}

/// An identity once recorded stays known, also after a deletion; roll-back alone frees those of its batch.
pub type Identity = (Option<String>, Four);

/// A batch of a migration and whether it has been rolled back.
#[derive(Clone, Debug)]
pub struct Batch {
    pub id: String,
    pub rolled_back: bool,
}

/// Everything the system should know of one person's entries.
#[derive(Clone, Debug)]
pub struct Diary {
    pub live: BTreeMap<String, Entry>,
    /// The ids of all entries there ever were.
    pub ever: BTreeSet<String>,
    /// offline_id → (entry id, the batch it came with).
    pub offline: BTreeMap<String, (String, Option<String>)>,
    /// identity → the batch it came with.
    pub identities: BTreeMap<Identity, Option<String>>,
    pub batches: Vec<Batch>,
    /// How many changes there were: the revision that the person must be at.
    pub changes: i64,
    pub zone: Zone,
    /// The clock furthest east that the person ever had, minutes east of UTC.
    pub eastmost: i64,
    /// The last day that was seen settled.
    pub settled_until: Option<NaiveDate>,
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
            settled_until: None,
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
    /// Whether an entry sent by the API with this offline_id is one that is known already.
    pub fn knows(&self, offline_id: Option<&str>, four: &Four) -> bool {
        offline_id.is_some_and(|id| {
            self.offline.contains_key(id)
                || self
                    .identities
                    .contains_key(&(Some(id.to_owned()), four.clone()))
        })
    }

    /// Whether an entry of a dump is known: by its identity, or, in the normalised form, by its offline_id.
    pub fn knows_old(&self, identity: &Identity, normalised: bool) -> bool {
        let by_offline = normalised
            && identity
                .0
                .as_ref()
                .is_some_and(|id| self.offline.contains_key(id));
        by_offline || self.identities.contains_key(identity)
    }

    /// Takes in an entry that was created.
    pub fn insert(&mut self, id: &str, entry: Entry, identity_id: Option<String>) {
        if entry.offline_id.is_some() || entry.batch.is_some() {
            self.identities
                .insert((identity_id, entry.four.clone()), entry.batch.clone());
        }
        if let Some(offline_id) = &entry.offline_id {
            self.offline
                .insert(offline_id.clone(), (id.to_owned(), entry.batch.clone()));
        }
        assert!(
            self.ever.insert(id.to_owned()),
            "the id {id} was given twice"
        );
        self.live.insert(id.to_owned(), entry);
        self.changes += 1;
    }

    /// Removes what a batch added and frees what it knew; answers how many entries and credits went.
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
                credits += figures_of(factors, &entry.four).credits;
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

    /// All live entries as rewards are counted from them.
    pub fn logged(&self, factors: &Factors) -> Vec<Logged> {
        let of = |entry: &Entry| Logged {
            category: entry.four.category.clone(),
            method: entry.four.method.clone(),
            grams: entry.four.grams,
            credits: figures_of(factors, &entry.four).credits,
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
            all += figures_of(factors, &entry.four);
        }
        all
    }

    /// The sums of every local day that has entries.
    pub fn days(&self, factors: &Factors) -> BTreeMap<NaiveDate, Day> {
        let mut days = BTreeMap::<NaiveDate, Day>::new();
        for entry in self.live.values() {
            let day = days.entry(entry.day()).or_default();
            let own = figures_of(factors, &entry.four);
            day.entries += 1;
            day.figures += own;
            day.positive += own.credits.max(0);
            day.negative += own.credits.min(0);
        }
        days
    }

    /// The run of days as of today in the person's zone, and the longest one.
    pub fn streak(&self, now_millis: i64) -> (i64, i64) {
        let days: BTreeSet<NaiveDate> = self.live.values().map(Entry::day).collect();
        figures::streak(&days, figures::local_date(now_millis, self.zone.minutes))
    }
}

/// The figures of an entry's four.
pub fn figures_of(factors: &Factors, four: &Four) -> Figures {
    factors.figures(&four.category, &four.method, four.grams)
}
