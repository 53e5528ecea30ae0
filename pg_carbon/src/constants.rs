//! Figures and names that SQL shares with the rules. All are constant-folded when a statement is planned, so they cost
//! nothing when it runs.

use carbon_domain::{limits as domain, time};
use pgrx::prelude::*;

/// The time zone of users who have chosen none.
#[pg_extern(immutable, parallel_safe)]
fn default_time_zone() -> &'static str {
    time::DEFAULT_TIME_ZONE
}

/// The limit of this name. NULL for NULL.
///
/// Errors: XX000 for an unknown name, which is a programming error in the calling SQL.
#[pg_extern(immutable, strict, parallel_safe)]
fn limit_of(name: &str) -> i32 {
    match domain::of(name).map(i32::try_from) {
        Some(Ok(limit)) => limit,
        _ => error!("there is no limit {name:?}"),
    }
}

/// All limits by name.
#[pg_extern(immutable, parallel_safe)]
fn limits() -> TableIterator<'static, (name!(name, &'static str), name!(most, i64))> {
    TableIterator::new(
        domain::ALL
            .iter()
            .map(|(name, most)| (*name, i64::from(*most))),
    )
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one};

    #[pg_test]
    fn sql_finds_the_limits_of_the_rules_by_name() {
        assert_eq!(one::<i32>("select carbon.limit_of('rows_per_hour')"), 5_060);
        assert!(one::<bool>(
            "select bool_and(carbon.limit_of(l.name) = l.most) from carbon.limits() as l"
        ));
        assert!(is_null("select carbon.limit_of(null)"));
    }

    #[pg_test(error = "there is no limit \"rows_per_day\"")]
    fn an_unknown_limit_is_an_error() {
        one::<i32>("select carbon.limit_of('rows_per_day')");
    }

    #[pg_test]
    fn postgresql_has_the_default_time_zone() {
        assert!(one::<bool>(
            "select exists (select from pg_timezone_names as z where z.name = carbon.default_time_zone())"
        ));
    }
}
