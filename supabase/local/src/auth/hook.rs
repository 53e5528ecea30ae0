//! The send-SMS hook: a signed POST by the Standard Webhooks rules, inside the database transaction.

use super::config::SmsHook;
use super::error::{ApiError, ApiResult};
use super::user::User;
use crate::outbound::HttpClient;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use sha2::Sha256;
use std::net::IpAddr;
use std::time::Duration;
use uuid::Uuid;

/// All tries together.
const TIMEOUT_SECS: u64 = 5;
/// Tries when the hook cannot be reached or asks to come again (429 or 503 with Retry-After).
const TRIES: u32 = 3;
/// Pause after a failed connection.
const BACKOFF_SECS: u64 = 2;
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 200 * 1024;

/// A code on its way to a user.
pub struct Message<'a> {
    /// Whose code it is, as the account will be when the transaction ends.
    pub user: &'a User,
    /// Recipient, without "+".
    pub phone: &'a str,
    pub otp: &'a str,
    /// Where the request for it came from.
    pub address: IpAddr,
}

/// Hands the code over. Every failure and every refusal is an error, so that the caller's transaction ends.
pub async fn send_sms(client: &HttpClient, hook: &SmsHook, message: Message<'_>) -> ApiResult<()> {
    let body = json!({
        "metadata": {
            "uuid": Uuid::new_v4(),
            "time": Utc::now(),
            "name": "send-sms",
            "ip_address": message.address,
        },
        "user": message.user,
        "sms": { "otp": message.otp, "phone": message.phone },
    });
    let body = Bytes::from(body.to_string());
    let timeout = Duration::from_secs(TIMEOUT_SECS);
    tokio::time::timeout(timeout, try_often(client, hook, &body))
        .await
        .unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> ApiError {
    ApiError::new(
        422,
        "hook_timeout",
        format!("Failed to reach hook within maximum time of {TIMEOUT_SECS} seconds"),
    )
}

async fn try_often(client: &HttpClient, hook: &SmsHook, body: &Bytes) -> ApiResult<()> {
    for attempt in 1..=TRIES {
        match client.request(request(hook, body)?).await {
            Ok(response) => {
                let busy = matches!(response.status().as_u16(), 429 | 503);
                if !(busy && response.headers().contains_key(header::RETRY_AFTER)) {
                    return check_response(response).await;
                }
            }
            Err(_) if attempt < TRIES => {
                tokio::time::sleep(Duration::from_secs(BACKOFF_SECS)).await
            }
            Err(_) => {
                let message = "Failed to reach hook after maximum retries";
                return Err(ApiError::new(422, "hook_timeout_after_retry", message));
            }
        }
    }
    Err(ApiError::internal(
        "Service currently unavailable due to hook",
    ))
}

/// A request with an id, a time and signatures of its own: every try is a message of its own.
fn request(hook: &SmsHook, body: &Bytes) -> ApiResult<Request<Body>> {
    let (id, at) = (Uuid::new_v4().to_string(), Utc::now());
    let signatures: Vec<String> = hook
        .keys
        .iter()
        .map(|key| signature(key, &id, at, body))
        .collect();
    Request::post(&hook.uri)
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", at.timestamp())
        .header("webhook-signature", signatures.join(", "))
        .body(Body::from(body.clone()))
        .map_err(|_| ApiError::internal("Hook failed to make request object"))
}

fn signature(key: &[u8], id: &str, at: DateTime<Utc>, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{}.", at.timestamp()).as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

async fn check_response(response: Response<Incoming>) -> ApiResult<()> {
    match response.status().as_u16() {
        204 => Ok(()),
        200 | 202 => check_response_body(response).await,
        429 | 503 => Err(ApiError::internal(
            "Service currently unavailable due to hook",
        )),
        400 => Err(ApiError::internal("Invalid payload sent to hook")),
        401 => Err(ApiError::internal("Hook requires authorization token")),
        other => Err(ApiError::internal(format!(
            "Unexpected status code returned from hook: {other}"
        ))),
    }
}

/// A success may still carry a refusal: `{"error": {"http_code", "message"}}`.
async fn check_response_body(response: Response<Incoming>) -> ApiResult<()> {
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = kind
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let message = "Invalid Content-Type header: the hook must answer application/json";
        return Err(ApiError::new(
            400,
            "hook_payload_invalid_content_type",
            message,
        ));
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|_| {
            let message = format!("Payload size exceeded size limit of {MAX_ANSWER_BYTES} bytes");
            ApiError::new(422, "hook_payload_over_size_limit", message)
        })?;
    let answer: Value = serde_json::from_slice(&body.to_bytes())
        .map_err(|_| ApiError::internal("Error unmarshaling JSON output."))?;
    match answer["error"]["message"].as_str() {
        None | Some("") => Ok(()),
        Some(message) => {
            let status = answer["error"]["http_code"]
                .as_u64()
                .and_then(|code| u16::try_from(code).ok());
            Err(ApiError::new(
                status.filter(|code| *code != 0).unwrap_or(500),
                "",
                message,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // The example of the Standard Webhooks specification's own test suite.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let signed = signature(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
