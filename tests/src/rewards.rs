//! What the reward ledger must look like: gapless, grants and revocations alternating, each revocation for what was paid.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde_json::Value;

use crate::earned::{Earned, day_of};

/// One row of a user's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Position in the user's ledger, from 1.
    pub number: i64,
    /// `achievement`, `challenge` or `level`.
    pub source: String,
    /// Which achievement, challenge (its id) or level.
    pub source_id: String,
    /// Position among the rows of this source, from 1: odd ones grant, even ones revoke.
    pub sequence: i64,
    /// Points, negative when revoked.
    pub credits: i64,
    /// The day that a challenge belongs to.
    pub day: Option<NaiveDate>,
}

impl Row {
    /// Reads a row of `private.rewards`.
    ///
    /// # Panics
    /// When a member is missing or of another type.
    #[must_use]
    pub fn of(row: &Value) -> Self {
        let integer = |name: &str| row[name].as_i64().expect("a whole number");
        let text = |name: &str| row[name].as_str().expect("a text").to_owned();
        Self {
            number: integer("number"),
            source: text("source"),
            source_id: text("source_id"),
            sequence: integer("sequence"),
            credits: integer("credits"),
            day: day_of(&row["local_date"]),
        }
    }
}

/// Ids of challenges by day and type.
pub type ChallengeIds = BTreeMap<String, (NaiveDate, String)>;

/// What the ledger adds up to.
///
/// # Errors
/// Every violation of the ledger's rules.
pub fn read(rows: &[Row], ids: &ChallengeIds) -> Result<(Earned, BTreeSet<i64>), Vec<String>> {
    let mut wrong = Vec::new();
    let mut last = BTreeMap::<(&str, &str), &Row>::new();
    for (row, number) in rows.iter().zip(1..) {
        if row.number != number {
            wrong.push(format!("number {} stands at {number}", row.number));
        }
        let source = (row.source.as_str(), row.source_id.as_str());
        let before = last.insert(source, row);
        if row.sequence != before.map_or(1, |before| before.sequence + 1) {
            wrong.push(format!("{row:?} follows {before:?}"));
        }
        let granted = row.sequence % 2 == 1;
        if !granted && before.is_none_or(|before| row.credits != -before.credits) {
            wrong.push(format!("{row:?} does not revoke {before:?}"));
        }
        if row.source == "level" && row.credits != 0 {
            wrong.push(format!("{row:?} pays for a level"));
        }
    }
    let (mut earned, mut levels) = (Earned::default(), BTreeSet::new());
    for ((source, id), row) in last.into_iter().filter(|(_, row)| row.sequence % 2 == 1) {
        match (source, ids.get(id)) {
            ("achievement", _) => {
                earned.achievements.insert(id.to_owned(), row.credits);
            }
            ("challenge", Some((day, kind))) if row.day == Some(*day) => {
                earned.challenges.insert((*day, kind.clone()), row.credits);
            }
            ("level", _) => {
                levels.insert(id.parse().unwrap_or(0));
            }
            _ => wrong.push(format!("{row:?} is for nothing that exists")),
        }
    }
    earned.rewards = rows.iter().map(|row| row.credits).sum();
    if wrong.is_empty() {
        Ok((earned, levels))
    } else {
        Err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: i64, sequence: i64, credits: i64) -> Row {
        Row {
            number,
            source: "achievement".to_owned(),
            source_id: "first_scan".to_owned(),
            sequence,
            credits,
            day: None,
        }
    }

    #[test]
    fn a_revoked_reward_is_not_held() {
        let rows = [row(1, 1, 10), row(2, 2, -10)];
        let (earned, levels) = read(&rows, &ChallengeIds::new()).unwrap();
        assert_eq!((earned.rewards, earned.achievements.len()), (0, 0));
        assert!(levels.is_empty());
        let rows = [row(1, 1, 10), row(2, 2, -10), row(3, 3, 20)];
        let (earned, _) = read(&rows, &ChallengeIds::new()).unwrap();
        assert_eq!(
            (earned.rewards, earned.achievements["first_scan"]),
            (20, 20)
        );
    }

    #[test]
    fn a_ledger_has_no_gaps_and_revokes_what_was_paid() {
        let wrong = |rows: &[Row]| read(rows, &ChallengeIds::new()).unwrap_err().len();
        assert_eq!(wrong(&[row(2, 1, 10)]), 1);
        assert_eq!(wrong(&[row(1, 1, 10), row(2, 3, 10)]), 1);
        assert_eq!(wrong(&[row(1, 1, 10), row(2, 2, -9)]), 1);
    }
}
