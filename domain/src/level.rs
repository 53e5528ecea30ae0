//! Levels and trees of a total of credits.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::json::embedded;
use crate::lang::Lang;
use crate::waste;

/// A level and the total from which it is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// 1..=5
    pub level: i32,
    /// The total of credits from which the level is held.
    pub min_credits: i64,
    /// English name.
    pub name_en: &'static str,
    /// Thai name.
    pub name_th: &'static str,
    /// Emoji.
    pub icon: &'static str,
}

impl Level {
    /// The name in one language.
    #[must_use]
    pub fn name(&self, lang: Lang) -> &'static str {
        lang.pick(self.name_th, self.name_en)
    }
}

/// All levels, lowest first.
#[must_use]
pub fn levels() -> &'static [Level] {
    static LEVELS: OnceLock<Vec<Level>> = OnceLock::new();
    LEVELS.get_or_init(|| embedded(include_str!("../data/levels.json")))
}

/// The level that a total holds; a negative total holds level 1.
#[must_use]
pub fn level_of(total: i64) -> &'static Level {
    let reached = levels()
        .iter()
        .rev()
        .find(|level| level.min_credits <= total);
    reached.unwrap_or(&levels()[0])
}

/// The number of the level that a total holds, 1..=5.
#[must_use]
pub fn level(total: i64) -> i32 {
    level_of(total).level
}

/// The level of that number; `None` when there is none.
#[must_use]
pub fn by_number(number: i32) -> Option<&'static Level> {
    levels().iter().find(|level| level.level == number)
}

fn next_after(total: i64) -> Option<&'static Level> {
    levels()
        .iter()
        .skip(1)
        .find(|level| level.min_credits > total)
}

/// Credits that are missing for the next level; `None` at the highest.
#[must_use]
pub fn credits_to_next_level(total: i64) -> Option<i64> {
    next_after(total).map(|next| next.min_credits.saturating_sub(total))
}

/// The total's progress from the start of its level to the next one, in percent rounded down; 0 for negative totals, 100
/// at the highest level.
#[must_use]
pub fn progress_percentage(total: i64) -> i32 {
    let Some(next) = next_after(total) else {
        return 100;
    };
    let start = level_of(total).min_credits;
    let done = total.max(start) - start;
    let percentage = done * 100 / (next.min_credits - start);
    i32::try_from(percentage).unwrap_or(100)
}

/// Trees saved: `floor(max(total, 0) / 500)`.
#[must_use]
pub fn trees(total: i64) -> i64 {
    total.max(0) / waste::current().credits_per_tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_held_from_its_first_credit_on() {
        let expected = [
            (i64::MIN, 1),
            (-1, 1),
            (0, 1),
            (99, 1),
            (100, 2),
            (499, 2),
            (500, 3),
            (999, 3),
        ];
        for (total, number) in
            expected
                .into_iter()
                .chain([(1000, 4), (2499, 4), (2500, 5), (i64::MAX, 5)])
        {
            assert_eq!(level(total), number, "{total}");
        }
        assert_eq!(by_number(3).unwrap().name(Lang::En), "Eco Champion");
        assert_eq!(by_number(6), None);
    }

    #[test]
    fn progress_goes_from_0_to_100_percent() {
        let at = |total| (credits_to_next_level(total), progress_percentage(total));
        assert_eq!(at(-50), (Some(150), 0));
        assert_eq!(at(0), (Some(100), 0));
        assert_eq!(at(99), (Some(1), 99));
        assert_eq!(at(300), (Some(200), 50));
        assert_eq!(at(2499), (Some(1), 99));
        assert_eq!(at(2500), (None, 100));
        assert_eq!(at(i64::MIN), (Some(i64::MAX), 0));
    }

    #[test]
    fn trees_are_rounded_down_and_never_negative() {
        assert_eq!([-1, 0, 499, 500, 1499].map(trees), [0, 0, 0, 1, 2]);
    }
}
