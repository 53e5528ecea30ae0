//! An independent count of boards: all users' sums of a period, competition ranks, who is listed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, Days, Months, NaiveDate};

/// The periods that boards have.
pub const TIMEFRAMES: [&str; 4] = ["daily", "weekly", "monthly", "all_time"];

/// The first and last day of the period that holds `today`, or of an earlier one; None for all time.
///
/// # Panics
/// When the timeframe is not one of [`TIMEFRAMES`].
#[must_use]
pub fn period(timeframe: &str, today: NaiveDate, back: u32) -> Option<(NaiveDate, NaiveDate)> {
    match timeframe {
        "daily" => {
            let day = today - Days::new(u64::from(back));
            Some((day, day))
        }
        "weekly" => {
            let into = u64::from(today.weekday().num_days_from_monday());
            let monday = today - Days::new(into + 7 * u64::from(back));
            Some((monday, monday + Days::new(6)))
        }
        "monthly" => {
            let first = today.with_day(1).expect("a first") - Months::new(back);
            Some((first, first + Months::new(1) - Days::new(1)))
        }
        "all_time" => None,
        unknown => panic!("no timeframe {unknown}"),
    }
}

/// Points of one user's entries on one day in one province.
#[derive(Clone, Debug)]
pub struct Sum {
    /// The user whose entries they are.
    pub user: String,
    /// The local day.
    pub day: NaiveDate,
    /// The province that the entries carry.
    pub province: Option<String>,
    /// Points.
    pub credits: i64,
}

/// Everything that boards are computed from.
#[derive(Clone, Debug, Default)]
pub struct Country {
    /// All days of all existing users.
    pub sums: Vec<Sum>,
    /// Who may be shown and counted.
    pub listed: BTreeSet<String>,
    /// Net points of the ledger by user.
    pub rewards: BTreeMap<String, i64>,
}

/// One board: who has how many points, and who is listed.
#[derive(Clone, Debug, Default)]
pub struct Board {
    scores: BTreeMap<String, i64>,
    /// Listed users in order: most points first, equal ones by id.
    order: Vec<(i64, String)>,
}

/// A user's standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// 1 + listed users above; None without entries.
    pub rank: Option<i64>,
    /// Points in the period.
    pub credits: i64,
    /// The share of other listed users with fewer points, in hundredths of a percent, rounded.
    pub percentile: Option<i64>,
}

impl Country {
    /// The board of a province or of the country, of a period or of all time.
    #[must_use]
    pub fn board(&self, province: Option<&str>, period: Option<(NaiveDate, NaiveDate)>) -> Board {
        let mut scores = BTreeMap::<String, i64>::new();
        for sum in &self.sums {
            let inside = period.is_none_or(|(first, last)| (first..=last).contains(&sum.day));
            if inside && (province.is_none() || province == sum.province.as_deref()) {
                *scores.entry(sum.user.clone()).or_default() += sum.credits;
            }
        }
        if province.is_none() && period.is_none() {
            for (user, score) in &mut scores {
                *score += self.rewards.get(user).copied().unwrap_or(0);
            }
        }
        let mut order: Vec<(i64, String)> = scores
            .iter()
            .filter(|(user, _)| self.listed.contains(*user))
            .map(|(user, score)| (*score, user.clone()))
            .collect();
        order.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        Board { scores, order }
    }

    /// Every province that an entry carries.
    #[must_use]
    pub fn provinces(&self) -> BTreeSet<String> {
        self.sums
            .iter()
            .filter_map(|sum| sum.province.clone())
            .collect()
    }
}

impl Board {
    /// Rank, id and points of every listed user, in order.
    #[must_use]
    pub fn rows(&self) -> Vec<(i64, String, i64)> {
        let rank = |credits: i64| 1 + integer(self.order.partition_point(|one| one.0 > credits));
        let row = |(credits, user): &(i64, String)| (rank(*credits), user.clone(), *credits);
        self.order.iter().map(row).collect()
    }

    /// The same board of these users alone.
    #[must_use]
    pub fn among(&self, users: &BTreeSet<String>) -> Board {
        let mut board = self.clone();
        board.scores.retain(|user, _| users.contains(user));
        board.order.retain(|(_, user)| users.contains(user));
        board
    }

    /// The standing of this user, listed or not.
    #[must_use]
    pub fn standing(&self, user: &str) -> Standing {
        let Some(credits) = self.scores.get(user).copied() else {
            return Standing::default();
        };
        let others = || self.order.iter().filter(|(_, other)| other != user);
        let above = others().filter(|(score, _)| *score > credits).count();
        let below = integer(others().filter(|(score, _)| *score < credits).count());
        let all = integer(others().count());
        // A user alone on a board is ahead of everybody.
        let percentile = if all == 0 {
            10_000
        } else {
            (20_000 * below + all) / (2 * all)
        };
        Standing {
            rank: Some(1 + integer(above)),
            credits,
            percentile: Some(percentile),
        }
    }
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).expect("a count")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country() -> Country {
        let day = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        let sum = |user: &str, credits| Sum {
            user: user.to_owned(),
            day,
            province: None,
            credits,
        };
        Country {
            sums: vec![sum("c", 5), sum("b", 5), sum("a", 3), sum("hidden", 5)],
            listed: ["a", "b", "c"].map(str::to_owned).into(),
            rewards: BTreeMap::from([("a".to_owned(), 10)]),
        }
    }

    #[test]
    fn users_with_equal_points_share_a_rank_and_are_ordered_by_id() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        let board = country().board(None, period("daily", day, 0));
        let shown: Vec<_> = board.rows().into_iter().map(|row| (row.0, row.1)).collect();
        assert_eq!(shown, [(1, "b".into()), (1, "c".into()), (3, "a".into())]);
        assert_eq!(board.standing("hidden").rank, Some(1));
        assert_eq!(board.standing("hidden").percentile, Some(3_333));
        assert_eq!(board.standing("nobody"), Standing::default());
    }

    #[test]
    fn rewards_count_only_on_the_all_time_board_of_the_country() {
        assert_eq!(country().board(None, None).standing("a").rank, Some(1));
        assert_eq!(country().board(Some("TH-10"), None).rows(), []);
    }

    #[test]
    fn a_board_among_friends_counts_nobody_else() {
        let board = country()
            .board(None, None)
            .among(&["b", "c", "hidden"].map(str::to_owned).into());
        assert_eq!(board.rows().len(), 2);
        assert_eq!(board.standing("c").rank, Some(1));
        assert_eq!(board.standing("hidden").rank, Some(1));
        assert_eq!(board.standing("a"), Standing::default());
    }

    #[test]
    fn weeks_begin_on_monday_and_months_follow_the_calendar() {
        let day = |month, day| NaiveDate::from_ymd_opt(2026, month, day).unwrap();
        let sunday = day(11, 22);
        assert_eq!(period("weekly", sunday, 0), Some((day(11, 16), sunday)));
        assert_eq!(
            period("monthly", sunday, 1),
            Some((day(10, 1), day(10, 31)))
        );
        assert_eq!(period("all_time", sunday, 0), None);
    }
}
