//! Points of an entry: `carbon.credits` and the function in whole grams below it.

use carbon_domain::credit;
use carbon_domain::units::Weight;
use carbon_domain::waste;
use pgrx::prelude::*;

use crate::error::OrRaise;

/// Id of the factor set that new entries are computed with.
#[pg_extern(immutable, strict, parallel_safe)]
fn current_factor_set() -> &'static str {
    waste::current().id
}

/// Points of `weight_grams` (10..=100,000) treated by a method of a category: factor × kilograms, halves
/// towards +∞, within the range of a 32-bit integer. NULL for any NULL.
///
/// Errors: 22023 with `carbon.unknown_factor_set`, `carbon.unknown_category`, `carbon.unknown_method`
/// or `carbon.weight_out_of_range`.
#[pg_extern(immutable, strict, parallel_safe)]
fn credits_for_grams(category: &str, method: &str, weight_grams: i32, factor_set: &str) -> i32 {
    let factors = waste::factor_set(factor_set).or_raise();
    let weight = Weight::from_grams(weight_grams.into()).or_raise();
    credit::credits(factors, category, method, weight).or_raise()
}

extension_sql_file!("../sql/credit.sql", name = "credits", requires = [credits_for_grams]);
