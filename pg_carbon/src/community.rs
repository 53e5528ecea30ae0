//! Community challenges: what entries contribute, and how far a challenge has come.

use carbon_domain::community::{self as domain, Entry, Measure, Window};
use pgrx::JsonB;
use pgrx::datum::{Array, Date};
use pgrx::prelude::*;

use crate::convert::calendar_day;
use crate::error::OrRaise;

/// The criteria of a community challenge in the compact form that is evaluated.
///
/// Errors: 22023 for an invalid member: `carbon.metric_unknown`, `carbon.unknown_category`, `carbon.unknown_method`,
/// `carbon.criteria_member_unknown`, `carbon.not_an_object`.
#[pg_extern(immutable, strict, parallel_safe)]
fn community_rule(criteria: JsonB) -> String {
    Measure::from_json(&criteria.0).or_raise().to_rule()
}

/// The unit of a rule's targets and contributions: `g`, `entries`, `credits` or `mg`. Errors: 22023
/// `carbon.metric_unknown`.
#[pg_extern(immutable, strict, parallel_safe)]
fn community_unit(rule: &str) -> &'static str {
    Measure::from_rule(rule).or_raise().metric.unit()
}

/// What an entry contributes to a challenge, in the unit of the rule's metric; 0 if it does not count: before
/// `first_day`, after `last_day`, outside `only_province` (NULL = any), or not matched by the rule's filters.
///
/// Errors: 22023 `carbon.metric_unknown`, `carbon.date_invalid`.
#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::too_many_arguments)]
fn contribution(
    rule: &str,
    first_day: Date,
    last_day: Date,
    only_province: Option<&str>,
    local_date: Date,
    province: Option<&str>,
    category: &str,
    method: &str,
    grams: i32,
    credits: i32,
    co2e_avoided_mg: i64,
) -> i64 {
    let window = Window {
        first: calendar_day(first_day),
        last: calendar_day(last_day),
        province: only_province,
    };
    let entry = Entry {
        day: calendar_day(local_date),
        province,
        category,
        method,
        grams: grams.into(),
        credits: credits.into(),
        co2e_avoided_mg,
    };
    Measure::from_rule(rule)
        .or_raise()
        .contribution(&window, &entry)
}

/// The whole percentage of a target that a total is, rounded down, 0 to 100.
#[pg_extern(immutable, strict, parallel_safe)]
fn community_percent(total: i64, target: i64) -> i32 {
    domain::percent(total, target)
}

/// Those of the milestones (percent of the target) that the total has reached.
#[pg_extern(immutable, strict, parallel_safe)]
fn reached_milestones(total: i64, target: i64, milestones: Array<'_, i32>) -> Vec<i32> {
    let milestones: Vec<i32> = milestones.iter().flatten().collect();
    domain::reached_milestones(total, target, &milestones)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one, refused_with};

    fn contribution(rule: &str, only: &str, province: &str) -> i64 {
        one(&format!(
            "select carbon.contribution('{rule}', '2026-11-10', '2026-11-16', {only}, '2026-11-16', {province},
               'plastic_bottles', 'recycled', 1500, -3, 2345678)"
        ))
    }

    #[pg_test]
    fn an_entry_contributes_by_rule_and_province() {
        for (rule, expected) in [
            ("weight_kg * *", 1_500),
            ("entries recycled plastic_bottles", 1),
            ("entries reused *", 0),
            ("credits * *", -3),
            ("co2e_avoided_kg * *", 2_345_678),
        ] {
            assert_eq!(contribution(rule, "null", "null"), expected, "{rule}");
        }
        assert_eq!(contribution("entries * *", "'TH-10'", "'TH-10'"), 1);
        assert_eq!(contribution("entries * *", "'TH-10'", "null"), 0);
    }

    #[pg_test]
    fn criteria_have_a_rule_and_a_unit() {
        let rule =
            r#"carbon.community_rule('{"metric": "weight_kg", "category_id": "food_waste"}')"#;
        assert_eq!(
            one::<String>(&format!("select {rule}")),
            "weight_kg * food_waste"
        );
        assert_eq!(
            one::<String>(&format!("select carbon.community_unit({rule})")),
            "g"
        );
        assert_eq!(
            refused_with("select carbon.community_rule('{}')"),
            "carbon.metric_unknown"
        );
        assert!(is_null("select carbon.community_rule(null)"));
    }

    #[pg_test]
    fn a_challenge_has_come_so_far() {
        assert_eq!(one::<i32>("select carbon.community_percent(999, 1000)"), 99);
        let reached = "select carbon.reached_milestones(50, 100, '{25,50,75,100}')::text";
        assert_eq!(one::<String>(reached), "{25,50}");
    }
}
