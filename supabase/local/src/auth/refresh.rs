//! Refreshing a session: rotation, the grace for a lost answer, and the detection of reuse.

use super::audit::{self, Actor};
use super::config::Config;
use super::db;
use super::error::{ApiError, ApiResult};
use super::http::{Call, Reply};
use super::server::Server;
use super::session;
use super::tokens::REFRESH_TOKEN_LENGTH;
use super::user::{self, By, Lock, User};
use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    refresh_token: String,
}

/// A row of auth.refresh_tokens.
struct Token {
    id: i64,
    user: Uuid,
    session: Option<Uuid>,
    revoked: bool,
    updated_at: DateTime<Utc>,
}

/// POST /token?grant_type=refresh_token
pub async fn grant(server: &Server, call: &Call) -> ApiResult<Reply> {
    let token = call.json::<Params>()?.refresh_token;
    let well_formed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if token.len() != REFRESH_TOKEN_LENGTH || !token.bytes().all(well_formed) {
        return Err(ApiError::invalid("Refresh token is not valid"));
    }
    let mut client = server.pool.get().await?;
    let tx = client.transaction().await?;
    let found = find_token(&tx, &token).await?.ok_or_else(not_found)?;
    let user = user::find(&tx, By::Id(found.user), Lock::No)
        .await?
        .ok_or_else(not_found)?;
    if user.is_banned() {
        return Err(ApiError::new(
            400,
            "user_banned",
            "Invalid Refresh Token: User Banned",
        ));
    }
    let session = found.session.ok_or_else(no_session)?;
    check_session(&tx, &server.config, session, found.updated_at).await?;
    // The session is locked now: of several calls with one token the later ones see what the first wrote.
    let found = find_token(&tx, &token).await?.ok_or_else(not_found)?;
    match successor(&tx, server, &user, session, &token, &found).await? {
        None => {
            tx.commit().await?;
            Err(already_used())
        }
        Some(issued) => {
            note_refresh(&tx, call, session).await?;
            let reply = session::answer(server, &tx, &user, session, issued).await?;
            tx.commit().await?;
            Ok(reply)
        }
    }
}

fn not_found() -> ApiError {
    ApiError::new(
        400,
        "refresh_token_not_found",
        "Invalid Refresh Token: Refresh Token Not Found",
    )
}

fn no_session() -> ApiError {
    ApiError::new(
        400,
        "session_not_found",
        "Invalid Refresh Token: No Valid Session Found",
    )
}

fn already_used() -> ApiError {
    ApiError::new(
        400,
        "refresh_token_already_used",
        "Invalid Refresh Token: Already Used",
    )
}

async fn find_token(db: &impl GenericClient, token: &str) -> ApiResult<Option<Token>> {
    let sql = "select id, user_id::uuid, session_id, coalesce(revoked, false), updated_at \
               from auth.refresh_tokens where token = $1";
    let row = db::optional(db, sql, &[&token]).await?;
    Ok(row.map(|row| Token {
        id: row.get(0),
        user: row.get(1),
        session: row.get(2),
        revoked: row.get(3),
        updated_at: row.get(4),
    }))
}

/// Locks the session and checks that it may still be used.
async fn check_session(
    db: &impl GenericClient,
    config: &Config,
    id: Uuid,
    token_at: DateTime<Utc>,
) -> ApiResult<()> {
    let sql = "select created_at, not_after, refreshed_at at time zone 'utc' from auth.sessions where id = $1 for update";
    let row = db::optional(db, sql, &[&id]).await?.ok_or_else(not_found)?;
    let created: DateTime<Utc> = row.get(0);
    let not_after: Option<DateTime<Utc>> = row.get(1);
    let refreshed: Option<DateTime<Utc>> = row.get(2);
    let now = Utc::now();
    let over = |since: DateTime<Utc>, limit: Option<Duration>| {
        limit.is_some_and(|limit| now > since + limit)
    };
    let expired = |why: &str| {
        ApiError::new(
            400,
            "session_expired",
            format!("Invalid Refresh Token: Session Expired{why}"),
        )
    };
    if not_after.is_some_and(|end| now > end) || over(created, config.timebox) {
        return Err(expired(""));
    }
    if over(
        refreshed.unwrap_or_else(|| token_at.max(created)),
        config.inactivity_timeout,
    ) {
        return Err(expired(" (Inactivity)"));
    }
    Ok(())
}

/// The token that follows, or nothing when the presented one gives the family away.
///
/// The parent of the active token answers with that one again: its holder may have lost the answer. An older
/// token is taken for a copy once the reuse interval is over, and then no token of the session works any more.
async fn successor(
    db: &impl GenericClient,
    server: &Server,
    user: &User,
    session: Uuid,
    token: &str,
    found: &Token,
) -> ApiResult<Option<String>> {
    if found.revoked {
        let sql = "select token::text, coalesce(parent, '')::text from auth.refresh_tokens \
                   where session_id = $1 and revoked is false order by id desc limit 1";
        let active = db::optional(db, sql, &[&session]).await?;
        match active.map(|row| (row.get::<_, String>(0), row.get::<_, String>(1))) {
            Some((active, parent)) if parent == token => {
                audit::write(db, Actor::User(user), "token_refreshed", Value::Null).await?;
                return Ok(Some(active));
            }
            Some(_) if Utc::now() <= found.updated_at + server.config.reuse_interval => {}
            // Without an active token the family has been killed before: nothing revives it.
            _ => {
                if server.config.rotation_enabled {
                    let sql = "update auth.refresh_tokens set revoked = true, updated_at = now() \
                               where session_id = $1 and revoked = false";
                    db::execute(db, sql, &[&session]).await?;
                }
                return Ok(None);
            }
        }
    }
    audit::write(db, Actor::User(user), "token_refreshed", Value::Null).await?;
    audit::write(db, Actor::User(user), "token_revoked", Value::Null).await?;
    let sql = "update auth.refresh_tokens set revoked = true, updated_at = $2 where id = $1";
    db::execute(db, sql, &[&found.id, &Utc::now()]).await?;
    session::add_token(db, user.id, session, token)
        .await
        .map(Some)
}

async fn note_refresh(db: &impl GenericClient, call: &Call, session: Uuid) -> ApiResult<()> {
    let sql = "update auth.sessions set refreshed_at = $2 at time zone 'utc', updated_at = $2, user_agent = $3, \
               ip = $4::text::inet where id = $1";
    db::execute(
        db,
        sql,
        &[
            &session,
            &Utc::now(),
            &call.header("user-agent"),
            &call.address().to_string(),
        ],
    )
    .await
}
