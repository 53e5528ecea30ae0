//! Writes that run once: a client that got no answer repeats the request with the same `Idempotency-Key` and gets the
//! first answer. The database stores it, in the transaction of the write; here a request becomes a key, a scope and a
//! fingerprint.

use std::cell::Cell;

use carbon_domain::DomainError;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::crypto::bytes::hex;
use crate::error::{ApiError, FieldProblem};

/// Characters of a key.
const MAX_KEY_CHARACTERS: usize = 255;

/// The `Idempotency-Key` of a write, and whether its answer was the stored one.
#[derive(Debug)]
pub struct IdempotencyKey {
    key: String,
    scope: String,
    replayed: Cell<bool>,
}

impl IdempotencyKey {
    /// Reads the header of a write; its scope is the method and the path, beside the user.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` for a key that is not 1 to 255 visible ASCII characters.
    pub fn new(key: String, method: &str, path: &str) -> Result<Self, ApiError> {
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.is_empty() || key.len() > MAX_KEY_CHARACTERS || !visible {
            let error = DomainError::IdempotencyKeyInvalid;
            return Err(ApiError::field(FieldProblem::domain(
                "Idempotency-Key",
                error,
            )));
        }
        Ok(Self {
            key,
            scope: format!("{method} {path}"),
            replayed: Cell::new(false),
        })
    }

    pub fn is_replayed(&self) -> bool {
        self.replayed.get()
    }

    /// Notes whether the answer is a stored one.
    pub fn set_replayed(&self, replayed: bool) {
        self.replayed.set(replayed);
    }

    /// The arguments of `run_once` around those of an operation. In place, because a migration's may
    /// have 20 MiB.
    pub fn wrap(&self, operation: &str, mut arguments: String, fingerprint: &str) -> String {
        let head = json!({
            "idempotency_key": self.key,
            "request_scope": self.scope,
            "request_fingerprint": fingerprint,
            "operation": operation,
        });
        let mut head = head.to_string();
        head.pop();
        head.push_str(r#","arguments":"#);
        arguments.reserve_exact(head.len() + 1);
        arguments.insert_str(0, &head);
        arguments.push('}');
        arguments
    }
}

/// SHA-256 of a request's query and body, as hex. Lengths separate the parts.
pub fn fingerprint(query: &[(String, String)], body: &str) -> String {
    let mut hash = Sha256::new();
    for (name, value) in query {
        for part in [name, value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.update(u64::MAX.to_be_bytes());
    hash.update(body.as_bytes());
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn parse(key: &str) -> Result<IdempotencyKey, ApiError> {
        IdempotencyKey::new(key.to_owned(), "POST", "/api/v1/waste/entries")
    }

    #[test]
    fn keys_are_visible_ascii() {
        for good in ["a", "0f9e-…".trim_end_matches('…'), "!~", &"k".repeat(255)] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ก", "a\u{7f}", &"k".repeat(256)] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn arguments_are_wrapped_as_they_are() {
        let wrapped = parse("k\"1")
            .unwrap()
            .wrap("x", r#"{"payload":"\\u0000"}"#.to_owned(), "f");
        let wrapped: Value = serde_json::from_str(&wrapped).unwrap();
        assert_eq!(
            wrapped,
            json!({
                "idempotency_key": "k\"1", "request_scope": "POST /api/v1/waste/entries",
                "request_fingerprint": "f", "operation": "x", "arguments": {"payload": "\\u0000"},
            })
        );
    }

    #[test]
    fn every_byte_of_query_and_body_counts() {
        let pair = |n: &str, v: &str| vec![(n.to_owned(), v.to_owned())];
        let prints = [
            fingerprint(&[], ""),
            fingerprint(&[], "{}"),
            fingerprint(&[], "{ }"),
            fingerprint(&pair("a", "b"), "{}"),
            fingerprint(&pair("ab", ""), "{}"),
            fingerprint(&pair("", "ab"), "{}"),
        ];
        let different: std::collections::BTreeSet<_> = prints.iter().collect();
        assert_eq!(different.len(), prints.len());
        assert!(prints.iter().all(|print| print.len() == 64));
    }
}
