//! Tallies: entries and grams of each category and method, in a few bytes.
//!
//! The criteria of achievements and challenges, for a day or an entire diary, are evaluated from these without reading
//! entries.

use std::sync::OnceLock;

use crate::error::DomainError;
use crate::json::embedded;

/// A category and one of its methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Id of the category.
    pub category: &'static str,
    /// Id of the method.
    pub method: &'static str,
}

/// Every pair there ever was, numbered by its place. Stored tallies contain these numbers, so the list may only grow at its
/// end.
#[must_use]
pub fn pairs() -> &'static [Pair] {
    static ALL: OnceLock<Vec<Pair>> = OnceLock::new();
    ALL.get_or_init(|| {
        let names: Vec<(&'static str, &'static str)> = embedded(include_str!("../data/pairs.json"));
        names
            .into_iter()
            .map(|(category, method)| Pair { category, method })
            .collect()
    })
}

/// The sums of one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    number: u8,
    /// Entries; never negative once all of a user's are added.
    pub entries: i64,
    /// Their weight in grams.
    pub grams: i64,
}

impl Line {
    /// The category and method that are counted.
    #[must_use]
    pub fn pair(&self) -> Pair {
        pairs()[usize::from(self.number)]
    }
}

/// Sums by pair. A pair without entries and grams has no line, so that equal sums have equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally(Vec<Line>);

impl Tally {
    /// The tally of `entries` entries (negative ones are subtracted) of one pair that weigh `grams` in all.
    ///
    /// # Errors
    /// [`DomainError::UnknownCategory`], [`DomainError::UnknownMethod`]
    pub fn of(
        category: &str,
        method: &str,
        entries: i64,
        grams: i64,
    ) -> Result<Tally, DomainError> {
        let number = pairs()
            .iter()
            .position(|pair| pair.category == category && pair.method == method)
            .and_then(|place| u8::try_from(place).ok())
            .ok_or_else(|| {
                if pairs().iter().any(|pair| pair.category == category) {
                    DomainError::UnknownMethod
                } else {
                    DomainError::UnknownCategory
                }
            })?;
        let mut tally = Tally::default();
        tally.add_line(Line {
            number,
            entries,
            grams,
        });
        Ok(tally)
    }

    /// The lines, in the order of the pairs.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: &Tally) {
        for line in &other.0 {
            self.add_line(*line);
        }
    }

    /// The tally that subtracts this one when it is added.
    #[must_use]
    pub fn negated(&self) -> Tally {
        let lines = self.0.iter().map(|line| Line {
            entries: -line.entries,
            grams: -line.grams,
            ..*line
        });
        Tally(lines.collect())
    }

    fn add_line(&mut self, line: Line) {
        match self.0.binary_search_by_key(&line.number, |own| own.number) {
            Ok(at) => {
                let own = &mut self.0[at];
                // Saturating: an overflow cannot happen with real weights, and must not end a write.
                own.entries = own.entries.saturating_add(line.entries);
                own.grams = own.grams.saturating_add(line.grams);
                if (own.entries, own.grams) == (0, 0) {
                    self.0.remove(at);
                }
            }
            Err(at) if (line.entries, line.grams) != (0, 0) => self.0.insert(at, line),
            Err(_) => {}
        }
    }

    /// The stored bytes: for each pair its number, entries and grams, the latter two in as few bytes as they need.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 5);
        for line in &self.0 {
            bytes.push(line.number);
            push_varint(&mut bytes, line.entries);
            push_varint(&mut bytes, line.grams);
        }
        bytes
    }

    /// The tally that [`Tally::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DomainError::TallyInvalid`] for any other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tally, DomainError> {
        let mut rest = bytes;
        let mut lines: Vec<Line> = Vec::with_capacity(bytes.len() / 3);
        while let Some((&number, after)) = rest.split_first() {
            rest = after;
            let in_order = lines.last().is_none_or(|last| last.number < number);
            if !in_order || usize::from(number) >= pairs().len() {
                return Err(DomainError::TallyInvalid);
            }
            lines.push(Line {
                number,
                entries: take_varint(&mut rest)?,
                grams: take_varint(&mut rest)?,
            });
        }
        Ok(Tally(lines))
    }
}

/// LEB128 of the zigzag encoding: small numbers of either sign need one byte.
fn push_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while rest >= 0x80 {
        bytes.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<i64, DomainError> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(DomainError::TallyInvalid)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(DomainError::TallyInvalid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::waste;

    #[test]
    fn every_pair_of_every_factor_set_has_one_number() {
        for set in waste::factor_sets() {
            for category in &set.categories {
                for method in &category.methods {
                    let numbers = pairs()
                        .iter()
                        .filter(|pair| pair.category == category.id && pair.method == method.id);
                    assert_eq!(numbers.count(), 1, "{} {}", category.id, method.id);
                }
            }
        }
        assert!(pairs().len() <= 256);
    }

    #[test]
    fn numbers_never_change() {
        assert_eq!(
            (pairs()[0].category, pairs()[0].method),
            ("food_waste", "disposed")
        );
        assert_eq!(
            (pairs()[31].category, pairs()[31].method),
            ("electronic_waste", "trade_in")
        );
    }

    #[test]
    fn a_day_takes_a_few_bytes() {
        let mut day = Tally::of("plastic_bottles", "recycled", 3, 1_250).unwrap();
        day.add(&Tally::of("food_waste", "composted", 1, 500).unwrap());
        assert_eq!(day.to_bytes(), [1, 2, 0xe8, 7, 5, 6, 0xc4, 0x13]);
        day.add(&Tally::of("food_waste", "composted", -1, -500).unwrap());
        assert_eq!(
            day,
            Tally::of("plastic_bottles", "recycled", 3, 1_250).unwrap()
        );
    }

    #[test]
    fn a_pair_without_entries_and_grams_has_no_line() {
        let nothing = Tally::of("food_waste", "composted", 0, 0).unwrap();
        assert_eq!((&nothing, nothing.to_bytes()), (&Tally::default(), vec![]));
        // No entries but some grams, as in the difference of two tallies with different weights: the line stays.
        let weight = Tally::of("food_waste", "composted", 0, 5).unwrap();
        assert_eq!(weight.lines().count(), 1);
    }

    #[test]
    fn unknown_pairs_and_bytes_are_refused() {
        assert_eq!(
            Tally::of("rocks", "recycled", 1, 10),
            Err(DomainError::UnknownCategory)
        );
        assert_eq!(
            Tally::of("food_waste", "recycled", 1, 10),
            Err(DomainError::UnknownMethod)
        );
        for bytes in [
            &[0][..],
            &[0, 2],
            &[200, 2, 2],
            &[1, 2, 2, 0, 2, 2],
            &[1, 2, 2, 1, 2, 2],
            &[0, 0x80],
        ] {
            assert_eq!(Tally::from_bytes(bytes), Err(DomainError::TallyInvalid));
        }
        let endless = [[0].as_slice(), &[0xff; 11]].concat();
        assert_eq!(Tally::from_bytes(&endless), Err(DomainError::TallyInvalid));
    }

    proptest! {
        #[test]
        fn bytes_round_trip_and_order_does_not_matter(
            lines in prop::collection::vec((0usize..32, any::<i32>(), any::<i64>().prop_map(|g| g / 64)), 0..60)
        ) {
            let one = |(number, entries, grams): &(usize, i32, i64)| {
                Tally::of(pairs()[*number].category, pairs()[*number].method, (*entries).into(), *grams).unwrap()
            };
            let mut forwards = Tally::default();
            lines.iter().for_each(|line| forwards.add(&one(line)));
            let mut backwards = Tally::default();
            lines.iter().rev().for_each(|line| backwards.add(&one(line)));
            prop_assert_eq!(&forwards, &backwards);
            prop_assert_eq!(Tally::from_bytes(&forwards.to_bytes()), Ok(forwards));
        }
    }
}
