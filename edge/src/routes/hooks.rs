//! `/hooks/send-sms`: Auth wants a code sent. Its own code goes into the number's Durable Object; what
//! is sent is the user's code that waits there. The SMS leaves after the answer, because Auth waits
//! for it inside a database transaction, for five seconds at most.

use carbon_domain::DomainError;
use carbon_domain::phone::{self, Phone};
use serde::Deserialize;

use super::code_sms::send_later;
use crate::clock::now_ms;
use crate::crypto::webhook::{Signed, is_genuine};
use crate::error::{ApiError, FieldProblem};
use crate::http::call::Call;
use crate::http::reply::Reply;
use crate::messages;
use crate::storage::number_protocol::{Command, NumberReply};
use crate::storage::phone_number_do::send_command;

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    user: User,
    sms: Sms,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    phone: Option<String>,
    /// When the account proved its number; Auth sends it for accounts, and not for numbers that were
    /// typed for the first time.
    #[serde(default)]
    phone_confirmed_at: Option<String>,
}

#[derive(Deserialize)]
struct Sms {
    otp: String,
    #[serde(default)]
    phone: Option<String>,
}

/// `POST /hooks/send-sms`, called by Auth with a Standard Webhooks signature.
pub async fn send_sms(call: &Call) -> Result<Reply, ApiError> {
    let webhook_id = check_signature(call)?;
    let payload: Payload = serde_json::from_str(&call.body)
        .map_err(|_| ApiError::body("not_json", messages::NOT_JSON))?;
    let phone = phone_of(&payload)?;
    let number = call.app.config.otp_keys.number_name(phone.e164());
    let take = Command::Take {
        webhook_id,
        auth_code: payload.sms.otp,
    };
    let is_member = is_member(&payload.user);
    match send_command(&call.app, &number, &take).await? {
        NumberReply::ToSend(messages) => send_later(call, phone, messages, Some(is_member)),
        _ => return Err(ApiError::internal("number's object answered out of turn")),
    }
    Ok(Reply::raw("{}"))
}

fn check_signature(call: &Call) -> Result<String, ApiError> {
    let header = |name: &str| call.header(name).unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signature = header("webhook-signature");
    let signed = Signed {
        id: &id,
        timestamp: &timestamp,
        signature: &signature,
    };
    let keys = &call.app.config.hook_keys;
    if is_genuine(&signed, call.body.as_bytes(), keys, now_ms() / 1000) {
        Ok(id)
    } else {
        Err(ApiError::auth_invalid())
    }
}

/// The number to send to, checked again to be a Thai mobile one. Auth writes numbers without "+".
fn phone_of(payload: &Payload) -> Result<Phone, ApiError> {
    let given = payload
        .sms
        .phone
        .as_deref()
        .filter(|phone| !phone.is_empty());
    let digits = given.or(payload.user.phone.as_deref()).unwrap_or("");
    let international = format!("+{}", digits.trim_start_matches('+'));
    phone::normalize(&international, None)
        .map_err(|error: DomainError| ApiError::field(FieldProblem::domain("sms.phone", error)))
}

fn is_member(user: &User) -> bool {
    let confirmed = user.phone_confirmed_at.as_deref();
    confirmed.is_some_and(|at| !at.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(body: &str) -> Result<String, ApiError> {
        phone_of(&serde_json::from_str(body).unwrap()).map(|phone| phone.e164().to_owned())
    }

    #[test]
    fn the_number_is_read_from_sms_or_user_and_must_be_a_thai_mobile() {
        let from_sms =
            r#"{"user":{"phone":"66800000000"},"sms":{"otp":"1","phone":"66812345678"}}"#;
        assert_eq!(phone(from_sms).unwrap(), "+66812345678");
        let from_user = r#"{"user":{"phone":"66812345678"},"sms":{"otp":"1"}}"#;
        assert_eq!(phone(from_user).unwrap(), "+66812345678");
        for bad in [
            r#"{"sms":{"otp":"1","phone":"14155550100"}}"#,
            r#"{"sms":{"otp":"1","phone":"6621234567"}}"#,
            r#"{"sms":{"otp":"1"}}"#,
        ] {
            assert!(phone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_account_is_a_number_that_was_confirmed() {
        let member = |user: &str| is_member(&serde_json::from_str(user).unwrap());
        assert!(member(r#"{"phone_confirmed_at":"2026-11-22T08:30:00Z"}"#));
        for unconfirmed in [
            "{}",
            r#"{"phone_confirmed_at":null}"#,
            r#"{"phone_confirmed_at":""}"#,
        ] {
            assert!(!member(unconfirmed), "{unconfirmed}");
        }
    }
}
