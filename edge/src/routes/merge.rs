//! What becomes of an anonymous user's diary when they sign in to an account that exists: it goes into that account, once
//! (docs/decisions/0041). Every way of signing in calls this module, with the session of the account already open.

use serde_json::{Value, json};
use worker::console_error;

use crate::clients::auth::Auth;
use crate::error::{ApiError, Code};
use crate::http::call::Call;
use crate::observe::log::event_line;

/// Milliseconds for the merge: 20,000 entries take less, and what comes before and after it needs its part of the
/// request's time. The database goes on if it takes longer, and the repeated request gets the answer.
const MERGE_DEADLINE_MS: u64 = 4_500;

/// The id of the anonymous user who is calling: whose diary comes along when they sign in. `None` for a caller without a
/// token and for one who has an account.
///
/// # Errors
/// `AUTH_INVALID` if their session has ended, `SERVICE_UNAVAILABLE`.
pub(super) async fn anonymous_caller(call: &Call) -> Result<Option<String>, ApiError> {
    let Ok(session) = call.user() else {
        return Ok(None);
    };
    if !session.was_anonymous {
        return Ok(None);
    }
    let profile = call.rest().rpc("get_profile", &json!({})).await?;
    let is_anonymous = profile["is_anonymous"] == true;
    Ok(is_anonymous.then(|| session.user_id.clone()))
}

/// Moves the diary of the anonymous user into the account, and deletes the user after the answer. Returns
/// `{entries, duplicates, is_complete}`, the same again when repeated; `is_complete` is false while a job still moves
/// parts of a very large diary. `None` if there is nothing to move: the user has an account by now, or is gone, or their
/// diary went into another account.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`: repeat the request.
pub(super) async fn merge_diary(
    call: &Call,
    from_id: &str,
    into_id: &str,
) -> Result<Option<Value>, ApiError> {
    let arguments = json!({"from_id": from_id, "into_id": into_id});
    let rest = call.service().with_deadline(MERGE_DEADLINE_MS);
    let merged = match rest.rpc("merge_accounts", &arguments).await {
        Ok(merged) => merged,
        Err(error) if error.code == Code::Conflict => return Ok(None),
        Err(error) => return Err(error),
    };
    if merged["is_complete"] == true {
        delete_later(call, from_id);
    }
    Ok(Some(merged))
}

/// Deletes the anonymous user after the answer; if that fails, a job of the database does it.
fn delete_later(call: &Call, user_id: &str) {
    let (app, request_id, user_id) = (
        call.app.clone(),
        call.request_id.clone(),
        user_id.to_owned(),
    );
    call.app.context.wait_until(async move {
        if let Err(failure) = Auth::new(&app.config, &request_id)
            .delete_user(&user_id)
            .await
        {
            let why = ApiError::from(failure).internal.unwrap_or_default();
            let line = event_line("error", "merged_user_not_deleted", &request_id, &why);
            console_error!("{line}");
        }
    });
}
