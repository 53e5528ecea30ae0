//! POST /verify: a code or a link's token becomes a session.

use super::audit::{self, Actor};
use super::config::Config;
use super::contact::{normal_email, normal_phone};
use super::db;
use super::error::{ApiError, ApiResult};
use super::http::{Call, Reply};
use super::server::Server;
use super::session;
use super::tokens;
use super::user::{self, By, Lock, Object, User};
use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    r#type: String,
    token: String,
    token_hash: String,
    email: String,
    phone: String,
    redirect_to: String,
}

/// POST /verify
pub async fn verify(server: &Server, call: &Call) -> ApiResult<Reply> {
    let mut params: Params = call.json()?;
    check(&mut params)?;
    let aud = server.audience(call, None);
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    let by_hash = params.token.is_empty();
    let (user, kind) = match by_hash {
        true => find_by_hash(server, &tx, &params).await?,
        false => find_by_code(server, &tx, &params, &aud).await?,
    };
    match kind {
        Kind::Sms => confirm_phone(&tx, &user).await?,
        Kind::PhoneChange => confirm_phone_change(&tx, &user).await?,
        Kind::Signup => confirm_email(&tx, &user).await?,
        Kind::MagicLink => follow_link(&tx, &user).await?,
    }
    user::note_providers(&tx, user.id).await?;
    let reply = session::begin(server, call, &tx, user.id, "otp").await?;
    tx.commit().await?;
    Ok(reply)
}

/// What is being proved.
#[derive(Clone, Copy)]
enum Kind {
    Sms,
    PhoneChange,
    Signup,
    MagicLink,
}

fn check(params: &mut Params) -> ApiResult<()> {
    if params.r#type.is_empty() {
        return Err(ApiError::invalid("Verify requires a verification type"));
    }
    if params.token.is_empty() == params.token_hash.is_empty() {
        return Err(ApiError::invalid(
            "Verify requires either a token or a token hash",
        ));
    }
    if params.token.is_empty() {
        if !(params.email.is_empty() && params.phone.is_empty() && params.redirect_to.is_empty()) {
            return Err(ApiError::invalid(
                "Only the token_hash and type should be provided",
            ));
        }
        return Ok(());
    }
    match (params.phone.is_empty(), params.email.is_empty()) {
        (false, true) => params.phone = normal_phone(&params.phone)?,
        (true, false) => params.email = normal_email(&params.email)?,
        _ => {
            return Err(ApiError::invalid(
                "Only an email address or phone number should be provided on verify",
            ));
        }
    }
    let recipient = if params.phone.is_empty() {
        &params.email
    } else {
        &params.phone
    };
    params.token_hash = tokens::otp_hash(recipient, &params.token);
    Ok(())
}

fn refuse_banned(user: &User) -> ApiResult<()> {
    if user.is_banned() {
        return Err(ApiError::new(403, "user_banned", "User is banned"));
    }
    Ok(())
}

fn in_time(sent_at: Option<DateTime<Utc>>, life: Duration) -> bool {
    sent_at.is_some_and(|at| Utc::now() <= at + life)
}

/// A code that a user typed, with the phone or address it went to. The row is locked: of two calls with one
/// code the second finds it used.
async fn find_by_code(
    server: &Server,
    db: &impl GenericClient,
    params: &Params,
    aud: &str,
) -> ApiResult<(User, Kind)> {
    let by = match params.r#type.as_str() {
        "phone_change" => By::NewPhone(&params.phone, aud),
        "sms" => By::Phone(&params.phone, aud),
        "email" | "signup" | "invite" | "recovery" | "magiclink" => By::Email(&params.email, aud),
        _ => return Err(ApiError::otp_expired()),
    };
    let user = user::find(db, by, Lock::Update)
        .await?
        .ok_or_else(ApiError::otp_expired)?;
    refuse_banned(&user)?;
    let kind = proved(&server.config, params, &user).ok_or_else(ApiError::otp_expired)?;
    Ok((user, kind))
}

/// What a code proves about the user, if anything.
fn proved(config: &Config, params: &Params, user: &User) -> Option<Kind> {
    let is = |expected: &str, sent_at, life| {
        !expected.is_empty() && expected == params.token_hash && in_time(sent_at, life)
    };
    let confirms = |life| is(&user.confirmation_token, user.confirmation_sent_at, life);
    let recovers = |life| is(&user.recovery_token, user.recovery_sent_at, life);
    let changes = |life| is(&user.phone_change_token, user.phone_change_sent_at, life);
    let is_test = config.test_code(&params.phone, Utc::now()) == Some(params.token.as_str());
    match params.r#type.as_str() {
        "sms" if is_test || confirms(config.otp_exp) => Some(Kind::Sms),
        "phone_change" if is_test || changes(config.otp_exp) => Some(Kind::PhoneChange),
        "email" | "signup" | "invite" if confirms(config.link_exp) => Some(Kind::Signup),
        "email" | "recovery" | "magiclink" if recovers(config.link_exp) => Some(Kind::MagicLink),
        _ => None,
    }
}

/// A link's token, which alone identifies its user.
async fn find_by_hash(
    server: &Server,
    db: &impl GenericClient,
    params: &Params,
) -> ApiResult<(User, Kind)> {
    let kinds: &[&str] = match params.r#type.as_str() {
        "email" => &["confirmation_token", "recovery_token"],
        "signup" | "invite" => &["confirmation_token"],
        "recovery" | "magiclink" => &["recovery_token"],
        _ => return Err(ApiError::invalid("Invalid email verification type")),
    };
    let gone = || ApiError::new(403, "otp_expired", "Email link is invalid or has expired");
    let user = user::find(db, By::Token(&params.token_hash, kinds), Lock::Update)
        .await?
        .ok_or_else(gone)?;
    refuse_banned(&user)?;
    let recovery = user.recovery_token == params.token_hash;
    if !recovery && user.confirmation_token != params.token_hash {
        return Err(gone());
    }
    let sent_at = if recovery {
        user.recovery_sent_at
    } else {
        user.confirmation_sent_at
    };
    if !in_time(sent_at, server.config.link_exp) {
        return Err(gone());
    }
    let kind = if recovery {
        Kind::MagicLink
    } else {
        Kind::Signup
    };
    Ok((user, kind))
}

async fn confirm_phone(db: &impl GenericClient, user: &User) -> ApiResult<()> {
    audit::write(
        db,
        Actor::User(user),
        "user_signedup",
        json!({ "provider": "phone" }),
    )
    .await?;
    user::confirm_phone(db, user.id).await?;
    user::end_anonymity(db, user.id).await
}

async fn confirm_phone_change(db: &impl GenericClient, user: &User) -> ApiResult<()> {
    audit::write(db, Actor::User(user), "user_modified", Value::Null).await?;
    let data = Object::from_iter([
        ("phone".to_owned(), json!(user.phone_change)),
        ("phone_verified".to_owned(), json!(true)),
    ]);
    user::upsert_identity(db, user.id, "phone", data).await?;
    let sql = "update auth.users set phone = phone_change, phone_change = '', phone_change_token = '', \
               phone_confirmed_at = $2, updated_at = $2 where id = $1";
    db::execute(db, sql, &[&user.id, &Utc::now()]).await?;
    user::clear_tokens(db, user.id).await?;
    user::end_anonymity(db, user.id).await
}

async fn confirm_email(db: &impl GenericClient, user: &User) -> ApiResult<()> {
    audit::write(
        db,
        Actor::User(user),
        "user_signedup",
        json!({ "provider": "email" }),
    )
    .await?;
    user::confirm_email(db, user.id).await?;
    let sql = "update auth.identities set identity_data = identity_data || '{\"email_verified\": true}', \
               updated_at = $3 where user_id = $1 and email = $2 and email <> ''";
    db::execute(db, sql, &[&user.id, &user.email, &Utc::now()]).await
}

async fn follow_link(db: &impl GenericClient, user: &User) -> ApiResult<()> {
    let sql = "update auth.users set recovery_token = '', updated_at = $2 where id = $1";
    db::execute(db, sql, &[&user.id, &Utc::now()]).await?;
    user::clear_tokens(db, user.id).await?;
    if user.email_confirmed_at.is_some() {
        return audit::write(db, Actor::User(user), "login", Value::Null).await;
    }
    audit::write(
        db,
        Actor::User(user),
        "user_signedup",
        json!({ "provider": "email" }),
    )
    .await?;
    user::confirm_email(db, user.id).await
}
