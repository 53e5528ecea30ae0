//! ThaiBulkSMS, API v2: `POST /sms` with a form and Basic authentication. What its answers mean.
//!
//! Read off developer.thaibulksms.com/reference and the provider's own clients (`thaibulksms-api` on
//! npm, `thaibulksms/tbs`); decision 0014 says what is documented and what is only taken for likely.

use carbon_domain::phone::Phone;
use serde_json::Value;
use worker::Method;

use super::sms_failure::{Failure, Reason};
use super::{Outgoing, UpstreamResponse, send};
use crate::config::ThaiBulkSms;

/// Longest name of an error that goes into a log.
const MAX_NAME_BYTES: usize = 48;

/// Hands one text to the provider.
///
/// # Errors
/// Why it was not taken, or may not have been.
pub async fn hand_over(
    account: &ThaiBulkSms,
    phone: &Phone,
    text: &str,
    deadline_ms: u64,
) -> Result<(), Failure> {
    let headers = [
        ("authorization", account.authorization.as_str()),
        ("accept", "application/json"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let answer = send(Outgoing {
        method: Method::Post,
        url: &format!("{}/sms", account.url),
        headers: &headers,
        body: Some(form(&account.sender, phone, text)),
        deadline_ms,
    })
    .await;
    match answer {
        Ok(answer) => classify_response(&answer),
        Err(error) => Err(Failure::no_response(&error)),
    }
}

/// "Corporate" messages are paid for only when they arrive, and their delivery can be followed.
fn form(sender: &str, phone: &Phone, text: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("msisdn", phone.digits())
        .append_pair("message", text)
        .append_pair("sender", sender)
        .append_pair("force", "corporate")
        .finish()
}

/// A message is taken when it is in the list of numbers that were; a 2xx alone is not enough.
fn classify_response(answer: &UpstreamResponse) -> Result<(), Failure> {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    let filled = |list: &str| body[list].as_array().is_some_and(|list| !list.is_empty());
    let error = &body["error"];
    if answer.is_ok() && error.is_null() {
        if filled("phone_number_list") {
            return Ok(());
        }
        if filled("bad_phone_number_list") {
            return Err(Failure::new(Reason::Number, "the number was refused"));
        }
        return Err(Failure::new(Reason::Unclear, "an answer without a list"));
    }
    let name = error["name"].as_str().unwrap_or("");
    let failure = Failure::new(reason(answer.status, name), words(answer.status, name));
    Err(failure.retry_after(answer.retry_after_secs))
}

/// Only one name of an error is public; the reason is read from the words in the name, and else from the status.
fn reason(status: u16, name: &str) -> Reason {
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match status {
        402 => Reason::Credit,
        _ if says(&["CREDIT", "BALANCE"]) => Reason::Credit,
        401 | 403 => Reason::Credentials,
        _ if says(&["AUTH", "API_KEY"]) => Reason::Credentials,
        429 => Reason::Throttled,
        503 => Reason::Down,
        500.. => Reason::Unclear,
        _ if says(&["SYSTEM_FAILURE"]) => Reason::Unclear,
        _ if says(&["PHONE", "MSISDN"]) => Reason::Number,
        _ => Reason::Refused,
    }
}

/// Status and name alone: the description may repeat number and text.
fn words(status: u16, name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(plain) {
        format!("answered {status} {name}")
    } else {
        format!("answered {status}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carbon_domain::phone;

    fn outcome(status: u16, body: &str) -> Result<(), (Reason, String)> {
        let answer = UpstreamResponse {
            status,
            body: body.to_owned(),
            retry_after_secs: None,
            max_age_secs: None,
        };
        classify_response(&answer).map_err(|failure| (failure.reason, failure.to_string()))
    }

    fn reason_of(status: u16, body: &str) -> Reason {
        outcome(status, body).expect_err("a failure").0
    }

    #[test]
    fn the_form_carries_number_text_and_sender() {
        let phone = phone::normalize("0812345678", None).expect("a number");
        let form = form("CarbonPix", &phone, "รหัส 1 & 2");
        let fields: Vec<_> = form_urlencoded::parse(form.as_bytes()).collect();
        let expected = [
            ("msisdn", "66812345678"),
            ("message", "รหัส 1 & 2"),
            ("sender", "CarbonPix"),
            ("force", "corporate"),
        ];
        assert_eq!(fields, expected.map(|(k, v)| (k.into(), v.into())));
    }

    #[test]
    fn only_a_listed_number_was_taken() {
        let taken = r#"{"remaining_credit":156758,"total_use_credit":1,"credit_type":"corporate",
            "phone_number_list":[{"number":"66812345678","message_id":"VtznKfqH","used_credit":1}],
            "bad_phone_number_list":[]}"#;
        assert_eq!(outcome(200, taken), Ok(()));
        assert_eq!(outcome(201, taken), Ok(()));
        let refused = r#"{"phone_number_list":[],"bad_phone_number_list":
            [{"number":"66812345678","message":"Phone number is invalid."}]}"#;
        assert_eq!(reason_of(201, refused), Reason::Number);
        for garbage in [
            "",
            "<html>",
            "{}",
            "[]",
            "null",
            r#"{"phone_number_list":[]}"#,
        ] {
            assert_eq!(reason_of(200, garbage), Reason::Unclear, "{garbage}");
        }
    }

    #[test]
    fn errors_are_told_apart_by_their_words_then_by_status() {
        let named = |name: &str| format!(r#"{{"error":{{"code":1,"name":"{name}"}}}}"#);
        for (status, name, reason) in [
            (400, "ERROR_NOT_ENOUGH_CREDIT", Reason::Credit),
            (402, "", Reason::Credit),
            (401, "", Reason::Credentials),
            (403, "ERROR_PERMISSION", Reason::Credentials),
            (400, "ERROR_AUTHENTICATION", Reason::Credentials),
            (429, "", Reason::Throttled),
            (503, "", Reason::Down),
            (500, "ERROR_SYSTEM_FAILURE", Reason::Unclear),
            (200, "ERROR_SYSTEM_FAILURE", Reason::Unclear),
            (502, "", Reason::Unclear),
            (504, "", Reason::Unclear),
            (400, "ERROR_INVALID_PHONE_NUMBER", Reason::Number),
            (400, "ERROR_SENDER", Reason::Refused),
        ] {
            assert_eq!(reason_of(status, &named(name)), reason, "{status} {name}");
        }
    }

    #[test]
    fn no_words_of_the_provider_but_a_plain_name_are_passed_on() {
        let body = r#"{"error":{"name":"ERROR_X","description":"to 66812345678: 123456"}}"#;
        let (_, words) = outcome(400, body).expect_err("a failure");
        assert_eq!(words, "refused: answered 400 ERROR_X");
        let body = r#"{"error":{"name":"66812345678"}}"#;
        let (_, words) = outcome(400, body).expect_err("a failure");
        assert_eq!(words, "refused: answered 400");
    }
}
