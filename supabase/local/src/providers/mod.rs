//! Local issuers in place of LINE, Facebook, Google and Apple, below `/providers` of the inbox.
//!
//! What the Worker asks is answered as the providers do: `GET {provider}/keys`, LINE's and Apple's `POST token`,
//! Facebook's `GET debug_token`, Apple's `POST revoke`. The rest stands in for what people do in a provider's own pages:
//! `POST {provider}/id-token` signs any claims, `POST {line,apple}/code` makes a code, `POST facebook/access-token` a
//! token of any app.

mod keys;
mod store;

use crate::json::json_response;
use crate::settings::Settings;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use keys::Keys;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use store::Store;

/// The lifetime of an ID token (seconds), as LINE and Google have it.
const LIFETIME_SECS: i64 = 3_600;
/// How long the keys may be kept.
const KEYS_MAX_AGE: &str = "public, max-age=3600";

/// The clients that the issuers know, with their secrets.
struct Clients {
    line: String,
    line_secret: String,
    facebook: String,
    facebook_secret: String,
    google: Vec<String>,
    apple: Vec<String>,
    apple_team: String,
    apple_key_id: String,
    /// The public part of the team's key.
    apple_key: Vec<u8>,
}

struct Providers {
    keys: Keys,
    clients: Clients,
    store: Store,
}

/// The issuers' routes; none without their settings.
pub fn router(settings: &Settings) -> Result<Router, String> {
    let Some(rsa) = settings.text("PROVIDERS_RSA_KEY") else {
        return Ok(Router::new());
    };
    let text = |name: &str| settings.required(name).map(str::to_owned);
    let providers = Providers {
        keys: Keys::new(rsa)?,
        clients: Clients {
            line: text("LINE_CHANNEL_ID")?,
            line_secret: text("LINE_CHANNEL_SECRET")?,
            facebook: text("FACEBOOK_APP_ID")?,
            facebook_secret: text("FACEBOOK_APP_SECRET")?,
            google: settings.list("GOOGLE_CLIENT_IDS"),
            apple: settings.list("APPLE_CLIENT_IDS"),
            apple_team: text("APPLE_TEAM_ID")?,
            apple_key_id: text("APPLE_KEY_ID")?,
            apple_key: keys::public_part(&text("APPLE_PRIVATE_KEY")?)?,
        },
        store: Store::default(),
    };
    let routes = Router::new()
        .route("/{provider}/keys", get(public_keys))
        .route("/{provider}/id-token", post(id_token))
        .route("/{provider}/code", post(code))
        .route("/line/token", post(line_token))
        .route("/facebook/access-token", post(access_token))
        .route("/facebook/debug_token", get(debug_token))
        .route("/apple/token", post(apple_token))
        .route("/apple/revoke", post(apple_revoke).get(revoked))
        .with_state(Arc::new(providers));
    Ok(Router::new().nest("/providers", routes))
}

type Shared = State<Arc<Providers>>;

fn reply(status: u16, body: &Value) -> Response<Body> {
    json_response(StatusCode::from_u16(status).unwrap_or_default(), body)
}

fn oauth_error(status: u16, error: &str) -> Response<Body> {
    reply(status, &json!({"error": error, "error_description": error}))
}

fn form_of(body: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

fn object_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| json!({}))
}

/// The members of `changes` replace those of `whole`; null removes one.
fn changed(mut whole: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().into_iter().flatten() {
        whole[name] = value.clone();
    }
    if let Some(members) = whole.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    whole
}

impl Providers {
    /// What a token states unless its maker says otherwise.
    fn claims(&self, provider: &str, changes: &Value) -> Value {
        let (iss, aud) = match provider {
            "line" => ("https://access.line.me", &self.clients.line),
            "facebook" => ("https://www.facebook.com", &self.clients.facebook),
            "apple" => ("https://appleid.apple.com", &self.clients.apple[0]),
            _ => ("https://accounts.google.com", &self.clients.google[0]),
        };
        let now = Utc::now().timestamp();
        let claims = json!({
            "iss": iss, "aud": aud, "sub": format!("local-{}", uuid::Uuid::new_v4().simple()),
            "iat": now, "exp": now + LIFETIME_SECS,
        });
        changed(claims, changes)
    }

    /// LINE's token for a code: HS256 with the channel's secret.
    fn line_id_token(&self, claims: &Value) -> String {
        carbon_dev_jwt::sign(&self.clients.line_secret, &self.claims("line", claims))
    }

    fn is_apple_client(&self, form: &HashMap<String, String>) -> bool {
        let (Some(id), Some(secret)) = (form.get("client_id"), form.get("client_secret")) else {
            return false;
        };
        let now = Utc::now().timestamp();
        keys::open_es256(&self.clients.apple_key, secret).is_some_and(|(header, claims)| {
            self.clients.apple.contains(id)
                && header["kid"] == *self.clients.apple_key_id
                && claims["iss"] == *self.clients.apple_team
                && claims["sub"] == **id
                && claims["aud"] == "https://appleid.apple.com"
                && claims["exp"].as_i64().is_some_and(|end| end > now)
        })
    }
}

async fn public_keys(State(providers): Shared, Path(provider): Path<String>) -> Response<Body> {
    let mut response = reply(200, &providers.keys.public(&provider));
    let max_age = HeaderValue::from_static(KEYS_MAX_AGE);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, max_age);
    response
}

/// `{claims?, header?}` → `{id_token}`, as the provider's own page hands it to a client.
async fn id_token(
    State(providers): Shared,
    Path(provider): Path<String>,
    body: Bytes,
) -> Response<Body> {
    let order = object_of(&body);
    let claims = providers.claims(&provider, &order["claims"]);
    let token = providers.keys.sign(&provider, &order["header"], &claims);
    reply(200, &json!({ "id_token": token }))
}

/// `{claims?, redirect_uri?, code_challenge?, client_id?}` → `{code}`, good once.
async fn code(
    State(providers): Shared,
    Path(provider): Path<String>,
    body: Bytes,
) -> Response<Body> {
    let code = providers.store.put(&provider, object_of(&body));
    reply(200, &json!({ "code": code }))
}

async fn line_token(State(providers): Shared, body: Bytes) -> Response<Body> {
    let form = form_of(&body);
    let sent = |name: &str| form.get(name).map(String::as_str);
    let clients = &providers.clients;
    if sent("client_id") != Some(clients.line.as_str())
        || sent("client_secret") != Some(clients.line_secret.as_str())
    {
        return oauth_error(400, "invalid_client");
    }
    let code = sent("code").and_then(|code| providers.store.take("line", code));
    let Some(code) = code.filter(|_| sent("grant_type") == Some("authorization_code")) else {
        return oauth_error(400, "invalid_grant");
    };
    let challenge = Sha256::digest(sent("code_verifier").unwrap_or_default());
    let challenge = URL_SAFE_NO_PAD.encode(challenge);
    let fits = code["redirect_uri"].as_str() == sent("redirect_uri")
        && code["code_challenge"]
            .as_str()
            .is_none_or(|expected| expected == challenge);
    if !fits {
        return oauth_error(400, "invalid_grant");
    }
    let tokens = json!({
        "access_token": "local-access", "expires_in": 2_592_000, "refresh_token": "local-refresh",
        "id_token": providers.line_id_token(&code["claims"]), "scope": "profile openid", "token_type": "Bearer",
    });
    reply(200, &tokens)
}

/// `{user_id?, app_id?, type?, is_valid?, expires_at?}` → `{access_token}`.
async fn access_token(State(providers): Shared, body: Bytes) -> Response<Body> {
    let now = Utc::now().timestamp();
    let data = json!({
        "app_id": providers.clients.facebook, "type": "USER", "application": "local", "is_valid": true,
        "expires_at": now + 5_184_000, "data_access_expires_at": now + 7_776_000, "scopes": ["public_profile"],
        "user_id": uuid::Uuid::new_v4().as_u128().to_string(),
    });
    let data = changed(data, &object_of(&body));
    let token = providers.store.put("facebook", data);
    reply(200, &json!({ "access_token": token }))
}

async fn debug_token(
    State(providers): Shared,
    Query(query): Query<HashMap<String, String>>,
) -> Response<Body> {
    let clients = &providers.clients;
    let app_token = format!("{}|{}", clients.facebook, clients.facebook_secret);
    let graph_error =
        |code: i64| json!({"code": code, "message": "refused", "type": "OAuthException"});
    if query.get("access_token") != Some(&app_token) {
        return reply(400, &json!({ "error": graph_error(190) }));
    }
    let token = query.get("input_token").map_or("", String::as_str);
    let data = providers
        .store
        .see("facebook", token)
        .unwrap_or_else(|| json!({"error": graph_error(190), "is_valid": false, "scopes": []}));
    reply(200, &json!({ "data": data }))
}

async fn apple_token(State(providers): Shared, body: Bytes) -> Response<Body> {
    let form = form_of(&body);
    if !providers.is_apple_client(&form) {
        return oauth_error(400, "invalid_client");
    }
    let code = form.get("code");
    let code = code.and_then(|code| providers.store.take("apple", code));
    let Some(code) = code.filter(|code| {
        let client_id = code["client_id"].as_str();
        client_id.is_none_or(|id| form.get("client_id").is_some_and(|sent| sent == id))
            && code["redirect_uri"].as_str() == form.get("redirect_uri").map(String::as_str)
    }) else {
        return oauth_error(400, "invalid_grant");
    };
    let claims = changed(
        code["claims"].clone(),
        &json!({"aud": form.get("client_id")}),
    );
    let claims = providers.claims("apple", &claims);
    let refresh_token = providers
        .store
        .put("apple-refresh", json!(form.get("client_id")));
    let tokens = json!({
        "access_token": "local-access", "token_type": "Bearer", "expires_in": 3_600,
        "id_token": providers.keys.sign("apple", &Value::Null, &claims), "refresh_token": refresh_token,
    });
    reply(200, &tokens)
}

async fn apple_revoke(State(providers): Shared, body: Bytes) -> Response<Body> {
    let form = form_of(&body);
    if !providers.is_apple_client(&form) {
        return oauth_error(400, "invalid_client");
    }
    // Apple answers the same to a token that it does not know.
    if let Some(token) = form.get("token") {
        providers.store.take("apple-refresh", token);
    }
    reply(200, &json!({}))
}

/// How many of Apple's refresh tokens are not revoked.
async fn revoked(State(providers): Shared) -> Response<Body> {
    let valid = providers.store.count("apple-refresh");
    reply(200, &json!({ "valid_refresh_tokens": valid }))
}
