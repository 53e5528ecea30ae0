//! Adds entries one by one and compares each derived state with a recomputation from all entries.

use std::collections::{BTreeMap, BTreeSet};

use carbon_domain::criteria::{Criteria, Day, Diary, Kind};
use carbon_domain::derive::{
    DayOfEntry, DayState, Earnable, MissingDays, NewEntry, UserState, derive, run_as_of,
};
use carbon_domain::level;
use carbon_domain::tally::Tally;
use chrono::{Days, NaiveDate};
use proptest::prelude::*;

/// Before every day that a diary can hold: no day is closed.
const EARLIEST_DAY: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();

/// One criterion of every metric, which a few entries reach now and then, and the points it pays.
const ACHIEVEMENTS: [(&str, &str, i64); 7] = [
    ("first", r#"{"metric": "total_entries", "at_least": 1}"#, 5),
    (
        "heavy",
        r#"{"metric": "weight_kg", "at_least": 0.5, "disposal_method": "recycled"}"#,
        10,
    ),
    (
        "points",
        r#"{"metric": "total_credits", "at_least": 150}"#,
        20,
    ),
    ("trees", r#"{"metric": "trees_saved", "at_least": 1}"#, 30),
    ("streak", r#"{"metric": "daily_streak", "at_least": 3}"#, 40),
    (
        "busy",
        r#"{"metric": "entries_in_one_day", "at_least": 2}"#,
        50,
    ),
    (
        "free",
        r#"{"metric": "plastic_free_day", "at_least": 2}"#,
        60,
    ),
];
const CHALLENGES: [(&str, &str, i64); 2] = [
    ("three", r#"{"metric": "entries_today", "at_least": 3}"#, 7),
    (
        "compost",
        r#"{"metric": "entries_today", "at_least": 1, "disposal_method": "composted"}"#,
        9,
    ),
];
const PAIRS: [(&str, &str); 3] = [
    ("plastic_bottles", "recycled"),
    ("food_waste", "composted"),
    ("plastic_bags", "disposed"),
];
/// The profile began on this day; earlier ones have no challenges.
const BEGAN: u64 = 2;

fn date(number: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + Days::new(number)
}

fn earnables(list: &[(&str, &str, i64)], kind: Kind, prefix: &str) -> Vec<Earnable> {
    list.iter()
        .map(|(id, criteria, credits)| Earnable {
            id: format!("{prefix}{id}"),
            criteria: Criteria::from_json(&serde_json::from_str(criteria).unwrap(), kind).unwrap(),
            credits: *credits,
        })
        .collect()
}

/// The challenges of a day, each with its own id.
fn challenges_of(day: NaiveDate) -> Vec<Earnable> {
    earnables(&CHALLENGES, Kind::Challenge, &format!("{day} "))
}

/// Days until the entry arrived, how many days before (or one after) that day it was logged, pair, credits, imported.
type Step = (u64, i64, usize, i64, bool);

#[derive(Default)]
struct Sums {
    all: BTreeMap<NaiveDate, Tally>,
    counted: BTreeMap<NaiveDate, Tally>,
    tally: Tally,
    credits: i64,
}

impl Sums {
    fn add(&mut self, day: NaiveDate, one: &Tally, credits: i64, imported: bool) {
        self.all.entry(day).or_default().add(one);
        if !imported {
            self.counted.entry(day).or_default().add(one);
        }
        self.tally.add(one);
        self.credits += credits;
    }

    fn days(&self) -> Vec<Day> {
        let days = self.all.iter();
        days.map(|(date, tally)| Day {
            date: *date,
            tally: tally.clone(),
        })
        .collect()
    }

    /// Everything, computed from the sums alone. Days up to `closed_through` are closed.
    fn recomputed(&self, closed_through: NaiveDate) -> UserState {
        let days = self.days();
        let state = DayState::of(&days, closed_through);
        let diary = Diary {
            credits: self.credits,
            tally: &self.tally,
            days: &days,
            closed_through,
        };
        let won: Vec<Earnable> = earnables(&ACHIEVEMENTS, Kind::Achievement, "")
            .into_iter()
            .filter(|one| one.criteria.value(&diary) >= one.criteria.at_least)
            .collect();
        let held = |day: NaiveDate| -> Vec<Earnable> {
            let Some(counted) = self.counted.get(&day).filter(|_| day >= date(BEGAN)) else {
                return Vec::new();
            };
            let day_alone = [Day {
                date: day,
                tally: counted.clone(),
            }];
            let diary = Diary {
                credits: 0,
                tally: counted,
                days: &day_alone,
                closed_through: day,
            };
            let mut all = challenges_of(day);
            all.retain(|one| one.criteria.value(&diary) >= one.criteria.at_least);
            all
        };
        let of_challenges: i64 = self
            .all
            .keys()
            .flat_map(|day| held(*day))
            .map(|one| one.credits)
            .sum();
        let rewards = of_challenges + won.iter().map(|one| one.credits).sum::<i64>();
        let ids = |list: Vec<Earnable>| -> Vec<String> {
            list.into_iter()
                .map(|one| one.id)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        };
        UserState {
            credits: self.credits,
            tally: self.tally.clone(),
            rewards,
            level: level::level(self.credits + rewards),
            achievements: ids(won),
            latest_challenges: state.latest.map_or(Vec::new(), |latest| ids(held(latest))),
            days: state,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn deriving_entries_one_by_one_equals_a_recomputation(
        steps in prop::collection::vec(
            (0u64..3, -1i64..6, 0usize..3, -200i64..400, prop::bool::weighted(0.2)), 1..16),
    ) {
        let achievements = earnables(&ACHIEVEMENTS, Kind::Achievement, "");
        let mut sums = Sums::default();
        let mut state = sums.recomputed(EARLIEST_DAY);
        let mut now = 7;
        for (later, ago, pair, credits, imported) in steps.into_iter() as std::vec::IntoIter<Step> {
            now += later;
            let (today, day) = (date(now), date(now.checked_add_signed(-ago).unwrap()));
            let (category, method) = PAIRS[pair];
            let entry = NewEntry {
                day,
                tally: Tally::of(category, method, 1, credits.abs()).unwrap(),
                credits,
            };
            let is_first = !sums.all.contains_key(&day);
            let held_before = sums.recomputed(state.days.closed_through);
            prop_assert_eq!(&held_before, &state);
            let held_of_day = {
                let mut only = Sums::default();
                only.all.extend(sums.all.get(&day).map(|tally| (day, tally.clone())));
                only.counted.extend(sums.counted.get(&day).map(|tally| (day, tally.clone())));
                only.recomputed(EARLIEST_DAY).latest_challenges
            };

            sums.add(day, &entry.tally, credits, imported);
            let all_days: Vec<NaiveDate> = sums.all.keys().copied().collect();
            let open_days: Vec<Day> = sums.days().into_iter()
                .filter(|one| one.date > state.days.closed_through)
                .collect();
            let needs_open = open_days.iter().any(|one| one.date < today);
            let needs_all = is_first && held_before.days.latest.is_some_and(|latest| day < latest);
            prop_assert_eq!(state.days.needs_open_days(day, today), needs_open);
            prop_assert_eq!(state.days.needs_all_days(day, is_first), needs_all);
            let seen = DayOfEntry {
                is_first,
                tally: &sums.all[&day],
                counted: sums.counted.get(&day).filter(|_| !imported && day >= date(BEGAN)),
                // Those of the latest day are in the state.
                held_challenges: if held_before.days.latest.is_some_and(|latest| day < latest) { &held_of_day } else { &[] },
                open_days: needs_open.then_some(open_days.as_slice()),
                all_days: needs_all.then_some(all_days.as_slice()),
            };
            let challenges = challenges_of(day);
            let derived = derive(&state, &entry, &seen, &achievements, &challenges, today);
            let closed_through = if needs_open {
                state.days.closed_through.max(today.pred_opt().unwrap())
            } else {
                state.days.closed_through
            };
            let expected = sums.recomputed(closed_through);
            match derived.unwrap() {
                Some(derived) => {
                    prop_assert_eq!(&derived.state, &expected);
                    let paid: i64 = derived.achievements.iter().chain(&derived.challenges).map(|one| one.credits).sum();
                    prop_assert_eq!(paid, expected.rewards - state.rewards);
                    let held = state.marked().marks();
                    prop_assert_eq!(derived.marks, expected.marked().changes(&held));
                }
                None => prop_assert!(
                    state.achievements.iter().any(|id| !expected.achievements.contains(id)),
                    "only what is lost is evaluated from everything"
                ),
            }
            if needs_open || needs_all {
                let blind = DayOfEntry { open_days: None, all_days: None, ..seen };
                prop_assert_eq!(derive(&state, &entry, &blind, &achievements, &challenges, today), Err(MissingDays));
            }
            state = expected;
            prop_assert_eq!(run_as_of(state.days.current_run, state.days.latest, today),
                if state.days.latest.unwrap() >= today.pred_opt().unwrap() { state.days.current_run } else { 0 });
        }
    }
}

#[test]
fn a_run_joins_when_the_missing_day_comes_late() {
    let days = |numbers: &[u64]| -> Vec<Day> {
        let of = |number: &u64| Day {
            date: date(*number),
            tally: Tally::of("food_waste", "composted", 1, 10).unwrap(),
        };
        numbers.iter().map(of).collect()
    };
    let state = DayState::of(&days(&[9, 1, 2, 8, 4, 5]), date(5));
    assert_eq!((state.current_run, state.longest_run), (2, 2));
    assert_eq!(
        (state.latest, state.first_open),
        (Some(date(9)), Some(date(8)))
    );
    assert_eq!(state.plastic_free, 4);
    assert_eq!(
        (
            run_as_of(state.current_run, state.latest, date(10)),
            run_as_of(state.current_run, state.latest, date(11))
        ),
        (2, 0)
    );
    let joined = DayState::of(&days(&[9, 1, 2, 8, 4, 5, 3]), date(5));
    assert_eq!((joined.current_run, joined.longest_run), (2, 5));
}
