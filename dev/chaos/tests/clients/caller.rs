//! One device of a user: calls the Worker or REST, and repeats each call until it has a definite reply.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use carbon_tests::system::IDLE;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::life::World;

/// The contract's 10 s and some for the way there and back; after it the call counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(12);
/// No service is unavailable for longer than this in all, even if several fail one after the other.
const GIVE_UP: Duration = Duration::from_secs(180);

/// The interface that a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The Worker's API; the body of a success is its `data`.
    Edge,
    /// PostgREST through the gateway.
    Rest,
}

/// A definite reply.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
    /// Whether an earlier try of the same call had no definite reply: it may have been carried out.
    pub again: bool,
}

impl Reply {
    pub fn is_ok(&self) -> bool {
        self.status < 300
    }
}

/// A call.
#[derive(Debug)]
pub struct Request {
    pub way: Way,
    pub method: &'static str,
    pub route: String,
    pub body: Value,
    pub idempotency_key: Option<String>,
}

impl Request {
    pub fn new(way: Way, method: &'static str, route: impl Into<String>, body: Value) -> Self {
        Self {
            way,
            method,
            route: route.into(),
            body,
            idempotency_key: None,
        }
    }

    /// With an `Idempotency-Key`.
    pub fn with_key(self, key: &str) -> Self {
        Self {
            idempotency_key: Some(key.to_owned()),
            ..self
        }
    }
}

/// The caller: a user with a token, or a signed-out visitor.
pub struct Caller {
    pub world: Arc<World>,
    pub rng: StdRng,
    http: reqwest::Client,
    token: Option<String>,
}

impl Caller {
    pub fn new(world: Arc<World>, seed: u64, token: Option<String>) -> Self {
        Self {
            world,
            rng: StdRng::seed_from_u64(seed),
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .pool_idle_timeout(IDLE)
                .build()
                .expect("an HTTP client"),
            token,
        }
    }

    /// Opens a session of a new anonymous user and returns its access token.
    pub async fn sign_in(&mut self) -> String {
        let device = json!({ "device_id": "chaos", "platform": "web", "app_version": "1.0.0" });
        let request = Request::new(
            Way::Edge,
            "POST",
            "/auth/anonymous",
            json!({ "device_info": device }),
        );
        let reply = self.call(&request).await;
        reply.body["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("a session: {reply:?}"))
            .to_owned()
    }

    /// Signs a new number in with the code in the inbox; None when the message was lost with the inbox.
    pub async fn sign_in_by_phone(&mut self) -> Option<Reply> {
        let (digits, otp_id) = loop {
            // Each try has its own number: a try without an answer may have sent a message that is still on its way.
            let digits = format!("8{:08}", self.rng.random_range(0..100_000_000));
            let body = json!({ "phone_number": format!("0{digits}") });
            let request = Request::new(Way::Edge, "POST", "/auth/phone-otp", body);
            if let Some((200, requested)) = self.once(&request).await {
                break (digits, requested["otp_id"].clone());
            }
            self.world.report.retried();
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        let code = self.code_for(&digits).await?;
        let device = json!({ "device_id": "chaos", "platform": "web", "app_version": "1.0.0" });
        let body = json!({ "otp_id": otp_id, "otp_code": code, "device_info": device });
        Some(
            self.call(&Request::new(Way::Edge, "POST", "/auth/verify-otp", body))
                .await,
        )
    }

    async fn code_for(&self, digits: &str) -> Option<String> {
        let url = format!("{}/sms?phone=66{digits}", self.world.system.inbox_url);
        for _ in 0..30 {
            if let Ok(response) = self.http.get(&url).send().await
                && let Ok(text) = response.text().await
                && let Ok(messages) = serde_json::from_str::<Value>(&text)
                && let Some(code) = messages[0]["code"].as_str()
            {
                return Some(code.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    /// Repeats the call until it has a definite reply.
    pub async fn call(&mut self, request: &Request) -> Reply {
        let begun = Instant::now();
        let mut again = false;
        loop {
            if let Some((status, body)) = self.once(request).await {
                return Reply {
                    status,
                    body,
                    again,
                };
            }
            again = true;
            self.world.report.retried();
            assert!(begun.elapsed() < GIVE_UP, "no answer to {request:?}");
            let pause = self.rng.random_range(200..900);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One try; None when it is unknown whether it was carried out.
    async fn once(&mut self, request: &Request) -> Option<(u16, Value)> {
        let begun_ms = now_ms();
        let begun = Instant::now();
        let outcome = self.exchange(request).await;
        let report = &self.world.report;
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                report.unanswered(request, begun_ms, begun.elapsed(), &error);
                return None;
            }
        };
        report.answered(request, begun_ms, begun.elapsed(), answer.status);
        if answer.status < 500 && answer.status != 429 {
            return Some((answer.status, answer.body));
        }
        if let Some(wrong) = answer.wrong(request.way) {
            report.wrong(format!("{} {}: {wrong}", request.method, request.route));
        }
        None
    }

    async fn exchange(&self, request: &Request) -> Result<HttpReply, reqwest::Error> {
        let system = &self.world.system;
        let url = match request.way {
            Way::Edge => format!("{}/api/v1{}", system.api_url, request.route),
            Way::Rest => format!("{}/rest/v1/{}", system.supabase_url, request.route),
        };
        let method = request.method.parse().expect("a method");
        let mut call = self.http.request(method, url);
        if let Some(token) = &self.token {
            call = call.bearer_auth(token);
        }
        if let Some(key) = &request.idempotency_key {
            call = call.header("idempotency-key", key);
        }
        if request.way == Way::Rest {
            call = call
                .header("apikey", &system.anon_key)
                .header("prefer", "return=representation");
        }
        if !request.body.is_null() {
            call = call.json(&request.body);
        }
        let response = call.send().await?;
        let status = response.status().as_u16();
        let retry_after = response.headers().contains_key("retry-after");
        let text = response.text().await?;
        let mut body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if request.way == Way::Edge && status < 300 {
            body = body["data"].take();
        }
        Ok(HttpReply {
            status,
            body,
            retry_after,
        })
    }
}

struct HttpReply {
    status: u16,
    body: Value,
    retry_after: bool,
}

impl HttpReply {
    /// The error of a reply that requests a retry: only these replies may, and only with Retry-After.
    fn wrong(&self, way: Way) -> Option<String> {
        let right_code = way == Way::Rest || self.body["error"]["code"] == "SERVICE_UNAVAILABLE";
        if self.status == 503 && self.retry_after && right_code {
            return None;
        }
        let token = match way {
            Way::Edge => &self.body["error"]["details"]["reason"],
            Way::Rest => &self.body["details"],
        };
        let is_twin_running = token == "already_running" || token == "carbon.already_running";
        if self.status == 429 && self.retry_after && is_twin_running {
            return None;
        }
        Some(format!(
            "{} (Retry-After: {}) {}",
            self.status, self.retry_after, self.body
        ))
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
