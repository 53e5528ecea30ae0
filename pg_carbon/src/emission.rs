//! Emissions of an entry in milligrams CO2e (millionths of a kilogram), which `carbon.co2e_kg` and
//! `carbon.co2e_avoided_kg` convert to kilograms.

use carbon_domain::emission;
use carbon_domain::units::Weight;
use carbon_domain::waste;
use pgrx::prelude::*;

use crate::error::OrRaise;

/// Milligrams CO2e of `weight_grams` (10..=100,000) of a category, disposed of by a method; negative if the
/// method removes more than it emits. NULL for any NULL. Errors as `credits_for_grams`.
#[pg_extern(immutable, strict, parallel_safe)]
fn co2e_milligrams(category: &str, method: &str, weight_grams: i32, factor_set: &str) -> i64 {
    let factors = waste::factor_set(factor_set).or_raise();
    let weight = Weight::from_grams(weight_grams.into()).or_raise();
    emission::co2e(factors, category, method, weight)
        .or_raise()
        .0
}

/// Milligrams CO2e that the method avoids compared with throwing the same weight away; negative if it is
/// worse. NULL for any NULL. Errors as `credits_for_grams`.
#[pg_extern(immutable, strict, parallel_safe)]
fn co2e_avoided_milligrams(
    category: &str,
    method: &str,
    weight_grams: i32,
    factor_set: &str,
) -> i64 {
    let factors = waste::factor_set(factor_set).or_raise();
    let weight = Weight::from_grams(weight_grams.into()).or_raise();
    emission::co2e_avoided(factors, category, method, weight)
        .or_raise()
        .0
}

extension_sql_file!(
    "../sql/emission.sql",
    name = "emissions",
    requires = [co2e_milligrams, co2e_avoided_milligrams]
);

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{one, refused_with};

    #[pg_test]
    fn emissions_have_exactly_six_decimals() {
        assert_eq!(
            one::<String>("select carbon.co2e_kg('food_waste', 'composted', 1.234)::text"),
            "0.410428"
        );
        assert_eq!(
            one::<String>("select carbon.co2e_avoided_kg('food_waste', 'composted', 1.234)::text"),
            "2.711592"
        );
        assert_eq!(
            one::<String>("select carbon.co2e_kg('food_waste', 'reduced', 1)::text"),
            "0.000000"
        );
        assert_eq!(
            one::<String>("select carbon.co2e_avoided_kg('food_waste', 'disposed', 100)::text"),
            "0.000000"
        );
    }

    #[pg_test]
    fn milligrams_and_kilograms_agree_for_every_factor() {
        let differing = "select count(*) from carbon.factors() f, unnest(array[10, 11, 333, 1000, 12345, 99999, 100000]) grams
            where carbon.co2e_milligrams(category_id, method, grams, factor_set) / 1000000.0
                  is distinct from carbon.co2e_kg(category_id, method, grams / 1000.0, factor_set)
               or carbon.co2e_avoided_milligrams(category_id, method, grams, factor_set) / 1000000.0
                  is distinct from carbon.co2e_avoided_kg(category_id, method, grams / 1000.0, factor_set)
               or carbon.co2e_kg(category_id, method, grams / 1000.0) - kg_co2e_per_kg * grams / 1000 not between -0.0000005 and 0.0000005";
        assert_eq!(one::<i64>(differing), 0);
    }

    #[pg_test]
    fn emissions_of_unknown_names_are_refused() {
        for function in ["co2e_kg", "co2e_avoided_kg"] {
            assert_eq!(
                refused_with(&format!("select carbon.{function}('gold', 'composted', 1)")),
                "carbon.unknown_category"
            );
            assert_eq!(
                refused_with(&format!(
                    "select carbon.{function}('food_waste', 'melted', 1)"
                )),
                "carbon.unknown_method"
            );
            assert_eq!(
                refused_with(&format!(
                    "select carbon.{function}('food_waste', 'composted', 1, '')"
                )),
                "carbon.unknown_factor_set"
            );
            assert_eq!(
                refused_with(&format!(
                    "select carbon.{function}('food_waste', 'composted', 0)"
                )),
                "carbon.weight_out_of_range"
            );
        }
    }
}
