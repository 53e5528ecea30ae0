//! Which headers go on, in both directions.

use super::keys::{CLIENT_HEADER, CLIENT_PROOF_HEADER, SECRET_HEADER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use std::net::IpAddr;

/// Headers of one connection, not of the message.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Rewritten for the upstream, or meant for the gateway alone.
const OWN: &[&str] = &[
    "host",
    "content-length",
    "expect",
    "apikey",
    "authorization",
    "prefer",
    SECRET_HEADER,
    CLIENT_HEADER,
    CLIENT_PROOF_HEADER,
];
/// By these a client could claim to be someone else, or ask for something else than its first line says.
const CLAIMS: &[&str] = &[
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "fastly-client-ip",
    "sb-forwarded-for",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-jwt-aud",
];
const CLAIM_PREFIXES: &[&str] = &[
    "x-forwarded-",
    "cf-",
    "x-original-",
    "x-rewrite-",
    "x-envoy-",
];
/// What the Worker may state about the user it acts for.
const WORKER_MAY_STATE: &[&str] = &[
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-real-ip",
    "cf-connecting-ip",
];

/// The headers for the upstream.
pub fn for_upstream(
    given: &HeaderMap,
    authorization: &str,
    peer: IpAddr,
    worker: bool,
) -> HeaderMap {
    let named: Vec<String> = connection_options(given);
    let mut headers = HeaderMap::with_capacity(given.len() + 2);
    for (name, value) in given {
        let text = name.as_str();
        let claim =
            CLAIMS.contains(&text) || CLAIM_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
        let stated = worker && WORKER_MAY_STATE.contains(&text);
        if HOP_BY_HOP.contains(&text)
            || OWN.contains(&text)
            || named.iter().any(|n| n == text)
            || (claim && !stated)
        {
            continue;
        }
        headers.append(name, value.clone());
    }
    if let Ok(value) = HeaderValue::from_str(authorization) {
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Some(value) = exact_counts(given) {
        headers.insert(HeaderName::from_static("prefer"), value);
    }
    if !headers.contains_key("x-forwarded-for")
        && let Ok(value) = HeaderValue::from_str(&peer.to_string())
    {
        headers.insert("x-forwarded-for", value);
    }
    headers
}

fn connection_options(headers: &HeaderMap) -> Vec<String> {
    let values = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|option| option.trim().to_ascii_lowercase())
        .collect()
}

/// All preferences in one header, with every count made exact: planned and estimated ones come from the
/// planner's statistics, which ignore row-level security.
fn exact_counts(headers: &HeaderMap) -> Option<HeaderValue> {
    let values = headers.get_all("prefer").iter();
    let texts: Vec<String> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    if texts.is_empty() {
        return None;
    }
    let preferences = texts
        .iter()
        .flat_map(|text| text.split([',', ';']))
        .map(str::trim)
        .filter(|p| !p.is_empty());
    let exact = preferences.map(|preference| {
        let name = preference.split('=').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("count") {
            "count=exact"
        } else {
            preference
        }
    });
    HeaderValue::from_str(&exact.collect::<Vec<_>>().join(", ")).ok()
}

/// The upstream's headers for the client: without those of the connection, with CORS as Supabase's gateway.
pub fn for_client(mut headers: HeaderMap) -> HeaderMap {
    let mut gone = connection_options(&headers);
    gone.extend(HOP_BY_HOP.iter().map(|name| (*name).to_owned()));
    gone.extend(
        headers
            .keys()
            .map(|name| name.as_str().to_owned())
            .filter(|n| n.starts_with("access-control-")),
    );
    for name in gone {
        headers.remove(name);
    }
    allow_all_origins(&mut headers);
    headers
}

/// No cookies are used, so any page may read the answers it has a token for.
pub fn allow_all_origins(headers: &mut HeaderMap) {
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("*"),
    );
}

/// The answer's headers to a preflight: the requested headers are allowed.
pub fn for_preflight(given: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    allow_all_origins(&mut headers);
    let requested = given.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        requested.unwrap_or(HeaderValue::from_static("*")),
    );
    let methods = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("3600"),
    );
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn sent(pairs: &[(&str, &str)], worker: bool) -> HeaderMap {
        for_upstream(
            &headers(pairs),
            "Bearer x",
            "127.0.0.1".parse().unwrap(),
            worker,
        )
    }

    fn prefer(values: &[&str]) -> String {
        let pairs: Vec<_> = values.iter().map(|value| ("Prefer", *value)).collect();
        let sent = sent(&pairs, false);
        assert_eq!(sent.get_all("prefer").iter().count(), 1);
        sent["prefer"].to_str().unwrap().to_owned()
    }

    #[test]
    fn every_count_is_exact() {
        assert_eq!(prefer(&["count=planned"]), "count=exact");
        assert_eq!(
            prefer(&["return=representation, Count = estimated,tx=commit"]),
            "return=representation, count=exact, tx=commit"
        );
        assert_eq!(
            prefer(&["return=minimal", "COUNT=planned"]),
            "return=minimal, count=exact"
        );
        assert_eq!(
            prefer(&["count=exact; count=planned", "count"]),
            "count=exact, count=exact, count=exact"
        );
        assert_eq!(prefer(&["count=\"planned\""]), "count=exact");
        assert_eq!(
            prefer(&["max-affected=1, return=headers-only"]),
            "max-affected=1, return=headers-only"
        );
        assert!(sent(&[], false).get("prefer").is_none());
    }

    #[test]
    fn clients_cannot_say_where_they_come_from() {
        let claims = [
            ("X-Forwarded-For", "1.2.3.4"),
            ("x-forwarded-host", "evil"),
            ("Forwarded", "for=1.2.3.4"),
            ("X-Real-IP", "1.2.3.4"),
            ("CF-Connecting-IP", "1.2.3.4"),
            ("True-Client-IP", "1.2.3.4"),
            ("Sb-Forwarded-For", "1.2.3.4"),
            ("X-HTTP-Method-Override", "DELETE"),
            ("X-JWT-AUD", "other"),
        ];
        let plain = sent(&claims, false);
        assert_eq!(plain["x-forwarded-for"], "127.0.0.1");
        assert_eq!(plain.len(), 2, "{plain:?}");
        let worker = sent(&claims, true);
        assert_eq!(
            (&worker["x-forwarded-for"], &worker["cf-connecting-ip"]),
            (&"1.2.3.4".parse().unwrap(), &"1.2.3.4".parse().unwrap())
        );
        assert!(!worker.contains_key("x-forwarded-host") && !worker.contains_key("x-jwt-aud"));
    }

    #[test]
    fn secrets_keys_and_connection_headers_stay_here() {
        let given = [
            (SECRET_HEADER, "s"),
            ("apikey", "k"),
            ("authorization", "Bearer old"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("accept-profile", "public"),
        ];
        let sent = sent(&given, true);
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["accept-profile", "authorization", "x-forwarded-for"]
        );
        assert_eq!(sent["authorization"], "Bearer x");
    }

    #[test]
    fn cors_is_the_gateways_alone() {
        let answer = for_client(headers(&[
            ("access-control-allow-origin", "http://one"),
            ("content-range", "0-1/2"),
        ]));
        assert_eq!(
            (
                answer["access-control-allow-origin"].to_str().unwrap(),
                answer.len()
            ),
            ("*", 3)
        );
    }
}
