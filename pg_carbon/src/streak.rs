//! Runs of consecutive days: `carbon.streak` as of a day, and the aggregate `carbon.max_streak`.

use carbon_domain::streak as domain;
use chrono::NaiveDate;
use pgrx::datum::{Array, Date};
use pgrx::prelude::*;

use crate::convert::calendar_day;

/// The run of consecutive days that ends on `as_of`, the day before, or later (travel), and the longest
/// run of all; 0 and 0 without days. Order, repetitions and NULL elements do not matter; no row for a NULL
/// argument. One row.
///
/// Errors: 22023 `carbon.date_invalid` for a day that no calendar has (infinity).
#[pg_extern(immutable, strict, parallel_safe)]
fn streak(
    days: Array<'_, Date>,
    as_of: Date,
) -> TableIterator<'static, (name!(current_streak, i32), name!(max_streak, i32))> {
    let streak = domain::streak(calendar_days(&days), calendar_day(as_of));
    TableIterator::once((streak.current, streak.max))
}

/// The longest run of consecutive days, 0 without days. Order, repetitions and NULL elements do not matter.
/// Errors as `streak`.
#[pg_extern(immutable, strict, parallel_safe)]
fn longest_run(days: Array<'_, Date>) -> i32 {
    domain::max_streak(calendar_days(&days))
}

fn calendar_days(days: &Array<'_, Date>) -> Vec<NaiveDate> {
    days.iter().flatten().map(calendar_day).collect()
}

extension_sql_file!("../sql/streak.sql", name = "max_streak", requires = [streak, longest_run]);
