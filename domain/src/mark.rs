//! Marks: levels, counts of trees and lengths of the longest run that the reward ledger records, without credits.

use crate::lang::Lang;
use crate::level;

/// Counts of trees that are marks within a power of ten, and the further ones that repeat in every later one (10, 20, 50,
/// 100, …), so that the ledger of a user with a million trees has twenty of them.
const FIRST_TREES: [i64; 4] = [1, 2, 3, 5];
const REPEATED_TREES: [i64; 3] = [1, 2, 5];

/// Lengths of the longest run that are marks; after them every full year is one.
const FIRST_RUNS: [i32; 3] = [7, 30, 100];
const DAYS_OF_YEAR: i32 = 365;

/// What a mark counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// A level above the first.
    Level,
    /// Trees of the total.
    Tree,
    /// Days of the longest run.
    Streak,
}

impl MarkKind {
    const ALL: [MarkKind; 3] = [MarkKind::Level, MarkKind::Tree, MarkKind::Streak];

    /// The source of its rows in the reward ledger.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            MarkKind::Level => "level",
            MarkKind::Tree => "tree",
            MarkKind::Streak => "streak",
        }
    }
}

/// One mark, for example five trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// What is counted.
    pub kind: MarkKind,
    /// The level, the trees, or the days.
    pub value: i64,
}

impl Mark {
    /// The mark of a row of the reward ledger; `None` for a row of something else.
    #[must_use]
    pub fn from_ledger(source: &str, source_id: &str) -> Option<Mark> {
        let kind = MarkKind::ALL
            .into_iter()
            .find(|kind| kind.source() == source)?;
        let value = source_id.parse().ok()?;
        Some(Mark { kind, value })
    }

    /// The name in one language.
    #[must_use]
    pub fn name(self, lang: Lang) -> String {
        let value = self.value;
        match (self.kind, lang) {
            (MarkKind::Level, _) => {
                let level = i32::try_from(value).ok().and_then(level::by_number);
                level.map_or_else(|| value.to_string(), |level| level.name(lang).to_owned())
            }
            (MarkKind::Tree, Lang::En) if value == 1 => "1 tree saved".to_owned(),
            (MarkKind::Tree, Lang::En) => format!("{value} trees saved"),
            (MarkKind::Tree, Lang::Th) => format!("ช่วยต้นไม้ได้ {value} ต้น"),
            (MarkKind::Streak, Lang::En) => format!("{value}-day streak"),
            (MarkKind::Streak, Lang::Th) => format!("บันทึกต่อเนื่อง {value} วัน"),
        }
    }
}

/// What marks depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkedState {
    /// Credits of the entries and of the rewards; may be negative.
    pub total: i64,
    /// Days of the longest run.
    pub longest_run: i32,
}

impl MarkedState {
    /// All marks that are reached, by kind, lowest first.
    #[must_use]
    pub fn marks(self) -> Vec<Mark> {
        let of = |kind| move |value| Mark { kind, value };
        let levels = (2..=level::level(self.total)).map(i64::from);
        let mut marks: Vec<Mark> = levels.map(of(MarkKind::Level)).collect();
        marks.extend(trees(level::trees(self.total)).map(of(MarkKind::Tree)));
        marks.extend(runs(self.longest_run).map(of(MarkKind::Streak)));
        marks
    }

    /// The marks that are reached and not held (true), or held and not reached (false), in the order of their rows in the
    /// ledger: by kind, lost ones first from the highest down, then reached ones from the lowest up.
    #[must_use]
    pub fn changes(self, held: &[Mark]) -> Vec<(Mark, bool)> {
        let reached = self.marks();
        let lost = held.iter().filter(|mark| !reached.contains(mark));
        let gained = reached.iter().filter(|mark| !held.contains(mark));
        let mut changes: Vec<(Mark, bool)> = lost
            .map(|mark| (*mark, false))
            .chain(gained.map(|mark| (*mark, true)))
            .collect();
        changes.sort_unstable_by_key(|(mark, is_reached)| {
            let place = if *is_reached { mark.value } else { -mark.value };
            (mark.kind, *is_reached, place)
        });
        changes
    }

    /// [`MarkedState::changes`] from the state before, all of whose marks are held. Most entries reach none, so that is
    /// found out by three comparisons.
    #[must_use]
    pub fn changes_since(self, before: MarkedState) -> Vec<(Mark, bool)> {
        if self.longest_run == before.longest_run
            && level::level(self.total) == level::level(before.total)
            && level::trees(self.total) == level::trees(before.total)
        {
            return Vec::new();
        }
        self.changes(&before.marks())
    }
}

fn trees(saved: i64) -> impl Iterator<Item = i64> {
    let powers = std::iter::successors(Some(10_i64), |power| power.checked_mul(10));
    let repeated = powers.flat_map(|power| REPEATED_TREES.map(|count| count.saturating_mul(power)));
    let all = FIRST_TREES.into_iter().chain(repeated);
    all.take_while(move |mark| *mark <= saved)
}

fn runs(longest: i32) -> impl Iterator<Item = i64> {
    let years = std::iter::successors(Some(DAYS_OF_YEAR), |days| days.checked_add(DAYS_OF_YEAR));
    let all = FIRST_RUNS.into_iter().chain(years);
    all.take_while(move |days| *days <= longest).map(i64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(kind: MarkKind, total: i64, longest_run: i32) -> Vec<i64> {
        let marks = MarkedState { total, longest_run }.marks();
        let own = marks.iter().filter(|mark| mark.kind == kind);
        own.map(|mark| mark.value).collect()
    }

    #[test]
    fn trees_are_marked_in_steps_of_one_two_five() {
        let trees = |saved: i64| values(MarkKind::Tree, saved * 500, 0);
        assert!(trees(-4).is_empty());
        assert!(trees(0).is_empty());
        assert_eq!(trees(1), [1]);
        assert_eq!(trees(4), [1, 2, 3]);
        assert_eq!(trees(10), [1, 2, 3, 5, 10]);
        assert_eq!(trees(199), [1, 2, 3, 5, 10, 20, 50, 100]);
        assert_eq!(trees(200), [1, 2, 3, 5, 10, 20, 50, 100, 200]);
        assert!(values(MarkKind::Tree, 499, 0).is_empty());
        assert_eq!(values(MarkKind::Tree, i64::MAX, 0).len(), 50);
    }

    #[test]
    fn runs_are_marked_by_the_week_the_month_a_hundred_days_and_the_year() {
        let runs = |longest| values(MarkKind::Streak, 0, longest);
        assert!(runs(6).is_empty());
        assert_eq!(runs(7), [7]);
        assert_eq!(runs(99), [7, 30]);
        assert_eq!(runs(364), [7, 30, 100]);
        assert_eq!(runs(1_095), [7, 30, 100, 365, 730, 1_095]);
        assert!(runs(-1).is_empty());
    }

    #[test]
    fn levels_above_the_first_are_marks() {
        let levels = |total| values(MarkKind::Level, total, 0);
        assert!(levels(99).is_empty());
        assert_eq!(levels(100), [2]);
        assert_eq!(levels(2_500), [2, 3, 4, 5]);
    }

    #[test]
    fn what_changed_is_what_one_state_has_and_the_other_lacks() {
        let low = MarkedState {
            total: 480,
            longest_run: 7,
        };
        let high = MarkedState {
            total: 1_100,
            longest_run: 30,
        };
        let shown = |changes: Vec<(Mark, bool)>| -> Vec<String> {
            changes
                .iter()
                .map(|(mark, is_reached)| {
                    let sign = if *is_reached { '+' } else { '-' };
                    format!("{sign}{} {}", mark.kind.source(), mark.value)
                })
                .collect()
        };
        assert_eq!(
            shown(high.changes_since(low)),
            ["+level 3", "+level 4", "+tree 1", "+tree 2", "+streak 30"]
        );
        assert_eq!(
            shown(low.changes_since(high)),
            ["-level 4", "-level 3", "-tree 2", "-tree 1", "-streak 30"]
        );
        assert!(high.changes_since(high).is_empty());
        assert!(high.changes(&high.marks()).is_empty());
        for (before, total, longest_run) in [
            (low, 500, 7),
            (low, 480, 8),
            (low, 480, 30),
            (low, 500, 8),
            (low, 100, 7),
            (low, 99, 7),
            // A tree between two levels.
            (high, 1_500, 30),
        ] {
            let after = MarkedState { total, longest_run };
            let changes = after.changes(&before.marks());
            assert_eq!(after.changes_since(before), changes, "{after:?}");
        }
        // A ledger that holds something else, as a repair finds it.
        let odd = Mark::from_ledger("tree", "4").unwrap();
        assert_eq!(
            shown(low.changes(&[odd])),
            ["+level 2", "-tree 4", "+streak 7"]
        );
    }

    #[test]
    fn every_mark_has_a_name_in_both_languages() {
        let name = |source, id, lang| Mark::from_ledger(source, id).map(|mark| mark.name(lang));
        assert_eq!(name("tree", "1", Lang::En).unwrap(), "1 tree saved");
        assert_eq!(name("tree", "20", Lang::En).unwrap(), "20 trees saved");
        assert_eq!(name("tree", "20", Lang::Th).unwrap(), "ช่วยต้นไม้ได้ 20 ต้น");
        assert_eq!(name("streak", "30", Lang::En).unwrap(), "30-day streak");
        assert_eq!(name("streak", "30", Lang::Th).unwrap(), "บันทึกต่อเนื่อง 30 วัน");
        assert_eq!(name("level", "3", Lang::En).unwrap(), "Eco Champion");
        assert_eq!(name("level", "9", Lang::En).unwrap(), "9");
        assert_eq!(name("achievement", "1", Lang::En), None);
        assert_eq!(name("tree", "many", Lang::En), None);
    }
}
