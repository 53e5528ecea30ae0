//! What a token says about its holder.

use carbon_dev_jwt::{self as jwt, Fault};
use chrono::Utc;
use serde_json::Value;

/// The claims of a token that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// All of them, for the database.
    pub all: Value,
    pub role: String,
    /// The user's id; empty in the keys of the service.
    pub subject: String,
    /// When the token ends, in seconds.
    pub expires: f64,
}

/// Why a token is refused, in the words of the real server: its code and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// A stable word.
    pub code: &'static str,
    pub message: String,
}

fn refusal(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        code,
        message: message.into(),
    }
}

/// The current time in seconds.
pub fn now() -> f64 {
    Utc::now().timestamp_micros() as f64 / 1e6
}

/// Reads a token and checks its signature and time.
pub fn read(secret: &str, token: &str, now: f64) -> Result<Claims, Refusal> {
    let all = jwt::open(secret, token).map_err(|fault| match fault {
        Fault::Malformed => refusal("MalformedJWT", "The token provided is not a valid JWT"),
        Fault::Method | Fault::Signature => {
            refusal("JwtSignatureError", "Failed to validate JWT signature")
        }
    })?;
    let text = |name: &str| all[name].as_str().map(str::to_owned);
    let (Some(role), Some(expires)) = (text("role"), all["exp"].as_f64()) else {
        return Err(refusal(
            "InvalidJWTToken",
            "Fields `role` and `exp` are required in JWT",
        ));
    };
    if expires <= now {
        let ago = (now - expires).floor();
        return Err(refusal(
            "InvalidJWTToken",
            format!("Token has expired {ago} seconds ago"),
        ));
    }
    let subject = text("sub").unwrap_or_default();
    Ok(Claims {
        all,
        role,
        subject,
        expires,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_needs_signature_role_and_time() {
        let code = |claims: Value, now: f64| {
            read("s", &jwt::sign("s", &claims), now).map_err(|refusal| refusal.code)
        };
        let claims_in = json!({ "role": "authenticated", "sub": "u", "exp": 100 });
        let claims = code(claims_in.clone(), 99.9).unwrap();
        assert_eq!(
            (
                claims.role.as_str(),
                claims.subject.as_str(),
                claims.expires
            ),
            ("authenticated", "u", 100.0)
        );
        assert_eq!(code(claims_in.clone(), 100.0), Err("InvalidJWTToken"));
        assert_eq!(code(json!({ "role": "anon" }), 0.0), Err("InvalidJWTToken"));
        assert_eq!(code(json!({ "exp": 100 }), 0.0), Err("InvalidJWTToken"));
        let other = jwt::sign("t", &claims_in);
        assert_eq!(
            read("s", &other, 0.0).unwrap_err().code,
            "JwtSignatureError"
        );
        assert_eq!(read("s", "a.b", 0.0).unwrap_err().code, "MalformedJWT");
        let late = read("s", &jwt::sign("s", &claims_in), 104.5).unwrap_err();
        assert_eq!(late.message, "Token has expired 4 seconds ago");
    }
}
