//! `carbon-local gateway`: the origin's public interface. It checks keys, holds the list of what is open without the
//! Worker's secret, caps bodies, cleans headers and passes requests on, and Realtime's WebSockets both ways.

mod body;
mod denial;
mod headers;
mod keys;
mod outage;
mod query;
mod rates;
mod response;
mod rules;
#[cfg(test)]
mod tests;
mod upstream;
mod websocket;

use crate::counter::Place;
use crate::serve;
use crate::settings::Settings;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use denial::Denial;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::upgrade::OnUpgrade;
use keys::{Caller, Keys};
use rates::{Limits, Subject};
use response::{answer, refusal};
use rules::{Passage, Upstream};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use upstream::{Onward, Upstreams};

/// Time for a client to send its body: 21 MiB at 8 Mbit/s take 22 s.
const BODY_TIMEOUT_SECS: u64 = 30;
/// Time for an upstream to begin its answer, so that a client has one within 10 s even if something hangs. The database ends
/// the statements of client roles after 3 s and 8 s.
const ANSWER_TIMEOUT_SECS: u64 = 9;
/// The same for the service role, whose statements have no end of their own.
const SERVICE_ANSWER_TIMEOUT_SECS: u64 = 30;
/// Bytes and seconds that a refused body is still read for: left unread, it would break the next request on its
/// connection, and a client that is still writing would see a reset instead of the refusal.
const DISCARDED_BYTES: usize = 8 * 1024 * 1024;
const DISCARD_TIMEOUT_SECS: u64 = 2;

const TOO_LARGE: Denial = Denial::new(413, "body_too_large", "The request body is too large");
const SLOW_BODY: Denial = Denial::new(
    408,
    "body_timeout",
    "The request body did not arrive in time",
);
const BROKEN_BODY: Denial = Denial::new(400, "body_broken", "The request body could not be read");
const NO_REALTIME: Denial = Denial::new(
    503,
    "realtime_unavailable",
    "No Realtime server is configured",
);
struct Gateway {
    keys: Keys,
    limits: Limits,
    upstreams: Upstreams,
    rest: String,
    auth: String,
    realtime: Option<String>,
}

/// Runs the gateway until it is stopped.
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
            limits: Limits::new(settings.parsed("NO_LIMITS", false)?),
            upstreams: Upstreams::new(),
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

    /// What a request may do, by its head alone.
    fn admit(&self, parts: &Parts) -> Result<Admitted, Denial> {
        let worker = self.keys.is_worker(&parts.headers);
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let passage = rules::authorize(parts.method.as_str(), path, query, worker)?;
        body::require_plain(&parts.headers)?;
        let given = self
            .keys
            .authorization(&parts.headers, passage.query_key.as_deref());
        let authorization = match given {
            Err(_) if passage.keyless => String::new(),
            other => other?,
        };
        let websocket = websocket::is_asked_for(&parts.method, &parts.headers, passage.upstream)?;
        let peer = peer(parts);
        let caller = self.keys.caller(&parts.headers, &authorization);
        let place = self.count(caller, &passage, &authorization, websocket, peer)?;
        let address = match caller {
            Caller::Worker(Some(address)) => address,
            _ => peer,
        };
        let mut headers = headers::for_upstream(&parts.headers, &authorization, address, worker);
        let mut target = passage.target.clone();
        if websocket {
            target = websocket::without_key(&target);
            let key = authorization.strip_prefix("Bearer ").unwrap_or_default();
            websocket::prepare(&mut headers, key);
        }
        Ok(Admitted {
            onward: Onward {
                method: parts.method.clone(),
                target: format!("{}{target}", self.base(passage.upstream)?)
                    .parse()
                    .map_err(|_| BROKEN_BODY)?,
                headers,
                body: Bytes::new(),
            },
            timeout: self.timeout(&authorization),
            passage,
            websocket,
            place,
        })
    }

    fn timeout(&self, authorization: &str) -> Duration {
        Duration::from_secs(match self.keys.is_service(authorization) {
            true => SERVICE_ANSWER_TIMEOUT_SECS,
            false => ANSWER_TIMEOUT_SECS,
        })
    }

    /// Counts a request where it is to be counted. The Worker counts its callers itself, and behind the service's key
    /// is a program of ours; a signed-out visitor has only a few requests in flight.
    fn count(
        &self,
        caller: Caller,
        passage: &Passage,
        authorization: &str,
        websocket: bool,
        peer: IpAddr,
    ) -> Result<Option<Place<Subject>>, Denial> {
        match caller {
            _ if websocket => self.limits.socket(peer).map(Some),
            Caller::Worker(_) | Caller::Service => Ok(None),
            Caller::SignedOut => self.limits.anonymous(peer).map(Some),
            Caller::SignedIn => {
                let now = Instant::now();
                let counted = self.limits.count(passage.rates, peer, authorization, now);
                counted.map(|()| None)
            }
        }
    }

    async fn pass(&self, request: Request) -> Result<Response<Body>, Refused> {
        let (mut parts, mut body) = request.into_parts();
        let admitted = match self.admit(&parts) {
            Ok(admitted) => admitted,
            Err(denial) => return Err(Refused::unread(denial, body).await),
        };
        let Admitted {
            mut onward,
            passage,
            timeout,
            websocket,
            place,
        } = admitted;
        if websocket {
            // It lasts as long as both sides want it to.
            let client: Option<OnUpgrade> = parts.extensions.remove();
            let answer = self.upstreams.ask(onward, timeout).await?;
            return Ok(websocket::join(client, answer, place, headers::for_client));
        }
        let read = match read_body(&parts.headers, &mut body, passage.max_body_bytes).await {
            Ok(read) => read,
            Err(denial) => return Err(Refused::unread(denial, body).await),
        };
        onward.body = checked_body(&parts.headers, &passage, read)?;
        let (mut head, body) = self.upstreams.ask(onward, timeout).await?.into_parts();
        head.headers = headers::for_client(head.headers);
        // The place is free again when the entire answer is sent.
        let body = body.map_frame(move |frame| {
            let _ = &place;
            frame
        });
        let answer = Response::from_parts(head, Body::new(body));
        Ok(outage::translate(passage.upstream, answer).await)
    }
}

/// The address that the connection comes from.
fn peer(parts: &Parts) -> IpAddr {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |info| info.0.ip())
}

/// A request that may go on, but for its body.
struct Admitted {
    onward: Onward,
    passage: Passage,
    timeout: Duration,
    websocket: bool,
    place: Option<Place<Subject>>,
}

/// A refusal, and whether the connection can be used again after it.
struct Refused {
    denial: Denial,
    closes: bool,
}

impl From<Denial> for Refused {
    /// A refusal after the entire body was read.
    fn from(denial: Denial) -> Self {
        let closes = false;
        Self { denial, closes }
    }
}

impl Refused {
    /// A refusal before the body was read to its end; what is left is read now and thrown away.
    async fn unread(denial: Denial, body: Body) -> Self {
        let read = tokio::time::timeout(Duration::from_secs(DISCARD_TIMEOUT_SECS), discard(body));
        let closes = !matches!(read.await, Ok(true));
        Self { denial, closes }
    }
}

/// Reads a body and drops it; returns whether its end came within `DISCARDED_BYTES`.
async fn discard(mut body: Body) -> bool {
    let mut left = DISCARDED_BYTES;
    while let Some(frame) = body.frame().await {
        let read = frame
            .ok()
            .map(|frame| frame.data_ref().map_or(0, Bytes::len));
        match read.and_then(|read| left.checked_sub(read)) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

/// The body as it goes on.
fn checked_body(headers: &HeaderMap, passage: &Passage, body: Bytes) -> Result<Bytes, Denial> {
    let types: Vec<&str> = headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    let body = body::without_mark(&body);
    Ok(match passage.check_body(&types, &body)? {
        std::borrow::Cow::Borrowed([]) => Bytes::new(),
        std::borrow::Cow::Borrowed(_) => body.clone(),
        std::borrow::Cow::Owned(rewritten) => rewritten.into(),
    })
}

/// Reads the entire body, counting what arrives regardless of what was announced.
async fn read_body(
    headers: &HeaderMap,
    body: &mut Body,
    max_bytes: usize,
) -> Result<Bytes, Denial> {
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
    gateway.pass(request).await.unwrap_or_else(|refused| {
        let denial = refused.denial;
        if denial.status >= 500 {
            eprintln!(
                "gateway: {method} {path} answered {} {}",
                denial.status, denial.code
            );
        }
        let mut response = refusal(&denial);
        if refused.closes {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    })
}
