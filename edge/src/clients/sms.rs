//! Delivery of SMS behind one small interface: a number, a text, done or why not.
//!
//! Never twice: the provider has no key by which it would recognise a repeated message, so a message is sent again only
//! after an answer that says it was not taken. One that may have been taken is given up; the user requests another code.

use std::time::Duration;

use carbon_domain::Lang;
use carbon_domain::phone::Phone;
use serde_json::json;
use worker::{Delay, Method};

use super::sms_failure::{ALL_TRIES_MS, Failure, Reason};
use super::thaibulksms;
use super::{Outgoing, UpstreamResponse, send};
use crate::clock::now_ms;
use crate::config::SmsProvider;

/// Milliseconds that one try may take. A code that comes later comes too late.
const TRY_MS: u64 = 5_000;

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
            return thaibulksms::hand_over(account, phone, text, deadline_ms).await;
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
        Ok(UpstreamResponse { status: 503, .. }) => Err(Failure::new(Reason::Down, "answered 503")),
        Ok(UpstreamResponse { status, .. }) => {
            Err(Failure::new(Reason::Unclear, format!("answered {status}")))
        }
        Err(error) => Err(Failure::no_response(&error)),
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
}
