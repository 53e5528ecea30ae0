//! The last step of every request: an outcome becomes HTTP, with the headers that every answer has,
//! and one line in the log.

use serde_json::{Map, Value, json};
use worker::{Headers, Response, ResponseBuilder, console_log};

use super::call::Head;
use super::etag;
use super::reply::{Caching, Reply};
use crate::error::ApiError;
use crate::observe::log::{self, FinishedRequest};
use crate::observe::metrics;

pub struct Outcome {
    /// The handler's answer or the failure.
    pub result: Result<Reply, ApiError>,
    /// The request's origin, if its pages may read the answer.
    pub allowed_origin: Option<String>,
    /// For `OPTIONS`: the methods of the path.
    pub preflight_allow: Option<String>,
}

impl Outcome {
    /// An outcome before the origin could be checked.
    pub fn without_origin(result: Result<Reply, ApiError>) -> Self {
        Self {
            result,
            allowed_origin: None,
            preflight_allow: None,
        }
    }

    pub fn preflight(allow: String, allowed_origin: Option<String>) -> Self {
        let result = Ok(Reply {
            status: 204,
            ..Reply::raw("")
        });
        Self {
            result,
            allowed_origin,
            preflight_allow: Some(allow),
        }
    }
}

/// Makes the HTTP answer and writes the log line.
pub fn finish(head: &Head, route: &str, outcome: Outcome, milliseconds: i64) -> Response {
    let error = outcome.result.as_ref().err();
    let status = outcome
        .result
        .as_ref()
        .map_or_else(|e| e.code.status(), |reply| reply.status);
    metrics::request(route, &head.method, status, milliseconds);
    console_log!(
        "{}",
        log::line(&FinishedRequest {
            request_id: &head.request_id,
            method: &head.method,
            route,
            status,
            milliseconds,
            code: error.map(|error| error.code.name()),
            internal: error.and_then(|error| error.internal.as_deref()),
        })
    );
    let headers = headers_of(head, &outcome).unwrap_or_else(|_| Headers::new());
    let body = match &outcome.result {
        _ if head.method == "HEAD" => String::new(),
        Ok(reply) => reply.body.clone(),
        Err(error) => error.envelope(head.lang, &head.request_id),
    };
    respond(status, headers, body)
}

fn respond(status: u16, headers: Headers, body: String) -> Response {
    let builder = ResponseBuilder::new()
        .with_status(status)
        .with_headers(headers);
    if body.is_empty() {
        return builder.empty();
    }
    builder.fixed(body.into_bytes())
}

fn headers_of(head: &Head, outcome: &Outcome) -> worker::Result<Headers> {
    let headers = base_headers(&head.request_id)?;
    let caching = outcome
        .result
        .as_ref()
        .map_or(Caching::NoStore, |reply| reply.caching);
    headers.set("cache-control", &caching.header())?;
    headers.set("content-language", head.lang.code())?;
    // A client that was signed out a moment ago must not reuse that answer once it has signed in.
    let vary = match caching {
        Caching::Public(_) => "Origin, Accept-Language",
        _ => "Origin, Accept-Language, Authorization",
    };
    headers.set("vary", vary)?;
    if let Ok(reply) = &outcome.result {
        reply_headers(&headers, reply, head)?;
    }
    if let Err(error) = &outcome.result {
        if let Some(secs) = error.retry_after_secs {
            headers.set("retry-after", &secs.to_string())?;
        }
        if let Some(allow) = &error.allow {
            headers.set("allow", allow)?;
        }
        if error.is_compressed {
            headers.set("accept-encoding", "identity")?;
        }
        if error.code.status() == 401 {
            headers.set("www-authenticate", "Bearer")?;
        }
    }
    if let Some(origin) = &outcome.allowed_origin {
        headers.set("access-control-allow-origin", origin)?;
        headers.set(
            "access-control-expose-headers",
            "X-Request-Id, Retry-After, ETag, Idempotent-Replayed",
        )?;
    }
    if let Some(allow) = &outcome.preflight_allow {
        headers.set("allow", allow)?;
        headers.delete("content-type")?;
        if outcome.allowed_origin.is_some() {
            preflight_headers(&headers, allow)?;
        }
    }
    Ok(headers)
}

fn reply_headers(headers: &Headers, reply: &Reply, head: &Head) -> worker::Result<()> {
    headers.set("content-type", reply.content_type)?;
    if let Some(tag) = &reply.tag {
        headers.set("etag", &etag::header(tag, head.lang))?;
    }
    if reply.replayed {
        headers.set("idempotent-replayed", "true")?;
    }
    if reply.status == 304 {
        headers.delete("content-type")?;
    }
    Ok(())
}

fn preflight_headers(headers: &Headers, allow: &str) -> worker::Result<()> {
    headers.set("access-control-allow-methods", allow)?;
    headers.set("access-control-allow-headers", ALLOWED_HEADERS)?;
    headers.set("access-control-max-age", "86400")
}

/// What pages may send: the headers that are read, and those that tracing libraries add to every request
/// (W3C Trace Context and Baggage, Sentry, Datadog, B3, New Relic, Elastic, Application Insights). A browser
/// gives up a request for a single header that is not named here. None of the latter is read.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept-Language, Idempotency-Key, If-None-Match, \
    X-Requested-With, X-Request-Id, X-Correlation-Id, Request-Id, Request-Context, traceparent, tracestate, baggage, \
    sentry-trace, x-datadog-trace-id, x-datadog-parent-id, x-datadog-origin, x-datadog-sampling-priority, \
    x-datadog-tags, b3, x-b3-traceid, x-b3-spanid, x-b3-parentspanid, x-b3-sampled, x-b3-flags, newrelic, \
    elastic-apm-traceparent, uber-trace-id";

/// What every answer has: nothing here is a page, and nothing may be guessed to be one.
const BASE_HEADERS: [(&str, &str); 5] = [
    ("content-type", "application/json; charset=utf-8"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (
        "strict-transport-security",
        "max-age=63072000; includeSubDomains",
    ),
];

fn base_headers(request_id: &str) -> worker::Result<Headers> {
    let headers = Headers::new();
    for (name, value) in BASE_HEADERS {
        headers.set(name, value)?;
    }
    headers.set("x-request-id", request_id)?;
    Ok(headers)
}

/// The answer to a request whose instance panicked, as the JSON text `{status, headers, body}`.
pub fn after_panic(error: &ApiError, request_id: &str, lang: carbon_domain::Lang) -> String {
    let mut headers: Map<String, Value> = BASE_HEADERS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    headers.insert("cache-control".to_owned(), json!(Caching::NoStore.header()));
    headers.insert("x-request-id".to_owned(), json!(request_id));
    if let Some(secs) = error.retry_after_secs {
        headers.insert("retry-after".to_owned(), json!(secs.to_string()));
    }
    let body = error.envelope(lang, request_id);
    json!({"status": error.code.status(), "headers": headers, "body": body}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_after_a_panic_is_in_the_envelope() {
        let text = after_panic(&ApiError::unavailable("x"), "r", carbon_domain::Lang::En);
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["status"], 503);
        assert_eq!(answer["headers"]["retry-after"], "5");
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "SERVICE_UNAVAILABLE");
    }
}
