//! The database as a handler sees it: functions called as the user, reads that may answer "unchanged", and writes that
//! run once for each `Idempotency-Key`.

use serde_json::{Value, json};

use crate::clients::rest::{Rest, parsed};
use crate::clients::{DEADLINE_MS, UpstreamResponse};
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::idempotency::fingerprint;

impl Call {
    /// The database, as the caller.
    pub fn rest(&self) -> Rest<'_> {
        Rest::new(&self.app.config, self.token(), &self.request_id).at(self.address.as_deref())
    }

    /// The database, as the service itself: for functions that no user may call.
    pub fn service(&self) -> Rest<'_> {
        let config = &self.app.config;
        Rest::new(
            config,
            Some(config.service_role_key.as_str()),
            &self.request_id,
        )
    }

    /// Reads something of the user's own, and its tag for the answer; `None` if the client has it already.
    ///
    /// # Errors
    /// What the database refused, or `SERVICE_UNAVAILABLE`.
    pub async fn read(
        &self,
        operation: &str,
        arguments: &Value,
    ) -> Result<Option<Value>, ApiError> {
        let if_none_match = self.if_none_match();
        let arguments = json!({
            "operation": operation,
            "arguments": arguments,
            "known_tags": if_none_match.tags,
        });
        let mut read = self.rest().rpc("read_if_changed", &arguments).await?;
        self.tag.replace(read["tag"].as_str().map(str::to_owned));
        let answer = read.get_mut("answer").map(Value::take);
        Ok(answer.filter(|_| !if_none_match.any))
    }

    /// Calls one of the database's writes as the user: directly, or through `run_once` if the request has a key.
    /// Refusals come back as they are.
    ///
    /// # Errors
    /// `SERVICE_UNAVAILABLE` if there was no answer in time.
    pub async fn write_within(
        &self,
        deadline_ms: u64,
        operation: &str,
        arguments: String,
    ) -> Result<UpstreamResponse, ApiError> {
        let rest = self.rest().with_deadline(deadline_ms);
        let Some(key) = &self.idempotency_key else {
            return rest.call(operation, arguments).await;
        };
        let fingerprint = fingerprint(self.query_pairs(), &self.body);
        let arguments = key.wrap(operation, arguments, &fingerprint);
        let answer = rest.call("run_once", arguments).await?;
        if !answer.is_ok() {
            return Ok(answer);
        }
        let stored = parsed("run_once", &answer.body)?;
        key.set_replayed(stored["replayed"] == true);
        Ok(UpstreamResponse {
            body: stored["answer"].to_string(),
            ..answer
        })
    }

    /// The same with refusals turned into errors; the answer is JSON text.
    ///
    /// # Errors
    /// What the database refused, or `SERVICE_UNAVAILABLE`.
    pub async fn write(&self, operation: &str, arguments: &Value) -> Result<String, ApiError> {
        let arguments = arguments.to_string();
        self.write_within(DEADLINE_MS, operation, arguments)
            .await?
            .text()
    }
}
