//! Rules that hold for every input, not only for the golden cases.

use std::collections::BTreeSet;

use carbon_domain::units::{MicroKg, Weight};
use carbon_domain::{credit, emission, level, phone, streak, time, waste};
use chrono::{Days, NaiveDate};
use proptest::prelude::*;

/// `floor(numerator / denominator + 1/2)` by the textbook.
fn floor_half_up(numerator: i128, denominator: i128) -> i128 {
    (2 * numerator + denominator).div_euclid(2 * denominator)
}

fn any_pair() -> impl Strategy<Value = (&'static str, &'static str)> {
    let pairs = |category: &'static waste::Category| {
        category
            .methods
            .iter()
            .map(|method| (category.id, method.id))
    };
    proptest::sample::select(
        waste::current()
            .categories
            .iter()
            .flat_map(pairs)
            .collect::<Vec<_>>(),
    )
}

/// A decimal in one of its many notations, with its exact value as digits × 10^-scale.
fn any_decimal() -> impl Strategy<Value = (String, i128, u32)> {
    let digits = -2_000_000_000_000_i64..2_000_000_000_000;
    (digits, 0_u32..=12, any::<bool>(), any::<bool>()).prop_map(
        |(digits, scale, exponent, upper)| {
            let sign = if digits < 0 { "-" } else { "" };
            let size = digits.unsigned_abs();
            let text = if exponent {
                format!("{sign}{size}{}-{scale}", if upper { "E" } else { "e" })
            } else {
                let unit = 10_u64.pow(scale);
                let fraction = format!("{:0width$}", size % unit, width = scale as usize);
                let point = if scale == 0 {
                    String::new()
                } else {
                    format!(".{fraction}")
                };
                format!("{sign}{}{point}", size / unit)
            };
            (text, i128::from(digits), scale)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn credits_equal_the_formula((category, method) in any_pair(), grams in 10_i64..=100_000) {
        let weight = Weight::from_grams(grams).unwrap();
        let figure = credit::credits(waste::current(), category, method, weight).unwrap();
        let per_kg = waste::current().method(category, method).unwrap().credits_per_kg;
        prop_assert_eq!(i128::from(figure), floor_half_up(i128::from(per_kg) * i128::from(grams), 1000));
    }

    #[test]
    fn emissions_equal_the_formula((category, method) in any_pair(), grams in 10_i64..=100_000) {
        let weight = Weight::from_grams(grams).unwrap();
        let set = waste::current();
        let factor = |method| i128::from(set.method(category, method).unwrap().co2e_per_kg_e4);
        let micro = |factor_e4: i128| floor_half_up(factor_e4 * i128::from(grams), 10);
        let MicroKg(emitted) = emission::co2e(set, category, method, weight).unwrap();
        let MicroKg(avoided) = emission::co2e_avoided(set, category, method, weight).unwrap();
        prop_assert_eq!(i128::from(emitted), micro(factor(method)));
        prop_assert_eq!(i128::from(avoided), micro(factor("disposed") - factor(method)));
    }

    #[test]
    fn a_weight_is_its_decimal_rounded_half_up((text, digits, scale) in any_decimal()) {
        let grams = floor_half_up(digits * 1000, 10_i128.pow(scale));
        let expected = i64::try_from(grams).ok().and_then(|grams| Weight::from_grams(grams).ok());
        prop_assert_eq!(Weight::from_kg_text(&text).ok(), expected, "{}", text);
    }

    #[test]
    fn a_weight_survives_formatting_and_parsing(grams in 10_i64..=100_000) {
        let weight = Weight::from_grams(grams).unwrap();
        prop_assert_eq!(Weight::from_kg_text(&weight.to_string()), Ok(weight));
        prop_assert_eq!(Weight::from_kg_text(&weight.kg_text()), Ok(weight));
        prop_assert_eq!(Weight::from_kg_text(&format!("{grams}e-3")), Ok(weight));
    }

    #[test]
    fn no_text_breaks_the_parser_of_weights(text in "[-+0-9.eE ]{0,40}|\\PC{0,20}") {
        let is_json = serde_json::from_str::<serde_json::Number>(&text).is_ok();
        let is_number = Weight::from_kg_text(&text) != Err(carbon_domain::DomainError::WeightNotANumber);
        prop_assert_eq!(is_number, is_json && text.trim() == text);
    }

    #[test]
    fn streaks_do_not_depend_on_order_or_repeats(
        offsets in proptest::collection::vec(0_u64..40, 0..60),
        today in 0_u64..45,
        seed in any::<u64>(),
    ) {
        let first = NaiveDate::from_ymd_opt(2024, 2, 1).unwrap();
        let day = |offset: u64| first.checked_add_days(Days::new(offset)).unwrap();
        let mut shuffled = offsets.clone();
        shuffled.sort_by_key(|offset| (offset.wrapping_add(1).wrapping_mul(seed | 1)).rotate_left(17));
        shuffled.extend(offsets.iter().take(5));
        let found = streak::streak(shuffled.into_iter().map(day), day(today));
        let (current, max) = naive_streak(&offsets.iter().copied().collect(), today);
        prop_assert_eq!((found.current, found.max), (current, max));
        prop_assert_eq!(streak::max_streak(offsets.into_iter().map(day)), max);
    }

    #[test]
    fn a_level_lies_between_its_bounds(total in -10_000_i64..10_000) {
        let held = level::level_of(total);
        prop_assert!(held.level == 1 || held.min_credits <= total);
        prop_assert!((0..=100).contains(&level::progress_percentage(total)));
        if let Some(missing) = level::credits_to_next_level(total) {
            prop_assert!(missing > 0);
            prop_assert_eq!(level::level(total + missing), held.level + 1);
            prop_assert_eq!(level::level(total + missing - 1), held.level);
        }
    }

    #[test]
    fn no_text_breaks_the_parser_of_phones(text in "\\PC{0,80}|[+0-9 ()๐-๙-]{0,20}") {
        if let Ok(phone) = phone::normalize(&text, None) {
            prop_assert_eq!(phone.e164().len(), 12);
            prop_assert_eq!(phone::normalize(phone.e164(), Some("66")), Ok(phone));
        }
    }

    #[test]
    fn mobiles_are_parsed_in_every_notation(subscriber in "(14|6[1-6]|[89][0-9])[0-9]{7}") {
        let expected = format!("+66{subscriber}");
        let (first, rest) = subscriber.split_at(2);
        for typed in [
            format!("0{subscriber}"),
            format!("+66{subscriber}"),
            format!("66{subscriber}"),
            format!("0066{subscriber}"),
            format!("+66 (0) {first}-{rest}"),
            subscriber.clone(),
        ] {
            let phone = phone::normalize(&typed, None);
            prop_assert_eq!(phone.as_ref().map(phone::Phone::e164), Ok(expected.as_str()), "{}", typed);
        }
    }

    #[test]
    fn no_text_breaks_the_parser_of_times(text in "\\PC{0,40}|[0-9TZ:+. -]{0,40}") {
        if let Some(instant) = time::parse_instant(&text) {
            prop_assert_eq!(time::parse_instant(&time::instant_text(instant)), Some(instant));
        }
    }
}

/// Streaks, computed by going through the calendar day by day.
fn naive_streak(days: &BTreeSet<u64>, today: u64) -> (i32, i32) {
    let (mut run, mut max, mut last_run) = (0, 0, 0);
    for day in 0..100 {
        run = if days.contains(&day) { run + 1 } else { 0 };
        max = max.max(run);
        if run > 0 {
            last_run = run;
        }
    }
    let goes_on = days.last().is_some_and(|last| last + 1 >= today);
    (if goes_on { last_run } else { 0 }, max)
}
