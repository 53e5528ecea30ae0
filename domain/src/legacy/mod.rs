//! Parses the existing app's diary, either a dump of the browser's localStorage or normalised by a client.
//!
//! No payload makes the parser panic or miscount: every entry found is accepted, a duplicate, or rejected with a reason.
//! Depth, repeated members, endless numbers and broken text need neither stack nor memory.

mod collect;
mod entry;
mod keys;
mod preferences;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use serde_json::{Map, Value};

pub use entry::{EntryColumns, MAX_LEGACY_NOTES_CHARS};

use crate::error::DomainError;
use crate::lang::Lang;

/// The most that `rejected` and `adjusted` list each; the counts are complete.
pub const MAX_LISTED: usize = 1_000;
/// The most entries that one call may write.
pub const MAX_MIGRATED_ENTRIES: usize = 20_000;

/// Everything that a payload holds.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Migration {
    /// Entries found, always accepted + duplicates + rejected.
    pub received: u64,
    /// The entries to import, by key and then in the key's own order.
    pub entries: Vec<MigrationEntry>,
    /// Repetitions within the payload; the first occurrence is imported.
    pub duplicates: u64,
    /// Entries that cannot be imported.
    pub rejected_count: u64,
    /// The first 1,000 of them.
    pub rejected: Vec<Rejected>,
    /// Texts of accepted entries that had to be changed.
    pub adjusted_count: u64,
    /// The first 1,000 of them.
    pub adjusted: Vec<Adjusted>,
    /// Keys of the app that could not be read.
    pub unreadable_keys: Vec<UnreadableKey>,
    /// The app's own total, if it is a finite number; reported, never adopted.
    pub credits_claimed: Option<serde_json::Number>,
    /// What else the app claims, by key: numbers, or objects of numbers.
    pub claims: Map<String, Value>,
    /// Ids of achievements that the app shows as unlocked; reported, never adopted.
    pub achievements_claimed: Option<Vec<String>>,
    /// Valid preferences under the profile's names.
    pub preferences: Map<String, Value>,
    /// Whether the app's introduction was finished, if the payload states it.
    pub onboarding_completed: Option<bool>,
    /// The device that the payload is from.
    pub device_id: Option<String>,
}

/// An entry to import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationEntry {
    /// 1-based position among the entries to import.
    pub ordinal: usize,
    /// The key it was found in.
    pub key: &'static str,
    /// 0-based position in that key.
    pub index: usize,
    /// `legacy_id` or `offline_id`, whichever it has.
    pub id: Option<String>,
    /// The client's own id (normalised payload only).
    pub offline_id: Option<String>,
    /// The app's id (dump only).
    pub legacy_id: Option<String>,
    /// [`crate::identity::identity`] as a UUID.
    pub identity: String,
    /// What it says.
    #[serde(flatten)]
    pub columns: EntryColumns,
}

/// An entry that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The key it was found in.
    pub key: &'static str,
    /// 0-based position in that key.
    pub index: usize,
    /// Its id, if it has one that can be shown.
    pub id: Option<String>,
    /// The first thing that is wrong with it.
    pub error: DomainError,
}

impl Serialize for Rejected {
    /// `{key, index, id, reason, field, message_th, message_en}`; the reason is the error's code.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Rejected", 7)?;
        out.serialize_field("key", self.key)?;
        out.serialize_field("index", &self.index)?;
        out.serialize_field("id", &self.id)?;
        out.serialize_field("reason", self.error.code())?;
        out.serialize_field("field", &self.error.field())?;
        out.serialize_field("message_th", self.error.message(Lang::Th))?;
        out.serialize_field("message_en", self.error.message(Lang::En))?;
        out.end()
    }
}

/// A text that was changed so that it can be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adjusted {
    /// The key the entry was found in.
    pub key: &'static str,
    /// 0-based position in that key.
    pub index: usize,
    /// The entry's id.
    pub id: Option<String>,
    /// `id`, `offline_id`, `notes` or `place`.
    pub field: &'static str,
    /// `nul_dropped`, `surrogate_replaced`, `cut`, `hashed` or `not_text_dropped`.
    pub change: &'static str,
}

/// A key from which nothing could be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableKey {
    /// Its name.
    pub key: &'static str,
    /// `not_json`, `not_a_list`, `not_an_object` or `not_a_flag`.
    pub reason: &'static str,
}

/// Parses a payload: `{"local_storage": {key: string, …}, "device_id"?}` or
/// `{"waste_entries": […], "carbon_credits", "achievements", "user_preferences"}`.
///
/// `now` bounds the entries' times. Time zones are parsed by [`crate::zone::canonical`].
///
/// # Errors
/// [`DomainError::MigrationUnreadable`] when the payload is not a JSON object of either form. The caller has to refuse more
/// than [`MAX_MIGRATED_ENTRIES`] entries, because only it can find out which of them are new.
pub fn parse(payload: &str, now: DateTime<Utc>) -> Result<Migration, DomainError> {
    keys::read(payload, now)
}

/// The entry point of the fuzz target and its smoke test: parses any bytes and checks what must hold for all of them.
///
/// # Panics
/// When the count of a readable payload does not add up.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let payload = String::from_utf8_lossy(bytes);
    let now = DateTime::from_timestamp(1_718_452_800, 0).unwrap_or_default();
    if let Ok(migration) = parse(&payload, now) {
        let accepted = migration.entries.len() as u64;
        let counted = accepted + migration.duplicates + migration.rejected_count;
        assert_eq!(migration.received, counted, "an entry got lost");
        assert!(migration.rejected.len() <= MAX_LISTED && migration.adjusted.len() <= MAX_LISTED);
    }
}
