//! Credits: the points an entry earns or costs.

use crate::error::DomainError;
use crate::units::Weight;
use crate::waste::{FactorSet, Method};

/// Credits of an entry: `floor(credits_per_kg × weight_kg + 0.5)`, so halves round towards +∞ (-2.5 → -2).
///
/// The range is -6,700..=6,700 (67 credits per kg × 100 kg).
///
/// # Errors
/// [`DomainError::UnknownCategory`], [`DomainError::UnknownMethod`]
pub fn credits(
    set: &FactorSet,
    category: &str,
    method: &str,
    weight: Weight,
) -> Result<i32, DomainError> {
    Ok(credits_of(set.method(category, method)?, weight))
}

/// Credits of an entry whose method has been looked up. See [`credits`].
#[must_use]
pub fn credits_of(method: &Method, weight: Weight) -> i32 {
    // A gram is a thousandth of the factor's unit; adding 500 thousandths before flooring rounds half up.
    // |67 × 100,000| + 500 is far below 32 bits.
    (method.credits_per_kg * weight.grams() as i32 + 500).div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waste::current;

    #[test]
    fn halves_round_towards_plus_infinity() {
        let at = |category, method, grams| {
            credits(
                current(),
                category,
                method,
                Weight::from_grams(grams).unwrap(),
            )
        };
        assert_eq!(at("food_waste", "disposed", 100), Ok(-2));
        assert_eq!(at("food_waste", "animal_feed", 100), Ok(3));
        assert_eq!(at("plastic_bags", "disposed", 100_000), Ok(-6700));
        assert_eq!(at("glass_bottles", "disposed", 10), Ok(0));
        assert_eq!(
            at("glass_bottles", "sold", 10),
            Err(DomainError::UnknownMethod)
        );
    }
}
