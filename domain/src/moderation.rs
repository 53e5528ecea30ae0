//! Which texts may be shown to other users: display names, user names, the texts of community challenges.
//!
//! A text is refused for hidden characters, and for words of the lists in `data/moderation.json` and of the operators'
//! own list. Spellings are folded for the comparison only: nothing is removed from a text, and nothing folded is stored.
//!
//! Latin words match as words: "Scunthorpe" contains no listed word. Thai is written without spaces, so a Thai word
//! matches clusters (a consonant with its vowels and tone marks) and never begins or ends inside one: แต่ด is not แตด.
//! What matches all the same by accident is in the list of allowed words, such as เชี่ยว, which begins with เชี่ย.

use std::collections::HashSet;
use std::sync::OnceLock;

use serde::Deserialize;
use unicode_normalization::char::is_combining_mark;

use crate::DomainError;
use crate::json::embedded;
use crate::text::{has_hidden_characters, place_in_cluster, search_key};

/// Most characters between letters that are written apart, as in "f . u . c . k".
const MAX_GAP: usize = 3;
/// Latin letters written apart are one word from this number on: shorter ones are initials.
const MIN_APART: usize = 4;
/// Folding repeats until nothing changes, which takes two or three rounds.
const MAX_FOLDS: usize = 8;

/// Lists of words: blocked ones, and allowed ones, which no blocked word may be found in.
///
/// A Latin word may begin and end with an asterisk, which stands for any letters: `*fuck*`.
#[derive(Debug, Default)]
pub struct WordLists {
    blocked: Vec<Pattern>,
    allowed: Vec<Pattern>,
}

impl WordLists {
    /// Lists of these words; those of which nothing can be compared are left out.
    pub fn new<'a>(
        blocked: impl IntoIterator<Item = &'a str>,
        allowed: impl IntoIterator<Item = &'a str>,
    ) -> WordLists {
        WordLists {
            blocked: blocked.into_iter().filter_map(Pattern::parse).collect(),
            allowed: allowed.into_iter().filter_map(Pattern::parse).collect(),
        }
    }

    fn compiled() -> &'static WordLists {
        #[derive(Deserialize)]
        struct Words {
            blocked: Vec<String>,
            allowed: Vec<String>,
        }
        static LISTS: OnceLock<WordLists> = OnceLock::new();
        LISTS.get_or_init(|| {
            let words: Words = embedded(include_str!("../data/moderation.json"));
            WordLists::new(
                words.blocked.iter().map(String::as_str),
                words.allowed.iter().map(String::as_str),
            )
        })
    }
}

/// Whether a word can be on a list: it has letters, and all of them are Latin or all are Thai.
#[must_use]
pub fn is_listable(word: &str) -> bool {
    Pattern::parse(word).is_some()
}

/// Checks a text that other users will see, against the compiled lists and the operators' own.
///
/// # Errors
/// [`DomainError::TextHasHiddenCharacters`], [`DomainError::TextNotAllowed`].
pub fn check(text: &str, own: &WordLists) -> Result<(), DomainError> {
    if has_hidden_characters(text) {
        return Err(DomainError::TextHasHiddenCharacters);
    }
    let lists = [WordLists::compiled(), own];
    let blocked = words_of(text).iter().any(|word| is_blocked(word, lists));
    if blocked {
        Err(DomainError::TextNotAllowed)
    } else {
        Ok(())
    }
}

fn is_blocked(word: &Word, lists: [&WordLists; 2]) -> bool {
    let blocked: Vec<Span> = lists
        .iter()
        .flat_map(|list| spans_of(&list.blocked, word))
        .collect();
    if blocked.is_empty() {
        return false;
    }
    let allowed: Vec<Span> = lists
        .iter()
        .flat_map(|list| spans_of(&list.allowed, word))
        .collect();
    let is_covered = |found: &Span| {
        allowed
            .iter()
            .any(|span| span.start <= found.start && found.end <= span.end)
    };
    !blocked.iter().all(is_covered)
}

fn spans_of(patterns: &[Pattern], word: &Word) -> Vec<Span> {
    patterns
        .iter()
        .flat_map(|pattern| pattern.spans_in(word))
        .collect()
}

type Span = std::ops::Range<usize>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Script {
    Latin,
    Thai,
}

/// A letter or cluster, and how often it stands in a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Run {
    unit: String,
    times: usize,
}

/// Letters or clusters without anything between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Word {
    script: Script,
    runs: Vec<Run>,
}

impl Word {
    fn new(script: Script, units: Vec<String>) -> Word {
        let mut runs: Vec<Run> = Vec::new();
        for unit in units {
            match runs.last_mut() {
                Some(last) if last.unit == unit => last.times += 1,
                _ => runs.push(Run { unit, times: 1 }),
            }
        }
        Word { script, runs }
    }

    fn is_one_unit(&self) -> bool {
        matches!(self.runs.as_slice(), [Run { times: 1, .. }])
    }
}

/// A listed word.
#[derive(Debug)]
struct Pattern {
    word: Word,
    /// Whether other letters may come before and after it.
    open_start: bool,
    open_end: bool,
}

impl Pattern {
    fn parse(text: &str) -> Option<Pattern> {
        let text = text.trim();
        let inner = text.strip_prefix('*').unwrap_or(text);
        let inner = inner.strip_suffix('*').unwrap_or(inner);
        let mut pieces = pieces_of(&fold(inner), &|_| None);
        let word = match (pieces.pop(), pieces.is_empty()) {
            (Some(piece), true) => piece.word,
            _ => return None,
        };
        let is_thai = word.script == Script::Thai;
        Some(Pattern {
            open_start: is_thai || text.starts_with('*'),
            open_end: is_thai || text.ends_with('*'),
            word,
        })
    }

    /// Where the listed word stands in another: the same letters, each at least as often in a row.
    fn spans_in(&self, word: &Word) -> Vec<Span> {
        let (own, runs) = (&self.word.runs, &word.runs);
        if self.word.script != word.script || own.len() > runs.len() {
            return Vec::new();
        }
        let last = runs.len() - own.len();
        (0..=last)
            .filter(|start| (self.open_start || *start == 0) && (self.open_end || *start == last))
            .filter(|start| {
                let part = &runs[*start..*start + own.len()];
                own.iter()
                    .zip(part)
                    .all(|(own, run)| own.unit == run.unit && own.times <= run.times)
            })
            .map(|start| start..start + own.len())
            .collect()
    }
}

/// A word where it stands in a text.
struct Piece {
    word: Word,
    /// Other characters since the last piece.
    gap: usize,
}

/// Every way to read a text as words.
fn words_of(text: &str) -> HashSet<Word> {
    // Digits and signs as separators, digits as letters, both as letters.
    let readings: [fn(char) -> Option<char>; 3] = [|_| None, letter_of_digit, letter_of_sign];
    let mut words = HashSet::new();
    for text in [fold(text), fold(&with_cases_apart(text))] {
        for reading in readings {
            let pieces = pieces_of(&text, &reading);
            words.extend(written_apart(&pieces));
            words.extend(pieces.into_iter().map(|piece| piece.word));
        }
    }
    words
}

/// Words of which each letter or cluster stands alone: "f u c k", "ค.ว.ย".
fn written_apart(pieces: &[Piece]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut units: Vec<String> = Vec::new();
    let mut script = Script::Latin;
    let mut end = |script, units: &mut Vec<String>| {
        let enough = match script {
            Script::Latin => MIN_APART,
            Script::Thai => 2,
        };
        if units.len() >= enough {
            words.push(Word::new(script, units.clone()));
        }
        units.clear();
    };
    for piece in pieces {
        if piece.gap > MAX_GAP || piece.word.script != script || !piece.word.is_one_unit() {
            end(script, &mut units);
        }
        if piece.word.is_one_unit() {
            script = piece.word.script;
            units.push(piece.word.runs[0].unit.clone());
        }
    }
    end(script, &mut units);
    words
}

/// Splits a folded text into words. `reading`: the letter that a digit or sign stands for.
fn pieces_of(folded: &str, reading: &dyn Fn(char) -> Option<char>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut units, mut script, mut gap): (Vec<String>, _, _) = (Vec::new(), Script::Latin, 0);
    let mut end = |units: &mut Vec<String>, script, gap: &mut usize| {
        if !units.is_empty() {
            pieces.push(Piece {
                word: Word::new(script, std::mem::take(units)),
                gap: *gap,
            });
            *gap = 0;
        }
    };
    let characters: Vec<char> = folded.chars().collect();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let (unit_script, length) = match cluster_length(&characters[at..]) {
            0 => (Script::Latin, 1),
            length => (Script::Thai, length),
        };
        let unit: Option<String> = match unit_script {
            Script::Thai => Some(characters[at..at + length].iter().collect()),
            Script::Latin if character.is_ascii_lowercase() => Some(character.to_string()),
            Script::Latin => reading(character).map(String::from),
        };
        at += length;
        match unit {
            Some(unit) => {
                if script != unit_script {
                    end(&mut units, script, &mut gap);
                }
                script = unit_script;
                units.push(if unit == "l" { "i".to_owned() } else { unit });
            }
            None => {
                end(&mut units, script, &mut gap);
                gap += 1;
            }
        }
    }
    end(&mut units, script, &mut gap);
    pieces
}

/// Characters of the Thai cluster at the beginning: a vowel before the consonant, the consonant, its marks, a vowel after
/// it. 0 if there is none.
fn cluster_length(characters: &[char]) -> usize {
    let leading = usize::from(matches!(characters.first(), Some('\u{E40}'..='\u{E44}')));
    if !matches!(characters.get(leading), Some('\u{E01}'..='\u{E2E}')) {
        return 0;
    }
    let rest = &characters[leading + 1..];
    let marks = rest
        .iter()
        .take_while(|character| place_in_cluster(**character).is_some())
        .count();
    leading + 1 + marks + usize::from(rest.get(marks) == Some(&'\u{E30}'))
}

fn letter_of_digit(character: char) -> Option<char> {
    Some(match character {
        '0' => 'o',
        '1' => 'i',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        '8' => 'b',
        _ => return None,
    })
}

fn letter_of_sign(character: char) -> Option<char> {
    Some(match character {
        '@' => 'a',
        '$' => 's',
        '!' | '|' => 'i',
        '+' => 't',
        _ => return letter_of_digit(character),
    })
}

/// The text with a space before each capital that follows a small letter: "BadWord" has two words.
fn with_cases_apart(text: &str) -> String {
    let mut apart = String::with_capacity(text.len());
    let mut after_small = false;
    for character in text.chars() {
        if after_small && character.is_uppercase() {
            apart.push(' ');
        }
        after_small = character.is_lowercase();
        apart.push(character);
    }
    apart
}

/// A text in the form in which words are compared: that of searches, and letters of other scripts as the Latin ones they
/// look like, without accents. Folding a folded text changes nothing.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut folded = fold_once(text);
    for _ in 1..MAX_FOLDS {
        let next = fold_once(&folded);
        if next == folded {
            break;
        }
        folded = next;
    }
    folded
}

fn fold_once(text: &str) -> String {
    let key = search_key(text);
    let mut folded = String::with_capacity(key.len());
    for character in key.chars() {
        match character {
            // LAKKHANGYAO looks like SARA AA.
            '\u{E45}' => folded.push('\u{E32}'),
            '\u{E00}'..='\u{E7F}' => folded.push(character),
            _ if character.is_ascii() => folded.push(character),
            _ if is_combining_mark(character) => {}
            _ => {
                let mut buffer = [0; 4];
                let alike = unicode_security::skeleton(character.encode_utf8(&mut buffer));
                folded.extend(alike.filter(|character| !is_combining_mark(*character)));
            }
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(text: &str) -> bool {
        check(text, &WordLists::default()) == Err(DomainError::TextNotAllowed)
    }

    #[test]
    fn every_listed_word_can_be_compared_and_is_refused() {
        #[derive(Deserialize)]
        struct Words {
            blocked: Vec<String>,
            allowed: Vec<String>,
        }
        let words: Words = embedded(include_str!("../data/moderation.json"));
        for word in &words.blocked {
            assert!(is_listable(word), "{word}");
            assert!(is_refused(&word.replace('*', "")), "{word}");
        }
        for word in &words.allowed {
            assert!(is_listable(word), "{word}");
            assert!(!is_refused(word), "{word}");
        }
    }

    #[test]
    fn operators_add_words_of_both_kinds() {
        let own = WordLists::new(["durian*", "ทุเรียน"], ["durians", "หี"]);
        for text in ["Durian", "durianlover", "รักทุเรียนมาก"] {
            assert_eq!(
                check(text, &own),
                Err(DomainError::TextNotAllowed),
                "{text}"
            );
        }
        for text in ["durians", "หี", "ทุเร"] {
            assert_eq!(check(text, &own), Ok(()), "{text}");
        }
        // An allowed word covers what is in it, and nothing beside it.
        assert!(check("หีควย", &own).is_err());
    }

    #[test]
    fn a_listed_word_is_one_word_of_one_script() {
        for word in ["ก", "a", "*a*", " word "] {
            assert!(is_listable(word), "{word}");
        }
        for word in ["", "*", "**", "two words", "aก", "12", "😀", "a*b"] {
            assert!(!is_listable(word), "{word}");
        }
    }

    #[test]
    fn a_cluster_is_a_consonant_with_what_belongs_to_it() {
        let clusters = |text: &str| {
            let folded: Vec<char> = fold(text).chars().collect();
            let mut at = 0;
            let mut lengths = Vec::new();
            while at < folded.len() {
                let length = cluster_length(&folded[at..]);
                lengths.push(length);
                at += length.max(1);
            }
            lengths
        };
        // เหี้ + ย; น้ำ as น + NIKHAHIT, tone, SARA AA; เกาะ has its vowel around the consonant.
        assert_eq!(clusters("เหี้ย"), [4, 1]);
        assert_eq!(clusters("น้ำ"), [4]);
        assert_eq!(clusters("เกาะ"), [4]);
        assert_eq!(clusters("กข"), [1, 1]);
        assert_eq!(clusters("aะ"), [0, 0]);
    }

    #[test]
    fn capitals_begin_words() {
        assert_eq!(with_cases_apart("BadWordABC"), "Bad Word ABC");
        assert_eq!(with_cases_apart("สวัสดีA"), "สวัสดีA");
    }
}
