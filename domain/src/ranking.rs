//! Boards: which period a day belongs to, and the number that identifies a board.
//!
//! A board is one period of a timeframe, in the country or in one province. Its number encodes exactly these, so it needs
//! no table, and boards of one timeframe are adjacent in the order of their periods, the country's before the provinces'.

use chrono::{Datelike, Days, Months, NaiveDate};

use crate::error::DomainError;
use crate::province;
use crate::units::decimal_text;

/// The length of a board's period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeframe {
    /// One day.
    Daily,
    /// Monday to Sunday.
    Weekly,
    /// A month of the calendar.
    Monthly,
    /// Without bounds.
    AllTime,
}

/// First and last day of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// First day of the period.
    pub first: NaiveDate,
    /// Last day of the period.
    pub last: NaiveDate,
}

impl Timeframe {
    /// All timeframes, in the order of their numbers.
    pub const ALL: [Timeframe; 4] = [
        Timeframe::Daily,
        Timeframe::Weekly,
        Timeframe::Monthly,
        Timeframe::AllTime,
    ];

    /// By its name in the API: `daily`, `weekly`, `monthly`, `all_time`.
    ///
    /// # Errors
    /// [`DomainError::TimeframeInvalid`] for any other.
    pub fn parse(name: &str) -> Result<Timeframe, DomainError> {
        Timeframe::ALL
            .into_iter()
            .find(|timeframe| timeframe.name() == name)
            .ok_or(DomainError::TimeframeInvalid)
    }

    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Timeframe::Daily => "daily",
            Timeframe::Weekly => "weekly",
            Timeframe::Monthly => "monthly",
            Timeframe::AllTime => "all_time",
        }
    }

    /// The period that contains `day`, or the one `back` periods before it; `None` for [`Timeframe::AllTime`], which has
    /// no bounds.
    ///
    /// # Errors
    /// [`DomainError::DateInvalid`] for days outside chrono's calendar.
    pub fn period(self, day: NaiveDate, periods_back: u32) -> Result<Option<Period>, DomainError> {
        let period = match self {
            Timeframe::Daily => days_from(day.checked_sub_days(Days::new(periods_back.into())), 1),
            Timeframe::Weekly => {
                let since_monday = u64::from(day.weekday().num_days_from_monday());
                let back = since_monday + 7 * u64::from(periods_back);
                days_from(day.checked_sub_days(Days::new(back)), 7)
            }
            Timeframe::Monthly => month(day, periods_back),
            Timeframe::AllTime => return Ok(None),
        };
        period.map(Some).ok_or(DomainError::DateInvalid)
    }

    const fn number(self) -> i32 {
        match self {
            Timeframe::Daily => 0,
            Timeframe::Weekly => 1,
            Timeframe::Monthly => 2,
            Timeframe::AllTime => 3,
        }
    }
}

fn days_from(first: Option<NaiveDate>, length: u64) -> Option<Period> {
    let first = first?;
    let last = first.checked_add_days(Days::new(length - 1))?;
    Some(Period { first, last })
}

fn month(day: NaiveDate, months_back: u32) -> Option<Period> {
    let first = day
        .with_day(1)?
        .checked_sub_months(Months::new(months_back))?;
    let last = first.checked_add_months(Months::new(1))?.pred_opt()?;
    Some(Period { first, last })
}

// A board's number, from the highest bit: timeframe (2) | first day of the period (22) | province (7). All boards of one
// timeframe before a day are therefore one range of numbers, which is how old boards are dropped.

/// Bits of a board's number for the province's code (10 to 96; 0 is the country).
const PROVINCE_BITS: u32 = 7;

/// Bits for the first day of the period, counted from the first day of the common era: to the year 11,484.
const DAY_BITS: u32 = 22;

/// The number of the board whose period contains `day`, in a province by its ISO code or in the country.
///
/// # Errors
/// [`DomainError::DateInvalid`] for days before the common era or after the year 11,483;
/// [`DomainError::UnknownProvince`] for a code of no province.
pub fn board(timeframe: Timeframe, day: NaiveDate, iso: Option<&str>) -> Result<i32, DomainError> {
    let province = match iso {
        None => 0,
        Some(iso) => {
            province::by_iso(iso)
                .ok_or(DomainError::UnknownProvince)?
                .code
        }
    };
    first_board(timeframe, day, 0).map(|country| country | province)
}

/// The country's board of a period: the lowest number in it.
fn first_board(
    timeframe: Timeframe,
    day: NaiveDate,
    periods_back: u32,
) -> Result<i32, DomainError> {
    let first_day = timeframe
        .period(day, periods_back)?
        .map_or(0, |period| period.first.num_days_from_ce());
    if !(0..1 << DAY_BITS).contains(&first_day) {
        return Err(DomainError::DateInvalid);
    }
    Ok(timeframe.number() << (DAY_BITS + PROVINCE_BITS) | first_day << PROVINCE_BITS)
}

/// The boards that an entry of `day` and province counts on and that are retained on `today`: those of the current
/// period, the one before, and later ones (a traveller's tomorrow).
///
/// # Errors
/// As [`board`].
pub fn kept_boards_of(
    day: NaiveDate,
    iso: Option<&str>,
    today: NaiveDate,
) -> Result<Vec<i32>, DomainError> {
    let mut boards = Vec::with_capacity(8);
    for timeframe in Timeframe::ALL {
        // Numbers grow with the period, so one comparison tells whether the board is older than the previous period.
        let country = board(timeframe, day, None)?;
        if country < first_board(timeframe, today, 1)? {
            continue;
        }
        boards.push(country);
        if iso.is_some() {
            boards.push(board(timeframe, day, iso)?);
        }
    }
    Ok(boards)
}

/// The boards that are no longer retained on `today`, as half-open ranges of numbers.
///
/// # Errors
/// As [`board`].
pub fn dropped_boards(today: NaiveDate) -> Result<[(i32, i32); 4], DomainError> {
    let mut ranges = [(0, 0); 4];
    let days = days_of_challenges(today) - CHALLENGE_BOARD_DAYS;
    let oldest = days.clamp(1, 1 << CHALLENGE_DAY_BITS);
    ranges[3] = (challenge_boards(1), challenge_boards(oldest));
    // Boards of all time are never dropped; the fourth range is that of challenges.
    let of_periods = [Timeframe::Daily, Timeframe::Weekly, Timeframe::Monthly];
    for (range, timeframe) in ranges.iter_mut().zip(of_periods) {
        *range = (
            timeframe.number() << (DAY_BITS + PROVINCE_BITS),
            first_board(timeframe, today, 1)?,
        );
    }
    Ok(ranges)
}

// The contributors' board of a community challenge: all time (2 bits) | last day of the challenge (14) | its number among
// those of that day (15). The day is never 0, so these numbers lie above those of all time, in the order of their ends.

/// Bits for the last day, counted from [`FIRST_CHALLENGE_DAY`]: to the year 2070.
const CHALLENGE_DAY_BITS: u32 = 14;

/// Bits for the number among the challenges that end on one day.
const CHALLENGE_NUMBER_BITS: u32 = 15;

/// Days for which a contributors' board is retained after the last day of its challenge.
const CHALLENGE_BOARD_DAYS: i32 = 90;

/// Day 0 of [`CHALLENGE_DAY_BITS`]: 2025-12-31, in days of the common era.
const FIRST_CHALLENGE_DAY: i32 = 739_616;

fn days_of_challenges(day: NaiveDate) -> i32 {
    day.num_days_from_ce().saturating_sub(FIRST_CHALLENGE_DAY)
}

/// The lowest number for challenges that end on a day; for the day after the last one, the number after all of them.
const fn challenge_boards(day: i32) -> i32 {
    let first = Timeframe::AllTime.number() << (DAY_BITS + PROVINCE_BITS);
    first.saturating_add(day.saturating_mul(1 << CHALLENGE_NUMBER_BITS))
}

/// The number of the contributors' board of the challenge that ends on `last_day` and is `number` (from 0) among those.
///
/// # Errors
/// [`DomainError::DateInvalid`] for days before 2026 or after 2070, and for more than 32,768 challenges a day.
pub fn challenge_board(last_day: NaiveDate, number: i32) -> Result<i32, DomainError> {
    let day = days_of_challenges(last_day);
    if !(1..1 << CHALLENGE_DAY_BITS).contains(&day)
        || !(0..1 << CHALLENGE_NUMBER_BITS).contains(&number)
    {
        return Err(DomainError::DateInvalid);
    }
    Ok(challenge_boards(day) | number)
}

/// What a board's number encodes: the timeframe, the first day of the period (none for all time) and the province's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The board's timeframe.
    pub timeframe: Timeframe,
    /// First and last day; none for [`Timeframe::AllTime`].
    pub period: Option<Period>,
    /// ISO code; none for the country.
    pub province: Option<&'static str>,
}

/// Decodes a board's number; `None` for a number that [`board`] never returns.
#[must_use]
pub fn scope(number: i32) -> Option<Scope> {
    let days = number >> PROVINCE_BITS & ((1 << DAY_BITS) - 1);
    let timeframe = *Timeframe::ALL
        .iter()
        .find(|timeframe| timeframe.number() == number >> (DAY_BITS + PROVINCE_BITS))?;
    let first = NaiveDate::from_num_days_from_ce_opt(days)?;
    let code = number & ((1 << PROVINCE_BITS) - 1);
    let province = match code {
        0 => None,
        _ => Some(
            province::all()
                .iter()
                .find(|province| province.code == code)?
                .iso,
        ),
    };
    let scope = Scope {
        timeframe,
        period: timeframe.period(first, 0).ok()?,
        province,
    };
    (board(timeframe, first, province) == Ok(number)).then_some(scope)
}

/// The percentage of all other listed users who have fewer points, with at most two decimals, rounded half up: `33.33`.
/// A user alone on a board is ahead of nobody and behind nobody: `100`.
///
/// `below` of the `others` have fewer points.
#[must_use]
pub fn percentile(below: u32, others: u32) -> String {
    let (below, others) = (i64::from(below), i64::from(others));
    let hundredths = match others {
        0 => 10_000,
        _ => (20_000 * below + others) / (2 * others),
    };
    decimal_text(hundredths, 2)
}

/// Scores, or blocks of scores, that one node of a board's tree counts.
pub const NODE_SIZE: usize = 256;

/// A node with these numbers of users in these slots and none in the others; repeated slots add up. `None` for a slot
/// outside the node and for more users than 32 bits can count.
#[must_use]
pub fn node(slots: &[i32], people: &[i32]) -> Option<Vec<i32>> {
    let mut node = vec![0_i32; NODE_SIZE];
    for (slot, people) in slots.iter().zip(people) {
        let count = node.get_mut(usize::try_from(*slot).ok()?)?;
        *count = count.checked_add(*people)?;
    }
    Some(node)
}

/// The sum of two nodes, slot by slot; a missing slot counts as empty. `None` for more users than 32 bits can count.
#[must_use]
pub fn add_nodes(one: &[i32], other: &[i32]) -> Option<Vec<i32>> {
    let slot = |node: &[i32], slot| node.get(slot).copied().unwrap_or(0);
    (0..one.len().max(other.len()))
        .map(|place| slot(one, place).checked_add(slot(other, place)))
        .collect()
}

/// How many users a node has in the slots after `slot`; all of them for −1.
#[must_use]
pub fn people_after(node: &[i32], slot: i32) -> i64 {
    let from = usize::try_from(i64::from(slot) + 1).unwrap_or(0);
    let after = node.get(from..).unwrap_or_default();
    after.iter().map(|people| i64::from(*people)).sum()
}

/// The competition ranks of consecutive rows of a board, by their points, highest first, given how many listed users are
/// above the first row and how many have exactly its points. `unlisted` is a row that is shown but not counted.
#[must_use]
pub fn ranks(credits: &[i64], above: i64, equal: i64, unlisted: Option<usize>) -> Vec<i64> {
    let Some(&highest) = credits.first() else {
        return Vec::new();
    };
    // Below the first score, all users between it and a row are rows themselves.
    let (mut seen, mut group, mut before_group) = (0, highest, 0);
    credits
        .iter()
        .enumerate()
        .map(|(place, &points)| {
            // Users tied with the first row may be on the page before, so they are in `equal`, not among the rows seen.
            if points == highest {
                return above + 1;
            }
            if points != group {
                (group, before_group) = (points, seen);
            }
            seen += i64::from(Some(place) != unlisted);
            above + equal + before_group + 1
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn period(timeframe: Timeframe, text: &str, back: u32) -> String {
        let period = timeframe.period(day(text), back).unwrap().unwrap();
        format!("{} {}", period.first, period.last)
    }

    #[test]
    fn periods_follow_the_calendar() {
        let daily = period(Timeframe::Daily, "2024-03-01", 1);
        assert_eq!(daily, "2024-02-29 2024-02-29");
        // 2026-11-22 is a Sunday, the last day of its week.
        let weekly = period(Timeframe::Weekly, "2026-11-22", 0);
        assert_eq!(weekly, "2026-11-16 2026-11-22");
        let weekly = period(Timeframe::Weekly, "2026-11-23", 1);
        assert_eq!(weekly, "2026-11-16 2026-11-22");
        let monthly = period(Timeframe::Monthly, "2026-01-31", 1);
        assert_eq!(monthly, "2025-12-01 2025-12-31");
        let monthly = period(Timeframe::Monthly, "2024-03-31", 1);
        assert_eq!(monthly, "2024-02-01 2024-02-29");
        assert_eq!(Timeframe::AllTime.period(day("2026-01-01"), 1), Ok(None));
    }

    #[test]
    fn all_days_of_a_period_share_a_board_and_other_days_do_not() {
        let country = |timeframe, text| board(timeframe, day(text), None).unwrap();
        for (timeframe, first, last, next) in [
            (Timeframe::Daily, "2026-11-22", "2026-11-22", "2026-11-23"),
            (Timeframe::Weekly, "2026-11-16", "2026-11-22", "2026-11-23"),
            (Timeframe::Monthly, "2026-11-01", "2026-11-30", "2026-12-01"),
        ] {
            assert_eq!(country(timeframe, first), country(timeframe, last));
            assert!(country(timeframe, last) < country(timeframe, next));
        }
        assert_eq!(
            country(Timeframe::AllTime, "1999-01-01"),
            country(Timeframe::AllTime, "2050-01-01")
        );
    }

    #[test]
    fn no_two_boards_share_a_number() {
        let mut seen = std::collections::HashSet::new();
        for timeframe in Timeframe::ALL {
            for text in ["2026-11-22", "2026-12-25"] {
                if timeframe == Timeframe::AllTime && text == "2026-12-25" {
                    continue;
                }
                assert!(seen.insert(board(timeframe, day(text), None).unwrap()));
                for province in province::all() {
                    let board = board(timeframe, day(text), Some(province.iso)).unwrap();
                    assert!(board > 0 && seen.insert(board));
                }
            }
        }
        assert_eq!(seen.len(), 7 * 78);
    }

    #[test]
    fn boards_of_this_the_last_and_later_periods_are_retained() {
        let count = |text, iso| {
            kept_boards_of(day(text), iso, day("2026-11-22"))
                .unwrap()
                .len()
        };
        assert_eq!(count("2026-11-22", Some("TH-10")), 8);
        assert_eq!(count("2026-11-23", None), 4);
        assert_eq!(count("2026-11-21", None), 4);
        // Its day is dropped; its week and month are the previous ones.
        assert_eq!(count("2026-11-09", Some("TH-10")), 6);
        assert_eq!(count("2026-10-01", None), 2);
        assert_eq!(count("2026-09-30", Some("TH-96")), 2);
    }

    #[test]
    fn boards_that_are_not_retained_lie_in_the_dropped_ranges() {
        let today = day("2026-11-22");
        let ranges = dropped_boards(today).unwrap();
        let is_dropped = |board: i32| {
            ranges
                .iter()
                .any(|(from, to)| (*from..*to).contains(&board))
        };
        for back in 0..100 {
            let then = today - Days::new(back);
            let retained = kept_boards_of(then, Some("TH-50"), today).unwrap();
            for timeframe in Timeframe::ALL {
                for iso in [None, Some("TH-50")] {
                    let board = board(timeframe, then, iso).unwrap();
                    assert_ne!(is_dropped(board), retained.contains(&board), "{then}");
                }
            }
        }
    }

    #[test]
    fn boards_of_challenges_have_numbers_of_their_own_and_are_dropped_by_their_last_day() {
        let board = |text, number| challenge_board(day(text), number);
        let first = board("2026-01-01", 0).unwrap();
        assert!(
            first > super::board(Timeframe::AllTime, day("2026-01-01"), Some("TH-96")).unwrap()
        );
        assert_eq!(
            board("2026-01-01", 32_767).map(|last| last + 1),
            board("2026-01-02", 0)
        );
        for (text, number) in [
            ("2025-12-31", 0),
            ("2080-01-01", 0),
            ("2026-01-01", -1),
            ("2026-01-01", 32_768),
        ] {
            assert_eq!(
                board(text, number),
                Err(DomainError::DateInvalid),
                "{text} {number}"
            );
        }
        let is_dropped = |text, today| {
            let ranges = dropped_boards(day(today)).unwrap();
            let board = board(text, 7).unwrap();
            ranges
                .iter()
                .any(|(from, to)| (*from..*to).contains(&board))
        };
        assert!(!is_dropped("2026-06-01", "2026-08-30"));
        assert!(is_dropped("2026-06-01", "2026-08-31"));
        assert!(is_dropped("2026-01-01", "2999-01-01"));
        assert!(!is_dropped("2026-01-01", "2025-01-01"));
        assert_eq!(scope(first), None);
    }

    #[test]
    fn a_number_is_read_back() {
        for timeframe in Timeframe::ALL {
            for iso in [None, Some("TH-38")] {
                let number = board(timeframe, day("2026-11-22"), iso).unwrap();
                let scope = scope(number).unwrap();
                assert_eq!((scope.timeframe, scope.province), (timeframe, iso));
                assert_eq!(
                    Ok(scope.period),
                    timeframe.period(day("2026-11-22"), 0),
                    "{timeframe:?}"
                );
            }
        }
        for nonsense in [-1, 1, i32::MAX, (3 << 29) + (1 << 7)] {
            assert_eq!(scope(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_percentile_is_the_share_of_the_others_who_have_fewer_points() {
        for (below, others, shown) in [
            (0, 0, "100"),
            (0, 3, "0"),
            (3, 3, "100"),
            (1, 2, "50"),
            (1, 3, "33.33"),
            (2, 3, "66.67"),
            (1, 40, "2.5"),
            // 0.125, 0.375 and 99.995: rounded half up.
            (1, 800, "0.13"),
            (3, 800, "0.38"),
            (19_999, 20_000, "100"),
            (1, 20_001, "0"),
            (u32::MAX, u32::MAX, "100"),
            (u32::MAX - 1, u32::MAX, "100"),
        ] {
            assert_eq!(percentile(below, others), shown, "{below} of {others}");
        }
    }

    #[test]
    fn nodes_add_up() {
        let one = node(&[0, 255, 7, 7], &[1, 2, 3, 4]).unwrap();
        assert_eq!((one.len(), one[0], one[7], one[255]), (256, 1, 7, 2));
        let both = add_nodes(&one, &node(&[7], &[-7]).unwrap()).unwrap();
        assert_eq!(people_after(&both, -1), 3);
        assert_eq!(people_after(&both, 0), 2);
        assert_eq!(people_after(&both, 255), 0);
        assert_eq!(people_after(&[], i32::MAX), 0);
        assert_eq!(add_nodes(&[], &[4]), Some(vec![4]));
        for slot in [-1, 256] {
            assert_eq!(node(&[slot], &[1]), None);
        }
        assert_eq!(add_nodes(&[i32::MAX], &[1]), None);
    }

    #[test]
    fn invalid_boards_are_refused() {
        assert_eq!(
            Timeframe::parse("hourly"),
            Err(DomainError::TimeframeInvalid)
        );
        assert_eq!(Timeframe::parse("weekly"), Ok(Timeframe::Weekly));
        assert_eq!(
            board(Timeframe::Daily, day("2026-11-22"), Some("TH-99")),
            Err(DomainError::UnknownProvince)
        );
        for out in ["-0001-01-01", "+12000-01-01"] {
            assert_eq!(
                board(Timeframe::Daily, day(out), None),
                Err(DomainError::DateInvalid)
            );
        }
        assert_eq!(
            Timeframe::Monthly.period(NaiveDate::MIN, 1),
            Err(DomainError::DateInvalid)
        );
    }

    #[test]
    fn equal_users_share_a_rank_and_the_next_rank_counts_all_of_them() {
        assert_eq!(ranks(&[9, 9, 7, 7, 5], 3, 4, None), [4, 4, 8, 8, 10]);
        assert_eq!(ranks(&[-3], 0, 1, None), [1]);
        assert_eq!(ranks(&[], 0, 0, None), [0_i64; 0]);
    }

    #[test]
    fn an_unlisted_user_has_a_rank_and_changes_no_other() {
        assert_eq!(ranks(&[9, 8, 7, 7, 5], 0, 1, Some(1)), [1, 2, 2, 2, 4]);
        assert_eq!(ranks(&[9, 9, 7], 2, 1, Some(0)), [3, 3, 4]);
        assert_eq!(ranks(&[9, 7], 2, 0, Some(0)), [3, 3]);
    }
}
