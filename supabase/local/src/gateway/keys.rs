//! API keys, the bearer token that goes on, and the Worker's secret.

use super::denial::Denial;
use crate::settings::Settings;
use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use subtle::{Choice, ConstantTimeEq};

/// The header that carries the Worker's secret.
pub const SECRET_HEADER: &str = "x-edge-secret";
/// The headers by which the Worker states the address of its caller, and proves that the Worker states it. The
/// proof is a secret of its own: it opens nothing that an address does not.
pub const CLIENT_HEADER: &str = "x-edge-client";
/// See [`CLIENT_HEADER`].
pub const CLIENT_PROOF_HEADER: &str = "x-edge-client-proof";
/// Opaque keys start like this, and no JWT does.
const OPAQUE_PREFIX: &str = "sb_";
/// A secret shorter than this can be guessed.
const MIN_SECRET_LENGTH: usize = 16;

const NO_KEY: Denial = Denial::new(
    401,
    "no_api_key",
    "No API key found in request: send the header apikey (or the parameter of that name)",
);
const BAD_KEY: Denial = Denial::new(401, "invalid_api_key", "Invalid API key");
const BAD_BEARER: Denial = Denial::new(
    401,
    "invalid_authorization",
    "Authorization must be one bearer token: a user's JWT, or the API key itself",
);

/// The service's keys, each with the JWT of its role, and the Worker's secrets.
pub struct Keys {
    keys: Vec<([u8; 32], String)>,
    anon: [u8; 32],
    service: [u8; 32],
    secrets: Vec<[u8; 32]>,
    address_secrets: Vec<[u8; 32]>,
}

/// The caller, as far as the gateway can see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Caller {
    /// The Worker, on behalf of this address if it states one.
    Worker(Option<IpAddr>),
    /// A program that holds the service's key.
    Service,
    /// A signed-out visitor.
    SignedOut,
    /// A user with a token of their own, which the gateway does not check.
    SignedIn,
}

/// Digests are compared instead of the values, so that the time taken does not even reveal a length.
fn digest(value: &str) -> [u8; 32] {
    Sha256::digest(value).into()
}

impl Keys {
    /// Reads the keys. The opaque ones are optional, the rest is not.
    pub fn read(settings: &Settings) -> Result<Self, String> {
        let (anon, service) = (
            settings.required("ANON_KEY")?,
            settings.required("SERVICE_ROLE_KEY")?,
        );
        let mut keys = vec![
            (digest(anon), anon.to_owned()),
            (digest(service), service.to_owned()),
        ];
        for (name, role) in [("PUBLISHABLE_KEY", anon), ("SECRET_KEY", service)] {
            if let Some(key) = settings.text(name) {
                keys.push((digest(key), role.to_owned()));
            }
        }
        Ok(Self {
            anon: digest(&format!("Bearer {anon}")),
            service: digest(&format!("Bearer {service}")),
            keys,
            secrets: secrets(settings, "EDGE_SECRETS")?,
            address_secrets: secrets(settings, "EDGE_ADDRESS_SECRETS")?,
        })
    }

    /// Whether the request comes from the Worker: its header, once, with one of the secrets.
    pub fn is_worker(&self, headers: &HeaderMap) -> bool {
        holds(headers, SECRET_HEADER, &self.secrets)
    }

    /// The caller of a request that goes on with this value of Authorization.
    pub fn caller(&self, headers: &HeaderMap, authorization: &str) -> Caller {
        if holds(headers, CLIENT_PROOF_HEADER, &self.address_secrets) {
            let mut stated = headers.get_all(CLIENT_HEADER).iter();
            let address = match (stated.next(), stated.next()) {
                (Some(value), None) => value.to_str().ok().and_then(|text| text.parse().ok()),
                _ => None,
            };
            return Caller::Worker(address);
        }
        if self.is_worker(headers) {
            return Caller::Worker(None);
        }
        let signed_out = authorization.is_empty() || digest(authorization).ct_eq(&self.anon).into();
        match (self.is_service(authorization), signed_out) {
            (true, _) => Caller::Service,
            (_, true) => Caller::SignedOut,
            _ => Caller::SignedIn,
        }
    }

    /// Whether this value of Authorization is the service role's.
    pub fn is_service(&self, authorization: &str) -> bool {
        digest(authorization).ct_eq(&self.service).into()
    }

    /// The value of Authorization for the upstream: the role's JWT of the key, or the user's own.
    pub fn authorization(
        &self,
        headers: &HeaderMap,
        query_key: Option<&str>,
    ) -> Result<String, Denial> {
        let key = presented_key(headers, query_key)?;
        let given = digest(key);
        // Every key is compared, whichever matches.
        let mut role = None;
        for (stored, jwt) in &self.keys {
            if bool::from(stored.ct_eq(&given)) {
                role = Some(jwt);
            }
        }
        let role = role.ok_or(BAD_KEY)?;
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let bearer = match (values.next(), values.next()) {
            (None, _) => return Ok(format!("Bearer {role}")),
            (Some(value), None) => value.to_str().map_err(|_| BAD_BEARER)?,
            _ => return Err(BAD_BEARER),
        };
        let (scheme, token) = bearer.split_once(' ').ok_or(BAD_BEARER)?;
        if !scheme.eq_ignore_ascii_case("bearer")
            || token.is_empty()
            || token.contains(char::is_whitespace)
        {
            return Err(BAD_BEARER);
        }
        if bool::from(digest(token).ct_eq(&given)) {
            return Ok(format!("Bearer {role}"));
        }
        // An opaque key means nothing upstream, and only the key of the request is swapped.
        if token.starts_with(OPAQUE_PREFIX) {
            Err(BAD_BEARER)
        } else {
            Ok(format!("Bearer {token}"))
        }
    }
}

/// One secret, or two while one takes the other's place.
fn secrets(settings: &Settings, name: &str) -> Result<Vec<[u8; 32]>, String> {
    settings.required(name)?;
    let secrets = settings.list(name);
    let short = secrets
        .iter()
        .any(|secret| secret.len() < MIN_SECRET_LENGTH);
    if !(1..=2).contains(&secrets.len()) || short {
        return Err(format!(
            "{name} must hold one or two secrets of {MIN_SECRET_LENGTH} characters or more"
        ));
    }
    Ok(secrets.iter().map(|secret| digest(secret)).collect())
}

/// Whether a header is there once and holds one of the secrets.
fn holds(headers: &HeaderMap, name: &str, secrets: &[[u8; 32]]) -> bool {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let given: [u8; 32] = Sha256::digest(value.as_bytes()).into();
    secrets
        .iter()
        .fold(Choice::from(0), |found, secret| {
            found | secret.ct_eq(&given)
        })
        .into()
}

fn presented_key<'a>(
    headers: &'a HeaderMap,
    query_key: Option<&'a str>,
) -> Result<&'a str, Denial> {
    let mut values = headers.get_all("apikey").iter();
    match (values.next(), values.next(), query_key) {
        (Some(value), None, None) => value.to_str().map_err(|_| BAD_KEY),
        (None, None, Some(key)) => Ok(key),
        (Some(value), None, Some(key)) if value == key => Ok(key),
        (None, None, None) => Err(NO_KEY),
        _ => Err(BAD_KEY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    const PAIRS: [(&str, &str); 6] = [
        ("ANON_KEY", "a.n.on"),
        ("SERVICE_ROLE_KEY", "s.v.c"),
        ("PUBLISHABLE_KEY", "sb_publishable_1"),
        ("SECRET_KEY", "sb_secret_1"),
        ("EDGE_SECRETS", "first-secret-0001, second-secret-002"),
        ("EDGE_ADDRESS_SECRETS", "address-secret-01"),
    ];

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn authorization(pairs: &[(&str, &str)], query: Option<&str>) -> Result<String, u16> {
        let keys = Keys::read(&Settings::of(&PAIRS)).unwrap();
        keys.authorization(&headers(pairs), query)
            .map_err(|denial| denial.status)
    }

    #[test]
    fn keys_become_the_jwt_of_their_role() {
        for (key, jwt) in [
            ("a.n.on", "a.n.on"),
            ("sb_publishable_1", "a.n.on"),
            ("sb_secret_1", "s.v.c"),
            ("s.v.c", "s.v.c"),
        ] {
            let expected = Ok(format!("Bearer {jwt}"));
            assert_eq!(authorization(&[("apikey", key)], None), expected);
            assert_eq!(authorization(&[], Some(key)), expected);
            assert_eq!(
                authorization(
                    &[("apikey", key), ("authorization", &format!("Bearer {key}"))],
                    None
                ),
                expected
            );
            assert_eq!(authorization(&[("apikey", key)], Some(key)), expected);
        }
    }

    #[test]
    fn a_users_own_token_goes_on() {
        let given = [
            ("apikey", "sb_publishable_1"),
            ("authorization", "bearer u.s.er"),
        ];
        assert_eq!(authorization(&given, None), Ok("Bearer u.s.er".into()));
    }

    #[test]
    fn a_key_is_taken_only_where_a_key_belongs() {
        let refused: [&[(&str, &str)]; 10] = [
            &[],
            &[("authorization", "Bearer s.v.c")],
            &[("authorization", "Bearer sb_secret_1")],
            &[("apikey", "sb_secret_2")],
            &[("apikey", "")],
            &[("apikey", "a.n.on"), ("apikey", "s.v.c")],
            &[
                ("apikey", "a.n.on"),
                ("authorization", "Bearer sb_secret_1"),
            ],
            &[("apikey", "a.n.on"), ("authorization", "Basic YTpi")],
            &[
                ("apikey", "a.n.on"),
                ("authorization", "Bearer u.s.er"),
                ("authorization", "Bearer s.v.c"),
            ],
            &[("apikey", "a.n.on"), ("authorization", "Bearer a b")],
        ];
        for given in refused {
            assert_eq!(authorization(given, None), Err(401), "{given:?}");
        }
        assert_eq!(
            authorization(&[("apikey", "a.n.on")], Some("s.v.c")),
            Err(401)
        );
    }

    #[test]
    fn either_secret_makes_the_worker_and_nothing_else_does() {
        let keys = Keys::read(&Settings::of(&PAIRS)).unwrap();
        let is_worker = |pairs: &[(&str, &str)]| keys.is_worker(&headers(pairs));
        assert!(is_worker(&[(SECRET_HEADER, "first-secret-0001")]));
        assert!(is_worker(&[("X-Edge-Secret", "second-secret-002")]));
        for value in [
            "",
            "first-secret-000",
            "first-secret-00011",
            "First-secret-0001",
            "first-secret-0001, second-secret-002",
        ] {
            assert!(!is_worker(&[(SECRET_HEADER, value)]), "{value}");
        }
        assert!(!is_worker(&[]));
        assert!(!is_worker(&[
            (SECRET_HEADER, "first-secret-0001"),
            (SECRET_HEADER, "first-secret-0001")
        ]));
    }

    #[test]
    fn the_address_secret_makes_the_address_and_opens_nothing() {
        let keys = Keys::read(&Settings::of(&PAIRS)).unwrap();
        let proof = (CLIENT_PROOF_HEADER, "address-secret-01");
        let caller = |pairs: &[(&str, &str)]| keys.caller(&headers(pairs), "Bearer u.s.er");
        let stated = caller(&[proof, (CLIENT_HEADER, "2001:db8::1")]);
        assert_eq!(stated, Caller::Worker("2001:db8::1".parse().ok()));
        assert_eq!(caller(&[proof]), Caller::Worker(None));
        assert_eq!(caller(&[proof, (CLIENT_HEADER, "x")]), Caller::Worker(None));
        assert!(!keys.is_worker(&headers(&[proof])));
        assert!(!keys.is_worker(&headers(&[(SECRET_HEADER, proof.1)])));
        for wrong in ["", "address-secret-02", "first-secret-0001"] {
            let claimed = [(CLIENT_PROOF_HEADER, wrong), (CLIENT_HEADER, "192.0.2.1")];
            assert_eq!(caller(&claimed), Caller::SignedIn, "{wrong}");
        }
        assert_eq!(caller(&[(CLIENT_HEADER, "192.0.2.1")]), Caller::SignedIn);
        let other = |authorization| keys.caller(&HeaderMap::new(), authorization);
        assert_eq!(other("Bearer a.n.on"), Caller::SignedOut);
        assert_eq!(other(""), Caller::SignedOut);
        assert_eq!(other("Bearer s.v.c"), Caller::Service);
    }

    #[test]
    fn weak_or_missing_secrets_stop_the_start() {
        for secrets in [
            "",
            "short",
            "first-secret-0001,x",
            "first-secret-0001,second-secret-002,third-secret-0003",
        ] {
            for name in ["EDGE_SECRETS", "EDGE_ADDRESS_SECRETS"] {
                let mut pairs = PAIRS.to_vec();
                pairs.push((name, secrets));
                let refused = Keys::read(&Settings::of(&pairs)).err().unwrap();
                assert!(refused.contains(name), "{name} {secrets}");
            }
        }
    }
}
