//! Weights in grams and emissions in millionths of a kilogram: integers, so that all layers round alike.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Serialize, Serializer};

use crate::error::DomainError;

/// The weight of one entry: 10 to 100,000 grams (0.01 to 100 kg).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    /// The smallest weight, 10 g.
    pub const MIN: Weight = Weight(10);
    /// The greatest weight, 100,000 g.
    pub const MAX: Weight = Weight(100_000);

    /// A weight of `grams` grams.
    ///
    /// # Errors
    /// [`DomainError::WeightOutOfRange`] outside of 10..=100,000.
    pub fn from_grams(grams: i64) -> Result<Weight, DomainError> {
        match u32::try_from(grams) {
            Ok(grams) if (Weight::MIN.0..=Weight::MAX.0).contains(&grams) => Ok(Weight(grams)),
            _ => Err(DomainError::WeightOutOfRange),
        }
    }

    /// Parses kilograms from a JSON number, rounds half up to three decimals, then checks the range.
    ///
    /// The text is parsed digit by digit and never becomes a floating-point number; an exponent may have any size.
    ///
    /// # Errors
    /// [`DomainError::WeightNotANumber`] when the text is not a JSON number, [`DomainError::WeightOutOfRange`] otherwise.
    pub fn from_kg_text(text: &str) -> Result<Weight, DomainError> {
        match scaled_decimal(text, 3, 6) {
            Err(NotDecimal::Malformed) => Err(DomainError::WeightNotANumber),
            Err(NotDecimal::TooGreat) => Err(DomainError::WeightOutOfRange),
            Ok(grams) => Weight::from_grams(grams),
        }
    }

    /// Grams, 10..=100,000.
    #[must_use]
    pub const fn grams(self) -> u32 {
        self.0
    }

    /// Kilograms as decimal text with three decimals, for example `0.300`.
    #[must_use]
    pub fn kg_text(self) -> String {
        format!("{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

impl fmt::Display for Weight {
    /// Kilograms without trailing zeros, for example `0.3`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&decimal_text(i64::from(self.0), 3))
    }
}

impl Serialize for Weight {
    /// Kilograms as a JSON number without trailing zeros.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_decimal(i64::from(self.0), 3, serializer)
    }
}

/// An amount of CO2e in millionths of a kilogram (milligrams); negative if the method removes more than it emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MicroKg(pub i64);

impl Add for MicroKg {
    type Output = MicroKg;
    fn add(self, other: MicroKg) -> MicroKg {
        MicroKg(self.0 + other.0)
    }
}

impl Sub for MicroKg {
    type Output = MicroKg;
    fn sub(self, other: MicroKg) -> MicroKg {
        MicroKg(self.0 - other.0)
    }
}

impl Sum for MicroKg {
    fn sum<I: Iterator<Item = MicroKg>>(amounts: I) -> MicroKg {
        amounts.fold(MicroKg(0), Add::add)
    }
}

impl fmt::Display for MicroKg {
    /// Kilograms with six decimals, for example `-0.673700`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        write!(
            formatter,
            "{sign}{}.{:06}",
            amount / 1_000_000,
            amount % 1_000_000
        )
    }
}

impl Serialize for MicroKg {
    /// Kilograms as a JSON number without trailing zeros.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_decimal(self.0, 6, serializer)
    }
}

/// Degrees of latitude or longitude in millionths (about 11 cm), -180,000,000..=180,000,000, as the column stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Degrees(i32);

impl Degrees {
    /// Parses a JSON number; the range is checked before it is rounded half up to six decimals.
    ///
    /// `None` if the text is not a number or outside -`limit`..=`limit` degrees.
    #[must_use]
    pub fn from_text(text: &str, limit: i32) -> Option<Degrees> {
        let scaled = scaled_decimal(text, 6, 9).ok()?;
        let bound = i64::from(limit) * 1_000_000;
        if scaled.abs() > bound || (scaled.abs() == bound && !is_whole(text)) {
            return None;
        }
        i32::try_from(scaled).ok().map(Degrees)
    }

    /// Millionths of a degree.
    #[must_use]
    pub const fn e6(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Degrees {
    /// Degrees without trailing zeros, for example `13.7563`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&decimal_text(i64::from(self.0), 6))
    }
}

impl Serialize for Degrees {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_decimal(i64::from(self.0), 6, serializer)
    }
}

/// Why a text is not a scaled integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotDecimal {
    /// It does not follow the grammar of JSON numbers.
    Malformed,
    /// It has more digits than allowed.
    TooGreat,
}

/// The parts of a JSON number: sign, digits without leading zeros, and the place of the point among them.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    /// The value is 0.DIGITS × 10^point.
    point: i64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Decimal> {
        let bytes = text.as_bytes();
        let (negative, bytes) = match bytes.split_first() {
            Some((b'-', rest)) => (true, rest),
            _ => (false, bytes),
        };
        let (mantissa, exponent) = match bytes.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&bytes[..at], parse_exponent(&bytes[at + 1..])?),
            None => (bytes, 0),
        };
        let (integer, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
            Some(at) => (&mantissa[..at], Some(&mantissa[at + 1..])),
            None => (mantissa, None),
        };
        let all_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        if !all_digits(integer)
            || (integer.len() > 1 && integer[0] == b'0')
            || !fraction.is_none_or(all_digits)
        {
            return None;
        }
        let every = integer.iter().chain(fraction.unwrap_or(&[]));
        let leading_zeros = every.clone().take_while(|digit| **digit == b'0').count();
        let digits: Vec<u8> = every.skip(leading_zeros).copied().collect();
        let point = if digits.is_empty() {
            0
        } else {
            integer.len() as i64 - leading_zeros as i64 + exponent
        };
        Some(Decimal {
            negative,
            digits,
            point,
        })
    }

    /// How many of the digits are before the decimal point, after shifting it `scale` places to the right.
    fn integer_digits(&self, scale: i64) -> i64 {
        self.point + scale
    }
}

/// Parses an exponent. Anything beyond ±10^15 is clamped, because no mantissa that fits into memory can make up for it.
fn parse_exponent(bytes: &[u8]) -> Option<i64> {
    const BOUND: i64 = 1_000_000_000_000_000;
    let (negative, digits) = match bytes.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, bytes),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0_i64, |size, digit| {
        (size * 10 + i64::from(digit - b'0')).min(BOUND)
    });
    Some(if negative { -size } else { size })
}

/// Parses a JSON number of at most `max_digits` digits as an integer of 10^-`scale`, rounded half up (towards +∞).
pub(crate) fn scaled_decimal(text: &str, scale: u8, max_digits: u8) -> Result<i64, NotDecimal> {
    let decimal = Decimal::parse(text).ok_or(NotDecimal::Malformed)?;
    let count = decimal.integer_digits(i64::from(scale));
    if decimal.digits.is_empty() || count < 0 {
        // 0.0… × 10^-scale is less than half a unit away from zero.
        return Ok(0);
    }
    if count > i64::from(max_digits) {
        return Err(NotDecimal::TooGreat);
    }
    let count = count as usize;
    let digit_at = |at: usize| {
        decimal
            .digits
            .get(at)
            .map_or(0, |digit| i64::from(digit - b'0'))
    };
    let truncated = (0..count).fold(0_i64, |value, at| value * 10 + digit_at(at));
    let rest_is_above_half =
        digit_at(count) > 5 || (digit_at(count) == 5 && has_nonzero(&decimal.digits, count + 1));
    // An exact half rounds towards +∞: away from zero if the number is positive, towards zero if it is negative.
    let rounds_away = rest_is_above_half || (digit_at(count) == 5 && !decimal.negative);
    let size = truncated + i64::from(rounds_away);
    Ok(if decimal.negative { -size } else { size })
}

fn has_nonzero(digits: &[u8], from: usize) -> bool {
    digits
        .get(from..)
        .is_some_and(|rest| rest.iter().any(|digit| *digit != b'0'))
}

/// Whether a valid number has no fraction.
pub(crate) fn is_whole(text: &str) -> bool {
    Decimal::parse(text).is_some_and(|decimal| {
        let point = usize::try_from(decimal.point).unwrap_or(0);
        !has_nonzero(&decimal.digits, point)
    })
}

/// `value` × 10^-`scale` without trailing zeros, for example `-0.25`.
pub(crate) fn decimal_text(value: i64, scale: u32) -> String {
    let unit = 10_u64.pow(scale);
    let sign = if value < 0 { "-" } else { "" };
    let (integer, fraction) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
    if fraction == 0 {
        return format!("{sign}{integer}");
    }
    let fraction = format!("{fraction:0width$}", width = scale as usize);
    format!("{sign}{integer}.{}", fraction.trim_end_matches('0'))
}

fn serialize_decimal<S: Serializer>(
    value: i64,
    scale: u32,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let number: serde_json::Number = decimal_text(value, scale)
        .parse()
        .map_err(serde::ser::Error::custom)?;
    number.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_rounded_half_up_then_checked() {
        let grams = |text| Weight::from_kg_text(text).map(Weight::grams);
        for (text, expected) in [
            ("0.01", 10),
            ("0.0095", 10),
            ("1e-2", 10),
            ("1E2", 100_000),
            ("100.0004", 100_000),
            ("0.30000000000000004", 300),
            ("0.0005e3", 500),
            ("2.0005", 2001),
            ("2.00049999999999999999999", 2000),
            ("10000000e-6", 10_000),
        ] {
            assert_eq!(grams(text), Ok(expected), "{text}");
        }
        for text in [
            "0",
            "-0",
            "-0.0",
            "0.0094999",
            "100.0005",
            "-1",
            "1e999999999",
            "1e-999999999",
            "1e3",
        ] {
            assert_eq!(grams(text), Err(DomainError::WeightOutOfRange), "{text}");
        }
        assert_eq!(
            grams("1e99999999999999999999999"),
            Err(DomainError::WeightOutOfRange)
        );
        assert_eq!(
            grams("0e99999999999999999999999"),
            Err(DomainError::WeightOutOfRange)
        );
        for text in [
            "", "-", "+1", ".5", "1.", "01", "1e", "1e+", "NaN", "Infinity", "0x10", "1 ", "๑",
            "1,5", "1.5.1",
        ] {
            assert_eq!(grams(text), Err(DomainError::WeightNotANumber), "{text}");
        }
    }

    #[test]
    fn negative_halves_round_towards_plus_infinity() {
        assert_eq!(scaled_decimal("-2.5", 0, 6), Ok(-2));
        assert_eq!(scaled_decimal("-2.51", 0, 6), Ok(-3));
        assert_eq!(scaled_decimal("2.5", 0, 6), Ok(3));
        assert_eq!(scaled_decimal("-0.5", 0, 6), Ok(0));
    }

    #[test]
    fn less_than_half_a_unit_from_zero_is_zero() {
        for (text, rounded) in [
            ("0.5", 1),
            ("0.49999", 0),
            ("0.09", 0),
            ("-0.51", -1),
            ("-0.09", 0),
            ("5e-1", 1),
            ("5e-2", 0),
        ] {
            assert_eq!(scaled_decimal(text, 0, 6), Ok(rounded), "{text}");
        }
    }

    #[test]
    fn an_exponent_may_have_several_digits() {
        assert_eq!(scaled_decimal("1e10", 0, 12), Ok(10_000_000_000));
        assert_eq!(scaled_decimal("25e-01", 0, 6), Ok(3));
        assert_eq!(scaled_decimal("1000000000000e-12", 0, 6), Ok(1));
        assert_eq!(scaled_decimal("1e+03", 0, 6), Ok(1_000));
    }

    #[test]
    fn amounts_print_as_decimals() {
        let weight = Weight::from_grams(300).unwrap();
        assert_eq!(
            (weight.to_string(), weight.kg_text()),
            ("0.3".into(), "0.300".into())
        );
        assert_eq!(serde_json::to_string(&weight).unwrap(), "0.3");
        assert_eq!(MicroKg(-673_700).to_string(), "-0.673700");
        assert_eq!(MicroKg(0).to_string(), "0.000000");
        assert_eq!(
            serde_json::to_string(&MicroKg(-673_700)).unwrap(),
            "-0.6737"
        );
        assert_eq!(
            [MicroKg(5), MicroKg(-7)].into_iter().sum::<MicroKg>(),
            MicroKg(-2)
        );
        assert_eq!(MicroKg(1) - MicroKg(3), MicroKg(-2));
    }

    #[test]
    fn degrees_are_checked_before_rounding() {
        let e6 = |text| Degrees::from_text(text, 90).map(Degrees::e6);
        assert_eq!(e6("13.7563"), Some(13_756_300));
        assert_eq!(e6("13.7563305"), Some(13_756_331));
        assert_eq!(e6("-13.7563305"), Some(-13_756_330));
        assert_eq!(e6("-90"), Some(-90_000_000));
        assert_eq!(e6("9e1"), Some(90_000_000));
        for text in ["90.00000000001", "-90.0000001", "1e9", "x", "180"] {
            assert_eq!(e6(text), None, "{text}");
        }
        assert_eq!(
            Degrees::from_text("-100.50180", 180).unwrap().to_string(),
            "-100.5018"
        );
        assert_eq!(
            serde_json::to_string(&Degrees::from_text("0.1", 90)).unwrap(),
            "0.1"
        );
    }
}
