//! `/social/friends` and `/social/users`: who is whose friend, requests, blocks, and people found by name or code.

use carbon_domain::DomainError;
use serde_json::{Value, json};

use super::fields::Fields;
use super::names;
use super::waste::take_meta;
use crate::clients::rest::parsed;
use crate::error::{ApiError, FieldProblem};
use crate::http::body::parse_json;
use crate::http::call::Call;
use crate::http::query::{Query, path_uuid};
use crate::http::reply::{Caching, Reply};
use crate::messages;
use crate::uuid::is_uuid;

/// `GET /social/friends?status&cursor&limit`: friends, requests or blocks, newest first.
pub async fn list(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    let lists = ["accepted", "incoming", "outgoing", "blocked"];
    let error = DomainError::FriendStatusInvalid;
    query.one_of("status", "status", error, &lists);
    page(call, "list_friends", query).await
}

/// `GET /gamification/friends?cursor&limit`: friends by their total of credits.
pub async fn list_by_credits(call: &Call) -> Result<Reply, ApiError> {
    page(call, "list_friends_by_credits", call.query()).await
}

async fn page(call: &Call, operation: &str, mut query: Query) -> Result<Reply, ApiError> {
    query.limit();
    query.cursor();
    let arguments = query.arguments()?;
    let Some(mut answer) = call.read(operation, &arguments).await? else {
        return Ok(Reply::unchanged());
    };
    for row in answer["friends"].as_array_mut().into_iter().flatten() {
        names::add_to_card(&mut row["user"], call.lang);
    }
    let meta = take_meta(&mut answer, call);
    Ok(Reply::with_meta(&answer, Some(meta)).cached(Caching::Private))
}

/// `POST /social/friends/request` and `POST /gamification/friends/add`: 201 for a new request or friendship, 200 for one
/// that exists already.
pub async fn request(call: &Call) -> Result<Reply, ApiError> {
    let body = call.object()?;
    let mut fields = Fields::of(&body);
    let person = json!({
        "username": fields.optional_text("username"),
        "code": fields.optional_text("code"),
        "user_id": fields.optional_text("user_id"),
    });
    if person["user_id"].as_str().is_some_and(|id| !is_uuid(id)) {
        fields.refuse("user_id", DomainError::UserIdInvalid);
    }
    fields.end()?;
    let answer = call.write("request_friend", &person).await?;
    let mut answer = parsed("request_friend", &answer)?;
    names::add_to_card(&mut answer["user"], call.lang);
    if answer["duplicate"] == true {
        Ok(Reply::ok(&answer))
    } else {
        Ok(Reply::created(&answer))
    }
}

/// `PUT /social/friends/accept/{id}`: the id is that of a request.
pub async fn accept(call: &Call) -> Result<Reply, ApiError> {
    let error = DomainError::RequestIdInvalid;
    let id = path_uuid("request_id", call.parameter(), error)?;
    answer_of(call, "accept_friend", &json!({ "request_id": id })).await
}

/// `PUT /social/friends/reject/{id}`: the id is that of a request.
pub async fn reject(call: &Call) -> Result<Reply, ApiError> {
    let error = DomainError::RequestIdInvalid;
    let id = path_uuid("request_id", call.parameter(), error)?;
    answer_of(call, "reject_friend", &json!({ "request_id": id })).await
}

/// `PUT /social/friends/block/{id}`: the id is that of a user.
pub async fn block(call: &Call) -> Result<Reply, ApiError> {
    let id = path_uuid("user_id", call.parameter(), DomainError::UserIdInvalid)?;
    answer_of(call, "block_user", &json!({ "user_id": id })).await
}

/// `DELETE /social/friends/{user_id}`: ends a friendship, withdraws a request, or removes a block.
pub async fn remove(call: &Call) -> Result<Reply, ApiError> {
    let id = path_uuid("user_id", call.parameter(), DomainError::UserIdInvalid)?;
    answer_of(call, "remove_friend", &json!({ "user_id": id })).await
}

async fn answer_of(call: &Call, operation: &str, arguments: &Value) -> Result<Reply, ApiError> {
    Ok(Reply::ok_text(&call.write(operation, arguments).await?))
}

/// `POST /social/friends/code`: the caller's own code and the link that contains it.
pub async fn code(call: &Call) -> Result<Reply, ApiError> {
    let renew = if call.body.is_empty() {
        Value::Null
    } else {
        renewal(&parse_json(&call.body)?)?
    };
    let arguments = json!({ "renew": renew == true });
    let answer = call.write("friend_code", &arguments).await?;
    let mut answer = parsed("friend_code", &answer)?;
    let code = answer["code"].as_str().unwrap_or("");
    let link = format!("{}/friends/{code}", call.app.config.app_url);
    answer["link"] = json!(link);
    Ok(Reply::ok(&answer))
}

fn renewal(body: &Value) -> Result<Value, ApiError> {
    let problem = if body.is_object() {
        match &body["renew"] {
            renew @ (Value::Null | Value::Bool(_)) => return Ok(renew.clone()),
            _ => FieldProblem::new("renew", "flag_invalid", messages::NOT_A_FLAG),
        }
    } else {
        FieldProblem::domain("", DomainError::NotAnObject)
    };
    Err(ApiError::field(problem))
}

/// `GET /social/users/{username_or_code}`: somebody's card, as far as the caller may see it.
pub async fn find(call: &Call) -> Result<Reply, ApiError> {
    let Some(name) = percent_decoded(call.parameter()) else {
        return Err(ApiError::not_found());
    };
    let arguments = json!({ "username_or_code": name });
    let mut card = call.rest().rpc("find_person", &arguments).await?;
    names::add_to_card(&mut card, call.lang);
    Ok(Reply::ok(&card))
}

/// A segment of a path as text; `None` if it is not UTF-8 or has characters that no name has.
fn percent_decoded(segment: &str) -> Option<String> {
    // As in a query, where `+` would stand for a space.
    let pair = format!("={}", segment.replace('+', "%2B").replace('&', "%26"));
    let (_, text) = form_urlencoded::parse(pair.as_bytes()).next()?;
    let is_text = !text.contains(['\0', '\u{FFFD}']);
    is_text.then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_path_is_decoded() {
        assert_eq!(percent_decoded("som.chai").as_deref(), Some("som.chai"));
        assert_eq!(percent_decoded("a+b%20c&d=e").as_deref(), Some("a+b c&d=e"));
        assert_eq!(
            percent_decoded("%E0%B8%AA%E0%B9%89%E0%B8%A1").as_deref(),
            Some("ส้ม")
        );
        for odd in ["%00", "%FF", "a%ED%A0%80"] {
            assert_eq!(percent_decoded(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_new_code_is_made_for_true_only() {
        for (body, renew) in [
            (json!({}), Value::Null),
            (json!({"renew": null}), Value::Null),
            (json!({"renew": false}), json!(false)),
            (json!({"renew": true, "x": 1}), json!(true)),
        ] {
            assert_eq!(renewal(&body).unwrap(), renew, "{body}");
        }
        for body in [
            json!([]),
            json!("true"),
            json!({"renew": 1}),
            json!({"renew": "true"}),
        ] {
            assert!(renewal(&body).is_err(), "{body}");
        }
    }
}
