//! Which texts may be shown to other users.

use carbon_domain::error::FieldError;
use carbon_domain::moderation::{self, WordLists};
use pgrx::prelude::*;

use crate::error::OrRaise;

/// Checks a text that other users will see, as the value of this field. True if it may be shown, also for a NULL text.
///
/// `blocked`, `allowed`: the operators' own words, which are added to the compiled lists.
///
/// Errors: 22023 with `carbon.text_has_hidden_characters` or `carbon.text_not_allowed`, named by the field.
#[pg_extern(immutable, parallel_safe)]
fn check_shown_text(
    field: &str,
    value: Option<&str>,
    blocked: Array<'_, &str>,
    allowed: Array<'_, &str>,
) -> bool {
    let Some(value) = value else {
        return true;
    };
    let own = WordLists::new(blocked.iter().flatten(), allowed.iter().flatten());
    moderation::check(value, &own)
        .map_err(|error| FieldError::new(field.to_owned(), error))
        .or_raise();
    true
}

/// Whether a word can be on a list of words: letters of one script, a Latin word perhaps with an asterisk before or after
/// it. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn is_listable_word(word: &str) -> bool {
    moderation::is_listable(word)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{failure, is_null, one};

    #[pg_test]
    fn a_refused_text_is_named_by_its_field_in_both_languages() {
        for (text, token) in [
            ("เหี้ย", "carbon.text_not_allowed"),
            ("a\u{202E}b", "carbon.text_has_hidden_characters"),
        ] {
            let refusal = failure(&format!(
                "select carbon.check_shown_text('title', '{text}', '{{}}', '{{}}')"
            ));
            assert_eq!(
                (refusal.state.as_str(), refusal.detail.as_str()),
                ("22023", token)
            );
            assert!(refusal.message.starts_with("title: "), "{refusal:?}");
            assert!(!refusal.hint.is_empty());
        }
    }

    #[pg_test]
    fn operators_words_are_added_to_the_lists() {
        let check = |text: &str| {
            format!(
                "select carbon.check_shown_text('title', '{text}', '{{durian*,null}}', '{{หี}}')"
            )
        };
        assert!(one::<bool>(&check("หี")));
        assert_eq!(failure(&check("Durians")).detail, "carbon.text_not_allowed");
        assert!(one::<bool>(
            "select carbon.check_shown_text('title', null, '{}', '{}')"
        ));
    }

    #[pg_test]
    fn a_listed_word_has_letters_of_one_script() {
        assert!(one::<bool>("select carbon.is_listable_word('*word*')"));
        assert!(!one::<bool>("select carbon.is_listable_word('two words')"));
        assert!(is_null("select carbon.is_listable_word(null)"));
    }
}
