//! The public keys of providers, cached for as long as the provider says.

use std::cell::RefCell;
use std::collections::BTreeMap;

use worker::Method;

use super::{Outgoing, send};
use crate::clock::now_ms;
use crate::config::Provider;
use crate::crypto::id_token::Jwk;
use crate::error::ApiError;
use crate::observe::metrics;

/// Milliseconds for one call.
pub const DEADLINE_MS: u64 = 3_000;
/// How long keys are cached when the provider does not say (seconds), at least, and at most.
const DEFAULT_MAX_AGE_SECS: i64 = 300;
const MIN_MAX_AGE_SECS: i64 = 60;
const MAX_MAX_AGE_SECS: i64 = 86_400;
/// An unknown key id makes the keys be read again, at most once in this time: they may have been replaced (milliseconds).
const REREAD_AFTER_MS: i64 = 60_000;

struct CachedKeys {
    keys: Vec<Jwk>,
    read_at_ms: i64,
    until_ms: i64,
}

thread_local! {
    /// By address.
    static CACHED: RefCell<BTreeMap<String, CachedKeys>> = const { RefCell::new(BTreeMap::new()) };
}

/// What the cache says about a key.
enum LookUp {
    Key(Box<Jwk>),
    /// There is no such key.
    Unknown,
    /// The keys must be read.
    Stale,
}

fn look_up(cached: Option<&CachedKeys>, kid: &str, now_ms: i64) -> LookUp {
    let Some(cached) = cached.filter(|cached| now_ms < cached.until_ms) else {
        return LookUp::Stale;
    };
    match cached.keys.iter().find(|key| key.kid == kid) {
        Some(key) => LookUp::Key(Box::new(key.clone())),
        None if now_ms - cached.read_at_ms < REREAD_AFTER_MS => LookUp::Unknown,
        None => LookUp::Stale,
    }
}

/// A provider's key by its id; `None` if it has no such key.
///
/// # Errors
/// `SERVICE_UNAVAILABLE` if the provider does not answer.
pub async fn find_key(
    provider: Provider,
    url: &str,
    kid: &str,
) -> Result<Option<Box<Jwk>>, ApiError> {
    match CACHED.with_borrow(|all| look_up(all.get(url), kid, now_ms())) {
        LookUp::Key(key) => return Ok(Some(key)),
        LookUp::Unknown => return Ok(None),
        LookUp::Stale => {}
    }
    let cached = read(provider, url).await?;
    let key = cached.keys.iter().find(|key| key.kid == kid).cloned();
    CACHED.with_borrow_mut(|all| all.insert(url.to_owned(), cached));
    Ok(key.map(Box::new))
}

async fn read(provider: Provider, url: &str) -> Result<CachedKeys, ApiError> {
    let outgoing = Outgoing {
        method: Method::Get,
        url,
        headers: &[],
        body: None,
        deadline_ms: DEADLINE_MS,
    };
    let why = match send(outgoing).await {
        Ok(answer) if answer.is_ok() => match Jwk::read_set(&answer.body) {
            Some(keys) => {
                let max_age_secs = answer.max_age_secs.unwrap_or(DEFAULT_MAX_AGE_SECS);
                let max_age_secs = max_age_secs.clamp(MIN_MAX_AGE_SECS, MAX_MAX_AGE_SECS);
                let read_at_ms = now_ms();
                return Ok(CachedKeys {
                    keys,
                    read_at_ms,
                    until_ms: read_at_ms + 1000 * max_age_secs,
                });
            }
            None => "no set of keys".to_owned(),
        },
        Ok(answer) => format!("status {}", answer.status),
        Err(error) => error.to_string(),
    };
    Err(is_down(provider, &format!("keys: {why}")))
}

/// A provider that is no help: counted, and 503 to the client.
pub fn is_down(provider: Provider, why: &str) -> ApiError {
    metrics::dependency_failed(provider.name());
    ApiError::unavailable(format!("{}: {why}", provider.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ_AT: i64 = 1_800_000_000_000;

    fn cached() -> CachedKeys {
        let set = r#"{"keys": [{"kid": "a", "kty": "RSA", "n": "bg", "e": "AQAB"}]}"#;
        CachedKeys {
            keys: Jwk::read_set(set).unwrap(),
            read_at_ms: READ_AT,
            until_ms: READ_AT + 300_000,
        }
    }

    fn at(kid: &str, after_ms: i64) -> &'static str {
        match look_up(Some(&cached()), kid, READ_AT + after_ms) {
            LookUp::Key(_) => "key",
            LookUp::Unknown => "unknown",
            LookUp::Stale => "stale",
        }
    }

    #[test]
    fn keys_are_cached_until_their_end() {
        assert_eq!((at("a", 0), at("a", 299_999)), ("key", "key"));
        assert_eq!(at("a", 300_000), "stale");
        assert!(matches!(look_up(None, "a", READ_AT), LookUp::Stale));
    }

    #[test]
    fn an_unknown_key_id_makes_them_be_read_again_at_most_once_a_minute() {
        assert_eq!((at("b", 0), at("b", 59_999)), ("unknown", "unknown"));
        assert_eq!(at("b", 60_000), "stale");
    }
}
