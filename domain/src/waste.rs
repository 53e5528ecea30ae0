//! Waste categories, disposal methods and their factors.
//!
//! The sets in `data/factors-*.json` are the source; the tables that show them are filled from here.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::error::DomainError;
use crate::json::embedded;
use crate::lang::Lang;
use crate::units::scaled_decimal;

/// The factor set that new entries are computed with.
pub const CURRENT_FACTOR_SET: &str = "tgo-app-2024";

const FACTORS_2024: &str = include_str!("../data/factors-tgo-app-2024.json");
const METHOD_NAMES: &str = include_str!("../data/methods.json");

/// Figures that belong together; an entry stores the id of the set that it was computed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactorSet {
    /// Stable id, for example `tgo-app-2024`.
    pub id: &'static str,
    /// The source of the figures.
    pub source: &'static str,
    /// Credits that count as one tree.
    pub credits_per_tree: i64,
    /// The categories, in the order they are shown.
    pub categories: Vec<Category>,
}

/// A kind of waste.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Category {
    /// Stable id, for example `food_waste`.
    pub id: &'static str,
    /// Thai name.
    pub name_th: &'static str,
    /// English name.
    pub name_en: &'static str,
    /// Emoji.
    pub icon: &'static str,
    /// Colour as `#rrggbb`.
    pub color: &'static str,
    /// Its disposal methods; the first is always `disposed`.
    pub methods: Vec<Method>,
}

/// A disposal method of one category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Method {
    /// Stable id, for example `animal_feed`.
    pub id: &'static str,
    /// Thai name.
    pub name_th: &'static str,
    /// English name.
    pub name_en: &'static str,
    /// Credits (points) per kilogram, -67..=67.
    pub credits_per_kg: i32,
    /// Kilograms CO2e per kilogram of waste, in ten-thousandths.
    pub co2e_per_kg_e4: i32,
    /// `published`, or `assumed: …` with the assumption.
    pub basis: &'static str,
}

impl FactorSet {
    /// The category of that id.
    ///
    /// # Errors
    /// [`DomainError::UnknownCategory`]
    pub fn category(&self, id: &str) -> Result<&Category, DomainError> {
        self.categories
            .iter()
            .find(|category| category.id == id)
            .ok_or(DomainError::UnknownCategory)
    }

    /// The method of that id among the category's own.
    ///
    /// # Errors
    /// [`DomainError::UnknownCategory`], [`DomainError::UnknownMethod`]
    pub fn method(&self, category: &str, method: &str) -> Result<&Method, DomainError> {
        self.category(category)?.method(method)
    }
}

impl Category {
    /// The method of that id.
    ///
    /// # Errors
    /// [`DomainError::UnknownMethod`]
    pub fn method(&self, id: &str) -> Result<&Method, DomainError> {
        self.methods
            .iter()
            .find(|method| method.id == id)
            .ok_or(DomainError::UnknownMethod)
    }

    /// The method `disposed`, whose emissions are the baseline for what other methods avoid.
    #[must_use]
    pub fn disposed(&self) -> &Method {
        &self.methods[0]
    }

    /// The name in one language.
    #[must_use]
    pub fn name(&self, lang: Lang) -> &'static str {
        lang.pick(self.name_th, self.name_en)
    }
}

impl Method {
    /// The name in one language.
    #[must_use]
    pub fn name(&self, lang: Lang) -> &'static str {
        lang.pick(self.name_th, self.name_en)
    }

    /// Kilograms CO2e per kilogram as decimal text without trailing zeros, for example `-6.7071`.
    #[must_use]
    pub fn kg_co2e_per_kg(&self) -> String {
        crate::units::decimal_text(i64::from(self.co2e_per_kg_e4), 4)
    }
}

/// Every embedded factor set, oldest first.
#[must_use]
pub fn factor_sets() -> &'static [FactorSet] {
    static SETS: OnceLock<Vec<FactorSet>> = OnceLock::new();
    SETS.get_or_init(|| vec![load(FACTORS_2024)])
}

/// The factor set of that id.
///
/// # Errors
/// [`DomainError::UnknownFactorSet`]
pub fn factor_set(id: &str) -> Result<&'static FactorSet, DomainError> {
    factor_sets()
        .iter()
        .find(|set| set.id == id)
        .ok_or(DomainError::UnknownFactorSet)
}

/// The factor set that new entries are computed with.
#[must_use]
pub fn current() -> &'static FactorSet {
    factor_set(CURRENT_FACTOR_SET).expect("the current factor set is compiled in")
}

/// The category of a name in the old app (`paper`, `electronics`); any other name is returned unchanged.
#[must_use]
pub fn category_alias(name: &str) -> &str {
    match name {
        "paper" => "paper_cardboard",
        "electronics" => "electronic_waste",
        other => other,
    }
}

/// The method of a name in the old app (`animalFeed`); any other name is returned unchanged.
#[must_use]
pub fn method_alias(name: &str) -> &str {
    match name {
        "animalFeed" => "animal_feed",
        other => other,
    }
}

#[derive(Deserialize)]
struct RawSet {
    id: &'static str,
    source: &'static str,
    credits_per_tree: i64,
    categories: Vec<RawCategory>,
}

#[derive(Deserialize)]
struct RawCategory {
    id: &'static str,
    name_th: &'static str,
    name_en: &'static str,
    icon: &'static str,
    color: &'static str,
    methods: Vec<RawMethod>,
}

#[derive(Deserialize)]
struct RawMethod {
    id: &'static str,
    credits_per_kg: i32,
    kg_co2e_per_kg: serde_json::Number,
    basis: &'static str,
}

#[derive(Deserialize)]
struct MethodName {
    id: &'static str,
    name_th: &'static str,
    name_en: &'static str,
}

fn load(text: &'static str) -> FactorSet {
    let raw: RawSet = embedded(text);
    let names: Vec<MethodName> = embedded(METHOD_NAMES);
    let category = |raw: RawCategory| Category {
        id: raw.id,
        name_th: raw.name_th,
        name_en: raw.name_en,
        icon: raw.icon,
        color: raw.color,
        methods: raw
            .methods
            .into_iter()
            .map(|method| named(method, &names))
            .collect(),
    };
    FactorSet {
        id: raw.id,
        source: raw.source,
        credits_per_tree: raw.credits_per_tree,
        categories: raw.categories.into_iter().map(category).collect(),
    }
}

fn named(raw: RawMethod, names: &[MethodName]) -> Method {
    let name = names
        .iter()
        .find(|name| name.id == raw.id)
        .expect("every method has its names");
    let co2e = scaled_decimal(raw.kg_co2e_per_kg.as_str(), 4, 9)
        .expect("a factor has at most four decimals");
    Method {
        id: raw.id,
        name_th: name.name_th,
        name_en: name.name_en,
        credits_per_kg: raw.credits_per_kg,
        co2e_per_kg_e4: i32::try_from(co2e).expect("a factor fits into 32 bits"),
        basis: raw.basis,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_eight_categories_and_thirty_two_pairs() {
        let set = current();
        assert_eq!(set.categories.len(), 8);
        assert_eq!(
            set.categories
                .iter()
                .map(|category| category.methods.len())
                .sum::<usize>(),
            32
        );
        assert_eq!(set.credits_per_tree, 500);
        for category in &set.categories {
            assert_eq!(category.disposed().id, "disposed");
            assert!(category.disposed().credits_per_kg < 0);
            for method in &category.methods {
                assert!((-67..=67).contains(&method.credits_per_kg));
                assert!(!method.name(Lang::Th).is_ascii() && method.name(Lang::En).is_ascii());
            }
        }
    }

    #[test]
    fn every_method_has_its_own_name() {
        for (id, name_en, name_th) in [
            ("disposed", "Disposed", "ทิ้งเป็นขยะ"),
            ("composted", "Composted", "ทำปุ๋ยหมัก"),
        ] {
            let method = current().method("food_waste", id).unwrap();
            let names = (method.name(Lang::En), method.name(Lang::Th));
            assert_eq!(names, (name_en, name_th));
        }
    }

    #[test]
    fn figures_are_read_exactly() {
        let method = current().method("plastic_bags", "avoided").unwrap();
        assert_eq!(
            (method.credits_per_kg, method.co2e_per_kg_e4),
            (67, -67_071)
        );
        assert_eq!(method.kg_co2e_per_kg(), "-6.7071");
        assert_eq!(
            current()
                .method("food_waste", "animal_feed")
                .unwrap()
                .kg_co2e_per_kg(),
            "0"
        );
        assert_eq!(
            current().category("food_waste").unwrap().name(Lang::Th),
            "เศษอาหาร"
        );
    }

    #[test]
    fn unknown_sets_categories_and_methods_are_errors() {
        assert_eq!(factor_set("tgo-1999"), Err(DomainError::UnknownFactorSet));
        assert_eq!(
            current().method("paper", "recycled"),
            Err(DomainError::UnknownCategory)
        );
        assert_eq!(
            current().method("glass_bottles", "composted"),
            Err(DomainError::UnknownMethod)
        );
    }

    #[test]
    fn names_of_the_old_app_are_translated() {
        assert_eq!(category_alias("paper"), "paper_cardboard");
        assert_eq!(category_alias("electronics"), "electronic_waste");
        assert_eq!(category_alias("food_waste"), "food_waste");
        assert_eq!(method_alias("animalFeed"), "animal_feed");
        assert_eq!(method_alias("recycled"), "recycled");
    }
}
