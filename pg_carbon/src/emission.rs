//! Emissions of an entry in milligrams CO2e (millionths of a kilogram); `carbon.co2e_kg` and
//! `carbon.co2e_avoided_kg` put the decimal point in.

use carbon_domain::emission;
use carbon_domain::units::Weight;
use carbon_domain::waste;
use pgrx::prelude::*;

use crate::error::OrRaise;

/// Milligrams CO2e of `weight_grams` (10..=100,000) treated by a method of a category; negative when the
/// method takes more out of the air than it lets off. NULL for any NULL. Errors as `credits_for_grams`.
#[pg_extern(immutable, strict, parallel_safe)]
fn co2e_milligrams(category: &str, method: &str, weight_grams: i32, factor_set: &str) -> i64 {
    let factors = waste::factor_set(factor_set).or_raise();
    let weight = Weight::from_grams(weight_grams.into()).or_raise();
    emission::co2e(factors, category, method, weight).or_raise().0
}

/// Milligrams CO2e that the method spares against throwing the same weight away; negative when it is
/// worse. NULL for any NULL. Errors as `credits_for_grams`.
#[pg_extern(immutable, strict, parallel_safe)]
fn co2e_avoided_milligrams(category: &str, method: &str, weight_grams: i32, factor_set: &str) -> i64 {
    let factors = waste::factor_set(factor_set).or_raise();
    let weight = Weight::from_grams(weight_grams.into()).or_raise();
    emission::co2e_avoided(factors, category, method, weight).or_raise().0
}

extension_sql_file!(
    "../sql/emission.sql",
    name = "emissions",
    requires = [co2e_milligrams, co2e_avoided_milligrams]
);
