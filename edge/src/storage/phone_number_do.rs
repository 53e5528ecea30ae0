//! The Durable Object of one phone number: stores [`NumberState`] and applies commands to it, one at
//! a time. It never calls anybody, so no command waits for Auth or for the SMS hook.

#![expect(
    missing_docs,
    reason = "the macro of a Durable Object writes public functions without comments"
)]

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

use super::number_protocol::{Command, NumberReply};
use super::number_state::NumberState;
use super::object::{self, Class};
use crate::app::App;
use crate::clients::OBJECT_DEADLINE_MS;
use crate::clock::now_ms;
use crate::error::ApiError;

const CLASS: Class = Class {
    binding: "PHONE_NUMBERS",
    label: "phone_number",
};

/// One number.
#[durable_object(alarm)]
pub struct PhoneNumber {
    state: State,
}

impl DurableObject for PhoneNumber {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let command: Command = serde_json::from_str(&request.text().await?)?;
        let reads_only = matches!(command, Command::CanBegin { .. });
        let mut number: NumberState = object::load(&self.state)?;
        let answer = number.apply(command, now_ms());
        // A number without state has no row, and reading it makes none.
        if !reads_only || number.is_empty() {
            self.save(&number).await?;
        }
        Response::from_json(&answer)
    }

    async fn alarm(&self) -> Result<Response> {
        let mut number: NumberState = object::load(&self.state)?;
        number.forget_old(now_ms());
        self.save(&number).await?;
        Response::empty()
    }
}

impl PhoneNumber {
    async fn save(&self, number: &NumberState) -> Result<()> {
        let storage = self.state.storage();
        if number.is_empty() {
            return storage.delete_all().await;
        }
        object::save(&self.state, serde_json::to_string(number)?)?;
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
pub async fn send_command(
    app: &App,
    number: &str,
    command: &Command,
) -> std::result::Result<NumberReply, ApiError> {
    object::send_command(app, &CLASS, number, command, OBJECT_DEADLINE_MS).await
}
