//! Searching in what people have written.

use carbon_domain::text;
use pgrx::prelude::*;

/// A text in the form in which it is compared: equal for spellings that look the same (case, composition, zero-width
/// characters, the order of Thai marks). NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn search_key(text: &str) -> String {
    text::search_key(text)
}

/// Whether a text contains the search text of `key`, which `carbon.search_key` returned. NULL for any NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn text_contains(text: &str, key: &str) -> bool {
    text::contains(text, key)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one};

    #[pg_test]
    fn spellings_that_look_the_same_are_found() {
        for (text, part) in [
            ("ขวดน้ำดื่ม", "น\u{E4D}\u{E49}\u{E32}"),
            ("ขวดน\u{E33}\u{E49}ดื่ม", "น้ำ"),
            ("Cafe\u{301}", "CAFÉ"),
            ("100%_a", "%_A"),
        ] {
            let found =
                format!("select carbon.text_contains('{text}', carbon.search_key('{part}'))");
            assert!(one::<bool>(&found), "{text} {part}");
        }
        assert!(!one::<bool>(
            "select carbon.text_contains('ข้าว', carbon.search_key('ขาว'))"
        ));
    }

    #[pg_test]
    fn no_text_gives_null() {
        assert!(is_null("select carbon.search_key(null)"));
        assert!(is_null("select carbon.text_contains(null, 'a')"));
        assert!(is_null("select carbon.text_contains('a', null)"));
    }
}
