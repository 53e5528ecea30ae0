//! `/gamification`: achievements and challenges. What a user has reached follows from their entries
//! alone, so nothing here takes input from the client.

use serde_json::{Value, json};

use super::names;
use super::public_cache::{self, PublicAnswer};
use super::waste::take_meta;
use crate::clients::rest::parsed;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::{Caching, Reply};
use crate::storage::cache::{self, HOUR_MS};

/// Milliseconds for which the achievements may stand in while the database is down.
const STALE_ACHIEVEMENTS_MS: i64 = 24 * HOUR_MS;

/// `GET /gamification/achievements`: all achievements; a signed-in user also gets their own progress.
pub async fn achievements(call: &Call) -> Result<Reply, ApiError> {
    if call.user().is_ok() {
        return personal(call, "get_achievements").await;
    }
    let list = PublicAnswer {
        kind: &cache::ACHIEVEMENTS,
        operation: "list_achievements",
        arguments: json!({}),
        question: Value::Null,
        max_stale_ms: STALE_ACHIEVEMENTS_MS,
    };
    let cached = list.read(call, |answer| shown(call, answer)).await?;
    Ok(public_cache::reply(
        &cached.body,
        list.kind.fresh_ms - cached.age_ms,
    ))
}

/// `GET /gamification/challenges/today`: the day's in Bangkok; a signed-in user gets those of their own day,
/// with their progress.
pub async fn challenges_today(call: &Call) -> Result<Reply, ApiError> {
    if call.user().is_ok() {
        return personal(call, "get_challenges_today").await;
    }
    let now = call.now();
    let left_ms = public_cache::left_of_today_ms(now);
    let day = json!({"day": public_cache::today(now)});
    let list = PublicAnswer {
        kind: &cache::CHALLENGES,
        operation: "list_challenges",
        arguments: day.clone(),
        question: day,
        max_stale_ms: left_ms,
    };
    let cached = list.read(call, |answer| shown(call, answer)).await?;
    Ok(public_cache::reply(&cached.body, left_ms))
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

/// `POST /gamification/achievement/check`: closes days that have ended, and says what is met and what is missing.
pub async fn check_achievements(call: &Call) -> Result<Reply, ApiError> {
    derive(call, "check_achievements").await
}

/// `POST /gamification/challenges/progress`: recomputes today's progress.
pub async fn refresh_challenges(call: &Call) -> Result<Reply, ApiError> {
    derive(call, "refresh_challenge_progress").await
}

async fn derive(call: &Call, operation: &str) -> Result<Reply, ApiError> {
    call.require_empty_body()?;
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
