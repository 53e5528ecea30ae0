//! Access tokens and the random strings that Auth hands out.

use super::error::{ApiError, ApiResult};
use carbon_dev_jwt::{self as jwt, Fault};
use rand::Rng;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha224};
use std::fmt::Write;

/// Length of a refresh token; letters and digits, 36¹² ≈ 4.7 × 10¹⁸ of them.
pub const REFRESH_TOKEN_LENGTH: usize = 12;

/// What the server reads out of a token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// The user's id; absent in the keys of the service.
    pub sub: String,
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

/// Checks form, algorithm, signature and time, `now` in seconds.
pub fn verify(secret: &str, token: &str, now: f64) -> ApiResult<Claims> {
    let claims = jwt::open(secret, token).map_err(|fault| {
        ApiError::bad_jwt(match fault {
            Fault::Malformed => "malformed token",
            Fault::Method => "signing method is not accepted",
            Fault::Signature => "signature is invalid",
        })
    })?;
    let claims: Claims =
        serde_json::from_value(claims).map_err(|_| ApiError::bad_jwt("malformed token"))?;
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

/// What the database stores of a code: the SHA-224 of recipient and code, as hexadecimal digits.
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
        let token = jwt::sign(
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
