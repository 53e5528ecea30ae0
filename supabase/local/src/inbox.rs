//! `carbon-local inbox`: shows the SMS and pushes that would have been sent.
//!
//! Messages live in memory, the newest [`CAPACITY`] of each kind. With `INBOX_FILE` they are also written to a
//! file, one JSON object a line, and are there again after a restart.

use crate::api_page;
use crate::serve;
use crate::settings::Settings;
use crate::thaibulksms;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::Html;
use axum::routing::get;
use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Messages kept of each kind: 1,000 of at most 16 KiB each are 16 MiB.
const CAPACITY: usize = 1_000;
/// Longest message taken.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// Messages shown on the page.
const SHOWN: usize = 100;

/// A text message, as `GET /sms` shows it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Sms {
    phone: String,
    text: String,
    code: Option<String>,
    at: String,
}

#[derive(Default)]
struct Messages {
    sms: VecDeque<Sms>,
    push: VecDeque<Value>,
}

/// The inbox.
#[derive(Default)]
pub struct Inbox {
    messages: Mutex<Messages>,
    file: Option<PathBuf>,
}

/// Runs the inbox until it is told to stop.
pub async fn run(settings: &Settings) -> Result<(), String> {
    let address = settings.required("INBOX_LISTEN")?;
    let inbox = Arc::new(Inbox::open(settings.text("INBOX_FILE").map(Path::new))?);
    let listener = serve::listen(address, "INBOX_LISTEN").await?;
    println!("carbon-local inbox: listening on http://{address}");
    serve::serve(listener, router(inbox).merge(api_page::router(settings))).await
}

fn router(inbox: Arc<Inbox>) -> Router {
    let provider = thaibulksms::router(inbox.clone());
    Router::new()
        .route("/", get(page))
        .route(
            "/health",
            get(|| async { json_answer(&json!({ "status": "ok" })) }),
        )
        .route("/sms", get(list_sms).post(take_sms).delete(clear))
        .route("/push", get(list_push).post(take_push))
        .with_state(inbox)
        .nest("/thaibulksms", provider)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

impl Inbox {
    /// Reads what an earlier run left in the file, and shortens the file to what is kept.
    fn open(file: Option<&Path>) -> Result<Self, String> {
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

    fn messages(&self) -> std::sync::MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a text message as if it had been sent.
    pub fn keep_sms(&self, phone: &str, text: String) {
        let sms = Sms {
            phone: plain_phone(phone).to_owned(),
            code: code_in(&text),
            text,
            at: Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        };
        self.write(&json!({ "sms": sms }));
        add(&mut self.messages().sms, sms);
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

fn plain_phone(phone: &str) -> &str {
    phone.trim().trim_start_matches('+')
}

pub fn json_answer(body: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(body).unwrap_or_else(|_| "null".into());
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

pub fn bad_request(message: &str) -> Response<Body> {
    let mut response = json_answer(&json!({ "message": message }));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

pub fn done() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

#[derive(Deserialize)]
struct NewSms {
    phone: String,
    text: String,
}

async fn take_sms(State(inbox): State<Arc<Inbox>>, body: Bytes) -> Response<Body> {
    let Ok(new) = serde_json::from_slice::<NewSms>(&body) else {
        return bad_request("an SMS is {\"phone\": \"66…\", \"text\": \"…\"}");
    };
    inbox.keep_sms(&new.phone, new.text);
    done()
}

#[derive(Deserialize)]
struct SmsQuery {
    phone: Option<String>,
}

async fn list_sms(
    State(inbox): State<Arc<Inbox>>,
    Query(query): Query<SmsQuery>,
) -> Response<Body> {
    // A "+" in a query string reads as a space, which is trimmed.
    let wanted = query.phone.as_deref().map(plain_phone);
    let messages = inbox.messages();
    json_answer(
        &messages
            .sms
            .iter()
            .filter(|sms| wanted.is_none_or(|phone| sms.phone == phone))
            .collect::<Vec<_>>(),
    )
}

async fn clear(State(inbox): State<Arc<Inbox>>) -> Response<Body> {
    *inbox.messages() = Messages::default();
    if let Some(path) = &inbox.file
        && let Err(why) = std::fs::write(path, "")
    {
        eprintln!("inbox: cannot empty {}: {why}", path.display());
    }
    done()
}

async fn take_push(State(inbox): State<Arc<Inbox>>, body: Bytes) -> Response<Body> {
    let Ok(Value::Object(mut push)) = serde_json::from_slice(&body) else {
        return bad_request("a push is a JSON object with user_id");
    };
    push.insert(
        "at".into(),
        json!(Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
    );
    let push = Value::Object(push);
    inbox.write(&json!({ "push": push }));
    add(&mut inbox.messages().push, push);
    done()
}

#[derive(Deserialize)]
struct PushQuery {
    user_id: Option<String>,
}

async fn list_push(
    State(inbox): State<Arc<Inbox>>,
    Query(query): Query<PushQuery>,
) -> Response<Body> {
    let wanted = |push: &&Value| {
        query
            .user_id
            .as_deref()
            .is_none_or(|id| push["user_id"] == id)
    };
    json_answer(
        &inbox
            .messages()
            .push
            .iter()
            .filter(wanted)
            .collect::<Vec<_>>(),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

async fn page(State(inbox): State<Arc<Inbox>>) -> Html<String> {
    let messages = inbox.messages();
    let mut rows = String::new();
    for sms in messages.sms.iter().take(SHOWN) {
        let (at, phone, text) = (escaped(&sms.at), escaped(&sms.phone), escaped(&sms.text));
        let _ = write!(rows, "<tr><td>{at}<td>SMS<td>{phone}<td>{text}");
    }
    for push in messages.push.iter().take(SHOWN) {
        let (at, user) = (&push["at"], &push["user_id"]);
        let (at, user) = (
            at.as_str().unwrap_or_default(),
            user.as_str().unwrap_or_default(),
        );
        let _ = write!(
            rows,
            "<tr><td>{}<td>Push<td>{}<td>{}",
            escaped(at),
            escaped(user),
            escaped(&push.to_string())
        );
    }
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"3\">\
         <title>Inbox</title><style>body{{font:16px system-ui;margin:2rem}}td{{padding:.3rem .8rem;\
         border-bottom:1px solid #ddd}}</style><h1>What would have been sent</h1><p><a href=\"/api\">The API</a></p>\
         <table><tr><th>When<th>What<th>To<th>Text{rows}</table>"
    ))
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

    #[tokio::test]
    async fn messages_are_listed_newest_first_and_survive_in_the_file() {
        let path =
            std::env::temp_dir().join(format!("carbon-inbox-{}.jsonl", uuid::Uuid::new_v4()));
        let inbox = Arc::new(Inbox::open(Some(&path)).unwrap());
        for text in ["first 1111", "second 2222"] {
            let body = json!({ "phone": "+66812345678", "text": text }).to_string();
            assert_eq!(
                take_sms(State(inbox.clone()), body.into()).await.status(),
                204
            );
        }
        take_push(
            State(inbox.clone()),
            r#"{"user_id":"u","title":"<b>"}"#.into(),
        )
        .await;
        assert_eq!(
            take_sms(State(inbox.clone()), "{}".into()).await.status(),
            400
        );
        let again = Inbox::open(Some(&path)).unwrap();
        let codes: Vec<_> = again
            .messages()
            .sms
            .iter()
            .map(|sms| sms.code.clone().unwrap())
            .collect();
        assert_eq!(codes, ["2222", "1111"]);
        assert_eq!(again.messages().sms[0].phone, "66812345678");
        assert_eq!(again.messages().push[0]["user_id"], "u");
        assert!(page(State(inbox)).await.0.contains("&lt;b&gt;"));
        std::fs::remove_file(path).unwrap();
    }
}
