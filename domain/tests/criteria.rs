//! The end of days may only change the rules that [`Criteria::is_moved_by_end`] names.

use std::collections::BTreeMap;

use carbon_domain::criteria::{Criteria, Day, Diary, Kind};
use carbon_domain::tally::Tally;
use chrono::{Days, NaiveDate};
use proptest::prelude::*;

/// One criterion of every metric, which a few entries reach now and then.
const CRITERIA: [&str; 7] = [
    r#"{"metric": "total_entries", "at_least": 4}"#,
    r#"{"metric": "weight_kg", "at_least": 0.5, "disposal_method": "recycled"}"#,
    r#"{"metric": "total_credits", "at_least": 100}"#,
    r#"{"metric": "trees_saved", "at_least": 1}"#,
    r#"{"metric": "daily_streak", "at_least": 3}"#,
    r#"{"metric": "entries_in_one_day", "at_least": 2}"#,
    r#"{"metric": "plastic_free_day", "at_least": 2}"#,
];

const PAIRS: [(&str, &str); 3] = [
    ("plastic_bottles", "recycled"),
    ("food_waste", "composted"),
    ("plastic_bags", "disposed"),
];

fn date(number: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + Days::new(number)
}

/// The day, the pair and the credits of an entry; it weighs as many grams as it earns or costs.
type Entry = (u64, usize, i64);

/// The sums of entries, as the database stores them.
struct Sums {
    days: Vec<Day>,
    tally: Tally,
    credits: i64,
}

impl Sums {
    fn of(entries: &[Entry]) -> Sums {
        let mut days = BTreeMap::<NaiveDate, Tally>::new();
        let mut tally = Tally::default();
        for (day, pair, credits) in entries {
            let (category, method) = PAIRS[*pair];
            let one = Tally::of(category, method, 1, credits.abs()).unwrap();
            days.entry(date(*day)).or_default().add(&one);
            tally.add(&one);
        }
        let credits = entries.iter().map(|(_, _, credits)| credits).sum();
        let days = days
            .into_iter()
            .map(|(date, tally)| Day { date, tally })
            .collect();
        Sums {
            days,
            tally,
            credits,
        }
    }

    fn diary<'a>(&'a self, days: &'a [Day], closed_through: NaiveDate) -> Diary<'a> {
        Diary {
            credits: self.credits,
            tally: &self.tally,
            days,
            closed_through,
        }
    }
}

proptest! {
    #[test]
    fn the_end_of_days_changes_only_the_rules_that_wait_for_it(
        entries in prop::collection::vec((0u64..9, 0usize..3, -200i64..400), 1..14),
        closed_before in 0u64..10,
        days_ended in 0u64..4,
    ) {
        let sums = Sums::of(&entries);
        let (before, after) = (date(closed_before), date(closed_before + days_ended));
        let ended: Vec<Tally> = sums.days.iter()
            .filter(|day| day.date > before && day.date <= after)
            .map(|day| day.tally.clone())
            .collect();
        for criteria in CRITERIA {
            let json = serde_json::from_str(criteria).unwrap();
            let rule = Criteria::from_json(&json, Kind::Achievement).unwrap();
            let value = |closed_through| rule.value(&sums.diary(&sums.days, closed_through));
            let is_held = value(before) >= rule.at_least;
            if !rule.is_reached_by_day_end(is_held, &ended) {
                prop_assert_eq!(value(after) >= rule.at_least, is_held, "{}", criteria);
            }
            prop_assert_eq!(rule.is_reached_by_day_end(false, &ended), value(after) != value(before), "{}", criteria);
        }
    }
}
