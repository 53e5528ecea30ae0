//! What a handler gets: the request taken apart, the settings, and who is calling.

use std::cell::RefCell;
use std::rc::Rc;

use carbon_domain::{DomainError, Lang};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use worker::Request;

use super::body::parse_json;
use super::etag::IfNoneMatch;
use super::idempotency::IdempotencyKey;
use super::query::Query;
use super::session::{self, Session, TokenRules};
use crate::app::App;
use crate::clients::auth::Auth;
use crate::clock::now_ms;
use crate::config::Config;
use crate::crypto::bytes::{hex, random};
use crate::error::{ApiError, FieldProblem};

/// Bytes of an address with its query; the longest in the contract has about 700.
const MAX_URL_BYTES: usize = 8 * 1024;
/// Bytes of the headers that are read of every request, together; the runtime limits all others.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Members of a body that a refusal names; there may be hundreds of thousands.
const MAX_NAMED_MEMBERS: usize = 20;

/// The parts of a request that are read before its route is found.
pub struct Head {
    /// 128 random bits as hex, in every answer and log line.
    pub request_id: String,
    pub method: String,
    /// The path as it was sent.
    pub path: String,
    pub lang: Lang,
    pub origin: Option<String>,
    pub authorization: Option<String>,
    /// The connecting address as Cloudflare saw it; a client's own header of that name never arrives.
    pub address: Option<String>,
    /// Whether the address or one of these headers is longer than any client needs.
    pub oversized: bool,
}

impl Head {
    pub fn read(request: &Request) -> Self {
        let header = |name: &str| request.headers().get(name).ok().flatten();
        let (accept_language, origin) = (header("accept-language"), header("origin"));
        let authorization = header("authorization");
        let headers = [&accept_language, &origin, &authorization];
        let header_bytes: usize = headers
            .iter()
            .filter_map(|h| h.as_ref())
            .map(String::len)
            .sum();
        Self {
            request_id: random::<16>().map_or_else(|_| "unknown".to_owned(), |bytes| hex(&bytes)),
            // As it was sent: the crate's own type reads unlisted methods as GET.
            method: request.inner().method(),
            path: request.path(),
            lang: accept_language
                .as_deref()
                .map_or_else(Lang::default, Lang::from_accept_language),
            address: header("cf-connecting-ip"),
            oversized: request.inner().url().len() > MAX_URL_BYTES
                || header_bytes > MAX_HEADER_BYTES,
            origin,
            authorization,
        }
    }

    /// The user whose access token came with the request.
    ///
    /// # Errors
    /// `AUTH_REQUIRED`, `AUTH_INVALID`, `AUTH_EXPIRED`
    pub fn session(&self, config: &Config) -> Result<Session, ApiError> {
        let token = session::bearer_token(self.authorization.as_deref())?;
        let rules = TokenRules {
            secret: config.jwt_secret.as_bytes(),
            issuer: &config.jwt_issuer,
            now_secs: now_ms() / 1000,
        };
        session::verify(token, &rules)
    }
}

/// A request on its way to its handler.
pub struct Call {
    pub app: Rc<App>,
    pub request_id: String,
    /// The language of names and messages.
    pub lang: Lang,
    /// The body as text, read by the route's rule.
    pub body: String,
    /// The connecting address as Cloudflare saw it.
    pub address: Option<String>,
    /// The `Idempotency-Key` of a write that came with one.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The tag of the answer, idempotency_key something was read for it.
    pub tag: RefCell<Option<String>>,
    session: Option<Session>,
    parameters: Vec<String>,
    query: Vec<(String, String)>,
    headers: worker::Headers,
}

/// The parameters of an address, decoded; only the query of the address is read.
fn query_pairs(url: &str) -> Vec<(String, String)> {
    let without_fragment = url.split('#').next().unwrap_or("");
    let query = without_fragment
        .split_once('?')
        .map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

impl Call {
    pub fn new(
        app: Rc<App>,
        head: &Head,
        session: Option<Session>,
        parameters: Vec<String>,
        body: String,
        request: &Request,
    ) -> Self {
        let query = query_pairs(&request.inner().url());
        Self {
            app,
            request_id: head.request_id.clone(),
            lang: head.lang,
            body,
            address: head.address.clone(),
            idempotency_key: None,
            tag: RefCell::new(None),
            session,
            parameters,
            query,
            headers: request.headers().clone(),
        }
    }

    /// Now, for the rules of the domain.
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(now_ms()).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).ok().flatten()
    }

    /// The query's parameters, to be checked.
    pub fn query(&self) -> Query {
        Query::new(self.query.clone(), self.now())
    }

    /// The query's parameters in the order they were sent, decoded.
    pub fn query_pairs(&self) -> &[(String, String)] {
        &self.query
    }

    /// The value of the path's first `{…}` segment.
    pub fn parameter(&self) -> &str {
        self.parameters.first().map_or("", String::as_str)
    }

    /// The user; routes without one answer `AUTH_REQUIRED`.
    ///
    /// # Errors
    /// `AUTH_REQUIRED`
    pub fn user(&self) -> Result<&Session, ApiError> {
        self.session.as_ref().ok_or_else(ApiError::auth_required)
    }

    pub fn auth(&self) -> Auth<'_> {
        Auth::new(&self.app.config, &self.request_id)
    }

    /// The access token of a signed-in caller.
    pub fn token(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.token.as_str())
    }

    /// The tags that `If-None-Match` names.
    pub fn if_none_match(&self) -> IfNoneMatch {
        IfNoneMatch::parse(self.header("if-none-match").as_deref(), self.lang)
    }

    /// The body as a JSON object.
    ///
    /// # Errors
    /// `VALIDATION_ERROR`
    pub fn object(&self) -> Result<Map<String, Value>, ApiError> {
        match parse_json(&self.body)? {
            Value::Object(object) => Ok(object),
            _ => {
                let error = DomainError::NotAnObject;
                Err(ApiError::field(FieldProblem::domain("", error)))
            }
        }
    }

    /// Refuses all members of an optional body, where nothing is taken from the client.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming the members.
    pub fn require_empty_body(&self) -> Result<(), ApiError> {
        if self.body.is_empty() {
            return Ok(());
        }
        let body = self.object()?;
        let members = body.keys().take(MAX_NAMED_MEMBERS);
        let problems: Vec<_> = members
            .map(|name| FieldProblem::domain(name, DomainError::UnknownField))
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(ApiError::fields(problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_keep_their_order() {
        let pairs = query_pairs("https://x.example/a?q=%E0%B8%81+b&page=2&q=&flag#?no=1");
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("q", "ก b"), ("page", "2"), ("q", ""), ("flag", "")]
        );
        assert!(query_pairs("https://x.example/a").is_empty());
    }
}
