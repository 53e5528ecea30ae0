//! JSON Web Tokens of the kind that Auth signs on a developer's machine: HS256 and nothing else.
//!
//! One implementation for all stand-ins for Auth and tests against it. The Worker, which is shipped, has
//! its own verification, and is tested with tokens from here.

#![forbid(unsafe_code)]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// An access token of this product is about 1 KB; anything longer than this is not one.
const MAX_BYTES: usize = 16 * 1024;

/// Why a token is invalid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It is malformed.
    Malformed,
    /// It uses another algorithm.
    Method,
    /// It is not signed with the secret.
    Signature,
}

fn mac(secret: &[u8], text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac
}

/// Signs the claims.
#[must_use]
pub fn sign(secret: &str, claims: &Value) -> String {
    sign_as(
        &json!({ "alg": "HS256", "typ": "JWT" }),
        secret.as_bytes(),
        claims,
    )
}

/// Signs the claims with an arbitrary header; the signature is always HS256.
#[must_use]
pub fn sign_as(header: &Value, secret: &[u8], claims: &Value) -> String {
    let text = [header, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
        .join(".");
    let signature = URL_SAFE_NO_PAD.encode(mac(secret, &text).finalize().into_bytes());
    format!("{text}.{signature}")
}

/// Verifies form, algorithm and signature (in constant time) and returns the claims, whose times the caller
/// must check.
///
/// # Errors
/// What is wrong with the token.
pub fn open(secret: &str, token: &str) -> Result<Value, Fault> {
    if token.len() > MAX_BYTES {
        return Err(Fault::Malformed);
    }
    let (text, signature) = token.rsplit_once('.').ok_or(Fault::Malformed)?;
    let (header, payload) = text.split_once('.').ok_or(Fault::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed);
    let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| Fault::Malformed)?;
    if header["alg"] != "HS256" {
        return Err(Fault::Method);
    }
    let signed = mac(secret.as_bytes(), text).verify_slice(&decode(signature)?);
    signed.map_err(|_| Fault::Signature)?;
    serde_json::from_slice(&decode(payload)?).map_err(|_| Fault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_with_its_secret_only() {
        let token = sign("secret", &json!({ "sub": "u" }));
        assert_eq!(open("secret", &token), Ok(json!({ "sub": "u" })));
        assert_eq!(open("other", &token), Err(Fault::Signature));
    }

    #[test]
    fn other_algorithms_and_broken_tokens_are_refused() {
        let payload = URL_SAFE_NO_PAD.encode("{}");
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS512"}"#, "{}", "x"] {
            let text = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
            let signature = URL_SAFE_NO_PAD.encode(mac(b"s", &text).finalize().into_bytes());
            assert!(
                open("s", &format!("{text}.{signature}")).is_err(),
                "{header}"
            );
            assert!(open("s", &format!("{text}.")).is_err(), "{header}");
        }
        for token in ["", ".", "..", "a.b", "a.b.c.d"] {
            assert!(open("s", token).is_err(), "{token}");
        }
        assert_eq!(open("s", &"x".repeat(MAX_BYTES + 1)), Err(Fault::Malformed));
    }
}
