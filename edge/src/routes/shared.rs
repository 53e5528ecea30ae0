//! What all strangers see alike: answered from the cache while it counts as new, and from what is left
//! of it while the database is down.

use chrono::{DateTime, Duration, NaiveDate, Utc};
use serde_json::Value;

use crate::cache::{self, HOUR_MS, Kept, Kind, Looked};
use crate::call::Call;
use crate::error::{ApiError, Code};
use crate::etag;
use crate::reply::{Caching, Reply};

/// Hours by which Bangkok is ahead of UTC, all year.
const BANGKOK_HOURS: i64 = 7;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * HOUR_MS;

/// An answer that strangers share.
pub struct Shared {
    /// What kind it is of.
    pub kind: &'static Kind,
    /// The function of the database that makes it.
    pub operation: &'static str,
    /// The function's arguments.
    pub arguments: Value,
    /// Everything the answer depends on but the language.
    pub question: Value,
    /// Milliseconds for which it may stand in while the database is down.
    pub kept_ms: i64,
}

impl Shared {
    /// The body and its age; `show` makes the body of what the database answered.
    ///
    /// # Errors
    /// What the database refused, or `SERVICE_UNAVAILABLE` if it is down and nothing is left.
    pub async fn read(&self, call: &Call, show: impl Fn(Value) -> Reply) -> Result<Kept, ApiError> {
        let key = cache::key(self.kind, &self.question, call.lang);
        let looked = Looked::up(self.kind, key).await;
        if let Some(kept) = looked.fresh() {
            return Ok(kept.clone());
        }
        match call.rest().rpc(self.operation, &self.arguments).await {
            Ok(answer) => {
                let body = show(answer).body;
                looked.keep(&call.app, body.clone(), self.kept_ms);
                Ok(Kept { body, age_ms: 0 })
            }
            // Better an old answer than none.
            Err(error) if error.code == Code::ServiceUnavailable => {
                looked.kept(self.kept_ms).cloned().ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

/// The answer to strangers, which counts for so many milliseconds more.
pub fn public(body: &str, left_ms: i64) -> Reply {
    let left_secs = u32::try_from(left_ms.max(0) / 1000).unwrap_or(0);
    Reply::raw(body)
        .cached(Caching::Strangers(left_secs))
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
    fn what_is_left_of_the_time_is_said() {
        let secs = |left_ms| public("{}", left_ms).caching;
        assert_eq!(secs(10_000), Caching::Strangers(10));
        assert_eq!(secs(500), Caching::Strangers(0));
        assert_eq!(secs(-89_000), Caching::Strangers(0));
    }

    #[test]
    fn the_day_turns_at_midnight_in_bangkok() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (before, after) = (at("2026-11-22T16:59:59.999Z"), at("2026-11-22T17:00:00Z"));
        assert_eq!(today(before).to_string(), "2026-11-22");
        assert_eq!(today(after).to_string(), "2026-11-23");
        assert_eq!(left_of_today_ms(before), 1);
        assert_eq!(left_of_today_ms(after), DAY_MS);
    }
}
