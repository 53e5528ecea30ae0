//! A user's scores on all retained boards, how their writes change them, and what that changes on the boards.
//!
//! A user's scores are one short list, so that a write changes one row. The order of each board and its tree are stored
//! separately: [`place_changes`] computes what changes in the order, [`tree_changes`] what follows for the tree.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use crate::error::DomainError;
use crate::ranking::{NODE_SIZE, Timeframe, board, dropped_boards, kept_boards_of};

/// Levels of a board's tree: single scores, blocks of 256 and of 65,536.
const LEVELS: i16 = 3;

/// A user's sums on one board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// The board's number.
    pub board: i32,
    /// Credits of the entries; on the country's all-time board also the net of rewards. On the contributors' board of a
    /// community challenge the contribution, in the unit of its metric.
    pub credits: i64,
    /// Number of entries; on a contributors' board 1.
    pub entries: i64,
}

/// How writes changed a user's sums on one day in one province.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayDelta<'a> {
    /// The local day.
    pub day: NaiveDate,
    /// ISO code; `None` if the entries have no province.
    pub province: Option<&'a str>,
    /// Entries added less those removed.
    pub entries: i64,
    /// Their credits.
    pub credits: i64,
}

/// How writes changed a user's contribution to a community challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChallengeDelta {
    /// The number of its contributors' board.
    pub board: i32,
    /// What was added to the contribution.
    pub contribution: i64,
    /// 1 for joining, -1 for leaving, else 0.
    pub joined: i64,
}

/// A user's place in the order of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Their credits on it.
    pub credits: i64,
    /// Whether they are shown and counted.
    pub is_listed: bool,
}

/// A user's place on a board before and after; `None` if they are not on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceChange {
    /// The board's number.
    pub board: i32,
    /// Where they were.
    pub before: Option<Place>,
    /// Where they are.
    pub after: Option<Place>,
}

/// Adds the changes of days, rewards and community challenges to a user's scores, in the order of their boards, without boards that are no
/// longer retained on `today` and without empty ones.
///
/// # Errors
/// [`DomainError::DateInvalid`] and [`DomainError::UnknownProvince`] as [`board`].
pub fn fold<'a>(
    scores: &[Score],
    days: impl IntoIterator<Item = DayDelta<'a>>,
    rewards: i64,
    challenges: impl IntoIterator<Item = ChallengeDelta>,
    today: NaiveDate,
) -> Result<Vec<Score>, DomainError> {
    let dropped = dropped_boards(today)?;
    let mut folded: Vec<Score> = scores
        .iter()
        .filter(|score| is_kept(score.board, &dropped))
        .copied()
        .collect();
    let mut add = |board: i32, credits: i64, entries: i64| match folded
        .iter_mut()
        .find(|score| score.board == board)
    {
        Some(score) => {
            score.credits += credits;
            score.entries += entries;
        }
        None => folded.push(Score {
            board,
            credits,
            entries,
        }),
    };
    for delta in days {
        for board in kept_boards_of(delta.day, delta.province, today)? {
            add(board, delta.credits, delta.entries);
        }
    }
    add(board(Timeframe::AllTime, today, None)?, rewards, 0);
    for delta in challenges {
        if is_kept(delta.board, &dropped) {
            // A participant is on the board from the day they joined, also without a contribution.
            add(delta.board, delta.contribution, delta.joined);
        }
    }
    folded.retain(|score| score.credits != 0 || score.entries != 0);
    folded.sort_unstable_by_key(|score| score.board);
    Ok(folded)
}

fn is_kept(board: i32, dropped: &[(i32, i32)]) -> bool {
    !dropped
        .iter()
        .any(|(first, before)| (*first..*before).contains(&board))
}

/// The differences of a user's places, board by board, between the scores `before` and `after`, given whether boards
/// listed them before and list them after. Boards that are no longer retained on `today` are left out, because they are
/// deleted entirely.
///
/// # Errors
/// [`DomainError::DateInvalid`] as [`dropped_boards`].
pub fn place_changes(
    before: &[Score],
    was_listed: bool,
    after: &[Score],
    is_listed: bool,
    today: NaiveDate,
) -> Result<Vec<PlaceChange>, DomainError> {
    let dropped = dropped_boards(today)?;
    let place = |score: &Score, is_listed: bool| Place {
        credits: score.credits,
        // A user without entries is not listed, not even for rewards that they still hold.
        is_listed: is_listed && score.entries > 0,
    };
    let mut places: BTreeMap<i32, (Option<Place>, Option<Place>)> = BTreeMap::new();
    for score in before.iter().filter(|score| is_kept(score.board, &dropped)) {
        places.entry(score.board).or_default().0 = Some(place(score, was_listed));
    }
    for score in after {
        places.entry(score.board).or_default().1 = Some(place(score, is_listed));
    }
    Ok(places
        .into_iter()
        .filter(|(_, (before, after))| before != after)
        .map(|(board, (before, after))| PlaceChange {
            board,
            before,
            after,
        })
        .collect())
}

/// A node of a board's tree: board, level and node number.
pub type NodeKey = (i32, i16, i64);

/// The effect of listed users' moves on the trees: for each node that changes, what to add to its 256 counts. A move
/// within a block cancels out on the levels above. A move has a board, the old credits and the new ones (`None` = not
/// listed).
#[must_use]
pub fn tree_changes(
    moves: impl IntoIterator<Item = (i32, Option<i64>, Option<i64>)>,
) -> BTreeMap<NodeKey, Vec<i32>> {
    let mut nodes: BTreeMap<NodeKey, Vec<i32>> = BTreeMap::new();
    for (board, from, to) in moves {
        for level in 0..LEVELS {
            let block = |credits: i64| credits >> (8 * level);
            if from.map(block) == to.map(block) {
                break;
            }
            for (credits, people) in [(from, -1), (to, 1)] {
                let Some(block) = credits.map(block) else {
                    continue;
                };
                let node = nodes
                    .entry((board, level, block >> 8))
                    .or_insert_with(|| vec![0; NODE_SIZE]);
                node[usize::from(block.to_le_bytes()[0])] += people;
            }
        }
    }
    nodes.retain(|_, people| people.iter().any(|count| *count != 0));
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranking::challenge_board;

    const TODAY: &str = "2026-11-22";

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn delta<'a>(
        text: &str,
        province: Option<&'a str>,
        entries: i64,
        credits: i64,
    ) -> DayDelta<'a> {
        DayDelta {
            day: day(text),
            province,
            entries,
            credits,
        }
    }

    fn on(timeframe: Timeframe, text: &str, province: Option<&str>) -> i32 {
        board(timeframe, day(text), province).unwrap()
    }

    fn score(board: i32, credits: i64, entries: i64) -> Score {
        Score {
            board,
            credits,
            entries,
        }
    }

    #[test]
    fn a_write_counts_on_the_boards_of_its_day_and_rewards_on_the_country_s_of_all_time() {
        let scores = fold(
            &[],
            [delta(TODAY, Some("TH-10"), 1, 22)],
            50,
            [],
            day(TODAY),
        )
        .unwrap();
        assert_eq!(scores.len(), 8);
        assert!(scores.is_sorted_by_key(|score| score.board));
        let all_time = on(Timeframe::AllTime, TODAY, None);
        for found in scores {
            let credits = if found.board == all_time { 72 } else { 22 };
            assert_eq!(found, score(found.board, credits, 1));
        }
    }

    #[test]
    fn what_a_write_adds_comes_to_what_is_there() {
        let first = fold(&[], [delta(TODAY, None, 2, 30)], 5, [], day(TODAY)).unwrap();
        let both = fold(
            &first,
            [delta("2026-11-21", None, 1, -4)],
            -5,
            [],
            day(TODAY),
        )
        .unwrap();
        let found = |timeframe, text| {
            let board = on(timeframe, text, None);
            *both.iter().find(|score| score.board == board).unwrap()
        };
        assert_eq!(found(Timeframe::Daily, TODAY).credits, 30);
        assert_eq!(found(Timeframe::Daily, "2026-11-21").credits, -4);
        assert_eq!(found(Timeframe::Weekly, TODAY).entries, 3);
        assert_eq!(found(Timeframe::AllTime, TODAY).credits, 26);
    }

    #[test]
    fn scores_of_boards_that_are_dropped_or_empty_are_left_out() {
        let old = score(on(Timeframe::Daily, "2026-11-20", None), 7, 1);
        let yesterday = score(on(Timeframe::Daily, "2026-11-21", None), 7, 1);
        let folded = fold(&[old, yesterday], [], 0, [], day(TODAY)).unwrap();
        assert_eq!(folded, [yesterday]);
        let gone = fold(
            &[yesterday],
            [delta("2026-11-21", None, -1, -7)],
            0,
            [],
            day(TODAY),
        );
        let daily = |score: &Score| score.board == yesterday.board;
        assert!(!gone.unwrap().iter().any(daily));
        // Entries of 0 credits, and credits of rewards without an entry, are something.
        assert_eq!(
            fold(&[score(old.board, 0, 0)], [], 9, [], day(TODAY))
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            fold(&[score(yesterday.board, 0, 1)], [], 0, [], day(TODAY))
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn a_participant_is_on_the_contributors_board_until_they_leave_or_it_is_dropped() {
        let board = challenge_board(day("2026-11-30"), 3).unwrap();
        let delta = |contribution, joined| ChallengeDelta {
            board,
            contribution,
            joined,
        };
        let folded = |scores: &[Score], deltas: &[ChallengeDelta], today| {
            fold(scores, [], 0, deltas.iter().copied(), day(today)).unwrap()
        };
        let joined = folded(&[], &[delta(0, 1)], TODAY);
        assert_eq!(joined, [score(board, 0, 1)]);
        let more = folded(&joined, &[delta(700, 0), delta(-200, 0)], TODAY);
        assert_eq!(more, [score(board, 500, 1)]);
        assert_eq!(folded(&more, &[delta(-500, -1)], TODAY), []);
        assert_eq!(folded(&more, &[], "2027-03-01"), []);
        assert_eq!(folded(&[], &[delta(9, 0)], "2027-03-01"), []);
    }

    #[test]
    fn invalid_days_and_provinces_are_refused() {
        let unknown = fold(&[], [delta(TODAY, Some("TH-99"), 1, 1)], 0, [], day(TODAY));
        assert_eq!(unknown, Err(DomainError::UnknownProvince));
        assert_eq!(
            place_changes(&[], true, &[], true, NaiveDate::MIN),
            Err(DomainError::DateInvalid)
        );
    }

    #[test]
    fn a_place_changes_with_the_credits_and_with_being_listed() {
        let board = on(Timeframe::AllTime, TODAY, None);
        let changes = |before: &[Score], was_listed, after: &[Score], is_listed| {
            place_changes(before, was_listed, after, is_listed, day(TODAY))
                .unwrap()
                .iter()
                .map(|change| {
                    let text = |place: Option<Place>| {
                        place.map_or("-".to_owned(), |place| {
                            format!(
                                "{}{}",
                                place.credits,
                                if place.is_listed { "" } else { "?" }
                            )
                        })
                    };
                    format!("{} {}", text(change.before), text(change.after))
                })
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (one, two) = ([score(board, 5, 1)], [score(board, 8, 2)]);
        assert_eq!(changes(&[], true, &one, true), "- 5");
        assert_eq!(changes(&one, true, &two, true), "5 8");
        assert_eq!(changes(&one, true, &one, false), "5 5?");
        assert_eq!(changes(&two, true, &[], false), "8 -");
        assert_eq!(changes(&two, true, &two, true), "");
        // More entries of 0 credits change no place, but the first one lists a user who had only rewards.
        assert_eq!(changes(&one, true, &[score(board, 5, 2)], true), "");
        assert_eq!(changes(&[score(board, 5, 0)], true, &one, true), "5? 5");
        // Boards that are no longer retained are left out.
        let old = [score(on(Timeframe::Daily, "2026-11-20", None), 7, 1)];
        assert_eq!(changes(&old, true, &[], true), "");
    }

    #[test]
    fn a_move_changes_the_tree_as_far_up_as_it_crosses_blocks() {
        let at = |nodes: &BTreeMap<NodeKey, Vec<i32>>, key: NodeKey, slot: usize| {
            nodes.get(&key).map(|people| people[slot])
        };
        let near = tree_changes([(1, Some(3), Some(255))]);
        assert_eq!(near.len(), 1);
        assert_eq!(at(&near, (1, 0, 0), 3), Some(-1));
        assert_eq!(at(&near, (1, 0, 0), 255), Some(1));
        let far = tree_changes([(1, Some(3), Some(70_000))]);
        assert_eq!(at(&far, (1, 0, 70_000 >> 8), 70_000 & 255), Some(1));
        assert_eq!(at(&far, (1, 1, 0), 0), Some(-1));
        assert_eq!(at(&far, (1, 1, 1), (70_000 >> 8) & 255), Some(1));
        assert_eq!(at(&far, (1, 2, 0), 1), Some(1));
        let below_zero = tree_changes([(2, None, Some(-1))]);
        for level in 0..LEVELS {
            assert_eq!(at(&below_zero, (2, level, -1), 255), Some(1), "{level}");
        }
        // Two who change places leave everything as it is.
        assert!(tree_changes([(1, Some(3), Some(4)), (1, Some(4), Some(3))]).is_empty());
        assert!(tree_changes([(1, None, None)]).is_empty());
    }
}
