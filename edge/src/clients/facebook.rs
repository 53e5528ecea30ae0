//! Facebook's access tokens, which Android and the web have instead of ID tokens: what the Graph API says of one.

use form_urlencoded::Serializer;
use serde_json::Value;
use worker::Method;

use super::provider_keys::{DEADLINE_MS, is_down};
use super::{Outgoing, send};
use crate::config::{Facebook, Provider};
use crate::crypto::id_token::is_subject;
use crate::error::ApiError;

/// Longer access tokens are none.
const MAX_TOKEN_BYTES: usize = 4_096;

/// Codes of the Graph API for a token that it cannot read.
const UNREADABLE: [i64; 2] = [100, 190];

/// The user whose access token this is, if it is one of our app and valid now.
///
/// # Errors
/// `SERVICE_UNAVAILABLE` if Facebook does not say.
pub async fn user_of_token(
    facebook: &Facebook,
    access_token: &str,
    now_secs: i64,
) -> Result<Option<String>, ApiError> {
    if access_token.is_empty() || access_token.len() > MAX_TOKEN_BYTES {
        return Ok(None);
    }
    let app_token = format!("{}|{}", facebook.app_id(), facebook.app_secret);
    let query = Serializer::new(String::new())
        .append_pair("input_token", access_token)
        .append_pair("access_token", &app_token)
        .finish();
    let url = format!("{}?{query}", facebook.debug_token_url);
    let answer = send(Outgoing {
        method: Method::Get,
        url: &url,
        headers: &[],
        body: None,
        deadline_ms: DEADLINE_MS,
    })
    .await
    // The error's text might quote the address, and that has both tokens in it.
    .map_err(|_| is_down(Provider::Facebook, "debug_token: no answer"))?;
    read(answer.status, &answer.body, facebook.app_id(), now_secs)
        .map_err(|why| is_down(Provider::Facebook, &format!("debug_token: {why}")))
}

/// The user, `None` for a token that is not good here, or why that is unclear.
fn read(status: u16, body: &str, app_id: &str, now_secs: i64) -> Result<Option<String>, String> {
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    if let Some(code) = body["error"]["code"].as_i64() {
        return match status {
            400..=403 if UNREADABLE.contains(&code) => Ok(None),
            _ => Err(format!("status {status}, code {code}")),
        };
    }
    let data = &body["data"];
    if status != 200 || !data.is_object() {
        return Err(format!("status {status}"));
    }
    let expires_at = data["expires_at"].as_i64().unwrap_or(-1);
    // 0 stands for a token without an end.
    let in_time = expires_at == 0 || expires_at > now_secs;
    let is_good =
        data["is_valid"] == true && data["app_id"] == *app_id && data["type"] == "USER" && in_time;
    let user_id = data["user_id"]
        .as_str()
        .filter(|id| is_good && is_subject(id));
    Ok(user_id.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000;

    fn data() -> Value {
        json!({
            "app_id": "2650", "type": "USER", "application": "Carbon Pixels", "expires_at": NOW + 60,
            "data_access_expires_at": NOW + 60, "is_valid": true, "scopes": [], "user_id": "10223",
        })
    }

    fn with(name: &str, value: Value) -> Result<Option<String>, String> {
        let mut data = data();
        data[name] = value;
        read(200, &json!({ "data": data }).to_string(), "2650", NOW)
    }

    #[test]
    fn a_valid_token_of_our_app_names_its_user() {
        assert_eq!(
            with("user_id", json!("10223")),
            Ok(Some("10223".to_owned()))
        );
        assert_eq!(with("expires_at", json!(0)), Ok(Some("10223".to_owned())));
    }

    #[test]
    fn tokens_of_other_apps_of_pages_and_past_their_end_name_nobody() {
        for (name, value) in [
            ("app_id", json!("2651")),
            ("app_id", json!(2650)),
            ("is_valid", json!(false)),
            ("is_valid", json!("true")),
            ("type", json!("PAGE")),
            ("type", json!("APP")),
            ("expires_at", json!(NOW)),
            ("expires_at", Value::Null),
            ("user_id", json!("")),
            ("user_id", Value::Null),
        ] {
            assert_eq!(with(name, value.clone()), Ok(None), "{name} {value}");
        }
        let refused = json!({"data": {"error": {"code": 190, "message": "x"}, "is_valid": false, "scopes": []}});
        assert_eq!(read(200, &refused.to_string(), "2650", NOW), Ok(None));
    }

    #[test]
    fn an_unreadable_token_is_the_client_s_and_any_other_error_is_not() {
        let error =
            |code: i64| json!({"error": {"code": code, "type": "OAuthException"}}).to_string();
        assert_eq!(read(400, &error(190), "2650", NOW), Ok(None));
        for (status, body) in [
            (400, error(4)),
            (403, error(613)),
            (500, error(190)),
            (200, "{}".to_owned()),
            (502, "<html>".to_owned()),
        ] {
            assert!(read(status, &body, "2650", NOW).is_err(), "{status} {body}");
        }
    }
}
