//! `carbon-local inbox`: shows the SMS and pushes that would have been sent.
//!
//! Messages live in memory, the newest [`store::CAPACITY`] of each kind. With `INBOX_FILE` they are also written to a
//! file, one JSON object a line, and are there again after a restart.

mod response;
mod store;
mod thaibulksms;

use crate::api_page;
use crate::providers;
use crate::serve;
use crate::settings::Settings;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::Response;
use axum::response::Html;
use axum::routing::get;
use response::{bad_request, done, json_answer};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use store::{Inbox, now, plain_phone};

/// Longest message taken.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// Messages shown on the page.
const SHOWN: usize = 100;

/// Runs the inbox until it is stopped.
pub async fn run(settings: &Settings) -> Result<(), String> {
    let address = settings.required("INBOX_LISTEN")?;
    let inbox = Arc::new(Inbox::open(settings.text("INBOX_FILE").map(Path::new))?);
    let listener = serve::listen(address, "INBOX_LISTEN").await?;
    println!("carbon-local inbox: listening on http://{address}");
    let routes = router(inbox)
        .merge(api_page::router(settings))
        .merge(providers::router(settings)?);
    serve::serve(listener, routes).await
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

#[derive(Deserialize)]
struct NewSms {
    phone: String,
    text: String,
}

async fn take_sms(State(inbox): State<Arc<Inbox>>, body: Bytes) -> Response<Body> {
    let Ok(new) = serde_json::from_slice::<NewSms>(&body) else {
        return bad_request("an SMS is {\"phone\": \"66…\", \"text\": \"…\"}");
    };
    inbox.store_sms(&new.phone, new.text);
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
    let phone = query.phone.as_deref().map(plain_phone);
    let messages = inbox.messages();
    json_answer(
        &messages
            .sms
            .iter()
            .filter(|sms| phone.is_none_or(|phone| sms.phone == phone))
            .collect::<Vec<_>>(),
    )
}

async fn clear(State(inbox): State<Arc<Inbox>>) -> Response<Body> {
    inbox.clear();
    done()
}

async fn take_push(State(inbox): State<Arc<Inbox>>, body: Bytes) -> Response<Body> {
    let Ok(Value::Object(mut push)) = serde_json::from_slice(&body) else {
        return bad_request("a push is a JSON object with user_id");
    };
    push.insert("at".into(), json!(now()));
    inbox.store_push(Value::Object(push));
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
    let matches = |push: &&Value| {
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
            .filter(matches)
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
