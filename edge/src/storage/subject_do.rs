//! The Durable Object of one limited subject: stores [`SubjectState`] and applies commands to it, one
//! at a time. It never calls anybody.

#![expect(
    missing_docs,
    reason = "the macro of a Durable Object writes public functions without comments"
)]

use std::cell::RefCell;

use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

use super::object::{self, Class};
use super::subject_state::{Command, SubjectReply, SubjectState};
use crate::app::App;
use crate::clients::OBJECT_DEADLINE_MS;
use crate::clock::now_ms;
use crate::error::ApiError;

const CLASS: Class = Class {
    binding: "SUBJECTS",
    label: "subject",
};

/// One subject.
#[durable_object(alarm)]
pub struct Subject {
    state: State,
    /// What is stored, while the object lives; nothing after a failure.
    memory: RefCell<Option<SubjectState>>,
}

impl DurableObject for Subject {
    fn new(state: State, _env: Env) -> Self {
        Self {
            state,
            memory: RefCell::default(),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let command: Command = serde_json::from_str(&request.text().await?)?;
        let (answer, alarm_in_ms) = self.apply(command, now_ms())?;
        if let Some(offset_ms) = alarm_in_ms {
            self.state.storage().set_alarm(offset_ms).await?;
        }
        Response::from_json(&answer)
    }

    async fn alarm(&self) -> Result<Response> {
        self.memory.take();
        let now_ms = now_ms();
        let mut subject: SubjectState = object::load(&self.state)?;
        let storage = self.state.storage();
        match subject.after_alarm(now_ms) {
            None => storage.delete_all().await?,
            Some(at_ms) => {
                object::save(&self.state, serde_json::to_string(&subject)?)?;
                storage.set_alarm(at_ms - now_ms).await?;
            }
        }
        Response::empty()
    }
}

impl Subject {
    /// The answer, and in how many milliseconds an alarm is to ring. Nothing in here waits, so no
    /// other request comes between reading and writing.
    fn apply(&self, command: Command, now_ms: i64) -> Result<(SubjectReply, Option<i64>)> {
        let mut subject = match self.memory.take() {
            Some(subject) => subject,
            None => object::load(&self.state)?,
        };
        let answer = subject.apply(command, now_ms);
        let mut alarm_in_ms = None;
        if answer == SubjectReply::Counted {
            alarm_in_ms = subject.alarm_to_set(now_ms).map(|at_ms| at_ms - now_ms);
            object::save(&self.state, serde_json::to_string(&subject)?)?;
        }
        self.memory.replace(Some(subject));
        Ok((answer, alarm_in_ms))
    }
}

/// Sends a command to a subject.
///
/// # Errors
/// `SERVICE_UNAVAILABLE` if the object does not answer in time: a request that cannot be counted is refused.
pub async fn send_command(
    app: &App,
    name: &str,
    command: &Command,
) -> std::result::Result<SubjectReply, ApiError> {
    object::send_command(app, &CLASS, name, command, OBJECT_DEADLINE_MS).await
}
