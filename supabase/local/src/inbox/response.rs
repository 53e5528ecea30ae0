//! Answers of the inbox and of the doubles in it.

use crate::json::json_response;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

pub fn json_answer(body: &impl Serialize) -> Response<Body> {
    json_response(StatusCode::OK, body)
}

pub fn bad_request(message: &str) -> Response<Body> {
    json_response(StatusCode::BAD_REQUEST, &json!({ "message": message }))
}

pub fn done() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
