//! What the reward ledger must look like: gapless, grants and revocations alternating, each revocation for what was paid.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde_json::{Value, json};

use crate::earned::{Earned, Mark, day_of};

/// One row of a user's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Position in the user's ledger, from 1.
    pub number: i64,
    /// `achievement`, `challenge`, or a mark: `level`, `tree`, `streak`.
    pub source: String,
    /// Which achievement, challenge (its id) or mark.
    pub source_id: String,
    /// Position among the rows of this source, from 1: odd ones grant, even ones revoke.
    pub sequence: i64,
    /// Points, negative when revoked.
    pub credits: i64,
    /// The day that a challenge belongs to.
    pub day: Option<NaiveDate>,
    /// When it was written, as the database writes it.
    pub at: String,
    /// Granted by an import, a repair or new rules.
    pub quiet: bool,
    /// Who could see it then.
    pub visibility: Option<String>,
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
            at: text("created_at"),
            quiet: row["quiet"] == Value::Bool(true),
            visibility: row["visibility"].as_str().map(str::to_owned),
        }
    }
}

/// Sources whose rows pay nothing.
const MARKS: [&str; 3] = ["level", "tree", "streak"];

/// An item of the feed: when it was achieved, its type, its data, and who may see it.
pub type FeedItem = (String, String, Value, String);

/// The feed that follows from a ledger, regardless of how long it is retained: one item for each achievement and mark that
/// is held, as it was granted the first time that was not quiet.
#[must_use]
pub fn feed(rows: &[Row]) -> Vec<FeedItem> {
    let mut by_source = BTreeMap::<(&str, &str), Vec<&Row>>::new();
    for row in rows {
        let source = (row.source.as_str(), row.source_id.as_str());
        by_source.entry(source).or_default().push(row);
    }
    let mut items = Vec::new();
    for ((source, id), rows) in by_source {
        let number = id.parse::<i64>().unwrap_or(0);
        let (kind, data) = match source {
            "achievement" => ("achievement_unlocked", json!({ "achievement_id": id })),
            "level" => ("level_up", json!({ "level": number })),
            "tree" => ("tree_saved", json!({ "trees": number })),
            "streak" => ("streak", json!({ "days": number })),
            "community" => ("community_completed", json!({ "challenge_id": id })),
            _ => continue,
        };
        let is_held = rows.len() % 2 == 1;
        let mut loud = rows
            .iter()
            .filter(|row| row.sequence % 2 == 1 && !row.quiet);
        if let (true, Some(first)) = (is_held, loud.next()) {
            let visibility = first.visibility.clone().unwrap_or_default();
            items.push((first.at.clone(), kind.to_owned(), data, visibility));
        }
    }
    items.sort_by_key(|item| (item.0.clone(), item.1.clone(), item.2.to_string()));
    items
}

/// Ids of challenges by day and type.
pub type ChallengeIds = BTreeMap<String, (NaiveDate, String)>;

/// What the ledger adds up to, and the marks that it holds.
///
/// # Errors
/// Every violation of the ledger's rules.
pub fn read(rows: &[Row], ids: &ChallengeIds) -> Result<(Earned, BTreeSet<Mark>), Vec<String>> {
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
        if MARKS.contains(&row.source.as_str()) && row.credits != 0 {
            wrong.push(format!("{row:?} pays for a mark"));
        }
    }
    let (mut earned, mut marks) = (Earned::default(), BTreeSet::new());
    for ((source, id), row) in last.into_iter().filter(|(_, row)| row.sequence % 2 == 1) {
        match (source, ids.get(id)) {
            ("achievement", _) => {
                earned.achievements.insert(id.to_owned(), row.credits);
            }
            ("challenge", Some((day, kind))) if row.day == Some(*day) => {
                earned.challenges.insert((*day, kind.clone()), row.credits);
            }
            (source, _) if MARKS.contains(&source) => {
                marks.insert((source.to_owned(), id.parse().unwrap_or(0)));
            }
            _ => wrong.push(format!("{row:?} is for nothing that exists")),
        }
    }
    earned.rewards = rows.iter().map(|row| row.credits).sum();
    if wrong.is_empty() {
        Ok((earned, marks))
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
            at: format!("2026-11-28T00:00:0{number}"),
            quiet: false,
            visibility: Some("friends".to_owned()),
        }
    }

    #[test]
    fn a_revoked_reward_is_not_held() {
        let rows = [row(1, 1, 10), row(2, 2, -10)];
        let (earned, marks) = read(&rows, &ChallengeIds::new()).unwrap();
        assert_eq!((earned.rewards, earned.achievements.len()), (0, 0));
        assert!(marks.is_empty());
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

    #[test]
    fn the_feed_has_what_is_held_at_the_time_of_its_first_loud_grant() {
        let quiet = Row {
            quiet: true,
            ..row(1, 1, 10)
        };
        let times = |rows: &[Row]| -> Vec<String> {
            let items = feed(rows).into_iter();
            items.map(|item| item.0[18..].to_owned()).collect()
        };
        assert_eq!(times(&[row(1, 1, 10)]), ["1"]);
        assert_eq!(times(&[row(1, 1, 10), row(2, 2, -10)]), [""; 0]);
        assert_eq!(
            times(&[row(1, 1, 10), row(2, 2, -10), row(3, 3, 10)]),
            ["1"]
        );
        assert_eq!(times(std::slice::from_ref(&quiet)), [""; 0]);
        assert_eq!(times(&[quiet, row(2, 2, -10), row(3, 3, 10)]), ["3"]);
    }
}
