//! A request as the handlers see it, and what they answer.

use super::error::{ApiError, ApiResult};
use crate::json::json_response;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::net::IpAddr;

/// Bodies of the Auth API are small; the real server's own cap is of this size.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A request with its body.
pub struct Call {
    pub method: Method,
    /// Path, starting with a slash, not decoded: none of the routes needs it.
    pub path: String,
    /// Query parameters, decoded; the first of a name counts.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The other end of the connection.
    pub peer: IpAddr,
}

impl Call {
    /// A header as text; nothing when it is absent, empty or not ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .filter(|value| !value.is_empty())
    }

    /// The first query parameter of this name.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON. Of a member given twice the last one counts, unknown ones are ignored, and null is
    /// the same as absent, as in the real server.
    pub fn json<T: DeserializeOwned>(&self) -> ApiResult<T> {
        let bad = |why: serde_json::Error| {
            ApiError::new(
                400,
                "bad_json",
                format!("Could not parse request body as JSON: {why}"),
            )
        };
        let mut value: Value = serde_json::from_slice(&self.body).map_err(bad)?;
        if let Value::Object(members) = &mut value {
            members.retain(|_, member| !member.is_null());
        }
        serde_json::from_value(value).map_err(bad)
    }

    /// The bearer token, or 401 no_authorization.
    pub fn bearer(&self) -> ApiResult<&str> {
        let value = self.header("authorization").unwrap_or_default();
        let token = value
            .strip_prefix("Bearer ")
            .or_else(|| value.strip_prefix("bearer "));
        token
            .filter(|token| !token.is_empty() && !token.contains(char::is_whitespace))
            .ok_or_else(|| {
                ApiError::new(
                    401,
                    "no_authorization",
                    "This endpoint requires a valid Bearer token",
                )
            })
    }

    /// Where the request came from: the first address of X-Forwarded-For, else the connection's.
    pub fn address(&self) -> IpAddr {
        let forwarded = self.header("x-forwarded-for").unwrap_or_default();
        forwarded
            .split(',')
            .find_map(|part| part.trim().parse().ok())
            .unwrap_or(self.peer)
    }
}

/// A success.
pub struct Reply {
    pub status: StatusCode,
    /// JSON body, or none.
    pub body: Option<Value>,
    pub headers: Vec<(&'static str, String)>,
}

impl Reply {
    /// 200 with JSON.
    pub fn json(body: &impl Serialize) -> ApiResult<Self> {
        let body = serde_json::to_value(body)
            .map_err(|_| ApiError::internal("Could not write the answer"))?;
        Ok(Self {
            status: StatusCode::OK,
            body: Some(body),
            headers: Vec::new(),
        })
    }

    /// 204.
    pub fn empty() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: None,
            headers: Vec::new(),
        }
    }

    /// Adds a header; values that a header cannot hold are dropped when the answer is written.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer on the wire.
    pub fn into_response(self) -> Response<Body> {
        let mut response = match &self.body {
            Some(body) => json_response(self.status, body),
            None => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = self.status;
                response
            }
        };
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
