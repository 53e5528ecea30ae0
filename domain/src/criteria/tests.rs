use serde_json::json;

use super::*;
use crate::achievement::{achievements, daily_challenges};

fn day(date: &str, entries: &[(&str, &str, i64, i64)]) -> Day {
    let mut tally = Tally::default();
    for (category, method, count, grams) in entries {
        tally.add(&Tally::of(category, method, *count, *grams).unwrap());
    }
    Day {
        date: date.parse().unwrap(),
        tally,
    }
}

fn value(criteria: &Value, kind: Kind, credits: i64, days: &[Day], closed_through: &str) -> i64 {
    let read = Criteria::from_json(criteria, kind).unwrap();
    assert_eq!(Criteria::from_rule(&read.to_rule()), Ok(read.clone()));
    let mut tally = Tally::default();
    days.iter().for_each(|day| tally.add(&day.tally));
    read.value(&Diary {
        credits,
        tally: &tally,
        days,
        closed_through: closed_through.parse().unwrap(),
    })
}

fn of_achievement(id: &str, credits: i64, days: &[Day], closed_through: &str) -> i64 {
    let all = achievements();
    let one = all.iter().find(|one| one.id == id).unwrap();
    value(
        &one.criteria,
        Kind::Achievement,
        credits,
        days,
        closed_through,
    )
}

#[test]
fn every_goal_that_the_product_starts_with_can_be_evaluated() {
    let days = [
        day("2026-11-01", &[("food_waste", "composted", 2, 700)]),
        day(
            "2026-11-02",
            &[
                ("plastic_bags", "avoided", 1, 10),
                ("organic_waste", "composted", 1, 300),
            ],
        ),
        day(
            "2026-11-03",
            &[
                ("plastic_bottles", "recycled", 10, 100),
                ("paper_cardboard", "recycled", 1, 20),
            ],
        ),
        day("2026-11-05", &[("glass_bottles", "reused", 1, 10)]),
    ];
    for (id, credits, expected) in [
        ("first_scan", 0, 16),
        ("daily_tracker", 0, 3),
        ("recycling_hero", 0, 11),
        ("compost_master", 0, 1000),
        ("plastic_free", 0, 2),
        ("waste_warrior", 999, 999),
        ("waste_warrior", -5, 0),
        ("tree_saver", 1499, 2),
    ] {
        let found = of_achievement(id, credits, &days, "2026-11-04");
        assert_eq!(found, expected, "{id}");
    }
    assert_eq!(of_achievement("plastic_free", 0, &days, "2026-11-05"), 3);
    assert_eq!(of_achievement("plastic_free", 0, &days, "2026-10-31"), 0);
    for (id, expected) in [
        ("scan_5_items", 11),
        ("recycle_something", 11),
        ("compost_organic", 0),
        ("avoid_plastic", 0),
    ] {
        let all = daily_challenges();
        let one = all.iter().find(|one| one.id == id).unwrap();
        let found = value(&one.criteria, Kind::Challenge, 0, &days[2..3], "2026-11-01");
        assert_eq!(found, expected, "{id}");
    }
}

#[test]
fn invalid_criteria_are_refused_by_their_member() {
    for (criteria, kind, field, error) in [
        (
            json!([]),
            Kind::Achievement,
            "criteria",
            DomainError::NotAnObject,
        ),
        (
            json!({"at_least": 1}),
            Kind::Achievement,
            "criteria.metric",
            DomainError::MetricUnknown,
        ),
        (
            json!({"metric": "entries_today", "at_least": 1}),
            Kind::Achievement,
            "criteria.metric",
            DomainError::MetricUnknown,
        ),
        (
            json!({"metric": "total_entries", "at_least": 1}),
            Kind::Challenge,
            "criteria.metric",
            DomainError::MetricUnknown,
        ),
        (
            json!({"metric": "total_entries"}),
            Kind::Achievement,
            "criteria.at_least",
            DomainError::AtLeastInvalid,
        ),
        (
            json!({"metric": "total_entries", "at_least": 0}),
            Kind::Achievement,
            "criteria.at_least",
            DomainError::AtLeastInvalid,
        ),
        (
            json!({"metric": "total_entries", "at_least": 1.5}),
            Kind::Achievement,
            "criteria.at_least",
            DomainError::AtLeastInvalid,
        ),
        (
            json!({"metric": "total_entries", "at_least": "5"}),
            Kind::Achievement,
            "criteria.at_least",
            DomainError::AtLeastInvalid,
        ),
        (
            json!({"metric": "weight_kg", "at_least": 0.0001}),
            Kind::Achievement,
            "criteria.at_least",
            DomainError::AtLeastInvalid,
        ),
        (
            json!({"metric": "total_credits", "at_least": 1, "category_id": "food_waste"}),
            Kind::Achievement,
            "criteria.category_id",
            DomainError::CriteriaMemberUnknown,
        ),
        (
            json!({"metric": "total_entries", "at_least": 1, "categoryId": "food_waste"}),
            Kind::Achievement,
            "criteria.categoryId",
            DomainError::CriteriaMemberUnknown,
        ),
        (
            json!({"metric": "total_entries", "at_least": 1, "category_id": "rocks"}),
            Kind::Achievement,
            "criteria.category_id",
            DomainError::UnknownCategory,
        ),
        (
            json!({"metric": "total_entries", "at_least": 1, "category_any_of": []}),
            Kind::Achievement,
            "criteria.category_any_of",
            DomainError::NotAList,
        ),
        (
            json!({"metric": "total_entries", "at_least": 1, "disposal_method": "eaten"}),
            Kind::Achievement,
            "criteria.disposal_method",
            DomainError::UnknownMethod,
        ),
        (
            json!({"metric": "entries_today", "at_least": 1, "category_id": "food_waste", "disposal_method": "recycled"}),
            Kind::Challenge,
            "criteria.disposal_method",
            DomainError::UnknownMethod,
        ),
    ] {
        assert_eq!(
            Criteria::from_json(&criteria, kind),
            Err(FieldError::new(field, error)),
            "{criteria}"
        );
    }
}

#[test]
fn a_day_is_plastic_free_if_all_of_its_plastic_was_avoided_or_reused() {
    for (category, method, days) in [
        ("plastic_bags", "avoided", 1),
        ("plastic_bottles", "reused", 1),
        ("plastic_bottles", "recycled", 0),
        ("plastic_bags", "disposed", 0),
        ("paper_cardboard", "recycled", 1),
    ] {
        let found = of_achievement(
            "plastic_free",
            0,
            &[day("2026-11-01", &[(category, method, 1, 10)])],
            "2026-11-01",
        );
        assert_eq!(found, days, "{category} {method}");
    }
    let both = day(
        "2026-11-01",
        &[
            ("plastic_bags", "avoided", 1, 10),
            ("plastic_bags", "disposed", 1, 10),
        ],
    );
    assert_eq!(of_achievement("plastic_free", 0, &[both], "2026-11-01"), 0);
    let empty = day("2026-11-01", &[]);
    assert_eq!(of_achievement("plastic_free", 0, &[empty], "2026-11-01"), 0);
}

#[test]
fn a_metric_without_filters_refuses_all_of_them() {
    for metric in [
        "total_credits",
        "trees_saved",
        "daily_streak",
        "plastic_free_day",
    ] {
        for (filter, value) in [
            ("disposal_method", json!("recycled")),
            ("category_id", json!("paper_cardboard")),
            ("category_any_of", json!(["paper_cardboard"])),
        ] {
            let criteria = json!({"metric": metric, "at_least": 1, filter: value});
            assert_eq!(
                Criteria::from_json(&criteria, Kind::Achievement),
                Err(FieldError::new(
                    format!("criteria.{filter}"),
                    DomainError::CriteriaMemberUnknown
                )),
                "{criteria}"
            );
        }
    }
}

#[test]
fn only_entries_that_pass_the_filters_count() {
    let days = [day(
        "2026-11-01",
        &[
            ("paper_cardboard", "recycled", 1, 10),
            ("glass_bottles", "recycled", 2, 20),
            ("glass_bottles", "reused", 4, 40),
        ],
    )];
    for (filters, entries) in [
        (json!({}), 7),
        (json!({"disposal_method": "recycled"}), 3),
        (json!({"category_id": "glass_bottles"}), 6),
        (
            json!({"category_id": "glass_bottles", "disposal_method": "recycled"}),
            2,
        ),
        (
            json!({"category_any_of": ["glass_bottles", "paper_cardboard"]}),
            7,
        ),
    ] {
        for (metric, unit, kind) in [
            ("total_entries", 1, Kind::Achievement),
            ("weight_kg", 10, Kind::Achievement),
            ("entries_in_one_day", 1, Kind::Achievement),
            ("entries_today", 1, Kind::Challenge),
        ] {
            let mut criteria = filters.clone();
            criteria["metric"] = metric.into();
            criteria["at_least"] = 1.into();
            let found = value(&criteria, kind, 0, &days, "2026-11-01");
            assert_eq!(found, entries * unit, "{criteria}");
        }
    }
}

fn rule(metric: &str, at_least: i64) -> Criteria {
    let criteria = json!({"metric": metric, "at_least": at_least});
    Criteria::from_json(&criteria, Kind::Achievement).unwrap()
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

#[test]
fn weights_are_shown_in_kilograms() {
    let criteria = json!({"metric": "weight_kg", "at_least": 1.25});
    let read = Criteria::from_json(&criteria, Kind::Achievement).unwrap();
    assert_eq!(read.at_least, 1_250);
    assert_eq!(read.shown(1_250).to_string(), "1.25");
    assert_eq!(read.shown(3_000).to_string(), "3");
    assert_eq!(
        (
            read.percentage(0),
            read.percentage(1_249),
            read.percentage(9_000)
        ),
        (0, 99, 100)
    );
}

#[test]
fn a_rule_is_reached_from_its_at_least_on() {
    let days = [
        day("2026-11-01", &[("food_waste", "composted", 1, 10)]),
        day("2026-11-02", &[("plastic_bags", "disposed", 2, 10)]),
    ];
    let mut tally = Tally::default();
    days.iter().for_each(|day| tally.add(&day.tally));
    let diary = Diary {
        credits: 0,
        tally: &tally,
        days: &days,
        closed_through: date("2026-11-30"),
    };
    for (metric, reached) in [
        ("total_entries", 3),
        ("daily_streak", 2),
        ("entries_in_one_day", 2),
        ("plastic_free_day", 1),
    ] {
        assert!(rule(metric, reached).is_reached(&diary), "{metric}");
        assert!(!rule(metric, reached + 1).is_reached(&diary), "{metric}");
    }
}
