//! `carbon-local auth`: the tables, claims and answers of Supabase Auth, as far as this product relies on them.
//!
//! Written from the real server's behaviour and held to it by tests that run against either. What it leaves
//! out: passwords, e-mail, providers other than phone, second factors and single sign-on.

mod account;
mod admin;
mod audit;
mod config;
mod db;
mod error;
mod hook;
mod http;
mod link;
mod otp;
mod refresh;
mod session;
mod tokens;
mod user;
mod verify;

use crate::outbound::{self, HttpClient};
use crate::serve;
use crate::settings::Settings;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Response;
use config::Config;
use deadpool_postgres::Pool;
use error::{API_VERSION_HEADER, ApiError, ApiResult};
use http::{Call, MAX_BODY_BYTES, Reply};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokens::Claims;

/// What every request needs.
pub struct Server {
    config: Config,
    pool: Pool,
    http: HttpClient,
    sms_budget: Budget,
}

impl Server {
    /// The audience a request is about: the header's, else the token's, else the configured one.
    fn audience(&self, call: &Call, claims: Option<&Claims>) -> String {
        let of_token = claims.and_then(Claims::audience);
        call.header("x-jwt-aud")
            .or(of_token)
            .unwrap_or(&self.config.jwt_aud)
            .to_owned()
    }
}

/// A number of events an hour, refilled evenly.
struct Budget {
    per_hour: f64,
    left: Mutex<(f64, Instant)>,
}

impl Budget {
    fn new(per_hour: f64) -> Self {
        Self {
            per_hour,
            left: Mutex::new((per_hour, Instant::now())),
        }
    }

    /// Takes one, if there is one left.
    fn take(&self) -> bool {
        let mut state = self
            .left
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        let refill = now.duration_since(state.1).as_secs_f64() / 3600.0 * self.per_hour;
        let left = (state.0 + refill).min(self.per_hour);
        let granted = left >= 1.0;
        *state = (if granted { left - 1.0 } else { left }, now);
        granted
    }
}

/// Runs the server until it is told to stop.
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

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn a_budget_is_used_up_and_refills_with_time() {
        let budget = Budget::new(2.0);
        assert_eq!(
            [budget.take(), budget.take(), budget.take()],
            [true, true, false]
        );
        budget.left.lock().unwrap().1 -= std::time::Duration::from_secs(1_800);
        assert_eq!([budget.take(), budget.take()], [true, false]);
    }
}
