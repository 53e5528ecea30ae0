//! Criteria of achievements and challenges: conditions that are data, evaluated from a user's days.
//!
//! `{metric, at_least}`, with filters if the metric has any. Criteria consider entries only, never rewards.

mod filter;

use chrono::NaiveDate;
use serde_json::Value;

use crate::error::{DomainError, FieldError};
use crate::level;
use crate::streak;
use crate::tally::{Line, Tally};
use crate::units::scaled_decimal;

pub(crate) use filter::Filter;

/// The greatest `at_least`, in units of the metric.
const MAX_AT_LEAST: i64 = 1_000_000_000;

/// The plastic that a plastic-free day must not have, unless it was avoided or reused.
const PLASTIC: [&str; 2] = ["plastic_bottles", "plastic_bags"];
const WITHOUT_WASTE: [&str; 2] = ["avoided", "reused"];

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// All entries.
    TotalEntries,
    /// All grams (criteria state kilograms).
    WeightKg,
    /// Credits of all entries.
    TotalCredits,
    /// Trees of the credits of all entries.
    TreesSaved,
    /// Days of the longest run.
    DailyStreak,
    /// Entries of the day with the most.
    EntriesInOneDay,
    /// Closed days with entries, none of them plastic that was thrown away or recycled.
    PlasticFreeDay,
    /// Entries of the day that is evaluated.
    EntriesToday,
}

impl Metric {
    const OF_ACHIEVEMENTS: [(&'static str, Metric); 7] = [
        ("total_entries", Metric::TotalEntries),
        ("weight_kg", Metric::WeightKg),
        ("total_credits", Metric::TotalCredits),
        ("trees_saved", Metric::TreesSaved),
        ("daily_streak", Metric::DailyStreak),
        ("entries_in_one_day", Metric::EntriesInOneDay),
        ("plastic_free_day", Metric::PlasticFreeDay),
    ];
    const OF_CHALLENGES: [(&'static str, Metric); 1] = [("entries_today", Metric::EntriesToday)];

    fn name(self) -> &'static str {
        Metric::OF_ACHIEVEMENTS
            .iter()
            .chain(&Metric::OF_CHALLENGES)
            .find(|(_, metric)| *metric == self)
            .map_or("", |(name, _)| name)
    }

    const fn takes_filters(self) -> bool {
        matches!(
            self,
            Metric::TotalEntries
                | Metric::WeightKg
                | Metric::EntriesInOneDay
                | Metric::EntriesToday
        )
    }
}

/// The kind of goal that criteria belong to; each has its own metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Earned once, from everything that a user has logged.
    Achievement,
    /// Earned every day, from that day's entries.
    Challenge,
}

/// A validated condition, ready to be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criteria {
    /// What is measured.
    pub metric: Metric,
    /// How much is needed, in units of the metric (grams for weights).
    pub at_least: i64,
    filter: Filter,
}

/// One local day of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// The local date.
    pub date: NaiveDate,
    /// What was logged on it.
    pub tally: Tally,
}

/// What criteria are evaluated from.
#[derive(Debug, Clone)]
pub struct Diary<'a> {
    /// Credits of all entries.
    pub credits: i64,
    /// Everything logged.
    pub tally: &'a Tally,
    /// The days that have entries, in any order, each once.
    pub days: &'a [Day],
    /// The last closed day; rules about whole days consider only days up to it.
    pub closed_through: NaiveDate,
}

impl Criteria {
    /// Parses criteria: `{metric, at_least}` and, if the metric has filters, `disposal_method`, `category_id`,
    /// `category_any_of`. A member `rule` is a comment.
    ///
    /// # Errors
    /// Names the member: [`DomainError::NotAnObject`], [`DomainError::MetricUnknown`], [`DomainError::AtLeastInvalid`],
    /// [`DomainError::UnknownCategory`], [`DomainError::UnknownMethod`], [`DomainError::CriteriaMemberUnknown`].
    pub fn from_json(criteria: &Value, kind: Kind) -> Result<Criteria, FieldError> {
        let Value::Object(members) = criteria else {
            return Err(FieldError::new("criteria", DomainError::NotAnObject));
        };
        let metrics = match kind {
            Kind::Achievement => Metric::OF_ACHIEVEMENTS.as_slice(),
            Kind::Challenge => Metric::OF_CHALLENGES.as_slice(),
        };
        let stated = members.get("metric").and_then(Value::as_str);
        let metric = metrics
            .iter()
            .find(|(name, _)| Some(*name) == stated)
            .map(|(_, metric)| *metric)
            .ok_or(DomainError::MetricUnknown)?;
        let mut read = Criteria {
            metric,
            at_least: at_least(members.get("at_least"), metric)?,
            filter: Filter::default(),
        };
        for (name, value) in members {
            let is_filter = metric.takes_filters() && read.filter.take(name, value)?;
            if !is_filter && !matches!(name.as_str(), "metric" | "at_least" | "rule") {
                return Err(refused(name, DomainError::CriteriaMemberUnknown));
            }
        }
        read.filter.require_matches()?;
        Ok(read)
    }

    /// The criteria in a compact form that is fast to parse: `metric at_least method categories`, `*` for any.
    #[must_use]
    pub fn to_rule(&self) -> String {
        format!("{} {} {}", self.metric.name(), self.at_least, self.filter)
    }

    /// The criteria that [`Criteria::to_rule`] wrote.
    ///
    /// # Errors
    /// [`DomainError::MetricUnknown`] for any other text.
    pub fn from_rule(rule: &str) -> Result<Criteria, DomainError> {
        let mut parts = rule.split(' ');
        let mut part = || parts.next().ok_or(DomainError::MetricUnknown);
        let (name, at_least, method, categories) = (part()?, part()?, part()?, part()?);
        let metric = Metric::OF_ACHIEVEMENTS
            .iter()
            .chain(&Metric::OF_CHALLENGES)
            .find(|(own, _)| *own == name)
            .map(|(_, metric)| *metric)
            .ok_or(DomainError::MetricUnknown)?;
        Ok(Criteria {
            metric,
            at_least: at_least.parse().map_err(|_| DomainError::MetricUnknown)?,
            filter: Filter::from_rule(method, categories),
        })
    }

    fn sum(&self, tally: &Tally, part: impl Fn(&Line) -> i64) -> i64 {
        tally
            .lines()
            .filter(|line| {
                let pair = line.pair();
                self.filter.matches(pair.category, pair.method)
            })
            .map(part)
            .sum()
    }

    /// The value that the diary has reached, in units of the metric; never negative. [`Metric::EntriesToday`] is the sum
    /// over the days of the diary.
    #[must_use]
    pub fn value(&self, diary: &Diary<'_>) -> i64 {
        let by_day = diary
            .days
            .iter()
            .map(|day| self.sum(&day.tally, |line| line.entries));
        match self.metric {
            Metric::TotalEntries => self.sum(diary.tally, |line| line.entries),
            Metric::WeightKg => self.sum(diary.tally, |line| line.grams),
            Metric::TotalCredits => diary.credits.max(0),
            Metric::TreesSaved => level::trees(diary.credits),
            Metric::DailyStreak => streak::max_streak(diary.days.iter().map(|day| day.date)).into(),
            Metric::EntriesInOneDay => by_day.max().unwrap_or(0),
            Metric::EntriesToday => by_day.sum(),
            Metric::PlasticFreeDay => {
                let closed = diary
                    .days
                    .iter()
                    .filter(|day| day.date <= diary.closed_through);
                closed.filter(|day| is_plastic_free(&day.tally)).count() as i64
            }
        }
    }

    /// Whether the end of days with these tallies can be what reaches this, where nothing else happened since it was
    /// last looked at. A whole day is free of plastic only when it has ended; no other metric waits for that.
    #[must_use]
    pub fn is_reached_by_day_end(&self, is_held: bool, ended: &[Tally]) -> bool {
        self.metric == Metric::PlasticFreeDay && !is_held && ended.iter().any(is_plastic_free)
    }

    /// Whether the diary has reached this.
    #[must_use]
    pub fn is_reached(&self, diary: &Diary<'_>) -> bool {
        self.value(diary) >= self.at_least
    }

    /// `units` of the metric as criteria state them: kilograms with up to three decimals for weights, otherwise integers.
    #[must_use]
    pub fn shown(&self, units: i64) -> Value {
        if self.metric == Metric::WeightKg {
            let decimals = format!("{}.{:03}", units / 1000, units % 1000);
            let shortest = decimals.trim_end_matches('0').trim_end_matches('.');
            return serde_json::from_str(shortest).unwrap_or(Value::Null);
        }
        units.into()
    }

    /// The percentage of what is needed, rounded down, 0..=100.
    #[must_use]
    pub fn percentage(&self, value: i64) -> i64 {
        (value.clamp(0, self.at_least).saturating_mul(100)) / self.at_least.max(1)
    }
}

/// Whether a day has entries, but no plastic that was thrown away or recycled.
pub(crate) fn is_plastic_free(day: &Tally) -> bool {
    day.lines().next().is_some()
        && !day.lines().any(|line| {
            let pair = line.pair();
            PLASTIC.contains(&pair.category) && !WITHOUT_WASTE.contains(&pair.method)
        })
}

pub(crate) fn refused(member: &str, error: DomainError) -> FieldError {
    FieldError::new(format!("criteria.{member}"), error)
}

fn at_least(stated: Option<&Value>, metric: Metric) -> Result<i64, DomainError> {
    let Some(Value::Number(number)) = stated else {
        return Err(DomainError::AtLeastInvalid);
    };
    let text = number.to_string();
    let units = if metric == Metric::WeightKg {
        scaled_decimal(&text, 3, 10).ok()
    } else {
        text.parse().ok()
    };
    units
        .filter(|units| (1..=MAX_AT_LEAST).contains(units))
        .ok_or(DomainError::AtLeastInvalid)
}

#[cfg(test)]
mod tests;
