//! `/social/challenges`: community challenges, joining and leaving them, and their boards.

use carbon_domain::invite_code::normalised;
use carbon_domain::{DomainError, limits};
use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::names;
use super::waste::take_meta;
use crate::clients::rest::parsed;
use crate::error::{ApiError, FieldProblem};
use crate::http::call::Call;
use crate::http::query::path_uuid;
use crate::http::reply::{Caching, Reply};
use crate::uuid::is_uuid;

/// `GET /social/challenges?status&joined`
pub async fn list(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    query.one_of(
        "status",
        "status",
        DomainError::ChallengeStatusInvalid,
        &["active", "upcoming", "ended"],
    );
    let joined = query.flag("joined");
    if call.query_pairs().iter().any(|(name, _)| name == "joined") {
        query.set("joined", joined);
    }
    let arguments = query.arguments()?;
    let answer = call.read("get_community_challenges", &arguments).await?;
    Ok(answer.map_or_else(Reply::unchanged, |answer| {
        shown(call, answer).cached(Caching::Private)
    }))
}

/// `POST /social/challenges/join/{id}`, with the join code of a school where one is needed.
pub async fn join(call: &Call) -> Result<Reply, ApiError> {
    let body = if call.body.is_empty() {
        Map::new()
    } else {
        call.object()?
    };
    let mut fields = Fields::of(&body);
    let typed = fields.optional_text("join_code");
    fields.end()?;
    // What is no code is none of a school either.
    let join_code = typed.and_then(|code| normalised(&code, limits::JOIN_CODE_SIGNS as usize));
    let arguments = json!({"challenge_id": challenge_id(call)?, "join_code": join_code});
    written(call, "join_community_challenge", &arguments).await
}

/// `DELETE /social/challenges/join/{id}`
pub async fn leave(call: &Call) -> Result<Reply, ApiError> {
    let arguments = json!({"challenge_id": challenge_id(call)?});
    written(call, "leave_community_challenge", &arguments).await
}

/// `GET /social/leaderboard/community?challenge_id&by&cursor&limit`: contributors, or provinces.
pub async fn leaderboard(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    let id = "challenge_id";
    query.checked(id, id, DomainError::ChallengeIdInvalid, is_uuid);
    query.one_of(
        "by",
        "ranked_by",
        DomainError::RankedByInvalid,
        &["people", "provinces"],
    );
    query.limit();
    query.cursor();
    let arguments = query.arguments()?;
    if arguments.get(id).is_none() {
        return Err(ApiError::field(FieldProblem::required(id)));
    }
    let answer = call.read("get_community_leaderboard", &arguments).await?;
    let Some(mut answer) = answer else {
        return Ok(Reply::unchanged());
    };
    for row in answer["leaderboard"].as_array_mut().into_iter().flatten() {
        if row.get("current_level").is_some() {
            names::add_level(row, call.lang, false);
        }
    }
    let meta = take_meta(&mut answer, call);
    Ok(Reply::with_meta(&answer, Some(meta)).cached(Caching::Private))
}

fn challenge_id(call: &Call) -> Result<Value, ApiError> {
    path_uuid("id", call.parameter(), DomainError::ChallengeIdInvalid)
}

async fn written(call: &Call, operation: &str, arguments: &Value) -> Result<Reply, ApiError> {
    let answer = call.write(operation, arguments).await?;
    Ok(shown(call, parsed(operation, &answer)?))
}

fn shown(call: &Call, mut answer: Value) -> Reply {
    names::choose(&mut answer, call.lang);
    Reply::ok(&answer)
}
