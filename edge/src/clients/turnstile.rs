//! Cloudflare Turnstile: whether a token proves that a human passed the bot check.

use serde_json::{Value, json};
use worker::Method;

use super::{Outgoing, send};
use crate::config::Turnstile;
use crate::error::ApiError;
use crate::observe::metrics;

/// Milliseconds for one call; there are two at most.
const DEADLINE_MS: u64 = 3_000;
const TRIES: usize = 2;
/// Turnstile's tokens are not longer.
const MAX_TOKEN_BYTES: usize = 2_048;

/// Whether the token is good. A token counts once at Turnstile; `idempotency_key` (a UUID) makes the
/// second call after a lost answer the same as the first.
///
/// # Errors
/// `SERVICE_UNAVAILABLE` if Turnstile is away or does not take our secret.
pub async fn passes(
    turnstile: &Turnstile,
    token: &str,
    address: Option<&str>,
    idempotency_key: &str,
) -> Result<bool, ApiError> {
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return Ok(false);
    }
    let question = json!({
        "secret": turnstile.secret,
        "response": token,
        "remoteip": address,
        "idempotency_key": idempotency_key,
    });
    let mut last = String::new();
    for _ in 0..TRIES {
        let answer = send(Outgoing {
            method: Method::Post,
            url: &turnstile.url,
            headers: &[],
            body: Some(question.to_string()),
            deadline_ms: DEADLINE_MS,
        })
        .await;
        match answer {
            Ok(answer) => match classify_response(answer.status, &answer.body) {
                Ok(passed) => return Ok(passed),
                Err(why) => last = why,
            },
            Err(error) => last = error.to_string(),
        }
    }
    metrics::add(
        "carbon_dependency_errors_total",
        r#"dependency="turnstile""#,
        1,
    );
    Err(ApiError::unavailable(format!("turnstile: {last}")))
}

/// Passed, not passed, or why that is unclear.
fn classify_response(status: u16, body: &str) -> Result<bool, String> {
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let Some(success) = body["success"].as_bool().filter(|_| status < 500) else {
        return Err(format!("status {status}"));
    };
    // What is not the token's fault is not the user's either.
    let codes = body["error-codes"].as_array().into_iter().flatten();
    let ours = codes.filter_map(Value::as_str).find(|code| {
        let faults = ["internal-error", "bad-request"];
        faults.contains(code) || code.ends_with("-secret")
    });
    match ours {
        Some(code) if !success => Err(code.to_owned()),
        _ => Ok(success),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_tokens_fail_and_faults_of_others_do_not_count_as_such() {
        assert_eq!(
            classify_response(200, r#"{"success":true,"error-codes":[]}"#),
            Ok(true)
        );
        for code in ["invalid-input-response", "timeout-or-duplicate"] {
            let body = format!(r#"{{"success":false,"error-codes":["{code}"]}}"#);
            assert_eq!(classify_response(200, &body), Ok(false));
        }
        for code in [
            "internal-error",
            "invalid-input-secret",
            "missing-input-secret",
        ] {
            let body = format!(r#"{{"success":false,"error-codes":["{code}"]}}"#);
            assert!(classify_response(200, &body).is_err(), "{code}");
        }
        for (status, body) in [(502, "<html>"), (200, ""), (500, r#"{"success":true}"#)] {
            assert!(classify_response(status, body).is_err(), "{status}");
        }
    }
}
