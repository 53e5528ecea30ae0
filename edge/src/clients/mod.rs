//! Outbound calls: HTTP with a deadline, and no decisions.

pub mod auth;
pub mod facebook;
pub mod moderation;
pub mod oauth;
pub mod provider_keys;
pub mod rest;
pub mod sms;
pub mod sms_failure;
pub mod thaibulksms;
pub mod turnstile;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use crate::error::ApiError;
use futures_util::future::{Either, select};
use wasm_bindgen::JsValue;
use worker::worker_sys::web_sys;
use worker::{AbortController, Delay, Fetch, Headers, Method, Request};

/// Milliseconds after which a request is answered even if something hangs, from the end of its body: with what
/// comes before it, no answer takes 10 s.
pub const REQUEST_DEADLINE_MS: u64 = 8_400;
/// Milliseconds an outbound call may take, its body included.
pub const DEADLINE_MS: u64 = 5_000;
/// The same for a migration of 10 MiB; the database ends the statement after 8 s.
pub const MIGRATION_DEADLINE_MS: u64 = 8_200;
/// The same for a Durable Object, which answers in milliseconds or not at all.
pub const OBJECT_DEADLINE_MS: u64 = 1_500;

/// Why a call brought no answer.
#[derive(Debug)]
pub enum UpstreamError {
    Timeout,
    /// The other side could not be reached.
    Unreachable(String),
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

/// An answer with any status.
pub struct UpstreamResponse {
    pub status: u16,
    pub body: String,
    pub retry_after_secs: Option<i64>,
    /// How long the answer may be kept, if it says so.
    pub max_age_secs: Option<i64>,
}

/// `max-age` of a `Cache-Control`.
fn max_age_secs(cache_control: &str) -> Option<i64> {
    let directives = cache_control.split(',').map(str::trim);
    let mut ages = directives.filter_map(|directive| directive.strip_prefix("max-age="));
    ages.next()?.parse().ok()
}

impl UpstreamResponse {
    /// Whether the status is 2xx.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of PostgREST's answer.
    ///
    /// # Errors
    /// What it refused, as [`ApiError::from_postgrest`] reads it.
    pub fn text(self) -> Result<String, ApiError> {
        if self.is_ok() {
            Ok(self.body)
        } else {
            Err(ApiError::from_postgrest(self.status, &self.body))
        }
    }
}

pub struct Outgoing<'a> {
    pub method: Method,
    pub url: &'a str,
    /// Header names and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// A body; JSON unless the headers say otherwise.
    pub body: Option<String>,
    /// Milliseconds until the call is given up.
    pub deadline_ms: u64,
}

/// Waits for `future`, `deadline_ms` at most.
pub async fn within<T>(
    deadline_ms: u64,
    future: impl Future<Output = T>,
) -> Result<T, UpstreamError> {
    let delay = pin!(Delay::from(Duration::from_millis(deadline_ms)));
    match select(pin!(future), delay).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(_) => Err(UpstreamError::Timeout),
    }
}

/// Sends a request and reads the full answer; past the deadline the request is aborted.
///
/// # Errors
/// An [`UpstreamError`] if there was no full answer in time.
pub async fn send(outgoing: Outgoing<'_>) -> Result<UpstreamResponse, UpstreamError> {
    let controller = AbortController::default();
    let signal = controller.signal();
    let deadline_ms = outgoing.deadline_ms;
    let exchange = async {
        let request = request(
            outgoing.method,
            outgoing.url,
            outgoing.headers,
            outgoing.body.as_deref(),
        )?;
        let mut response = Fetch::Request(request).send_with_signal(&signal).await?;
        let retry_after = response.headers().get("retry-after")?;
        let cache_control = response.headers().get("cache-control")?;
        let body = response.text().await?;
        let retry_after_secs = retry_after.and_then(|value| value.parse().ok());
        Ok(UpstreamResponse {
            status: response.status_code(),
            body,
            retry_after_secs,
            max_age_secs: cache_control.as_deref().and_then(max_age_secs),
        })
    };
    match within(deadline_ms, exchange).await {
        Ok(answer) => {
            answer.map_err(|error: worker::Error| UpstreamError::Unreachable(error.to_string()))
        }
        Err(error) => {
            controller.abort();
            Err(error)
        }
    }
}

/// A request, JSON if it has a body. Made without the crate's own `RequestInit`, whose settings for
/// Cloudflare's image and minifying services would all become part of the Worker.
///
/// # Errors
/// The error of the runtime, for an invalid address or header.
pub fn request(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> worker::Result<Request> {
    let all = Headers::new();
    for (name, value) in headers {
        all.set(name, value)?;
    }
    let init = web_sys::RequestInit::new();
    init.set_method(method.as_ref());
    if let Some(body) = body {
        if !all.has("content-type")? {
            all.set("content-type", "application/json")?;
        }
        init.set_body(&JsValue::from_str(body));
    }
    init.set_headers(&all.0);
    Ok(web_sys::Request::new_with_str_and_init(url, &init)?.into())
}
