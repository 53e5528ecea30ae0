//! POST /admin/generate_link: a one-time token for an address that was proved elsewhere.

use super::admin;
use super::audit::{self, Actor};
use super::contact::normal_email;
use super::db;
use super::error::{ApiError, ApiResult};
use super::http::{Call, Reply};
use super::server::Server;
use super::tokens;
use super::user::{self, By, Lock, NewUser, Object, User};
use chrono::Utc;
use deadpool_postgres::GenericClient;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// Digits of a link's code, which is not typed.
const LINK_CODE_DIGITS: u32 = 10;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    r#type: String,
    email: String,
    data: Object,
    redirect_to: String,
}

/// POST /admin/generate_link. Types magiclink and recovery (for a user there is), signup (makes one), and
/// magiclink for an unknown address, which is a signup.
pub async fn generate(server: &Server, call: &Call) -> ApiResult<Reply> {
    let role = admin::require(server, call)?;
    let params: Params = call.json()?;
    let email = normal_email(&params.email)?;
    let aud = server.audience(call, None);
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    let found = user::find(&tx, By::Email(&email, &aud), Lock::No).await?;
    let kind = kind(&params.r#type, found.as_ref())?;
    let id = match &found {
        Some(user) => {
            let actor = Actor::User(user);
            audit::write(&tx, actor, "user_recovery_requested", Value::Null).await?;
            user.id
        }
        None => {
            let id = unconfirmed_user(server, &tx, &email, &aud, &params.data).await?;
            let traits = json!({ "user_id": id });
            audit::write(&tx, Actor::Role(&role), "user_signedup", traits).await?;
            id
        }
    };
    let code = tokens::otp(LINK_CODE_DIGITS);
    let hash = store_token(&tx, id, kind, &email, &code).await?;
    let user = user::reload(&tx, id).await?;
    tx.commit().await?;
    let redirect_to = match params.redirect_to.as_str() {
        "" => &server.config.site_url,
        _ => &params.redirect_to,
    };
    let mut answer = serde_json::to_value(&user)
        .map_err(|_| ApiError::internal("Could not write the answer"))?;
    answer["action_link"] = json!(action_link(server, kind, &hash, redirect_to)?);
    answer["email_otp"] = json!(code);
    answer["hashed_token"] = json!(hash);
    answer["verification_type"] = json!(kind);
    answer["redirect_to"] = json!(redirect_to);
    Reply::json(&answer)
}

/// The type of the link, by the requested one and the user that exists.
fn kind(requested: &str, found: Option<&User>) -> ApiResult<&'static str> {
    match (requested, found) {
        ("magiclink" | "signup", None) => Ok("signup"),
        ("signup", Some(user)) if user.email_confirmed_at.is_some() => Err(admin::email_exists()),
        ("signup", Some(_)) => Ok("signup"),
        ("magiclink", Some(_)) => Ok("magiclink"),
        ("recovery", Some(_)) => Ok("recovery"),
        ("recovery", None) => {
            let message = "User with this email not found";
            Err(ApiError::new(404, "user_not_found", message))
        }
        _ => Err(ApiError::invalid(
            "Invalid email action link type requested",
        )),
    }
}

async fn unconfirmed_user(
    server: &Server,
    db: &impl GenericClient,
    email: &str,
    aud: &str,
    data: &Object,
) -> ApiResult<Uuid> {
    let new = NewUser {
        aud,
        role: &server.config.default_role,
        email: Some(email),
        app_metadata: json!({ "provider": "email", "providers": ["email"] }),
        user_metadata: data.clone(),
        ..NewUser::default()
    };
    let id = user::insert(db, new).await?;
    let identity = Object::from_iter([("email".to_owned(), json!(email))]);
    user::upsert_identity(db, id, "email", identity).await?;
    Ok(id)
}

/// Stores the hash of the link's code and returns it.
async fn store_token(
    db: &impl GenericClient,
    id: Uuid,
    kind: &str,
    email: &str,
    code: &str,
) -> ApiResult<String> {
    let hash = tokens::otp_hash(email, code);
    let (column, sent_at) = match kind {
        "signup" => ("confirmation_token", "confirmation_sent_at"),
        _ => ("recovery_token", "recovery_sent_at"),
    };
    let sql = format!(
        "update auth.users set {column} = $2, {sent_at} = $3, updated_at = $3 where id = $1"
    );
    db::execute(db, &sql, &[&id, &hash, &Utc::now()]).await?;
    user::store_token(db, id, column, email, &hash).await?;
    Ok(hash)
}

fn action_link(server: &Server, kind: &str, hash: &str, redirect_to: &str) -> ApiResult<String> {
    let address = format!("{}/verify", server.config.external_url);
    let mut link = url::Url::parse(&address)
        .map_err(|_| ApiError::internal("API_EXTERNAL_URL is not an address"))?;
    link.query_pairs_mut()
        .append_pair("token", hash)
        .append_pair("type", kind)
        .append_pair("redirect_to", redirect_to);
    Ok(link.into())
}
