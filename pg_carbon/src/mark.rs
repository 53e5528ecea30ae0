//! Marks: levels, counts of trees and lengths of the longest run that the reward ledger records.

use carbon_domain::lang::Lang;
use carbon_domain::mark::{Mark, MarkedState};
use pgrx::datum::Array;
use pgrx::prelude::*;

/// The marks that a total of credits and a longest run (days) reach and that are not held (`is_reached`), or that are held
/// and not reached, in the order of their rows in the ledger. `held_sources` and `held_ids` are parallel lists; what is no
/// mark in them is ignored. No row for a NULL argument.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn changed_marks(
    total: i64,
    longest_run: i32,
    held_sources: Array<'_, &str>,
    held_ids: Array<'_, &str>,
) -> TableIterator<
    'static,
    (
        name!(source, &'static str),
        name!(source_id, String),
        name!(is_reached, bool),
    ),
> {
    let held: Vec<Mark> = held_sources
        .iter()
        .flatten()
        .zip(held_ids.iter().flatten())
        .filter_map(|(source, id)| Mark::from_ledger(source, id))
        .collect();
    let changes = MarkedState { total, longest_run }.changes(&held);
    TableIterator::new(
        changes
            .into_iter()
            .map(|(mark, is_reached)| (mark.kind.source(), mark.value.to_string(), is_reached)),
    )
}

/// The names of the mark of a row of the ledger; no row for anything else and for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn mark_names(
    source: &str,
    source_id: &str,
) -> TableIterator<'static, (name!(name_th, String), name!(name_en, String))> {
    let mark = Mark::from_ledger(source, source_id);
    TableIterator::new(
        mark.into_iter()
            .map(|mark| (mark.name(Lang::Th), mark.name(Lang::En))),
    )
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one};

    #[pg_test]
    fn marks_that_changed_are_listed_in_the_order_of_the_ledger() {
        let changed = |total: &str, run: i32, sources: &str, ids: &str| {
            one::<String>(&format!(
                "select coalesce(string_agg(concat(case when c.is_reached then '+' else '-' end, c.source, ' ', c.source_id), ', '), 'none')
                 from carbon.changed_marks({total}, {run}, '{sources}', '{ids}') as c"
            ))
        };
        assert_eq!(
            changed("1000", 7, "{level,achievement}", "{2,first_scan}"),
            "+level 3, +level 4, +tree 1, +tree 2, +streak 7"
        );
        assert_eq!(
            changed("0", 6, "{tree,tree,streak}", "{1,2,7}"),
            "-tree 2, -tree 1, -streak 7"
        );
        assert_eq!(changed("-5", 0, "{}", "{}"), "none");
        assert_eq!(changed("null", 0, "{}", "{}"), "none");
    }

    #[pg_test]
    fn marks_have_names_and_nothing_else_has() {
        let name = |source: &str, id: &str| {
            format!("(select name_en || '/' || name_th from carbon.mark_names('{source}', '{id}'))")
        };
        assert_eq!(
            one::<String>(&format!("select {}", name("tree", "5"))),
            "5 trees saved/ช่วยต้นไม้ได้ 5 ต้น"
        );
        for (source, id) in [("challenge", "5"), ("tree", "x")] {
            assert!(is_null(&format!("select {}", name(source, id))), "{source}");
        }
    }
}
