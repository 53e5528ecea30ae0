//! The embedded data as tables: factors, categories, levels, provinces, error messages. The tables of the API are filled
//! from here, so there is one source.

use carbon_domain::error::DomainError;
use carbon_domain::lang::Lang;
use carbon_domain::{level, province, waste};
use pgrx::prelude::*;

use crate::convert::numeric;

/// Every factor of every factor set: one row per set, category and method.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn factors() -> TableIterator<
    'static,
    (
        name!(factor_set, &'static str),
        name!(category_id, &'static str),
        name!(method, &'static str),
        name!(name_th, &'static str),
        name!(name_en, &'static str),
        name!(credits_per_kg, i32),
        name!(kg_co2e_per_kg, AnyNumeric),
        name!(basis, &'static str),
    ),
> {
    TableIterator::new(waste::factor_sets().iter().flat_map(|set| {
        set.categories.iter().flat_map(move |category| {
            category.methods.iter().map(move |method| {
                (
                    set.id,
                    category.id,
                    method.id,
                    method.name_th,
                    method.name_en,
                    method.credits_per_kg,
                    numeric(&method.kg_co2e_per_kg()),
                    method.basis,
                )
            })
        })
    }))
}

/// The categories of the current factor set with their place in lists, from 1.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn categories() -> TableIterator<
    'static,
    (
        name!(id, &'static str),
        name!(name_th, &'static str),
        name!(name_en, &'static str),
        name!(icon, &'static str),
        name!(color, &'static str),
        name!(position, i32),
    ),
> {
    TableIterator::new(
        waste::current()
            .categories
            .iter()
            .zip(1..)
            .map(|(category, position)| {
                (
                    category.id,
                    category.name_th,
                    category.name_en,
                    category.icon,
                    category.color,
                    position,
                )
            }),
    )
}

/// The levels, lowest first, each with the total of credits at which it begins.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn levels() -> TableIterator<
    'static,
    (
        name!(level, i32),
        name!(min_credits, i64),
        name!(name_th, &'static str),
        name!(name_en, &'static str),
        name!(icon, &'static str),
    ),
> {
    TableIterator::new(level::levels().iter().map(|level| {
        (
            level.level,
            level.min_credits,
            level.name_th,
            level.name_en,
            level.icon,
        )
    }))
}

/// The 77 provinces by ISO 3166-2 code; `code` is the number in it.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn provinces() -> TableIterator<
    'static,
    (
        name!(iso, &'static str),
        name!(code, i32),
        name!(name_th, &'static str),
        name!(name_en, &'static str),
    ),
> {
    TableIterator::new(province::all().iter().map(|province| {
        (
            province.iso,
            province.code,
            province.name_th,
            province.name_en,
        )
    }))
}

/// Whether this is the ISO code of a province, written exactly (`TH-10`). NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn is_province(iso: &str) -> bool {
    province::by_iso(iso).is_some()
}

/// Every error that any layer reports: its token, the field that it is usually about (NULL for none), its texts.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn error_messages() -> TableIterator<
    'static,
    (
        name!(token, &'static str),
        name!(field, Option<&'static str>),
        name!(message_th, &'static str),
        name!(message_en, &'static str),
    ),
> {
    TableIterator::new(DomainError::ALL.iter().map(|error| {
        (
            error.token(),
            error.field(),
            error.message(Lang::Th),
            error.message(Lang::En),
        )
    }))
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one};

    #[pg_test]
    fn the_tables_are_whole() {
        assert_eq!(one::<i64>("select count(*) from carbon.factors()"), 32);
        assert_eq!(one::<i64>("select count(*) from carbon.categories()"), 8);
        assert_eq!(one::<i64>("select count(*) from carbon.levels()"), 5);
        assert_eq!(one::<i64>("select count(*) from carbon.provinces()"), 77);
        assert_eq!(
            one::<i64>(
                "select count(*) from carbon.factors() f where f is null or name_th = '' or name_en = '' or basis = ''"
            ),
            0
        );
    }

    #[pg_test]
    fn the_factors_equal_those_of_credits_and_emissions() {
        let differing = "select count(*) from carbon.factors() where carbon.credits(category_id, method, 1, factor_set) <> credits_per_kg
            or carbon.co2e_kg(category_id, method, 1, factor_set) <> kg_co2e_per_kg";
        assert_eq!(one::<i64>(differing), 0);
        assert_eq!(
            one::<String>(
                "select kg_co2e_per_kg::text from carbon.factors() where (category_id, method) = ('food_waste', 'composted')"
            ),
            "0.3326"
        );
    }

    #[pg_test]
    fn levels_begin_where_the_level_function_says() {
        let differing =
            "select count(*) from carbon.levels() where carbon.level(min_credits) <> level
            or (level > 1 and carbon.level(min_credits - 1) <> level - 1)";
        assert_eq!(one::<i64>(differing), 0);
    }

    #[pg_test]
    fn categories_have_places_from_one() {
        assert_eq!(
            one::<String>("select string_agg(id, ',' order by position) || ' ' || min(position) || ' ' || max(position) from carbon.categories()")
                .split_once(',')
                .map(|(first, _)| first.to_owned()),
            Some("food_waste".to_owned())
        );
        assert_eq!(
            one::<i64>(
                "select count(distinct position) from carbon.categories() where position between 1 and 8"
            ),
            8
        );
    }

    #[pg_test]
    fn provinces_are_found_by_their_exact_code() {
        assert!(one::<bool>(
            "select bool_and(carbon.is_province(iso)) from carbon.provinces()"
        ));
        assert!(one::<bool>("select carbon.is_province('TH-38')"));
        assert!(!one::<bool>("select carbon.is_province('th-10')"));
        assert!(!one::<bool>("select carbon.is_province('TH-99')"));
        assert!(is_null("select carbon.is_province(null)"));
    }

    #[pg_test]
    fn every_token_has_texts_in_both_languages() {
        let bad = "select count(*) from carbon.error_messages() where token !~ '^carbon[.][a-z_]+$' or message_th !~ '[ก-๙]' or message_en !~ '^[ -~]+$'";
        assert_eq!(one::<i64>(bad), 0);
        assert!(one::<bool>(
            "select count(*) > 50 and count(*) = count(distinct token) from carbon.error_messages()"
        ));
        assert!(one::<bool>(
            "select field is null from carbon.error_messages() where token = 'carbon.not_found'"
        ));
    }
}
