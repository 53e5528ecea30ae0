//! `/gamification`: a user's level and progress, and the boards.

use carbon_domain::{DomainError, province};
use serde_json::{Value, json};

use super::names;
use super::public_cache::{self, PublicAnswer};
use super::waste::take_meta;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::{Caching, Reply};
use crate::storage::cache::{self, HOUR_MS};

/// `GET /gamification/profile`
pub async fn profile(call: &Call) -> Result<Reply, ApiError> {
    let profile = call.read("get_gamification_profile", &json!({})).await?;
    Ok(Reply::personal(profile.map(|mut profile| {
        names::add_level(&mut profile, call.lang, true);
        profile
    })))
}

/// `GET /gamification/leaderboard` and `GET /waste/leaderboard`: a board as the caller may see it;
/// signed-out visitors see what is public.
pub async fn leaderboard(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    let boards = ["global", "province", "friends"];
    query.one_of("type", "board_type", DomainError::BoardTypeInvalid, &boards);
    let timeframes = ["daily", "weekly", "monthly", "all_time"];
    query.one_of(
        "timeframe",
        "timeframe",
        DomainError::TimeframeInvalid,
        &timeframes,
    );
    query.checked(
        "province",
        "province",
        DomainError::UnknownProvince,
        |iso| province::by_iso(iso).is_some(),
    );
    query.around_me();
    query.paging();
    let arguments = query.arguments()?;
    if call.user().is_err() {
        return public_board(call, arguments).await;
    }
    Ok(match call.read("get_leaderboard", &arguments).await? {
        Some(answer) => shown(call, answer).cached(Caching::Private),
        None => Reply::unchanged(),
    })
}

/// The view of signed-out visitors, which they share for ten seconds.
async fn public_board(call: &Call, arguments: Value) -> Result<Reply, ApiError> {
    let arguments = normalised(arguments);
    let board = PublicAnswer {
        kind: &cache::BOARDS,
        operation: "get_leaderboard",
        // The board's period changes with the day in Bangkok.
        question: json!({"board": arguments, "day": public_cache::today(call.now())}),
        max_stale_ms: stale_ms(&arguments),
        arguments,
    };
    let cached = board.read(call, |answer| shown(call, answer)).await?;
    Ok(public_cache::reply(
        &cached.body,
        board.kind.fresh_ms - cached.age_ms,
    ))
}

/// Parameters that mean the same become the same: defaults are written out.
fn normalised(mut arguments: Value) -> Value {
    if let Some(object) = arguments.as_object_mut() {
        for (name, default) in [("board_type", "global"), ("timeframe", "all_time")] {
            object.entry(name).or_insert_with(|| json!(default));
        }
        // A global board has no province; naming one changes nothing.
        if object["board_type"] == "global" {
            object.remove("province");
        }
    }
    arguments
}

/// Milliseconds for which a board may stand in while the database is down (contract §4).
fn stale_ms(arguments: &Value) -> i64 {
    let (board, timeframe) = (&arguments["board_type"], &arguments["timeframe"]);
    if board == "province" && timeframe == "weekly" {
        2 * HOUR_MS
    } else {
        HOUR_MS
    }
}

fn shown(call: &Call, mut answer: Value) -> Reply {
    for user in answer["leaderboard"].as_array_mut().into_iter().flatten() {
        names::add_level(user, call.lang, false);
    }
    let meta = take_meta(&mut answer, call);
    Reply::with_meta(&answer, Some(meta))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_board_has_one_name() {
        let plain = normalised(json!({"page_size": 20}));
        let written_out = json!({"page_size": 20, "board_type": "global", "timeframe": "all_time"});
        assert_eq!(plain, written_out);
        let odd = json!({"page_size": 20, "board_type": "global", "province": "TH-10"});
        assert_eq!(normalised(odd), written_out);
        let province =
            json!({"board_type": "province", "timeframe": "weekly", "province": "TH-10"});
        assert_eq!(normalised(province.clone()), province);
        assert_eq!(
            (stale_ms(&province), stale_ms(&plain)),
            (2 * HOUR_MS, HOUR_MS)
        );
    }
}
