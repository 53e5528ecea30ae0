//! Tags of answers: a client that has an answer already asks with `If-None-Match` and gets 304 while
//! it is still right.
//!
//! All tags are weak, because `meta.timestamp` is not looked at. What a tag stands for comes from the
//! database (a person's own answers) or from the answer (public ones); the release and the language
//! are added here, since both change the words.

use carbon_domain::Lang;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::call::Call;
use crate::error::ApiError;
use crate::storage::otp_id::hex;

/// A digest of the sources that answers are made by.
pub const RELEASE: &str = env!("RELEASE");

/// Tags in one `If-None-Match` that are looked at.
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
pub struct Known {
    /// `*`: anything there is.
    any: bool,
    /// The tags of this release and language, without either.
    tags: Vec<String>,
}

impl Known {
    /// Reads the header; whatever is no tag of ours is left out.
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

    /// Whether an answer with this tag is known.
    pub fn matches(&self, tag: &str) -> bool {
        self.any || self.tags.iter().any(|known| known == tag)
    }
}

impl Call {
    /// What `If-None-Match` names.
    pub fn known(&self) -> Known {
        Known::parse(self.header("if-none-match").as_deref(), self.lang)
    }

    /// Reads something of the user's own, and its tag for the answer; `None` if the client has it.
    ///
    /// # Errors
    /// What the database refused, or `SERVICE_UNAVAILABLE`.
    pub async fn read(
        &self,
        operation: &str,
        arguments: &Value,
    ) -> Result<Option<Value>, ApiError> {
        let known = self.known();
        let arguments =
            json!({"operation": operation, "arguments": arguments, "known_tags": known.tags});
        let mut read = self.rest().rpc("read_if_changed", &arguments).await?;
        self.tag.replace(read["tag"].as_str().map(str::to_owned));
        let answer = read.get_mut("answer").map(Value::take);
        Ok(answer.filter(|_| !known.any))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_tags_are_found_in_lists_weak_or_strong() {
        let (a, b) = (header("a", Lang::Th), header("b,c", Lang::Th));
        let list = format!(r#""x", {a} ,W/"y",{}"#, b.trim_start_matches("W/"));
        let known = Known::parse(Some(&list), Lang::Th);
        assert_eq!(known.tags, ["a", "b,c"]);
        assert!(known.matches("a") && known.matches("b,c") && !known.matches("x"));
    }

    #[test]
    fn another_language_or_release_is_another_answer() {
        let tag = header("a", Lang::Th);
        assert!(!Known::parse(Some(&tag), Lang::En).matches("a"));
        let old = tag.replace(RELEASE, "0000000000000000");
        assert!(!Known::parse(Some(&old), Lang::Th).matches("a"));
    }

    #[test]
    fn a_star_is_anything_and_odd_values_are_nothing() {
        assert!(Known::parse(Some(" * "), Lang::Th).matches("a"));
        for odd in [
            None,
            Some(""),
            Some("\""),
            Some("W/"),
            Some("a"),
            Some("**"),
        ] {
            assert!(!Known::parse(odd, Lang::Th).matches("a"), "{odd:?}");
        }
    }
}
