//! Credits of an entry: `carbon.credits`, and the function in grams that it wraps.

use carbon_domain::credit;
use carbon_domain::error::DomainError;
use carbon_domain::units::Weight;
use carbon_domain::waste;
use pgrx::prelude::*;

use crate::error::OrRaise;

/// Id of the factor set that new entries are computed with.
#[pg_extern(immutable, strict, parallel_safe)]
fn current_factor_set() -> &'static str {
    waste::current().id
}

/// Credits of `weight_grams` (10..=100,000) of a category, disposed of by a method: factor × kilograms, halves
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

/// [`credits_for_grams`] of an entry. PostgreSQL computes generated columns before it checks for missing values, so an entry
/// that lacks one is refused here with the field's own token, as by every other interface.
///
/// Errors: those of [`credits_for_grams`], and 22023 with `carbon.category_required`, `carbon.method_required` or
/// `carbon.weight_required`.
#[pg_extern(immutable, parallel_safe)]
fn entry_credits(
    category: Option<&str>,
    method: Option<&str>,
    weight_grams: Option<i32>,
    factor_set: Option<&str>,
) -> Option<i32> {
    let category = category.ok_or(DomainError::CategoryRequired).or_raise();
    let method = method.ok_or(DomainError::MethodRequired).or_raise();
    let grams = weight_grams.ok_or(DomainError::WeightRequired).or_raise();
    factor_set.map(|factor_set| credits_for_grams(category, method, grams, factor_set))
}

extension_sql_file!(
    "../sql/credit.sql",
    name = "credits",
    requires = [credits_for_grams]
);

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{failure, is_null, one, refused_with};

    #[pg_test]
    fn an_entry_that_lacks_a_field_is_refused_with_that_fields_token() {
        let entry = |parts: &str| {
            format!("select carbon.entry_credits({parts}, carbon.current_factor_set())")
        };
        assert_eq!(one::<i32>(&entry("'food_waste', 'composted', 1234")), 27);
        for (parts, token) in [
            ("null, 'composted', 1234", "category_required"),
            ("'food_waste', null, 1234", "method_required"),
            ("'food_waste', 'composted', null", "weight_required"),
        ] {
            assert_eq!(refused_with(&entry(parts)), format!("carbon.{token}"));
        }
    }

    #[pg_test]
    fn credits_by_kilograms_and_by_grams_agree() {
        assert_eq!(
            one::<i32>("select carbon.credits('food_waste', 'composted', 1.234)"),
            27
        );
        assert_eq!(
            one::<i32>(
                "select carbon.credits_for_grams('food_waste', 'composted', 1234, carbon.current_factor_set())"
            ),
            27
        );
        // -25 × 0.1 = -2.5: halves go towards +∞.
        assert_eq!(
            one::<i32>("select carbon.credits('food_waste', 'disposed', 0.1)"),
            -2
        );
    }

    #[pg_test]
    fn weights_are_rounded_half_up_before_they_are_checked() {
        assert_eq!(
            one::<i32>("select carbon.credits('food_waste', 'reduced', 0.0095)"),
            0
        );
        assert_eq!(
            one::<i32>("select carbon.credits('food_waste', 'composted', 100.00049)"),
            2200
        );
        for weight in ["0.00949", "100.0005", "0", "-1"] {
            let statement = format!("select carbon.credits('food_waste', 'composted', {weight})");
            assert_eq!(refused_with(&statement), "carbon.weight_out_of_range");
        }
    }

    #[pg_test]
    fn unknown_names_are_refused_by_name() {
        assert_eq!(
            refused_with("select carbon.credits('gold', 'composted', 1)"),
            "carbon.unknown_category"
        );
        assert_eq!(
            refused_with("select carbon.credits('food_waste', 'melted', 1)"),
            "carbon.unknown_method"
        );
        assert_eq!(
            refused_with("select carbon.credits('food_waste', 'composted', 1, 'x')"),
            "carbon.unknown_factor_set"
        );
    }

    #[pg_test]
    fn an_error_has_state_message_token_and_thai_hint() {
        let failure = failure("select carbon.credits('gold', 'composted', 1)");
        assert_eq!(failure.state, "22023");
        assert_eq!(
            failure.message,
            "category_id: There is no such waste category."
        );
        assert_eq!(failure.detail, "carbon.unknown_category");
        assert_eq!(failure.hint, "ไม่มีประเภทขยะนี้");
    }

    #[pg_test]
    fn more_grams_than_an_integer_can_represent_are_an_overflow() {
        assert_eq!(
            failure("select carbon.credits('food_waste', 'composted', 1e12)").state,
            "22003"
        );
    }

    #[pg_test]
    fn the_default_factor_set_is_the_current_one() {
        let defaults = one::<String>(
            "select string_agg(distinct pg_get_expr(proargdefaults, 0), ', ') from pg_catalog.pg_proc
             where pronamespace = 'carbon'::regnamespace and 'factor_set' = any (proargnames) and pronargdefaults > 0",
        );
        assert_eq!(
            defaults,
            format!(
                "'{}'::text",
                one::<String>("select carbon.current_factor_set()")
            )
        );
    }

    #[pg_test]
    fn any_null_gives_null() {
        for arguments in [
            "null, 'composted', 1",
            "'food_waste', null, 1",
            "'food_waste', 'composted', null",
            "'food_waste', 'composted', 1, null",
        ] {
            for function in ["credits", "co2e_kg", "co2e_avoided_kg"] {
                assert!(
                    is_null(&format!("select carbon.{function}({arguments})")),
                    "{function}({arguments})"
                );
            }
        }
    }

    #[pg_test]
    fn generated_columns_can_use_the_functions() {
        Spi::run(
            "create temp table entries (
                category_id text, disposal_method text, weight_kg numeric(8, 3), factor_set text default carbon.current_factor_set(),
                logged_at timestamptz, time_zone text default 'Asia/Bangkok',
                carbon_credits integer not null generated always as (carbon.credits(category_id, disposal_method, weight_kg, factor_set)) stored,
                co2e_kg numeric(14, 6) not null generated always as (carbon.co2e_kg(category_id, disposal_method, weight_kg, factor_set)) stored,
                co2e_avoided_kg numeric(14, 6) not null generated always as (carbon.co2e_avoided_kg(category_id, disposal_method, weight_kg, factor_set)) stored,
                local_date date not null generated always as (carbon.local_date(logged_at, time_zone)) stored)",
        )
        .unwrap();
        Spi::run("insert into entries values ('food_waste', 'composted', 1.234, default, '2024-05-31 17:00Z')").unwrap();
        let row = "select concat_ws(' ', carbon_credits, co2e_kg, co2e_avoided_kg, local_date) from entries";
        assert_eq!(one::<String>(row), "27 0.410428 2.711592 2024-06-01");
        Spi::run("update entries set weight_kg = 0.5, time_zone = 'UTC'").unwrap();
        assert_eq!(one::<String>(row), "11 0.166300 1.098700 2024-05-31");
        assert_eq!(
            refused_with("update entries set disposal_method = 'melted'"),
            "carbon.unknown_method"
        );
    }

    #[pg_test]
    fn workers_may_compute_credits() {
        Spi::run("set local max_parallel_workers_per_gather = 2; set local parallel_setup_cost = 0; set local parallel_tuple_cost = 0;
                  set local min_parallel_table_scan_size = 0").unwrap();
        Spi::run("create table weights as select 10 + g as grams from generate_series(1, 50000) g; analyze weights").unwrap();
        let query = "select sum(carbon.credits_for_grams('food_waste', 'composted', grams, 'tgo-app-2024')) from weights";
        assert!(crate::testing::plan(query).contains("Partial Aggregate"));
    }
}
