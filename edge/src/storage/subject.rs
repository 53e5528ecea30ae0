//! The Durable Object of one limited subject: stores [`SubjectState`] and applies commands to it, one
//! at a time. It never calls anybody.

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

use super::object::{self, Class};
use super::subject_state::{Answer, Command, SubjectState};
use crate::call::{App, now_ms};
use crate::clients::OBJECT_DEADLINE_MS;
use crate::error::ApiError;

const CLASS: Class = Class {
    binding: "SUBJECTS",
    label: "subject",
};

/// One subject.
#[durable_object(alarm)]
pub struct Subject {
    state: State,
}

impl DurableObject for Subject {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let command: Command = serde_json::from_str(&request.text().await?)?;
        // From here to the write nothing waits, so no other request comes between.
        let mut subject: SubjectState = object::load(&self.state)?;
        let answer = subject.apply(command, now_ms());
        if answer == Answer::Counted {
            self.save(&mut subject).await?;
        }
        Response::from_json(&answer)
    }

    async fn alarm(&self) -> Result<Response> {
        let mut subject: SubjectState = object::load(&self.state)?;
        subject.forget_old(now_ms());
        if subject.is_empty() {
            self.state.storage().delete_all().await?;
        } else {
            self.save(&mut subject).await?;
        }
        Response::empty()
    }
}

impl Subject {
    async fn save(&self, subject: &mut SubjectState) -> Result<()> {
        let now_ms = now_ms();
        let alarm = subject.alarm_to_set(now_ms);
        object::save(&self.state, serde_json::to_string(subject)?)?;
        match alarm {
            Some(at_ms) => self.state.storage().set_alarm(at_ms - now_ms).await,
            None => Ok(()),
        }
    }
}

/// Sends a command to a subject.
///
/// # Errors
/// `SERVICE_UNAVAILABLE` if the object does not answer in time: whoever cannot be counted is not let in.
pub async fn ask(
    app: &App,
    name: &str,
    command: &Command,
) -> std::result::Result<Answer, ApiError> {
    object::ask(app, &CLASS, name, command, OBJECT_DEADLINE_MS).await
}
