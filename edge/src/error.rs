//! Every failure that leaves the Worker, and the one place that knows status codes.

use carbon_domain::{DomainError, FieldError, Lang, limits, outage};
use serde_json::{Value, json};

use crate::messages::{self, LocalizedText};

/// Seconds after which a client may try again when a dependency is down.
const OUTAGE_RETRY_SECS: i64 = 5;

/// The codes of the envelope (contract §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Something in the request is not valid.
    ValidationError,
    AuthRequired,
    /// A wrong token or code.
    AuthInvalid,
    /// A token or code past its time.
    AuthExpired,
    /// Signed in, but not allowed.
    PermissionDenied,
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The state is another than the caller assumes.
    Conflict,
    /// The body is too large.
    PayloadTooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// A limit was reached.
    RateLimited,
    InternalError,
    /// Comes later.
    FeatureUnavailable,
    ServiceUnavailable,
}

impl Code {
    /// The name in the envelope, the HTTP status, the general message.
    fn facts(self) -> (&'static str, u16, LocalizedText) {
        match self {
            Self::ValidationError => ("VALIDATION_ERROR", 400, messages::VALIDATION),
            Self::AuthRequired => ("AUTH_REQUIRED", 401, messages::AUTH_REQUIRED),
            Self::AuthInvalid => ("AUTH_INVALID", 401, messages::AUTH_INVALID),
            Self::AuthExpired => ("AUTH_EXPIRED", 401, messages::AUTH_EXPIRED),
            Self::PermissionDenied => ("PERMISSION_DENIED", 403, messages::PERMISSION),
            Self::NotFound => ("NOT_FOUND", 404, messages::NOT_FOUND),
            Self::MethodNotAllowed => ("METHOD_NOT_ALLOWED", 405, messages::METHOD),
            Self::Conflict => ("CONFLICT", 409, messages::CONFLICT),
            Self::PayloadTooLarge => ("PAYLOAD_TOO_LARGE", 413, messages::TOO_LARGE),
            Self::UnsupportedMediaType => ("UNSUPPORTED_MEDIA_TYPE", 415, messages::MEDIA_TYPE),
            Self::RateLimited => ("RATE_LIMITED", 429, messages::RATE_LIMITED),
            Self::InternalError => ("INTERNAL_ERROR", 500, messages::INTERNAL),
            Self::FeatureUnavailable => ("FEATURE_UNAVAILABLE", 501, messages::FEATURE),
            Self::ServiceUnavailable => ("SERVICE_UNAVAILABLE", 503, messages::UNAVAILABLE),
        }
    }

    pub fn name(self) -> &'static str {
        self.facts().0
    }

    pub fn status(self) -> u16 {
        self.facts().1
    }

    /// The code for a status that the database chose (`PTnnn`); other statuses are bugs.
    fn from_status(status: u16) -> Self {
        match status {
            400 | 422 => Self::ValidationError,
            401 => Self::AuthInvalid,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            409 => Self::Conflict,
            413 => Self::PayloadTooLarge,
            429 => Self::RateLimited,
            501 => Self::FeatureUnavailable,
            503 => Self::ServiceUnavailable,
            _ => Self::InternalError,
        }
    }
}

/// A text that may come from the domain or from the edge.
#[derive(Clone, Copy, Debug)]
enum Text {
    Domain(DomainError),
    Edge(LocalizedText),
}

impl Text {
    fn text(self, lang: Lang) -> &'static str {
        match self {
            Self::Domain(error) => error.message(lang),
            Self::Edge(localized) => localized.text(lang),
        }
    }
}

/// One bad field.
#[derive(Clone, Debug)]
pub struct FieldProblem {
    field: String,
    code: &'static str,
    text: Text,
}

impl FieldProblem {
    /// A problem of a rule that only the edge has.
    pub fn new(field: &str, code: &'static str, text: LocalizedText) -> Self {
        Self {
            field: field.to_owned(),
            code,
            text: Text::Edge(text),
        }
    }

    pub fn required(field: &str) -> Self {
        Self::new(field, "required", messages::REQUIRED)
    }

    /// A rule of the domain that `field` breaks.
    pub fn domain(field: &str, error: DomainError) -> Self {
        Self {
            field: field.to_owned(),
            code: error.code(),
            text: Text::Domain(error),
        }
    }
}

impl From<FieldError> for FieldProblem {
    fn from(error: FieldError) -> Self {
        Self::domain(&error.field, error.error)
    }
}

#[derive(Clone, Debug)]
enum Details {
    Fields(Vec<FieldProblem>),
    Value(Value),
}

/// A failure on its way to the client.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub code: Code,
    text: Option<Text>,
    details: Option<Box<Details>>,
    pub retry_after_secs: Option<i64>,
    /// The methods for `Allow`.
    pub allow: Option<String>,
    /// Whether the body's content coding is what is not taken: `Accept-Encoding` then says so (RFC 9110, 12.5.3).
    pub is_compressed: bool,
    /// What the log says; never shown.
    pub internal: Option<String>,
}

impl ApiError {
    fn plain(code: Code) -> Self {
        Self {
            code,
            text: None,
            details: None,
            retry_after_secs: None,
            allow: None,
            is_compressed: false,
            internal: None,
        }
    }

    fn with_text(code: Code, text: LocalizedText) -> Self {
        Self {
            text: Some(Text::Edge(text)),
            ..Self::plain(code)
        }
    }

    /// No token where one is needed.
    pub fn auth_required() -> Self {
        Self::plain(Code::AuthRequired)
    }

    /// A token that proves nothing.
    pub fn auth_invalid() -> Self {
        Self::plain(Code::AuthInvalid)
    }

    /// A genuine token past its time.
    pub fn auth_expired() -> Self {
        Self::plain(Code::AuthExpired)
    }

    /// A sign-in failure with its own text.
    pub fn auth(code: Code, text: LocalizedText) -> Self {
        Self::with_text(code, text)
    }

    /// Bad fields, all of them at once.
    pub fn fields(problems: Vec<FieldProblem>) -> Self {
        Self {
            details: Some(Box::new(Details::Fields(problems))),
            ..Self::plain(Code::ValidationError)
        }
    }

    pub fn field(problem: FieldProblem) -> Self {
        Self::fields(vec![problem])
    }

    /// A body that cannot be read; `reason` is a short stable code.
    pub fn body(reason: &'static str, text: LocalizedText) -> Self {
        let problem = FieldProblem::new("", reason, text);
        Self {
            text: Some(Text::Edge(text)),
            ..Self::field(problem)
        }
    }

    /// No such address or thing.
    pub fn not_found() -> Self {
        Self::plain(Code::NotFound)
    }

    /// The address takes other methods, listed for `Allow`.
    pub fn method_not_allowed(allow: String) -> Self {
        Self {
            allow: Some(allow),
            ..Self::plain(Code::MethodNotAllowed)
        }
    }

    /// Not allowed for this user.
    pub fn permission_denied() -> Self {
        Self::plain(Code::PermissionDenied)
    }

    /// The body is larger than the route takes.
    pub fn too_large(text: LocalizedText) -> Self {
        Self::with_text(Code::PayloadTooLarge, text)
    }

    /// The body is not said to be JSON.
    pub fn media_type() -> Self {
        Self::plain(Code::UnsupportedMediaType)
    }

    pub fn content_coding() -> Self {
        Self {
            is_compressed: true,
            ..Self::with_text(Code::UnsupportedMediaType, messages::CONTENT_CODING)
        }
    }

    /// A feature of the contract that comes later.
    pub fn feature_unavailable() -> Self {
        Self::plain(Code::FeatureUnavailable)
    }

    /// A limit was reached; times in seconds, `reset_at` as ISO 8601.
    pub fn rate_limited(
        text: LocalizedText,
        limit: i64,
        retry_after_secs: i64,
        reset_at: &str,
    ) -> Self {
        let details = json!({"limit": limit, "remaining": 0, "reset_at": reset_at});
        Self {
            details: Some(Box::new(Details::Value(details))),
            retry_after_secs: Some(retry_after_secs.max(1)),
            ..Self::with_text(Code::RateLimited, text)
        }
    }

    /// A limit of a dependency was reached.
    pub fn limited_upstream(retry_after_secs: i64) -> Self {
        Self {
            retry_after_secs: Some(retry_after_secs),
            ..Self::plain(Code::RateLimited)
        }
    }

    /// A bug; `why` goes to the log only.
    pub fn internal(why: impl Into<String>) -> Self {
        Self {
            internal: Some(why.into()),
            ..Self::plain(Code::InternalError)
        }
    }

    /// A dependency is down; `why` goes to the log only.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self {
            internal: Some(why.into()),
            retry_after_secs: Some(OUTAGE_RETRY_SECS),
            ..Self::plain(Code::ServiceUnavailable)
        }
    }

    /// A rule of the domain that the request breaks, with the field it is about.
    pub fn domain(error: DomainError) -> Self {
        Self::from_token(error, Code::ValidationError)
    }

    /// The state is another than the caller assumes, with that state as `details`.
    pub fn conflict(error: DomainError, details: Value) -> Self {
        Self {
            text: Some(Text::Domain(error)),
            details: Some(Box::new(Details::Value(details))),
            ..Self::plain(Code::Conflict)
        }
    }

    /// The field of an error that has none of its own: the database puts it before the message.
    fn named_by(self, error: DomainError, message: &str) -> Self {
        let field = message
            .strip_suffix(error.message(Lang::En))
            .and_then(|start| start.strip_suffix(": "));
        match (field, error.field()) {
            (Some(field), None) => Self {
                details: Some(Box::new(Details::Fields(vec![FieldProblem::domain(
                    field, error,
                )]))),
                ..self
            },
            _ => self,
        }
    }

    fn from_token(error: DomainError, code: Code) -> Self {
        let mut api_error = Self {
            text: Some(Text::Domain(error)),
            ..Self::plain(code)
        };
        match code {
            Code::ValidationError | Code::Conflict => {
                let field = error.field().unwrap_or("");
                let fields = vec![FieldProblem::domain(field, error)];
                api_error.details = Some(Box::new(Details::Fields(fields)));
            }
            Code::RateLimited => {
                let (limit, secs) = match error {
                    DomainError::RowsPerHour => (limits::ROWS_PER_HOUR, 3_600),
                    DomainError::RowsPerStatement => (limits::ROWS_PER_STATEMENT, 1),
                    DomainError::EntriesPerDay => (limits::ENTRIES_PER_DAY, 86_400),
                    DomainError::EntriesInAll => (limits::ENTRIES_IN_ALL, 86_400),
                    DomainError::ImportsPerHour => (limits::IMPORTS_PER_HOUR, 3_600),
                    DomainError::ImportsPerDay => (limits::IMPORTS_PER_DAY, 86_400),
                    DomainError::FriendRequestsPerHour => (limits::FRIEND_REQUESTS_PER_HOUR, 3_600),
                    DomainError::PersonLookupsPerHour => (limits::PERSON_LOOKUPS_PER_HOUR, 3_600),
                    DomainError::RedeemsPerHour => (limits::REDEEMS_PER_HOUR, 3_600),
                    DomainError::TooManyAtOnce => (8, 1),
                    DomainError::AlreadyRunning => (1, 2),
                    // Mebibytes of answers.
                    DomainError::KeptAnswers => (8, 3_600),
                    _ => (limits::MIGRATED_ENTRIES, 1),
                };
                let mut details = json!({"limit": limit, "remaining": 0});
                if error == DomainError::AlreadyRunning {
                    // The one 429 that leaves open whether something was written.
                    details["reason"] = json!(error.code());
                }
                api_error.details = Some(Box::new(Details::Value(details)));
                api_error.retry_after_secs = Some(secs);
            }
            Code::ServiceUnavailable => api_error.retry_after_secs = Some(OUTAGE_RETRY_SECS),
            // An anonymous user can do something about it.
            Code::PermissionDenied if error == DomainError::AccountRequired => {
                let details = json!({"reason": error.code()});
                api_error.details = Some(Box::new(Details::Value(details)));
            }
            _ => {}
        }
        api_error
    }

    /// The meaning of an error of PostgREST: the token in `details` says what, the SQLSTATE or
    /// PostgREST's own code says which kind.
    pub fn from_postgrest(status: u16, body: &str) -> Self {
        let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        let text = |name: &str| body[name].as_str().unwrap_or("");
        let (sqlstate, message) = (text("code"), text("message"));
        let why = format!("PostgREST {status} {sqlstate} {message}");
        if sqlstate.starts_with("PGRST3") {
            return Self {
                internal: Some(why),
                ..token_refused(sqlstate, message)
            };
        }
        let code = if body["code"] == "" {
            // PostgREST lost its connection while the answer came: the error it made of that has a
            // status (400) and an empty code.
            Code::ServiceUnavailable
        } else {
            code_of_sqlstate(sqlstate, status)
        };
        let token = DomainError::from_token(text("details"));
        let mut error = match token {
            // The token is genuine, but its user is gone.
            Some(DomainError::UnknownUser) => Self::auth_invalid(),
            Some(DomainError::NotSignedIn) => Self::auth_required(),
            Some(token) => Self::from_token(token, code).named_by(token, message),
            None if code == Code::ServiceUnavailable => Self::unavailable(""),
            None => Self::plain(code),
        };
        error.internal = Some(why);
        error
    }

    /// The same failure with a reason for the log.
    pub fn because(self, why: String) -> Self {
        Self {
            internal: Some(why),
            ..self
        }
    }

    /// The same failure with a value as `details`.
    pub fn with_details(self, details: Value) -> Self {
        Self {
            details: Some(Box::new(Details::Value(details))),
            ..self
        }
    }

    /// The body of the answer, in the caller's language.
    pub fn envelope(&self, lang: Lang, request_id: &str) -> String {
        let message = match self.text {
            Some(text) => text.text(lang),
            None => self.code.facts().2.text(lang),
        };
        let details = match self.details.as_deref() {
            None => Value::Null,
            Some(Details::Value(value)) => value.clone(),
            Some(Details::Fields(problems)) => {
                let fields: Vec<Value> = problems.iter().map(|p| show_field(p, lang)).collect();
                json!({ "fields": fields })
            }
        };
        let error = json!({
            "code": self.code.name(),
            "message": message,
            "details": details,
            "request_id": request_id,
        });
        format!(r#"{{"success":false,"error":{error}}}"#)
    }
}

fn show_field(problem: &FieldProblem, lang: Lang) -> Value {
    json!({"field": problem.field, "code": problem.code, "message": problem.text.text(lang)})
}

/// PostgREST's refusals of a token: PGRST301 (12 and 14) and PGRST303 (14) say what is wrong in
/// text only.
fn token_refused(code: &str, message: &str) -> ApiError {
    match (code, message.to_ascii_lowercase().contains("expired")) {
        ("PGRST300", _) => ApiError::internal(""),
        ("PGRST302", _) => ApiError::auth_required(),
        (_, true) => ApiError::auth_expired(),
        _ => ApiError::auth_invalid(),
    }
}

fn code_of_sqlstate(sqlstate: &str, status: u16) -> Code {
    if let Some(status) = sqlstate.strip_prefix("PT").and_then(|s| s.parse().ok()) {
        return Code::from_status(status);
    }
    match sqlstate {
        "PGRST000" | "PGRST001" | "PGRST002" | "PGRST003" => Code::ServiceUnavailable,
        _ if outage::is_outage(sqlstate) => Code::ServiceUnavailable,
        "42501" => Code::PermissionDenied,
        "23505" => Code::Conflict,
        "22023" | "22003" | "22P02" | "22P05" | "22007" | "22008" | "23514" | "23502" => {
            Code::ValidationError
        }
        // A proxy in between says that the origin is away.
        _ if matches!(status, 502..=504 | 520..=530) => Code::ServiceUnavailable,
        _ => Code::InternalError,
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
