//! Tags of answers: a client that has an answer already asks with `If-None-Match` and gets 304 while
//! it is still right.
//!
//! All tags are weak, because `meta.timestamp` does not count. What a tag stands for comes from the
//! database (a user's own answers) or from the answer (public ones); the release and the language
//! are added here, since both change the words.

use carbon_domain::Lang;
use sha2::{Digest, Sha256};

use crate::crypto::bytes::hex;
use crate::release::RELEASE;

/// Tags of one `If-None-Match` that are compared.
const MAX_TAGS: usize = 50;

/// The value of an `ETag` header.
pub fn header(tag: &str, lang: Lang) -> String {
    format!(r#"W/"{RELEASE}-{}-{tag}""#, lang.code())
}

/// A tag made of the text that an answer is made of.
pub fn of_text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..16])
}

/// What an `If-None-Match` header names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IfNoneMatch {
    /// `*`: any answer.
    pub any: bool,
    /// The tags of this release and language, without either.
    pub tags: Vec<String>,
}

impl IfNoneMatch {
    /// Reads the header; tags that are not ours are left out.
    pub fn parse(value: Option<&str>, lang: Lang) -> Self {
        let value = value.unwrap_or("").trim();
        if value == "*" {
            return Self {
                any: true,
                tags: Vec::new(),
            };
        }
        let prefix = format!("{RELEASE}-{}-", lang.code());
        // Quoted texts are every second part; tags hold no quotes.
        let quoted = value.split('"').skip(1).step_by(2).take(MAX_TAGS);
        let tags = quoted
            .filter_map(|tag| tag.strip_prefix(&prefix).map(str::to_owned))
            .collect();
        Self { any: false, tags }
    }

    /// Whether the client has an answer with this tag.
    pub fn matches(&self, tag: &str) -> bool {
        self.any || self.tags.iter().any(|named| named == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_tags_are_found_in_lists_weak_or_strong() {
        let (a, b) = (header("a", Lang::Th), header("b,c", Lang::Th));
        let list = format!(r#""x", {a} ,W/"y",{}"#, b.trim_start_matches("W/"));
        let if_none_match = IfNoneMatch::parse(Some(&list), Lang::Th);
        assert_eq!(if_none_match.tags, ["a", "b,c"]);
        assert!(
            if_none_match.matches("a")
                && if_none_match.matches("b,c")
                && !if_none_match.matches("x")
        );
    }

    #[test]
    fn another_language_or_release_is_another_answer() {
        let tag = header("a", Lang::Th);
        assert!(!IfNoneMatch::parse(Some(&tag), Lang::En).matches("a"));
        let old = tag.replace(RELEASE, "0000000000000000");
        assert!(!IfNoneMatch::parse(Some(&old), Lang::Th).matches("a"));
    }

    #[test]
    fn a_star_is_anything_and_odd_values_are_nothing() {
        assert!(IfNoneMatch::parse(Some(" * "), Lang::Th).matches("a"));
        for odd in [
            None,
            Some(""),
            Some("\""),
            Some("W/"),
            Some("a"),
            Some("**"),
        ] {
            assert!(!IfNoneMatch::parse(odd, Lang::Th).matches("a"), "{odd:?}");
        }
    }
}
