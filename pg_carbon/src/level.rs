//! Levels and trees by total credits. A total may be negative: it is level 1 and no tree.

use carbon_domain::level as domain;
use pgrx::prelude::*;

/// Level 1..=5 of a total of credits. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn level(total: i64) -> i32 {
    domain::level(total)
}

/// Credits missing to the next level, at least 1; NULL at the highest level and for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn credits_to_next_level(total: i64) -> Option<i64> {
    domain::credits_to_next_level(total)
}

/// The progress of a total from its level to the next, 0..=100 percent; 100 at the highest level. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn level_progress(total: i64) -> i32 {
    domain::progress_percentage(total)
}

/// Trees of a total of credits, never negative. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn trees(total: i64) -> i64 {
    domain::trees(total)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one};

    fn figures(total: &str) -> String {
        one(&format!(
            "select concat_ws(' ', carbon.level(t), coalesce(carbon.credits_to_next_level(t)::text, 'top'), carbon.level_progress(t), carbon.trees(t))
             from (select {total}::bigint) x(t)"
        ))
    }

    #[pg_test]
    fn a_total_gives_level_distance_progress_and_trees() {
        for (total, expected) in [
            ("0", "1 100 0 0"),
            ("99", "1 1 99 0"),
            ("100", "2 400 0 0"),
            ("1000", "4 1500 0 2"),
            ("2500", "5 top 100 5"),
            ("-7", "1 107 0 0"),
        ] {
            assert_eq!(figures(total), expected, "{total}");
        }
    }

    #[pg_test]
    fn totals_at_the_ends_of_their_type_do_not_wrap() {
        assert_eq!(
            figures("'-9223372036854775808'"),
            "1 9223372036854775807 0 0"
        );
        assert_eq!(
            figures("9223372036854775807"),
            "5 top 100 18446744073709551"
        );
    }

    #[pg_test]
    fn no_total_gives_null() {
        for function in ["level", "credits_to_next_level", "level_progress", "trees"] {
            assert!(
                is_null(&format!("select carbon.{function}(null)")),
                "{function}"
            );
        }
    }
}
