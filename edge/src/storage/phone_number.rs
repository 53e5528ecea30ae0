//! The Durable Object of one phone number: stores [`NumberState`] and applies commands to it, one at
//! a time. It never calls anybody, so no command waits for Auth or for the SMS hook.

use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::{
    DurableObject, Env, Headers, Method, Request, RequestInit, Response, Result, State,
    durable_object,
};

use super::number_state::{Answer, Command, NumberState};
use crate::call::{App, now_ms};
use crate::clients::{DEADLINE_MS, within};
use crate::error::ApiError;

/// The name of the binding.
const BINDING: &str = "PHONE_NUMBERS";

/// One number.
#[durable_object(alarm)]
pub struct PhoneNumber {
    state: State,
}

#[derive(Deserialize)]
struct Row {
    body: String,
}

impl DurableObject for PhoneNumber {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let command: Command = serde_json::from_str(&request.text().await?)?;
        let mut number = self.load()?;
        let answer = number.apply(command, now_ms());
        self.save(&number).await?;
        Response::from_json(&answer)
    }

    async fn alarm(&self) -> Result<Response> {
        let mut number = self.load()?;
        number.forget_old(now_ms());
        self.save(&number).await?;
        Response::empty()
    }
}

impl PhoneNumber {
    fn load(&self) -> Result<NumberState> {
        let sql = self.state.storage().sql();
        sql.exec(
            "create table if not exists number (id integer primary key, body text not null)",
            None,
        )?;
        let rows: Vec<Row> = sql
            .exec("select body from number where id = 1", None)?
            .to_array()?;
        match rows.first() {
            Some(row) => Ok(serde_json::from_str(&row.body)?),
            None => Ok(NumberState::default()),
        }
    }

    async fn save(&self, number: &NumberState) -> Result<()> {
        let storage = self.state.storage();
        if number.is_empty() {
            return storage.delete_all().await;
        }
        let body = serde_json::to_string(number)?;
        storage.sql().exec(
            "insert into number (id, body) values (1, ?) on conflict (id) do update set body = excluded.body",
            vec![body.into()],
        )?;
        match number.next_cleaning_ms() {
            Some(at_ms) => storage.set_alarm(at_ms - now_ms()).await,
            None => Ok(()),
        }
    }
}

/// Sends a command to the object of a number.
///
/// # Errors
/// `SERVICE_UNAVAILABLE` if the object does not answer in time.
pub async fn ask(
    app: &App,
    number: &str,
    command: &Command,
) -> std::result::Result<Answer, ApiError> {
    match within(DEADLINE_MS, exchange(app, number, command)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ApiError::unavailable(format!("number's object: {error}"))),
        Err(outage) => Err(ApiError::unavailable(format!("number's object: {outage}"))),
    }
}

async fn exchange(app: &App, number: &str, command: &Command) -> Result<Answer> {
    let stub = app.env.durable_object(BINDING)?.get_by_name(number)?;
    let headers = Headers::new();
    headers.set("content-type", "application/json")?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_headers(headers);
    init.with_body(Some(JsValue::from_str(&serde_json::to_string(command)?)));
    // Objects are reached by their binding; the address is a formality.
    let request = Request::new_with_init("https://number/", &init)?;
    let mut response = stub.fetch_with_request(request).await?;
    if response.status_code() != 200 {
        return Err(worker::Error::RustError(format!(
            "status {}",
            response.status_code()
        )));
    }
    Ok(serde_json::from_str(&response.text().await?)?)
}
