//! Inputs of the evaluation of achievements and challenges: tallies, rules and the initial goals.

use carbon_domain::achievement as domain;
use carbon_domain::criteria::{Criteria, Day, Diary, Kind};
use carbon_domain::error::DomainError;
use carbon_domain::tally::Tally;
use pgrx::JsonB;
use pgrx::datum::{Array, Date, Uuid};
use pgrx::prelude::*;
use serde_json::json;

use crate::convert::{calendar_day, numeric};
use crate::derive::tallied;
use crate::error::OrRaise;

/// The tally of `entries` entries of one category and method (negative: subtracted) that weigh `grams` in total.
///
/// Errors: 22023 `carbon.unknown_category`, `carbon.unknown_method`.
#[pg_extern(immutable, strict, parallel_safe)]
fn tally(category: &str, method: &str, entries: i64, grams: i64) -> Vec<u8> {
    Tally::of(category, method, entries, grams)
        .or_raise()
        .to_bytes()
}

/// The sum of two tallies. Errors: 22023 `carbon.tally_invalid`.
#[pg_extern(immutable, strict, parallel_safe)]
fn add_tallies(one: &[u8], other: &[u8]) -> Vec<u8> {
    if one.is_empty() {
        return other.to_vec();
    }
    let mut sum = read(one);
    sum.add(&read(other));
    sum.to_bytes()
}

/// `state` with one entry added (`side` 1) or subtracted (-1): the transition function of `carbon.tally_of`. Errors
/// as `tally`.
#[pg_extern(immutable, strict, parallel_safe)]
fn count_entry(state: &[u8], category: &str, method: &str, grams: i32, side: i32) -> Vec<u8> {
    let mut sum = read(state);
    let (side, grams) = (i64::from(side), i64::from(grams));
    sum.add(&Tally::of(category, method, side, side * grams).or_raise());
    sum.to_bytes()
}

/// The contents of a tally: one row per category and method. Errors: 22023 `carbon.tally_invalid`.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn tally_rows(
    tally: &[u8],
) -> TableIterator<
    'static,
    (
        name!(category_id, &'static str),
        name!(disposal_method, &'static str),
        name!(entries, i64),
        name!(weight_kg, AnyNumeric),
    ),
> {
    let tally = read(tally);
    let rows: Vec<_> = tally
        .lines()
        .map(|line| {
            let (pair, sign) = (line.pair(), if line.grams < 0 { "-" } else { "" });
            let grams = line.grams.unsigned_abs();
            let weight = numeric(&format!("{sign}{}.{:03}", grams / 1000, grams % 1000));
            (pair.category, pair.method, line.entries, weight)
        })
        .collect();
    TableIterator::new(rows)
}

/// The criteria of an achievement in the compact form that is evaluated.
///
/// Errors: 22023 for an invalid member: `carbon.metric_unknown`, `carbon.at_least_invalid`,
/// `carbon.unknown_category`, `carbon.unknown_method`, `carbon.criteria_member_unknown`, `carbon.not_an_object`.
#[pg_extern(immutable, strict, parallel_safe)]
fn achievement_rule(criteria: JsonB) -> String {
    Criteria::from_json(&criteria.0, Kind::Achievement)
        .or_raise()
        .to_rule()
}

/// The criteria of a challenge in the compact form that is evaluated. Errors as `achievement_rule`.
#[pg_extern(immutable, strict, parallel_safe)]
fn challenge_rule(criteria: JsonB) -> String {
    Criteria::from_json(&criteria.0, Kind::Challenge)
        .or_raise()
        .to_rule()
}

/// The target of a rule, in units of its metric (grams for weights). Errors: 22023 `carbon.metric_unknown`.
#[pg_extern(immutable, strict, parallel_safe)]
fn rule_target(rule: &str) -> i64 {
    Criteria::from_rule(rule).or_raise().at_least
}

/// What a diary has reached, in units of the rule's metric: from `credits` and `tally` of all entries, `days` and
/// their tallies in parallel lists, and the last closed day. Errors: 22023 `carbon.metric_unknown`,
/// `carbon.tally_invalid`.
#[pg_extern(immutable, strict, parallel_safe)]
fn rule_value(
    rule: &str,
    credits: i64,
    tally: &[u8],
    days: Array<'_, Date>,
    day_tallies: Array<'_, &[u8]>,
    closed_through: Date,
) -> i64 {
    let days = tallied(&days, &day_tallies);
    Criteria::from_rule(rule).or_raise().value(&Diary {
        credits,
        tally: &read(tally),
        days: &days,
        closed_through: calendar_day(closed_through),
    })
}

/// The achievements that are reached and not held, or held and not reached. `rules` are texts of id and rule.
///
/// Errors: 22023 `carbon.metric_unknown`, `carbon.tally_invalid`.
#[pg_extern(immutable, strict, parallel_safe)]
fn changed_achievements(
    rules: Array<'_, &str>,
    held: Array<'_, &str>,
    credits: i64,
    tally: &[u8],
    days: Array<'_, Date>,
    day_tallies: Array<'_, &[u8]>,
    closed_through: Date,
) -> Vec<String> {
    let held: Vec<&str> = held.iter().flatten().collect();
    let days = tallied(&days, &day_tallies);
    let diary = Diary {
        credits,
        tally: &read(tally),
        days: &days,
        closed_through: calendar_day(closed_through),
    };
    let mut changed = named(&rules);
    changed.retain(|(id, rule)| rule.is_reached(&diary) != held.contains(&id.as_str()));
    changed.into_iter().map(|(id, _)| id).collect()
}

/// Whether closing days with these tallies can change one of the achievements, if nothing else has happened since
/// the last evaluation. Errors as `changed_achievements`.
#[pg_extern(immutable, strict, parallel_safe)]
fn is_reached_by_day_end(
    rules: Array<'_, &str>,
    held: Array<'_, &str>,
    ended: Array<'_, &[u8]>,
) -> bool {
    let held: Vec<&str> = held.iter().flatten().collect();
    let ended: Vec<Tally> = ended.iter().flatten().map(read).collect();
    named(&rules)
        .iter()
        .any(|(id, rule)| rule.is_reached_by_day_end(held.contains(&id.as_str()), &ended))
}

/// Whether the tally of a day meets a challenge's rule. Errors as `rule_value`.
#[pg_extern(immutable, strict, parallel_safe)]
fn is_day_reached(rule: &str, tally: &[u8]) -> bool {
    day_value(rule, tally) >= rule_target(rule)
}

/// What the tally of a day has reached of a challenge's rule. Errors as `rule_value`.
#[pg_extern(immutable, strict, parallel_safe)]
fn day_value(rule: &str, tally: &[u8]) -> i64 {
    let rule = Criteria::from_rule(rule).or_raise();
    let day = Day {
        date: chrono::NaiveDate::default(),
        tally: read(tally),
    };
    rule.value(&Diary {
        credits: 0,
        tally: &Tally::default(),
        days: &[day],
        closed_through: chrono::NaiveDate::default(),
    })
}

/// `{value, at_least, percentage}` as shown to users: weights in kilograms, whole percent 0..=100. Errors: 22023
/// `carbon.metric_unknown`.
#[pg_extern(immutable, strict, parallel_safe)]
fn rule_progress(rule: &str, value: i64) -> JsonB {
    let rule = Criteria::from_rule(rule).or_raise();
    JsonB(json!({
        "value": rule.shown(value),
        "at_least": rule.shown(rule.at_least),
        "percentage": rule.percentage(value),
    }))
}

/// The id of the challenge of a type on a day.
#[pg_extern(immutable, strict, parallel_safe)]
fn challenge_id(day: Date, challenge_type: &str) -> Uuid {
    Uuid::from_bytes(domain::challenge_id(calendar_day(day), challenge_type))
}

/// The initial goals of the product: `achievement` or `challenge`, each with its texts, credits and criteria.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn seed_goals() -> TableIterator<
    'static,
    (
        name!(kind, &'static str),
        name!(id, &'static str),
        name!(name_th, &'static str),
        name!(name_en, &'static str),
        name!(description_th, &'static str),
        name!(description_en, &'static str),
        name!(icon, &'static str),
        name!(credits_reward, i32),
        name!(criteria, JsonB),
    ),
> {
    let achievements = domain::achievements()
        .iter()
        .map(|goal| ("achievement", goal));
    let challenges = domain::daily_challenges()
        .iter()
        .map(|goal| ("challenge", goal));
    TableIterator::new(achievements.chain(challenges).map(|(kind, goal)| {
        (
            kind,
            goal.id,
            goal.name_th,
            goal.name_en,
            goal.description_th,
            goal.description_en,
            goal.icon,
            goal.credits_reward,
            JsonB(goal.criteria.clone()),
        )
    }))
}

extension_sql_file!(
    "../sql/tally.sql",
    name = "tally_aggregates",
    requires = [add_tallies, count_entry]
);

/// The rules of a list of texts "id rule".
fn named(rules: &Array<'_, &str>) -> Vec<(String, Criteria)> {
    let read = |text: &str| {
        let (id, rule) = text.split_once(' ').ok_or(DomainError::MetricUnknown)?;
        Ok((id.to_owned(), Criteria::from_rule(rule)?))
    };
    let rules: Result<_, DomainError> = rules.iter().flatten().map(read).collect();
    rules.or_raise()
}

fn read(bytes: &[u8]) -> Tally {
    Tally::from_bytes(bytes).or_raise()
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{failure, is_null, one, refused_with};

    const ENTRIES: &str =
        "(values ('plastic_bottles', 'recycled', 500), ('plastic_bottles', 'recycled', 750),
        ('food_waste', 'composted', 1000)) as e (category, method, grams)";

    #[pg_test]
    fn entries_are_counted_by_category_and_method() {
        let rows = format!(
            "select string_agg(concat_ws(' ', r.category_id, r.disposal_method, r.entries, r.weight_kg), ', ')
             from (select carbon.tally_of(category, method, grams, 1) as t from {ENTRIES}) x, carbon.tally_rows(x.t) r"
        );
        assert_eq!(
            one::<String>(&rows),
            "food_waste composted 1 1.000, plastic_bottles recycled 2 1.250"
        );
        let nothing = format!(
            "select carbon.tally_of(category, method, grams, side) = '' from {ENTRIES}, (values (1), (-1)) s (side)"
        );
        assert!(one::<bool>(&nothing));
        let both_ways = format!(
            "select carbon.tally_of(category, method, grams, 1)
                  = (select carbon.sum_tallies(carbon.tally(category, method, 1, grams) order by grams) from {ENTRIES})
             from {ENTRIES}"
        );
        assert!(one::<bool>(&both_ways));
        assert!(one::<bool>(
            "select carbon.sum_tallies(t) = '' from (select ''::bytea where false) x (t)"
        ));
        assert_eq!(
            refused_with("select carbon.tally('rocks', 'recycled', 1, 1)"),
            "carbon.unknown_category"
        );
        assert_eq!(
            refused_with(r"select carbon.add_tallies('\x00'::bytea, ''::bytea)"),
            "carbon.tally_invalid"
        );
        assert!(is_null("select carbon.tally(null, 'recycled', 1, 1)"));
    }

    #[pg_test]
    fn everything_the_product_starts_with_can_be_evaluated() {
        assert_eq!(
            one::<i64>(
                "select count(carbon.rule_target(carbon.achievement_rule(criteria))) from carbon.seed_goals() where kind = 'achievement'"
            ),
            7
        );
        assert_eq!(
            one::<i64>(
                "select sum(carbon.rule_target(carbon.challenge_rule(criteria)))::bigint from carbon.seed_goals() where kind = 'challenge'"
            ),
            8
        );
        let value = "select carbon.rule_value(carbon.achievement_rule('{\"metric\": \"daily_streak\", \"at_least\": 7}'), 0, '',
            array[date '2026-01-01', '2026-01-02', '2026-01-04'], array[''::bytea, '', ''], '1970-01-01')";
        assert_eq!(one::<i64>(value), 2);
        let progress = "select carbon.rule_progress('weight_kg 1500 * *', 750)::text";
        assert_eq!(
            one::<String>(progress),
            r#"{"value": 0.75, "at_least": 1.5, "percentage": 50}"#
        );
        let today = "select carbon.day_value('entries_today 5 recycled *', carbon.tally('metal_cans', 'recycled', 3, 30))";
        assert_eq!(one::<i64>(today), 3);
    }

    #[pg_test]
    fn achievements_change_where_what_is_reached_is_not_what_is_held() {
        let rules = "array['streak daily_streak 3 * *', 'free plastic_free_day 1 * *', 'four total_entries 4 * *']";
        let changed = |held: &str, entries: i64| {
            one::<String>(&format!(
                "select array_to_string(carbon.changed_achievements({rules}, {held}, 0, carbon.tally('food_waste', 'composted', {entries}, 1),
                   array[date '2026-01-01'], array[carbon.tally('food_waste', 'composted', 1, 1)], '2026-01-09'), ' ')"
            ))
        };
        assert_eq!(changed("'{}'", 4), "free four");
        assert_eq!(changed("'{free,four}'", 4), "");
        assert_eq!(changed("'{streak,free,four}'", 3), "streak four");
        assert!(one::<bool>(
            "select carbon.is_day_reached('entries_today 2 * *', carbon.tally('food_waste', 'composted', 2, 1))"
        ));
        assert_eq!(
            refused_with(
                "select carbon.changed_achievements('{x}', '{}', 0, '', '{}', '{}', '2026-01-09')"
            ),
            "carbon.metric_unknown"
        );
    }

    #[pg_test]
    fn only_a_day_without_plastic_is_looked_at_when_it_ends() {
        let moved = |held: &str, category: &str| {
            one::<bool>(&format!(
                "select carbon.is_reached_by_day_end(array['streak daily_streak 3 * *', 'free plastic_free_day 2 * *'], {held},
                   array[carbon.tally('{category}', 'recycled', 1, 1)])"
            ))
        };
        assert!(moved("'{}'", "glass_bottles"));
        assert!(!moved("'{}'", "plastic_bottles"));
        assert!(!moved("'{free}'", "glass_bottles"));
        assert_eq!(
            refused_with("select carbon.is_reached_by_day_end('{x}', '{}', '{}')"),
            "carbon.metric_unknown"
        );
    }

    #[pg_test]
    fn criteria_that_cannot_be_evaluated_name_the_member() {
        let wrong = failure("select carbon.achievement_rule('{\"metric\": \"total_entries\"}')");
        assert_eq!(wrong.detail, "carbon.at_least_invalid");
        assert!(wrong.message.starts_with("criteria.at_least: "));
        assert_eq!(
            refused_with(
                "select carbon.challenge_rule('{\"metric\": \"total_entries\", \"at_least\": 1}')"
            ),
            "carbon.metric_unknown"
        );
        assert_eq!(
            refused_with("select carbon.rule_target('anything 5')"),
            "carbon.metric_unknown"
        );
    }

    #[pg_test]
    fn a_challenge_of_a_day_has_one_id() {
        assert!(one::<bool>(
            "select carbon.challenge_id('2026-11-22', 'a') = carbon.challenge_id('2026-11-22', 'a')
                and carbon.challenge_id('2026-11-22', 'a') <> carbon.challenge_id('2026-11-23', 'a')"
        ));
    }
}
