//! Who is calling: verification of the access tokens that Auth signs (HS256).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::OperatorToken;
use crate::crypto::bytes::constant_time_eq;
use crate::error::ApiError;
use crate::uuid::is_uuid;

/// Clocks of the origin and of the edge may differ by this much (seconds).
const CLOCK_TOLERANCE_SECS: i64 = 5;
/// Longer tokens are refused unread; Auth's own have about 700 bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A signed-in user, proved by an access token.
#[derive(Clone, Debug)]
pub struct Session {
    /// The token as it came, to be handed to PostgREST and Auth.
    pub token: String,
    /// The user's id (a UUID).
    pub user_id: String,
    /// Whether the user was anonymous when the token was made; they may have an account by now.
    pub was_anonymous: bool,
}

/// What a token must say.
pub struct TokenRules<'a> {
    /// The key that Auth signs with.
    pub secret: &'a [u8],
    pub issuer: &'a str,
    /// Now, in seconds since 1970.
    pub now_secs: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(default)]
    nbf: i64,
    iss: String,
    aud: Value,
    role: String,
    #[serde(default)]
    is_anonymous: bool,
}

/// Whether `aud`, one audience or a list of them, names signed-in users.
fn is_authenticated(audience: &Value) -> bool {
    let one = |audience: &Value| audience == "authenticated";
    one(audience) || audience.as_array().is_some_and(|all| all.iter().any(one))
}

/// Reads the `Authorization` header.
///
/// # Errors
/// `AUTH_REQUIRED` without a header, `AUTH_INVALID` with one that is not a bearer token.
pub fn bearer_token(header: Option<&str>) -> Result<&str, ApiError> {
    let header = header.map(str::trim).filter(|h| !h.is_empty());
    let Some(header) = header else {
        return Err(ApiError::auth_required());
    };
    match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(ApiError::auth_invalid()),
    }
}

/// Whether the `Authorization` header bears this secret.
///
/// # Errors
/// As [`bearer_token`], and `AUTH_INVALID` for any other token.
pub fn prove_secret(header: Option<&str>, secret: &str) -> Result<(), ApiError> {
    // Digests have one length, so that the time this takes reveals nothing.
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    if constant_time_eq(&digest(bearer_token(header)?), &digest(secret)) {
        Ok(())
    } else {
        Err(ApiError::auth_invalid())
    }
}

/// The operator whose token the `Authorization` header bears.
///
/// # Errors
/// As [`bearer_token`], and `AUTH_INVALID` for an unlisted token.
pub fn prove_operator<'a>(
    header: Option<&str>,
    tokens: &'a [OperatorToken],
) -> Result<&'a str, ApiError> {
    let digest = Sha256::digest(bearer_token(header)?.as_bytes());
    // All are compared, so that the time this takes does not depend on whose token it is.
    let mut found = None;
    for token in tokens {
        if constant_time_eq(&token.digest, &digest) {
            found = Some(token.name.as_str());
        }
    }
    found.ok_or_else(ApiError::auth_invalid)
}

/// Verifies signature, algorithm, times, audience, issuer and role of an access token.
/// The comparison of the signature takes the same time wherever it differs.
///
/// # Errors
/// `AUTH_EXPIRED` for a genuine token past its time, `AUTH_INVALID` for anything else.
pub fn verify(token: &str, rules: &TokenRules) -> Result<Session, ApiError> {
    let claims = genuine_claims(token, rules.secret).ok_or_else(ApiError::auth_invalid)?;
    let right = is_authenticated(&claims.aud)
        && claims.iss == rules.issuer
        && claims.role == "authenticated"
        && is_uuid(&claims.sub)
        && claims.nbf <= rules.now_secs + CLOCK_TOLERANCE_SECS;
    if !right {
        return Err(ApiError::auth_invalid());
    }
    if claims.exp <= rules.now_secs {
        return Err(ApiError::auth_expired());
    }
    Ok(Session {
        token: token.to_owned(),
        user_id: claims.sub,
        was_anonymous: claims.is_anonymous,
    })
}

fn genuine_claims(token: &str, secret: &[u8]) -> Option<Claims> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.alg != "HS256" {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(signed.as_bytes());
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?)
        .ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use carbon_dev_jwt::sign_as;
    use serde_json::{Value, json};

    const SECRET: &[u8] = b"a-secret-of-at-least-thirty-two-bytes";
    const NOW: i64 = 1_800_000_000;

    fn claims() -> Value {
        json!({
            "sub": "6f1b0b1e-3c52-4f43-9a53-1f6a5a1f0c11", "aud": "authenticated",
            "iss": "http://auth", "role": "authenticated", "exp": NOW + 10,
            "is_anonymous": true, "user_metadata": {"role": "service_role"},
        })
    }

    fn code_of(token: &str) -> Result<Session, Code> {
        let rules = TokenRules {
            secret: SECRET,
            issuer: "http://auth",
            now_secs: NOW,
        };
        verify(token, &rules).map_err(|error| error.code)
    }

    fn with(name: &str, value: Value) -> Result<Session, Code> {
        let mut claims = claims();
        claims[name] = value;
        code_of(&sign_as(&json!({"alg": "HS256"}), SECRET, &claims))
    }

    #[test]
    fn a_genuine_token_names_the_user() {
        let session = with("exp", json!(NOW + 1)).unwrap();
        assert_eq!(session.user_id, "6f1b0b1e-3c52-4f43-9a53-1f6a5a1f0c11");
        assert!(session.was_anonymous);
        assert!(!with("is_anonymous", json!(false)).unwrap().was_anonymous);
        assert!(with("aud", json!(["x", "authenticated"])).is_ok());
    }

    #[test]
    fn an_old_token_is_expired() {
        assert_eq!(with("exp", json!(NOW)).unwrap_err(), Code::AuthExpired);
    }

    #[test]
    fn other_audiences_issuers_roles_and_algorithms_are_refused() {
        for (name, value) in [
            ("aud", json!("other")),
            ("iss", json!("http://else")),
            ("role", json!("service_role")),
            ("role", json!("anon")),
            ("sub", json!("not-a-uuid")),
            ("nbf", json!(NOW + 60)),
        ] {
            assert_eq!(with(name, value).unwrap_err(), Code::AuthInvalid, "{name}");
        }
        for alg in ["none", "HS384", "RS256", "hs256"] {
            let token = sign_as(&json!({"alg": alg}), SECRET, &claims());
            assert_eq!(code_of(&token).unwrap_err(), Code::AuthInvalid);
        }
    }

    #[test]
    fn foreign_and_broken_signatures_are_refused() {
        let good = sign_as(&json!({"alg": "HS256"}), SECRET, &claims());
        let (signed, _) = good.rsplit_once('.').unwrap();
        for token in [
            sign_as(&json!({"alg": "HS256"}), b"another-secret", &claims()),
            format!("{signed}."),
            signed.to_owned(),
            String::new(),
            "a.b.c".to_owned(),
            "x".repeat(MAX_TOKEN_BYTES + 1),
        ] {
            assert_eq!(code_of(&token).unwrap_err(), Code::AuthInvalid);
        }
    }

    #[test]
    fn a_token_may_have_8192_bytes_and_no_more() {
        let long = |pad: usize| {
            let mut claims = claims();
            claims["pad"] = json!("x".repeat(pad));
            sign_as(&json!({"alg": "HS256"}), SECRET, &claims)
        };
        let pad = (5_800..6_200).find(|pad| long(*pad).len() >= 8_192);
        let token = long(pad.unwrap());
        assert_eq!(token.len(), 8_192);
        assert!(code_of(&token).is_ok());
        let longer = long(pad.unwrap() + 1);
        assert_eq!(code_of(&longer).unwrap_err(), Code::AuthInvalid);
    }

    #[test]
    fn a_token_of_a_clock_five_seconds_ahead_is_taken() {
        assert!(with("nbf", json!(NOW + 5)).is_ok());
        assert_eq!(with("nbf", json!(NOW + 6)).unwrap_err(), Code::AuthInvalid);
    }

    #[test]
    fn a_secret_is_proved_by_that_secret_alone() {
        assert!(prove_secret(Some("Bearer secret"), "secret").is_ok());
        for (header, code) in [
            (None, Code::AuthRequired),
            (Some("Bearer"), Code::AuthInvalid),
            (Some("Bearer secre"), Code::AuthInvalid),
            (Some("Bearer secret2"), Code::AuthInvalid),
            (Some("Basic secret"), Code::AuthInvalid),
        ] {
            assert_eq!(prove_secret(header, "secret").unwrap_err().code, code);
        }
    }

    #[test]
    fn an_operator_is_named_by_either_of_their_tokens() {
        let token = |name: &str, token: &str| OperatorToken {
            name: name.to_owned(),
            digest: Sha256::digest(token.as_bytes()).into(),
        };
        let tokens = [
            token("nok", "old"),
            token("nok", "new"),
            token("dao", "other"),
        ];
        for (bearer, name) in [("old", "nok"), ("new", "nok"), ("other", "dao")] {
            let header = format!("Bearer {bearer}");
            assert_eq!(prove_operator(Some(&header), &tokens).unwrap(), name);
        }
        for (header, code) in [
            (None, Code::AuthRequired),
            (Some("Bearer nok"), Code::AuthInvalid),
            (Some("Bearer "), Code::AuthInvalid),
            (Some("Basic old"), Code::AuthInvalid),
        ] {
            assert_eq!(prove_operator(header, &tokens).unwrap_err().code, code);
        }
        assert!(prove_operator(Some("Bearer old"), &[]).is_err());
    }

    #[test]
    fn the_header_must_hold_a_bearer_token() {
        assert_eq!(bearer_token(Some("Bearer abc")).unwrap(), "abc");
        assert_eq!(bearer_token(Some("bearer  abc ")).unwrap(), "abc");
        assert_eq!(bearer_token(None).unwrap_err().code, Code::AuthRequired);
        assert_eq!(
            bearer_token(Some(" ")).unwrap_err().code,
            Code::AuthRequired
        );
        assert_eq!(
            bearer_token(Some("Basic abc")).unwrap_err().code,
            Code::AuthInvalid
        );
    }
}
