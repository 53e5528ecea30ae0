//! Why a message was not delivered, and whether it may be sent again.

use std::fmt;

use super::UpstreamError;

/// Tries before a message is given up.
const TRIES: usize = 3;
/// Milliseconds that all tries and the pauses between them may take: the runtime ends what runs on
/// 30 s after the answer.
pub const ALL_TRIES_MS: u64 = 12_000;
/// Milliseconds until the next try, unless the provider names its own time.
const PAUSE_MS: u64 = 1_000;

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The provider does not deliver to this number.
    Number,
    /// The account has no credit left: an operator must pay.
    Credit,
    /// The account's key is wrong or may not send: an operator must act.
    Credentials,
    /// Refused for another reason, for example the sender's name: an operator must act.
    Refused,
    /// Too many messages at a time; not taken.
    Throttled,
    /// Out of service; not taken.
    Down,
    /// No answer, or one that does not say whether the message was taken.
    Unclear,
}

impl Reason {
    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Credit => "credit",
            Self::Credentials => "credentials",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Down => "down",
            Self::Unclear => "unclear",
        }
    }

    /// Whether no message goes out until an operator has acted.
    pub fn needs_operator(self) -> bool {
        matches!(self, Self::Credit | Self::Credentials | Self::Refused)
    }

    /// Whether the message certainly was not taken, and may be next time.
    fn may_repeat(self) -> bool {
        matches!(self, Self::Throttled | Self::Down)
    }
}

/// A failed try; its words hold neither number nor text.
#[derive(Debug)]
pub struct Failure {
    pub reason: Reason,
    what: String,
    retry_after_secs: Option<i64>,
}

impl Failure {
    /// A failure in words that are fit for a log.
    pub fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self {
            reason,
            what: what.into(),
            retry_after_secs: None,
        }
    }

    /// No answer: the message may have been taken all the same.
    pub fn no_response(error: &UpstreamError) -> Self {
        let what = match error {
            UpstreamError::Timeout => "no answer in time",
            UpstreamError::Unreachable(_) => "not reached",
        };
        Self::new(Reason::Unclear, what)
    }

    /// The same with the seconds that the provider asks to wait.
    pub fn retry_after(self, retry_after_secs: Option<i64>) -> Self {
        Self {
            retry_after_secs,
            ..self
        }
    }

    /// Milliseconds until the next try, if there is one after `tries` and `spent_ms`.
    pub fn pause_ms(&self, tries: usize, spent_ms: u64) -> Option<u64> {
        let named = self
            .retry_after_secs
            .and_then(|secs| u64::try_from(secs).ok());
        let pause_ms = named.map_or(PAUSE_MS, |secs| secs.saturating_mul(1_000));
        let in_time = spent_ms.saturating_add(pause_ms) < ALL_TRIES_MS;
        (self.reason.may_repeat() && tries < TRIES && in_time).then_some(pause_ms)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.label(), self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_was_not_taken_is_offered_again() {
        let pause = |reason| Failure::new(reason, "").pause_ms(1, 0);
        for reason in [Reason::Throttled, Reason::Down] {
            assert_eq!(pause(reason), Some(PAUSE_MS));
        }
        for reason in [
            Reason::Number,
            Reason::Credit,
            Reason::Credentials,
            Reason::Refused,
            Reason::Unclear,
        ] {
            assert_eq!(pause(reason), None, "{}", reason.label());
        }
    }

    #[test]
    fn tries_end_by_their_number_and_by_the_clock() {
        let after = |secs| Failure::new(Reason::Throttled, "").retry_after(secs);
        assert_eq!(after(Some(3)).pause_ms(1, 0), Some(3_000));
        assert_eq!(after(Some(-1)).pause_ms(1, 0), Some(PAUSE_MS));
        assert_eq!(after(None).pause_ms(TRIES, 0), None);
        assert_eq!(after(Some(60)).pause_ms(1, 0), None);
        assert_eq!(after(None).pause_ms(2, ALL_TRIES_MS - PAUSE_MS), None);
        assert_eq!(after(Some(i64::MAX)).pause_ms(1, 0), None);
    }

    #[test]
    fn without_an_answer_the_message_may_have_been_taken() {
        let error = UpstreamError::Unreachable("http://x/sms 66812345678".to_owned());
        let failure = Failure::no_response(&error);
        assert_eq!(failure.reason, Reason::Unclear);
        assert_eq!(failure.to_string(), "unclear: not reached");
    }
}
