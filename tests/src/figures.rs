//! Credits, emissions, days, levels and streaks as integers, computed from the raw factors.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, TimeDelta};
use serde_json::Value;

/// The figures, as integers, of one entry or of a sum of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Weight in grams.
    pub grams: i64,
    /// Carbon credits, points.
    pub credits: i64,
    /// Emissions in 10⁻⁶ kg CO2e.
    pub co2e_micro: i64,
    /// Avoided emissions in 10⁻⁶ kg CO2e.
    pub avoided_micro: i64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.grams += other.grams;
        self.credits += other.credits;
        self.co2e_micro += other.co2e_micro;
        self.avoided_micro += other.avoided_micro;
    }
}

#[derive(Clone, Copy, Debug)]
struct Factor {
    credits_per_kg: i64,
    co2e_e4: i64,
}

/// The factor set as the data file states it.
#[derive(Clone, Debug)]
pub struct Factors {
    by_pair: BTreeMap<(String, String), Factor>,
}

impl Factors {
    /// Reads the raw factors of the current set.
    ///
    /// # Errors
    /// A description of what is wrong with the file.
    pub fn load() -> Result<Self, String> {
        let path = crate::system::root().join("domain/data/factors-tgo-app-2024.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let parsed: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let mut by_pair = BTreeMap::new();
        for category in parsed["categories"].as_array().ok_or("no categories")? {
            for method in category["methods"].as_array().ok_or("no methods")? {
                let name = |value: &Value| {
                    value
                        .as_str()
                        .map(str::to_owned)
                        .ok_or("an id that is no text")
                };
                let factor = Factor {
                    credits_per_kg: method["credits_per_kg"].as_i64().ok_or("credits_per_kg")?,
                    co2e_e4: decimal(&method["kg_co2e_per_kg"].to_string(), 4)
                        .ok_or("kg_co2e_per_kg")?,
                };
                by_pair.insert((name(&category["id"])?, name(&method["id"])?), factor);
            }
        }
        Ok(Self { by_pair })
    }

    /// Every (category, method) there is.
    #[must_use]
    pub fn pairs(&self) -> Vec<(String, String)> {
        self.by_pair.keys().cloned().collect()
    }

    /// The figures of one entry.
    ///
    /// # Panics
    /// When the category has no such method.
    #[must_use]
    pub fn figures(&self, category: &str, method: &str, grams: i64) -> Figures {
        let factor = |method: &str| self.by_pair[&(category.to_owned(), method.to_owned())];
        let own = factor(method);
        Figures {
            grams,
            credits: (own.credits_per_kg * grams + 500).div_euclid(1000),
            co2e_micro: (own.co2e_e4 * grams + 5).div_euclid(10),
            avoided_micro: ((factor("disposed").co2e_e4 - own.co2e_e4) * grams + 5).div_euclid(10),
        }
    }
}

/// A plain decimal as a whole number of 10⁻ᵖˡᵃᶜᵉˢ; None if it is not one or has more places.
#[must_use]
pub fn decimal(text: &str, places: u32) -> Option<i64> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (digits, rest) = fraction.split_at(fraction.len().min(places as usize));
    if rest.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let scaled: i64 = format!("{integer}{digits:0<width$}", width = places as usize)
        .parse()
        .ok()?;
    Some(scaled)
}

/// The calendar day of an instant (milliseconds since 1970) at a fixed offset from UTC in minutes.
///
/// # Panics
/// When the instant is outside chrono's calendar.
#[must_use]
pub fn local_date(at_millis: i64, offset_minutes: i64) -> NaiveDate {
    let utc = DateTime::from_timestamp_millis(at_millis).expect("an instant of this era");
    (utc + TimeDelta::minutes(offset_minutes)).date_naive()
}

/// The current run (ends on `as_of`, the day before, or later) and the longest run of the days.
#[must_use]
pub fn streak(days: &BTreeSet<NaiveDate>, as_of: NaiveDate) -> (i64, i64) {
    let (mut run, mut longest, mut previous) = (0, 0, None::<NaiveDate>);
    for &day in days {
        let follows =
            previous.and_then(|before| before.checked_add_days(Days::new(1))) == Some(day);
        run = if follows { run + 1 } else { 1 };
        longest = longest.max(run);
        previous = Some(day);
    }
    let current = previous.is_some_and(|last| last + Days::new(1) >= as_of);
    (if current { run } else { 0 }, longest)
}

/// The level of a total.
#[must_use]
pub fn level(total: i64) -> i64 {
    let reached = [0, 100, 500, 1000, 2500]
        .iter()
        .filter(|&&start| total >= start)
        .count();
    i64::try_from(reached.max(1)).unwrap_or(1)
}

/// Trees of a total, one for every 500 credits, rounded down.
#[must_use]
pub fn trees(total: i64) -> i64 {
    total.max(0) / 500
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_towards_plus_infinity() {
        let factors = Factors::load().unwrap();
        assert_eq!(factors.figures("food_waste", "disposed", 100).credits, -2);
        assert_eq!(
            factors.figures("plastic_bottles", "recycled", 500).credits,
            8
        );
    }

    #[test]
    fn decimals_are_parsed_exactly() {
        assert_eq!(decimal("-6.7071", 4), Some(-67071));
        assert_eq!(decimal("0.5", 4), Some(5000));
        assert_eq!(decimal("3", 3), Some(3000));
        assert_eq!(decimal("-0.25", 2), Some(-25));
        assert_eq!(decimal("0.12345", 4), None);
    }
}
