//! `/gamification`: where a person stands, and the boards.

use carbon_domain::{DomainError, province};
use serde_json::json;

use super::names;
use super::waste::take_meta;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::{Caching, Reply};

/// `GET /gamification/profile`
pub async fn profile(call: &Call) -> Result<Reply, ApiError> {
    let mut answer = call
        .rest()
        .rpc("get_gamification_profile", &json!({}))
        .await?;
    names::add_level(&mut answer, call.lang, true);
    Ok(Reply::ok(&answer).cached(Caching::Private))
}

/// `GET /gamification/leaderboard` and `GET /waste/leaderboard`: a board as the caller may see it;
/// strangers see what the public may.
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
    let mut answer = call
        .rest()
        .rpc("get_leaderboard", &query.arguments()?)
        .await?;
    for person in answer["leaderboard"].as_array_mut().into_iter().flatten() {
        names::add_level(person, call.lang, false);
    }
    let meta = take_meta(&mut answer, call);
    Ok(Reply::with_meta(&answer, Some(meta)).cached(Caching::Private))
}
