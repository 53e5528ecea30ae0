//! When a text contains what a user searches for.
//!
//! Spellings that look the same are equal: in another case, composed or not, full-width letters, zero-width
//! characters between words, the marks of a Thai consonant typed in another order, SARA AM taken apart, SARA AE typed as
//! two SARA E.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, is_combining_mark};

use super::characters::{is_ignorable, place_among_marks};

const SARA_AM: char = '\u{E33}';
const NIKHAHIT: char = '\u{E4D}';
const SARA_AA: char = '\u{E32}';
const SARA_E: char = '\u{E40}';
const LAO_VOWEL_E: char = '\u{EC0}';

/// A text in the form in which it is compared: equal for spellings that look the same.
#[must_use]
pub fn search_key(text: &str) -> String {
    let mut key = Key::with_capacity(text.len());
    if text.chars().all(is_plain) {
        for character in text.chars() {
            match character {
                SARA_AM => {
                    key.push(NIKHAHIT);
                    key.push(SARA_AA);
                }
                other => key.push(other.to_ascii_lowercase()),
            }
        }
    } else {
        // Lower case may decompose further ('İ'), but never composes.
        let lower = text.nfkd().flat_map(char::to_lowercase);
        for character in lower.nfkd().filter(|character| !is_ignorable(*character)) {
            key.push(character);
        }
    }
    key.finish()
}

/// Whether a text contains a search text, given as its [`search_key`].
#[must_use]
pub fn contains(text: &str, key: &str) -> bool {
    // ASCII stays ASCII: it cannot contain a Thai word.
    if text.is_ascii() && !key.is_ascii() {
        return false;
    }
    search_key(text).contains(key)
}

/// ASCII and Thai, for which this file contains what Unicode's tables say.
fn is_plain(character: char) -> bool {
    character.is_ascii() || ('\u{E00}'..='\u{E7F}').contains(&character)
}

fn is_mark(character: char) -> bool {
    place_among_marks(character).is_some() || (!is_plain(character) && is_combining_mark(character))
}

/// The sort key of a mark: those of other scripts first, in Unicode's order, then Thai and Lao ones in typing order.
fn place(mark: char) -> (u8, u8, char) {
    match place_among_marks(mark) {
        Some(place) => (place, 0, mark),
        None => (0, canonical_combining_class(mark), '\0'),
    }
}

/// Collects characters and puts the marks of each consonant into one order.
struct Key {
    text: String,
    /// The marks since the last other character.
    marks: Vec<char>,
    last: Option<char>,
}

impl Key {
    fn with_capacity(bytes: usize) -> Key {
        Key {
            text: String::with_capacity(bytes),
            marks: Vec::new(),
            last: None,
        }
    }

    fn push(&mut self, character: char) {
        if is_mark(character) {
            self.marks.push(character);
            self.last = None;
            return;
        }
        self.end_marks();
        match (self.last, character) {
            // เ เ looks like แ.
            (Some(SARA_E), SARA_E) => self.replace_last('\u{E41}'),
            (Some(LAO_VOWEL_E), LAO_VOWEL_E) => self.replace_last('\u{EC1}'),
            _ => {
                self.text.push(character);
                self.last = Some(character);
            }
        }
    }

    fn replace_last(&mut self, character: char) {
        self.text.pop();
        self.text.push(character);
        self.last = Some(character);
    }

    /// Sorts the pending marks, because those of one consonant look the same in any order.
    fn end_marks(&mut self) {
        self.marks.sort_by_key(|mark| place(*mark));
        self.text.extend(self.marks.drain(..));
    }

    fn finish(mut self) -> String {
        self.end_marks();
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_look_the_same_have_one_key() {
        for writings in [
            // Tone and vowel in either order; SARA AM whole or decomposed, with the tone before, between and after.
            &[
                "น้ำ",
                "น\u{E4D}\u{E49}\u{E32}",
                "น\u{E49}\u{E4D}\u{E32}",
                "น\u{E33}\u{E49}",
            ][..],
            &["กี่", "ก\u{E48}\u{E35}"],
            &["กุ้ง", "ก\u{E49}\u{E38}ง"],
            // The mark of a silent letter comes last, even when it was typed before the mark of a nasal.
            &["สิทธิ์", "สิทธ\u{E4C}\u{E34}"],
            &["ກ\u{EB4}\u{ECC}", "ກ\u{ECC}\u{EB4}"],
            &["ก\u{E4C}\u{E4D}", "ก\u{E4D}\u{E4C}"],
            &["แก้ว", "เเก้ว", "เ\u{200B}เก้ว"],
            &["ขวดน้ำ", "ขวด\u{200B}น้ำ", "ขวด\u{2060}น\u{FEFF}้ำ"],
            &["José", "Jose\u{301}", "JOSÉ", "jose\u{301}"],
            &["PET 1", "ＰＥＴ\u{3000}１", "pet\u{A0}1"],
            &["ແກ້ວ", "ເເກ້ວ"],
            &["ນ້ຳ", "ນ\u{ECD}\u{EC9}\u{EB2}"],
            &["👨‍👩‍👧", "👨👩👧"],
            &["İ", "i\u{307}"],
        ] {
            for writing in writings {
                assert_eq!(search_key(writing), search_key(writings[0]), "{writing:?}");
            }
        }
    }

    #[test]
    fn different_words_have_different_keys() {
        for (one, other) in [
            ("กา", "ก่า"),
            ("นำ", "น้ำ"),
            ("แก", "เก"),
            ("e", "é"),
            ("ขาว", "ข้าว"),
            ("1", "๑"),
        ] {
            assert_ne!(search_key(one), search_key(other), "{one} {other}");
        }
    }

    #[test]
    fn a_part_is_found_while_it_is_typed() {
        let found = |text: &str, typed: &str| contains(text, &search_key(typed));
        for typed in ["น", "น้", "น้ำ", "น\u{E33}\u{E49}", "ำ", "ด น", "ขวด"]
        {
            assert!(found("ขวด น้ำ", typed), "{typed}");
        }
        // An accent belongs to its letter, regardless of what follows.
        assert!(found("José山", "José") && found("é山", "e\u{301}") && found("é山", "山"));
        assert!(found("ขวด PET", "pet") && found("100% (a_b)", "% (a_"));
        assert!(!found("ขวด", "ขวดน้ำ") && !found("plastic", "ขวด") && !found("a_b", "a%"));
    }
}
