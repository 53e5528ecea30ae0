//! Goals: achievements, earned once, and challenges, earned on every day. Their criteria are data, which the database
//! evaluates.

use std::sync::OnceLock;

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::json::embedded;

/// Something to earn: an achievement once, a challenge on every day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Stable id, for example `first_scan`.
    pub id: &'static str,
    /// English name.
    pub name_en: &'static str,
    /// Thai name.
    pub name_th: &'static str,
    /// What has to be done, in English.
    pub description_en: &'static str,
    /// What has to be done, in Thai.
    pub description_th: &'static str,
    /// Emoji.
    pub icon: &'static str,
    /// Credits granted for it.
    pub credits_reward: i32,
    /// The condition: `{metric, at_least, …}`.
    pub criteria: Value,
}

/// All achievements that the product starts with; operators add others as rows.
#[must_use]
pub fn achievements() -> &'static [Goal] {
    static ALL: OnceLock<Vec<Goal>> = OnceLock::new();
    ALL.get_or_init(|| embedded(include_str!("../data/achievements.json")))
}

/// All daily challenges that the product starts with; operators add others as rows.
#[must_use]
pub fn daily_challenges() -> &'static [Goal] {
    static ALL: OnceLock<Vec<Goal>> = OnceLock::new();
    ALL.get_or_init(|| embedded(include_str!("../data/challenges.json")))
}

/// The id of a challenge of one day: the first 16 bytes of SHA-256 over the day and the type, so that every computation of
/// a day's challenges yields the ids that their rows have.
#[must_use]
pub fn challenge_id(day: NaiveDate, challenge_type: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"carbon.challenge.1");
    hash.update(day.num_days_from_ce().to_be_bytes());
    hash.update(challenge_type.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_has_one_id_per_day_and_type() {
        let day: NaiveDate = "2026-11-22".parse().unwrap();
        let id = challenge_id(day, "scan_5_items");
        assert_eq!(id, challenge_id(day, "scan_5_items"));
        assert_ne!(id, challenge_id(day.succ_opt().unwrap(), "scan_5_items"));
        assert_ne!(id, challenge_id(day, "avoid_plastic"));
    }

    #[test]
    fn every_goal_has_names_in_both_languages() {
        assert_eq!((achievements().len(), daily_challenges().len()), (7, 4));
        for one in achievements().iter().chain(daily_challenges()) {
            assert!(one.name_en.is_ascii() && !one.name_th.is_ascii());
            assert!(!one.description_th.is_ascii() && one.criteria["at_least"].is_number());
        }
    }
}
