//! `carbon-local auth`: the tables, claims and answers of Supabase Auth, as far as this product relies on them.
//!
//! Written from the real server's behaviour and held to it by tests that run against either. What it leaves
//! out: passwords, e-mail, providers other than phone, second factors and single sign-on.

mod account;
mod admin;
mod audit;
mod config;
mod contact;
mod db;
mod error;
mod hook;
mod http;
mod link;
mod otp;
mod refresh;
mod server;
mod session;
mod tokens;
mod user;
mod verify;

use crate::outbound;
use crate::serve;
use crate::settings::Settings;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Response;
use config::Config;
use error::{API_VERSION_HEADER, ApiError, ApiResult};
use http::{Call, MAX_BODY_BYTES, Reply};
use serde_json::json;
use server::{Budget, Server};
use std::net::SocketAddr;
use std::sync::Arc;

/// Runs the server until it is stopped.
pub async fn run(settings: &Settings) -> Result<(), String> {
    let config = Config::read(settings)?;
    let listener = serve::listen(&config.listen, "GOTRUE_API_HOST and PORT").await?;
    let pool = db::pool(&config)?;
    db::prepare_schema(&pool).await?;
    println!("carbon-local auth: listening on http://{}", config.listen);
    let sms_budget = Budget::new(config.sms_per_hour);
    let server = Arc::new(Server {
        pool,
        http: outbound::client(),
        sms_budget,
        config,
    });
    serve::serve(listener, Router::new().fallback(handle).with_state(server)).await
}

async fn handle(State(server): State<Arc<Server>>, request: Request) -> Response<Body> {
    let version = request.headers().get(API_VERSION_HEADER).cloned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let work = async {
        let call = read(request).await?;
        route(&server, &call).await
    };
    let outcome = tokio::time::timeout(server.config.max_request, work)
        .await
        .unwrap_or_else(|_| {
            let message = "Processing this request timed out, please retry after a moment.";
            Err(ApiError::new(504, "request_timeout", message))
        });
    match outcome {
        Ok(reply) => reply.into_response(),
        Err(error) => {
            if error.status >= 500 {
                let database = error.database.as_deref().unwrap_or("-");
                eprintln!(
                    "auth: {method} {path} answered {} {} (database: {database})",
                    error.status, error.code
                );
            }
            error.into_response(version.as_ref())
        }
    }
}

async fn read(request: Request) -> ApiResult<Call> {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip());
    let (parts, body) = request.into_parts();
    let too_large = |_| ApiError::new(413, "request_entity_too_large", "Request body too large");
    let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    Ok(Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: query.into_owned().collect(),
        headers: parts.headers,
        body: to_bytes(body, MAX_BODY_BYTES).await.map_err(too_large)?,
        peer: peer.unwrap_or_else(|| std::net::Ipv4Addr::LOCALHOST.into()),
    })
}

async fn route(server: &Server, call: &Call) -> ApiResult<Reply> {
    let segments: Vec<&str> = call.path.trim_start_matches('/').split('/').collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["health"]) => health(),
        ("GET", ["settings"]) => settings(&server.config),
        ("GET", [".well-known", "jwks.json"]) => Reply::json(&json!({ "keys": [] })),
        ("POST", ["signup"]) => account::signup(server, call).await,
        ("POST", ["otp"]) => otp::request(server, call).await,
        ("POST", ["resend"]) => otp::resend(server, call).await,
        ("POST", ["verify"]) => verify::verify(server, call).await,
        ("POST", ["token"]) => token(server, call).await,
        ("POST", ["logout"]) => account::logout(server, call).await,
        ("GET", ["reauthenticate"]) => account::reauthenticate(server, call).await,
        ("GET", ["user"]) => account::read(server, call).await,
        ("PUT", ["user"]) => account::update(server, call).await,
        ("GET", ["admin", "users"]) => admin::list(server, call).await,
        ("POST", ["admin", "users"]) => admin::create(server, call).await,
        ("GET", ["admin", "users", id]) => admin::read(server, call, id).await,
        ("PUT", ["admin", "users", id]) => admin::update(server, call, id).await,
        ("DELETE", ["admin", "users", id]) => admin::delete(server, call, id).await,
        ("GET", ["admin", "audit"]) => admin::audit_trail(server, call).await,
        ("POST", ["admin", "generate_link"]) => link::generate(server, call).await,
        _ => Err(ApiError::new(
            404,
            "not_found",
            "No such endpoint in this Auth server",
        )),
    }
}

fn health() -> ApiResult<Reply> {
    let description = "A local stand-in for Supabase Auth";
    Reply::json(
        &json!({ "version": env!("CARGO_PKG_VERSION"), "name": "GoTrue", "description": description }),
    )
}

fn settings(config: &Config) -> ApiResult<Reply> {
    Reply::json(&json!({
        "external": {
            "anonymous_users": config.anonymous_enabled,
            "email": false,
            "phone": config.phone_enabled,
        },
        "disable_signup": config.signup_disabled,
        "mailer_autoconfirm": false,
        "phone_autoconfirm": false,
        "sms_provider": "",
        "saml_enabled": false,
        "passkeys_enabled": false,
    }))
}

/// POST /token: of the grants only the refresh of a session works here.
async fn token(server: &Server, call: &Call) -> ApiResult<Reply> {
    match call.param("grant_type").unwrap_or_default() {
        "refresh_token" => refresh::grant(server, call).await,
        "password" => Err(ApiError::new(
            400,
            "invalid_credentials",
            "Invalid login credentials",
        )),
        "id_token" => Err(ApiError::new(
            400,
            "provider_disabled",
            "Provider is not enabled",
        )),
        "pkce" => Err(ApiError::new(
            404,
            "flow_state_not_found",
            "invalid flow state, no valid flow state found",
        )),
        _ => Err(ApiError::new(
            400,
            "invalid_credentials",
            "unsupported_grant_type",
        )),
    }
}
