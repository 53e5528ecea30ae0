//! What a handler gets: the request taken apart, the settings, and who is calling.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use carbon_domain::Lang;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use worker::{Context, Date, Env, Request};

use crate::clients::auth::Auth;
use crate::clients::rest::Rest;
use crate::config::Config;
use crate::error::{ApiError, FieldProblem};
use crate::idempotency::Once;
use crate::query::Query;
use crate::request::parse_json;
use crate::router::language;
use crate::session::{self, Session, TokenRules};
use crate::storage::otp_id::hex;

/// Bytes of an address with its query; the longest the contract knows has about 700.
const MAX_URL_BYTES: usize = 8 * 1024;
/// Bytes of the headers that every request is asked for, together; the runtime limits all others.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Members of a body that a refusal names; there may be hundreds of thousands.
const MAX_NAMED_MEMBERS: usize = 20;

/// Milliseconds since 1970. The runtime's clock advances only when something came from outside.
pub fn now_ms() -> i64 {
    i64::try_from(Date::now().as_millis()).unwrap_or(i64::MAX)
}

/// A time as ISO 8601 in UTC with milliseconds.
pub fn iso(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Random bytes from the runtime's cryptographic source.
///
/// # Errors
/// `INTERNAL_ERROR` if the source fails.
pub fn random<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::internal(format!("random: {error}")))?;
    Ok(bytes)
}

thread_local! {
    static CONFIG: OnceCell<Result<Rc<Config>, String>> = const { OnceCell::new() };
}

/// The settings, read and checked once an isolate.
///
/// # Errors
/// What cannot be used, for the log.
pub fn config(env: &Env) -> Result<Rc<Config>, String> {
    // Secrets and plain settings are both read as strings from the environment.
    let get = |name: &str| env.var(name).ok().map(|value| value.to_string());
    CONFIG.with(|cell| cell.get_or_init(|| Config::read(get).map(Rc::new)).clone())
}

/// The parts of a request that are looked at before its route is known.
pub struct Head {
    /// 128 random bits as hex, in every answer and log line.
    pub request_id: String,
    /// The HTTP method.
    pub method: String,
    /// The path as it was sent.
    pub path: String,
    /// The language of messages.
    pub lang: Lang,
    /// The `Origin` header.
    pub origin: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The connecting address as Cloudflare saw it; a client's own header of that name never arrives.
    pub address: Option<String>,
    /// Whether the address or a header that is looked at is longer than any client needs.
    pub oversized: bool,
}

impl Head {
    /// Reads the head of a request.
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
            // As it was sent: the crate's own type takes methods it does not know for GET.
            method: request.inner().method(),
            path: request.path(),
            lang: language(accept_language.as_deref()),
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

/// The Worker's surroundings for one request.
pub struct App {
    /// The checked settings.
    pub config: Rc<Config>,
    /// Bindings.
    pub env: Env,
    /// For work that goes on after the answer.
    pub context: Context,
    /// What this request asked to let fail; always none outside a local run.
    pub fault: Option<String>,
}

impl App {
    /// Whether the request asked to let this fail.
    pub fn fails(&self, what: &str) -> bool {
        self.fault.as_deref() == Some(what)
    }
}

/// A request on its way to its handler.
pub struct Call {
    /// Settings and bindings.
    pub app: Rc<App>,
    /// The request's id.
    pub request_id: String,
    /// The language of names and messages.
    pub lang: Lang,
    /// The body as text, read by the route's rule.
    pub body: String,
    /// The connecting address as Cloudflare saw it.
    pub address: Option<String>,
    /// The `Idempotency-Key` of a write that came with one.
    pub once: Option<Once>,
    /// The tag of the answer, once something was read for it.
    pub tag: RefCell<Option<String>>,
    session: Option<Session>,
    parameters: Vec<String>,
    query: Vec<(String, String)>,
    headers: worker::Headers,
}

/// The parameters of an address, decoded; no part of the address but its query is looked at.
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
    /// Puts a request's parts together.
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
            once: None,
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

    /// A header of the request.
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

    /// The database, as the caller.
    pub fn rest(&self) -> Rest<'_> {
        let token = self.session.as_ref().map(|session| session.token.as_str());
        Rest::new(&self.app.config, token, &self.request_id).at(self.address.as_deref())
    }

    /// Auth.
    pub fn auth(&self) -> Auth<'_> {
        Auth::new(&self.app.config, &self.request_id)
    }

    /// The body as a JSON object.
    ///
    /// # Errors
    /// `VALIDATION_ERROR`
    pub fn object(&self) -> Result<Map<String, Value>, ApiError> {
        match parse_json(&self.body)? {
            Value::Object(object) => Ok(object),
            _ => {
                let error = carbon_domain::DomainError::NotAnObject;
                Err(ApiError::field(FieldProblem::domain("", error)))
            }
        }
    }

    /// Refuses whatever an optional body states, where nothing is taken from the client.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming the members.
    pub fn nothing_stated(&self) -> Result<(), ApiError> {
        if self.body.is_empty() {
            return Ok(());
        }
        let body = self.object()?;
        let members = body.keys().take(MAX_NAMED_MEMBERS);
        let problems: Vec<_> = members
            .map(|name| FieldProblem::domain(name, carbon_domain::DomainError::UnknownField))
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
