//! Thai mobile numbers, from every way people type them to E.164.
//!
//! Numbering after libphonenumber's metadata for TH: mobiles have nine digits after the trunk 0.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::digits::{MAX_INPUT_CHARS, digit, is_separator};
use crate::error::DomainError;

/// Thailand's country calling code.
pub const COUNTRY_CODE: &str = "66";

/// A Thai mobile number. Only [`normalize`] creates one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone(String);

impl Phone {
    /// E.164, for example `+66812345678`.
    #[must_use]
    pub fn e164(&self) -> &str {
        &self.0
    }

    /// The digits of E.164 without the plus, as Auth stores them.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.0[1..]
    }

    /// The number with only its last three digits, for logs and screens: `+66******678`.
    #[must_use]
    pub fn masked(&self) -> String {
        format!("+66******{}", &self.0[self.0.len() - 3..])
    }
}

impl fmt::Display for Phone {
    /// E.164. For logs use [`Phone::masked`].
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Phone {
    /// Masked, because debug output ends up in logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Phone({})", self.masked())
    }
}

impl Serialize for Phone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Parses a Thai mobile number in any usual notation.
///
/// Understands `0812345678`, `081-234-5678`, `+66 81 234 5678`, `0066…`, `66…`, `+66(0)81…`, `812345678`, `tel:`, the
/// digits of every script in [`crate::digits`], and every kind of space, dash and bracket. `country_code` (default 66)
/// applies to numbers written without one; `66`, `+66`, `0066` and `TH` are the same, any other is refused.
///
/// # Errors
/// [`DomainError::PhoneRequired`] (nothing typed), [`DomainError::PhoneInvalid`] (not a phone number),
/// [`DomainError::PhoneForeign`], [`DomainError::PhoneTooShort`], [`DomainError::PhoneTooLong`],
/// [`DomainError::PhoneLandline`], [`DomainError::PhoneVoip`] (060, 068), [`DomainError::PhoneNotMobile`].
pub fn normalize(input: &str, country_code: Option<&str>) -> Result<Phone, DomainError> {
    let typed = Typed::read(input)?;
    let subscriber = match typed.international()? {
        Some(subscriber) => subscriber,
        None if country_code.is_none_or(is_thai_country_code) => typed.national(),
        None => return Err(DomainError::PhoneForeign),
    };
    check_mobile(subscriber)?;
    Ok(Phone(format!("+{COUNTRY_CODE}{subscriber}")))
}

fn is_thai_country_code(code: &str) -> bool {
    let code = code.trim();
    if code.is_empty() || code.eq_ignore_ascii_case("TH") {
        return true;
    }
    Typed::read(code).is_ok_and(|typed| matches!(typed.digits.as_str(), "66" | "0066"))
}

/// What was typed, reduced to its digits and whether a plus came first.
struct Typed {
    plus: bool,
    digits: String,
}

impl Typed {
    fn read(input: &str) -> Result<Typed, DomainError> {
        let input = input.trim_matches(is_separator);
        let input = match input.get(..4) {
            Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &input[4..],
            _ => input,
        };
        if input.is_empty() {
            return Err(DomainError::PhoneRequired);
        }
        let mut typed = Typed {
            plus: false,
            digits: String::new(),
        };
        for (at, character) in input.chars().enumerate() {
            if at >= MAX_INPUT_CHARS {
                return Err(DomainError::PhoneTooLong);
            }
            match digit(character) {
                Some(digit) => typed.digits.push(digit),
                None if is_plus(character) && !typed.plus && typed.digits.is_empty() => {
                    typed.plus = true
                }
                None if is_separator(character) => {}
                None => return Err(DomainError::PhoneInvalid),
            }
        }
        if typed.digits.is_empty() {
            Err(DomainError::PhoneInvalid)
        } else {
            Ok(typed)
        }
    }

    /// The digits after the country code and the trunk 0 of a number that is written with a country code.
    fn international(&self) -> Result<Option<&str>, DomainError> {
        let digits = self.digits.as_str();
        let marked = if self.plus {
            Some(digits)
        } else {
            digits.strip_prefix("00")
        };
        let subscriber = match marked {
            Some(marked) => marked
                .strip_prefix(COUNTRY_CODE)
                .ok_or(DomainError::PhoneForeign)?,
            // Nine digits are a number without its trunk 0, even if they begin with 66 (066 …).
            None => match digits.strip_prefix(COUNTRY_CODE) {
                Some(rest) if digits.len() > 9 => rest,
                _ => return Ok(None),
            },
        };
        // People write the trunk 0 here, too: +66 (0)81 …
        Ok(Some(subscriber.strip_prefix('0').unwrap_or(subscriber)))
    }

    /// The digits after the trunk 0 of a number that is written without a country code.
    fn national(&self) -> &str {
        self.digits.strip_prefix('0').unwrap_or(&self.digits)
    }
}

fn is_plus(character: char) -> bool {
    matches!(character, '+' | '\u{FF0B}')
}

/// Checks the digits after the trunk 0 by Thailand's numbering plan.
fn check_mobile(subscriber: &str) -> Result<(), DomainError> {
    let digits = subscriber.as_bytes();
    match digits {
        // Landlines have eight digits: 2 for Bangkok, 3, 4, 5, 7 elsewhere.
        [b'2'..=b'5' | b'7', ..] if digits.len() == 8 => Err(DomainError::PhoneLandline),
        _ if digits.len() < 9 => Err(DomainError::PhoneTooShort),
        _ if digits.len() > 9 => Err(DomainError::PhoneTooLong),
        [b'6', b'0' | b'8', ..] => Err(DomainError::PhoneVoip),
        [b'6', b'7', b'1', b'0'..=b'8', ..] | [b'6', b'7', b'2', b'4'..=b'7', ..] => Ok(()),
        [b'1', b'4', ..] | [b'6', b'1'..=b'6', ..] | [b'8' | b'9', ..] => Ok(()),
        _ => Err(DomainError::PhoneNotMobile),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_show_the_last_three_digits_only() {
        let phone = normalize("081 234 5678", None).unwrap();
        assert_eq!(phone.masked(), "+66******678");
        assert_eq!(format!("{phone:?}"), "Phone(+66******678)");
        assert_eq!(
            (phone.to_string().as_str(), phone.digits()),
            ("+66812345678", "66812345678")
        );
        assert_eq!(serde_json::to_string(&phone).unwrap(), "\"+66812345678\"");
    }

    #[test]
    fn only_thailand_is_served() {
        for code in ["66", "+66", "0066", "TH", "th", " 66 ", "", "๖๖"] {
            assert!(normalize("0812345678", Some(code)).is_ok(), "{code}");
        }
        for code in ["1", "+1", "LA", "666", "x"] {
            assert_eq!(
                normalize("0812345678", Some(code)),
                Err(DomainError::PhoneForeign),
                "{code}"
            );
        }
    }

    #[test]
    fn the_country_code_applies_only_to_numbers_without_one() {
        for number in [
            "+66 81 234 5678",
            "0066812345678",
            "66812345678",
            "๖๖๘๑๒๓๔๕๖๗๘",
        ] {
            for code in ["1", "+1", "LA", "x"] {
                assert!(normalize(number, Some(code)).is_ok(), "{number} {code}");
            }
        }
        for number in ["+1 415 555 0100", "00856 20 1234 5678"] {
            assert_eq!(
                normalize(number, Some("66")),
                Err(DomainError::PhoneForeign),
                "{number}"
            );
        }
        assert_eq!(
            normalize("662345678", Some("1")),
            Err(DomainError::PhoneForeign)
        );
    }

    #[test]
    fn an_endless_input_is_refused_without_parsing() {
        assert_eq!(
            normalize(&"0".repeat(1 << 20), None),
            Err(DomainError::PhoneTooLong)
        );
    }
}
