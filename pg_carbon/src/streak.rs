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
/// Errors: 22023 `carbon.date_invalid` for a day outside chrono's calendar (infinity).
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

extension_sql_file!(
    "../sql/streak.sql",
    name = "max_streak",
    requires = [streak, longest_run]
);

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one, refused_with};

    fn streak(days: &str, as_of: &str) -> String {
        one(&format!(
            "select current_streak || ' ' || max_streak from carbon.streak('{{{days}}}', '{as_of}')"
        ))
    }

    #[pg_test]
    fn a_streak_lasts_until_the_day_after_its_last_entry() {
        let days = "2024-02-27,2024-02-28,2024-02-29,2024-03-01";
        assert_eq!(streak(days, "2024-03-01"), "4 4");
        assert_eq!(streak(days, "2024-03-02"), "4 4");
        assert_eq!(streak(days, "2024-03-03"), "0 4");
        assert_eq!(streak(days, "2024-02-29"), "4 4");
        assert_eq!(streak("", "2024-03-01"), "0 0");
    }

    #[pg_test]
    fn order_repetitions_and_nulls_do_not_matter() {
        assert_eq!(
            streak(
                "2024-03-01,null,2024-02-28,2024-02-29,2024-02-28,2024-01-01",
                "2024-03-01"
            ),
            "3 3"
        );
    }

    #[pg_test]
    fn a_null_argument_returns_no_row() {
        assert_eq!(
            one::<i64>("select count(*) from carbon.streak(null, current_date)"),
            0
        );
        assert_eq!(
            one::<i64>("select count(*) from carbon.streak('{}', null)"),
            0
        );
        assert!(is_null("select carbon.longest_run(null)"));
    }

    #[pg_test]
    fn the_aggregate_is_the_same_in_any_order() {
        // 1–20 without 7 and 15: runs of 6, 7 and 5, each day twice.
        let days = "select date '2024-01-01' + n from generate_series(1, 20) n, generate_series(1, 2) where n not in (7, 15)";
        for order in ["1", "1 desc", "md5(d::text)", "md5('x' || d::text)"] {
            let query = format!(
                "select carbon.max_streak(d order by {}) from ({days}) t(d)",
                order.replace('1', "d")
            );
            assert_eq!(one::<i32>(&query), 7, "{order}");
        }
    }

    #[pg_test]
    fn the_aggregate_handles_groups_nulls_and_no_rows() {
        assert_eq!(
            one::<i32>("select carbon.max_streak(d) from (select null::date) t(d)"),
            0
        );
        assert_eq!(
            one::<i32>("select carbon.max_streak(d) from (select current_date where false) t(d)"),
            0
        );
        let by_group = "select string_agg(g || ':' || s, ' ' order by g) from (select n % 3 as g, carbon.max_streak(current_date + n / (n % 3 + 1)) as s
            from generate_series(1, 30) n group by 1) t";
        assert_eq!(one::<String>(by_group), "0:1 1:2 2:10");
    }

    #[pg_test]
    fn workers_may_share_the_aggregate() {
        Spi::run("set local max_parallel_workers_per_gather = 2; set local parallel_setup_cost = 0; set local parallel_tuple_cost = 0;
                  set local min_parallel_table_scan_size = 0").unwrap();
        Spi::run("create table days as select date '2024-01-01' + (g * 7919) % 5000 as day from generate_series(1, 20000) g where (g * 7919) % 5000 <> 2000;
                  analyze days").unwrap();
        let query = "select carbon.max_streak(day) from days";
        assert!(crate::testing::plan(query).contains("Partial Aggregate"));
        assert_eq!(one::<i32>(query), 2999);
    }

    #[pg_test]
    fn infinity_is_no_day() {
        assert_eq!(
            refused_with("select * from carbon.streak('{infinity}', current_date)"),
            "carbon.date_invalid"
        );
        assert_eq!(
            refused_with("select * from carbon.streak('{}', '-infinity')"),
            "carbon.date_invalid"
        );
    }
}
