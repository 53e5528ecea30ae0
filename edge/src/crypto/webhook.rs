//! Standard Webhooks signatures, by which Auth proves that a hook call is its own.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A message may be this old or this far ahead (seconds): the specification's five minutes.
pub const TOLERANCE_SECS: i64 = 300;

/// The headers of a signed message.
pub struct Signed<'a> {
    pub id: &'a str,
    /// `webhook-timestamp`, seconds since 1970.
    pub timestamp: &'a str,
    /// `webhook-signature`: `v1,<base64>` items with spaces between them.
    pub signature: &'a str,
}

/// The key in a secret written `v1,whsec_<base64>` (or `whsec_<base64>`); `None` if it is not one.
pub fn key_from_secret(secret: &str) -> Option<Vec<u8>> {
    let secret = secret.strip_prefix("v1,").unwrap_or(secret);
    STANDARD.decode(secret.strip_prefix("whsec_")?).ok()
}

/// Whether one of `keys` (two during a rotation) signed this body with these headers, lately.
/// Each comparison takes the same time wherever it differs.
pub fn is_genuine(signed: &Signed, body: &[u8], keys: &[Vec<u8>], now_secs: i64) -> bool {
    let Ok(at) = signed.timestamp.parse::<i64>() else {
        return false;
    };
    if signed.id.is_empty() || at.abs_diff(now_secs) > TOLERANCE_SECS.unsigned_abs() {
        return false;
    }
    let given = signed
        .signature
        .split(' ')
        .filter_map(|item| item.strip_prefix("v1,"))
        .filter_map(|item| STANDARD.decode(item).ok());
    given.into_iter().any(|signature| {
        keys.iter().any(|key| {
            Hmac::<Sha256>::new_from_slice(key).is_ok_and(|mut mac| {
                mac.update(signed.id.as_bytes());
                mac.update(b".");
                mac.update(signed.timestamp.as_bytes());
                mac.update(b".");
                mac.update(body);
                mac.verify_slice(&signature).is_ok()
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the Standard Webhooks specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const AT: i64 = 1_614_265_330;

    fn check(signature: &str, timestamp: &str, body: &[u8], now_secs: i64) -> bool {
        let signed = Signed {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp,
            signature,
        };
        is_genuine(&signed, body, &[key_from_secret(SECRET).unwrap()], now_secs)
    }

    #[test]
    fn the_specification_s_example_is_genuine() {
        assert!(check(SIGNATURE, "1614265330", BODY, AT));
        let rotated = format!("v1,AAAA v2,x {SIGNATURE}");
        assert!(check(&rotated, "1614265330", BODY, AT + TOLERANCE_SECS));
    }

    #[test]
    fn changed_old_and_early_messages_are_not() {
        assert!(!check(SIGNATURE, "1614265330", b"{}", AT));
        assert!(!check(SIGNATURE, "1614265331", BODY, AT));
        assert!(!check(
            SIGNATURE,
            "1614265330",
            BODY,
            AT + TOLERANCE_SECS + 1
        ));
        assert!(!check(
            SIGNATURE,
            "1614265330",
            BODY,
            AT - TOLERANCE_SECS - 1
        ));
        assert!(!check("", "1614265330", BODY, AT));
        assert!(!check(SIGNATURE, "soon", BODY, AT));
    }

    #[test]
    fn secrets_are_read_in_both_forms() {
        assert_eq!(
            key_from_secret(SECRET),
            key_from_secret(&format!("v1,{SECRET}"))
        );
        assert!(key_from_secret("plain").is_none());
    }
}
