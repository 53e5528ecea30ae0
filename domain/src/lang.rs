//! The two languages of the product.

use serde::{Deserialize, Serialize};

/// A language that names and messages exist in.
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

    /// Reads a language tag by its first part, whatever its case: `th`, `th-TH`, `en_US`; `None` for other languages.
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Lang> {
        match tag.split(['-', '_']).next() {
            Some(primary) if primary.eq_ignore_ascii_case("th") => Some(Lang::Th),
            Some(primary) if primary.eq_ignore_ascii_case("en") => Some(Lang::En),
            _ => None,
        }
    }

    /// Picks by an `Accept-Language` header: the first of our languages with the greatest weight; Thai when none is named.
    #[must_use]
    pub fn from_accept_language(header: &str) -> Lang {
        let mut best = (0_u32, Lang::Th);
        for part in header.split(',') {
            let mut pieces = part.split(';');
            let Some(lang) = Lang::from_tag(pieces.next().unwrap_or("").trim()) else {
                continue;
            };
            let quality = pieces
                .find_map(|piece| piece.trim().strip_prefix("q="))
                .unwrap_or("1");
            let thousandths = thousandths_of(quality.trim());
            if thousandths > best.0 {
                best = (thousandths, lang);
            }
        }
        best.1
    }

    /// Picks one of two texts.
    #[must_use]
    pub fn pick<'a>(self, th: &'a str, en: &'a str) -> &'a str {
        match self {
            Lang::Th => th,
            Lang::En => en,
        }
    }
}

/// Reads a header's weight (`0`, `0.8`, `1.000`) as thousandths; 0 for anything malformed, which never wins.
fn thousandths_of(quality: &str) -> u32 {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let fraction: u32 = format!("{fraction:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => fraction,
        "1" => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::Lang;

    #[test]
    fn the_heaviest_known_language_wins_and_thai_is_the_default() {
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
    fn a_language_has_a_code_and_picks_its_text() {
        assert_eq!((Lang::Th.code(), Lang::En.code()), ("th", "en"));
        assert_eq!(
            (Lang::Th.pick("ก", "a"), Lang::En.pick("ก", "a")),
            ("ก", "a")
        );
        assert_eq!(Lang::from_tag("english"), None);
    }
}
