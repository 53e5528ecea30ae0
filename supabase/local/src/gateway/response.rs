//! Answers that the gateway gives itself.

use super::denial::Denial;
use super::headers;
use crate::json::json_response;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// A refusal in the members that PostgREST's clients read (message, code) and those that Auth's do.
pub fn refusal(denial: &Denial) -> Response<Body> {
    let status = StatusCode::from_u16(denial.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "code": denial.code,
        "error_code": denial.code,
        "message": denial.message,
        "msg": denial.message,
    });
    let mut response = answer(status, &body);
    if denial.status == 415 {
        let plain = HeaderValue::from_static("identity");
        response
            .headers_mut()
            .insert(header::ACCEPT_ENCODING, plain);
    }
    if denial.retry_after_secs > 0 {
        let secs = HeaderValue::from(denial.retry_after_secs);
        response.headers_mut().insert(header::RETRY_AFTER, secs);
    }
    response
}

pub fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = json_response(status, body);
    headers::allow_all_origins(response.headers_mut());
    response
}
