//! Supabase Auth, through the gateway, with the secret that opens the routes closed to everybody else.

use serde::Deserialize;
use serde_json::{Value, json};
use worker::Method;

use super::{Answer, DEADLINE_MS, Outage, Outgoing, send};
use crate::config::Config;
use crate::metrics;

/// A caller of Auth.
pub struct Auth<'a> {
    config: &'a Config,
    request_id: &'a str,
}

/// What Auth said.
#[derive(Debug)]
pub enum AuthFailure {
    /// Auth refused, with its status, `error_code` and `Retry-After`.
    Refused {
        /// The HTTP status, 4xx.
        status: u16,
        /// Auth's `error_code`, for example `otp_expired`.
        error_code: String,
        /// Seconds.
        retry_after_secs: Option<i64>,
    },
    /// Auth was down, too slow, or failed inside.
    Down(String),
}

/// A session that Auth opened.
#[derive(Debug, Deserialize)]
pub struct AuthSession {
    /// The access token (JWT).
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// Seconds until the access token ends.
    pub expires_in: i64,
    /// The user.
    pub user: AuthUser,
}

/// The user of a session.
#[derive(Debug, Deserialize)]
pub struct AuthUser {
    /// A UUID.
    pub id: String,
    /// Whether the user signed in without a phone number.
    #[serde(default)]
    pub is_anonymous: bool,
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

    async fn post(
        &self,
        path: &str,
        body: Option<Value>,
        token: Option<&str>,
    ) -> Result<Answer, AuthFailure> {
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
            method: Method::Post,
            url: &url,
            headers: &headers,
            body,
            deadline_ms: DEADLINE_MS,
        };
        let judged = judge(path, send(outgoing).await);
        if matches!(judged, Err(AuthFailure::Down(_))) {
            metrics::dependency_failed("auth");
        }
        judged
    }
}

fn judge(path: &str, outcome: Result<Answer, Outage>) -> Result<Answer, AuthFailure> {
    let answer = match outcome {
        Ok(answer) if answer.is_ok() => return Ok(answer),
        Ok(answer) => answer,
        Err(outage) => return Err(AuthFailure::Down(format!("auth {path}: {outage}"))),
    };
    let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    let error_code = body["error_code"].as_str().unwrap_or("").to_owned();
    // A hook that failed or hung is our own fault (422 from Auth), not the caller's.
    if answer.status >= 500 || error_code.starts_with("hook_") {
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

fn session(answer: Answer) -> Result<AuthSession, AuthFailure> {
    serde_json::from_str(&answer.body)
        .map_err(|error| AuthFailure::Down(format!("auth answered no session: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answer, Outage> {
        Ok(Answer {
            status,
            body: body.to_owned(),
            retry_after_secs: None,
        })
    }

    #[test]
    fn refusals_outages_and_failed_hooks_are_told_apart() {
        assert!(judge("/otp", answer(200, "{}")).is_ok());
        let refused = judge("/verify", answer(403, r#"{"error_code":"otp_expired"}"#));
        assert!(
            matches!(refused, Err(AuthFailure::Refused { status: 403, error_code, .. }) if error_code == "otp_expired")
        );
        for outcome in [
            answer(500, "{}"),
            answer(422, r#"{"error_code":"hook_timeout"}"#),
            Err(Outage::Timeout),
        ] {
            assert!(matches!(judge("/otp", outcome), Err(AuthFailure::Down(_))));
        }
    }
}
