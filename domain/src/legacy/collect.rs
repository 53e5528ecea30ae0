//! Collects and counts: every entry found is accepted, a duplicate, or rejected.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::entry::{EntryColumns, EntryShape, ParsedEntry, RejectedEntry, read};
use super::{Adjusted, MAX_LISTED, Migration, MigrationEntry, Rejected, UnreadableKey};
use crate::error::DomainError;
use crate::identity::uuid_text;
use crate::raw_json::each_element;

/// Collects a migration, key by key.
pub(super) struct Collector {
    now: DateTime<Utc>,
    pub out: Migration,
    identities: BTreeSet<[u8; 16]>,
    /// Entries with the same offline id are the same, even if other members differ.
    offline_ids: BTreeSet<String>,
}

impl Collector {
    pub fn new(now: DateTime<Utc>, device_id: Option<String>) -> Collector {
        let out = Migration {
            device_id,
            ..Migration::default()
        };
        Collector {
            now,
            out,
            identities: BTreeSet::new(),
            offline_ids: BTreeSet::new(),
        }
    }

    /// Adds every element of a list.
    pub fn add_list(&mut self, key: &'static str, list: &RawValue, shape: EntryShape) {
        let mut index = 0;
        each_element(list, |value| {
            self.add(key, index, value, shape);
            index += 1;
        });
    }

    /// Adds one entry.
    pub fn add(&mut self, key: &'static str, index: usize, value: &RawValue, shape: EntryShape) {
        self.out.received += 1;
        match read(value, shape, self.now) {
            Err(RejectedEntry { id, error }) => self.reject(key, index, id, error),
            Ok(entry) => {
                let is_api = shape == EntryShape::Api;
                if self.is_new(&entry, is_api) {
                    self.accept(key, index, entry, is_api);
                } else {
                    self.out.duplicates += 1;
                }
            }
        }
    }

    /// Records a key of the app from which nothing could be read.
    pub fn unreadable(&mut self, key: &'static str, reason: &'static str) {
        self.out.unreadable_keys.push(UnreadableKey { key, reason });
    }

    fn is_new(&mut self, entry: &ParsedEntry, is_api: bool) -> bool {
        let offline_id = entry.id.as_ref().filter(|_| is_api);
        if offline_id.is_some_and(|id| self.offline_ids.contains(id))
            || !self.identities.insert(entry.identity)
        {
            return false;
        }
        if let Some(id) = offline_id {
            self.offline_ids.insert(id.clone());
        }
        true
    }

    fn accept(&mut self, key: &'static str, index: usize, entry: ParsedEntry, is_api: bool) {
        for (field, change) in entry.changes {
            self.out.adjusted_count += 1;
            if self.out.adjusted.len() < MAX_LISTED {
                self.out.adjusted.push(Adjusted {
                    key,
                    index,
                    id: entry.id.clone(),
                    field,
                    change,
                });
            }
        }
        let columns = entry.columns;
        self.out.entries.push(MigrationEntry {
            ordinal: self.out.entries.len() + 1,
            key,
            index,
            offline_id: entry.id.clone().filter(|_| is_api),
            legacy_id: entry.id.clone().filter(|_| !is_api),
            id: entry.id,
            identity: uuid_text(entry.identity),
            columns: EntryColumns {
                device_id: columns.device_id.or_else(|| self.out.device_id.clone()),
                ..columns
            },
        });
    }

    fn reject(&mut self, key: &'static str, index: usize, id: Option<String>, error: DomainError) {
        self.out.rejected_count += 1;
        if self.out.rejected.len() < MAX_LISTED {
            self.out.rejected.push(Rejected {
                key,
                index,
                id,
                error,
            });
        }
    }
}
