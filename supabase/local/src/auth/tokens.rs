//! Access tokens (JWT, HS256) and the random strings that Auth hands out.

use super::error::{ApiError, ApiResult};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use rand::Rng;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha224, Sha256};
use std::fmt::Write;

/// Length of a refresh token; letters and digits, 36¹² ≈ 4.7 × 10¹⁸ of them.
pub const REFRESH_TOKEN_LENGTH: usize = 12;
/// An access token of this product is about 1 KB; whatever is longer than this is not one.
const JWT_MAX_BYTES: usize = 16 * 1024;

/// What the server reads out of a token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// The user's id; absent in the keys of the service.
    pub sub: String,
    /// Database role.
    pub role: String,
    /// The session the token was issued for; empty in the keys of the service.
    pub session_id: String,
    aud: Value,
    exp: Option<f64>,
    nbf: Option<f64>,
}

impl Claims {
    /// The first audience, when there is one.
    pub fn audience(&self) -> Option<&str> {
        let first = self
            .aud
            .as_array()
            .map_or(Some(&self.aud), |list| list.first());
        first.and_then(Value::as_str).filter(|aud| !aud.is_empty())
    }
}

fn mac(secret: &str, text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac
}

/// Signs the claims.
pub fn sign(secret: &str, claims: &Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let text = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(mac(secret, &text).finalize().into_bytes());
    format!("{text}.{signature}")
}

/// Checks form, algorithm (HS256 and nothing else), signature (in constant time) and time, `now` in seconds.
pub fn verify(secret: &str, token: &str, now: f64) -> ApiResult<Claims> {
    let malformed = || ApiError::bad_jwt("malformed token");
    if token.len() > JWT_MAX_BYTES {
        return Err(malformed());
    }
    let (text, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, payload) = text.split_once('.').ok_or_else(malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
    let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
    if header["alg"] != "HS256" {
        return Err(ApiError::bad_jwt("signing method is not accepted"));
    }
    let signed = mac(secret, text).verify_slice(&decode(signature)?);
    signed.map_err(|_| ApiError::bad_jwt("signature is invalid"))?;
    let claims: Value = serde_json::from_slice(&decode(payload)?).map_err(|_| malformed())?;
    let claims: Claims = serde_json::from_value(claims).map_err(|_| malformed())?;
    if claims.exp.is_some_and(|exp| now >= exp) {
        return Err(ApiError::bad_jwt("token is expired"));
    }
    if claims.nbf.is_some_and(|nbf| now < nbf) {
        return Err(ApiError::bad_jwt("token is not valid yet"));
    }
    Ok(claims)
}

/// A new refresh token.
pub fn refresh_token() -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    (0..REFRESH_TOKEN_LENGTH)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect()
}

/// A new code of `length` decimal digits, each of them equally likely.
pub fn otp(length: u32) -> String {
    let code = rand::rng().random_range(0..10u64.pow(length));
    format!("{code:0width$}", width = length as usize)
}

/// What the database keeps of a code: the SHA-224 of recipient and code, as hexadecimal digits.
pub fn otp_hash(recipient: &str, code: &str) -> String {
    let digest = Sha224::new()
        .chain_update(recipient)
        .chain_update(code)
        .finalize();
    digest
        .iter()
        .fold(String::with_capacity(56), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_verifies_only_with_its_secret_and_in_its_time() {
        let token = sign(
            "secret",
            &json!({ "sub": "u", "aud": ["a", "b"], "nbf": 50, "exp": 100.5 }),
        );
        assert_eq!(
            verify("secret", &token, 100.0).unwrap().audience(),
            Some("a")
        );
        for (secret, now) in [("other", 60.0), ("secret", 100.5), ("secret", 49.0)] {
            assert_eq!(verify(secret, &token, now).unwrap_err().code, "bad_jwt");
        }
    }

    #[test]
    fn other_algorithms_and_broken_tokens_are_refused() {
        let payload = URL_SAFE_NO_PAD.encode("{}");
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS512"}"#, "{}", "x"] {
            let text = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
            let signature = URL_SAFE_NO_PAD.encode(mac("s", &text).finalize().into_bytes());
            assert!(
                verify("s", &format!("{text}.{signature}"), 0.0).is_err(),
                "{header}"
            );
            assert!(verify("s", &format!("{text}."), 0.0).is_err(), "{header}");
        }
        for token in ["", ".", "..", "a.b", "a.b.c.d"] {
            assert!(verify("s", token, 0.0).is_err(), "{token}");
        }
    }

    #[test]
    fn codes_have_their_length_and_hashes_are_known() {
        assert!((0..200).all(|_| otp(10).len() == 10 && otp(6).len() == 6));
        assert_eq!(otp_hash("66812345678", "123456").len(), 56);
        // `printf abc | sha224sum`
        assert_eq!(
            otp_hash("a", "bc"),
            "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"
        );
        let token = refresh_token();
        assert!(
            token.len() == 12
                && token
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        );
    }
}
