//! /admin/users: what only the service's own key may do.

use super::account;
use super::audit::{self, Actor};
use super::contact::{normal_email, normal_phone};
use super::db;
use super::error::{ApiError, ApiResult};
use super::http::{Call, Reply};
use super::server::Server;
use super::user::{self, By, Lock, NewUser, Object, User};
use crate::settings::parse_span;
use chrono::Utc;
use deadpool_postgres::GenericClient;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// Users on a page when the caller does not say.
const PER_PAGE: u32 = 50;
/// Users on a page at most.
const MAX_PER_PAGE: u32 = 1_000;

/// The role of a caller who may administer.
pub fn require(server: &Server, call: &Call) -> ApiResult<String> {
    let claims = account::claims(server, call)?;
    if server.config.admin_roles.contains(&claims.role) {
        Ok(claims.role)
    } else {
        Err(ApiError::new(403, "not_admin", "User not allowed"))
    }
}

/// 422 email_exists.
pub fn email_exists() -> ApiError {
    ApiError::new(
        422,
        "email_exists",
        "A user with this email address has already been registered",
    )
}

/// GET /admin/users?page=&per_page=&filter=&sort=created_at%20asc
pub async fn list(server: &Server, call: &Call) -> ApiResult<Reply> {
    require(server, call)?;
    let number = |name: &str, default: u32| match call.param(name).filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => text
            .parse::<u32>()
            .map_err(|_| ApiError::invalid(format!("Bad Pagination Parameters: {name}"))),
    };
    let page = number("page", 1)?.max(1);
    let per_page = number("per_page", PER_PAGE)?.clamp(1, MAX_PER_PAGE);
    let filter = call.param("filter").filter(|text| !text.is_empty());
    let ascending = call
        .param("sort")
        .is_some_and(|sort| sort.to_lowercase().ends_with(" asc"));
    let aud = server.audience(call, None);
    let client = server.pool.get().await?;
    let limits = (
        i64::from(per_page),
        i64::from(page - 1) * i64::from(per_page),
    );
    let (users, total) = user::page(&client, &aud, filter, ascending, limits).await?;
    let last = (total + i64::from(per_page) - 1) / i64::from(per_page);
    let link = |page: i64, name: &str| {
        format!("</admin/users?page={page}&per_page={per_page}>; rel=\"{name}\"")
    };
    let mut links = vec![link(last, "last")];
    if i64::from(page) < last {
        links.insert(0, link(i64::from(page) + 1, "next"));
    }
    Ok(Reply::json(&json!({ "users": users, "aud": aud }))?
        .with("link", links.join(", "))
        .with("x-total-count", total.to_string()))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    id: String,
    aud: String,
    role: String,
    email: String,
    phone: String,
    email_confirm: bool,
    phone_confirm: bool,
    user_metadata: Option<Object>,
    app_metadata: Option<Object>,
    ban_duration: String,
}

impl Params {
    fn read(call: &Call) -> ApiResult<Self> {
        let mut params: Self = call.json()?;
        if !params.email.is_empty() {
            params.email = normal_email(&params.email)?;
        }
        if !params.phone.is_empty() {
            params.phone = normal_phone(&params.phone)?;
        }
        Ok(params)
    }

    /// How long to ban: nothing to leave it as it is, zero to lift it.
    fn ban(&self) -> ApiResult<Option<Duration>> {
        match self.ban_duration.as_str() {
            "" => Ok(None),
            "none" => Ok(Some(Duration::ZERO)),
            text => parse_span(text)
                .map(Some)
                .ok_or_else(|| ApiError::invalid("invalid format for ban duration")),
        }
    }
}

/// POST /admin/users
pub async fn create(server: &Server, call: &Call) -> ApiResult<Reply> {
    let role = require(server, call)?;
    let params = Params::read(call)?;
    let ban = params.ban()?;
    if params.email.is_empty() && params.phone.is_empty() {
        return Err(ApiError::invalid(
            "Cannot create a user without either an email or phone",
        ));
    }
    let id = match params.id.as_str() {
        "" => Uuid::new_v4(),
        text => text
            .parse()
            .map_err(|_| ApiError::invalid("ID must conform to the uuid v4 format"))?,
    };
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    insert(server, call, &tx, id, &params).await?;
    let created = user::reload(&tx, id).await?;
    note(&tx, &role, "user_signedup", &created).await?;
    if let Some(changes) = &params.app_metadata {
        user::merge_app_metadata(&tx, id, changes).await?;
    }
    if params.email_confirm {
        user::confirm_email(&tx, id).await?;
    }
    if params.phone_confirm {
        user::confirm_phone(&tx, id).await?;
    }
    set_ban(&tx, id, ban).await?;
    let user = user::reload(&tx, id).await?;
    tx.commit().await?;
    Reply::json(&user)
}

async fn insert(
    server: &Server,
    call: &Call,
    db: &impl GenericClient,
    id: Uuid,
    params: &Params,
) -> ApiResult<()> {
    let aud = given(&params.aud).unwrap_or_else(|| server.audience(call, None));
    let role = given(params.role.trim());
    let (email, phone) = (given(&params.email), given(&params.phone));
    let ways = [("email", email.as_deref()), ("phone", phone.as_deref())];
    let ways: Vec<_> = ways
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let providers: Vec<&str> = ways.iter().map(|(name, _)| *name).collect();
    check_free(db, &aud, params).await?;
    let new = NewUser {
        id: Some(id),
        aud: &aud,
        role: role.as_deref().unwrap_or(&server.config.default_role),
        email: email.as_deref(),
        phone: phone.as_deref(),
        app_metadata: json!({ "provider": providers[0], "providers": providers }),
        user_metadata: params.user_metadata.clone().unwrap_or_default(),
        is_anonymous: false,
    };
    user::insert(db, new).await?;
    for (provider, value) in ways {
        let data = Object::from_iter([(provider.to_owned(), json!(value))]);
        user::upsert_identity(db, id, provider, data).await?;
    }
    Ok(())
}

fn given(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// Refuses an address or a phone that another user has.
async fn check_free(db: &impl GenericClient, aud: &str, params: &Params) -> ApiResult<()> {
    if !params.email.is_empty()
        && user::find(db, By::Email(&params.email, aud), Lock::No)
            .await?
            .is_some()
    {
        return Err(email_exists());
    }
    if !params.phone.is_empty()
        && user::find(db, By::Phone(&params.phone, aud), Lock::No)
            .await?
            .is_some()
    {
        return Err(ApiError::new(
            422,
            "phone_exists",
            "Phone number already registered by another user",
        ));
    }
    Ok(())
}

async fn set_ban(db: &impl GenericClient, id: Uuid, ban: Option<Duration>) -> ApiResult<()> {
    let Some(ban) = ban else { return Ok(()) };
    let until = (!ban.is_zero()).then(|| Utc::now() + ban);
    let sql = "update auth.users set banned_until = $2, updated_at = $3 where id = $1";
    db::execute(db, sql, &[&id, &until, &Utc::now()]).await
}

async fn note(db: &impl GenericClient, role: &str, action: &str, user: &User) -> ApiResult<()> {
    let traits = json!({ "user_id": user.id, "user_email": user.email, "user_phone": user.phone });
    audit::write(db, Actor::Role(role), action, traits).await
}

async fn find(db: &impl GenericClient, id: &str) -> ApiResult<User> {
    let id = id
        .parse()
        .map_err(|_| ApiError::new(404, "validation_failed", "user_id must be an UUID"))?;
    let user = user::find(db, By::Id(id), Lock::No).await?;
    user.ok_or_else(|| ApiError::new(404, "user_not_found", "User not found"))
}

/// GET /admin/users/{id}
pub async fn read(server: &Server, call: &Call, id: &str) -> ApiResult<Reply> {
    require(server, call)?;
    let client = server.pool.get().await?;
    Reply::json(&find(&client, id).await?)
}

/// PUT /admin/users/{id}
pub async fn update(server: &Server, call: &Call, id: &str) -> ApiResult<Reply> {
    let role = require(server, call)?;
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    let user = find(&tx, id).await?;
    let params = Params::read(call)?;
    let ban = params.ban()?;
    // A number or an address that another user has breaks a constraint below: 500 with code 23505, as of the real server.
    if !params.role.is_empty() {
        let sql = "update auth.users set role = $2, updated_at = $3 where id = $1";
        db::execute(&tx, sql, &[&user.id, &params.role.trim(), &Utc::now()]).await?;
    }
    if params.email_confirm {
        user::confirm_email(&tx, user.id).await?;
    }
    if params.phone_confirm {
        user::confirm_phone(&tx, user.id).await?;
    }
    change_contact(&tx, user.id, "email", &params.email, params.email_confirm).await?;
    change_contact(&tx, user.id, "phone", &params.phone, params.phone_confirm).await?;
    if let Some(changes) = &params.app_metadata {
        user::merge_app_metadata(&tx, user.id, changes).await?;
    }
    if let Some(changes) = &params.user_metadata {
        user::merge_user_metadata(&tx, user.id, changes).await?;
    }
    set_ban(&tx, user.id, ban).await?;
    note(&tx, &role, "user_modified", &user).await?;
    let user = user::reload(&tx, user.id).await?;
    tx.commit().await?;
    Reply::json(&user)
}

/// Sets the address or the phone, in the user and in the identity.
async fn change_contact(
    db: &impl GenericClient,
    id: Uuid,
    provider: &str,
    value: &str,
    confirmed: bool,
) -> ApiResult<()> {
    if value.is_empty() {
        return Ok(());
    }
    let data = Object::from_iter([
        (provider.to_owned(), json!(value)),
        (format!("{provider}_verified"), json!(confirmed)),
    ]);
    user::upsert_identity(db, id, provider, data).await?;
    let sql = format!("update auth.users set {provider} = $2, updated_at = $3 where id = $1");
    db::execute(db, &sql, &[&id, &value, &Utc::now()]).await?;
    if confirmed {
        user::end_anonymity(db, id).await
    } else {
        Ok(())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DeleteParams {
    should_soft_delete: bool,
}

/// DELETE /admin/users/{id}: the row and all that refers to it. A soft deletion leaves the row, with what names
/// the user overwritten.
pub async fn delete(server: &Server, call: &Call, id: &str) -> ApiResult<Reply> {
    let role = require(server, call)?;
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    let user = find(&tx, id).await?;
    let params: DeleteParams = if call.body.is_empty() {
        DeleteParams::default()
    } else {
        call.json()?
    };
    note(&tx, &role, "user_deleted", &user).await?;
    if params.should_soft_delete {
        if user.deleted_at.is_none() {
            soft_delete(&tx, &user).await?;
        }
    } else {
        db::execute(&tx, "delete from auth.users where id = $1", &[&user.id]).await?;
    }
    tx.commit().await?;
    Reply::json(&json!({}))
}

async fn soft_delete(db: &impl GenericClient, user: &User) -> ApiResult<()> {
    // Unlinkable, and still unique per user.
    let marker = |text: &str| super::tokens::otp_hash(&Uuid::new_v4().to_string(), text);
    let (email, phone) = (marker(&user.email), marker(&user.phone)[..15].to_owned());
    let sql = "update auth.users set email = $2, phone = $3, encrypted_password = null, email_change = '', \
               phone_change = '', confirmation_token = '', recovery_token = '', email_change_token_current = '', \
               email_change_token_new = '', phone_change_token = '', raw_user_meta_data = '{}', \
               raw_app_meta_data = '{}', deleted_at = $4, updated_at = $4 where id = $1";
    db::execute(db, sql, &[&user.id, &email, &phone, &Utc::now()]).await?;
    user::clear_tokens(db, user.id).await?;
    let identities = "update auth.identities set identity_data = '{}', updated_at = $2, \
                      provider_id = encode(sha256(convert_to(provider_id || id::text, 'UTF8')), 'hex') where user_id = $1";
    db::execute(db, identities, &[&user.id, &Utc::now()]).await?;
    db::execute(
        db,
        "delete from auth.sessions where user_id = $1",
        &[&user.id],
    )
    .await
}

/// GET /admin/audit: the newest rows of the trail.
pub async fn audit_trail(server: &Server, call: &Call) -> ApiResult<Reply> {
    require(server, call)?;
    let client = server.pool.get().await?;
    let sql = "select jsonb_build_object('id', id, 'payload', payload, 'created_at', created_at, 'ip_address', ip_address) \
               from auth.audit_log_entries order by created_at desc limit $1";
    let rows = db::rows(&client, sql, &[&i64::from(PER_PAGE)]).await?;
    let entries: Vec<Value> = rows.iter().map(|row| row.get(0)).collect();
    Reply::json(&entries)
}
