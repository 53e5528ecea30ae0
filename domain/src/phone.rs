//! Thai mobile numbers: every way people type them, to E.164.
//!
//! Numbering after libphonenumber's metadata for TH: mobiles have nine digits after the trunk 0.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::DomainError;

/// Thailand's country calling code.
pub const COUNTRY_CODE: &str = "66";

/// More than anybody types for one number; longer inputs are refused unread.
const MAX_INPUT_CHARS: usize = 64;

/// A Thai mobile number. Only [`normalize`] makes one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone(String);

impl Phone {
    /// E.164, for example `+66812345678`.
    #[must_use]
    pub fn e164(&self) -> &str {
        &self.0
    }

    /// The digits of E.164 without the plus, as the auth server keeps them.
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
    /// E.164. Logs want [`Phone::masked`].
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Phone {
    /// Masked, because debug output ends in logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Phone({})", self.masked())
    }
}

impl Serialize for Phone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Reads a Thai mobile number in any usual writing.
///
/// Understands `0812345678`, `081-234-5678`, `+66 81 234 5678`, `0066…`, `66…`, `+66(0)81…`, `812345678`, `tel:`, Thai
/// and full-width digits, and every kind of space and dash. `country_code` (default 66) applies to numbers written
/// without one; `66`, `+66`, `0066` and `TH` are the same, any other is refused.
///
/// # Errors
/// [`DomainError::PhoneRequired`] (nothing typed), [`DomainError::PhoneInvalid`] (no phone number),
/// [`DomainError::PhoneForeign`], [`DomainError::PhoneTooShort`], [`DomainError::PhoneTooLong`],
/// [`DomainError::PhoneLandline`], [`DomainError::PhoneVoip`] (060, 068), [`DomainError::PhoneNotMobile`].
pub fn normalize(input: &str, country_code: Option<&str>) -> Result<Phone, DomainError> {
    let typed = Typed::read(input)?;
    if let Some(code) = country_code
        && !is_thai_country_code(code)
    {
        return Err(DomainError::PhoneForeign);
    }
    let subscriber = typed.subscriber()?;
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

/// What was typed, reduced to digits and to whether a plus stood first.
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

    /// The digits after the country code and the trunk 0.
    fn subscriber(&self) -> Result<&str, DomainError> {
        let digits = self.digits.as_str();
        let international = if self.plus {
            Some(digits)
        } else {
            digits.strip_prefix("00")
        };
        if let Some(international) = international {
            let rest = international
                .strip_prefix(COUNTRY_CODE)
                .ok_or(DomainError::PhoneForeign)?;
            // People leave the trunk 0 in: +66 (0)81 …
            return Ok(rest.strip_prefix('0').unwrap_or(rest));
        }
        if let Some(national) = digits.strip_prefix('0') {
            return Ok(national);
        }
        // Nine digits are a number without its trunk 0, also when they begin with 66 (066 …).
        match digits.strip_prefix(COUNTRY_CODE) {
            Some(rest) if digits.len() > 9 => Ok(rest.strip_prefix('0').unwrap_or(rest)),
            _ => Ok(digits),
        }
    }
}

/// ASCII, Thai (๐–๙) and full-width (０–９) digits.
fn digit(character: char) -> Option<char> {
    let value = match character {
        '0'..='9' => character as u32 - '0' as u32,
        '๐'..='๙' => character as u32 - '๐' as u32,
        '\u{FF10}'..='\u{FF19}' => character as u32 - 0xFF10,
        _ => return None,
    };
    char::from_digit(value, 10)
}

fn is_plus(character: char) -> bool {
    matches!(character, '+' | '\u{FF0B}')
}

/// Spaces, dashes, dots, slashes and brackets of every kind, and the invisible marks that come along when copying.
fn is_separator(character: char) -> bool {
    character.is_whitespace()
        || matches!(character,
            '-' | '.' | '/' | '(' | ')' | '\u{AD}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{30FC}' | '\u{FE63}'
            | '\u{FF08}' | '\u{FF09}' | '\u{FF0D}' | '\u{FF0E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// Judges the digits after the trunk 0 by Thailand's numbering plan.
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
    fn logs_see_three_digits() {
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
    fn an_endless_input_is_refused_unread() {
        assert_eq!(
            normalize(&"0".repeat(1 << 20), None),
            Err(DomainError::PhoneTooLong)
        );
    }
}
