//! The HTTP client that Auth's hook and the gateway share: plain HTTP to local services, pooled.

use axum::body::Body;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;

/// A local service either takes a connection at once or is down.
const CONNECT_TIMEOUT_SECS: u64 = 2;
/// Idle connections are dropped before the usual 5 s keep-alive of Node's servers ends, so that a
/// request is never written to a connection that the other side is closing.
const IDLE_SECS: u64 = 4;

/// A pooled client.
pub type HttpClient = Client<HttpConnector, Body>;

/// Makes the client. Time limits of requests are the caller's.
pub fn client() -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(IDLE_SECS))
        .build(connector())
}

/// The same with a connection for each request.
pub fn client_without_pool() -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_secs(CONNECT_TIMEOUT_SECS)));
    connector.set_nodelay(true);
    connector
}
