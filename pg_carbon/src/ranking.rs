//! Boards: their periods and numbers.

use carbon_domain::error::DomainError;
use carbon_domain::ranking::{self as domain, Period, Timeframe};
use carbon_domain::visibility::{FoundBy, Relation, sight};
use chrono::NaiveDate;
use pgrx::datum::{Array, Date, Uuid};
use pgrx::prelude::*;

use crate::convert::{calendar_day, date, numeric};
use crate::error::raise;
use crate::visibility::relation as parse_relation;

fn parse_timeframe(timeframe: &str) -> Timeframe {
    Timeframe::parse(timeframe).unwrap_or_else(|error| raise(error))
}

/// First and last day of the period of a timeframe that contains `day`, or of the period that many before it; both
/// NULL for `all_time`. No row for a NULL argument.
///
/// Errors: 22023 `carbon.timeframe_invalid`, `carbon.date_invalid`.
#[pg_extern(immutable, strict, parallel_safe)]
fn board_period(
    timeframe: &str,
    day: Date,
    periods_back: i32,
) -> TableIterator<
    'static,
    (
        name!(first_day, Option<Date>),
        name!(last_day, Option<Date>),
    ),
> {
    let back = u32::try_from(periods_back).unwrap_or_else(|_| raise(DomainError::DateInvalid));
    let period = parse_timeframe(timeframe)
        .period(calendar_day(day), back)
        .unwrap_or_else(|error| raise(error));
    let bound = |side: fn(&Period) -> NaiveDate| period.as_ref().map(side).map(date);
    TableIterator::once((bound(|period| period.first), bound(|period| period.last)))
}

/// The number of the board whose period contains `day`, in a province, or in the country for a NULL one; NULL for a
/// NULL timeframe or day.
///
/// Errors: 22023 `carbon.timeframe_invalid`, `carbon.date_invalid`, `carbon.unknown_province`.
#[pg_extern(immutable, parallel_safe)]
fn board_id(timeframe: Option<&str>, day: Option<Date>, province: Option<&str>) -> Option<i32> {
    let board = domain::board(parse_timeframe(timeframe?), calendar_day(day?), province);
    Some(board.unwrap_or_else(|error| raise(error)))
}

/// The boards that an entry of `day` and province (NULL = none) counts on, without those that are not retained on
/// `today`; NULL for a NULL day.
///
/// Errors: 22023 `carbon.date_invalid`, `carbon.unknown_province`.
#[pg_extern(immutable, parallel_safe)]
fn boards_of(day: Option<Date>, province: Option<&str>, today: Option<Date>) -> Option<Vec<i32>> {
    let boards = domain::kept_boards_of(calendar_day(day?), province, calendar_day(today?));
    Some(boards.unwrap_or_else(|error| raise(error)))
}

/// The expired boards, which are not retained on `today`, as ranges of numbers; no row for NULL.
///
/// Errors: 22023 `carbon.date_invalid`.
#[pg_extern(immutable, strict, parallel_safe)]
fn dropped_boards(
    today: Date,
) -> TableIterator<'static, (name!(first_board, i32), name!(before_board, i32))> {
    let ranges = domain::dropped_boards(calendar_day(today)).unwrap_or_else(|error| raise(error));
    TableIterator::new(ranges)
}

/// The number of the contributors' board of the community challenge that ends on `last_day` and is `number` (from 0)
/// among those.
///
/// Errors: 22023 `carbon.date_invalid` for a day outside 2026 to 2070, and for more than 32,768 challenges a day.
#[pg_extern(immutable, strict, parallel_safe)]
fn challenge_board(last_day: Date, number: i32) -> i32 {
    domain::challenge_board(calendar_day(last_day), number).unwrap_or_else(|error| raise(error))
}

/// The meaning of a board's number: timeframe, first and last day (NULL for `all_time`), province (NULL for the
/// country). No row for a number that no board has, nor for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::type_complexity)]
fn board_scope(
    board: i32,
) -> TableIterator<
    'static,
    (
        name!(timeframe, &'static str),
        name!(first_day, Option<Date>),
        name!(last_day, Option<Date>),
        name!(province, Option<&'static str>),
    ),
> {
    TableIterator::new(domain::scope(board).map(|scope| {
        let bound = |side: fn(&Period) -> NaiveDate| scope.period.as_ref().map(side).map(date);
        (
            scope.timeframe.name(),
            bound(|period| period.first),
            bound(|period| period.last),
            scope.province,
        )
    }))
}

/// The percentage of all other listed users who have fewer credits, with at most two decimals, halves up; 100
/// without others. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn percentile(below: i64, others: i64) -> AnyNumeric {
    let people = |count| u32::try_from(count).expect("a board counts people in 32 bits");
    numeric(&domain::percentile(people(below), people(others)))
}

/// Counts of a node of a board's tree, or slots and what is added to them, without NULLs.
fn counts<'a>(array: &'a Array<'_, i32>) -> &'a [i32] {
    array.as_slice().expect("nodes of boards hold no NULL")
}

/// A node of a board's tree, 256 counts, with the given number of users in each given slot. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn board_node(slots: Array<'_, i32>, people: Array<'_, i32>) -> Vec<i32> {
    domain::node(counts(&slots), counts(&people)).expect("slots 0 to 255 of countable people")
}

/// The sum of two nodes of a board's tree, slot by slot. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn add_board_nodes(one: Array<'_, i32>, other: Array<'_, i32>) -> Vec<i32> {
    domain::add_nodes(counts(&one), counts(&other)).expect("countable people")
}

/// How many users a node counts after a slot; all of them for −1. NULL for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn people_after(node: Array<'_, i32>, slot: i32) -> i64 {
    domain::people_after(counts(&node), slot)
}

/// The competition ranks of consecutive rows of a board, from the number of listed users above the first row and
/// the number with the same credits; `unlisted_place` counts from 1 and identifies a row that is shown but affects
/// no rank, NULL for none. No ranks for NULL rows.
#[pg_extern(immutable, parallel_safe)]
fn board_ranks(
    credits: Option<Vec<i64>>,
    above: i64,
    equal: i64,
    unlisted_place: Option<i32>,
) -> Vec<i64> {
    let unlisted = unlisted_place.and_then(|place| usize::try_from(place - 1).ok());
    domain::ranks(&credits.unwrap_or_default(), above, equal, unlisted)
}

/// A row of a board in the contract's format, as a viewer with this relation to the user may see it: rank, user,
/// province, credits on the board, level and trees of the total. A masked row, of somebody whom the viewer may not
/// see, has no id, name or picture. Written by hand, because `json_build_object` looks up the type of every member of
/// every row. NULL for a NULL number, relation or level of privacy.
// JSON is stored like text, and pgrx has no json return type that is not parsed first.
#[pg_extern(
    immutable,
    parallel_safe,
    sql = "create function board_row(rank bigint, user_id uuid, display_name text, province text, avatar_url text,
             credits bigint, level integer, total bigint, relation text, privacy_level smallint)
           returns json immutable parallel safe language c as 'MODULE_PATHNAME', '@FUNCTION_NAME@';"
)]
#[allow(clippy::too_many_arguments)]
fn board_row(
    rank: Option<i64>,
    user_id: Option<Uuid>,
    display_name: Option<&str>,
    province: Option<&str>,
    avatar_url: Option<&str>,
    credits: Option<i64>,
    level: Option<i32>,
    total: Option<i64>,
    relation: Option<&str>,
    privacy_level: Option<i16>,
) -> Option<String> {
    let (rank, credits, level, total) = (rank?, credits?, level?, total?);
    let relation = parse_relation(relation?);
    let sight = sight(relation, privacy_level?, FoundBy::Listing);
    let text = |value: Option<&str>| serde_json::to_string(&value).expect("a text can be written");
    let named = |value: Option<&str>| text(value.filter(|_| sight.shows_identity()));
    let user_id = user_id.map(|id| id.to_string());
    Some(format!(
        r#"{{"rank": {rank}, "user_id": {}, "display_name": {}, "province": {}, "avatar_url": {}, "credits": {credits}, "current_level": {level}, "trees_saved": {}, "is_current_user": {}, "is_friend": {}, "masked": {}}}"#,
        named(user_id.as_deref()),
        named(display_name),
        text(province),
        text(avatar_url.filter(|_| sight.shows_picture())),
        carbon_domain::level::trees(total),
        relation == Relation::Own,
        relation == Relation::Friend,
        !sight.shows_identity(),
    ))
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one, refused_with};

    fn period(timeframe: &str, day: &str, back: i32) -> String {
        one(&format!(
            "select concat_ws(' ', first_day, last_day) from carbon.board_period('{timeframe}', '{day}', {back})"
        ))
    }

    #[pg_test]
    fn a_period_has_a_first_and_a_last_day() {
        assert_eq!(period("daily", "2024-03-01", 1), "2024-02-29 2024-02-29");
        assert_eq!(period("weekly", "2026-11-22", 0), "2026-11-16 2026-11-22");
        assert_eq!(period("monthly", "2026-01-31", 1), "2025-12-01 2025-12-31");
        assert_eq!(period("all_time", "2026-01-31", 1), "");
    }

    #[pg_test]
    fn a_board_has_one_number_all_through_its_period() {
        assert!(one::<bool>(
            "select carbon.board_id('weekly', '2026-11-16', 'TH-10') = carbon.board_id('weekly', '2026-11-22', 'TH-10')
                and carbon.board_id('weekly', '2026-11-16', 'TH-10') <> carbon.board_id('weekly', '2026-11-23', 'TH-10')
                and carbon.board_id('weekly', '2026-11-16', 'TH-10') <> carbon.board_id('weekly', '2026-11-16', null)"
        ));
    }

    #[pg_test]
    fn an_entry_counts_on_the_boards_that_are_kept() {
        for (day, province, boards) in [
            ("2026-11-22", "'TH-10'", 8),
            ("2026-11-22", "null", 4),
            ("2020-01-01", "'TH-10'", 2),
        ] {
            let query =
                format!("select cardinality(carbon.boards_of('{day}', {province}, '2026-11-22'))");
            assert_eq!(one::<i32>(&query), boards, "{day} {province}");
        }
        assert_eq!(
            one::<i64>("select count(*) from carbon.dropped_boards('2026-11-22')"),
            4
        );
    }

    #[pg_test]
    fn a_board_says_what_it_is() {
        let scope = |board: &str| -> String {
            one(&format!(
                "select coalesce(string_agg(concat_ws(' ', timeframe, first_day, last_day, province), ''), '') from carbon.board_scope({board})"
            ))
        };
        assert_eq!(
            scope("carbon.board_id('weekly', '2026-11-18', 'TH-38')"),
            "weekly 2026-11-16 2026-11-22 TH-38"
        );
        assert_eq!(
            scope("carbon.board_id('all_time', '2026-11-18', null)"),
            "all_time"
        );
        assert_eq!(scope("-1"), "");
    }

    #[pg_test]
    fn nodes_count_people() {
        assert_eq!(
            one::<String>(
                "select concat_ws(' ', cardinality(n), n[1], n[8], n[256], carbon.people_after(n, -1), carbon.people_after(n, 7))
                 from (select carbon.add_board_nodes(carbon.board_node('{0,7,255}', '{1,2,3}'), carbon.board_node('{7}', '{5}'))) x(n)"
            ),
            "256 1 7 3 11 3"
        );
    }

    #[pg_test]
    fn a_percentile_has_at_most_two_decimals() {
        for (below, others, shown) in [
            (1, 3, "33.33"),
            (1, 800, "0.13"),
            (1, 2, "50"),
            (0, 0, "100"),
        ] {
            let query = format!("select carbon.percentile({below}, {others})::text");
            assert_eq!(one::<String>(&query), shown, "{below} of {others}");
        }
    }

    #[pg_test]
    fn nothing_gives_null_and_nonsense_is_refused() {
        for call in [
            "board_id(null, current_date, null)",
            "board_id('daily', null, null)",
            "boards_of(null, null, current_date)",
            "boards_of(current_date, null, null)",
            "percentile(null, 1)",
            "percentile(1, null)",
        ] {
            assert!(is_null(&format!("select carbon.{call}")), "{call}");
        }
        for (call, token) in [
            (
                "select carbon.board_id('hourly', current_date, null)",
                "carbon.timeframe_invalid",
            ),
            (
                "select carbon.board_id('daily', 'infinity', null)",
                "carbon.date_invalid",
            ),
            (
                "select carbon.boards_of(current_date, 'TH-99', current_date)",
                "carbon.unknown_province",
            ),
            (
                "select carbon.board_period('daily', current_date, -1)",
                "carbon.date_invalid",
            ),
        ] {
            assert_eq!(refused_with(call), token, "{call}");
        }
    }

    #[pg_test]
    fn rows_have_competition_ranks() {
        for (arguments, ranks) in [
            ("array[9, 9, 7, 7, 5], 3, 2, null", "{4,4,6,6,8}"),
            ("array[9, 7, 5], 0, 0, 1", "{1,1,2}"),
            ("null, 0, 0, null", "{}"),
        ] {
            assert_eq!(
                one::<String>(&format!("select carbon.board_ranks({arguments})::text")),
                ranks
            );
        }
    }

    #[pg_test]
    fn a_row_of_a_board_names_nobody_who_is_masked() {
        let row = |relation: &str, privacy_level: i16| {
            one::<String>(&format!(
                r#"select carbon.board_row(3, '0a000000-0000-4000-8000-00000000000a', 'ก "a" \', 'TH-10', 'https://a/1', -7, 2, 1200, '{relation}', {privacy_level}::smallint)::jsonb::text"#
            ))
        };
        let shown = row("self", 2);
        for member in [
            r#""user_id": "0a000000-0000-4000-8000-00000000000a""#,
            r#""display_name": "ก \"a\" \\""#,
            r#""avatar_url": "https://a/1""#,
            r#""trees_saved": 2"#,
            r#""is_current_user": true"#,
            r#""is_friend": false"#,
            r#""masked": false"#,
        ] {
            assert!(shown.contains(member), "{shown}");
        }
        for masked in [row("stranger", 2), row("blocked", 1), row("visitor", 2)] {
            for member in [
                r#""user_id": null"#,
                r#""display_name": null"#,
                r#""avatar_url": null"#,
                r#""province": "TH-10""#,
                r#""is_friend": false"#,
                r#""masked": true"#,
            ] {
                assert!(masked.contains(member), "{masked}");
            }
        }
        let friend = row("friend", 2);
        assert!(friend.contains(r#""is_friend": true"#) && friend.contains(r#""masked": false"#));
        let public = row("visitor", 1);
        assert!(public.contains(r#""masked": false"#) && public.contains(r#""avatar_url": null"#));
        assert!(is_null(
            "select carbon.board_row(null, null, null, null, null, 1, 1, 1, 'self', 1::smallint)::text"
        ));
    }
}
