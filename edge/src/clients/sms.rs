//! Delivery of SMS behind one small interface: a number, a text, done or why not.
//!
//! Never twice: the provider has no key by which it would know a message again, so a message is
//! offered again only after an answer that says it was not taken. One that may have been taken is
//! given up; the person asks for another code.

use std::fmt;
use std::time::Duration;

use carbon_domain::Lang;
use carbon_domain::phone::Phone;
use serde_json::json;
use worker::{Delay, Method};

use super::{Answer, Outage, Outgoing, send};
use crate::call::now_ms;
use crate::config::SmsProvider;

/// A provider is asked this often before a message is given up.
const TRIES: usize = 3;
/// Milliseconds that one try may take. Codes that come later find nobody waiting.
const TRY_MS: u64 = 5_000;
/// Milliseconds that all tries and the pauses between them may take: the runtime ends what runs on
/// 30 s after the answer.
const ALL_TRIES_MS: u64 = 12_000;
/// Milliseconds until the next try, unless the provider names its own time.
const PAUSE_MS: u64 = 1_000;

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The provider does not deliver to this number.
    Number,
    /// The account has no credit left: an operator must pay.
    Credit,
    /// The account's key is wrong or may not send: an operator must look.
    Credentials,
    /// Refused for another reason, for example the sender's name: an operator must look.
    Refused,
    /// Too many messages at a time; not taken.
    Throttled,
    /// Out of service; not taken.
    Down,
    /// No answer, or none that tells whether the message was taken.
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
    /// Why.
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
    pub fn outage(outage: &Outage) -> Self {
        let what = match outage {
            Outage::Timeout => "no answer in time",
            Outage::Unreachable(_) => "not reached",
        };
        Self::new(Reason::Unclear, what)
    }

    /// The same with the seconds after which the provider wants to be asked again.
    pub fn retry_after(self, retry_after_secs: Option<i64>) -> Self {
        Self {
            retry_after_secs,
            ..self
        }
    }

    /// Milliseconds until the next try, if there is one after so many tries and milliseconds.
    fn pause_ms(&self, tries: usize, spent_ms: u64) -> Option<u64> {
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

/// The text that brings a code: one segment (70 UTF-16 units in Thai, 160 septets in English), with
/// no digits but the code's.
pub fn code_text(code: &str, lang: Lang) -> String {
    match lang {
        Lang::Th => format!("รหัส Carbon-Pixels ของคุณคือ {code} ใช้ได้ห้านาที ห้ามบอกผู้อื่น"),
        Lang::En => {
            format!("Your Carbon-Pixels code is {code}. It is good for five minutes. Tell nobody.")
        }
    }
}

/// Hands a text to the provider, again if it certainly was not taken; 12 s at most.
///
/// # Errors
/// The last try's failure.
pub async fn deliver(provider: &SmsProvider, phone: &Phone, text: &str) -> Result<(), Failure> {
    let begun_ms = now_ms();
    let mut tries = 0;
    loop {
        let spent_ms = u64::try_from(now_ms() - begun_ms).unwrap_or(0);
        let deadline_ms = TRY_MS.min(ALL_TRIES_MS.saturating_sub(spent_ms));
        let failure = match hand_over(provider, phone, text, deadline_ms).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        tries += 1;
        let spent_ms = u64::try_from(now_ms() - begun_ms).unwrap_or(0);
        let Some(pause_ms) = failure.pause_ms(tries, spent_ms) else {
            return Err(failure);
        };
        Delay::from(Duration::from_millis(pause_ms)).await;
    }
}

async fn hand_over(
    provider: &SmsProvider,
    phone: &Phone,
    text: &str,
    deadline_ms: u64,
) -> Result<(), Failure> {
    let inbox = match provider {
        SmsProvider::Inbox(inbox) => inbox,
        SmsProvider::ThaiBulkSms(account) => {
            return account.hand_over(phone, text, deadline_ms).await;
        }
    };
    let answer = send(Outgoing {
        method: Method::Post,
        url: &format!("{inbox}/sms"),
        headers: &[],
        body: Some(json!({"phone": phone.digits(), "text": text}).to_string()),
        deadline_ms,
    })
    .await;
    match answer {
        Ok(answer) if answer.is_ok() => Ok(()),
        Ok(Answer { status: 503, .. }) => Err(Failure::new(Reason::Down, "answered 503")),
        Ok(Answer { status, .. }) => {
            Err(Failure::new(Reason::Unclear, format!("answered {status}")))
        }
        Err(outage) => Err(Failure::outage(&outage)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The basic alphabet of GSM 03.38; the characters after it take two septets.
    const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                       ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    const GSM_EXTENDED: &str = "^{}\\[~]|€\u{c}";

    /// How many messages the networks make of a text: GSM-7 if every character is in its alphabet
    /// (160 septets, 153 in each of several), else UCS-2 (70 units, 67 in each of several).
    fn segments(text: &str) -> usize {
        let septets = text.chars().try_fold(0, |sum, character| {
            if GSM.contains(character) {
                Some(sum + 1)
            } else {
                GSM_EXTENDED.contains(character).then_some(sum + 2)
            }
        });
        let (units, alone, each) = match septets {
            Some(septets) => (septets, 160, 153),
            None => (text.encode_utf16().count(), 70, 67),
        };
        if units <= alone {
            1
        } else {
            units.div_ceil(each)
        }
    }

    #[test]
    fn segments_are_counted_as_the_networks_do() {
        for (text, count) in [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(307), 3),
            ("{".repeat(80), 1),
            ("{".repeat(81), 2),
            ("ก".repeat(70), 1),
            ("ก".repeat(71), 2),
            ("ก".repeat(134), 2),
            ("ก".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
        ] {
            assert_eq!(segments(&text), count, "{text}");
        }
    }

    #[test]
    fn a_code_fits_into_one_segment_and_is_its_only_number() {
        for lang in [Lang::Th, Lang::En] {
            let text = code_text("123456", lang);
            assert_eq!(segments(&text), 1, "{text}");
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            assert_eq!(digits, "123456");
        }
        assert!(!code_text("123456", Lang::Th).is_ascii());
    }

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
    fn an_outage_may_have_taken_the_message_and_says_nothing_of_it() {
        let outage = Outage::Unreachable("http://x/sms 66812345678".to_owned());
        let failure = Failure::outage(&outage);
        assert_eq!(failure.reason, Reason::Unclear);
        assert_eq!(failure.to_string(), "unclear: not reached");
    }
}
