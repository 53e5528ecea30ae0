//! A double of the SMS provider ThaiBulkSMS, below `/thaibulksms` of the inbox.
//!
//! `POST /sms` takes and answers what the provider's API v2 does; what it "sends" is in the inbox.
//! `POST /answers` orders answers for one number (failures, too), `GET /calls` lists the calls.

use super::response::{bad_request, done, json_answer};
use super::store::Inbox;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The only account: key and secret.
const ACCOUNT: (&str, &str) = ("local-sms-key", "local-sms-secret");
/// The only sender name that it may use.
const SENDER: &str = "CarbonPix";
/// Calls remembered.
const CAPACITY: usize = 1_000;
/// How long a call hangs that shall find no answer in time.
const HANG: Duration = Duration::from_secs(30);

/// An answer that a test can order.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ordered {
    Sent,
    InvalidNumber,
    NoCredit,
    WrongCredentials,
    UnknownSender,
    Throttled,
    Unavailable,
    SystemFailure,
    /// The message goes out, and the answer is a failure all the same.
    SentThenFailure,
    Garbage,
    Hang,
}

#[derive(Clone, Debug, Serialize)]
struct Call {
    phone: String,
    answer: Ordered,
}

#[derive(Default)]
struct Memory {
    ordered: HashMap<String, VecDeque<Ordered>>,
    calls: VecDeque<Call>,
}

struct Provider {
    inbox: Arc<Inbox>,
    memory: Mutex<Memory>,
}

/// The double, whose messages go to the inbox.
pub fn router(inbox: Arc<Inbox>) -> Router {
    let provider = Provider {
        inbox,
        memory: Mutex::default(),
    };
    Router::new()
        .route("/sms", post(send))
        .route("/answers", post(order))
        .route("/calls", get(calls))
        .with_state(Arc::new(provider))
}

impl Provider {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is answered to this call: what was ordered for the number, else what the call deserves.
    fn decide(&self, headers: &HeaderMap, form: &HashMap<String, String>) -> Option<Call> {
        let phone = form.get("msisdn")?.clone();
        form.get("message").filter(|text| !text.is_empty())?;
        let mut memory = self.memory();
        let ordered = memory.ordered.get_mut(&phone).and_then(VecDeque::pop_front);
        let answer = ordered.unwrap_or_else(|| {
            if !is_authorized(headers) {
                Ordered::WrongCredentials
            } else if form.get("sender").is_some_and(|sender| sender != SENDER) {
                Ordered::UnknownSender
            } else if !is_mobile(&phone) {
                Ordered::InvalidNumber
            } else {
                Ordered::Sent
            }
        });
        let call = Call { phone, answer };
        memory.calls.push_front(call.clone());
        memory.calls.truncate(CAPACITY);
        Some(call)
    }
}

fn is_authorized(headers: &HeaderMap) -> bool {
    let expected = STANDARD.encode(format!("{}:{}", ACCOUNT.0, ACCOUNT.1));
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "))
        .is_some_and(|given| given == expected)
}

/// `66812345678`, as the provider writes numbers itself.
fn is_mobile(phone: &str) -> bool {
    phone.len() == 11
        && phone.bytes().all(|byte| byte.is_ascii_digit())
        && ["666", "668", "669"]
            .iter()
            .any(|start| phone.starts_with(start))
}

async fn send(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let Some(call) = provider.decide(&headers, &form) else {
        return failure(400, 2, "ERROR_MISSING_PARAMETER", "Parameter is missing.");
    };
    if matches!(call.answer, Ordered::Sent | Ordered::SentThenFailure) {
        let text = form.get("message").cloned().unwrap_or_default();
        provider.inbox.store_sms(&call.phone, text);
    }
    if call.answer == Ordered::Hang {
        tokio::time::sleep(HANG).await;
    }
    answer(&call)
}

/// What the provider says. Shape and `ERROR_SYSTEM_FAILURE` are its own; the other names stand for
/// errors that it documents by their meaning only.
fn answer(call: &Call) -> Response<Body> {
    match call.answer {
        Ordered::Sent | Ordered::Hang => lists(
            &[
                json!({"number": call.phone, "message_id": "VtznKfqHUjmDCysZyOZDQX", "used_credit": 1}),
            ],
            &[],
        ),
        Ordered::InvalidNumber => lists(
            &[],
            &[json!({"number": call.phone, "message": "Phone number is invalid."})],
        ),
        Ordered::NoCredit => failure(400, 3, "ERROR_NOT_ENOUGH_CREDIT", "Credit is not enough."),
        Ordered::WrongCredentials => failure(401, 4, "ERROR_AUTHENTICATION", "API key is invalid."),
        Ordered::UnknownSender => failure(400, 5, "ERROR_INVALID_SENDER", "Sender is invalid."),
        Ordered::Throttled => {
            let mut response = failure(429, 6, "ERROR_TOO_MANY_REQUESTS", "Too many requests.");
            let one = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, one);
            response
        }
        Ordered::Unavailable => with_status(503, Response::new(Body::from("<h1>503</h1>"))),
        Ordered::SystemFailure | Ordered::SentThenFailure => {
            failure(500, 1, "ERROR_SYSTEM_FAILURE", "System Failure.")
        }
        Ordered::Garbage => Response::new(Body::from("<html>Hello</html>")),
    }
}

fn lists(good: &[Value], bad: &[Value]) -> Response<Body> {
    json_answer(&json!({
        "remaining_credit": 156_758,
        "total_use_credit": good.len(),
        "credit_type": "corporate",
        "phone_number_list": good,
        "bad_phone_number_list": bad,
    }))
}

fn failure(status: u16, code: u32, name: &str, description: &str) -> Response<Body> {
    let error = json!({"code": code, "name": name, "description": description});
    with_status(status, json_answer(&json!({ "error": error })))
}

fn with_status(status: u16, mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

#[derive(Deserialize)]
struct Order {
    phone: String,
    answers: VecDeque<Ordered>,
}

async fn order(State(provider): State<Arc<Provider>>, body: Bytes) -> Response<Body> {
    let Ok(order) = serde_json::from_slice::<Order>(&body) else {
        return bad_request("an order is {\"phone\": \"66…\", \"answers\": [\"throttled\", …]}");
    };
    provider.memory().ordered.insert(order.phone, order.answers);
    done()
}

#[derive(Deserialize)]
struct OfPhone {
    phone: String,
}

async fn calls(State(provider): State<Arc<Provider>>, Query(of): Query<OfPhone>) -> Response<Body> {
    let memory = provider.memory();
    let calls: Vec<&Call> = memory
        .calls
        .iter()
        .filter(|call| call.phone == of.phone)
        .collect();
    json_answer(&calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str = "66812345678";

    fn provider() -> Arc<Provider> {
        Arc::new(Provider {
            inbox: Arc::new(Inbox::default()),
            memory: Mutex::default(),
        })
    }

    async fn ask(provider: &Arc<Provider>, key: &str, form: &str) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        let basic = format!("Basic {}", STANDARD.encode(key));
        headers.insert(header::AUTHORIZATION, basic.parse().unwrap());
        let response = send(State(provider.clone()), headers, form.to_owned().into()).await;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 65_536)
            .await
            .unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    const KEY: &str = "local-sms-key:local-sms-secret";

    #[tokio::test]
    async fn calls_are_answered_by_what_is_in_them() {
        let provider = provider();
        let good = format!("msisdn={PHONE}&message=a%20b&sender=CarbonPix&force=corporate");
        let (status, body) = ask(&provider, KEY, &good).await;
        assert_eq!(
            (status, &body["phone_number_list"][0]["number"]),
            (200, &json!(PHONE))
        );
        for (key, form, status, what) in [
            ("a:b", good.as_str(), 401, "ERROR_AUTHENTICATION"),
            (KEY, "msisdn=66812345678", 400, "ERROR_MISSING_PARAMETER"),
            (
                KEY,
                "msisdn=66812345678&message=x&sender=Nobody",
                400,
                "ERROR_INVALID_SENDER",
            ),
        ] {
            let (found, body) = ask(&provider, key, form).await;
            assert_eq!((found, &body["error"]["name"]), (status, &json!(what)));
        }
        let (status, body) = ask(&provider, KEY, "msisdn=6621234567&message=x").await;
        assert_eq!(status, 200);
        assert_eq!(body["bad_phone_number_list"][0]["number"], "6621234567");
    }

    #[tokio::test]
    async fn ordered_answers_come_first_and_are_used_up() {
        let provider = provider();
        let wish = json!({"phone": PHONE, "answers": ["throttled", "sent_then_failure"]});
        let answer = order(State(provider.clone()), wish.to_string().into()).await;
        assert_eq!(answer.status(), 204);
        let form = format!("msisdn={PHONE}&message=x");
        for status in [429, 500, 200] {
            assert_eq!(ask(&provider, KEY, &form).await.0, status);
        }
        let seen: Vec<Ordered> = provider
            .memory()
            .calls
            .iter()
            .map(|call| call.answer)
            .collect();
        let expected = [Ordered::Sent, Ordered::SentThenFailure, Ordered::Throttled];
        assert_eq!(seen, expected);
        let refused = order(State(provider), "{}".into()).await;
        assert_eq!(refused.status(), 400);
    }
}
