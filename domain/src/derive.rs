//! Derives what follows from one more entry: the user's new state, and what the entry earned.
//!
//! The result always equals a recomputation from all entries (`tests/derive.rs`), but it reads much less.

use chrono::NaiveDate;

use crate::criteria::{Criteria, Day, Diary, Metric, is_plastic_free};
use crate::level;
use crate::mark::{Mark, MarkedState};
use crate::tally::Tally;

/// Something that can be earned: an achievement, or a challenge of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earnable {
    /// Id of the achievement, or of that day's challenge.
    pub id: String,
    /// What has to be reached.
    pub criteria: Criteria,
    /// Points that it pays.
    pub credits: i64,
}

/// Sums of a user's days: runs, closed days, plastic-free days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayState {
    /// The last closed day; never moves back.
    pub closed_through: NaiveDate,
    /// The first day with entries after `closed_through`.
    pub first_open: Option<NaiveDate>,
    /// The last day with entries.
    pub latest: Option<NaiveDate>,
    /// Days of the run that ends on `latest`.
    pub current_run: i32,
    /// Days of the longest run.
    pub longest_run: i32,
    /// Plastic-free days up to `closed_through`.
    pub plastic_free: i32,
}

impl DayState {
    /// The sums of these days (in any order, each once) when those up to `closed_through` are closed.
    #[must_use]
    pub fn of(days: &[Day], closed_through: NaiveDate) -> DayState {
        let mut state = DayState {
            closed_through,
            first_open: None,
            latest: None,
            current_run: 0,
            longest_run: 0,
            plastic_free: 0,
        };
        state.set_runs(days.iter().map(|day| day.date).collect());
        let open = days.iter().filter(|day| day.date > closed_through);
        state.first_open = open.map(|day| day.date).min();
        state.plastic_free = plastic_free(days.iter().filter(|day| day.date <= closed_through));
        state
    }

    /// Whether an entry on `day` needs [`DayOfEntry::open_days`]: a day has ended and has not been closed yet.
    #[must_use]
    pub fn needs_open_days(&self, day: NaiveDate, today: NaiveDate) -> bool {
        let opened = (day > self.closed_through).then_some(day);
        self.first_open
            .into_iter()
            .chain(opened)
            .any(|open| open < today)
    }

    /// Whether an entry on `day` needs [`DayOfEntry::all_days`]: it may join runs of earlier days.
    #[must_use]
    pub fn needs_all_days(&self, day: NaiveDate, is_first: bool) -> bool {
        is_first && self.latest.is_some_and(|latest| day < latest)
    }

    fn set_runs(&mut self, mut dates: Vec<NaiveDate>) {
        dates.sort_unstable();
        dates.dedup();
        self.latest = None;
        (self.current_run, self.longest_run) = (0, 0);
        for date in dates {
            self.append(date);
        }
    }

    /// Adds a day after all others.
    fn append(&mut self, day: NaiveDate) {
        let follows = self.latest.and_then(|latest| latest.succ_opt()) == Some(day);
        self.current_run = if follows { self.current_run + 1 } else { 1 };
        self.longest_run = self.longest_run.max(self.current_run);
        self.latest = Some(day);
    }

    /// Adds an entry.
    fn add(
        &mut self,
        entry: &NewEntry,
        seen: &DayOfEntry<'_>,
        today: NaiveDate,
    ) -> Result<(), MissingDays> {
        let day = entry.day;
        if self.latest.is_none_or(|latest| day > latest) {
            self.append(day);
        } else if self.needs_all_days(day, seen.is_first) {
            self.set_runs(seen.all_days.ok_or(MissingDays)?.to_vec());
        }

        let needs_open_days = self.needs_open_days(day, today);
        if day > self.closed_through {
            self.first_open = Some(self.first_open.map_or(day, |first| first.min(day)));
        } else {
            // The day is closed already, so the entry may make it plastic-free or end that: compare it with and without.
            let mut before = seen.tally.clone();
            before.add(&entry.tally.negated());
            self.plastic_free +=
                i32::from(is_plastic_free(seen.tally)) - i32::from(is_plastic_free(&before));
        }
        // Days have ended since the last write: close everything up to yesterday.
        if needs_open_days {
            let open_days = seen.open_days.ok_or(MissingDays)?;
            let yesterday = today.pred_opt().unwrap_or(today);
            self.closed_through = self.closed_through.max(yesterday);
            let closed_through = self.closed_through;
            let open = open_days.iter().filter(|day| day.date > closed_through);
            self.first_open = open.map(|day| day.date).min();
            let closed = open_days.iter().filter(|day| day.date <= closed_through);
            self.plastic_free += plastic_free(closed);
        }
        Ok(())
    }
}

/// The streak as of the user's own `today`: `current_run` if it ends yesterday, today, or (after a flight to the west)
/// tomorrow, else 0.
#[must_use]
pub fn run_as_of(current_run: i32, latest: Option<NaiveDate>, today: NaiveDate) -> i32 {
    let yesterday = today.pred_opt().unwrap_or(today);
    match latest {
        Some(latest) if latest >= yesterday => current_run,
        _ => 0,
    }
}

fn plastic_free<'a>(days: impl Iterator<Item = &'a Day>) -> i32 {
    let count = days.filter(|day| is_plastic_free(&day.tally)).count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The part of a user's state row that an entry can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// Credits of all entries.
    pub credits: i64,
    /// Entries and grams of each category and method.
    pub tally: Tally,
    /// Net points of the reward ledger.
    pub rewards: i64,
    /// Level of the total, which is credits + rewards.
    pub level: i32,
    /// Ids of the achievements held, sorted.
    pub achievements: Vec<String>,
    /// Ids of the challenges held on the latest day, sorted.
    pub latest_challenges: Vec<String>,
    /// Sums of the days.
    pub days: DayState,
}

impl UserState {
    /// What the user's marks depend on.
    #[must_use]
    pub fn marked(&self) -> MarkedState {
        MarkedState {
            total: self.credits.saturating_add(self.rewards),
            longest_run: self.days.longest_run,
        }
    }
}

/// The new entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Its local day.
    pub day: NaiveDate,
    /// One entry of its category and method, with its grams.
    pub tally: Tally,
    /// Its credits.
    pub credits: i64,
}

/// The entry's day including the entry, and what else of the diary [`derive`] needs.
#[derive(Debug, Clone, Copy)]
pub struct DayOfEntry<'a> {
    /// Whether the day had no entry before.
    pub is_first: bool,
    /// Everything logged on the day.
    pub tally: &'a Tally,
    /// The part of it that counts for challenges; `None` if the day has no challenges (before the profile began) or the
    /// entry does not count (imports).
    pub counted: Option<&'a Tally>,
    /// The challenges held on the day, if it is before the latest one; not used otherwise.
    pub held_challenges: &'a [String],
    /// The days with entries after `closed_through`, if [`DayState::needs_open_days`].
    pub open_days: Option<&'a [Day]>,
    /// All days with entries, if [`DayState::needs_all_days`].
    pub all_days: Option<&'a [NaiveDate]>,
}

/// The caller did not pass days that are needed: a programming error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingDays;

/// The effects of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived<'a> {
    /// The state afterwards.
    pub state: UserState,
    /// The achievements it reached, by id.
    pub achievements: Vec<&'a Earnable>,
    /// The challenges of its day that it completed, by id.
    pub challenges: Vec<&'a Earnable>,
    /// The marks it reached (true) or lost (false), in the order of their rows in the ledger.
    pub marks: Vec<(Mark, bool)>,
}

/// Derives what follows from one more entry, with the active achievements and the active challenges of its day.
///
/// `None` if something that is held is no longer reached, because points can be negative: what it paid is only in the
/// ledger, so all rewards have to be evaluated. `today` is the user's own.
///
/// # Errors
/// [`MissingDays`] when days are needed that were not passed.
pub fn derive<'a>(
    before: &UserState,
    entry: &NewEntry,
    day: &DayOfEntry<'_>,
    achievements: &'a [Earnable],
    challenges: &'a [Earnable],
    today: NaiveDate,
) -> Result<Option<Derived<'a>>, MissingDays> {
    let mut state = before.clone();
    state.credits = state.credits.saturating_add(entry.credits);
    state.tally.add(&entry.tally);
    state.days.add(entry, day, today)?;

    let Some(reached) = reached(&state, entry, day.tally, achievements) else {
        return Ok(None);
    };
    // A day that is later than all others has no challenges held yet. Those of the latest day are in the state; those of an
    // earlier one are only in the ledger, so the caller reads them.
    let latest_before = before.days.latest;
    let held = match latest_before {
        Some(latest) if entry.day < latest => day.held_challenges,
        Some(latest) if entry.day == latest => &before.latest_challenges,
        _ => &[],
    };
    let completed = completed(entry, day.counted, held, challenges);

    for won in &reached {
        state.rewards = state.rewards.saturating_add(won.credits);
        state.achievements.push(won.id.clone());
    }
    for won in &completed {
        state.rewards = state.rewards.saturating_add(won.credits);
    }
    state.achievements.sort_unstable();
    if state.days.latest == Some(entry.day) {
        let won = completed.iter().map(|challenge| challenge.id.clone());
        state.latest_challenges = held.iter().cloned().chain(won).collect();
        state.latest_challenges.sort_unstable();
    }
    let marked = state.marked();
    state.level = level::level(marked.total);
    Ok(Some(Derived {
        state,
        achievements: reached,
        challenges: completed,
        marks: marked.changes_since(before.marked()),
    }))
}

/// The achievements that are reached now and not held; `None` if a held one is no longer reached.
fn reached<'a>(
    state: &UserState,
    entry: &NewEntry,
    day: &Tally,
    achievements: &'a [Earnable],
) -> Option<Vec<&'a Earnable>> {
    let day = [Day {
        date: entry.day,
        tally: day.clone(),
    }];
    let diary = Diary {
        credits: state.credits,
        tally: &state.tally,
        days: &day,
        closed_through: state.days.closed_through,
    };
    let mut reached = Vec::new();
    for achievement in achievements {
        let criteria = &achievement.criteria;
        let is_held = state.achievements.contains(&achievement.id);
        let is_reached = match criteria.metric {
            Metric::DailyStreak => i64::from(state.days.longest_run) >= criteria.at_least,
            Metric::PlasticFreeDay => i64::from(state.days.plastic_free) >= criteria.at_least,
            // More entries never undo it, and the other days have not changed.
            Metric::EntriesInOneDay if is_held => true,
            _ => criteria.value(&diary) >= criteria.at_least,
        };
        match (is_held, is_reached) {
            (true, false) => return None,
            (false, true) => reached.push(achievement),
            _ => {}
        }
    }
    reached.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Some(reached)
}

fn completed<'a>(
    entry: &NewEntry,
    counted: Option<&Tally>,
    held: &[String],
    challenges: &'a [Earnable],
) -> Vec<&'a Earnable> {
    let Some(counted) = counted else {
        return Vec::new();
    };
    let day = [Day {
        date: entry.day,
        tally: counted.clone(),
    }];
    let diary = Diary {
        credits: 0,
        tally: counted,
        days: &day,
        closed_through: entry.day,
    };
    let mut completed: Vec<&Earnable> = challenges
        .iter()
        .filter(|challenge| !held.contains(&challenge.id))
        .filter(|challenge| challenge.criteria.value(&diary) >= challenge.criteria.at_least)
        .collect();
    completed.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    completed
}
