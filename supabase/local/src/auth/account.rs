//! What a signed-in user does with the own account: reading and changing it, signing out; and signing up
//! without a name.

use super::audit::{self, Actor};
use super::config::Config;
use super::contact::normal_phone;
use super::db;
use super::error::{ApiError, ApiResult};
use super::http::{Call, Reply};
use super::otp::{self, Purpose, check_channel, message_id};
use super::server::Server;
use super::session;
use super::tokens::{self, Claims};
use super::user::{self, By, Lock, NewUser, Object, User};
use chrono::Utc;
use deadpool_postgres::GenericClient;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// The caller of a request with a valid access token.
pub struct Caller {
    pub user: User,
    /// The session the token belongs to; none for tokens that were not issued by a sign-in.
    pub session: Option<Uuid>,
    pub claims: Claims,
}

/// Reads the bearer token's claims.
pub fn claims(server: &Server, call: &Call) -> ApiResult<Claims> {
    let now = Utc::now().timestamp_micros() as f64 / 1e6;
    tokens::verify(&server.config.jwt_secret, call.bearer()?, now)
}

/// Finds the caller. A token outlives neither its session nor its user, and a banned user has no use of it.
pub async fn caller(server: &Server, call: &Call) -> ApiResult<Caller> {
    let claims = claims(server, call)?;
    let no_sub = || ApiError::new(403, "bad_jwt", "invalid claim: missing sub claim");
    let odd_sub = |_| ApiError::new(400, "bad_jwt", "invalid claim: sub claim must be a UUID");
    let sub = Some(&claims.sub).filter(|sub| !sub.is_empty());
    let id: Uuid = sub.ok_or_else(no_sub)?.parse().map_err(odd_sub)?;
    let client = server.pool.get().await?;
    let user = user::find(&client, By::Id(id), Lock::No).await?;
    let user = user.ok_or_else(|| {
        let message = "User from sub claim in JWT does not exist";
        ApiError::new(403, "user_not_found", message)
    })?;
    let session = session_of(&client, &claims).await?;
    if user.is_banned() {
        return Err(ApiError::new(403, "user_banned", "User is banned"));
    }
    Ok(Caller {
        user,
        session,
        claims,
    })
}

/// The session that the token names, which must still be there; none when it names none.
async fn session_of(db: &impl GenericClient, claims: &Claims) -> ApiResult<Option<Uuid>> {
    if claims.session_id.is_empty() {
        return Ok(None);
    }
    let id: Uuid = claims.session_id.parse().map_err(|_| {
        let message = "invalid claim: session_id claim must be a UUID";
        ApiError::new(403, "bad_jwt", message)
    })?;
    if id.is_nil() {
        return Ok(None);
    }
    let found = db::optional(db, "select 1 from auth.sessions where id = $1", &[&id]).await?;
    found.map(|_| Some(id)).ok_or_else(|| {
        let message = "Session from session_id claim in JWT does not exist";
        ApiError::new(403, "session_not_found", message)
    })
}

/// GET /user
pub async fn read(server: &Server, call: &Call) -> ApiResult<Reply> {
    let caller = caller(server, call).await?;
    if caller.claims.audience() != Some(server.audience(call, Some(&caller.claims)).as_str()) {
        return Err(ApiError::invalid(
            "Token audience doesn't match request audience",
        ));
    }
    Reply::json(&caller.user)
}

/// 422 phone_exists.
fn phone_exists() -> ApiError {
    ApiError::new(
        422,
        "phone_exists",
        "A user with this phone number has already been registered",
    )
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UpdateParams {
    email: String,
    password: String,
    phone: String,
    channel: String,
    data: Object,
    app_metadata: Option<Object>,
}

/// PUT /user
pub async fn update(server: &Server, call: &Call) -> ApiResult<Reply> {
    let mut caller = caller(server, call).await?;
    let params: UpdateParams = call.json()?;
    params.refuse_what_is_not_offered(&caller.user)?;
    let aud = server.audience(call, Some(&caller.claims));
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    let new_phone = params.new_phone(server, &caller.user)?;
    if let Some(phone) = &new_phone
        && user::find(&tx, By::Phone(phone, &aud), Lock::No)
            .await?
            .is_some()
    {
        return Err(phone_exists());
    }
    if !params.data.is_empty() {
        user::merge_user_metadata(&tx, caller.user.id, &params.data).await?;
    }
    if let Some(phone) = &new_phone {
        let user = &mut caller.user;
        otp::send(server, call, &tx, user, phone, Purpose::PhoneChange).await?;
    }
    audit::write(&tx, Actor::User(&caller.user), "user_modified", Value::Null).await?;
    let user = user::reload(&tx, caller.user.id).await?;
    tx.commit().await?;
    Reply::json(&user)
}

impl UpdateParams {
    fn refuse_what_is_not_offered(&self, user: &User) -> ApiResult<()> {
        if self.app_metadata.is_some() {
            let message = "Updating app_metadata requires admin privileges";
            return Err(ApiError::new(403, "not_admin", message));
        }
        if !self.password.is_empty() {
            let message = "Passwords are not offered here";
            return Err(ApiError::new(422, "validation_failed", message));
        }
        if !self.email.is_empty() && self.email.to_lowercase() != user.email {
            let message = "Email changes are disabled";
            return Err(ApiError::new(422, "email_provider_disabled", message));
        }
        Ok(())
    }

    /// The requested phone, if it is not the one the user has.
    fn new_phone(&self, server: &Server, user: &User) -> ApiResult<Option<String>> {
        if self.phone.is_empty() {
            return Ok(None);
        }
        check_channel(&server.config, &self.channel)?;
        let phone = normal_phone(&self.phone)?;
        Ok(Some(phone).filter(|phone| *phone != user.phone))
    }
}

/// POST /logout?scope=global|local|others
pub async fn logout(server: &Server, call: &Call) -> ApiResult<Reply> {
    let caller = caller(server, call).await?;
    let everywhere =
        "delete from auth.sessions where user_id = $1 and $2::uuid is distinct from $3";
    let sql = match call.param("scope").unwrap_or_default() {
        "" | "global" => everywhere,
        "local" => {
            "delete from auth.sessions where user_id = $1 and $2::uuid is distinct from $3 and id = $2"
        }
        "others" => {
            "delete from auth.sessions where user_id = $1 and $2::uuid is distinct from $3 and id <> $2"
        }
        other => {
            return Err(ApiError::invalid(format!(
                "Unsupported logout scope {other:?}"
            )));
        }
    };
    // A token without a session cannot say which one is meant: it ends all of them.
    let sql = if caller.session.is_none() {
        everywhere
    } else {
        sql
    };
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    audit::write(&tx, Actor::User(&caller.user), "logout", Value::Null).await?;
    db::execute(&tx, sql, &[&caller.user.id, &caller.session, &Uuid::nil()]).await?;
    tx.commit().await?;
    Ok(Reply::empty())
}

/// GET /reauthenticate: a code to the user's own phone.
pub async fn reauthenticate(server: &Server, call: &Call) -> ApiResult<Reply> {
    let mut caller = caller(server, call).await?;
    let phone = caller.user.phone.clone();
    if phone.is_empty() {
        return Err(ApiError::invalid(
            "Reauthentication requires the user to have an email or a phone number",
        ));
    }
    if caller.user.phone_confirmed_at.is_none() {
        return Err(ApiError::new(
            422,
            "phone_not_confirmed",
            "Please verify your phone first.",
        ));
    }
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    audit::write(
        &tx,
        Actor::User(&caller.user),
        "user_reauthenticate_requested",
        Value::Null,
    )
    .await?;
    let test = otp::send(
        server,
        call,
        &tx,
        &mut caller.user,
        &phone,
        Purpose::Reauthentication,
    )
    .await?;
    tx.commit().await?;
    Reply::json(&message_id(test))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SignupParams {
    email: String,
    phone: String,
    data: Object,
}

/// POST /signup: without a phone and an address an anonymous user. The other two need passwords, which
/// no user has here.
pub async fn signup(server: &Server, call: &Call) -> ApiResult<Reply> {
    let params: SignupParams = call.json()?;
    let config = &server.config;
    params.refuse_what_is_not_offered(config)?;
    let aud = server.audience(call, None);
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    let new = NewUser {
        aud: &aud,
        role: &config.default_role,
        app_metadata: json!({}),
        user_metadata: params.data,
        is_anonymous: true,
        ..NewUser::default()
    };
    // Here the real server wraps the database's error in two of its own, and does not search the inner one for PTnnn.
    let id = user::insert(&tx, new).await.map_err(|error| ApiError {
        database: error.database,
        ..ApiError::internal("Database error creating anonymous user")
    })?;
    let reply = session::begin(server, call, &tx, id, "anonymous").await?;
    tx.commit().await?;
    Ok(reply)
}

impl SignupParams {
    fn refuse_what_is_not_offered(&self, config: &Config) -> ApiResult<()> {
        let (status, code, message) = if !self.email.is_empty() {
            (400, "email_provider_disabled", "Email signups are disabled")
        } else if !self.phone.is_empty() {
            (
                400,
                "validation_failed",
                "Signups by phone and password are not offered: ask for a code",
            )
        } else if !config.anonymous_enabled {
            (
                422,
                "anonymous_provider_disabled",
                "Anonymous sign-ins are disabled",
            )
        } else if config.signup_disabled {
            (
                422,
                "signup_disabled",
                "Signups not allowed for this instance",
            )
        } else {
            return Ok(());
        };
        Err(ApiError::new(status, code, message))
    }
}
