//! `/operator`: operators' commands. Each is written to the audit log, with the operator's name, before it is carried out.

use carbon_domain::DomainError;
use serde_json::json;

use super::fields::Fields;
use super::sign_in::read_phone;
use crate::clients::rest::Rest;
use crate::error::{ApiError, FieldProblem};
use crate::http::call::Call;
use crate::http::reply::Reply;
use crate::http::session::prove_operator;
use crate::messages;
use crate::storage::cache;
use crate::storage::number_protocol::Command;
use crate::storage::phone_number_do::send_command;
use crate::uuid::is_uuid;

/// Characters of a reason.
const MAX_REASON: usize = 200;

/// `POST /operator/unlock-number` `{phone_number, reason}`: unrecognised devices may sign in to the number again.
pub async fn unlock_number(call: &Call) -> Result<Reply, ApiError> {
    let operator = proven_operator(call)?;
    let body = call.object()?;
    let mut fields = Fields::of(&body);
    let typed = fields.optional_text("phone_number");
    let reason = reason(&mut fields);
    fields.end()?;
    let phone = read_phone(typed.as_deref(), None)?;
    let number = call.app.config.otp_keys.number_name(phone.e164());
    // The log holds no phone numbers: the hash that names the number's object, and the last digits.
    let details = json!({
        "operator": operator.name,
        "number": number,
        "ends_in": last_digits(phone.e164()),
        "reason": reason,
    });
    operator
        .rest
        .rpc_text(
            "audit_operator",
            json!({"action": "unlock_number", "details": details}).to_string(),
        )
        .await?;
    send_command(&call.app, &number, &Command::Unlock).await?;
    Ok(Reply::ok(&json!({"unlocked": true})))
}

/// `POST /operator/exclude-from-boards` `{user_id, reason}`: takes an account off every board.
pub async fn exclude_from_boards(call: &Call) -> Result<Reply, ApiError> {
    set_board_exclusion(call, "exclude_from_boards").await
}

/// `POST /operator/include-in-boards` `{user_id, reason}`: puts it back.
pub async fn include_in_boards(call: &Call) -> Result<Reply, ApiError> {
    set_board_exclusion(call, "include_in_boards").await
}

/// The database writes the audit log in the same transaction; boards cached here are not served again.
async fn set_board_exclusion(call: &Call, function: &str) -> Result<Reply, ApiError> {
    let operator = proven_operator(call)?;
    let body = call.object()?;
    let mut fields = Fields::of(&body);
    let user_id = fields.text("user_id");
    if !user_id.is_empty() && !is_uuid(&user_id) {
        fields.note(FieldProblem::new(
            "user_id",
            "invalid",
            messages::NOT_A_UUID,
        ));
    }
    let reason = reason(&mut fields);
    fields.end()?;
    let arguments = json!({"user_id": user_id, "reason": reason, "operator_name": operator.name});
    let answer = operator.rest.rpc(function, &arguments).await?;
    cache::invalidate_boards().await;
    Ok(Reply::ok(&answer))
}

/// `POST /operator/decide-referral` `{referral_id, decision, reason}`: pays a held referral, or refuses it for good. The
/// database writes the audit log in the same transaction.
pub async fn decide_referral(call: &Call) -> Result<Reply, ApiError> {
    let operator = proven_operator(call)?;
    let body = call.object()?;
    let mut fields = Fields::of(&body);
    let referral_id = fields.text("referral_id");
    if !referral_id.is_empty() && !is_uuid(&referral_id) {
        fields.refuse("referral_id", DomainError::ReferralIdInvalid);
    }
    let decision = fields.text("decision");
    if !decision.is_empty() && !["pay", "refuse"].contains(&decision.as_str()) {
        fields.refuse("decision", DomainError::DecisionInvalid);
    }
    let reason = reason(&mut fields);
    fields.end()?;
    let arguments = json!({
        "referral_id": referral_id,
        "decision": decision,
        "reason": reason,
        "operator_name": operator.name,
    });
    let answer = operator.rest.rpc("decide_referral", &arguments).await?;
    Ok(Reply::ok(&answer))
}

/// The operator, and the database with the service key.
struct Operator<'a> {
    name: &'a str,
    rest: Rest<'a>,
}

fn proven_operator(call: &Call) -> Result<Operator<'_>, ApiError> {
    let Some(operators) = &call.app.config.operators else {
        return Err(ApiError::feature_unavailable());
    };
    let authorization = call.header("authorization");
    let name = prove_operator(authorization.as_deref(), operators)?;
    Ok(Operator {
        name,
        rest: call.service(),
    })
}

fn reason(fields: &mut Fields) -> String {
    let reason = fields.text("reason");
    if reason.chars().count() > MAX_REASON {
        fields.note(FieldProblem::new(
            "reason",
            "too_long",
            messages::REASON_LENGTH,
        ));
    }
    reason
}

fn last_digits(phone: &str) -> &str {
    phone.get(phone.len().saturating_sub(2)..).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits_of_a_number_are_logged() {
        assert_eq!(last_digits("+66812345678"), "78");
    }
}
