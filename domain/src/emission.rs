//! Emissions: what an entry emits, and what it avoids compared with throwing the same waste away.

use crate::error::DomainError;
use crate::units::{MicroKg, Weight};
use crate::waste::FactorSet;

/// `kg_co2e_per_kg × weight_kg`, rounded half up (towards +∞) to millionths of a kilogram.
///
/// # Errors
/// [`DomainError::UnknownCategory`], [`DomainError::UnknownMethod`]
pub fn co2e(
    set: &FactorSet,
    category: &str,
    method: &str,
    weight: Weight,
) -> Result<MicroKg, DomainError> {
    let method = set.method(category, method)?;
    Ok(emitted(i64::from(method.co2e_per_kg_e4), weight))
}

/// `(the category's disposed − the method's) × weight_kg`, rounded half up (towards +∞) to millionths of a kilogram.
///
/// # Errors
/// [`DomainError::UnknownCategory`], [`DomainError::UnknownMethod`]
pub fn co2e_avoided(
    set: &FactorSet,
    category: &str,
    method: &str,
    weight: Weight,
) -> Result<MicroKg, DomainError> {
    let category = set.category(category)?;
    let method = category.method(method)?;
    let difference =
        i64::from(category.disposed().co2e_per_kg_e4) - i64::from(method.co2e_per_kg_e4);
    Ok(emitted(difference, weight))
}

/// Ten-thousandths × grams are ten-millionths of a kilogram; adding five of them before flooring rounds half up.
fn emitted(factor_e4: i64, weight: Weight) -> MicroKg {
    MicroKg((factor_e4 * i64::from(weight.grams()) + 5).div_euclid(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waste::current;

    #[test]
    fn emissions_are_rounded_at_the_seventh_decimal() {
        let weight = |grams| Weight::from_grams(grams).unwrap();
        let of =
            |category, method, grams| co2e(current(), category, method, weight(grams)).unwrap().0;
        assert_eq!(of("food_waste", "disposed", 1000), 2_530_000);
        // 0.3326 × 0.015 = 0.0049890; 6.7071 × 0.015 = 0.1006065, whose negative rounds up.
        assert_eq!(of("food_waste", "composted", 15), 4989);
        assert_eq!(of("plastic_bags", "avoided", 15), -100_606);
        let avoided = co2e_avoided(current(), "plastic_bags", "avoided", weight(15)).unwrap();
        assert_eq!(avoided, MicroKg(116_189)); // 7.7459 × 0.015 = 0.1161885
        assert_eq!(
            co2e_avoided(current(), "food_waste", "disposed", weight(15)),
            Ok(MicroKg(0))
        );
    }

    #[test]
    fn unknown_pairs_are_refused() {
        let weight = Weight::from_grams(1000).unwrap();
        assert_eq!(
            co2e(current(), "x", "disposed", weight),
            Err(DomainError::UnknownCategory)
        );
        assert_eq!(
            co2e_avoided(current(), "x", "disposed", weight),
            Err(DomainError::UnknownCategory)
        );
        assert_eq!(
            co2e_avoided(current(), "food_waste", "sold", weight),
            Err(DomainError::UnknownMethod)
        );
    }
}
