//! Delivery of SMS behind one small interface: a number, a text, done or not.

use carbon_domain::Lang;
use carbon_domain::phone::Phone;
use serde_json::json;
use worker::Method;

use super::{DEADLINE_MS, Outgoing, send};
use crate::config::SmsProvider;

/// A provider is asked this often before a message is given up.
const TRIES: usize = 3;

/// The text that brings a code: one segment (70 UTF-16 units in Thai, 160 characters in English),
/// with no digits but the code's.
pub fn code_text(code: &str, lang: Lang) -> String {
    match lang {
        Lang::Th => format!("รหัส Carbon-Pixels ของคุณคือ {code} ใช้ได้ห้านาที ห้ามบอกผู้อื่น"),
        Lang::En => {
            format!("Your Carbon-Pixels code is {code}. It is good for five minutes. Tell nobody.")
        }
    }
}

/// Hands a text to the provider, trying again when it is away.
///
/// # Errors
/// What the provider said last, without number and text.
pub async fn deliver(provider: &SmsProvider, phone: &Phone, text: &str) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..TRIES {
        match hand_over(provider, phone, text).await {
            Ok(()) => return Ok(()),
            Err(why) => last = why,
        }
    }
    Err(last)
}

async fn hand_over(provider: &SmsProvider, phone: &Phone, text: &str) -> Result<(), String> {
    let SmsProvider::Inbox(inbox) = provider;
    let answer = send(Outgoing {
        method: Method::Post,
        url: &format!("{inbox}/sms"),
        headers: &[],
        body: Some(json!({"phone": phone.digits(), "text": text}).to_string()),
        deadline_ms: DEADLINE_MS,
    })
    .await;
    match answer {
        Ok(answer) if answer.is_ok() => Ok(()),
        Ok(answer) => Err(format!("sms provider answered {}", answer.status)),
        Err(outage) => Err(format!("sms provider: {outage}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_fits_into_one_segment_and_is_its_only_number() {
        for (lang, limit) in [(Lang::Th, 70), (Lang::En, 160)] {
            let text = code_text("123456", lang);
            assert!(text.encode_utf16().count() <= limit, "{text}");
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            assert_eq!(digits, "123456");
        }
    }
}
