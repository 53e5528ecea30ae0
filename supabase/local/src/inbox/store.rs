//! The messages, in memory and in a file.

use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Messages stored of each kind: 1,000 of at most 16 KiB each are 16 MiB.
pub const CAPACITY: usize = 1_000;

/// A text message, as `GET /sms` shows it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sms {
    pub phone: String,
    pub text: String,
    pub code: Option<String>,
    pub at: String,
}

#[derive(Default)]
pub struct Messages {
    pub sms: VecDeque<Sms>,
    pub push: VecDeque<Value>,
}

#[derive(Default)]
pub struct Inbox {
    messages: Mutex<Messages>,
    file: Option<PathBuf>,
}

impl Inbox {
    /// Reads what an earlier run left in the file, and shortens the file to what is stored.
    pub fn open(file: Option<&Path>) -> Result<Self, String> {
        let Some(path) = file else {
            return Ok(Self::default());
        };
        let fault =
            |why: std::io::Error| format!("INBOX_FILE {} cannot be used: {why}", path.display());
        let mut messages = Messages::default();
        let text = if path.exists() {
            std::fs::read_to_string(path).map_err(fault)?
        } else {
            String::new()
        };
        for line in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            match serde_json::from_value::<Sms>(line["sms"].clone()) {
                Ok(sms) => add(&mut messages.sms, sms),
                Err(_) if line["push"].is_object() => add(&mut messages.push, line["push"].clone()),
                Err(_) => {}
            }
        }
        let sms = messages
            .sms
            .iter()
            .rev()
            .map(|sms| json!({ "sms": sms }).to_string() + "\n");
        let push = messages
            .push
            .iter()
            .rev()
            .map(|push| json!({ "push": push }).to_string() + "\n");
        std::fs::write(path, sms.chain(push).collect::<String>()).map_err(fault)?;
        Ok(Self {
            messages: Mutex::new(messages),
            file: Some(path.to_owned()),
        })
    }

    pub fn messages(&self) -> std::sync::MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a text message as if it had been sent.
    pub fn store_sms(&self, phone: &str, text: String) {
        let sms = Sms {
            phone: plain_phone(phone).to_owned(),
            code: code_in(&text),
            text,
            at: now(),
        };
        self.write(&json!({ "sms": sms }));
        add(&mut self.messages().sms, sms);
    }

    pub fn store_push(&self, push: Value) {
        self.write(&json!({ "push": push }));
        add(&mut self.messages().push, push);
    }

    /// Removes all messages, from the file too.
    pub fn clear(&self) {
        *self.messages() = Messages::default();
        if let Some(path) = &self.file
            && let Err(why) = std::fs::write(path, "")
        {
            eprintln!("inbox: cannot empty {}: {why}", path.display());
        }
    }

    fn write(&self, line: &Value) {
        let Some(path) = &self.file else { return };
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        if let Err(why) = file.and_then(|mut file| writeln!(file, "{line}")) {
            eprintln!("inbox: cannot write to {}: {why}", path.display());
        }
    }
}

/// Adds at the front; the oldest goes when there are too many.
fn add<T>(list: &mut VecDeque<T>, message: T) {
    list.push_front(message);
    list.truncate(CAPACITY);
}

/// The code in a text: its first run of four to ten digits.
fn code_in(text: &str) -> Option<String> {
    let runs = text.split(|c: char| !c.is_ascii_digit());
    runs.into_iter()
        .find(|run| (4..=10).contains(&run.len()))
        .map(str::to_owned)
}

pub fn plain_phone(phone: &str) -> &str {
    phone.trim().trim_start_matches('+')
}

/// The time, as messages show it.
pub fn now() -> String {
    Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_first_run_of_four_to_ten_digits() {
        assert_eq!(
            code_in("รหัสของคุณคือ 042137 ใช้ได้ 5 นาที").as_deref(),
            Some("042137")
        );
        assert_eq!(code_in("Code: 1234567890.").as_deref(), Some("1234567890"));
        assert_eq!(code_in("12 345 12345678901"), None);
    }

    #[test]
    fn the_oldest_message_goes_first() {
        let mut list = VecDeque::new();
        (0..CAPACITY + 3).for_each(|n| add(&mut list, n));
        assert_eq!(
            (list.len(), list.front(), list.back()),
            (CAPACITY, Some(&(CAPACITY + 2)), Some(&3))
        );
    }
}
