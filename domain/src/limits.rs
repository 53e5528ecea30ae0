//! The limits of one user's writes, in one place: the database counts by these figures, the Worker by those they are
//! computed from, and messages name them.

use crate::entry::{
    MAX_BATCH_ENTRIES, MAX_DEVICE_ID_CHARS, MAX_NOTES_CHARS, MAX_OFFLINE_ID_CHARS, MAX_PLACE_CHARS,
};
use crate::legacy::{MAX_LEGACY_NOTES_CHARS, MAX_MIGRATED_ENTRIES};

/// Single creates that the Worker allows in an hour.
pub const CREATES_PER_HOUR: u32 = 60;
/// Batches that the Worker allows in an hour.
pub const BATCHES_PER_HOUR: u32 = 10;

/// Entries that one statement may write through any interface: a full batch.
pub const ROWS_PER_STATEMENT: u32 = MAX_BATCH_ENTRIES as u32;
/// Entries that may be written in an hour through any interface: 60 creates + 10 batches of 500 = 5,060, as many as the
/// Worker allows.
pub const ROWS_PER_HOUR: u32 = CREATES_PER_HOUR + BATCHES_PER_HOUR * ROWS_PER_STATEMENT;
/// Entries that one migration may write.
pub const MIGRATED_ENTRIES: u32 = MAX_MIGRATED_ENTRIES as u32;

/// Entries that one user may add in 24 hours, imports included: two full imports.
pub const ENTRIES_PER_DAY: u32 = 2 * MIGRATED_ENTRIES;
/// Entries that one user may have: seven years with 150 entries a day are 383,000.
pub const ENTRIES_IN_ALL: u32 = 400_000;
/// Imports in an hour, dry runs and roll-backs included.
pub const IMPORTS_PER_HOUR: u32 = 10;
/// Imports in 24 hours, dry runs and roll-backs included.
pub const IMPORTS_PER_DAY: u32 = 30;

/// Running community challenges that one user may take part in: each costs every entry some microseconds.
pub const CHALLENGES_PER_PERSON: u32 = 20;

/// Signs of the code with which people join a school's challenge: 31⁸ are 8.5 · 10¹¹.
pub const JOIN_CODE_SIGNS: u32 = 8;

/// Requests that one user may have in flight.
pub const REQUESTS_AT_ONCE: u32 = 8;
/// How many of these may be imports, batches and searches.
pub const HEAVY_REQUESTS_AT_ONCE: u32 = 2;

/// Most bytes of a stored answer to a write with an Idempotency-Key.
pub const STORED_ANSWER_BYTES: u32 = 128 * 1024;
/// Most bytes of one user's stored answers in 24 hours.
pub const STORED_ANSWERS_BYTES: u32 = 8 * 1024 * 1024;

/// Most bytes of a stored import; a larger one is stored without its entries.
pub const STORED_IMPORT_BYTES: u32 = 4 * 1024 * 1024;
/// Most bytes of the metadata that users write about themselves in Auth.
pub const USER_METADATA_BYTES: u32 = 4 * 1024;

/// Friends of one user.
pub const FRIENDS: u32 = 1_000;
/// Requests of one user that nobody has accepted yet.
pub const OPEN_FRIEND_REQUESTS: u32 = 200;
/// Friend requests in an hour.
pub const FRIEND_REQUESTS_PER_HOUR: u32 = 20;
/// People looked up by user name or code in an hour.
pub const PERSON_LOOKUPS_PER_HOUR: u32 = 30;
/// Signs of the code by which friends find a user: 31^10 codes, so that of ten million users a guess finds one with a
/// probability of 1 in 82 million.
pub const FRIEND_CODE_SIGNS: u32 = 10;

/// Signs of a referral code: of 31^8 codes with ten million users a guess finds one with a probability of 1 in 85,000.
pub const REFERRAL_CODE_SIGNS: u32 = 8;
/// Referral codes tried in an hour, wrong ones included.
pub const REDEEMS_PER_HOUR: u32 = 10;
/// Days since an account began in which it can redeem a code.
pub const REFEREE_ACCOUNT_DAYS: u32 = 14;
/// Days with entries that complete a referral.
pub const REFERRAL_DAYS: u32 = 3;
/// Days in which a referral can be completed, and after its completion those in which deletions undo it.
pub const REFERRAL_WINDOW_DAYS: u32 = 30;
/// Days in which a number or identity cannot be referred again.
pub const PAST_REFEREE_DAYS: u32 = 90;
/// Referees on one device from which on an operator decides.
pub const REFEREES_OF_A_DEVICE: u32 = 3;
/// Rewarded referrals of one user in 30 days after which an operator decides.
pub const REWARDED_REFERRALS_IN_30_DAYS: u32 = 10;
/// Rewarded referrals of one user in all after which an operator decides.
pub const REWARDED_REFERRALS: u32 = 50;

/// The limits that SQL looks up by name.
pub const ALL: &[(&str, u32)] = &[
    ("rows_per_statement", ROWS_PER_STATEMENT),
    ("rows_per_hour", ROWS_PER_HOUR),
    ("migrated_entries", MIGRATED_ENTRIES),
    ("entries_per_day", ENTRIES_PER_DAY),
    ("entries_in_all", ENTRIES_IN_ALL),
    ("imports_per_hour", IMPORTS_PER_HOUR),
    ("imports_per_day", IMPORTS_PER_DAY),
    ("challenges_per_person", CHALLENGES_PER_PERSON),
    ("join_code_signs", JOIN_CODE_SIGNS),
    ("stored_answer_bytes", STORED_ANSWER_BYTES),
    ("stored_answers_bytes", STORED_ANSWERS_BYTES),
    ("stored_import_bytes", STORED_IMPORT_BYTES),
    ("user_metadata_bytes", USER_METADATA_BYTES),
    ("friends", FRIENDS),
    ("open_friend_requests", OPEN_FRIEND_REQUESTS),
    ("friend_requests_per_hour", FRIEND_REQUESTS_PER_HOUR),
    ("person_lookups_per_hour", PERSON_LOOKUPS_PER_HOUR),
    ("friend_code_signs", FRIEND_CODE_SIGNS),
    ("referral_code_signs", REFERRAL_CODE_SIGNS),
    ("redeems_per_hour", REDEEMS_PER_HOUR),
    ("referee_account_days", REFEREE_ACCOUNT_DAYS),
    ("referral_days", REFERRAL_DAYS),
    ("referral_window_days", REFERRAL_WINDOW_DAYS),
    ("past_referee_days", PAST_REFEREE_DAYS),
    ("referees_of_a_device", REFEREES_OF_A_DEVICE),
    (
        "rewarded_referrals_in_30_days",
        REWARDED_REFERRALS_IN_30_DAYS,
    ),
    ("rewarded_referrals", REWARDED_REFERRALS),
    ("notes_chars", MAX_NOTES_CHARS as u32),
    ("imported_notes_chars", MAX_LEGACY_NOTES_CHARS as u32),
    ("place_chars", MAX_PLACE_CHARS as u32),
    ("device_id_chars", MAX_DEVICE_ID_CHARS as u32),
    ("offline_id_chars", MAX_OFFLINE_ID_CHARS as u32),
];

/// The limit of this name, one of [`ALL`].
#[must_use]
pub fn of(name: &str) -> Option<u32> {
    ALL.iter()
        .find(|(own, _)| *own == name)
        .map(|(_, limit)| *limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainError, Lang};

    /// The number as messages write it: `20,000`.
    fn grouped(number: u32) -> String {
        match number / 1000 {
            0 => number.to_string(),
            thousands => format!("{thousands},{:03}", number % 1000),
        }
    }

    #[test]
    fn the_figures_equal_those_of_the_contract() {
        assert_eq!(
            (ROWS_PER_HOUR, MIGRATED_ENTRIES, ENTRIES_PER_DAY),
            (5_060, 20_000, 40_000)
        );
        // 128 KiB, 8 MiB, 4 MiB, 4 KiB.
        let stored = [
            STORED_ANSWER_BYTES,
            STORED_ANSWERS_BYTES,
            STORED_IMPORT_BYTES,
            USER_METADATA_BYTES,
        ];
        assert_eq!(stored, [131_072, 8_388_608, 4_194_304, 4_096]);
    }

    #[test]
    fn messages_name_the_present_limits() {
        for (error, limit) in [
            (DomainError::BatchTooLarge, ROWS_PER_STATEMENT),
            (DomainError::RowsPerStatement, ROWS_PER_STATEMENT),
            (DomainError::MigrationTooManyEntries, MIGRATED_ENTRIES),
            (DomainError::EntriesPerDay, ENTRIES_PER_DAY),
            (DomainError::EntriesInAll, ENTRIES_IN_ALL),
            (DomainError::ImportsPerHour, IMPORTS_PER_HOUR),
            (DomainError::ImportsPerDay, IMPORTS_PER_DAY),
            (DomainError::FriendsFull, FRIENDS),
            (DomainError::OpenFriendRequests, OPEN_FRIEND_REQUESTS),
            (DomainError::FriendRequestsPerHour, FRIEND_REQUESTS_PER_HOUR),
            (DomainError::PersonLookupsPerHour, PERSON_LOOKUPS_PER_HOUR),
            (DomainError::RedeemsPerHour, REDEEMS_PER_HOUR),
            (DomainError::AccountTooOld, REFEREE_ACCOUNT_DAYS),
            (DomainError::ReferralReused, PAST_REFEREE_DAYS),
        ] {
            for lang in [Lang::En, Lang::Th] {
                let message = error.message(lang);
                assert!(message.contains(&grouped(limit)), "{message}: {limit}");
            }
        }
    }

    #[test]
    fn a_limit_is_found_by_its_exact_name() {
        assert_eq!(of("rows_per_hour"), Some(5_060));
        assert_eq!(of("rows_per_day"), None);
    }
}
