//! A user's scores on boards, their places, and the trees that count them.

use carbon_domain::error::DomainError;
use carbon_domain::scores::{self as domain, ChallengeDelta, DayDelta, Place, Score};
use pgrx::datum::{Array, Date};
use pgrx::prelude::*;

use crate::convert::calendar_day;
use crate::error::{OrRaise, raise};

/// Parallel lists as scores. They come from one row, whose constraint ensures equal lengths.
fn read(boards: &Array<'_, i32>, credits: &Array<'_, i64>, entries: &Array<'_, i64>) -> Vec<Score> {
    let parts = (boards.as_slice(), credits.as_slice(), entries.as_slice());
    let (Ok(boards), Ok(credits), Ok(entries)) = parts else {
        raise(DomainError::NotAList)
    };
    boards
        .iter()
        .zip(credits)
        .zip(entries)
        .map(|((&board, &credits), &entries)| Score {
            board,
            credits,
            entries,
        })
        .collect()
}

/// Adds a user's outbox rows to their scores: `days`, `provinces` (NULL = none), `day_entries` and `day_credits` in
/// parallel lists (a NULL day changed no sums), the change of their rewards, and their community challenges: contributors'
/// boards, what was added to the contribution, and 1 for joining or -1 for leaving, in parallel lists. Omits boards that
/// are not retained on `today` and boards without entries or credits left; sorted by board. No row for NULL.
///
/// Errors: 22023 `carbon.date_invalid`, `carbon.unknown_province`.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn fold_scores(
    boards: Array<'_, i32>,
    credits: Array<'_, i64>,
    entries: Array<'_, i64>,
    days: Array<'_, Date>,
    provinces: Array<'_, &str>,
    day_entries: Array<'_, i64>,
    day_credits: Array<'_, i64>,
    rewards: i64,
    challenge_boards: Array<'_, i32>,
    contributions: Array<'_, i64>,
    joined: Array<'_, i64>,
    today: Date,
) -> TableIterator<
    'static,
    (
        name!(boards, Vec<i32>),
        name!(credits, Vec<i64>),
        name!(entries, Vec<i64>),
    ),
> {
    let sums = day_entries.iter().zip(day_credits.iter());
    let deltas = days.iter().zip(provinces.iter()).zip(sums).filter_map(
        |((day, province), (entries, credits))| {
            Some(DayDelta {
                day: calendar_day(day?),
                province,
                entries: entries.unwrap_or(0),
                credits: credits.unwrap_or(0),
            })
        },
    );
    let scores = read(&boards, &credits, &entries);
    let challenges = read(&challenge_boards, &contributions, &joined)
        .into_iter()
        .map(|delta| ChallengeDelta {
            board: delta.board,
            contribution: delta.credits,
            joined: delta.entries,
        });
    let folded = domain::fold(&scores, deltas, rewards, challenges, calendar_day(today)).or_raise();
    TableIterator::once((
        folded.iter().map(|score| score.board).collect(),
        folded.iter().map(|score| score.credits).collect(),
        folded.iter().map(|score| score.entries).collect(),
    ))
}

/// Where a user's places on boards differ with the scores and listing before and after: parallel lists; NULL
/// credits = not on that board. Omits boards that are not retained on `today`. No row for NULL.
///
/// Errors: 22023 `carbon.date_invalid`.
#[pg_extern(immutable, strict, parallel_safe)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn place_changes(
    boards_before: Array<'_, i32>,
    credits_before: Array<'_, i64>,
    entries_before: Array<'_, i64>,
    was_listed: bool,
    boards_after: Array<'_, i32>,
    credits_after: Array<'_, i64>,
    entries_after: Array<'_, i64>,
    is_listed: bool,
    today: Date,
) -> TableIterator<
    'static,
    (
        name!(changed_boards, Vec<i32>),
        name!(credits_before, Vec<Option<i64>>),
        name!(listed_before, Vec<Option<bool>>),
        name!(credits_after, Vec<Option<i64>>),
        name!(listed_after, Vec<Option<bool>>),
    ),
> {
    let before = read(&boards_before, &credits_before, &entries_before);
    let after = read(&boards_after, &credits_after, &entries_after);
    let changes =
        domain::place_changes(&before, was_listed, &after, is_listed, calendar_day(today))
            .or_raise();
    let credits = |place: Option<Place>| place.map(|place| place.credits);
    let listed = |place: Option<Place>| place.map(|place| place.is_listed);
    TableIterator::once((
        changes.iter().map(|change| change.board).collect(),
        changes
            .iter()
            .map(|change| credits(change.before))
            .collect(),
        changes.iter().map(|change| listed(change.before)).collect(),
        changes.iter().map(|change| credits(change.after)).collect(),
        changes.iter().map(|change| listed(change.after)).collect(),
    ))
}

/// What changes of listed users' scores add to the nodes of boards' trees: for each change the board, the credits
/// before and the credits after, in parallel lists; NULL credits = not listed. No row for NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn tree_changes(
    boards: Array<'_, i32>,
    credits_before: Array<'_, i64>,
    credits_after: Array<'_, i64>,
) -> TableIterator<
    'static,
    (
        name!(board, i32),
        name!(level, i16),
        name!(node, i64),
        name!(people, Vec<i32>),
    ),
> {
    let moves = boards
        .iter()
        .flatten()
        .zip(credits_before.iter().zip(credits_after.iter()))
        .map(|(board, (from, to))| (board, from, to));
    let nodes = domain::tree_changes(moves);
    TableIterator::new(
        nodes
            .into_iter()
            .map(|((board, level, node), people)| (board, level, node, people)),
    )
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{one, refused_with};

    const NOTHING: &str = "'{}', '{}', '{}'";

    #[pg_test]
    fn a_user_s_writes_are_added_to_their_scores() {
        let folded = |scores: &str| {
            one::<String>(&format!(
                "select concat_ws(' ', cardinality(f.boards), f.credits[cardinality(f.boards)], f.entries)
                 from carbon.fold_scores({scores}, array[date '2026-11-22', null, '2026-11-22'], array[null, null, 'TH-10'],
                   '{{1,0,2}}', '{{22,0,10}}', 5, {NOTHING}, '2026-11-22') as f"
            ))
        };
        assert_eq!(folded(NOTHING), "8 10 {3,2,3,2,3,2,3,2}");
        let (all_time, dropped) = (
            one::<i32>("select carbon.board_id('all_time', '2026-11-22', null)"),
            one::<i32>("select carbon.board_id('daily', '2026-11-02', null)"),
        );
        let existing = format!("'{{{dropped},{all_time}}}', '{{1,100}}', '{{1,1}}'");
        assert_eq!(folded(&existing), "8 10 {3,2,3,2,3,2,4,2}");
        assert_eq!(
            refused_with(&format!(
                "select * from carbon.fold_scores({NOTHING}, '{{2026-11-22}}', '{{TH-99}}', '{{1}}', '{{1}}', 0, {NOTHING}, '2026-11-22')"
            )),
            "carbon.unknown_province"
        );
    }

    #[pg_test]
    fn a_contribution_is_a_score_on_the_contributors_board() {
        let folded = "select concat_ws(' ', f.boards[1] = carbon.challenge_board('2026-11-30', 2), f.credits, f.entries)
            from carbon.fold_scores('{}', '{}', '{}', '{}', '{}', '{}', '{}', 0,
              array_fill(carbon.challenge_board('2026-11-30', 2), array[2]), '{0,750}', '{1,0}', '2026-11-22') as f";
        assert_eq!(one::<String>(folded), "t {750} {1}");
    }

    #[pg_test]
    fn places_say_who_moves_and_trees_how_many() {
        let places = "select concat_ws(' ', p.credits_before, p.listed_before, p.credits_after, p.listed_after)
            from carbon.place_changes('{}', '{}', '{}', true, array[carbon.board_id('all_time', '2026-11-22', null)],
              '{7}', '{1}', true, '2026-11-22') as p";
        assert_eq!(one::<String>(places), "{NULL} {NULL} {7} {t}");
        let trees = "select string_agg(concat_ws(' ', t.board, t.level, t.node, t.people[1 + 7], t.people[1 + 9]), ', ')
            from carbon.tree_changes('{1,1}', '{7,null}', '{9,9}') as t";
        assert_eq!(one::<String>(trees), "1 0 0 -1 2, 1 1 0 0 0, 1 2 0 0 0");
    }

    #[pg_test]
    fn lists_with_nulls_are_no_scores() {
        assert_eq!(
            refused_with(
                "select * from carbon.place_changes('{1}', '{null}', '{1}', true, '{}', '{}', '{}', true, '2026-11-22')"
            ),
            "carbon.not_a_list"
        );
    }
}
