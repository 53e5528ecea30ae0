//! `/social/feed`: what a user and their friends have achieved.

use super::names;
use super::waste::take_meta;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::{Caching, Reply};

/// Items of a page, at most: each needs the card of its user.
const MAX_ITEMS: i64 = 50;

/// `GET /social/feed?cursor&limit` and `GET /gamification/feed`: newest first.
pub async fn feed(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    query.limit_up_to(MAX_ITEMS);
    query.cursor();
    let arguments = query.arguments()?;
    let Some(mut answer) = call.read("get_feed", &arguments).await? else {
        return Ok(Reply::unchanged());
    };
    for item in answer["items"].as_array_mut().into_iter().flatten() {
        names::add_to_card(&mut item["user"], call.lang);
    }
    let meta = take_meta(&mut answer, call);
    Ok(Reply::with_meta(&answer, Some(meta)).cached(Caching::Private))
}
