//! `/auth/phone-otp` and `/auth/verify-otp`: sign-in with a code by SMS.
//!
//! The user's code is the Worker's own (contract §4). Auth makes a code too, which never leaves the hook and the number's
//! Durable Object; it goes back to Auth when the user's code is correct.
//!
//! ```text
//!  client                 Worker                        number's object         Auth
//!    │── phone-otp ─────────▶│── Begin (6 digits) ────────────▶│                  │
//!    │                       │── /otp ─────────────────────────┼─────────────────▶│ makes its own code
//!    │                  hook │◀── send-sms (10 digits) ────────┼──────────────────│ and waits
//!    │◀── SMS, 6 digits ─────│── Take: 10 digits in, 6 out ───▶│                  │
//!    │◀── otp_id ────────────│◀────────────────────────────────┼── 200 ───────────│
//!    │── verify-otp ────────▶│── Check ───────────────────────▶│ claims           │
//!    │                       │── /verify (10 digits) ──────────┼─────────────────▶│ opens a session
//!    │◀── tokens ────────────│── MarkUsed ────────────────────▶│                  │
//! ```
//!
//! While Auth answers `/otp`, it calls the hook, which is another request to the Worker and needs the same object. So no
//! step holds the object during a call to Auth: each is one command, and what must outlast a call (the claim) is stored.
//!
//! For an anonymous user Auth is not asked for a code: the Worker sends its own (`TakeOwn`), alike for numbers with and
//! without an account. The right code gives them a number that nobody has, or else merges their diary into its account.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carbon_domain::phone::{self, Phone};
use carbon_domain::{Lang, digits};
use serde_json::{Map, Value, json};
use std::time::Duration;
use worker::Delay;

use super::auth::{register_device, tokens};
use super::challenge::{Limit, Origin, refund};
use super::code_sms::send_later;
use super::fields::{DeviceInfo, Fields};
use super::give_number::give_number;
use super::merge::{anonymous_caller, merge_diary};
use crate::clients::auth::{AuthFailure, AuthSession};
use crate::clients::within;
use crate::clock::{iso_ms, now_ms};
use crate::crypto::bytes::random;
use crate::crypto::otp_id::{OtpId, device_hash, six_digits};
use crate::error::{ApiError, Code, FieldProblem};
use crate::http::call::Call;
use crate::http::reply::Reply;
use crate::limits::count::refusal;
use crate::messages;
use crate::observe::metrics;
use crate::storage::number_protocol::{Command, Message, NumberReply, Refusal};
use crate::storage::phone_number_do::send_command;

/// Asking Auth for a code takes no longer than this (milliseconds): with the objects before and after it,
/// a request ends within its own deadline.
const CODE_DEADLINE_MS: u64 = 3_900;
/// The same for a session, with new codes where needed; the device is registered after it.
const EXCHANGE_DEADLINE_MS: u64 = 3_500;
/// Auth refuses a second code for a number within a second; the wait before trying again.
const AUTH_PAUSE_MS: u64 = 1_100;
/// Answers to requests for a code leave after a multiple of this (milliseconds): longer than Auth takes for any number
/// unless it is in trouble, so that nearly all of them leave after the first step.
const ANSWER_STEP_MS: i64 = 500;
/// Codes of Auth's that are tried before it counts as broken: another device may use one up between
/// two steps, but hardly twice.
const AUTH_CODES: usize = 3;
/// Longer device tokens are ignored; genuine ones have 43 characters.
const MAX_DEVICE_TOKEN_BYTES: usize = 128;

fn unexpected(answer: &NumberReply) -> ApiError {
    ApiError::internal(format!(
        "number's object answered out of turn: {}",
        kind(answer)
    ))
}

/// The answer's name without its contents, which may be codes.
fn kind(answer: &NumberReply) -> String {
    format!("{answer:?}")
        .chars()
        .take_while(|c| c.is_alphanumeric())
        .collect()
}

/// What a request for a code says.
pub(super) struct CodeRequest {
    pub(super) phone: Phone,
    /// A token that may be genuine.
    pub(super) device_token: Option<String>,
    /// The token of the bot check, if the client passed one.
    challenge_token: Option<String>,
}

/// `POST /auth/phone-otp` `{phone_number, country_code?, device_token?, challenge_token?}`
pub async fn phone_otp(call: &Call) -> Result<Reply, ApiError> {
    begin(call, &read_request(&call.object()?)?).await
}

pub(super) fn read_request(body: &Map<String, Value>) -> Result<CodeRequest, ApiError> {
    let mut fields = Fields::of(body);
    let typed = fields.optional_text("phone_number");
    let country_code = fields.optional_text("country_code");
    let device_token = fields.optional_text("device_token");
    let challenge_token = fields.optional_text("challenge_token");
    fields.end()?;
    Ok(CodeRequest {
        phone: read_phone(typed.as_deref(), country_code.as_deref())?,
        device_token: device_token.filter(|token| token.len() <= MAX_DEVICE_TOKEN_BYTES),
        challenge_token,
    })
}

/// The number as the user typed it.
pub(super) fn read_phone(
    typed: Option<&str>,
    country_code: Option<&str>,
) -> Result<Phone, ApiError> {
    phone::normalize(typed.unwrap_or(""), country_code)
        .map_err(|error| ApiError::field(FieldProblem::domain("phone_number", error)))
}

/// Waits for the next full step since a request came. Auth does a little less or more for numbers
/// that have an account; answers that leave in steps do not reveal it.
async fn pad_response_time(since_ms: i64) {
    let rest_ms = ANSWER_STEP_MS - (now_ms() - since_ms).rem_euclid(ANSWER_STEP_MS);
    Delay::from(Duration::from_millis(rest_ms.unsigned_abs())).await;
}

/// What allows a code to be begun.
struct Proof {
    /// The subjects that it weighs on: none for a recognised device.
    begun_by: Vec<String>,
    /// Whether the bot check was passed for it.
    passed: bool,
}

/// Asks the number first: a recognised device needs nothing else, and where no code can be begun anyway, the user is not
/// sent through the bot check.
async fn prove(
    call: &Call,
    request: &CodeRequest,
    number: &str,
    otp_id: &OtpId,
    limited: bool,
) -> Result<Proof, ApiError> {
    let can_begin = Command::CanBegin {
        device_hash: request.device_token.as_deref().map(device_hash),
        limited,
    };
    let spent = match send_command(&call.app, number, &can_begin).await? {
        NumberReply::Available { recognised: true } => {
            return Ok(Proof {
                begun_by: Vec::new(),
                passed: false,
            });
        }
        NumberReply::Available { recognised: false } => None,
        NumberReply::Refused {
            why: Refusal::SmsUnlessPassed,
            limit,
            reset_at_ms,
        } => Some(Limit {
            size: limit,
            reset_at_ms,
        }),
        other => return Err(refused(other)),
    };
    let origin = Origin::of(call, request.phone.e164())?;
    let token = request.challenge_token.as_deref();
    let passed = origin.begin(call, &otp_id.attempt, token, spent).await?;
    Ok(Proof {
        begun_by: origin.names(),
        passed,
    })
}

async fn begin(call: &Call, request: &CodeRequest) -> Result<Reply, ApiError> {
    let since_ms = now_ms();
    let anonymous_user = anonymous_caller(call).await?;
    let config = &call.app.config;
    let (keys, phone) = (&config.otp_keys, request.phone.e164());
    let number = keys.number_name(phone);
    let (otp_id, parts) = keys.seal(&number, random::<16>()?);
    let test_number = config.test_number.as_ref();
    let test_code = test_number.filter(|test| test.phone == phone);
    let code = match test_code {
        Some(test) => test.code.clone(),
        None => new_code()?,
    };
    // The test number gets no messages, so there are none to limit.
    let limited = !config.no_limits && test_code.is_none();
    let Proof { begun_by, passed } = prove(call, request, &number, &parts, limited).await?;
    let command = Command::Begin {
        phone: phone.to_owned(),
        attempt: parts.attempt.clone(),
        code_hash: keys.code_hash(&parts, &code),
        message: Message {
            code,
            english: call.lang == Lang::En,
        },
        device_hash: request.device_token.as_deref().map(device_hash),
        begun_by: begun_by.clone(),
        anonymous_user: anonymous_user.clone(),
        limited,
        passed,
    };
    let (expires_at_ms, resend_at_ms) = match send_command(&call.app, &number, &command).await {
        Ok(NumberReply::Begun {
            expires_at_ms,
            resend_at_ms,
        }) => (expires_at_ms, resend_at_ms),
        other => {
            refund(&call.app, begun_by, parts.attempt);
            return Err(other.map_or_else(|error| error, refused));
        }
    };
    let sent = if anonymous_user.is_some() {
        send_own(call, &number, &request.phone, &parts.attempt).await
    } else {
        let sent = within(CODE_DEADLINE_MS, ask_auth_for_code(call, phone)).await;
        sent.map_err(|error| ApiError::unavailable(format!("auth code: {error}")))
            .and_then(|answer| answer.map_err(ApiError::from))
    };
    pad_response_time(since_ms).await;
    if let Err(failure) = sent {
        let cancel = Command::Cancel(parts.attempt.clone());
        // The hook may have taken the code before Auth failed: then the SMS is on its way.
        if send_command(&call.app, &number, &cancel).await? != NumberReply::AlreadySent {
            refund(&call.app, begun_by, parts.attempt);
            return Err(failure);
        }
    }
    metrics::add("carbon_otp_sent_total", "", 1);
    Ok(Reply::ok(&json!({
        "otp_id": otp_id,
        "expires_at": iso_ms(expires_at_ms),
        "resend_available_at": iso_ms(resend_at_ms),
    })))
}

/// Sends the code of this attempt without Auth, which would say by its work whether the number has an account.
async fn send_own(call: &Call, number: &str, phone: &Phone, attempt: &str) -> Result<(), ApiError> {
    let take = Command::TakeOwn(attempt.to_owned());
    match send_command(&call.app, number, &take).await? {
        NumberReply::ToSend(messages) => send_later(call, phone.clone(), messages, None),
        other => return Err(unexpected(&other)),
    }
    Ok(())
}

fn new_code() -> Result<String, ApiError> {
    let bytes = random::<32>()?;
    let draws: Vec<u32> = bytes
        .chunks_exact(4)
        .map(|chunk| {
            chunk
                .iter()
                .fold(0, |draw, byte| draw << 8 | u32::from(*byte))
        })
        .collect();
    six_digits(&draws).ok_or_else(|| ApiError::internal("no usable random draw"))
}

/// The error for a number's answer that is not a success.
fn refused(answer: NumberReply) -> ApiError {
    let (reason, error) = match answer {
        NumberReply::Wrong => ("wrong", wrong_code()),
        NumberReply::Invalid => ("invalid", wrong_code()),
        NumberReply::Expired => (
            "expired",
            ApiError::auth(Code::AuthExpired, messages::CODE_EXPIRED),
        ),
        NumberReply::Refused {
            why,
            limit,
            reset_at_ms,
        } => {
            let words = match why {
                Refusal::Resend => messages::RESEND_LATER,
                Refusal::Codes => messages::RATE_LIMITED,
                Refusal::Sms | Refusal::SmsUnlessPassed => messages::SMS_SPENT,
                Refusal::Tries => messages::CODE_SPENT,
                Refusal::TriesOfDay => messages::TRIES_SPENT,
                Refusal::Locked => messages::NUMBER_LOCKED,
            };
            (why.label(), refusal(words, limit, reset_at_ms))
        }
        other => return unexpected(&other),
    };
    let label = format!(r#"reason="{reason}""#);
    metrics::add("carbon_otp_refused_total", &label, 1);
    error
}

async fn ask_auth_for_code(call: &Call, phone: &str) -> Result<(), AuthFailure> {
    match call.auth().send_code(phone).await {
        Err(AuthFailure::Refused {
            status: 429,
            error_code,
            ..
        }) if error_code == "over_sms_send_rate_limit" => {
            Delay::from(Duration::from_millis(AUTH_PAUSE_MS)).await;
            call.auth().send_code(phone).await
        }
        outcome => outcome,
    }
}

/// `POST /auth/verify-otp` `{otp_id, otp_code, device_info}`
pub async fn verify_otp(call: &Call) -> Result<Reply, ApiError> {
    let body = call.object()?;
    let mut fields = Fields::of(&body);
    let otp_id = fields.text("otp_id");
    let typed = fields.text("otp_code");
    let otp_code = digits::code(&typed);
    if otp_code.is_none() && !typed.is_empty() {
        fields.note(FieldProblem::new(
            "otp_code",
            "otp_code_invalid",
            messages::OTP_CODE_FORM,
        ));
    }
    let device = fields.device_info(true);
    fields.end()?;
    let device = device.ok_or_else(|| ApiError::field(FieldProblem::required("device_info")))?;

    let keys = &call.app.config.otp_keys;
    let otp_id = keys.open(&otp_id).ok_or_else(wrong_code)?;
    let code_hash = keys.code_hash(&otp_id, &otp_code.unwrap_or_default());
    let check = Command::Check {
        attempt: otp_id.attempt.clone(),
        code_hash,
        caller: call.user().ok().map(|session| session.user_id.clone()),
    };
    match send_command(&call.app, &otp_id.number, &check).await? {
        NumberReply::Right {
            phone,
            auth_code,
            anonymous_user,
        } => {
            let proven = Proven {
                phone,
                auth_code,
                anonymous_user,
            };
            let outcome = sign_in(call, &otp_id, proven, &device).await;
            if outcome.is_err() {
                // The code was right, so it may be tried again.
                let release = Command::Release(otp_id.attempt);
                send_command(&call.app, &otp_id.number, &release).await?;
            }
            outcome
        }
        other => Err(refused(other)),
    }
}

fn wrong_code() -> ApiError {
    ApiError::auth(Code::AuthInvalid, messages::CODE_WRONG)
}

/// What a right code proves.
struct Proven {
    /// E.164.
    phone: String,
    /// Auth's newest code, if the number's object holds one.
    auth_code: Option<String>,
    /// The anonymous user who asked for the code, if one did.
    anonymous_user: Option<String>,
}

/// From a right code to a session: Auth, the diary that comes along, the device, and only then the code is used up. Each
/// step can be repeated, so a request that ended anywhere in between is finished by the next one.
async fn sign_in(
    call: &Call,
    otp_id: &OtpId,
    proven: Proven,
    device: &DeviceInfo,
) -> Result<Reply, ApiError> {
    if let Some(user_id) = &proven.anonymous_user {
        give_number(call, user_id, &proven.phone).await?;
    }
    stop_if_asked(call, "stop-after-number")?;
    let exchange = exchange_code(call, otp_id, &proven.phone, proven.auth_code);
    let (session, auth_code) = match within(EXCHANGE_DEADLINE_MS, exchange).await {
        Ok(outcome) => outcome?,
        Err(error) => return Err(ApiError::unavailable(format!("auth verify: {error}"))),
    };
    stop_if_asked(call, "stop-after-session")?;
    let merged = match &proven.anonymous_user {
        Some(user_id) if *user_id != session.user.id => {
            merge_diary(call, user_id, &session.user.id).await?
        }
        _ => None,
    };
    stop_if_asked(call, "stop-after-merge")?;
    let user = register_device(call, &session, device).await?;
    let device_token = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let mark_used = Command::MarkUsed {
        attempt: otp_id.attempt.clone(),
        auth_code,
        device_hash: device_hash(&device_token),
    };
    if let NumberReply::MarkedUsed(begun_by) =
        send_command(&call.app, &otp_id.number, &mark_used).await?
    {
        refund(&call.app, begun_by, otp_id.attempt.clone());
    }
    stop_if_asked(call, "stop-after-use")?;
    metrics::add("carbon_otp_verified_total", "", 1);
    let mut data = tokens(&session);
    data["device_token"] = json!(device_token);
    data["user"] = user;
    if let Some(merged) = merged {
        data["merged"] = merged;
    }
    Ok(Reply::ok(&data))
}

/// Ends the request here if a local run asks for it, so that tests see that the next one goes on.
fn stop_if_asked(call: &Call, fault: &str) -> Result<(), ApiError> {
    if call.app.fails(fault) {
        return Err(ApiError::unavailable(fault));
    }
    Ok(())
}

/// Hands Auth its own code. If another device has used it up, Auth makes a new one; no SMS goes out
/// for that, because no user's code waits to be sent.
async fn exchange_code(
    call: &Call,
    otp_id: &OtpId,
    phone: &str,
    mut auth_code: Option<String>,
) -> Result<(AuthSession, String), ApiError> {
    for _ in 0..AUTH_CODES {
        if let Some(code) = auth_code {
            match call.auth().verify(phone, &code).await {
                Ok(session) => return Ok((session, code)),
                Err(AuthFailure::Refused { error_code, .. }) if error_code == "otp_expired" => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        ask_auth_for_code(call, phone).await?;
        let newest = Command::AuthCode(otp_id.attempt.clone());
        auth_code = match send_command(&call.app, &otp_id.number, &newest).await? {
            NumberReply::Right { auth_code, .. } => auth_code,
            other => return Err(unexpected(&other)),
        };
    }
    Err(ApiError::unavailable("auth took none of its own codes"))
}
