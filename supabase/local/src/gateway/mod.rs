//! `carbon-local gateway`: the origin's front door. It checks keys, keeps the list of what is open without the
//! Worker's secret, caps bodies, cleans headers and passes requests on, and Realtime's WebSockets both ways.

mod body;
mod headers;
mod keys;
mod outage;
mod rules;
#[cfg(test)]
mod tests;
mod websocket;

use crate::outbound::{self, HttpClient};
use crate::serve;
use crate::settings::Settings;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use keys::Keys;
use rules::{Denial, Passage, Upstream};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Time for a client to send its body: 21 MiB at 8 Mbit/s take 22 s.
const BODY_TIMEOUT_SECS: u64 = 30;
/// Time for an upstream to begin its answer, so that a client has one within 10 s whatever hangs. The database ends
/// the statements of client roles after 3 s and 8 s.
const ANSWER_TIMEOUT_SECS: u64 = 9;
/// The same for the service role, whose statements have no end of their own.
const SERVICE_ANSWER_TIMEOUT_SECS: u64 = 30;
/// After this a client may come again when an upstream is down.
const RETRY_AFTER_SECS: &str = "2";

const TOO_LARGE: Denial = Denial::new(413, "body_too_large", "The request body is too large");
const SLOW_BODY: Denial = Denial::new(
    408,
    "body_timeout",
    "The request body did not arrive in time",
);
const BROKEN_BODY: Denial = Denial::new(400, "body_broken", "The request body could not be read");
const DOWN: Denial = Denial::new(
    503,
    "upstream_unavailable",
    "The service behind the gateway is not available",
);
const SLOW: Denial = Denial::new(
    503,
    "upstream_timeout",
    "The service behind the gateway did not answer in time",
);
const NO_REALTIME: Denial = Denial::new(
    503,
    "realtime_unavailable",
    "No Realtime server is configured",
);
/// The gateway.
struct Gateway {
    keys: Keys,
    client: HttpClient,
    rest: String,
    auth: String,
    realtime: Option<String>,
}

/// Runs the gateway until it is told to stop.
pub async fn run(settings: &Settings) -> Result<(), String> {
    let address = settings.required("GATEWAY_LISTEN")?;
    let gateway = Gateway::new(settings)?;
    let listener = serve::listen(address, "GATEWAY_LISTEN").await?;
    println!("carbon-local gateway: listening on http://{address}");
    serve::serve(listener, router(gateway)).await
}

fn router(gateway: Gateway) -> Router {
    Router::new().fallback(handle).with_state(Arc::new(gateway))
}

impl Gateway {
    fn new(settings: &Settings) -> Result<Self, String> {
        let base = |name: &str, value: &str| {
            let uri: Uri = value
                .parse()
                .map_err(|_| format!("{name} is not an address: {value:?}"))?;
            match uri.scheme_str() {
                Some("http") => Ok(value.trim_end_matches('/').to_owned()),
                _ => Err(format!("{name} must begin with http://")),
            }
        };
        let required = |name: &str| base(name, settings.required(name)?);
        Ok(Self {
            keys: Keys::read(settings)?,
            client: outbound::client(),
            rest: required("REST_UPSTREAM")?,
            auth: required("AUTH_UPSTREAM")?,
            realtime: settings
                .text("REALTIME_UPSTREAM")
                .map(|value| base("REALTIME_UPSTREAM", value))
                .transpose()?,
        })
    }

    fn base(&self, upstream: Upstream) -> Result<&str, Denial> {
        match upstream {
            Upstream::Rest => Ok(&self.rest),
            Upstream::Auth => Ok(&self.auth),
            Upstream::Realtime => self.realtime.as_deref().ok_or(NO_REALTIME),
        }
    }

    async fn pass(&self, request: Request) -> Result<Response<Body>, Denial> {
        let (mut parts, body) = request.into_parts();
        let worker = self.keys.is_worker(&parts.headers);
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let passage = rules::judge(parts.method.as_str(), path, query, worker)?;
        let authorization = match self
            .keys
            .authorization(&parts.headers, passage.query_key.as_deref())
        {
            Err(_) if passage.keyless => String::new(),
            other => other?,
        };
        let base = self.base(passage.upstream)?;
        if websocket::is_asked_for(&parts.method, &parts.headers, passage.upstream)? {
            let client = parts.extensions.remove();
            let mut passage = passage;
            passage.target = websocket::without_key(&passage.target);
            let onward = self.onward(
                &parts,
                &passage,
                base,
                &authorization,
                worker,
                &Bytes::new(),
            )?;
            return self.connect(client, onward, &authorization).await;
        }
        let body = read_body(&parts.headers, body, passage.max_body_bytes).await?;
        let request = self.onward(&parts, &passage, base, &authorization, worker, &body)?;
        let timeout_secs = if self.keys.is_service(&authorization) {
            SERVICE_ANSWER_TIMEOUT_SECS
        } else {
            ANSWER_TIMEOUT_SECS
        };
        let (mut head, body) = self.ask(request, timeout_secs).await?.into_parts();
        head.headers = headers::for_client(head.headers);
        let answer = Response::from_parts(head, Body::new(body));
        Ok(outage::translate(passage.upstream, answer).await)
    }

    async fn ask(&self, request: Request, timeout_secs: u64) -> Result<Response<Incoming>, Denial> {
        let limit = Duration::from_secs(timeout_secs);
        let answer = tokio::time::timeout(limit, self.client.request(request));
        answer.await.map_err(|_| SLOW)?.map_err(|_| DOWN)
    }

    /// Passes a WebSocket on; it lasts as long as both sides want it to.
    async fn connect(
        &self,
        client: Option<OnUpgrade>,
        mut request: Request,
        authorization: &str,
    ) -> Result<Response<Body>, Denial> {
        let key = authorization.strip_prefix("Bearer ").unwrap_or_default();
        websocket::prepare(&mut request, key);
        let answer = self.ask(request, ANSWER_TIMEOUT_SECS).await?;
        Ok(websocket::join(client, answer, headers::for_client))
    }

    fn onward(
        &self,
        parts: &Parts,
        passage: &Passage,
        base: &str,
        authorization: &str,
        worker: bool,
        body: &Bytes,
    ) -> Result<Request, Denial> {
        let types: Vec<&str> = parts
            .headers
            .get_all(header::CONTENT_TYPE)
            .iter()
            .map(|value| value.to_str().unwrap_or_default())
            .collect();
        let body = match passage.judge_body(&types, body)? {
            std::borrow::Cow::Borrowed([]) => Bytes::new(),
            std::borrow::Cow::Borrowed(_) => body.clone(),
            std::borrow::Cow::Owned(rewritten) => rewritten.into(),
        };
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip());
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let target: Uri = format!("{base}{}", passage.target)
            .parse()
            .map_err(|_| BROKEN_BODY)?;
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = target;
        *request.headers_mut() = headers::for_upstream(&parts.headers, authorization, peer, worker);
        Ok(request)
    }
}

/// Reads the body whole, counting what arrives whatever was announced.
async fn read_body(headers: &HeaderMap, body: Body, max_bytes: usize) -> Result<Bytes, Denial> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        return Err(TOO_LARGE);
    }
    let read = tokio::time::timeout(
        Duration::from_secs(BODY_TIMEOUT_SECS),
        Limited::new(body, max_bytes).collect(),
    );
    match read.await {
        Err(_) => Err(SLOW_BODY),
        Ok(Err(why)) if why.is::<LengthLimitError>() => Err(TOO_LARGE),
        Ok(Err(_)) => Err(BROKEN_BODY),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

async fn handle(State(gateway): State<Arc<Gateway>>, request: Request) -> Response<Body> {
    if request.method() == Method::OPTIONS {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = headers::for_preflight(request.headers());
        return response;
    }
    if request.method() == Method::GET && request.uri().path() == "/health" {
        return answer(StatusCode::OK, &json!({ "status": "ok" }));
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    gateway.pass(request).await.unwrap_or_else(|denial| {
        if denial.status >= 500 {
            eprintln!(
                "gateway: {method} {path} answered {} {}",
                denial.status, denial.code
            );
        }
        refusal(&denial)
    })
}

/// A refusal in the members that PostgREST's clients read (message, code) and those that Auth's do.
fn refusal(denial: &Denial) -> Response<Body> {
    let status = StatusCode::from_u16(denial.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "code": denial.code,
        "error_code": denial.code,
        "message": denial.message,
        "msg": denial.message,
    });
    let mut response = answer(status, &body);
    if denial.status == 503 {
        response.headers_mut().insert(
            header::RETRY_AFTER,
            HeaderValue::from_static(RETRY_AFTER_SECS),
        );
    }
    response
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers::allow_all_origins(response.headers_mut());
    response
}
