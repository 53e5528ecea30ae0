//! The two languages of the product.

use serde::{Deserialize, Serialize};

/// A language of names and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// Thai, the default.
    #[default]
    Th,
    /// English.
    En,
}

impl Lang {
    /// The ISO 639-1 code: `th` or `en`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Lang::Th => "th",
            Lang::En => "en",
        }
    }

    /// Parses a language tag by its first part, case-insensitively: `th`, `th-TH`, `en_US`; `None` for other languages.
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Lang> {
        match tag.split(['-', '_']).next() {
            Some(primary) if primary.eq_ignore_ascii_case("th") => Some(Lang::Th),
            Some(primary) if primary.eq_ignore_ascii_case("en") => Some(Lang::En),
            _ => None,
        }
    }

    /// Chooses by an `Accept-Language` header (RFC 9110, 12.5.4): the language with the greater weight. A language that is
    /// not named has the weight of the wildcard. At equal weights a named language goes before one that only the wildcard
    /// covers, and the one named first before the other; Thai if the header names neither.
    #[must_use]
    pub fn from_accept_language(header: &str) -> Lang {
        let mut named: Vec<(Lang, u32)> = Vec::new();
        let mut wildcard = None;
        for part in header.split(',') {
            let mut pieces = part.split(';');
            let tag = pieces.next().unwrap_or("").trim();
            let weight = weight_of(pieces);
            if tag == "*" {
                wildcard = wildcard.or(Some(weight));
            } else if let Some(lang) = Lang::from_tag(tag) {
                named.push((lang, weight));
            }
        }
        let covered = [Lang::Th, Lang::En]
            .into_iter()
            .filter(|lang| named.iter().all(|(other, _)| other != lang))
            .filter_map(|lang| Some((lang, wildcard?)));
        let covered: Vec<(Lang, u32)> = covered.collect();
        let mut best = (Lang::Th, 0);
        for (lang, weight) in named.into_iter().chain(covered) {
            if weight > best.1 {
                best = (lang, weight);
            }
        }
        best.0
    }

    /// Chooses one of two texts.
    #[must_use]
    pub fn pick<'a>(self, th: &'a str, en: &'a str) -> &'a str {
        match self {
            Lang::Th => th,
            Lang::En => en,
        }
    }
}

/// The weight among a tag's parameters, in thousandths; 1000 if there is none.
fn weight_of<'a>(parameters: impl Iterator<Item = &'a str>) -> u32 {
    let mut pairs = parameters.filter_map(|parameter| parameter.split_once('='));
    pairs
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .map_or(1000, |(_, weight)| thousandths_of(weight.trim()))
}

/// Parses a header's weight (`0`, `0.8`, `.8`, `1.000`) in thousandths; 0 for malformed ones, which never win.
fn thousandths_of(quality: &str) -> u32 {
    let (integer, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let fraction: u32 = format!("{fraction:0<3}").parse().unwrap_or(0);
    match integer {
        "0" | "" => fraction,
        "1" => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::Lang;

    #[test]
    fn the_supported_language_with_the_greatest_weight_wins_and_thai_is_the_default() {
        assert_eq!(Lang::from_accept_language(""), Lang::Th);
        assert_eq!(Lang::from_accept_language("fr, de;q=0.9"), Lang::Th);
        assert_eq!(Lang::from_accept_language("en"), Lang::En);
        assert_eq!(
            Lang::from_accept_language("en-GB,en;q=0.9,th;q=0.8"),
            Lang::En
        );
        assert_eq!(
            Lang::from_accept_language("en;q=0.2, TH-th ; q=0.25"),
            Lang::Th
        );
        assert_eq!(Lang::from_accept_language("en;q=0"), Lang::Th);
        assert_eq!(Lang::from_accept_language("en;q=banana"), Lang::Th);
        assert_eq!(Lang::from_accept_language("en;q=2, th;q=0.0001"), Lang::Th);
    }

    #[test]
    fn a_language_that_is_not_named_has_the_weight_of_the_wildcard() {
        for (header, lang) in [
            ("*;q=0.9, en;q=0.5", Lang::Th),
            ("en;q=0.5, *;q=0.9", Lang::Th),
            ("en;q=0.9, *;q=0.5", Lang::En),
            ("*;q=0.9, th;q=0.5", Lang::En),
            ("th;q=0, *", Lang::En),
            ("en;q=0, *", Lang::Th),
            ("*", Lang::Th),
            ("fr, *;q=0.5", Lang::Th),
            // A named language goes before one that only the wildcard covers.
            ("en, *", Lang::En),
            ("*, en", Lang::En),
            ("*;q=0", Lang::Th),
            ("*;q=0.5, *;q=1, en;q=0.8", Lang::En),
        ] {
            assert_eq!(Lang::from_accept_language(header), lang, "{header}");
        }
    }

    #[test]
    fn weights_are_parsed_as_clients_write_them() {
        for (header, lang) in [
            ("en;Q=0.2, th;q=0.9", Lang::Th),
            ("en;q=.9, th;q=.5", Lang::En),
            ("th;q=0, en;q=0.001", Lang::En),
            ("en ; q = 0.2 , th ; q = 0.3", Lang::Th),
            ("en;level=1;q=0.2, th;q=0.3", Lang::Th),
            ("th-TH,th;q=0.9,en-US;q=0.8,en;q=0.7", Lang::Th),
            ("en_TH", Lang::En),
            ("th;q=0.5, en;q=1", Lang::En),
            ("th;q=0.999, en;q=1.000", Lang::En),
            // A weight has at most three decimals.
            ("th;q=0.5, en;q=0.9999", Lang::Th),
            ("th;q=0.5, en;q=0.9x", Lang::Th),
            ("en;q=., th;q=0.001", Lang::Th),
        ] {
            assert_eq!(Lang::from_accept_language(header), lang, "{header}");
        }
    }

    #[test]
    fn a_language_has_a_code_and_picks_its_text() {
        assert_eq!((Lang::Th.code(), Lang::En.code()), ("th", "en"));
        assert_eq!(
            (Lang::Th.pick("ก", "a"), Lang::En.pick("ก", "a")),
            ("ก", "a")
        );
        assert_eq!(Lang::from_tag("english"), None);
    }
}
