//! What one limited subject (a user, a connecting address, a block of numbers, the service itself)
//! has used, and the rules of counting, without clock or storage, so that they can be tested alone.
//!
//! A window begins with the first request that counts in it and has a fixed length, so a refusal
//! holds until a fixed instant. A request counts under all its rules or, once refused, under none.

use serde::{Deserialize, Serialize};

/// A code that was begun and never verified weighs on its subject for this long.
pub const UNVERIFIED_MS: i64 = 60 * 60 * 1000;
/// Attempts that are remembered: the highest number that any rule compares with.
const MAX_ATTEMPTS: usize = 20;

/// The state of one subject.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SubjectState {
    windows: Vec<Window>,
    /// Codes begun and not verified: the attempt's name and when (milliseconds since 1970).
    #[serde(default)]
    attempts: Vec<(String, i64)>,
    /// When the object will check what can be dropped; 0 if it need not.
    alarm_at_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Window {
    rule: String,
    count: u32,
    ends_at_ms: i64,
}

/// One rule to count under.
#[derive(Debug, Serialize, Deserialize)]
pub struct RateRule {
    pub rule: String,
    /// Requests a window.
    pub limit: u32,
    /// The window's length in milliseconds.
    pub window_ms: i64,
}

/// What the Worker sends to a subject.
#[derive(Debug, Serialize, Deserialize)]
pub enum Command {
    /// Count a request under these rules.
    Count(Vec<RateRule>),
    /// A code is to be begun.
    Begin {
        attempt: String,
        /// With this many unverified codes the bot check must be passed.
        limit: u32,
        passed: bool,
    },
    /// A code was verified, or never begun after all.
    Refund(String),
    /// What was counted under this rule does not count after all.
    Forget(String),
    /// How much was counted under each of these rules.
    Read(Vec<String>),
}

/// The answer of a subject.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubjectReply {
    /// It counts.
    Counted,
    /// It does not count, and will not before `reset_at_ms`.
    Refused {
        /// The rule that is free last among those that refuse.
        rule: String,
        limit: u32,
        /// Milliseconds since 1970.
        reset_at_ms: i64,
    },
    /// What was counted, in the order of the question.
    Counts(Vec<u32>),
}

impl SubjectState {
    /// Carries out a command at a time (milliseconds since 1970).
    pub fn apply(&mut self, command: Command, now_ms: i64) -> SubjectReply {
        self.forget_old(now_ms);
        match command {
            Command::Count(rules) => self.count(&rules, now_ms),
            Command::Begin {
                attempt,
                limit,
                passed,
            } => self.begin(attempt, limit, passed, now_ms),
            Command::Refund(attempt) => {
                self.attempts.retain(|(begun, _)| *begun != attempt);
                SubjectReply::Counted
            }
            Command::Forget(rule) => {
                self.windows.retain(|window| window.rule != rule);
                SubjectReply::Counted
            }
            Command::Read(rules) => {
                let counted = |rule: &String| {
                    let window = self.windows.iter().find(|one| one.rule == *rule);
                    window.map_or(0, |window| window.count)
                };
                SubjectReply::Counts(rules.iter().map(counted).collect())
            }
        }
    }

    fn count(&mut self, rules: &[RateRule], now_ms: i64) -> SubjectReply {
        let spent = rules.iter().filter_map(|rule| {
            let window = self.windows.iter().find(|one| one.rule == rule.rule)?;
            (window.count >= rule.limit).then_some((rule, window.ends_at_ms))
        });
        if let Some((rule, reset_at_ms)) = spent.max_by_key(|(_, ends_at_ms)| *ends_at_ms) {
            return SubjectReply::Refused {
                rule: rule.rule.clone(),
                limit: rule.limit,
                reset_at_ms,
            };
        }
        for rule in rules {
            match self.windows.iter_mut().find(|one| one.rule == rule.rule) {
                Some(window) => window.count += 1,
                None => self.windows.push(Window {
                    rule: rule.rule.clone(),
                    count: 1,
                    ends_at_ms: now_ms + rule.window_ms,
                }),
            }
        }
        SubjectReply::Counted
    }

    fn begin(&mut self, attempt: String, limit: u32, passed: bool, now_ms: i64) -> SubjectReply {
        let limit_len = limit as usize;
        if !passed && self.attempts.len() >= limit_len {
            // Free again when the oldest have expired and one less than the limit is left.
            let (_, at_ms) = &self.attempts[self.attempts.len() - limit_len];
            return SubjectReply::Refused {
                rule: "challenge".to_owned(),
                limit,
                reset_at_ms: at_ms + UNVERIFIED_MS,
            };
        }
        self.attempts.push((attempt, now_ms));
        if self.attempts.len() > MAX_ATTEMPTS {
            self.attempts.remove(0);
        }
        SubjectReply::Counted
    }

    /// Drops windows and attempts whose time is over.
    fn forget_old(&mut self, now_ms: i64) {
        self.windows.retain(|window| window.ends_at_ms > now_ms);
        self.attempts
            .retain(|(_, at_ms)| at_ms + UNVERIFIED_MS > now_ms);
    }

    /// The alarm fired: drops what is over, and returns when to fire again if anything is left.
    pub fn after_alarm(&mut self, now_ms: i64) -> Option<i64> {
        self.forget_old(now_ms);
        self.alarm_at_ms = 0;
        self.alarm_to_set(now_ms)
    }

    /// The time for which an alarm is to be set, if none is set and there is anything to forget: the
    /// end of all that is stored now.
    pub fn alarm_to_set(&mut self, now_ms: i64) -> Option<i64> {
        if self.alarm_at_ms > now_ms {
            return None;
        }
        let windows = self.windows.iter().map(|window| window.ends_at_ms);
        let attempts = self.attempts.iter().map(|(_, at_ms)| at_ms + UNVERIFIED_MS);
        self.alarm_at_ms = windows.chain(attempts).max()?;
        Some(self.alarm_at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: i64 = 1_800_000_000_000;
    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    fn rule(rule: &str, limit: u32, window_ms: i64) -> RateRule {
        RateRule {
            rule: rule.into(),
            limit,
            window_ms,
        }
    }

    fn count(state: &mut SubjectState, rules: Vec<RateRule>, at_ms: i64) -> SubjectReply {
        state.apply(Command::Count(rules), at_ms)
    }

    fn begin(state: &mut SubjectState, attempt: &str, passed: bool, at_ms: i64) -> SubjectReply {
        let command = Command::Begin {
            attempt: attempt.into(),
            limit: 3,
            passed,
        };
        state.apply(command, at_ms)
    }

    fn refused(rule: &str, limit: u32, reset_at_ms: i64) -> SubjectReply {
        SubjectReply::Refused {
            rule: rule.into(),
            limit,
            reset_at_ms,
        }
    }

    #[test]
    fn a_window_begins_with_its_first_request_and_ends_by_the_clock() {
        let mut state = SubjectState::default();
        let mut at = |at_ms| count(&mut state, vec![rule("a", 2, MINUTE)], at_ms);
        assert_eq!(at(T0), SubjectReply::Counted);
        assert_eq!(at(T0 + MINUTE - 2), SubjectReply::Counted);
        // Refused ones do not move the end.
        assert_eq!(at(T0 + MINUTE - 1), refused("a", 2, T0 + MINUTE));
        assert_eq!(at(T0 + MINUTE - 1), refused("a", 2, T0 + MINUTE));
        assert_eq!(at(T0 + MINUTE), SubjectReply::Counted);
        assert_eq!(at(T0 + MINUTE + 1), SubjectReply::Counted);
        assert_eq!(at(T0 + MINUTE + 2), refused("a", 2, T0 + 2 * MINUTE));
    }

    #[test]
    fn a_request_counts_under_all_its_rules_or_under_none() {
        let mut state = SubjectState::default();
        let both = || vec![rule("minute", 2, MINUTE), rule("hour", 3, HOUR)];
        for _ in 0..2 {
            assert_eq!(count(&mut state, both(), T0), SubjectReply::Counted);
        }
        // Refused by the minute: the hour does not count it.
        for _ in 0..5 {
            let answer = count(&mut state, both(), T0 + 1);
            assert_eq!(answer, refused("minute", 2, T0 + MINUTE));
        }
        assert_eq!(
            count(&mut state, both(), T0 + MINUTE),
            SubjectReply::Counted
        );
        let answer = count(&mut state, both(), T0 + MINUTE + 1);
        assert_eq!(answer, refused("hour", 3, T0 + HOUR));
        // Other rules of the same subject are free.
        let other = vec![rule("other", 1, MINUTE)];
        assert_eq!(
            count(&mut state, other, T0 + MINUTE + 1),
            SubjectReply::Counted
        );
    }

    #[test]
    fn what_was_counted_can_be_seen() {
        let mut state = SubjectState::default();
        count(&mut state, vec![rule("a", 2, MINUTE)], T0);
        let read = || Command::Read(vec!["b".into(), "a".into()]);
        assert_eq!(state.apply(read(), T0), SubjectReply::Counts(vec![0, 1]));
        assert_eq!(
            state.apply(read(), T0 + MINUTE),
            SubjectReply::Counts(vec![0, 0])
        );
    }

    #[test]
    fn a_forgotten_rule_begins_again_and_others_go_on() {
        let mut state = SubjectState::default();
        let both = || vec![rule("a", 1, MINUTE), rule("b", 2, MINUTE)];
        count(&mut state, both(), T0);
        state.apply(Command::Forget("a".into()), T0);
        assert_eq!(count(&mut state, both(), T0), SubjectReply::Counted);
        assert_eq!(
            count(&mut state, vec![rule("b", 2, MINUTE)], T0),
            refused("b", 2, T0 + MINUTE)
        );
    }

    #[test]
    fn of_several_spent_rules_the_one_that_is_free_last_is_named() {
        let mut state = SubjectState::default();
        let both = || vec![rule("hour", 1, HOUR), rule("minute", 1, MINUTE)];
        count(&mut state, both(), T0);
        assert_eq!(count(&mut state, both(), T0), refused("hour", 1, T0 + HOUR));
    }

    #[test]
    fn the_nth_code_without_a_proof_needs_a_challenge_for_an_hour() {
        let mut state = SubjectState::default();
        for (n, attempt) in ["a", "b", "c"].iter().enumerate() {
            let at_ms = T0 + n as i64;
            assert_eq!(
                begin(&mut state, attempt, false, at_ms),
                SubjectReply::Counted
            );
        }
        let free_at = T0 + UNVERIFIED_MS;
        let answer = begin(&mut state, "d", false, free_at - 1);
        assert_eq!(answer, refused("challenge", 3, free_at));
        // The bot check lets the client go on, and that code weighs as well.
        let answer = begin(&mut state, "d", true, free_at - 1);
        assert_eq!(answer, SubjectReply::Counted);
        let answer = begin(&mut state, "e", false, free_at);
        assert_eq!(answer, refused("challenge", 3, free_at + 1));
    }

    #[test]
    fn a_code_that_is_never_verified_weighs_for_an_hour() {
        assert_eq!(UNVERIFIED_MS, 3_600_000);
        let mut state = SubjectState::default();
        for attempt in ["a", "b", "c"] {
            assert_eq!(begin(&mut state, attempt, false, T0), SubjectReply::Counted);
        }
        let answer = begin(&mut state, "d", false, T0 + HOUR - 1);
        assert_eq!(answer, refused("challenge", 3, T0 + HOUR));
        for attempt in ["d", "e", "f"] {
            let answer = begin(&mut state, attempt, false, T0 + HOUR);
            assert_eq!(answer, SubjectReply::Counted);
        }
    }

    #[test]
    fn a_verified_code_weighs_no_more() {
        let mut state = SubjectState::default();
        for attempt in ["a", "b", "c"] {
            begin(&mut state, attempt, false, T0);
        }
        for _ in 0..2 {
            state.apply(Command::Refund("b".into()), T0);
        }
        assert_eq!(begin(&mut state, "d", false, T0), SubjectReply::Counted);
        assert!(matches!(
            begin(&mut state, "e", false, T0),
            SubjectReply::Refused { .. }
        ));
    }

    #[test]
    fn an_alarm_whose_time_has_come_is_no_alarm_any_longer() {
        let mut state = SubjectState::default();
        count(&mut state, vec![rule("a", 2, MINUTE)], T0);
        assert_eq!(state.alarm_to_set(T0), Some(T0 + MINUTE));
        count(&mut state, vec![rule("a", 2, MINUTE)], T0 + MINUTE);
        assert_eq!(state.alarm_to_set(T0 + MINUTE), Some(T0 + 2 * MINUTE));
        // Attempts are stored for an hour, and the alarm waits for them.
        begin(&mut state, "a", false, T0 + 2 * MINUTE);
        let end = T0 + 2 * MINUTE + UNVERIFIED_MS;
        assert_eq!(state.alarm_to_set(T0 + 2 * MINUTE), Some(end));
    }

    #[test]
    fn nothing_is_stored_when_all_is_over_and_one_alarm_is_enough() {
        let mut state = SubjectState::default();
        count(&mut state, vec![rule("a", 2, MINUTE)], T0);
        assert_eq!(state.alarm_to_set(T0), Some(T0 + MINUTE));
        count(&mut state, vec![rule("b", 2, HOUR)], T0 + 1);
        assert_eq!(state.alarm_to_set(T0 + 1), None);
        // Also one that rings a moment early.
        assert_eq!(state.after_alarm(T0 + MINUTE - 1), Some(T0 + 1 + HOUR));
        assert_eq!(state.after_alarm(T0 + 1 + HOUR), None);
        assert!(state.windows.is_empty());
        for n in 0..50 {
            begin(&mut state, &n.to_string(), true, T0 + n);
        }
        assert_eq!(state.attempts.len(), MAX_ATTEMPTS);
    }
}
