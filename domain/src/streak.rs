//! Streaks: runs of consecutive local days with at least one entry.

use chrono::NaiveDate;
use serde::Serialize;

/// The streak and the longest run ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Streak {
    /// Days of the last run if it ends today, yesterday or later (a traveller's tomorrow); else 0.
    pub current: i32,
    /// Days of the longest run.
    pub max: i32,
}

/// The streaks of the days with entries, in any order and with any repetitions.
///
/// `as_of` is the user's local today. Without days both are 0.
#[must_use]
pub fn streak(days: impl IntoIterator<Item = NaiveDate>, as_of: NaiveDate) -> Streak {
    let mut days: Vec<NaiveDate> = days.into_iter().collect();
    days.sort_unstable();
    let mut runs = Runs::default();
    for day in days {
        runs.add(day);
    }
    runs.as_of(as_of)
}

/// The longest run among days in any order, 0 for none.
#[must_use]
pub fn max_streak(days: impl IntoIterator<Item = NaiveDate>) -> i32 {
    streak(days, NaiveDate::MIN).max
}

/// Counts runs over days that are added in ascending order (equal ones may repeat), without storing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runs {
    last: Option<NaiveDate>,
    run: i32,
    max: i32,
}

impl Runs {
    /// Adds the next day. A day before the last one is a programming error and starts a new run.
    pub fn add(&mut self, day: NaiveDate) {
        if self.last == Some(day) {
            return;
        }
        let follows = self.last.and_then(|last| last.succ_opt()) == Some(day);
        self.run = if follows { self.run + 1 } else { 1 };
        self.max = self.max.max(self.run);
        self.last = Some(day);
    }

    /// The streaks as of the user's local today.
    #[must_use]
    pub fn as_of(&self, today: NaiveDate) -> Streak {
        let yesterday = today.pred_opt().unwrap_or(today);
        let goes_on = self.last.is_some_and(|last| last >= yesterday);
        Streak {
            current: if goes_on { self.run } else { 0 },
            max: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2024, 2, day).unwrap()
    }

    #[test]
    fn a_run_lasts_until_a_whole_day_is_missed() {
        let days = [day(27), day(29), day(28), day(28), day(1)];
        assert_eq!(streak(days, day(29)), Streak { current: 3, max: 3 });
        let march = |day| NaiveDate::from_ymd_opt(2024, 3, day).unwrap();
        assert_eq!(streak(days, march(1)), Streak { current: 3, max: 3 });
        assert_eq!(streak(days, march(2)), Streak { current: 0, max: 3 });
        assert_eq!(streak(days, day(20)), Streak { current: 3, max: 3 });
        assert_eq!(streak([], day(1)), Streak::default());
        assert_eq!(max_streak(days), 3);
    }

    #[test]
    fn the_ends_of_the_calendar_do_no_harm() {
        let ends = [NaiveDate::MIN, NaiveDate::MAX];
        assert_eq!(streak(ends, NaiveDate::MIN), Streak { current: 1, max: 1 });
    }
}
