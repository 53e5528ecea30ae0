//! Supabase Auth, through the gateway, with the secret that opens the routes closed to everybody else.

use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use worker::{Delay, Method};

use super::{DEADLINE_MS, Outgoing, UpstreamError, UpstreamResponse, send};
use crate::config::Config;
use crate::crypto::bytes::random;
use crate::error::{ApiError, Code};
use crate::messages;
use crate::observe::metrics;

pub struct Auth<'a> {
    config: &'a Config,
    request_id: &'a str,
}

/// How a call to Auth failed.
#[derive(Debug)]
pub enum AuthFailure {
    /// Auth refused, with its status, `error_code` and `Retry-After`.
    Refused {
        /// The HTTP status, 4xx.
        status: u16,
        /// Auth's `error_code`, for example `otp_expired`.
        error_code: String,
        retry_after_secs: Option<i64>,
    },
    /// Auth was down, too slow, or failed inside.
    Down(String),
}

/// What Auth answers, with status 500, where an id, a number or an address is another user's.
pub const TAKEN: &str = "23505";
/// Links that are made for one session: of sign-ins at once the last one's link replaces the others'. After a pause of at
/// most a quarter of a second, of a random length, they hardly meet again.
const LINKS: usize = 8;

/// Seconds after which a client may try again when Auth limits and does not say for how long.
const AUTH_LIMIT_RETRY_SECS: i64 = 60;

impl From<AuthFailure> for ApiError {
    /// What a refusal by Auth, or its absence, means to the client.
    fn from(failure: AuthFailure) -> Self {
        let (status, error_code, retry_after_secs) = match failure {
            AuthFailure::Down(why) => return Self::unavailable(why),
            AuthFailure::Refused {
                status,
                error_code,
                retry_after_secs,
            } => (status, error_code, retry_after_secs),
        };
        let error = match error_code.as_str() {
            "session_expired" => Self::auth(Code::AuthExpired, messages::SESSION_ENDED),
            "refresh_token_not_found" | "refresh_token_already_used" | "session_not_found" => {
                Self::auth(Code::AuthInvalid, messages::SESSION_ENDED)
            }
            "user_banned" => Self::permission_denied(),
            // Somebody else wrote the same at this very moment.
            TAKEN => Self::unavailable(""),
            "otp_expired" | "bad_jwt" | "user_not_found" | "validation_failed" => {
                Self::auth_invalid()
            }
            "anonymous_provider_disabled"
            | "phone_provider_disabled"
            | "otp_disabled"
            | "signup_disabled" => Self::feature_unavailable(),
            _ if status == 429 => {
                Self::limited_upstream(retry_after_secs.unwrap_or(AUTH_LIMIT_RETRY_SECS))
            }
            _ => Self::internal(""),
        };
        error.because(format!("auth {status} {error_code}"))
    }
}

/// A session that Auth opened.
#[derive(Debug, Deserialize)]
pub struct AuthSession {
    pub access_token: String,
    pub refresh_token: String,
    /// Seconds until the access token ends.
    pub expires_in: i64,
    pub user: AuthUser,
}

/// The user of a session.
#[derive(Debug, Deserialize)]
pub struct AuthUser {
    /// A UUID.
    pub id: String,
}

/// A one-time link, of which only its token is used.
#[derive(Deserialize)]
struct Link {
    hashed_token: String,
    verification_type: String,
}

impl<'a> Auth<'a> {
    /// Calls Auth on behalf of the request with this id.
    pub fn new(config: &'a Config, request_id: &'a str) -> Self {
        Self { config, request_id }
    }

    /// Asks Auth to make a code for a number (E.164); Auth hands it to the SMS hook.
    ///
    /// # Errors
    /// [`AuthFailure`]
    pub async fn send_code(&self, phone: &str) -> Result<(), AuthFailure> {
        let body = json!({"phone": phone, "create_user": true, "channel": "sms"});
        self.post("/otp", Some(body), None).await.map(drop)
    }

    /// Exchanges Auth's own code for a session.
    ///
    /// # Errors
    /// [`AuthFailure`]
    pub async fn verify(&self, phone: &str, code: &str) -> Result<AuthSession, AuthFailure> {
        let body = json!({"type": "sms", "phone": phone, "token": code});
        session(self.post("/verify", Some(body), None).await?)
    }

    /// Opens a session for a new anonymous user.
    ///
    /// # Errors
    /// [`AuthFailure`]
    pub async fn sign_up_anonymously(&self) -> Result<AuthSession, AuthFailure> {
        session(self.post("/signup", Some(json!({})), None).await?)
    }

    /// Exchanges a refresh token for a new session.
    ///
    /// # Errors
    /// [`AuthFailure`]
    pub async fn refresh(&self, refresh_token: &str) -> Result<AuthSession, AuthFailure> {
        let body = json!({"refresh_token": refresh_token});
        session(
            self.post("/token?grant_type=refresh_token", Some(body), None)
                .await?,
        )
    }

    /// Ends the session of an access token.
    ///
    /// # Errors
    /// [`AuthFailure`]
    pub async fn log_out(&self, token: &str) -> Result<(), AuthFailure> {
        self.post("/logout?scope=local", None, Some(token))
            .await
            .map(drop)
    }

    /// Makes a user as the service: `{id, email or phone, …}`.
    ///
    /// # Errors
    /// [`AuthFailure`], with the code [`TAKEN`] if there is a user with that id.
    pub async fn create_user(&self, user: Value) -> Result<(), AuthFailure> {
        self.administer(Method::Post, "/admin/users", user)
            .await
            .map(drop)
    }

    /// Changes a user as the service.
    ///
    /// # Errors
    /// [`AuthFailure`], with the code [`TAKEN`] if another user has the number or the address.
    pub async fn update_user(&self, id: &str, changes: Value) -> Result<(), AuthFailure> {
        let path = format!("/admin/users/{id}");
        self.administer(Method::Put, &path, changes).await.map(drop)
    }

    /// Deletes a user and all of their rows. One who is gone already is no error.
    ///
    /// # Errors
    /// [`AuthFailure`]
    pub async fn delete_user(&self, id: &str) -> Result<(), AuthFailure> {
        let path = format!("/admin/users/{id}");
        match self.administer(Method::Delete, &path, json!({})).await {
            Err(AuthFailure::Refused { error_code, .. }) if error_code == "user_not_found" => {
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// Opens a session for the user with this confirmed address, whose owner was verified elsewhere.
    ///
    /// # Errors
    /// [`AuthFailure`]
    pub async fn open_session(&self, email: &str) -> Result<AuthSession, AuthFailure> {
        let mut failure = AuthFailure::Down("auth took none of its own links".to_owned());
        for _ in 0..LINKS {
            let body = json!({"type": "magiclink", "email": email});
            let link = self
                .administer(Method::Post, "/admin/generate_link", body)
                .await?;
            let link: Link = serde_json::from_str(&link.body)
                .map_err(|error| AuthFailure::Down(format!("auth answered no link: {error}")))?;
            if link.verification_type != "magiclink" {
                // For an unknown address Auth makes a new, unconfirmed user.
                return Err(AuthFailure::Down("auth: the user has gone".to_owned()));
            }
            let body = json!({"type": "magiclink", "token_hash": link.hashed_token});
            match self.post("/verify", Some(body), None).await {
                Err(AuthFailure::Refused { error_code, .. }) if error_code == "otp_expired" => {
                    failure = AuthFailure::Down("auth: link replaced".to_owned());
                    let pause_ms = random::<1>().map_or(100, |[byte]| u64::from(byte));
                    Delay::from(Duration::from_millis(pause_ms)).await;
                }
                outcome => return session(outcome?),
            }
        }
        Err(failure)
    }

    async fn administer(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<UpstreamResponse, AuthFailure> {
        self.call(
            method,
            path,
            Some(body),
            Some(&self.config.service_role_key),
        )
        .await
    }

    async fn post(
        &self,
        path: &str,
        body: Option<Value>,
        token: Option<&str>,
    ) -> Result<UpstreamResponse, AuthFailure> {
        self.call(Method::Post, path, body, token).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        token: Option<&str>,
    ) -> Result<UpstreamResponse, AuthFailure> {
        let url = format!("{}/auth/v1{path}", self.config.supabase_url);
        let bearer = format!("Bearer {}", token.unwrap_or(&self.config.anon_key));
        let headers = [
            ("apikey", self.config.anon_key.as_str()),
            ("authorization", bearer.as_str()),
            ("x-edge-secret", self.config.edge_secret.as_str()),
            ("x-request-id", self.request_id),
        ];
        let body = body.map(|body| body.to_string());
        let outgoing = Outgoing {
            method,
            url: &url,
            headers: &headers,
            body,
            deadline_ms: DEADLINE_MS,
        };
        let outcome = classify_response(path, send(outgoing).await);
        if matches!(outcome, Err(AuthFailure::Down(_))) {
            metrics::dependency_failed("auth");
        }
        outcome
    }
}

fn classify_response(
    path: &str,
    outcome: Result<UpstreamResponse, UpstreamError>,
) -> Result<UpstreamResponse, AuthFailure> {
    let answer = match outcome {
        Ok(answer) if answer.is_ok() => return Ok(answer),
        Ok(answer) => answer,
        Err(error) => return Err(AuthFailure::Down(format!("auth {path}: {error}"))),
    };
    let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    // What the database refused comes with its own code, as text, and without another.
    let code = body["error_code"].as_str().or(body["code"].as_str());
    let error_code = code.unwrap_or("").to_owned();
    // A hook that failed or hung is our own fault (422 from Auth), not the caller's.
    let is_down = answer.status >= 500 && error_code != TAKEN;
    if is_down || error_code.starts_with("hook_") {
        return Err(AuthFailure::Down(format!(
            "auth {path}: {} {error_code}",
            answer.status
        )));
    }
    let retry_after_secs = answer.retry_after_secs;
    Err(AuthFailure::Refused {
        status: answer.status,
        error_code,
        retry_after_secs,
    })
}

fn session(answer: UpstreamResponse) -> Result<AuthSession, AuthFailure> {
    serde_json::from_str(&answer.body)
        .map_err(|error| AuthFailure::Down(format!("auth answered no session: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<UpstreamResponse, UpstreamError> {
        Ok(UpstreamResponse {
            status,
            body: body.to_owned(),
            retry_after_secs: None,
            max_age_secs: None,
        })
    }

    #[test]
    fn refusals_outages_and_failed_hooks_are_classified() {
        assert!(classify_response("/otp", answer(200, "{}")).is_ok());
        let refused = classify_response("/verify", answer(403, r#"{"error_code":"otp_expired"}"#));
        assert!(
            matches!(refused, Err(AuthFailure::Refused { status: 403, error_code, .. }) if error_code == "otp_expired")
        );
        let taken = classify_response("/admin/users", answer(500, r#"{"code":"23505"}"#));
        assert!(
            matches!(taken, Err(AuthFailure::Refused { error_code, .. }) if error_code == TAKEN)
        );
        for outcome in [
            answer(500, "{}"),
            answer(422, r#"{"error_code":"hook_timeout"}"#),
            Err(UpstreamError::Timeout),
        ] {
            assert!(matches!(
                classify_response("/otp", outcome),
                Err(AuthFailure::Down(_))
            ));
        }
    }

    #[test]
    fn each_refusal_of_auth_has_its_own_error() {
        let refused = |status, error_code: &str| {
            let error_code = error_code.to_owned();
            ApiError::from(AuthFailure::Refused {
                status,
                error_code,
                retry_after_secs: None,
            })
        };
        for (status, error_code, expected) in [
            (400, "refresh_token_already_used", Code::AuthInvalid),
            (400, "refresh_token_not_found", Code::AuthInvalid),
            (400, "session_expired", Code::AuthExpired),
            (403, "user_banned", Code::PermissionDenied),
            (422, "anonymous_provider_disabled", Code::FeatureUnavailable),
            (429, "over_request_rate_limit", Code::RateLimited),
            (403, "", Code::InternalError),
        ] {
            assert_eq!(refused(status, error_code).code, expected, "{error_code}");
        }
        assert_eq!(
            refused(429, "").retry_after_secs,
            Some(AUTH_LIMIT_RETRY_SECS)
        );
        let down = ApiError::from(AuthFailure::Down("x".into()));
        assert_eq!(down.code, Code::ServiceUnavailable);
    }
}
