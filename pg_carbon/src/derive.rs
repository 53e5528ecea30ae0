//! Derives what follows from one more entry, and the sums of a user's days: `carbon.derive_entry`, `carbon.day_state`.
//!
//! Each session caches the goals under the version at which it read them, so that a create reads one number instead of
//! rows: `carbon.has_rules` says whether they are cached, `carbon.keep_rules` caches them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;

use carbon_domain::criteria::{Criteria, Day};
use carbon_domain::derive::{
    DayOfEntry, DayState, Derived, Earnable, NewEntry, UserState, derive, run_as_of,
};
use carbon_domain::tally::Tally;
use chrono::NaiveDate;
use pgrx::datum::{Array, Date};
use pgrx::prelude::*;
use pgrx::{IntoDatum, JsonB};
use serde_json::Value;

use crate::convert::{Composite, calendar_day, date};
use crate::error::OrRaise;

/// Days whose challenges a session caches: today, a traveller's today, and days of late entries. It bounds the memory.
const MAX_CACHED_DAYS: usize = 32;

/// The cached goals, each with the part of it that answers show (JSON text).
#[derive(Default)]
struct CachedGoals {
    version: i64,
    achievements: Vec<Earnable>,
    challenges: HashMap<NaiveDate, Vec<Earnable>>,
    shown: HashMap<String, String>,
}

thread_local! {
    static GOALS: RefCell<CachedGoals> = RefCell::default();
}

static DERIVED: Composite = Composite::new("carbon.derived");

/// Whether this session has cached the goals of `day` as of `version`.
#[pg_extern(volatile, strict, parallel_unsafe)]
fn has_rules(version: i64, day: Date) -> bool {
    GOALS.with_borrow(|cached| {
        cached.version == version && cached.challenges.contains_key(&calendar_day(day))
    })
}

/// Caches the goals of `day` as of `version` for this session: two lists of `{id, rule, credits, shown}`, the active
/// achievements and the active challenges of the day. Another version replaces everything cached.
///
/// Errors: 22023 `carbon.metric_unknown`.
#[pg_extern(volatile, strict, parallel_unsafe)]
fn keep_rules(version: i64, day: Date, achievements: JsonB, challenges: JsonB) {
    GOALS.with_borrow_mut(|cached| {
        if cached.version != version || cached.challenges.len() >= MAX_CACHED_DAYS {
            *cached = CachedGoals {
                version,
                ..CachedGoals::default()
            };
        }
        let mut read = |list: &Value| -> Vec<Earnable> {
            let list = list.as_array().map_or(&[][..], Vec::as_slice);
            list.iter()
                .map(|one| {
                    let id = one["id"].as_str().unwrap_or_default().to_owned();
                    cached.shown.insert(id.clone(), one["shown"].to_string());
                    Earnable {
                        id,
                        criteria: Criteria::from_rule(one["rule"].as_str().unwrap_or_default())
                            .or_raise(),
                        credits: one["credits"].as_i64().unwrap_or_default(),
                    }
                })
                .collect()
        };
        let (achievements, challenges) = (read(&achievements.0), read(&challenges.0));
        cached.achievements = achievements;
        cached.challenges.insert(calendar_day(day), challenges);
    });
}

extension_sql!(
    "create type derived as (
       tally bytea, rewards bigint, level integer, achievements text[], latest_challenges text[],
       days_closed_through date, first_open_day date, latest_day date,
       current_run integer, longest_run integer, plastic_free_days integer,
       sources text[], source_ids text[], credits integer[], earned text, streak integer);",
    name = "derived_type"
);

/// The state of a user after one more entry, what it earned, and the streak; NULL if a held reward is lost, so that
/// everything has to be evaluated.
///
/// The first arguments are the user's state before; then the entry (`entry_credits` credits, `grams`), its day
/// including it (`counted_tally` NULL = no challenges), and the days that [`DayState::needs_open_days`] and
/// [`DayState::needs_all_days`] require, else NULL. `sources`, `source_ids` and `credits` are new rows of the
/// ledger in their order, those of marks last; `earned` is their JSON for answers, NULL for none.
///
/// Errors: 22023 `carbon.unknown_category`, `carbon.unknown_method`, `carbon.tally_invalid`; XX000 without
/// `carbon.keep_rules` for the day, or without required days.
#[pg_extern(volatile, parallel_unsafe, requires = ["derived_type"])]
#[allow(clippy::too_many_arguments)]
fn derive_entry(
    credits: i64,
    tally: &[u8],
    rewards: i64,
    level: i32,
    achievements: Array<'_, &str>,
    latest_challenges: Array<'_, &str>,
    days_closed_through: Date,
    first_open_day: Option<Date>,
    latest_day: Option<Date>,
    current_run: i32,
    longest_run: i32,
    plastic_free_days: i32,
    day: Date,
    category: &str,
    method: &str,
    grams: i32,
    entry_credits: i32,
    is_first: bool,
    day_tally: &[u8],
    counted_tally: Option<&[u8]>,
    held_challenges: Option<Array<'_, &str>>,
    open_days: Option<Array<'_, Date>>,
    open_tallies: Option<Array<'_, &[u8]>>,
    all_days: Option<Array<'_, Date>>,
    today: Date,
) -> Option<pgrx::composite_type!('static, "derived")> {
    let before = UserState {
        credits,
        tally: read(tally),
        rewards,
        level,
        achievements: texts(&achievements),
        latest_challenges: texts(&latest_challenges),
        days: DayState {
            closed_through: calendar_day(days_closed_through),
            first_open: first_open_day.map(calendar_day),
            latest: latest_day.map(calendar_day),
            current_run,
            longest_run,
            plastic_free: plastic_free_days,
        },
    };
    let entry = NewEntry {
        day: calendar_day(day),
        tally: Tally::of(category, method, 1, grams.into()).or_raise(),
        credits: entry_credits.into(),
    };
    let (day_tally, counted) = (read(day_tally), counted_tally.map(read));
    let held_challenges = held_challenges.as_ref().map(texts).unwrap_or_default();
    let open_days = open_days
        .zip(open_tallies)
        .map(|(days, tallies)| tallied(&days, &tallies));
    let all_days: Option<Vec<NaiveDate>> =
        all_days.map(|days| days.iter().flatten().map(calendar_day).collect());
    let seen = DayOfEntry {
        is_first,
        tally: &day_tally,
        counted: counted.as_ref(),
        held_challenges: &held_challenges,
        open_days: open_days.as_deref(),
        all_days: all_days.as_deref(),
    };
    let today = calendar_day(today);
    GOALS.with_borrow(|cached| {
        let challenges = cached.challenges.get(&entry.day);
        let challenges = challenges.expect("carbon.keep_rules comes first");
        derive(
            &before,
            &entry,
            &seen,
            &cached.achievements,
            challenges,
            today,
        )
        .expect("the required days are passed")
        .map(|derived| row(&before, &derived, &cached.shown, today))
    })
}

/// The sums of days, each stated once, of which those up to `days_closed_through` are closed. One row; none for a NULL
/// argument.
///
/// Errors: 22023 `carbon.tally_invalid`, `carbon.date_invalid`.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn day_state(
    days: Array<'_, Date>,
    tallies: Array<'_, &[u8]>,
    days_closed_through: Date,
) -> TableIterator<
    'static,
    (
        name!(first_open_day, Option<Date>),
        name!(latest_day, Option<Date>),
        name!(current_run, i32),
        name!(longest_run, i32),
        name!(plastic_free_days, i32),
    ),
> {
    let state = DayState::of(&tallied(&days, &tallies), calendar_day(days_closed_through));
    TableIterator::once((
        state.first_open.map(date),
        state.latest.map(date),
        state.current_run,
        state.longest_run,
        state.plastic_free,
    ))
}

/// The streak as of the user's own `today`: `current_run` if it ends yesterday or later, else 0.
#[pg_extern(name = "run_as_of", immutable, parallel_safe)]
fn sql_run_as_of(current_run: i32, latest_day: Option<Date>, today: Date) -> i32 {
    run_as_of(
        current_run,
        latest_day.map(calendar_day),
        calendar_day(today),
    )
}

/// Pairs the days of one list with the tallies of another.
pub fn tallied(days: &Array<'_, Date>, tallies: &Array<'_, &[u8]>) -> Vec<Day> {
    days.iter()
        .flatten()
        .zip(tallies.iter().flatten())
        .map(|(date, tally)| Day {
            date: calendar_day(date),
            tally: read(tally),
        })
        .collect()
}

fn texts(list: &Array<'_, &str>) -> Vec<String> {
    list.iter().flatten().map(str::to_owned).collect()
}

fn read(bytes: &[u8]) -> Tally {
    Tally::from_bytes(bytes).or_raise()
}

fn row(
    before: &UserState,
    derived: &Derived<'_>,
    shown: &HashMap<String, String>,
    today: NaiveDate,
) -> pgrx::composite_type!('static, "derived") {
    let state = &derived.state;
    let mut ledger: Vec<(&'static str, String, i64)> = Vec::new();
    for (source, won) in [
        ("achievement", &derived.achievements),
        ("challenge", &derived.challenges),
    ] {
        ledger.extend(won.iter().map(|one| (source, one.id.clone(), one.credits)));
    }
    let marks = derived.marks.iter();
    ledger.extend(marks.map(|(mark, _)| (mark.kind.source(), mark.value.to_string(), 0)));
    let has_rows = !ledger.is_empty();
    let earned = has_rows.then(|| earned(before.level, derived, shown));
    let column = |pick: fn(&(&'static str, String, i64)) -> String| {
        has_rows.then(|| ledger.iter().map(pick).collect::<Vec<_>>())
    };
    let credits = has_rows.then(|| {
        let credits = ledger
            .iter()
            .map(|row| i32::try_from(row.2).unwrap_or(i32::MAX));
        credits.collect::<Vec<_>>()
    });
    let days = &state.days;
    DERIVED.value([
        state.tally.to_bytes().into_datum(),
        state.rewards.into_datum(),
        state.level.into_datum(),
        state.achievements.clone().into_datum(),
        state.latest_challenges.clone().into_datum(),
        date(days.closed_through).into_datum(),
        days.first_open.map(date).into_datum(),
        days.latest.map(date).into_datum(),
        days.current_run.into_datum(),
        days.longest_run.into_datum(),
        days.plastic_free.into_datum(),
        column(|row| row.0.to_owned()).into_datum(),
        column(|row| row.1.clone()).into_datum(),
        credits.into_datum(),
        earned.into_datum(),
        run_as_of(days.current_run, days.latest, today).into_datum(),
    ])
}

/// `{achievements_unlocked, challenges_completed, level_up}` of the contract.
fn earned(level_before: i32, derived: &Derived<'_>, shown: &HashMap<String, String>) -> String {
    let list = |won: &[&Earnable]| {
        let shown: Vec<&str> = won
            .iter()
            .filter_map(|one| shown.get(&one.id).map(String::as_str))
            .collect();
        shown.join(",")
    };
    let mut text = format!(
        r#"{{"achievements_unlocked":[{}],"challenges_completed":[{}],"level_up":"#,
        list(&derived.achievements),
        list(&derived.challenges),
    );
    let level = derived.state.level;
    if level > level_before {
        write!(text, r#"{{"from":{level_before},"to":{level}}}}}"#)
            .expect("a text takes everything");
    } else {
        text.push_str("null}");
    }
    text
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{failure, is_null, one};

    /// A user's first entry, with the other arguments of the day.
    fn derived(column: &str, state: &str, entry: &str, more: &str) -> String {
        format!("select (carbon.derive_entry({state}, {entry}, {more})).{column}")
    }

    const NOBODY: &str = "0, '', 0, 1, '{}', '{}', '1970-01-01', null, null, 0, 0, 0";
    const ENTRY: &str =
        "'2026-11-20', 'food_waste', 'composted', 500, 60, true, carbon.tally('food_waste', 'composted', 1, 500),
         carbon.tally('food_waste', 'composted', 1, 500)";
    const ALONE: &str = "null, null, null, null, '2026-11-20'";

    fn cache_goals(version: i64) {
        Spi::run(&format!(
            r#"select carbon.keep_rules({version}, '2026-11-20',
                '[{{"id": "first", "rule": "total_entries 1 * *", "credits": 50, "shown": {{"id": "first"}}}}]',
                '[{{"id": "c1", "rule": "entries_today 1 composted *", "credits": 10, "shown": {{"id": "c1"}}}},
                  {{"id": "c2", "rule": "entries_today 2 * *", "credits": 10, "shown": {{"id": "c2"}}}}]')"#
        ))
        .unwrap();
    }

    #[pg_test]
    fn an_entry_earns_what_it_reaches_and_the_answer_has_it() {
        cache_goals(7);
        let column = |name: &str| derived(name, NOBODY, ENTRY, ALONE);
        assert_eq!(one::<i64>(&column("rewards")), 60);
        assert_eq!(one::<i32>(&column("level")), 2);
        let ledger = format!(
            "select string_agg(concat_ws(' ', s, i, c), ', ')
             from (select carbon.derive_entry({NOBODY}, {ENTRY}, {ALONE}) as d) x, unnest((x.d).sources, (x.d).source_ids, (x.d).credits) as r (s, i, c)"
        );
        assert_eq!(
            one::<String>(&ledger),
            "achievement first 50, challenge c1 10, level 2 0"
        );
        assert_eq!(
            one::<String>(&column("earned")),
            r#"{"achievements_unlocked":[{"id":"first"}],"challenges_completed":[{"id":"c1"}],"level_up":{"from":1,"to":2}}"#
        );
        assert_eq!(one::<i32>(&column("streak")), 1);
        assert!(one::<bool>(&format!(
            "select ({}) = '{{c1}}'",
            column("latest_challenges")
        )));
    }

    #[pg_test]
    fn an_entry_that_earns_nothing_adds_nothing_to_the_ledger() {
        cache_goals(7);
        let state = "60, carbon.tally('food_waste', 'composted', 1, 500), 60, 2, '{first}', '{c1}', '1970-01-01', '2026-11-20', '2026-11-20', 1, 1, 0";
        let entry = "'2026-11-20', 'food_waste', 'composted', 500, 60, false, carbon.tally('food_waste', 'composted', 1, 500), null";
        for column in ["sources", "source_ids", "credits", "earned"] {
            assert!(is_null(&derived(column, state, entry, ALONE)), "{column}");
        }
    }

    #[pg_test]
    fn a_lost_reward_requires_a_full_evaluation() {
        Spi::run(
            r#"select carbon.keep_rules(8, '2026-11-20',
                '[{"id": "points", "rule": "total_credits 50 * *", "credits": 5, "shown": {}}]', '[]')"#,
        )
        .unwrap();
        let state =
            "60, '', 5, 1, '{points}', '{}', '1970-01-01', '2026-11-20', '2026-11-20', 1, 1, 0";
        let entry = "'2026-11-20', 'plastic_bags', 'disposed', 500, -20, false, '', null";
        assert!(is_null(&format!(
            "select carbon.derive_entry({state}, {entry}, {ALONE})"
        )));
    }

    #[pg_test]
    fn goals_are_cached_by_version_and_day() {
        let has = |version: i64, day: &str| {
            one::<bool>(&format!("select carbon.has_rules({version}, '{day}')"))
        };
        cache_goals(7);
        assert!(has(7, "2026-11-20") && !has(7, "2026-11-21") && !has(8, "2026-11-20"));
        Spi::run("select carbon.keep_rules(7, date '2026-01-01' + n, '[]', '[]') from generate_series(1, 40) as n").unwrap();
        assert!(!has(7, "2026-11-20"), "the oldest are forgotten");
        cache_goals(9);
        assert!(has(9, "2026-11-20") && !has(7, "2026-01-20"));
        let without = failure(&format!(
            "select carbon.derive_entry({NOBODY}, {}, {ALONE})",
            ENTRY.replace("2026-11-20", "2026-11-21")
        ));
        assert_eq!(without.state, "XX000");
    }

    #[pg_test]
    fn the_sums_of_days_are_runs_and_open_days() {
        let state = "select concat_ws(' ', first_open_day, latest_day, current_run, longest_run, plastic_free_days)
            from carbon.day_state(array[date '2026-01-05', '2026-01-01', '2026-01-02'],
              array_fill(carbon.tally('food_waste', 'composted', 1, 10), array[3]), '2026-01-02')";
        assert_eq!(one::<String>(state), "2026-01-05 2026-01-05 1 2 2");
        let nothing = "select concat_ws(' ', first_open_day, latest_day, current_run, longest_run, plastic_free_days)
            from carbon.day_state('{}', '{}', '1970-01-01')";
        assert_eq!(one::<String>(nothing), "0 0 0");
        let run = |today: &str| {
            one::<i32>(&format!(
                "select carbon.run_as_of(3, '2026-01-05', '{today}')"
            ))
        };
        assert_eq!(
            [run("2026-01-04"), run("2026-01-06"), run("2026-01-07")],
            [3, 3, 0]
        );
        assert_eq!(
            one::<i32>("select carbon.run_as_of(0, null, '2026-01-05')"),
            0
        );
    }
}
