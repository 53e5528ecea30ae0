//! `carbon-local realtime`: brings what the database sends to its listeners, as Supabase Realtime does for private
//! broadcast channels. Presence, changes of tables and public channels are not offered, and refused by name.
//!
//! One connection of a client carries any number of channels ([`socket`]); who may join one is decided by row-level
//! security ([`access`]); messages come out of the database's log ([`feed`]) and go to all who have joined ([`hub`]).

mod access;
mod feed;
mod frame;
mod hub;
mod join;
mod partitions;
mod pgoutput;
mod server;
mod socket;
#[cfg(test)]
mod socket_tests;
mod token;
mod wire;

use crate::counter::Counter;
use crate::json::json_response;
use crate::serve;
use crate::settings::Settings;
use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{any, get};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use frame::Version;
use serde::Deserialize;
use serde_json::json;
use server::{MAX_CONNECTIONS, Realtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::{Config, NoTls};

/// Connections that ask who may join: 1 ms a question, so some 8,000 joins a second.
const POOL_SIZE: usize = 8;
/// Longest time to wait for a connection of the pool, and for a statement.
const DATABASE_WAIT: Duration = Duration::from_secs(5);
/// A client that sends nothing for this long is gone: clients send a heartbeat every 25 s.
const IDLE: Duration = Duration::from_secs(60);
/// Between two tries to maintain the partitions when one failed.
const PARTITIONS_RETRY: Duration = Duration::from_secs(2);
/// Each connection has such a buffer for what it reads; frames of clients are small.
const READ_BUFFER_BYTES: usize = 2 * 1024;
/// Bytes written with one call when several frames wait.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;

/// Runs the server until it is stopped.
pub async fn run(settings: &Settings) -> Result<(), String> {
    let address = settings.required("REALTIME_LISTEN")?;
    let config: Config = settings
        .required("REALTIME_DB_URL")?
        .parse()
        .map_err(|_| "the setting REALTIME_DB_URL is not a database's address".to_owned())?;
    let realtime = Arc::new(Realtime {
        hub: Arc::default(),
        pool: pool(&config)?,
        jwt_secret: settings.required("JWT_SECRET")?.to_owned(),
        idle: settings.span("REALTIME_IDLE", IDLE)?,
        users: Counter::new(match settings.parsed("NO_LIMITS", false)? {
            true => usize::MAX,
            false => MAX_CONNECTIONS,
        }),
        has_partitions: AtomicBool::new(false),
    });
    let listener = serve::listen(address, "REALTIME_LISTEN").await?;
    println!("carbon-local realtime: listening on http://{address}");
    tokio::spawn(maintain_partitions(realtime.clone()));
    tokio::spawn(feed::run(config, realtime.hub.clone()));
    serve::serve(listener, router(realtime)).await
}

fn pool(config: &Config) -> Result<Pool, String> {
    let mut config = config.clone();
    config
        .application_name("carbon-local realtime")
        .connect_timeout(DATABASE_WAIT)
        .options(format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout=30000",
            DATABASE_WAIT.as_millis()
        ));
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let wait = Some(DATABASE_WAIT);
    Pool::builder(Manager::from_config(config, NoTls, recycling))
        .max_size(POOL_SIZE)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait,
            create: wait,
            recycle: wait,
        })
        .build()
        .map_err(|why| why.to_string())
}

fn router(realtime: Arc<Realtime>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/socket/websocket", get(connect))
        .route("/api/broadcast", any(no_sending))
        .route("/api/broadcast/{*rest}", any(no_sending))
        .with_state(realtime)
}

async fn maintain_partitions(realtime: Arc<Realtime>) {
    loop {
        let result = partitions::maintain(&realtime.pool).await;
        realtime
            .has_partitions
            .store(result.is_ok(), Ordering::Relaxed);
        let wait = match result {
            Ok(()) => partitions::INTERVAL,
            Err(why) => {
                eprintln!("realtime: the days' partitions cannot be maintained: {why}");
                PARTITIONS_RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Whether messages arrive and have a place to be.
async fn health(State(realtime): State<Arc<Realtime>>) -> Response<Body> {
    let is_ready = realtime.hub.is_live() && realtime.has_partitions.load(Ordering::Relaxed);
    if is_ready {
        json_response(StatusCode::OK, &json!({ "status": "ok" }))
    } else {
        json_response(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "no messages arrive" }),
        )
    }
}

/// Sending over HTTP: only the database sends.
async fn no_sending() -> Response<Body> {
    json_response(
        StatusCode::FORBIDDEN,
        &json!({ "message": "Messages are sent by the database only" }),
    )
}

#[derive(Deserialize)]
struct Parameters {
    apikey: Option<String>,
    vsn: Option<String>,
}

async fn connect(
    State(realtime): State<Arc<Realtime>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response<Body> {
    let refuse =
        |message: &str| json_response(StatusCode::UNAUTHORIZED, &json!({ "error": message }));
    let header = headers.get("x-api-key").and_then(|key| key.to_str().ok());
    let Some(key) = header.or(parameters.apikey.as_deref()) else {
        return refuse("API key is missing");
    };
    if let Err(refusal) = token::read(&realtime.jwt_secret, key, token::now()) {
        return refuse(&refusal.message);
    }
    let Some(version) = Version::parse(parameters.vsn.as_deref()) else {
        let message = json!({ "error": "vsn is 1.0.0 or 2.0.0" });
        return json_response(StatusCode::BAD_REQUEST, &message);
    };
    let key = key.to_owned();
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(usize::MAX)
        .max_message_size(socket::MAX_FRAME_BYTES)
        .max_frame_size(socket::MAX_FRAME_BYTES)
        .on_upgrade(move |stream| socket::run(realtime, stream, version, key))
}
