//! `/gamification`: achievements and challenges. What somebody has reached follows from their entries
//! alone, so that nothing here takes anything from the client.

use serde_json::{Value, json};

use super::names;
use super::shared::{self, Shared};
use super::waste::take_meta;
use crate::cache::{self, HOUR_MS};
use crate::call::Call;
use crate::clients::rest::parsed;
use crate::error::ApiError;
use crate::reply::{Caching, Reply};

/// Milliseconds for which the achievements may stand in while the database is down.
const STALE_ACHIEVEMENTS_MS: i64 = 24 * HOUR_MS;

/// `GET /gamification/achievements`: all there are; to a person with their own progress.
pub async fn achievements(call: &Call) -> Result<Reply, ApiError> {
    if call.user().is_ok() {
        return personal(call, "get_achievements").await;
    }
    let list = Shared {
        kind: &cache::ACHIEVEMENTS,
        operation: "list_achievements",
        arguments: json!({}),
        question: Value::Null,
        kept_ms: STALE_ACHIEVEMENTS_MS,
    };
    let kept = list.read(call, |answer| shown(call, answer)).await?;
    Ok(shared::public(&kept.body, list.kind.fresh_ms - kept.age_ms))
}

/// `GET /gamification/challenges/today`: the day's in Bangkok; to a person those of their own day, with
/// how far they are.
pub async fn challenges_today(call: &Call) -> Result<Reply, ApiError> {
    if call.user().is_ok() {
        return personal(call, "get_challenges_today").await;
    }
    let now = call.now();
    let left_ms = shared::left_of_today_ms(now);
    let day = json!({"day": shared::today(now)});
    let list = Shared {
        kind: &cache::CHALLENGES,
        operation: "list_challenges",
        arguments: day.clone(),
        question: day,
        kept_ms: left_ms,
    };
    let kept = list.read(call, |answer| shown(call, answer)).await?;
    Ok(shared::public(&kept.body, left_ms))
}

/// `GET /gamification/challenges/history?limit&cursor`: the days with entries, newest first.
pub async fn challenge_history(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    query.limit();
    query.cursor();
    let arguments = query.arguments()?;
    let Some(mut answer) = call.read("get_challenge_history", &arguments).await? else {
        return Ok(Reply::unchanged());
    };
    names::choose(&mut answer, call.lang);
    let meta = take_meta(&mut answer, call);
    Ok(Reply::with_meta(&answer, Some(meta)).cached(Caching::Private))
}

/// `POST /gamification/achievement/check`: settles what awaits, and says what is met and what is missing.
pub async fn check_achievements(call: &Call) -> Result<Reply, ApiError> {
    derive(call, "check_achievements").await
}

/// `POST /gamification/challenges/progress`: derives today's progress anew.
pub async fn refresh_challenges(call: &Call) -> Result<Reply, ApiError> {
    derive(call, "refresh_challenge_progress").await
}

async fn derive(call: &Call, operation: &str) -> Result<Reply, ApiError> {
    call.nothing_stated()?;
    let answer = call.write(operation, &json!({})).await?;
    Ok(shown(call, parsed(operation, &answer)?))
}

async fn personal(call: &Call, operation: &str) -> Result<Reply, ApiError> {
    let answer = call.read(operation, &json!({})).await?;
    Ok(answer.map_or_else(Reply::unchanged, |answer| {
        shown(call, answer).cached(Caching::Private)
    }))
}

fn shown(call: &Call, mut answer: Value) -> Reply {
    names::choose(&mut answer, call.lang);
    Reply::ok(&answer)
}
