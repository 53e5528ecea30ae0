//! ID tokens count once: the object of each token remembers, until the token's end, that it was used.

use super::subject_do::send_command;
use super::subject_state::{Command, RateRule, SubjectReply};
use crate::app::App;
use crate::clock::now_ms;
use crate::crypto::id_token::IdToken;
use crate::error::ApiError;

/// The rule under which the one use is counted.
const RULE: &str = "id_token";

/// A token that was used now for the first time.
pub struct UsedToken {
    object: String,
}

/// Notes that a token is used; `None` if it was already. The name is that of what was signed: an ES256 signature has a
/// second form that is as good, which would make another token of the same claims.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`
pub async fn mark_used(app: &App, token: &IdToken) -> Result<Option<UsedToken>, ApiError> {
    let keys = &app.config.otp_keys;
    let object = keys.subject(RULE, token.signed.as_bytes());
    let once = RateRule {
        rule: RULE.to_owned(),
        limit: 1,
        window_ms: (1000 * token.ends_at_secs() - now_ms()).max(1),
    };
    match send_command(app, &object, &Command::Count(vec![once])).await? {
        SubjectReply::Refused { .. } => Ok(None),
        SubjectReply::Counted | SubjectReply::Counts(_) => Ok(Some(UsedToken { object })),
    }
}

impl UsedToken {
    /// Nothing came of it, because something is down: the client may send the same token again.
    pub async fn release(self, app: &App) {
        // If this fails too, the client needs another token.
        let _ = send_command(app, &self.object, &Command::Forget(RULE.to_owned())).await;
    }
}
