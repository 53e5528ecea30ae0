//! Codes by SMS: asking for one, again, and for another purpose.

use super::audit::{self, Actor};
use super::config::Config;
use super::contact::normal_phone;
use super::db;
use super::error::{ApiError, ApiResult};
use super::hook::{self, Message};
use super::http::{Call, Reply};
use super::server::Server;
use super::tokens;
use super::user::{self, By, Lock, NewUser, Object, User};
use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use serde::Deserialize;
use serde_json::{Value, json};

/// What a code is for; each purpose has its own columns in auth.users.
#[derive(Clone, Copy, PartialEq)]
pub enum Purpose {
    /// Signing in.
    Confirmation,
    /// Taking another number.
    PhoneChange,
    /// Proving oneself again.
    Reauthentication,
}

impl Purpose {
    fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Confirmation => ("confirmation_token", "confirmation_sent_at"),
            Self::PhoneChange => ("phone_change_token", "phone_change_sent_at"),
            Self::Reauthentication => ("reauthentication_token", "reauthentication_sent_at"),
        }
    }

    fn sent_at(self, user: &User) -> Option<DateTime<Utc>> {
        match self {
            Self::Confirmation => user.confirmation_sent_at,
            Self::PhoneChange => user.phone_change_sent_at,
            Self::Reauthentication => user.reauthentication_sent_at,
        }
    }
}

/// With the hook any channel is taken: the hook decides how it sends. Without it there is only SMS.
pub fn check_channel(config: &Config, channel: &str) -> ApiResult<()> {
    if config.sms_hook.is_some() || matches!(channel, "" | "sms") {
        return Ok(());
    }
    Err(ApiError::invalid(
        "Invalid channel, supported values are 'sms'",
    ))
}

#[derive(Deserialize)]
#[serde(default)]
struct Params {
    email: String,
    phone: String,
    create_user: bool,
    data: Object,
    channel: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            email: String::new(),
            phone: String::new(),
            create_user: true,
            data: Object::new(),
            channel: String::new(),
        }
    }
}

/// POST /otp
pub async fn request(server: &Server, call: &Call) -> ApiResult<Reply> {
    let params: Params = call.json()?;
    if !params.email.is_empty() && !params.phone.is_empty() {
        return Err(ApiError::invalid(
            "Only an email address or phone number should be provided",
        ));
    }
    if params.phone.is_empty() {
        return Err(match params.email.is_empty() {
            true => ApiError::invalid("One of email or phone must be set"),
            false => ApiError::new(422, "email_provider_disabled", "Email logins are disabled"),
        });
    }
    if !server.config.phone_enabled {
        return Err(ApiError::new(
            400,
            "phone_provider_disabled",
            "Unsupported phone provider",
        ));
    }
    let phone = normal_phone(&params.phone)?;
    check_channel(&server.config, &params.channel)?;
    match send_sign_in_code(server, call, &phone, &params).await {
        // Someone else wrote the same new number between the query and the insert: it exists now.
        Err(why) if why.is_unique_violation() => {
            send_sign_in_code(server, call, &phone, &params).await
        }
        other => other,
    }
}

async fn send_sign_in_code(
    server: &Server,
    call: &Call,
    phone: &str,
    params: &Params,
) -> ApiResult<Reply> {
    let aud = server.audience(call, None);
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    let found = user::find(&tx, By::Phone(phone, &aud), Lock::No).await?;
    if found.is_none() && !params.create_user {
        return Err(ApiError::new(
            422,
            "otp_disabled",
            "Signups not allowed for otp",
        ));
    }
    let confirmed = found.filter(|user| user.phone_confirmed_at.is_some());
    let (mut user, is_confirmed) = match confirmed {
        Some(user) => (user, true),
        None => (
            unconfirmed_user(server, &tx, phone, &aud, &params.data).await?,
            false,
        ),
    };
    let (action, traits) = match is_confirmed {
        true => ("user_recovery_requested", json!({ "channel": "sms" })),
        false => (
            "user_confirmation_requested",
            json!({ "provider": "phone" }),
        ),
    };
    audit::write(&tx, Actor::User(&user), action, traits).await?;
    let test = send(server, call, &tx, &mut user, phone, Purpose::Confirmation).await?;
    tx.commit().await?;
    Reply::json(&if is_confirmed {
        message_id(test)
    } else {
        json!({})
    })
}

/// The account of a number that is not proved yet. It exists from the first code on, with the data of
/// the first request.
async fn unconfirmed_user(
    server: &Server,
    db: &impl GenericClient,
    phone: &str,
    aud: &str,
    data: &Object,
) -> ApiResult<User> {
    if server.config.signup_disabled {
        return Err(ApiError::new(
            422,
            "signup_disabled",
            "Signups not allowed for this instance",
        ));
    }
    if let Some(user) = user::find(db, By::Phone(phone, aud), Lock::No).await? {
        return Ok(user);
    }
    let id = uuid::Uuid::new_v4();
    let mut metadata = Object::from_iter([
        ("sub".to_owned(), json!(id)),
        ("email_verified".to_owned(), json!(false)),
        ("phone_verified".to_owned(), json!(false)),
    ]);
    for (name, value) in data {
        metadata.entry(name).or_insert_with(|| value.clone());
    }
    let new = NewUser {
        id: Some(id),
        aud,
        role: &server.config.default_role,
        phone: Some(phone),
        app_metadata: json!({ "provider": "phone", "providers": ["phone"] }),
        user_metadata: metadata.clone(),
        ..NewUser::default()
    };
    user::insert(db, new).await?;
    user::upsert_identity(db, id, "phone", metadata).await?;
    user::reload(db, id).await
}

/// Makes a code, hands it to the hook and stores its hash, all in the caller's transaction. True for a test
/// number, whose fixed code is not sent.
pub async fn send(
    server: &Server,
    call: &Call,
    db: &impl GenericClient,
    user: &mut User,
    phone: &str,
    purpose: Purpose,
) -> ApiResult<bool> {
    let (config, now) = (&server.config, Utc::now());
    if let Some(next) = purpose
        .sent_at(user)
        .map(|at| at + config.sms_max_frequency)
        .filter(|next| *next >= now)
    {
        let wait_secs = (next - now).num_seconds().max(0) + 1;
        let message =
            format!("For security purposes, you can only request this after {wait_secs} seconds.");
        return Err(ApiError::new(429, "over_sms_send_rate_limit", message));
    }
    if purpose == Purpose::PhoneChange {
        phone.clone_into(&mut user.phone_change);
    }
    let test = config.test_code(phone, now);
    let code = match test {
        Some(code) => code.to_owned(),
        None => deliver(server, call, user, phone).await?,
    };
    let hash = tokens::otp_hash(phone, &code);
    let (token, sent_at) = purpose.columns();
    let sql = format!(
        "update auth.users set {token} = $2, {sent_at} = $3, updated_at = $3, phone_change = $4 where id = $1"
    );
    db::execute(
        db,
        &sql,
        &[&user.id, &hash, &Utc::now(), &user.phone_change],
    )
    .await?;
    user::store_token(db, user.id, token, phone, &hash).await?;
    Ok(test.is_some())
}

async fn deliver(server: &Server, call: &Call, user: &User, phone: &str) -> ApiResult<String> {
    if !server.sms_budget.take() {
        return Err(ApiError::new(
            429,
            "over_sms_send_rate_limit",
            "SMS rate limit exceeded",
        ));
    }
    let hook = server
        .config
        .sms_hook
        .as_ref()
        .ok_or_else(|| ApiError::internal("Unable to get SMS provider"))?;
    let code = tokens::otp(server.config.otp_length);
    hook::send_sms(
        &server.http,
        hook,
        Message {
            user,
            phone,
            otp: &code,
            address: call.address(),
        },
    )
    .await?;
    Ok(code)
}

/// The answer's member for a code that was not sent.
pub fn message_id(test: bool) -> Value {
    if test {
        json!({ "message_id": "test-otp" })
    } else {
        json!({})
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResendParams {
    r#type: String,
    email: String,
    phone: String,
}

/// POST /resend: the same code is never sent twice, a new one replaces it. The answer does not depend on whether the number exists.
pub async fn resend(server: &Server, call: &Call) -> ApiResult<Reply> {
    let params: ResendParams = call.json()?;
    let purpose = params.purpose()?;
    let phone = normal_phone(&params.phone)?;
    let aud = server.audience(call, None);
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    let Some(mut user) = user::find(&tx, By::Phone(&phone, &aud), Lock::No).await? else {
        return Reply::json(&json!({}));
    };
    let recipient = match purpose {
        Purpose::PhoneChange => user.phone_change.clone(),
        _ => phone,
    };
    if recipient.is_empty()
        || (purpose == Purpose::Confirmation && user.phone_confirmed_at.is_some())
    {
        return Reply::json(&json!({}));
    }
    if purpose == Purpose::Confirmation {
        let actor = Actor::User(&user);
        audit::write(&tx, actor, "user_recovery_requested", Value::Null).await?;
    }
    let test = send(server, call, &tx, &mut user, &recipient, purpose).await?;
    tx.commit().await?;
    Reply::json(&message_id(test))
}

impl ResendParams {
    fn purpose(&self) -> ApiResult<Purpose> {
        match self.r#type.as_str() {
            "signup" | "email_change" if !self.email.is_empty() => {
                let message = "Email logins are disabled";
                Err(ApiError::new(400, "email_provider_disabled", message))
            }
            "sms" | "phone_change" if self.phone.is_empty() => {
                Err(ApiError::invalid("Type provided requires a phone number"))
            }
            "sms" => Ok(Purpose::Confirmation),
            "phone_change" => Ok(Purpose::PhoneChange),
            _ => {
                let message = "Missing one of these types: signup, email_change, sms, phone_change";
                Err(ApiError::invalid(message))
            }
        }
    }
}
