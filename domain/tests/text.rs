//! Rules that hold for every name and every search, regardless of what people type.
#![cfg(feature = "unicode-tables")]

use carbon_domain::moderation::{WordLists, check, fold, is_listable};
use carbon_domain::profile::parse_changes;
use carbon_domain::text::{contains, name, search_key};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Texts in which characters that are easy to get wrong are mixed with any others.
fn any_text() -> impl Strategy<Value = String> {
    let odd: Vec<char> =
        "aAé เแกน้ำ็์ีุึฺํา่๊ັ້ຳເ\u{301}\u{345}\u{200B}\u{200C}\u{200D}\u{FE0F}\u{2060}\u{FEFF}\u{AD}\u{34F}\
                          \u{E0041}\u{E007F}🏴👩⚕❤क्‍षمی\u{2329}\u{3000}ＡİΣ"
            .chars()
            .collect();
    let character = prop_oneof![
        6 => proptest::sample::select(odd),
        1 => any::<char>(),
    ];
    proptest::collection::vec(character, 0..24).prop_map(String::from_iter)
}

const NO_WORDS: [&str; 0] = [];

fn stored(field: &str, value: &Value) -> Option<Value> {
    let changes = parse_changes(&json!({field: value})).ok()?;
    changes.get(field).cloned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn a_stored_name_is_stored_unchanged_when_sent_again(text in any_text()) {
        if let Some(stored) = name(&text) {
            prop_assert_eq!(name(&stored), Some(stored.clone()));
            prop_assert!((1..=100).contains(&stored.chars().count()));
            prop_assert_eq!(stored.trim(), stored.as_str());
        }
    }

    #[test]
    fn what_get_answers_can_be_put_back(text in any_text()) {
        for field in ["display_name", "district", "username", "theme", "language"] {
            if let Some(first) = stored(field, &json!(text)) {
                prop_assert_eq!(stored(field, &first), Some(first.clone()));
            }
        }
    }

    #[test]
    fn the_key_of_a_key_is_the_key(text in any_text()) {
        let key = search_key(&text);
        prop_assert_eq!(search_key(&key), key);
    }

    #[test]
    fn composed_and_decomposed_texts_and_those_with_invisible_characters_are_found_alike(text in any_text()) {
        use unicode_normalization::UnicodeNormalization;
        let key = search_key(&text);
        let spread: String = text.chars().flat_map(|character| [character, '\u{200B}']).collect();
        for writing in [text.nfc().collect::<String>(), text.nfd().collect(), text.nfkd().collect(), spread] {
            prop_assert_eq!(search_key(&writing), key.clone(), "{:?}", writing);
            prop_assert!(contains(&writing, &key));
        }
    }

    #[test]
    fn an_ascii_search_is_a_case_insensitive_substring_search(text in "[ -~]{0,40}", part in "[ -~]{0,4}") {
        let expected = text.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
        prop_assert_eq!(contains(&text, &search_key(&part)), expected);
    }

    #[test]
    fn moderation_takes_every_text_and_folding_is_idempotent(text in any_text(), word in any_text()) {
        let folded = fold(&text);
        prop_assert_eq!(fold(&folded), folded, "{:?}", text);
        let own = WordLists::new([word.as_str()], ["ควย"]);
        let outcome = check(&text, &own);
        prop_assert_eq!(check(&text, &own), outcome);
        // What is refused without a list of one's own is refused with words added to the blocked ones.
        if check(&text, &WordLists::default()).is_err() {
            prop_assert!(check(&text, &WordLists::new([word.as_str()], NO_WORDS)).is_err());
        }
    }

    #[test]
    fn a_listed_word_is_found_between_spaces(word in "[a-z]{1,12}|(ก|น้ำ|เย็|ะ){1,6}", before in "[a-z ]{0,6}") {
        prop_assume!(is_listable(&word));
        let own = WordLists::new([word.as_str()], NO_WORDS);
        let text = format!("{before} {word} x");
        prop_assert!(check(&text, &own).is_err(), "{:?}", text);
        prop_assert!(check(&word.to_uppercase(), &own).is_err());
    }
}
