//! `/social/referral` and `/social/share`: codes that bring others, and cards that users pass on.

use carbon_domain::invite_code::normalised;
use carbon_domain::limits;
use serde_json::{Value, json};

use super::fields::Fields;
use super::names;
use crate::clients::rest::parsed;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::{Caching, Reply};

/// What can be shared.
const KINDS: [&str; 3] = ["achievement", "milestone", "referral"];

/// `POST /social/referral/generate`: the user's own code, made at the first call, and its link.
pub async fn generate(call: &Call) -> Result<Reply, ApiError> {
    call.require_empty_body()?;
    let operation = "generate_referral_code";
    let mut answer = parsed(operation, &call.write(operation, &json!({})).await?)?;
    answer["link"] = link(call, "referral", &answer["code"]);
    Ok(Reply::ok(&answer))
}

/// `POST /social/referral/redeem` `{code}`: says who brought the user.
pub async fn redeem(call: &Call) -> Result<Reply, ApiError> {
    let body = call.object()?;
    let mut fields = Fields::of(&body);
    let code = fields.text("code");
    fields.end()?;
    let Some(code) = normalised(&code, limits::REFERRAL_CODE_SIGNS as usize) else {
        return Err(ApiError::not_found());
    };
    let answer = call
        .write("redeem_referral", &json!({"code": code}))
        .await?;
    Ok(Reply::ok_text(&answer))
}

/// `GET /social/referral/stats`
pub async fn stats(call: &Call) -> Result<Reply, ApiError> {
    Ok(Reply::personal(
        call.read("get_referral_stats", &json!({})).await?,
    ))
}

/// `GET /social/share/{kind}?id`: title, text and link in the caller's language, of what the caller holds.
pub async fn share(call: &Call) -> Result<Reply, ApiError> {
    let kind = call.parameter();
    let mut query = call.query();
    let id = query.text("id");
    query.set("kind", kind);
    query.set("id", id.as_deref());
    let arguments = query.arguments()?;
    if !KINDS.contains(&kind) || !id.is_none_or(|id| is_id(&id)) {
        return Err(ApiError::not_found());
    }
    let Some(mut card) = call.read("get_share_card", &arguments).await? else {
        return Ok(Reply::unchanged());
    };
    names::choose(&mut card, call.lang);
    card["link"] = link(call, kind, &card["id"]);
    Ok(Reply::ok(&card).cached(Caching::Private))
}

/// Whether a text can be the id of something to share.
fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=100).contains(&text.len()) && text.bytes().all(plain)
}

/// The link to a thing. Ids and codes need no encoding.
fn link(call: &Call, kind: &str, id: &Value) -> Value {
    let id = id.as_str().unwrap_or("");
    json!(format!("{}/{kind}/{id}", call.app.config.app_url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_need_no_encoding_in_a_link() {
        for id in ["first_entry", "level-2", "ABCD2345"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "a b", "a/b", "a\0", "ก", &"a".repeat(101)] {
            assert!(!is_id(id), "{id}");
        }
    }
}
