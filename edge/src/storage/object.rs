//! What all Durable Objects here have in common: one row of JSON, and commands sent to them by name.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use worker::{Delay, Method, Result, State};

use crate::app::App;
use crate::clients::{request, within};
use crate::error::ApiError;
use crate::observe::metrics;

/// A class of Durable Objects.
pub struct Class {
    pub binding: &'static str,
    /// Its name as a label in metrics.
    pub label: &'static str,
}

#[derive(Deserialize)]
struct Row {
    body: String,
}

/// The stored row, if there is one.
///
/// # Errors
/// The error of the storage.
pub fn load_text(state: &State) -> Result<Option<String>> {
    let sql = state.storage().sql();
    sql.exec(
        "create table if not exists state (id integer primary key, body text not null)",
        None,
    )?;
    let rows: Vec<Row> = sql
        .exec("select body from state where id = 1", None)?
        .to_array()?;
    Ok(rows.into_iter().next().map(|row| row.body))
}

/// The stored value, or a new one.
///
/// # Errors
/// The error of the storage, or a row that cannot be read.
pub fn load<T: DeserializeOwned + Default>(state: &State) -> Result<T> {
    match load_text(state)? {
        Some(body) => Ok(serde_json::from_str(&body)?),
        None => Ok(T::default()),
    }
}

/// Writes the row.
///
/// # Errors
/// The error of the storage.
pub fn save(state: &State, body: String) -> Result<()> {
    state.storage().sql().exec(
        "insert into state (id, body) values (1, ?) on conflict (id) do update set body = excluded.body",
        vec![body.into()],
    )?;
    Ok(())
}

/// Sends a command to the object of a name and waits `deadline_ms` at most.
///
/// # Errors
/// `SERVICE_UNAVAILABLE` if the object does not answer in time.
pub async fn send_command<A: DeserializeOwned>(
    app: &App,
    class: &Class,
    name: &str,
    command: &impl Serialize,
    deadline_ms: u64,
) -> std::result::Result<A, ApiError> {
    let text = serde_json::to_string(command)
        .map_err(|error| ApiError::internal(format!("{}: {error}", class.label)))?;
    let answer = exchange(app, class, name, &text, deadline_ms).await?;
    serde_json::from_str(&answer).map_err(|error| failed(class, &error.to_string()))
}

async fn exchange(
    app: &App,
    class: &Class,
    name: &str,
    body: &str,
    deadline_ms: u64,
) -> std::result::Result<String, ApiError> {
    let label = format!(r#"class="{}""#, class.label);
    metrics::add("carbon_object_calls_total", &label, 1);
    let sent = async {
        if app.fails("object-hangs") {
            Delay::from(Duration::from_secs(60)).await;
        }
        // No object can parse an empty command.
        let body = if app.fails("object-throws") { "" } else { body };
        fetch(app, class, name, body).await
    };
    match within(deadline_ms, sent).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(class, &error.to_string())),
        Err(error) => Err(failed(class, &error.to_string())),
    }
}

fn failed(class: &Class, why: &str) -> ApiError {
    metrics::dependency_failed(class.label);
    ApiError::unavailable(format!("object {}: {why}", class.label))
}

async fn fetch(app: &App, class: &Class, name: &str, body: &str) -> Result<String> {
    let stub = app.env.durable_object(class.binding)?.get_by_name(name)?;
    // Objects are reached by their binding; the address is a formality.
    let request = request(Method::Post, "https://object/", &[], Some(body))?;
    let mut response = stub.fetch_with_request(request).await?;
    if response.status_code() != 200 {
        let status = response.status_code();
        return Err(worker::Error::RustError(format!("status {status}")));
    }
    response.text().await
}
