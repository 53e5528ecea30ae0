//! Which requests pass: one table and the pure functions that read it.
//!
//! The same rules hold at the production gateway, whose configuration is written from this table. Everything
//! is compared as it came over the wire: paths are not decoded, queries are whole strings, and what is not on
//! the list to the letter is refused. So there is nothing for an encoded slash, a second parameter, a
//! capital letter or a dot segment to slip through.

use super::body;
use std::borrow::Cow;

/// Bodies are capped at 1 MiB, as the API's contract says for JSON.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// A migration holds up to 10 MiB of the app's data, which grows when it is quoted as a JSON string once more.
pub const MAX_MIGRATION_BYTES: usize = 12 * 1024 * 1024;
/// The one path with the larger cap.
const MIGRATION_PATH: &str = "/rest/v1/rpc/migrate_local";
/// Longest path and query together; PostgREST's filters are long, but not longer than this.
const MAX_TARGET_BYTES: usize = 16 * 1024;

/// What a body must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BodyRule {
    /// Anything; the upstream looks at it.
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
    /// HTTP method.
    pub method: &'static str,
    /// Path after /auth/v1.
    pub path: &'static str,
    /// Queries that are allowed, each of them whole.
    pub queries: &'static [&'static str],
    /// What the body must be.
    pub body: BodyRule,
    /// Whether it is open without an API key, as at Supabase.
    pub keyless: bool,
}

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
        keyless: false,
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
    rule("PUT", "/user", NO_QUERY, BodyRule::OnlyMember("data")),
    rule("POST", "/logout", SCOPES, BodyRule::Any),
    rule("GET", "/settings", NO_QUERY, BodyRule::None),
    rule("GET", "/health", NO_QUERY, BodyRule::None),
    Rule {
        keyless: true,
        ..rule("GET", "/.well-known/jwks.json", NO_QUERY, BodyRule::None)
    },
];

/// Methods that /rest/v1 and /realtime/v1 take.
const OPEN_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Upstream {
    /// PostgREST.
    Rest,
    /// Auth.
    Auth,
    /// Realtime.
    Realtime,
}

/// Path prefix, upstream, and what the prefix becomes there.
const ROUTES: &[(&str, Upstream, &str)] = &[
    ("/rest/v1", Upstream::Rest, ""),
    ("/auth/v1", Upstream::Auth, ""),
    ("/realtime/v1/api", Upstream::Realtime, "/api"),
    ("/realtime/v1", Upstream::Realtime, "/socket"),
];

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    /// HTTP status.
    pub status: u16,
    /// Stable token.
    pub code: &'static str,
    /// English sentence.
    pub message: &'static str,
}

impl Denial {
    /// A refusal with any status.
    pub const fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
        }
    }
}

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

/// A request that passes, as far as its first line tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// Where to.
    pub upstream: Upstream,
    /// Path and query for the upstream.
    pub target: String,
    /// What the body must be.
    pub body: BodyRule,
    /// Cap of the body in bytes.
    pub max_body_bytes: usize,
    /// Whether it passes without an API key.
    pub keyless: bool,
    /// The API key, when it came as a parameter.
    pub query_key: Option<String>,
}

/// Judges the first line of a request. `trusted` says that it carries the Worker's secret.
pub fn judge(method: &str, path: &str, query: &str, trusted: bool) -> Result<Passage, Denial> {
    if path.len() + query.len() > MAX_TARGET_BYTES {
        return Err(TOO_LONG);
    }
    if !is_normal(path) {
        return Err(ODD_PATH);
    }
    let (prefix, upstream, replacement) = *ROUTES
        .iter()
        .find(|(prefix, ..)| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .ok_or(NO_ROUTE)?;
    let rest = &path[prefix.len()..];
    let (bare_query, query_key) = take_key(query)?;
    // Realtime reads the key out of the query itself.
    let query = if upstream == Upstream::Realtime {
        query
    } else {
        bare_query.as_str()
    };
    let (body, keyless) = match upstream {
        Upstream::Auth if trusted => (BodyRule::Any, false),
        Upstream::Auth => {
            let listed = |rule: &&Rule| {
                rule.method == method && rule.path == rest && rule.queries.contains(&query)
            };
            PUBLIC_AUTH
                .iter()
                .find(listed)
                .map(|rule| (rule.body, rule.keyless))
                .ok_or(NOT_LISTED)?
        }
        _ if OPEN_METHODS.contains(&method) => (BodyRule::Any, false),
        _ => return Err(BAD_METHOD),
    };
    let migration = method == "POST" && path == MIGRATION_PATH;
    let mark = if query.is_empty() { "" } else { "?" };
    let slash = if rest.is_empty() { "/" } else { "" };
    Ok(Passage {
        upstream,
        target: format!("{replacement}{rest}{slash}{mark}{query}"),
        body,
        max_body_bytes: if migration {
            MAX_MIGRATION_BYTES
        } else {
            MAX_BODY_BYTES
        },
        keyless,
        query_key,
    })
}

impl Passage {
    /// Judges the body, given the values of Content-Type, and says what to send on.
    pub fn judge_body<'a>(
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
/// A slash may end it; that is another path, which the list does not hold, and PostgREST's root.
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
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.strip_prefix("apikey=") {
            Some(_) if key.is_some() => return Err(TWO_KEYS),
            Some(value) => key = Some(value.to_owned()),
            None => rest.push(part),
        }
    }
    Ok((rest.join("&"), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &[&str] = &["application/json"];
    const TOKEN: &str = "grant_type=refresh_token";

    /// The whole decision: what goes on to the upstream, or the refusal's status.
    fn decide(
        method: &str,
        address: &str,
        types: &[&str],
        body: &str,
        trusted: bool,
    ) -> Result<(String, String), u16> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let passage = judge(method, path, query, trusted).map_err(|denial| denial.status)?;
        let body = passage
            .judge_body(types, body.as_bytes())
            .map_err(|denial| denial.status)?;
        Ok((
            passage.target.clone(),
            String::from_utf8(body.into_owned()).unwrap(),
        ))
    }

    fn refused(method: &str, address: &str) -> Option<u16> {
        decide(method, address, JSON, r#"{"data":{}}"#, false).err()
    }

    #[test]
    fn the_list_passes_as_it_stands() {
        let listed = [
            ("POST", "/auth/v1/token?grant_type=refresh_token"),
            ("GET", "/auth/v1/user"),
            ("PUT", "/auth/v1/user"),
            ("POST", "/auth/v1/logout"),
            ("POST", "/auth/v1/logout?scope=others"),
            ("GET", "/auth/v1/settings"),
            ("GET", "/auth/v1/health"),
            ("GET", "/auth/v1/.well-known/jwks.json"),
        ];
        for (method, address) in listed {
            let (target, _) =
                decide(method, address, JSON, r#"{"data":{}}"#, false).expect(address);
            assert_eq!(target, address.strip_prefix("/auth/v1").unwrap());
        }
    }

    #[test]
    fn everything_else_of_auth_needs_the_secret() {
        let others = [
            ("POST", "/otp"),
            ("POST", "/verify"),
            ("GET", "/verify?token=1&type=sms"),
            ("POST", "/resend"),
            ("POST", "/signup"),
            ("GET", "/reauthenticate"),
            ("POST", "/recover"),
            ("POST", "/magiclink"),
            ("POST", "/invite"),
            ("GET", "/authorize"),
            ("GET", "/callback"),
            ("POST", "/factors"),
            ("POST", "/sso"),
            ("POST", "/passkeys/authentication/verify"),
            ("GET", "/admin/users"),
            ("POST", "/admin/generate_link"),
            ("POST", "/token?grant_type=password"),
            ("POST", "/token?grant_type=id_token"),
            ("POST", "/token?grant_type=pkce"),
            ("POST", "/token"),
            ("DELETE", "/user"),
            ("PATCH", "/user"),
            ("POST", "/user"),
            ("HEAD", "/user"),
            ("GET", "/logout"),
            ("POST", "/health"),
            ("DELETE", "/user/identities/1"),
            ("GET", ""),
            ("GET", "/"),
        ];
        for (method, rest) in others {
            let address = format!("/auth/v1{rest}");
            assert_eq!(refused(method, &address), Some(403), "{method} {address}");
            assert!(
                decide(method, &address, JSON, "{}", true).is_ok(),
                "{method} {address} with the secret"
            );
        }
    }

    #[test]
    fn odd_spellings_of_listed_paths_are_not_on_the_list() {
        for path in [
            "user/",
            "User",
            "USER",
            "users",
            "user.",
            "user~",
            "user.json",
        ] {
            assert_eq!(
                refused("GET", &format!("/auth/v1/{path}")),
                Some(403),
                "{path}"
            );
        }
        let odd = [
            "/auth/v1//user",
            "//auth/v1/user",
            "/auth//v1/user",
            "/auth/v1/./user",
            "/auth/v1/x/../user",
            "/rest/v1/../../auth/v1/otp",
            "/auth/v1/%75ser",
            "/auth/v1/user%2F",
            "/auth/v1%2Fuser",
            "/auth/v1/%2e%2e/otp",
            "/auth/v1/user%00",
            "/auth/v1/%c0%afuser",
            "/auth/v1/us%C0%80er",
            "/auth/v1/user;a=b",
            "/auth/v1/user\\..\\otp",
            "/auth/v1/user@x",
            "/auth/v1/user:80",
            "/auth/v1/..",
            "auth/v1/user",
            "*",
            "",
        ];
        for path in odd {
            assert_eq!(refused("GET", path), Some(404), "{path}");
            assert_eq!(
                decide("GET", path, JSON, "", true).err(),
                Some(404),
                "{path} with the secret"
            );
        }
        for path in [
            "/AUTH/v1/user",
            "/auth/V1/user",
            "/auth/v2/user",
            "/auth/v1x/user",
            "/",
            "/storage/v1/object",
        ] {
            assert_eq!(refused("GET", path), Some(404), "{path}");
        }
    }

    #[test]
    fn the_token_endpoint_takes_one_parameter_to_the_letter() {
        let odd = [
            "grant_type=refresh_token&grant_type=password",
            "grant_type=password&grant_type=refresh_token",
            "grant_type=refresh_token&x=1",
            "grant_type=refresh%5Ftoken",
            "grant%5Ftype=refresh_token",
            "grant_type=refresh_token;grant_type=password",
            "GRANT_TYPE=refresh_token",
            "grant_type=REFRESH_TOKEN",
            "grant_type[]=refresh_token",
            "grant_type=refresh_token ",
            "grant_type=",
            "?grant_type=refresh_token",
        ];
        for query in odd {
            assert_eq!(
                refused("POST", &format!("/auth/v1/token?{query}")),
                Some(403),
                "{query}"
            );
        }
        let forms: [&[&str]; 6] = [
            &["application/x-www-form-urlencoded"],
            &["multipart/form-data; boundary=x"],
            &["text/plain"],
            &["application/json", "application/x-www-form-urlencoded"],
            &["application/json, application/x-www-form-urlencoded"],
            &[],
        ];
        for types in forms {
            let address = format!("/auth/v1/token?{TOKEN}");
            assert_eq!(
                decide("POST", &address, types, "grant_type=password", false).err(),
                Some(403),
                "{types:?}"
            );
        }
    }

    #[test]
    fn logout_takes_a_known_scope_once() {
        for query in [
            "scope=all",
            "scope=global&scope=local",
            "scope=",
            "Scope=global",
            "x=1",
        ] {
            assert_eq!(
                refused("POST", &format!("/auth/v1/logout?{query}")),
                Some(403),
                "{query}"
            );
        }
    }

    #[test]
    fn the_key_in_the_query_is_taken_out() {
        let passage = judge("GET", "/rest/v1/t", "select=*&apikey=k&id=eq.1", false).unwrap();
        assert_eq!(
            (passage.target.as_str(), passage.query_key.as_deref()),
            ("/t?select=*&id=eq.1", Some("k"))
        );
        let passage = judge(
            "POST",
            "/auth/v1/token",
            &format!("apikey=k&{TOKEN}"),
            false,
        )
        .unwrap();
        assert_eq!(passage.target, format!("/token?{TOKEN}"));
        assert_eq!(refused("GET", "/rest/v1/t?apikey=a&apikey=b"), Some(400));
        assert_eq!(refused("GET", "/auth/v1/user?ApiKey=a"), Some(403));
    }

    #[test]
    fn rest_and_realtime_are_open_and_routed() {
        let routed = [
            ("/rest/v1/", "/"),
            ("/rest/v1", "/"),
            (
                "/rest/v1/waste_entries?select=id&or=(a.eq.1,b.eq.2)",
                "/waste_entries?select=id&or=(a.eq.1,b.eq.2)",
            ),
            ("/rest/v1/rpc/list_waste_entries", "/rpc/list_waste_entries"),
            (
                "/realtime/v1/websocket?vsn=2.0.0",
                "/socket/websocket?vsn=2.0.0",
            ),
            ("/realtime/v1/api/broadcast", "/api/broadcast"),
        ];
        for (address, expected) in routed {
            assert_eq!(decide("GET", address, &[], "", false).unwrap().0, expected);
        }
        for method in ["TRACE", "CONNECT", "PURGE", "get"] {
            assert_eq!(refused(method, "/rest/v1/t"), Some(405), "{method}");
        }
    }

    #[test]
    fn only_a_migration_may_be_large() {
        let cap = |method: &str, path: &str| judge(method, path, "", true).unwrap().max_body_bytes;
        assert_eq!(
            cap("POST", "/rest/v1/rpc/migrate_local"),
            MAX_MIGRATION_BYTES
        );
        assert_eq!(cap("PUT", "/rest/v1/rpc/migrate_local"), MAX_BODY_BYTES);
        assert_eq!(cap("POST", "/rest/v1/rpc/migrate_local/"), MAX_BODY_BYTES);
        assert_eq!(cap("POST", "/rest/v1/waste_entries"), MAX_BODY_BYTES);
        assert_eq!(cap("POST", "/auth/v1/otp"), MAX_BODY_BYTES);
        let long = format!("id=in.({})", "1,".repeat(MAX_TARGET_BYTES / 2));
        assert_eq!(
            judge("GET", "/rest/v1/t", &long, true).unwrap_err().status,
            414
        );
    }

    #[test]
    fn a_user_may_change_data_and_nothing_else() {
        let put =
            |body: &str| decide("PUT", "/auth/v1/user", JSON, body, false).map(|(_, body)| body);
        assert_eq!(
            put(r#" { "data" : {"a": 1e400, "phone": "x"} } "#).unwrap(),
            r#"{"data":{"a":1e+400,"phone":"x"}}"#
        );
        assert_eq!(
            put(r#"{"data":{},"code_challenge":null,"code_challenge_method":null}"#).unwrap(),
            r#"{"data":{}}"#,
            "supabase-js sends these two along"
        );
        let refused = [
            "",
            "{}",
            "[]",
            "null",
            r#"[{"data":{}}]"#,
            r#"{"data":1}"#,
            r#"{"data":null}"#,
            r#"{"data":[]}"#,
            r#"{"Data":{}}"#,
            r#"{"data":{},"phone":"x"}"#,
            r#"{"phone":"x","data":{}}"#,
            r#"{"data":{},"phone":null}"#,
            r#"{"data":{},"Phone":"x"}"#,
            r#"{"data":{},"\u0070hone":"x"}"#,
            r#"{"data":{},"password":"x"}"#,
            r#"{"data":{},"code_challenge":"x"}"#,
            r#"{"data":1,"data":{}}"#,
            r#"{"data":{},"data":{}}"#,
            r#"{"data":{},"d\u0061ta":{"phone":"x"}}"#,
            r#"{"data":{},"attributes":{"phone":"x"}}"#,
            r#"{"data":{}}{"phone":"x"}"#,
            r#"{"data":{},}"#,
            r#"{"data":{}} // phone"#,
            "\u{feff}{\"data\":{}}",
        ];
        for body in refused {
            assert_eq!(put(body).unwrap_err(), 403, "{body}");
        }
        let deep = format!(
            r#"{{"data":{}{}}}"#,
            r#"{"a":"#.repeat(200),
            "}".repeat(200)
        );
        assert_eq!(put(&deep).unwrap_err(), 403);
        for types in [
            &["text/plain"][..],
            &[],
            &["application/json", "application/json"],
        ] {
            assert_eq!(
                decide("PUT", "/auth/v1/user", types, r#"{"data":{}}"#, false).unwrap_err(),
                403
            );
        }
        assert!(
            decide(
                "PUT",
                "/auth/v1/user",
                &["Application/JSON; charset=UTF-8"],
                r#"{"data":{}}"#,
                false
            )
            .is_ok()
        );
        assert!(
            decide("PUT", "/auth/v1/user", JSON, r#"{"phone":"x"}"#, true).is_ok(),
            "the Worker may"
        );
    }
}
