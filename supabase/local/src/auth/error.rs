//! Errors of the Auth API and the one place that turns them into answers.

use crate::json::json_response;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::json;

/// The header by which clients choose the newer shape of errors.
pub const API_VERSION_HEADER: &str = "x-supabase-api-version";
const API_VERSION_2024: &str = "2024-01-01";

/// An answer that is not a success. `code` is one of Supabase Auth's error codes; empty when a hook's own
/// refusal is passed on, which has none.
#[derive(Debug)]
pub struct ApiError {
    pub status: u16,
    /// Stable token for programs.
    pub code: &'static str,
    /// English sentence for people. Never holds a phone, a code or a token.
    pub message: String,
    /// SQLSTATE and constraint when the database refused; for the log and for callers that retry.
    pub database: Option<String>,
    /// What the database said, where its code asks for an HTTP status (PTnnn) or names a broken constraint: answered as
    /// it stands.
    pub raised: Option<Box<Raised>>,
}

/// SQLSTATEs that the real server answers as they are, with status 500: raise_exception and the broken constraints.
const PASSED_ON: [&str; 8] = [
    "P0001", "23000", "23001", "23502", "23503", "23505", "23514", "23P01",
];

/// An error of the database that the caller sees.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Raised {
    pub code: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

impl Raised {
    /// The error and the status that it is answered with.
    fn of(error: &tokio_postgres::error::DbError) -> Option<(u16, Box<Self>)> {
        let code = error.code().code();
        let status = match code.strip_prefix("PT") {
            Some(status) => status.parse().ok()?,
            None => PASSED_ON.contains(&code).then_some(500)?,
        };
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let raised = Self {
            code: code.to_owned(),
            message: error.message().to_owned(),
            detail: text(error.detail()),
            hint: text(error.hint()),
        };
        Some((status, Box::new(raised)))
    }
}

/// What every handler returns on failure.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error with any status and code.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            database: None,
            raised: None,
        }
    }

    /// 400 validation_failed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "validation_failed", message)
    }

    /// 500 unexpected_failure.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "unexpected_failure", message)
    }

    /// 403 otp_expired: wrong, used and expired codes get the same answer.
    pub fn otp_expired() -> Self {
        Self::new(403, "otp_expired", "Token has expired or is invalid")
    }

    /// 403 bad_jwt.
    pub fn bad_jwt(message: &str) -> Self {
        Self::new(403, "bad_jwt", format!("invalid JWT: {message}"))
    }

    /// Whether the database refused a second row with the same value.
    pub fn is_unique_violation(&self) -> bool {
        self.database
            .as_deref()
            .is_some_and(|text| text.starts_with("23505"))
    }

    /// The answer, in the shape that the request's API version asks for.
    pub fn into_response(self, api_version: Option<&HeaderValue>) -> Response<Body> {
        let newer = api_version
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v >= API_VERSION_2024);
        let code = match (self.code, self.status) {
            ("", 500) => "unexpected_failure",
            ("", _) => "unknown",
            (code, _) => code,
        };
        let body = if newer {
            json!({ "code": code, "message": self.message })
        } else if let Some(raised) = &self.raised {
            let Raised {
                code,
                message,
                detail,
                hint,
            } = &**raised;
            let mut body = json!({ "code": code, "message": message });
            for (name, text) in [("detail", detail), ("hint", hint)] {
                if !text.is_empty() {
                    body[name] = json!(text);
                }
            }
            body
        } else {
            json!({ "code": self.status, "error_code": code, "msg": self.message })
        };
        // Only the older shape has the database's own status.
        let status = if newer && self.raised.is_some() {
            500
        } else {
            self.status
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_response(status, &body);
        if !self.code.is_empty() {
            response
                .headers_mut()
                .insert("x-sb-error-code", HeaderValue::from_static(self.code));
        }
        if newer {
            response.headers_mut().insert(
                API_VERSION_HEADER,
                HeaderValue::from_static(API_VERSION_2024),
            );
        }
        response
    }
}

impl From<tokio_postgres::Error> for ApiError {
    /// For the log SQLSTATE and constraint only: PostgreSQL's DETAIL quotes values, and those may be phones.
    fn from(error: tokio_postgres::Error) -> Self {
        let database = match error.as_db_error() {
            Some(db) => format!(
                "{} {}",
                db.code().code(),
                db.constraint().unwrap_or_default()
            ),
            None => "connection".to_owned(),
        };
        let mut answer = Self {
            database: Some(database),
            ..Self::internal("Database error")
        };
        if let Some((status, raised)) = error.as_db_error().and_then(Raised::of) {
            (answer.status, answer.raised) = (status, Some(raised));
        }
        answer
    }
}

impl From<deadpool_postgres::PoolError> for ApiError {
    fn from(_: deadpool_postgres::PoolError) -> Self {
        Self {
            database: Some("pool".to_owned()),
            ..Self::new(503, "unexpected_failure", "Database not available")
        }
    }
}
