//! Names that other users read, on boards and in lists of friends.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::characters::{
    changes_direction, is_filler, is_flag_tag, is_ignorable, is_joined, is_noncharacter,
    is_variation_selector,
};

/// Longest name, in Unicode scalar values.
pub const MAX_NAME_CHARS: usize = 100;

const ZERO_WIDTH_NON_JOINER: char = '\u{200C}';
const ZERO_WIDTH_JOINER: char = '\u{200D}';
const BLACK_FLAG: char = '\u{1F3F4}';

/// A name as it is stored: composed (NFC), trimmed, and without characters that have no effect in their place. Joiners and
/// selectors remain where they shape an emoji or a letter.
///
/// `None` for a text that cannot be a name: longer than 100 characters, nothing visible in it, or with control
/// characters, line or paragraph separators, direction marks, fillers or noncharacters.
#[must_use]
pub fn name(text: &str) -> Option<String> {
    if text.chars().any(is_refused) {
        return None;
    }
    let shown = composed_without_idle(text);
    let name = shown.trim();
    let fits = name.chars().count() <= MAX_NAME_CHARS;
    (fits && name.chars().any(is_visible)).then(|| name.to_owned())
}

/// Whether a text that is not a name has characters which readers cannot see in it: those that a name may not have (except
/// line breaks), and those that have no effect in their place. Joiners and selectors that shape an emoji or a letter are not
/// hidden.
#[must_use]
pub fn has_hidden_characters(text: &str) -> bool {
    text.chars()
        .any(|character| character != '\n' && is_refused(character))
        || composed_without_idle(text) != text.nfc().collect::<String>()
}

fn is_refused(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}')
        || changes_direction(character)
        || is_filler(character)
        || is_noncharacter(character)
}

/// Whether a character is visible on its own; a mark alone would be drawn on its neighbour.
fn is_visible(character: char) -> bool {
    !character.is_whitespace() && !is_ignorable(character) && !is_combining_mark(character)
}

/// The text composed (NFC) and without characters that have no effect in their place.
///
/// Removing a character lets NFC reorder marks, and reordered marks can leave a joiner without effect. So this repeats
/// until nothing changes, which makes it idempotent: a stored name is stored unchanged when it is sent again.
fn composed_without_idle(text: &str) -> String {
    let mut composed: String = text.nfc().collect();
    loop {
        let characters: Vec<char> = composed.chars().collect();
        let shown: String = without_idle(&characters).into_iter().nfc().collect();
        if shown == composed {
            return shown;
        }
        composed = shown;
    }
}

/// The characters without those that have no effect in their place.
fn without_idle(characters: &[char]) -> Vec<char> {
    let mut remaining: Vec<char> = Vec::with_capacity(characters.len());
    for (at, &character) in characters.iter().enumerate() {
        let stays = !is_ignorable(character) || {
            let next = characters.get(at + 1).copied();
            has_effect(character, &remaining, next)
        };
        if stays {
            remaining.push(character);
        }
    }
    remaining
}

/// Whether an invisible character changes how those around it are drawn.
fn has_effect(character: char, before: &[char], next: Option<char>) -> bool {
    let Some(&last) = before.last() else {
        return false;
    };
    if is_variation_selector(character) {
        return is_visible(last);
    }
    if is_flag_tag(character) {
        return last == BLACK_FLAG || is_flag_tag(last);
    }
    matches!(character, ZERO_WIDTH_JOINER | ZERO_WIDTH_NON_JOINER)
        && (is_joined(last) || is_variation_selector(last))
        && next.is_some_and(is_joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_names_are_stored_as_they_are_typed() {
        for text in [
            "สมชาย ใจดี",
            "น้ำผึ้ง",
            "José",
            "Nguyễn Thị Ánh",
            "山田",
            "ที่รัก 😀",
            "👩🏽‍⚕️",
            "👨‍👩‍👧",
            "❤️‍🔥",
            "1️⃣",
            "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
            "می‌خواهم",
            "ක්‍ෂ",
            "O'Neil-Smith",
            "๙๙",
        ] {
            assert_eq!(name(text).as_deref(), Some(text), "{text:?}");
        }
    }

    #[test]
    fn characters_without_effect_are_removed() {
        for (text, stored) in [
            ("  ส้ม\u{3000}", "ส้ม"),
            ("สม\u{200B}ชาย", "สมชาย"),
            ("\u{FEFF}Ann", "Ann"),
            ("ad\u{200D}min", "admin"),
            ("ad\u{200C}min", "admin"),
            ("so\u{AD}ft", "soft"),
            ("Ann\u{2060}\u{200B} ", "Ann"),
            ("😀\u{200D}", "😀"),
            ("😀\u{200D}a", "😀a"),
            ("\u{FE0F}a", "a"),
            ("a \u{FE0F}b", "a b"),
            // Between emoji only joiners have an effect.
            ("😀\u{200B}😀", "😀😀"),
            ("😀\u{2060}😀", "😀😀"),
            ("a\u{E0041}", "a"),
            ("Jose\u{301}", "José"),
            // Without the character between them the marks change places, and the joiner has nothing to join.
            ("a\u{E48}\u{200B}\u{94D}\u{200C}b", "a\u{94D}\u{E48}b"),
        ] {
            assert_eq!(name(text).as_deref(), Some(stored), "{text:?}");
        }
    }

    #[test]
    fn names_with_invisible_reordering_or_noncharacters_are_refused() {
        for text in [
            "",
            " ",
            "\u{A0}\u{3000}",
            "\u{200B}",
            "\u{200D}\u{FE0F}",
            "\u{3164}",
            "\u{115F}a",
            "a\u{FFA0}",
            "\u{2800}",
            "\u{E48}",
            "\u{E35}\u{E48}",
            "\u{301}",
            "a\u{202E}b",
            "a\u{200F}",
            "\u{2067}a\u{2069}",
            "\u{61C}a",
            "a\u{2028}b",
            "a\u{2029}",
            "a\nb",
            "a\tb",
            "\0",
            "a\u{7F}",
            "a\u{85}",
            "a\u{FFFE}",
            "\u{FDD0}a",
            "a\u{10FFFF}",
            "\u{FFFC}",
            "\u{FFF9}a\u{FFFB}",
        ] {
            assert_eq!(name(text), None, "{text:?}");
        }
    }

    #[test]
    fn hidden_characters_are_found_and_joined_emoji_are_not_hidden() {
        for text in [
            "สม\u{200B}ชาย",
            "ad\u{200D}min",
            "\u{FEFF}a",
            "a\u{202E}b",
            "\u{2067}a\u{2069}",
            "\u{3164}",
            "a\u{AD}b",
            "a\tb",
            "a\r\nb",
            "a\0",
        ] {
            assert!(has_hidden_characters(text), "{text:?}");
        }
        for text in [
            "",
            "two\nlines",
            "👩🏽‍⚕️",
            "❤️‍🔥",
            "می‌خواهم",
            "Jose\u{301}",
            "น้ำ",
            "ก ข",
        ] {
            assert!(!has_hidden_characters(text), "{text:?}");
        }
    }

    #[test]
    fn a_hundred_characters_fit_and_no_more() {
        assert_eq!(name(&"ก".repeat(100)), Some("ก".repeat(100)));
        assert_eq!(name(&"ก".repeat(101)), None);
        // Removed characters do not count.
        assert_eq!(name(&"ก\u{200B}".repeat(100)), Some("ก".repeat(100)));
    }
}
