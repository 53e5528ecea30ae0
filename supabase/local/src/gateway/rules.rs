//! Which requests pass: one table and the pure functions that read it.
//!
//! A production gateway has to hold the same rules; there is no configuration of one here yet. Everything
//! is compared as it came over the wire: paths are not decoded, queries are compared as strings, and what is not on
//! the list to the letter is refused. So there is nothing for an encoded slash, a second parameter, a
//! capital letter or a dot segment to slip through.

use super::body::{self, MAX_METADATA_BYTES};
use super::denial::Denial;
use super::query;
use super::rates::{Per, Rate};
use std::borrow::Cow;

/// Bodies are capped at 1 MiB, as the API's contract says for JSON.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// A batch holds up to 500 entries; with every text at its longest and escaped they take 7 MiB. A little more for
/// the argument around it.
pub const MAX_BATCH_BYTES: usize = 7 * 1024 * 1024 + 1024;
/// A migration holds up to 10 MiB of JSON, sent as one JSON string. Quoting doubles quotes, backslashes and line
/// ends, of which a dump of quoted values is full: at most 20 MiB, and a little for the argument around it.
pub const MAX_MIGRATION_BYTES: usize = 21 * 1024 * 1024;
const MAX_USER_CHANGE_BYTES: usize = MAX_METADATA_BYTES + 128;
/// The requests with a larger cap. What comes with an Idempotency-Key is carried by run_once, migrations among it.
const LARGE_BODIES: &[(&str, &str, usize)] = &[
    ("POST", "/rest/v1/rpc/create_waste_entries", MAX_BATCH_BYTES),
    ("POST", "/rest/v1/rpc/migrate_local", MAX_MIGRATION_BYTES),
    ("POST", "/rest/v1/rpc/run_once", MAX_MIGRATION_BYTES),
];
/// Functions that take the body as it came, and the query that makes PostgREST hand it on without reading it: its own
/// reader refuses a body for half a surrogate pair anywhere in it.
const UNREAD_BODIES: [(&str, &str); 5] = [
    ("/rest/v1/rpc/create_waste_entry", "columns=entry"),
    ("/rest/v1/rpc/create_waste_entries", "columns=entries"),
    ("/rest/v1/rpc/update_waste_entry", "columns=changes"),
    ("/rest/v1/rpc/update_profile", "columns=changes"),
    ("/rest/v1/rpc/run_once", "columns=arguments"),
];
/// Longest path and query together: a Realtime address carries a token. PostgREST's queries have a cap of their own.
const MAX_TARGET_BYTES: usize = 16 * 1024;

/// What a body must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BodyRule {
    /// Anything; the upstream checks it.
    Any,
    /// Dropped: the endpoint reads none.
    None,
    /// Declared as JSON. A form would be read as parameters, which take precedence over the query's.
    Json,
    /// A JSON object with this member, itself an object, and nothing else.
    OnlyMember(&'static str),
}

/// A line of the list.
#[derive(Debug)]
pub struct Rule {
    pub method: &'static str,
    /// Path after /auth/v1.
    pub path: &'static str,
    /// Queries that are allowed, each as a complete string.
    pub queries: &'static [&'static str],
    /// What the body must be.
    pub body: BodyRule,
    /// Cap of the body in bytes.
    pub max_body_bytes: usize,
    /// Whether it is open without an API key, as at Supabase.
    pub keyless: bool,
    /// What a client may ask within a time.
    pub rates: &'static [Rate],
}

const MINUTE_SECS: u32 = 60;
/// One address stands for all users behind a carrier's gateway: 20 requests a second are a hundred users who all use
/// the app, and less than a twentieth of what one core answers. At once it has what that is in a quarter of a minute: a
/// minute's full allowance used in a second slowed others down when many accounts shared one address.
const REST_RATES: &[Rate] = &[Rate::new("rest", Per::Address, 300, MINUTE_SECS / 4)];
/// Tokens are renewed once an hour, and read a few times in between.
const AUTH_RATES: &[Rate] = &[Rate::new("auth", Per::Address, 300, MINUTE_SECS)];
/// Auth rewrites a row of `auth.users` for each, and nothing here needs it often: by address, and by token, so that
/// another address does not help.
const USER_CHANGE_RATES: &[Rate] = &[
    Rate::new("user_change", Per::Address, 60, MINUTE_SECS),
    Rate::new("user_change_of_one", Per::Token, 10, MINUTE_SECS),
];

const NO_QUERY: &[&str] = &[""];
const SCOPES: &[&str] = &["", "scope=global", "scope=local", "scope=others"];

const fn rule(
    method: &'static str,
    path: &'static str,
    queries: &'static [&'static str],
    body: BodyRule,
) -> Rule {
    Rule {
        method,
        path,
        queries,
        body,
        max_body_bytes: MAX_BODY_BYTES,
        keyless: false,
        rates: AUTH_RATES,
    }
}

/// All of Auth that is open without the Worker's secret.
pub const PUBLIC_AUTH: &[Rule] = &[
    rule(
        "POST",
        "/token",
        &["grant_type=refresh_token"],
        BodyRule::Json,
    ),
    rule("GET", "/user", NO_QUERY, BodyRule::None),
    Rule {
        max_body_bytes: MAX_USER_CHANGE_BYTES,
        rates: USER_CHANGE_RATES,
        ..rule("PUT", "/user", NO_QUERY, BodyRule::OnlyMember("data"))
    },
    rule("POST", "/logout", SCOPES, BodyRule::Any),
    rule("GET", "/settings", NO_QUERY, BodyRule::None),
    rule("GET", "/health", NO_QUERY, BodyRule::None),
    Rule {
        keyless: true,
        ..rule("GET", "/.well-known/jwks.json", NO_QUERY, BodyRule::None)
    },
];

/// Methods that /rest/v1 and /realtime/v1 take, and what becomes of their bodies: those that nothing reads are not
/// sent on, because an unread one would break the next request on its connection.
const OPEN_METHODS: &[(&str, BodyRule)] = &[
    ("GET", BodyRule::None),
    ("HEAD", BodyRule::None),
    ("DELETE", BodyRule::None),
    ("POST", BodyRule::Any),
    ("PUT", BodyRule::Any),
    ("PATCH", BodyRule::Any),
];

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Upstream {
    Rest,
    Auth,
    Realtime,
}

/// Path prefix, upstream, and what the prefix becomes there.
const ROUTES: &[(&str, Upstream, &str)] = &[
    ("/rest/v1", Upstream::Rest, ""),
    ("/auth/v1", Upstream::Auth, ""),
    ("/realtime/v1/api", Upstream::Realtime, "/api"),
    ("/realtime/v1", Upstream::Realtime, "/socket"),
];

const NO_ROUTE: Denial = Denial::new(404, "no_route", "No route matches this path");
const ODD_PATH: Denial = Denial::new(
    404,
    "path_not_normal",
    "The path must consist of plain segments: no empty or dot segments, no percent-encoding, no parameters",
);
const BAD_METHOD: Denial =
    Denial::new(405, "method_not_allowed", "This method is not offered here");
const TOO_LONG: Denial = Denial::new(414, "uri_too_long", "The address is too long");
const NOT_LISTED: Denial = Denial::new(
    403,
    "not_allowed",
    "This Auth endpoint is reached through the API under /api/v1 only",
);
const TWO_KEYS: Denial = Denial::new(
    400,
    "repeated_apikey",
    "The parameter apikey may be given once",
);

/// A request that passes, as far as its first line shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    pub upstream: Upstream,
    /// Path and query for the upstream.
    pub target: String,
    /// What the body must be.
    pub body: BodyRule,
    /// Cap of the body in bytes.
    pub max_body_bytes: usize,
    /// Whether it passes without an API key.
    pub keyless: bool,
    /// What a client may ask within a time.
    pub rates: &'static [Rate],
    /// The API key, when it came as a parameter.
    pub query_key: Option<String>,
}

/// Whether the first line of a request may pass. `trusted` says that it carries the Worker's secret.
pub fn authorize(method: &str, path: &str, query: &str, trusted: bool) -> Result<Passage, Denial> {
    if path.len() + query.len() > MAX_TARGET_BYTES {
        return Err(TOO_LONG);
    }
    if !is_normal(path) {
        return Err(ODD_PATH);
    }
    let (upstream, replacement, rest) = route(path).ok_or(NO_ROUTE)?;
    let (bare_query, query_key) = take_key(query)?;
    // Realtime reads the key out of the query itself.
    let query = match upstream {
        Upstream::Realtime => query,
        _ if bare_query.is_empty() && method == "POST" => unread_body(path),
        _ => bare_query.as_str(),
    };
    let (body, max_body_bytes, keyless, rates) = match upstream {
        Upstream::Auth if trusted => (BodyRule::Any, MAX_BODY_BYTES, false, NO_RATES),
        Upstream::Auth => {
            let rule = listed(method, rest, query).ok_or(NOT_LISTED)?;
            (rule.body, rule.max_body_bytes, rule.keyless, rule.rates)
        }
        Upstream::Rest | Upstream::Realtime => {
            let body = open(method).ok_or(BAD_METHOD)?;
            (body, cap(method, path), false, REST_RATES)
        }
    };
    if upstream == Upstream::Rest {
        // PostgREST's root describes the entire schema, at length, and to everybody.
        if matches!(rest, "" | "/") {
            return Err(NO_ROUTE);
        }
        query::check(query)?;
    }
    let mark = if query.is_empty() { "" } else { "?" };
    let slash = if rest.is_empty() { "/" } else { "" };
    Ok(Passage {
        upstream,
        target: format!("{replacement}{rest}{slash}{mark}{query}"),
        body,
        max_body_bytes,
        keyless,
        rates,
        query_key,
    })
}

const NO_RATES: &[Rate] = &[];

/// What becomes of the body of a method that PostgREST and Realtime take.
fn open(method: &str) -> Option<BodyRule> {
    let found = OPEN_METHODS.iter().find(|(name, _)| *name == method);
    found.map(|(_, body)| *body)
}

fn cap(method: &str, path: &str) -> usize {
    LARGE_BODIES
        .iter()
        .find(|(of, at, _)| *of == method && *at == path)
        .map_or(MAX_BODY_BYTES, |(.., bytes)| *bytes)
}

/// The query for a function that takes the body as it came; empty for any other.
fn unread_body(path: &str) -> &'static str {
    let found = UNREAD_BODIES.iter().find(|(function, _)| *function == path);
    found.map_or("", |(_, query)| query)
}

/// The upstream of a path, what its prefix becomes there, and the rest of the path.
fn route(path: &str) -> Option<(Upstream, &'static str, &str)> {
    ROUTES.iter().find_map(|(prefix, upstream, replacement)| {
        let rest = path.strip_prefix(prefix)?;
        let at_boundary = rest.is_empty() || rest.starts_with('/');
        at_boundary.then_some((*upstream, *replacement, rest))
    })
}

/// The line of the list that a request to Auth is on.
fn listed(method: &str, path: &str, query: &str) -> Option<&'static Rule> {
    PUBLIC_AUTH
        .iter()
        .find(|rule| rule.method == method && rule.path == path && rule.queries.contains(&query))
}

impl Passage {
    /// Checks the body, given the values of Content-Type, and returns what to send on.
    pub fn check_body<'a>(
        &self,
        content_types: &[&str],
        body: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, Denial> {
        match self.body {
            BodyRule::Any => Ok(Cow::Borrowed(body)),
            BodyRule::None => Ok(Cow::Borrowed(&[])),
            BodyRule::Json => body::require_json(content_types).map(|()| Cow::Borrowed(body)),
            BodyRule::OnlyMember(name) => {
                body::require_json(content_types)?;
                body::only_member(name, body).map(Cow::Owned)
            }
        }
    }
}

/// Whether a path has one reading only: plain segments with a slash between them, of letters, digits and `-._~`.
/// A slash may end it; that is another path, which the list does not hold.
fn is_normal(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    rest.split('/').all(|segment| {
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain)
    })
}

/// Takes the parameter `apikey` out of the query: it is meant for the gateway, and a filter to PostgREST.
fn take_key(query: &str) -> Result<(String, Option<String>), Denial> {
    let (mut rest, mut key) = (Vec::new(), None);
    for part in query.split('&') {
        match part.strip_prefix("apikey=") {
            Some(_) if key.is_some() => return Err(TWO_KEYS),
            Some(value) => key = Some(value.to_owned()),
            None => rest.push(part),
        }
    }
    Ok((rest.join("&"), key))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
