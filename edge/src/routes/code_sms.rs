//! Codes leave as SMS, after the answer and within the service's budget: for the hook, and for what the Worker sends itself.

use carbon_domain::Lang;
use carbon_domain::phone::Phone;
use serde_json::json;
use worker::{console_error, console_log};

use crate::app::App;
use crate::clients::rest::Rest;
use crate::clients::sms;
use crate::clients::sms_failure::Failure;
use crate::http::call::Call;
use crate::observe::log::event_line;
use crate::observe::metrics;
use crate::storage::number_protocol::Message;
use crate::storage::sms_budget;

/// Whether the service's budget has a message for the number; what cannot be counted is not sent.
async fn may_send(app: &App, is_member: bool) -> Result<(), String> {
    match sms_budget::spend(app, is_member).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the day's budget is spent".to_owned()),
        Err(error) => Err(error.internal.unwrap_or_default()),
    }
}

/// Sends the codes after the answer, if the budget allows; the caller's answer is the same either way, so that it
/// reveals nothing about the number. `is_member`: whether the number has an account; if the caller does not know it, the
/// database is asked after the answer.
pub(super) fn send_later(
    call: &Call,
    phone: Phone,
    messages: Vec<Message>,
    is_member: Option<bool>,
) {
    let test_number = call.app.config.test_number.as_ref();
    if messages.is_empty() || test_number.is_some_and(|test| test.phone == phone.e164()) {
        return;
    }
    for message in messages {
        let (app, request_id, phone) = (call.app.clone(), call.request_id.clone(), phone.clone());
        // Each on its own, so that a slow one delays no other.
        call.app.context.wait_until(async move {
            let to = phone.masked();
            let is_member = match is_member {
                Some(is_member) => is_member,
                None => has_account(&app, &request_id, &phone).await,
            };
            if let Err(why) = may_send(&app, is_member).await {
                metrics::add("carbon_sms_failed_total", r#"reason="budget""#, 1);
                let what = format!("to {to}: {why}");
                console_error!("{}", event_line("error", "sms_budget", &request_id, &what));
                return;
            }
            let lang = if message.english { Lang::En } else { Lang::Th };
            let text = sms::code_text(&message.code, lang);
            let outcome = sms::deliver(&app.config.sms, &phone, &text).await;
            note(outcome, &request_id, &to);
        });
    }
}

/// Whether somebody has confirmed the number; a database that is down keeps no code from being sent.
async fn has_account(app: &App, request_id: &str, phone: &Phone) -> bool {
    let rest = Rest::new(&app.config, Some(&app.config.service_role_key), request_id);
    let owner = rest
        .rpc("phone_owner", &json!({"phone_number": phone.e164()}))
        .await;
    owner.is_ok_and(|owner| owner.is_string())
}

/// Counts and logs a delivery. `sms_needs_operator` is the event to alert on: until an operator acts
/// (credit, account, sender's name), no code reaches a user.
fn note(outcome: Result<(), Failure>, request_id: &str, to: &str) {
    let Err(failure) = outcome else {
        metrics::add("carbon_sms_sent_total", "", 1);
        console_log!("{}", event_line("info", "sms_sent", request_id, to));
        return;
    };
    let labels = format!("reason=\"{}\"", failure.reason.label());
    metrics::add("carbon_sms_failed_total", &labels, 1);
    let event = if failure.reason.needs_operator() {
        "sms_needs_operator"
    } else {
        "sms_failed"
    };
    let what = format!("to {to}: {failure}");
    console_error!("{}", event_line("error", event, request_id, &what));
}
