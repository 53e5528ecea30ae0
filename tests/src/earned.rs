//! An independent computation of what a user has earned, from the entries alone, by the text of the contract.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde_json::Value;

use crate::figures::{decimal, level, streak, trees};

/// The parts of an entry that count for achievements, challenges and boards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Id of the category.
    pub category: String,
    /// Id of the disposal method.
    pub method: String,
    /// Weight in grams.
    pub grams: i64,
    /// Points of the entry.
    pub credits: i64,
    /// The local day it belongs to.
    pub day: NaiveDate,
    /// Whether a migration imported it.
    pub imported: bool,
    /// The province it carries, an ISO code.
    pub province: Option<String>,
}

/// A condition as its database row states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criteria {
    /// What is counted.
    pub metric: String,
    /// The value from which it is met, in thousandths.
    pub at_least: i64,
    method: Option<String>,
    categories: Option<BTreeSet<String>>,
}

impl Criteria {
    /// Reads `{metric, at_least, …}`.
    ///
    /// # Panics
    /// When a member is missing or of another type.
    #[must_use]
    pub fn of(criteria: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let one = text(&criteria["category_id"]).map(|id| BTreeSet::from([id]));
        let several = criteria["category_any_of"]
            .as_array()
            .map(|ids| ids.iter().filter_map(text).collect());
        Self {
            metric: text(&criteria["metric"]).expect("a metric"),
            at_least: decimal(&criteria["at_least"].to_string(), 3).expect("at_least"),
            method: text(&criteria["disposal_method"]),
            categories: one.or(several),
        }
    }

    /// The value that the entries reach, in thousandths. Days up to `closed_through` are closed.
    ///
    /// # Panics
    /// When the contract does not define the metric.
    #[must_use]
    pub fn value(&self, entries: &[Logged], closed_through: Option<NaiveDate>) -> i64 {
        let credits: i64 = entries.iter().map(|entry| entry.credits).sum();
        let days: BTreeSet<NaiveDate> = entries.iter().map(|entry| entry.day).collect();
        let count_of_metric = match self.metric.as_str() {
            "weight_kg" => return self.counted(entries).map(|entry| entry.grams).sum(),
            "total_entries" | "entries_today" => count(self.counted(entries)),
            "entries_in_one_day" => {
                let in_one = |day| count(self.counted(entries).filter(|entry| entry.day == day));
                days.iter().map(|day| in_one(*day)).max().unwrap_or(0)
            }
            "total_credits" => credits.max(0),
            "trees_saved" => trees(credits),
            "daily_streak" => days.last().map_or(0, |last| streak(&days, *last).1),
            "plastic_free_day" => {
                let ended = |day: &&NaiveDate| closed_through.is_some_and(|until| **day <= until);
                let free = |day: &&NaiveDate| {
                    let mut own = entries.iter().filter(|entry| entry.day == **day);
                    !own.any(is_thrown_plastic)
                };
                count(days.iter().filter(ended).filter(free))
            }
            unknown => panic!("the contract knows no metric {unknown}"),
        };
        count_of_metric * 1000
    }

    fn counted<'a>(&'a self, entries: &'a [Logged]) -> impl Iterator<Item = &'a Logged> {
        entries.iter().filter(|entry| {
            let method = self.method.as_ref();
            let categories = self.categories.as_ref();
            method.is_none_or(|method| *method == entry.method)
                && categories.is_none_or(|ids| ids.contains(&entry.category))
        })
    }
}

fn is_thrown_plastic(entry: &Logged) -> bool {
    ["plastic_bottles", "plastic_bags"].contains(&entry.category.as_str())
        && !["avoided", "reused"].contains(&entry.method.as_str())
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).expect("a count")
}

/// Something that can be earned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Points paid for it.
    pub reward: i64,
    /// The condition.
    pub criteria: Criteria,
}

/// The active goals: achievements by id, and challenges by day and type.
#[derive(Clone, Debug, Default)]
pub struct Goals {
    achievements: BTreeMap<String, Goal>,
    templates: BTreeMap<String, (Goal, Option<NaiveDate>, Option<NaiveDate>)>,
    /// Rows of a day and whether they are active; they take precedence over the templates.
    rows: BTreeMap<(NaiveDate, String), (Goal, bool)>,
}

/// A day that is written as `2026-11-22`, None for null.
#[must_use]
pub fn day_of(value: &Value) -> Option<NaiveDate> {
    value.as_str().and_then(|text| text.parse().ok())
}

impl Goals {
    /// One JSON value with all rows that [`Goals::of`] reads.
    pub const STATEMENT: &'static str = "select jsonb_build_object(
        'achievements', (select coalesce(jsonb_agg(to_jsonb(a)), '[]') from public.achievements as a),
        'templates', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from public.challenge_types as t),
        'rows', (select coalesce(jsonb_agg(to_jsonb(c)), '[]') from public.daily_challenges as c))::text";

    /// Reads the rows of the operator's tables.
    ///
    /// # Panics
    /// When a row lacks a member that its table has.
    #[must_use]
    pub fn of(tables: &Value) -> Self {
        let rows = |name: &str| tables[name].as_array().expect("rows").clone();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let goal = |row: &Value| Goal {
            reward: row["credits_reward"].as_i64().expect("a reward"),
            criteria: Criteria::of(&row["criteria"]),
        };
        let active = |row: &Value| row["active"] == Value::Bool(true);
        let mut goals = Self::default();
        for row in rows("achievements").iter().filter(|row| active(row)) {
            goals.achievements.insert(text(&row["id"]), goal(row));
        }
        for row in &rows("templates") {
            let template = (
                goal(row),
                day_of(&row["starts_on"]),
                day_of(&row["ends_on"]),
            );
            goals.templates.insert(text(&row["id"]), template);
        }
        for row in &rows("rows") {
            let day = day_of(&row["date"]).expect("a day");
            let key = (day, text(&row["challenge_type"]));
            goals.rows.insert(key, (goal(row), active(row)));
        }
        goals
    }

    /// All active achievements.
    #[must_use]
    pub fn achievements(&self) -> &BTreeMap<String, Goal> {
        &self.achievements
    }

    /// The challenges of a day by their type.
    #[must_use]
    pub fn challenges(&self, day: NaiveDate) -> BTreeMap<String, Goal> {
        let from_template = self
            .templates
            .iter()
            .filter(|(_, (_, starts_on, ends_on))| {
                starts_on.is_none_or(|first| day >= first) && ends_on.is_none_or(|last| day <= last)
            });
        let mut found: BTreeMap<String, Goal> = from_template
            .map(|(kind, (goal, _, _))| (kind.clone(), goal.clone()))
            .collect();
        for ((_, kind), (goal, active)) in self
            .rows
            .range((day, String::new())..)
            .take_while(|((of, _), _)| *of == day)
        {
            if *active {
                found.insert(kind.clone(), goal.clone());
            } else {
                found.remove(kind);
            }
        }
        found
    }
}

/// What rewards depend on besides the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The day the profile began, in Bangkok.
    pub day: NaiveDate,
    /// The last closed day.
    pub closed_through: Option<NaiveDate>,
}

/// Everything that a user holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earned {
    /// Achievement → points paid.
    pub achievements: BTreeMap<String, i64>,
    /// Day and type of challenge → points paid.
    pub challenges: BTreeMap<(NaiveDate, String), i64>,
    /// Points of the entries.
    pub credits: i64,
    /// Points of the rewards.
    pub rewards: i64,
    /// Days of the longest run of days with entries.
    pub longest_run: i64,
}

/// A level, a count of trees or a length of the longest run that the ledger records: its source and its value.
pub type Mark = (String, i64);

impl Earned {
    /// Recounts everything from the entries.
    #[must_use]
    pub fn from(entries: &[Logged], begin: Begin, goals: &Goals) -> Self {
        let days: BTreeSet<NaiveDate> = entries.iter().map(|entry| entry.day).collect();
        let mut earned = Self {
            credits: entries.iter().map(|entry| entry.credits).sum(),
            longest_run: days.last().map_or(0, |last| streak(&days, *last).1),
            ..Self::default()
        };
        for (id, goal) in &goals.achievements {
            if goal.criteria.value(entries, begin.closed_through) >= goal.criteria.at_least {
                earned.achievements.insert(id.clone(), goal.reward);
            }
        }
        let mut by_day = BTreeMap::<NaiveDate, Vec<Logged>>::new();
        for entry in entries.iter().filter(|entry| !entry.imported) {
            by_day.entry(entry.day).or_default().push(entry.clone());
        }
        for (day, own) in by_day.range(begin.day..) {
            for (kind, goal) in goals.challenges(*day) {
                if goal.criteria.value(own, None) >= goal.criteria.at_least {
                    earned.challenges.insert((*day, kind), goal.reward);
                }
            }
        }
        let paid = earned
            .achievements
            .values()
            .chain(earned.challenges.values());
        earned.rewards = paid.sum();
        earned
    }

    /// Entries and rewards.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.credits + self.rewards
    }

    /// What the total and the longest run have reached: levels above the first, trees 1, 2, 3, 5, 10, 20, 50, 100, …, and
    /// runs of 7, 30, 100 days and of full years.
    #[must_use]
    pub fn marks(&self) -> BTreeSet<Mark> {
        let is_tree_mark = |trees: &i64| {
            let text = trees.to_string();
            *trees == 3 || ["1", "2", "5"].contains(&text.trim_end_matches('0'))
        };
        let is_run_mark = |days: &i64| [7, 30, 100].contains(days) || days % 365 == 0;
        let levels = (2..=level(self.total())).map(|value| ("level", value));
        let trees = (1..=trees(self.total())).filter(is_tree_mark);
        let runs = (1..=self.longest_run).filter(is_run_mark);
        levels
            .chain(trees.map(|value| ("tree", value)))
            .chain(runs.map(|value| ("streak", value)))
            .map(|(source, value)| (source.to_owned(), value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn logged(category: &str, method: &str, day: u32) -> Logged {
        Logged {
            category: category.to_owned(),
            method: method.to_owned(),
            grams: 500,
            credits: 10,
            day: NaiveDate::from_ymd_opt(2026, 11, day).unwrap(),
            imported: false,
            province: None,
        }
    }

    #[test]
    fn a_plastic_free_day_counts_once_it_is_closed() {
        let criteria = Criteria::of(&json!({ "metric": "plastic_free_day", "at_least": 1 }));
        let entries = [
            logged("plastic_bags", "disposed", 1),
            logged("plastic_bags", "avoided", 2),
            logged("food_waste", "composted", 3),
        ];
        let until = |day| NaiveDate::from_ymd_opt(2026, 11, day);
        assert_eq!(criteria.value(&entries, None), 0);
        assert_eq!(criteria.value(&entries, until(1)), 0);
        assert_eq!(criteria.value(&entries, until(2)), 1000);
        assert_eq!(criteria.value(&entries, until(3)), 2000);
    }

    #[test]
    fn criteria_count_only_entries_that_pass_their_filters() {
        let criteria = Criteria::of(
            &json!({ "metric": "weight_kg", "disposal_method": "composted", "at_least": 0.5 }),
        );
        let entries = [
            logged("food_waste", "composted", 1),
            logged("food_waste", "disposed", 1),
        ];
        assert_eq!(criteria.value(&entries, None), criteria.at_least);
    }

    #[test]
    fn marks_are_levels_trees_and_runs() {
        let earned = Earned {
            credits: 2_700,
            longest_run: 400,
            ..Earned::default()
        };
        let of = |source: &str| -> Vec<i64> {
            let marks = earned.marks();
            let own = marks.iter().filter(|mark| mark.0 == source);
            own.map(|mark| mark.1).collect()
        };
        assert_eq!(of("level"), [2, 3, 4, 5]);
        assert_eq!(of("tree"), [1, 2, 3, 5]);
        assert_eq!(of("streak"), [7, 30, 100, 365]);
    }
}
