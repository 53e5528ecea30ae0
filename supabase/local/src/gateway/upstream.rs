//! Requests to the services behind the gateway, over pooled connections that may turn out dead.

use super::denial::{DOWN, Denial};
use crate::outbound::{self, HttpClient};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use hyper::body::Incoming;
use std::time::Duration;

const SLOW: Denial = Denial::new(
    503,
    "upstream_timeout",
    "The service behind the gateway did not answer in time",
);

/// A request for a service, which can be made more than once.
pub struct Onward {
    pub method: Method,
    pub target: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Onward {
    fn request(&self) -> Request {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// The two ways to a service.
pub struct Upstreams {
    pooled: HttpClient,
    single: HttpClient,
}

impl Upstreams {
    /// Both without a connection yet.
    pub fn new() -> Self {
        Self {
            pooled: outbound::client(),
            single: outbound::client_without_pool(),
        }
    }

    /// Sends a request and answers as soon as the service begins to.
    ///
    /// A pooled connection that turns out dead before anything was written is replaced by the client itself. One that
    /// dies later is replaced by a new one if the method only reads; for any other it is unclear whether it was done.
    pub async fn ask(
        &self,
        mut onward: Onward,
        limit: Duration,
    ) -> Result<Response<Incoming>, Denial> {
        let only_reads = matches!(onward.method, Method::GET | Method::HEAD);
        // PostgREST 12 ends a connection behind its answer to HEAD and does not say so: such a connection is not reused.
        let client = if onward.method == Method::HEAD {
            let close = HeaderValue::from_static("close");
            onward.headers.insert(header::CONNECTION, close);
            &self.single
        } else {
            &self.pooled
        };
        let answered = async {
            match client.request(onward.request()).await {
                Err(why) if only_reads && !why.is_connect() => {
                    self.single.request(onward.request()).await
                }
                answer => answer,
            }
        };
        let answer = tokio::time::timeout(limit, answered).await;
        answer.map_err(|_| SLOW)?.map_err(|_| DOWN)
    }
}
