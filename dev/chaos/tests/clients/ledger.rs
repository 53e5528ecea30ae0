//! What was acknowledged to one client: all of it must be stored.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use serde_json::{Number, Value, json};

/// The contents of an entry that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub category: String,
    pub method: String,
    pub grams: i64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

impl Entry {
    /// A random entry within the last month.
    pub fn random(rng: &mut StdRng, pairs: &[(String, String)], now_ms: u64) -> Self {
        let (category, method) = pairs.iter().choose(rng).expect("there are pairs").clone();
        let now_ms = i64::try_from(now_ms).expect("an instant of this era");
        Self {
            category,
            method,
            grams: rng.random_range(10..=5_000),
            at_ms: now_ms - rng.random_range(1_000..30 * 86_400_000),
        }
    }

    /// The entry as it is sent; the tag is its offline_id too, unless another key makes the call repeatable.
    pub fn to_json(&self, tag: &str, with_offline_id: bool) -> Value {
        let at =
            chrono::DateTime::from_timestamp_millis(self.at_ms).expect("an instant of this era");
        let mut entry = json!({
            "category_id": self.category, "disposal_method": self.method, "weight_kg": kilograms(self.grams),
            "logged_at": at.to_rfc3339(), "notes": tag,
        });
        if with_offline_id {
            entry["offline_id"] = json!(tag);
        }
        entry
    }
}

/// A weight in kilograms as a JSON number with three decimals.
pub fn kilograms(grams: i64) -> Number {
    format!("{}.{:03}", grams / 1000, grams % 1000)
        .parse()
        .expect("a decimal")
}

/// An acknowledged entry.
#[derive(Clone, Debug)]
pub struct Stored {
    pub entry: Entry,
    /// The entry's id, if the answer had it.
    pub id: Option<String>,
    /// Changed by REST without an expected revision. A try that was given up may still be carried out and undo a later
    /// change, so the entry is not changed again.
    pub is_final: bool,
}

/// All that was acknowledged to one client, by tag.
#[derive(Default)]
pub struct Ledger {
    /// What must be stored, exactly once.
    pub stored: BTreeMap<String, Stored>,
    /// Acknowledged migrations that may be rolled back: the batch and its tags.
    pub batches: Vec<(String, Vec<String>)>,
    /// Tags of what was deleted or rolled back: must not be stored.
    pub gone: Vec<String>,
}

impl Ledger {
    pub fn add(&mut self, tag: String, entry: Entry, id: Option<String>) {
        let stored = Stored {
            entry,
            id,
            is_final: false,
        };
        self.stored.insert(tag, stored);
    }

    pub fn remove(&mut self, tag: &str) {
        self.stored.remove(tag);
        self.gone.push(tag.to_owned());
    }

    /// A random entry whose id the client has, with its tag; with `changeable` none that is final.
    pub fn any(&self, rng: &mut StdRng, changeable: bool) -> Option<(String, String)> {
        self.stored
            .iter()
            .filter(|(_, stored)| !(changeable && stored.is_final))
            .filter_map(|(tag, stored)| Some((tag.clone(), stored.id.clone()?)))
            .choose(rng)
    }
}
