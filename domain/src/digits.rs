//! The digits that people type. Phone numbers and codes share one parser, so that a keyboard that can type one can type the
//! other.

/// The zeros of the scripts in which the region's keyboards type digits; in Unicode the other nine digits follow each.
const ZEROS: [char; 9] = [
    '0', '\u{0660}', // Arabic-Indic
    '\u{06F0}', // Arabic-Indic, the eastern forms
    '\u{0E50}', // Thai
    '\u{0ED0}', // Lao
    '\u{1040}', // Myanmar
    '\u{1090}', // Shan, on keyboards of Myanmar and the north of Thailand
    '\u{17E0}', // Khmer
    '\u{FF10}', // full-width
];

/// Digits of an SMS code.
pub const CODE_DIGITS: usize = 6;

/// Longer than any number or code that people type; longer inputs are refused without parsing.
pub const MAX_INPUT_CHARS: usize = 64;

/// The ASCII digit of a character, if it is a digit of one of these scripts.
#[must_use]
pub fn digit(character: char) -> Option<char> {
    ZEROS.iter().find_map(|zero| {
        let value = u32::from(character).checked_sub(u32::from(*zero))?;
        char::from_digit(value, 10)
    })
}

/// Spaces, dashes, dots, slashes and brackets of every kind, and the invisible characters that copied text contains.
#[must_use]
pub fn is_separator(character: char) -> bool {
    character.is_whitespace()
        || matches!(character,
            '-' | '.' | '/' | '(' | ')' | '[' | ']' | '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}'
            | '\u{2010}'..='\u{2015}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{2212}' | '\u{30FC}'
            | '\u{3010}' | '\u{3011}' | '\u{FE63}' | '\u{FE0E}' | '\u{FE0F}' | '\u{FEFF}' | '\u{FF08}' | '\u{FF09}'
            | '\u{FF0D}' | '\u{FF0E}' | '\u{FF3B}' | '\u{FF3D}')
}

/// Parses a code of six digits in any usual notation: `123456`, `123 456`, `๑๒๓-๔๕๖`, `(123456)`. `None` for other texts.
#[must_use]
pub fn code(input: &str) -> Option<String> {
    let mut digits = String::with_capacity(CODE_DIGITS);
    for (at, character) in input.chars().enumerate() {
        if at >= MAX_INPUT_CHARS {
            return None;
        }
        match digit(character) {
            Some(digit) => digits.push(digit),
            None if is_separator(character) => {}
            None => return None,
        }
    }
    (digits.len() == CODE_DIGITS).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_parsed_in_every_script_of_the_region() {
        for typed in [
            "012345",
            "๐๑๒๓๔๕",
            "໐໑໒໓໔໕",
            "០១២៣៤៥",
            "၀၁၂၃၄၅",
            "႐႑႒႓႔႕",
            "٠١٢٣٤٥",
            "۰۱۲۳۴۵",
            "０１２３４５",
            "๐1２٣៤5",
        ] {
            assert_eq!(code(typed).as_deref(), Some("012345"), "{typed}");
        }
    }

    #[test]
    fn a_code_may_have_separators_and_invisible_characters_of_copied_text() {
        for typed in [
            " 012345\n",
            "012 345",
            "012-345",
            "0 1 2 3 4 5",
            "(012) 345",
            "[012345]",
            "【012345】",
            "（０１２）３４５",
            "\u{200B}012345\u{200B}",
            "\u{FEFF}012\u{2060}345",
            "012\u{A0}345",
            "\u{202A}012345\u{202C}",
            "012\u{2013}345",
        ] {
            assert_eq!(code(typed).as_deref(), Some("012345"), "{typed:?}");
        }
    }

    #[test]
    fn other_characters_or_another_number_of_digits_are_refused() {
        for typed in [
            "",
            " ",
            "12345",
            "1234567",
            "12345a",
            "+12345",
            "+123456",
            "12345\u{0}",
            "½23456",
            "１２３４５",
            "1234５६",
            "12,456",
        ] {
            assert_eq!(code(typed), None, "{typed:?}");
        }
        assert_eq!(
            code(&format!("{}123456", " ".repeat(MAX_INPUT_CHARS))),
            None
        );
        assert_eq!(
            code(&format!("{}123456", " ".repeat(58))).as_deref(),
            Some("123456")
        );
    }
}
