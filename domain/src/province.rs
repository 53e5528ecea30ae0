//! Thailand's 77 provinces by ISO 3166-2 code.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::json::embedded;
use crate::lang::Lang;

/// A province (Bangkok counts as one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Province {
    /// ISO 3166-2 code, `TH-10` to `TH-96`.
    pub iso: &'static str,
    /// The number in the code, 10..=96.
    pub code: i32,
    /// Thai name.
    pub name_th: &'static str,
    /// English name.
    pub name_en: &'static str,
}

impl Province {
    /// The name in one language.
    #[must_use]
    pub fn name(&self, lang: Lang) -> &'static str {
        lang.pick(self.name_th, self.name_en)
    }
}

/// All provinces by code.
#[must_use]
pub fn all() -> &'static [Province] {
    static PROVINCES: OnceLock<Vec<Province>> = OnceLock::new();
    PROVINCES.get_or_init(|| embedded(include_str!("../data/provinces.json")))
}

/// The province of an ISO code written exactly (`TH-10`); `None` for anything else.
#[must_use]
pub fn by_iso(iso: &str) -> Option<&'static Province> {
    all().iter().find(|province| province.iso == iso)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_seventy_seven_provinces() {
        assert_eq!(all().len(), 77);
        for province in all() {
            assert_eq!(province.iso, format!("TH-{}", province.code));
        }
        assert_eq!(by_iso("TH-38").unwrap().name(Lang::En), "Bueng Kan");
        assert_eq!(by_iso("TH-10").unwrap().name(Lang::Th), "กรุงเทพมหานคร");
        assert_eq!(by_iso("th-10"), None);
    }
}
