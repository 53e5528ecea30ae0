//! Failures behind the gateway that a client should simply try again: one status (503) and one header (Retry-After) for all.
//!
//! PostgREST answers a lost connection with 503, 504, 500 or even 400, depending on the moment it was lost in, and waits up
//! to 32 s by its own Retry-After. Auth answers 500 when it cannot reach its tables; supabase-js takes a 500 for the end of
//! the session and a 503 for a reason to try again.

use super::denial::{DOWN, RETRY_AFTER_SECS};
use super::response::refusal;
use super::rules::Upstream;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use carbon_domain::outage::is_outage;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

/// Failed answers are small; a larger one is passed on as it is cut.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Passes an answer on; one that means an outage becomes 503 with Retry-After. Its body stays if it gives a reason.
pub async fn translate(upstream: Upstream, answer: Response<Body>) -> Response<Body> {
    let status = answer.status().as_u16();
    if status != 400 && status < 500 {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        return refusal(&DOWN);
    };
    let body: Bytes = body.to_bytes();
    match interpret(upstream, status, &body) {
        Interpretation::Other => {}
        Interpretation::Outage => {
            head.status = StatusCode::SERVICE_UNAVAILABLE;
            let secs = HeaderValue::from(RETRY_AFTER_SECS);
            head.headers.insert(header::RETRY_AFTER, secs);
        }
        Interpretation::OutageWithoutReason => return refusal(&DOWN),
    }
    Response::from_parts(head, Body::from(body))
}

#[derive(Debug, PartialEq)]
enum Interpretation {
    /// Something else, the client's own mistake perhaps.
    Other,
    /// Try again; the body says why.
    Outage,
    /// Try again; the body gives no reason.
    OutageWithoutReason,
}

fn interpret(upstream: Upstream, status: u16, body: &[u8]) -> Interpretation {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let outage = match upstream {
        Upstream::Rest => {
            // A connection that is lost while an answer comes leaves an error without a code.
            if status < 503 && body["code"] == "" {
                return Interpretation::OutageWithoutReason;
            }
            let code = body["code"].as_str().unwrap_or("");
            status >= 502 || (status >= 500 && is_outage(code))
        }
        Upstream::Auth => {
            let code = body["error_code"].as_str().unwrap_or("");
            status >= 502 || (status >= 500 && matches!(code, "" | "unexpected_failure"))
        }
        Upstream::Realtime => status >= 502,
    };
    if outage {
        Interpretation::Outage
    } else {
        Interpretation::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_distinguished_from_mistakes() {
        let rest = |status, body: &str| interpret(Upstream::Rest, status, body.as_bytes());
        for (status, body) in [
            (503, r#"{"code":"PGRST001"}"#),
            (504, r#"{"code":"PGRST003"}"#),
            (500, r#"{"code":"57014"}"#),
            (500, r#"{"code":"57P02"}"#),
            (500, r#"{"code":"40P01"}"#),
            (502, ""),
        ] {
            assert_eq!(
                rest(status, body),
                Interpretation::Outage,
                "{status} {body}"
            );
        }
        assert_eq!(
            rest(400, r#"{"code":"","message":""}"#),
            Interpretation::OutageWithoutReason
        );
        for (status, body) in [
            (400, r#"{"code":"22023"}"#),
            (400, ""),
            (500, r#"{"code":"XX000"}"#),
            (501, "{}"),
        ] {
            assert_eq!(rest(status, body), Interpretation::Other, "{status} {body}");
        }
        let auth = |status, body: &str| interpret(Upstream::Auth, status, body.as_bytes());
        assert_eq!(
            auth(500, r#"{"error_code":"unexpected_failure"}"#),
            Interpretation::Outage
        );
        assert_eq!(auth(504, "{}"), Interpretation::Outage);
        assert_eq!(
            auth(422, r#"{"error_code":"hook_timeout"}"#),
            Interpretation::Other
        );
        assert_eq!(
            auth(400, r#"{"error_code":"validation_failed"}"#),
            Interpretation::Other
        );
    }
}
