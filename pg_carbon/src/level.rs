//! Levels and trees by total credits. A total may be negative: it is level 1 and no tree.

use carbon_domain::level as domain;
use pgrx::prelude::*;

use crate::error::raise_overflow;

/// Level 1..=5 of a total of credits. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn level(total: i64) -> i32 {
    domain::level(total)
}

/// Credits missing to the next level, at least 1; NULL at the highest level and for NULL.
///
/// Errors: 22003 when the distance does not fit into an integer.
#[pg_extern(immutable, strict, parallel_safe)]
fn credits_to_next_level(total: i64) -> Option<i32> {
    domain::credits_to_next_level(total)
        .map(|credits| i32::try_from(credits).unwrap_or_else(|_| raise_overflow("credits_to_next_level")))
}

/// How far a total has come from its level to the next, 0..=100 per cent; 100 at the highest level. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn level_progress(total: i64) -> i32 {
    domain::progress_percentage(total)
}

/// Trees that a total of credits stands for, from 0. NULL for NULL.
///
/// Errors: 22003 when they do not fit into an integer.
#[pg_extern(immutable, strict, parallel_safe)]
fn trees(total: i64) -> i32 {
    i32::try_from(domain::trees(total)).unwrap_or_else(|_| raise_overflow("trees"))
}
