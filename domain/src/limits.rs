//! How much one person may write, in one place: the database counts by these figures, the Worker by those they are made
//! of, and messages name them.

use crate::entry::{
    MAX_BATCH_ENTRIES, MAX_DEVICE_ID_CHARS, MAX_NOTES_CHARS, MAX_OFFLINE_ID_CHARS, MAX_PLACE_CHARS,
};
use crate::legacy::{MAX_LEGACY_NOTES_CHARS, MAX_MIGRATED_ENTRIES};

/// Single creates that the Worker lets through in an hour.
pub const CREATES_PER_HOUR: u32 = 60;
/// Batches that the Worker lets through in an hour.
pub const BATCHES_PER_HOUR: u32 = 10;

/// Entries that one statement may write, by any way in: a whole batch.
pub const ROWS_PER_STATEMENT: u32 = MAX_BATCH_ENTRIES as u32;
/// Entries that may be written in an hour, by any way in: 60 creates + 10 batches of 500 = 5,060, what the Worker lets
/// through.
pub const ROWS_PER_HOUR: u32 = CREATES_PER_HOUR + BATCHES_PER_HOUR * ROWS_PER_STATEMENT;
/// Entries that one migration may write.
pub const MIGRATED_ENTRIES: u32 = MAX_MIGRATED_ENTRIES as u32;

/// Entries that one person may add in 24 hours, imports included: two whole imports.
pub const ENTRIES_PER_DAY: u32 = 2 * MIGRATED_ENTRIES;
/// Entries that one person may hold: seven years with 150 entries a day are 383,000.
pub const ENTRIES_IN_ALL: u32 = 400_000;
/// Imports in an hour, dry runs and roll-backs included.
pub const IMPORTS_PER_HOUR: u32 = 10;
/// Imports in 24 hours, dry runs and roll-backs included.
pub const IMPORTS_PER_DAY: u32 = 30;

/// Requests that one person may have under way at once.
pub const REQUESTS_AT_ONCE: u32 = 8;
/// Of these, imports, batches and searches.
pub const HEAVY_REQUESTS_AT_ONCE: u32 = 2;

/// Bytes that are kept of the answer of one write that came with an Idempotency-Key.
pub const KEPT_ANSWER_BYTES: u32 = 128 * 1024;
/// Bytes that are kept of such answers of one person in 24 hours.
pub const KEPT_ANSWERS_BYTES: u32 = 8 * 1024 * 1024;

/// Bytes that are kept of what was read in an import; of more the entries are left out.
pub const KEPT_IMPORT_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes of what people write about themselves in Auth.
pub const USER_METADATA_BYTES: u32 = 4 * 1024;

/// The limits that SQL asks for, by name.
pub const ALL: &[(&str, u32)] = &[
    ("rows_per_statement", ROWS_PER_STATEMENT),
    ("rows_per_hour", ROWS_PER_HOUR),
    ("migrated_entries", MIGRATED_ENTRIES),
    ("entries_per_day", ENTRIES_PER_DAY),
    ("entries_in_all", ENTRIES_IN_ALL),
    ("imports_per_hour", IMPORTS_PER_HOUR),
    ("imports_per_day", IMPORTS_PER_DAY),
    ("kept_answer_bytes", KEPT_ANSWER_BYTES),
    ("kept_answers_bytes", KEPT_ANSWERS_BYTES),
    ("kept_import_bytes", KEPT_IMPORT_BYTES),
    ("user_metadata_bytes", USER_METADATA_BYTES),
    ("notes_chars", MAX_NOTES_CHARS as u32),
    ("imported_notes_chars", MAX_LEGACY_NOTES_CHARS as u32),
    ("place_chars", MAX_PLACE_CHARS as u32),
    ("device_id_chars", MAX_DEVICE_ID_CHARS as u32),
    ("offline_id_chars", MAX_OFFLINE_ID_CHARS as u32),
];

/// The limit of a name of [`ALL`].
#[must_use]
pub fn of(name: &str) -> Option<u32> {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, limit)| *limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainError, Lang};

    /// As messages write it: `20,000`.
    fn grouped(number: u32) -> String {
        match number / 1000 {
            0 => number.to_string(),
            thousands => format!("{thousands},{:03}", number % 1000),
        }
    }

    #[test]
    fn the_figures_are_those_of_the_contract() {
        assert_eq!(
            (ROWS_PER_HOUR, MIGRATED_ENTRIES, ENTRIES_PER_DAY),
            (5_060, 20_000, 40_000)
        );
        // 128 KiB, 8 MiB, 4 MiB, 4 KiB.
        let kept = [
            KEPT_ANSWER_BYTES,
            KEPT_ANSWERS_BYTES,
            KEPT_IMPORT_BYTES,
            USER_METADATA_BYTES,
        ];
        assert_eq!(kept, [131_072, 8_388_608, 4_194_304, 4_096]);
    }

    #[test]
    fn messages_name_the_limits_that_hold() {
        for (error, limit) in [
            (DomainError::BatchTooLarge, ROWS_PER_STATEMENT),
            (DomainError::RowsPerStatement, ROWS_PER_STATEMENT),
            (DomainError::MigrationTooManyEntries, MIGRATED_ENTRIES),
            (DomainError::EntriesPerDay, ENTRIES_PER_DAY),
            (DomainError::EntriesInAll, ENTRIES_IN_ALL),
            (DomainError::ImportsPerHour, IMPORTS_PER_HOUR),
            (DomainError::ImportsPerDay, IMPORTS_PER_DAY),
        ] {
            for lang in [Lang::En, Lang::Th] {
                let message = error.message(lang);
                assert!(message.contains(&grouped(limit)), "{message}: {limit}");
            }
        }
    }

    #[test]
    fn a_limit_is_known_by_its_name_alone() {
        assert_eq!(of("rows_per_hour"), Some(5_060));
        assert_eq!(of("rows_per_day"), None);
    }
}
