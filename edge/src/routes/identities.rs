//! `/auth/identities`: how the caller can sign in, and removing a way.

use serde_json::{Value, json};

use super::social_proof::SEALED_FOR;
use crate::clients::oauth::revoke_at_apple;
use crate::clock::now_ms;
use crate::config::Provider;
use crate::crypto::subtle::unseal;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::Reply;

/// `GET /auth/identities`
pub async fn list(call: &Call) -> Result<Reply, ApiError> {
    Ok(Reply::personal(Some(own(call).await?)))
}

/// The caller's, asked with their own token, so that one of an ended session is refused.
async fn own(call: &Call) -> Result<Value, ApiError> {
    call.rest().rpc("list_identities", &json!({})).await
}

/// `DELETE /auth/identities/{provider}`: refused for the last way into the account. Apple's refresh token is revoked
/// first; while Apple is away the identity stays.
pub async fn unlink(call: &Call) -> Result<Reply, ApiError> {
    let provider = Provider::from_name(call.parameter()).ok_or_else(ApiError::not_found)?;
    let user_id = &call.user()?.user_id;
    own(call).await?;
    let mut arguments = json!({"p_user_id": user_id, "p_provider": provider.name()});
    let service = call.service();
    let mut answer = service.rpc("unlink_identity", &arguments).await?;
    if let Some(sealed) = answer["refresh_token"].as_str() {
        revoke(call, sealed).await?;
        arguments["p_revoked"] = json!(sealed);
        answer = service.rpc("unlink_identity", &arguments).await?;
    }
    if answer["unlinked"] != true {
        // A sign-in meanwhile brought another token.
        return Err(ApiError::unavailable("the identity was used meanwhile"));
    }
    Ok(Reply::ok(&json!({"identities": answer["identities"]})))
}

/// Without Apple's settings, or with a token that no key opens, there is nothing that could revoke it.
async fn revoke(call: &Call, sealed: &str) -> Result<(), ApiError> {
    let Some(apple) = &call.app.config.social.apple else {
        return Ok(());
    };
    let Some(text) = unseal(&apple.token_keys, SEALED_FOR, sealed).await else {
        return Ok(());
    };
    let (client_id, refresh_token) = text.split_once(' ').unwrap_or_default();
    revoke_at_apple(apple, client_id, refresh_token, now_ms() / 1000).await
}
