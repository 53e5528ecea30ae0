//! Community challenges: what an entry contributes, how far a challenge has come, and what must hold of one.
//!
//! Contributions and targets are integers in the unit of the metric, so that sums are exact.

use chrono::NaiveDate;
use serde_json::Value;

use crate::criteria::{Filter, refused};
use crate::error::{DomainError, FieldError};

/// What is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Grams of the entries.
    WeightKg,
    /// Number of entries.
    Entries,
    /// Credits of the entries; may be negative.
    Credits,
    /// Milligrams CO2e avoided compared with disposal; may be negative.
    Co2eAvoidedKg,
}

impl Metric {
    const ALL: [(&'static str, Metric, &'static str); 4] = [
        ("weight_kg", Metric::WeightKg, "g"),
        ("entries", Metric::Entries, "entries"),
        ("credits", Metric::Credits, "credits"),
        ("co2e_avoided_kg", Metric::Co2eAvoidedKg, "mg"),
    ];

    fn named(name: &str) -> Result<Metric, DomainError> {
        let own = Metric::ALL.iter().find(|(own, ..)| *own == name);
        own.map(|(_, metric, _)| *metric)
            .ok_or(DomainError::MetricUnknown)
    }

    fn row(self) -> (&'static str, Metric, &'static str) {
        Metric::ALL[match self {
            Metric::WeightKg => 0,
            Metric::Entries => 1,
            Metric::Credits => 2,
            Metric::Co2eAvoidedKg => 3,
        }]
    }

    /// Its name in criteria and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The unit of targets and contributions: `g`, `entries`, `credits` or `mg`.
    #[must_use]
    pub fn unit(self) -> &'static str {
        self.row().2
    }
}

/// Validated criteria of a community challenge: what is added up, and over which entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// What is added up.
    pub metric: Metric,
    filter: Filter,
}

/// The part of an entry that its contribution depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its local day.
    pub day: NaiveDate,
    /// The province it carries (ISO code), if any.
    pub province: Option<&'a str>,
    /// Its category.
    pub category: &'a str,
    /// Its disposal method.
    pub method: &'a str,
    /// Its weight.
    pub grams: i64,
    /// Its credits.
    pub credits: i64,
    /// CO2e avoided, milligrams.
    pub co2e_avoided_mg: i64,
}

/// Which entries of a participant count at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<'a> {
    /// First local day: the challenge's, or the day the participant joined if that is later.
    pub first: NaiveDate,
    /// Last local day of the challenge.
    pub last: NaiveDate,
    /// The only province whose entries count; `None` = any, and entries without a province.
    pub province: Option<&'a str>,
}

impl Measure {
    /// Parses criteria: `{metric}` and the filters of achievements. A member `rule` is a comment.
    ///
    /// # Errors
    /// Names the member: [`DomainError::NotAnObject`], [`DomainError::MetricUnknown`],
    /// [`DomainError::UnknownCategory`], [`DomainError::UnknownMethod`], [`DomainError::CriteriaMemberUnknown`].
    pub fn from_json(criteria: &Value) -> Result<Measure, FieldError> {
        let Value::Object(members) = criteria else {
            return Err(FieldError::new("criteria", DomainError::NotAnObject));
        };
        let stated = members.get("metric").and_then(Value::as_str);
        let mut measure = Measure {
            metric: Metric::named(stated.unwrap_or_default())?,
            filter: Filter::default(),
        };
        for (name, value) in members {
            if !measure.filter.take(name, value)? && !matches!(name.as_str(), "metric" | "rule") {
                return Err(refused(name, DomainError::CriteriaMemberUnknown));
            }
        }
        measure.filter.require_matches()?;
        Ok(measure)
    }

    /// The compact form that is fast to parse: `metric method categories`, `*` for any.
    #[must_use]
    pub fn to_rule(&self) -> String {
        format!("{} {}", self.metric.name(), self.filter)
    }

    /// The criteria that [`Measure::to_rule`] wrote.
    ///
    /// # Errors
    /// [`DomainError::MetricUnknown`] for any other text.
    pub fn from_rule(rule: &str) -> Result<Measure, DomainError> {
        let mut parts = rule.split(' ');
        let mut part = || parts.next().ok_or(DomainError::MetricUnknown);
        let (name, method, categories) = (part()?, part()?, part()?);
        Ok(Measure {
            metric: Metric::named(name)?,
            filter: Filter::from_rule(method, categories),
        })
    }

    /// What an entry contributes, in the unit of the metric: 0 outside the window and where a filter does not match.
    /// Imported entries contribute nothing; the caller leaves them out.
    #[must_use]
    pub fn contribution(&self, window: &Window<'_>, entry: &Entry<'_>) -> i64 {
        let counts = (window.first..=window.last).contains(&entry.day)
            && window
                .province
                .is_none_or(|only| entry.province == Some(only))
            && self.filter.matches(entry.category, entry.method);
        if !counts {
            return 0;
        }
        match self.metric {
            Metric::WeightKg => entry.grams,
            Metric::Entries => 1,
            Metric::Credits => entry.credits,
            Metric::Co2eAvoidedKg => entry.co2e_avoided_mg,
        }
    }
}

/// The whole percentage of the target that the total is, rounded down, 0..=100.
#[must_use]
pub fn percent(total: i64, target: i64) -> i32 {
    let target = i128::from(target.max(1));
    let percent = i128::from(total).clamp(0, target) * 100 / target;
    i32::try_from(percent).unwrap_or(100)
}

/// Those of these milestones (percent of the target) that the total has reached.
#[must_use]
pub fn reached_milestones(total: i64, target: i64, milestones: &[i32]) -> Vec<i32> {
    let has_reached =
        |milestone: i32| i128::from(total) * 100 >= i128::from(milestone) * i128::from(target);
    let reached = milestones
        .iter()
        .copied()
        .filter(|milestone| has_reached(*milestone));
    reached.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn entry<'a>(date: &str, province: Option<&'a str>) -> Entry<'a> {
        Entry {
            day: day(date),
            province,
            category: "plastic_bottles",
            method: "recycled",
            grams: 1_500,
            credits: -3,
            co2e_avoided_mg: 2_345_678,
        }
    }

    fn contribution(criteria: &Value, only: Option<&str>, entry: &Entry<'_>) -> i64 {
        let measure = Measure::from_json(criteria).unwrap();
        assert_eq!(Measure::from_rule(&measure.to_rule()), Ok(measure.clone()));
        let window = Window {
            first: day("2026-11-10"),
            last: day("2026-11-16"),
            province: only,
        };
        measure.contribution(&window, entry)
    }

    #[test]
    fn an_entry_contributes_what_the_metric_says() {
        let inside = entry("2026-11-10", None);
        for (metric, unit, expected) in [
            ("weight_kg", "g", 1_500),
            ("entries", "entries", 1),
            ("credits", "credits", -3),
            ("co2e_avoided_kg", "mg", 2_345_678),
        ] {
            assert_eq!(
                contribution(&json!({"metric": metric}), None, &inside),
                expected,
                "{metric}"
            );
            assert_eq!(Metric::named(metric).unwrap().unit(), unit);
        }
    }

    #[test]
    fn only_days_of_the_window_count() {
        let entries = json!({"metric": "entries"});
        for (date, expected) in [
            ("2026-11-09", 0),
            ("2026-11-10", 1),
            ("2026-11-16", 1),
            ("2026-11-17", 0),
        ] {
            assert_eq!(
                contribution(&entries, None, &entry(date, None)),
                expected,
                "{date}"
            );
        }
    }

    #[test]
    fn a_provincial_challenge_counts_entries_that_carry_its_province() {
        let entries = json!({"metric": "entries"});
        for (province, expected) in [(Some("TH-50"), 1), (Some("TH-10"), 0), (None, 0)] {
            let entry = entry("2026-11-12", province);
            assert_eq!(contribution(&entries, Some("TH-50"), &entry), expected);
        }
    }

    #[test]
    fn filters_are_those_of_achievements() {
        let inside = entry("2026-11-12", None);
        for (filters, expected) in [
            (json!({"disposal_method": "recycled"}), 1),
            (json!({"disposal_method": "reused"}), 0),
            (
                json!({"category_id": "plastic_bottles", "rule": "a comment"}),
                1,
            ),
            (
                json!({"category_any_of": ["glass_bottles", "plastic_bottles"]}),
                1,
            ),
            (json!({"category_any_of": ["glass_bottles"]}), 0),
        ] {
            let mut criteria = filters.clone();
            criteria["metric"] = json!("entries");
            assert_eq!(
                contribution(&criteria, None, &inside),
                expected,
                "{filters}"
            );
        }
    }

    #[test]
    fn criteria_are_refused_with_the_member_s_name() {
        for (criteria, field, error) in [
            (json!([]), "criteria", DomainError::NotAnObject),
            (json!({}), "criteria.metric", DomainError::MetricUnknown),
            (
                json!({"metric": "daily_streak"}),
                "criteria.metric",
                DomainError::MetricUnknown,
            ),
            (
                json!({"metric": "entries", "at_least": 3}),
                "criteria.at_least",
                DomainError::CriteriaMemberUnknown,
            ),
            (
                json!({"metric": "credits", "category_id": "rocks"}),
                "criteria.category_id",
                DomainError::UnknownCategory,
            ),
            (
                json!({"metric": "credits", "category_any_of": []}),
                "criteria.category_any_of",
                DomainError::NotAList,
            ),
            (
                json!({"metric": "credits", "disposal_method": "burned"}),
                "criteria.disposal_method",
                DomainError::UnknownMethod,
            ),
            (
                json!({"metric": "credits", "disposal_method": 7}),
                "criteria.disposal_method",
                DomainError::UnknownMethod,
            ),
        ] {
            let refused = Measure::from_json(&criteria).unwrap_err();
            assert_eq!(
                (refused.field.as_ref(), refused.error),
                (field, error),
                "{criteria}"
            );
        }
        for rule in ["", "entries", "entries *", "daily_streak * *"] {
            assert_eq!(
                Measure::from_rule(rule),
                Err(DomainError::MetricUnknown),
                "{rule}"
            );
        }
    }

    #[test]
    fn a_percentage_is_rounded_down_and_stays_within_its_range() {
        for (total, target, expected) in [
            (-5, 10, 0),
            (0, 10, 0),
            (999, 1_000, 99),
            (1_000, 1_000, 100),
            (5_000, 1_000, 100),
            (i64::MAX, i64::MAX, 100),
            (i64::MIN, 1, 0),
            (1, 0, 100),
        ] {
            assert_eq!(percent(total, target), expected, "{total} of {target}");
        }
    }

    #[test]
    fn milestones_are_reached_exactly() {
        let marks = [25, 50, 75, 100];
        for (total, expected) in [
            (24, 0),
            (25, 1),
            (74, 2),
            (99, 3),
            (100, 4),
            (1_000, 4),
            (-1, 0),
        ] {
            assert_eq!(
                reached_milestones(total, 100, &marks).len(),
                expected,
                "{total}"
            );
        }
        // A third of the target is not an integer: 1 of 3 has reached 33 % and not 34 %.
        assert_eq!(reached_milestones(1, 3, &[33, 34]), [33]);
        assert_eq!(reached_milestones(i64::MAX, i64::MAX, &[100]), [100]);
    }
}
