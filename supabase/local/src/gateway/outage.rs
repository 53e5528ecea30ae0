//! Failures behind the gateway that a client should simply try again: one status (503) and one header (Retry-After) for all.
//!
//! PostgREST answers a lost connection with 503, 504, 500 or even 400, depending on the moment it was lost in, and waits up
//! to 32 s by its own Retry-After. Auth answers 500 when it cannot reach its tables; supabase-js takes a 500 for the end of
//! the session and a 503 for a reason to try again.

use super::rules::Upstream;
use super::{DOWN, refusal};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use carbon_domain::outage::is_outage;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

/// Failed answers are small; a larger one is passed on as it is cut.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Passes an answer on; one that tells of an outage becomes 503 with Retry-After, its body kept where it says something.
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
    match judge(upstream, status, &body) {
        Verdict::Other => {}
        Verdict::Outage => {
            head.status = StatusCode::SERVICE_UNAVAILABLE;
            let secs = HeaderValue::from(super::RETRY_AFTER_SECS);
            head.headers.insert(header::RETRY_AFTER, secs);
        }
        Verdict::Unsaid => return refusal(&DOWN),
    }
    Response::from_parts(head, Body::from(body))
}

#[derive(Debug, PartialEq)]
enum Verdict {
    /// Something else, the client's own mistake perhaps.
    Other,
    /// Come again; the body says why.
    Outage,
    /// Come again; the body says nothing.
    Unsaid,
}

fn judge(upstream: Upstream, status: u16, body: &[u8]) -> Verdict {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let outage = match upstream {
        Upstream::Rest => {
            // A connection that is lost while an answer comes leaves an error without a code.
            if status < 503 && body["code"] == "" {
                return Verdict::Unsaid;
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
        Verdict::Outage
    } else {
        Verdict::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_told_from_mistakes() {
        let rest = |status, body: &str| judge(Upstream::Rest, status, body.as_bytes());
        for (status, body) in [
            (503, r#"{"code":"PGRST001"}"#),
            (504, r#"{"code":"PGRST003"}"#),
            (500, r#"{"code":"57014"}"#),
            (500, r#"{"code":"57P02"}"#),
            (500, r#"{"code":"40P01"}"#),
            (502, ""),
        ] {
            assert_eq!(rest(status, body), Verdict::Outage, "{status} {body}");
        }
        assert_eq!(rest(400, r#"{"code":"","message":""}"#), Verdict::Unsaid);
        for (status, body) in [
            (400, r#"{"code":"22023"}"#),
            (400, ""),
            (500, r#"{"code":"XX000"}"#),
            (501, "{}"),
        ] {
            assert_eq!(rest(status, body), Verdict::Other, "{status} {body}");
        }
        let auth = |status, body: &str| judge(Upstream::Auth, status, body.as_bytes());
        assert_eq!(
            auth(500, r#"{"error_code":"unexpected_failure"}"#),
            Verdict::Outage
        );
        assert_eq!(auth(504, "{}"), Verdict::Outage);
        assert_eq!(
            auth(422, r#"{"error_code":"hook_timeout"}"#),
            Verdict::Other
        );
        assert_eq!(
            auth(400, r#"{"error_code":"validation_failed"}"#),
            Verdict::Other
        );
    }
}
