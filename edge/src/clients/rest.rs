//! PostgREST, through the gateway: functions of the database, called as the user.

use postgrest::Postgrest;
use serde_json::Value;

use super::{DEADLINE_MS, UpstreamError, UpstreamResponse, within};
use crate::config::Config;
use crate::error::ApiError;
use crate::observe::metrics;

/// The JSON that a function answered.
///
/// # Errors
/// `INTERNAL_ERROR` if it is not JSON.
pub fn parsed(function: &str, text: &str) -> Result<Value, ApiError> {
    serde_json::from_str(text)
        .map_err(|error| ApiError::internal(format!("{function} answered no JSON: {error}")))
}

/// A caller of the database's functions.
pub struct Rest<'a> {
    config: &'a Config,
    token: &'a str,
    request_id: &'a str,
    address: Option<&'a str>,
    deadline_ms: u64,
}

impl<'a> Rest<'a> {
    /// Calls as the user whose access token this is; without one, as a signed-out visitor.
    pub fn new(config: &'a Config, token: Option<&'a str>, request_id: &'a str) -> Self {
        let token = token.unwrap_or(&config.anon_key);
        Self {
            config,
            token,
            request_id,
            address: None,
            deadline_ms: DEADLINE_MS,
        }
    }

    /// The same caller, who connected to the Worker from this address.
    pub fn at(self, address: Option<&'a str>) -> Self {
        Self { address, ..self }
    }

    /// The same caller with another deadline (milliseconds).
    pub fn with_deadline(self, deadline_ms: u64) -> Self {
        Self {
            deadline_ms,
            ..self
        }
    }

    /// Calls a function with named arguments and returns its JSON.
    ///
    /// # Errors
    /// What the database refused, as [`ApiError::from_postgrest`] reads it, or
    /// `SERVICE_UNAVAILABLE`.
    pub async fn rpc(&self, function: &str, arguments: &Value) -> Result<Value, ApiError> {
        let text = self.rpc_text(function, arguments.to_string()).await?;
        parsed(function, &text)
    }

    /// The same for JSON text in and out.
    ///
    /// # Errors
    /// As [`Rest::rpc`].
    pub async fn rpc_text(&self, function: &str, arguments: String) -> Result<String, ApiError> {
        self.call(function, arguments).await?.text()
    }

    /// The answer with any status, for functions that set one.
    ///
    /// # Errors
    /// `SERVICE_UNAVAILABLE` if there was no answer.
    pub async fn call(
        &self,
        function: &str,
        arguments: String,
    ) -> Result<UpstreamResponse, ApiError> {
        let mut client = Postgrest::new(format!("{}/rest/v1", self.config.supabase_url))
            .insert_header("apikey", &self.config.anon_key)
            .insert_header("content-type", "application/json")
            .insert_header("x-request-id", self.request_id)
            .insert_header("x-edge-client-proof", &self.config.edge_address_secret);
        // The gateway counts by address, and the Worker's own is not a client's.
        if let Some(address) = self.address {
            client = client.insert_header("x-edge-client", address);
        }
        let exchange = async {
            let response = client
                .rpc(function, arguments)
                .auth(self.token)
                .execute()
                .await?;
            let status = response.status().as_u16();
            let body = response.text().await?;
            Ok(UpstreamResponse {
                status,
                body,
                retry_after_secs: None,
                max_age_secs: None,
            })
        };
        // Dropping the unfinished exchange aborts its request.
        let outcome = within(self.deadline_ms, exchange).await;
        outcome
            .and_then(|answer| {
                answer
                    .map_err(|error: reqwest::Error| UpstreamError::Unreachable(error.to_string()))
            })
            .inspect(|answer| {
                if answer.status >= 500 {
                    metrics::dependency_failed("database");
                }
            })
            .map_err(|error| {
                metrics::dependency_failed("database");
                ApiError::unavailable(format!("rpc {function}: {error}"))
            })
    }
}
