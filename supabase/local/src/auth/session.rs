//! Sessions: beginning one, and the answer that carries its tokens.

use super::config::DatabaseHook;
use super::db;
use super::error::{ApiError, ApiResult};
use super::http::{Call, Reply};
use super::server::Server;
use super::tokens;
use super::user::{self, User};
use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use serde_json::{Value, json};
use uuid::Uuid;

/// Begins a session for the user, proved by `method` (otp, anonymous), and answers with its tokens.
pub async fn begin(
    server: &Server,
    call: &Call,
    db: &impl GenericClient,
    user: Uuid,
    method: &str,
) -> ApiResult<Reply> {
    let (session, now) = (Uuid::new_v4(), Utc::now());
    let sql = "insert into auth.sessions (id, user_id, created_at, updated_at, aal, user_agent, ip) \
               values ($1, $2, $3, $3, 'aal1', $4, $5::text::inet)";
    let address = call.address().to_string();
    db::execute(
        db,
        sql,
        &[&session, &user, &now, &call.header("user-agent"), &address],
    )
    .await?;
    let token = add_token(db, user, session, "").await?;
    let signed_in = "update auth.users set last_sign_in_at = $2, updated_at = $2 where id = $1";
    db::execute(db, signed_in, &[&user, &now]).await?;
    let claim = "insert into auth.mfa_amr_claims (id, session_id, created_at, updated_at, authentication_method) \
                 values ($1, $2, $3, $3, $4)";
    db::execute(db, claim, &[&Uuid::new_v4(), &session, &now, &method]).await?;
    let user = user::reload(db, user).await?;
    answer(server, db, &user, session, token).await
}

/// Adds a refresh token to the session; `parent` is the one it replaces, or empty.
pub async fn add_token(
    db: &impl GenericClient,
    user: Uuid,
    session: Uuid,
    parent: &str,
) -> ApiResult<String> {
    let token = tokens::refresh_token();
    let sql = "insert into auth.refresh_tokens (instance_id, token, user_id, revoked, created_at, updated_at, parent, \
               session_id) values ($1, $2, $3, false, $4, $4, $5, $6)";
    db::execute(
        db,
        sql,
        &[
            &Uuid::nil(),
            &token,
            &user.to_string(),
            &Utc::now(),
            &parent,
            &session,
        ],
    )
    .await?;
    Ok(token)
}

/// The answer with a new access token and the given refresh token.
pub async fn answer(
    server: &Server,
    db: &impl GenericClient,
    user: &User,
    session: Uuid,
    refresh_token: String,
) -> ApiResult<Reply> {
    let config = &server.config;
    let issued = Utc::now().timestamp();
    let expires = issued + config.jwt_exp_secs;
    let (aal, amr) = methods(db, session).await?;
    let mut claims = json!({
        "sub": user.id,
        "aud": user.aud,
        "exp": expires,
        "iat": issued,
        "email": user.email,
        "phone": user.phone,
        "app_metadata": user.app_metadata,
        "user_metadata": user.user_metadata,
        "role": user.role,
        "aal": aal,
        "amr": amr,
        "session_id": session,
        "is_anonymous": user.is_anonymous,
    });
    if !config.jwt_issuer.is_empty() {
        claims["iss"] = json!(config.jwt_issuer);
    }
    if let Some(hook) = &config.token_hook {
        claims = customised(db, hook, user.id, claims).await?;
    }
    let prefix = refresh_token[..5].to_owned();
    let body = json!({
        "access_token": carbon_dev_jwt::sign(&config.jwt_secret, &claims),
        "token_type": "bearer",
        "expires_in": config.jwt_exp_secs,
        "expires_at": expires,
        "refresh_token": refresh_token,
        "user": user,
    });
    Ok(Reply::json(&body)?
        .with("sb-auth-user-id", user.id.to_string())
        .with("sb-auth-session-id", session.to_string())
        .with("sb-auth-refresh-token-prefix", prefix))
}

/// What a token must say, regardless of what the hook did to its claims.
const REQUIRED_CLAIMS: [&str; 10] = [
    "aud",
    "exp",
    "iat",
    "sub",
    "email",
    "phone",
    "role",
    "aal",
    "session_id",
    "is_anonymous",
];

/// The claims as the custom access token hook wants them.
async fn customised(
    db: &impl GenericClient,
    hook: &DatabaseHook,
    user: Uuid,
    claims: Value,
) -> ApiResult<Value> {
    let method = claims["amr"][0]["method"].as_str().unwrap_or("");
    let event = json!({ "user_id": user, "claims": claims, "authentication_method": method });
    let sql = format!("select {}.{}($1::jsonb)", hook.schema, hook.function);
    let row = db::optional(db, &sql, &[&event]).await?;
    let mut output: Value = row.map_or(Value::Null, |row| row.get(0));
    let claims = output["claims"].take();
    let missing = REQUIRED_CLAIMS
        .iter()
        .any(|name| claims.get(*name).is_none());
    if missing {
        return Err(ApiError::internal(
            "output claims do not conform to the expected schema",
        ));
    }
    Ok(claims)
}

/// How the session was proved: the assurance level and the methods, the newest first.
async fn methods(db: &impl GenericClient, session: Uuid) -> ApiResult<(&'static str, Value)> {
    let sql = "select authentication_method, updated_at from auth.mfa_amr_claims where session_id = $1 \
               order by updated_at desc";
    let rows = db::rows(db, sql, &[&session]).await?;
    let second = |method: &str| matches!(method, "totp" | "mfa/phone" | "mfa/webauthn");
    let aal = if rows.iter().any(|row| second(row.get(0))) {
        "aal2"
    } else {
        "aal1"
    };
    let entry = |row: &tokio_postgres::Row| {
        let at: DateTime<Utc> = row.get(1);
        json!({ "method": row.get::<_, &str>(0), "timestamp": at.timestamp() })
    };
    Ok((aal, rows.iter().map(entry).collect()))
}
