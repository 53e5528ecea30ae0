//! What is compiled in, as tables: factors, categories, levels, provinces, error messages. Tables that show
//! these are filled from here, so there is one truth.

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
    TableIterator::new(waste::current().categories.iter().zip(1..).map(|(category, position)| {
        (category.id, category.name_th, category.name_en, category.icon, category.color, position)
    }))
}

/// The levels, lowest first, each with the total of credits it begins at.
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
    TableIterator::new(
        level::levels().iter().map(|level| (level.level, level.min_credits, level.name_th, level.name_en, level.icon)),
    )
}

/// The 77 provinces by ISO 3166-2 code; `code` is the number in it.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn provinces() -> TableIterator<
    'static,
    (name!(iso, &'static str), name!(code, i32), name!(name_th, &'static str), name!(name_en, &'static str)),
> {
    TableIterator::new(
        province::all().iter().map(|province| (province.iso, province.code, province.name_th, province.name_en)),
    )
}

/// Whether this is the ISO code of a province, written exactly (`TH-10`). NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn is_province(iso: &str) -> bool {
    province::by_iso(iso).is_some()
}

/// Every mistake that any layer reports: its token, the field it is usually about (NULL for none), its texts.
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
    TableIterator::new(
        DomainError::ALL
            .iter()
            .map(|error| (error.token(), error.field(), error.message(Lang::Th), error.message(Lang::En))),
    )
}
