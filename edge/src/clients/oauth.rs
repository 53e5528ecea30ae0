//! The token endpoints of LINE and Apple: a code becomes tokens, and Apple's are revoked.

use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::{Value, json};
use worker::Method;

use super::provider_keys::{DEADLINE_MS, is_down};
use super::{Outgoing, UpstreamResponse, send};
use crate::config::{Apple, Line, Provider};
use crate::crypto::subtle::sign_jwt;
use crate::error::ApiError;

/// How long Apple may take a signed request for ours (seconds).
const CLIENT_SECRET_SECS: i64 = 300;
/// Longer codes are none.
const MAX_CODE_BYTES: usize = 4_096;

/// What a code was worth; fields that are not used are ignored.
#[derive(Deserialize)]
pub struct Tokens {
    pub id_token: String,
    pub refresh_token: Option<String>,
}

/// A code as a client got it.
pub struct Code<'a> {
    pub code: &'a str,
    /// The page that it was sent to; none if it came to an app.
    pub redirect_uri: Option<&'a str>,
}

/// Exchanges LINE's code, with PKCE; `None` if LINE refuses it.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`
pub async fn exchange_with_line(
    line: &Line,
    code: &Code<'_>,
    code_verifier: &str,
) -> Result<Option<Tokens>, ApiError> {
    let mut form = code.form();
    form.append_pair("client_id", line.channel_id())
        .append_pair("client_secret", &line.channel_secret)
        .append_pair("code_verifier", code_verifier);
    exchange(Provider::Line, &line.token_url, form.finish()).await
}

/// Exchanges Apple's code for the client that it was made for; `None` if Apple refuses it.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`
pub async fn exchange_with_apple(
    apple: &Apple,
    client_id: &str,
    code: &Code<'_>,
    now_secs: i64,
) -> Result<Option<Tokens>, ApiError> {
    let mut form = code.form();
    form.append_pair("client_id", client_id).append_pair(
        "client_secret",
        &client_secret(apple, client_id, now_secs).await?,
    );
    exchange(Provider::Apple, &apple.token_url, form.finish()).await
}

/// Revokes a refresh token, of a client of ours. Apple answers the same if it is revoked already.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`
pub async fn revoke_at_apple(
    apple: &Apple,
    client_id: &str,
    refresh_token: &str,
    now_secs: i64,
) -> Result<(), ApiError> {
    let mut form = Serializer::new(String::new());
    form.append_pair("client_id", client_id)
        .append_pair(
            "client_secret",
            &client_secret(apple, client_id, now_secs).await?,
        )
        .append_pair("token", refresh_token)
        .append_pair("token_type_hint", "refresh_token");
    let answer = post(Provider::Apple, &apple.revoke_url, form.finish()).await?;
    if answer.is_ok() {
        return Ok(());
    }
    Err(is_down(
        Provider::Apple,
        &format!("revoking: status {}", answer.status),
    ))
}

impl Code<'_> {
    fn form(&self) -> Serializer<'_, String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", self.code);
        if let Some(redirect_uri) = self.redirect_uri {
            form.append_pair("redirect_uri", redirect_uri);
        }
        form
    }

    /// Whether it may be a code at all.
    pub fn is_plausible(&self) -> bool {
        !self.code.is_empty() && self.code.len() <= MAX_CODE_BYTES
    }
}

/// The proof that a request is our team's: a JWT signed by its key.
async fn client_secret(apple: &Apple, client_id: &str, now_secs: i64) -> Result<String, ApiError> {
    let header = json!({"alg": "ES256", "kid": apple.key_id});
    let claims = json!({
        "iss": apple.team_id, "iat": now_secs, "exp": now_secs + CLIENT_SECRET_SECS,
        "aud": "https://appleid.apple.com", "sub": client_id,
    });
    sign_jwt(&apple.private_key, &header, &claims).await
}

async fn exchange(provider: Provider, url: &str, form: String) -> Result<Option<Tokens>, ApiError> {
    let answer = post(provider, url, form).await?;
    read_tokens(answer.status, &answer.body)
        .map_err(|why| is_down(provider, &format!("exchanging a code: {why}")))
}

/// The tokens, `None` for a code that is refused, or why that is unclear.
fn read_tokens(status: u16, body: &str) -> Result<Option<Tokens>, String> {
    if (200..300).contains(&status) {
        let tokens = serde_json::from_str(body).map(Some);
        return tokens.map_err(|_| "no tokens in the answer".to_owned());
    }
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    match body["error"].as_str() {
        Some("invalid_grant" | "invalid_request") if status == 400 => Ok(None),
        // Our own id or secret, or an outage.
        error => Err(format!("status {status} {}", error.unwrap_or(""))),
    }
}

async fn post(provider: Provider, url: &str, form: String) -> Result<UpstreamResponse, ApiError> {
    let outgoing = Outgoing {
        method: Method::Post,
        url,
        headers: &[("content-type", "application/x-www-form-urlencoded")],
        body: Some(form),
        deadline_ms: DEADLINE_MS,
    };
    send(outgoing)
        .await
        .map_err(|error| is_down(provider, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_code_and_a_fault_of_ours_are_different_answers() {
        let good = r#"{"id_token": "a.b.c", "token_type": "Bearer", "scope": "openid", "more": 1}"#;
        let tokens = read_tokens(200, good).unwrap().unwrap();
        assert_eq!(
            (tokens.id_token.as_str(), tokens.refresh_token),
            ("a.b.c", None)
        );
        for error in ["invalid_grant", "invalid_request"] {
            let body = json!({"error": error, "error_description": "x"}).to_string();
            assert!(read_tokens(400, &body).unwrap().is_none(), "{error}");
        }
        for (status, body) in [
            (400, r#"{"error":"invalid_client"}"#),
            (401, r#"{"error":"invalid_grant"}"#),
            (503, "<html>"),
            (200, "{}"),
        ] {
            assert!(read_tokens(status, body).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn a_code_is_posted_with_its_page_if_it_has_one() {
        let mut code = Code {
            code: "a b",
            redirect_uri: None,
        };
        assert_eq!(
            code.form().finish(),
            "grant_type=authorization_code&code=a+b"
        );
        code.redirect_uri = Some("https://a.example/");
        assert!(
            code.form()
                .finish()
                .ends_with("&redirect_uri=https%3A%2F%2Fa.example%2F")
        );
        assert!(code.is_plausible());
        let long = "x".repeat(4_097);
        for text in ["", &long] {
            let code = Code {
                code: text,
                redirect_uri: None,
            };
            assert!(!code.is_plausible());
        }
    }
}
