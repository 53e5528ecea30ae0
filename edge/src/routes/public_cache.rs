//! Answers that all signed-out visitors share: from the cache while they are fresh, and stale ones while the database is
//! down.

use chrono::{DateTime, Duration, NaiveDate, Utc};
use serde_json::Value;

use crate::error::{ApiError, Code};
use crate::http::call::Call;
use crate::http::etag;
use crate::http::reply::{Caching, Reply};
use crate::storage::cache::{self, CacheLookup, CachedAnswer, HOUR_MS, Kind};

/// Hours by which Bangkok is ahead of UTC, all year.
const BANGKOK_HOURS: i64 = 7;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * HOUR_MS;

/// An answer that signed-out visitors share.
pub struct PublicAnswer {
    pub kind: &'static Kind,
    /// The function of the database that makes it.
    pub operation: &'static str,
    pub arguments: Value,
    /// What the answer depends on, apart from the language.
    pub question: Value,
    /// Age in milliseconds up to which it may be served while the database is down.
    pub max_stale_ms: i64,
}

impl PublicAnswer {
    /// The body and its age; `show` makes the body of what the database answered.
    ///
    /// # Errors
    /// What the database refused, or `SERVICE_UNAVAILABLE` if it is down and nothing is left.
    pub async fn read(
        &self,
        call: &Call,
        show: impl Fn(Value) -> Reply,
    ) -> Result<CachedAnswer, ApiError> {
        let key = cache::key(self.kind, &self.question, call.lang);
        let lookup = CacheLookup::get(self.kind, key).await;
        if let Some(cached) = lookup.fresh() {
            return Ok(cached.clone());
        }
        match call.rest().rpc(self.operation, &self.arguments).await {
            Ok(answer) => {
                let body = show(answer).body;
                lookup.store(&call.app, body.clone(), self.max_stale_ms);
                Ok(CachedAnswer { body, age_ms: 0 })
            }
            // A stale answer is better than none.
            Err(error) if error.code == Code::ServiceUnavailable => {
                lookup.younger_than(self.max_stale_ms).cloned().ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

/// The answer to signed-out visitors, fresh for another `left_ms`.
pub fn reply(body: &str, left_ms: i64) -> Reply {
    let left_secs = u32::try_from(left_ms.max(0) / 1000).unwrap_or(0);
    Reply::raw(body)
        .cached(Caching::SignedOut(left_secs))
        .tagged(etag::of_text(body))
}

/// The date in Bangkok.
pub fn today(now: DateTime<Utc>) -> NaiveDate {
    (now + Duration::hours(BANGKOK_HOURS)).date_naive()
}

/// Milliseconds until the next date begins in Bangkok.
pub fn left_of_today_ms(now: DateTime<Utc>) -> i64 {
    let passed = (now.timestamp_millis() + BANGKOK_HOURS * HOUR_MS).rem_euclid(DAY_MS);
    DAY_MS - passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_how_long_it_is_fresh() {
        let secs = |left_ms| reply("{}", left_ms).caching;
        assert_eq!(secs(10_000), Caching::SignedOut(10));
        assert_eq!(secs(500), Caching::SignedOut(0));
        assert_eq!(secs(-89_000), Caching::SignedOut(0));
    }

    #[test]
    fn the_day_changes_at_midnight_in_bangkok() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (before, after) = (at("2026-11-22T16:59:59.999Z"), at("2026-11-22T17:00:00Z"));
        assert_eq!(today(before).to_string(), "2026-11-22");
        assert_eq!(today(after).to_string(), "2026-11-23");
        assert_eq!(left_of_today_ms(before), 1);
        assert_eq!(left_of_today_ms(after), DAY_MS);
    }
}
