//! POST /admin/generate_link: a one-time token for an address that was proved elsewhere.

use super::Server;
use super::admin;
use super::audit::{self, Actor};
use super::db;
use super::error::{ApiError, ApiResult};
use super::http::{Call, Reply};
use super::tokens;
use super::user::{self, By, Lock, NewUser, Object};
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};

/// Digits of a link's code, which nobody types.
const LINK_CODE_DIGITS: u32 = 10;

/// An address in lower case, or 400 validation_failed. Whether it exists is nobody's business here.
pub fn normal_email(text: &str) -> ApiResult<String> {
    let invalid = || ApiError::invalid("Unable to validate email address: invalid format");
    let (name, domain) = text.rsplit_once('@').ok_or_else(invalid)?;
    let unfit = |c: char| c.is_whitespace() || c.is_control();
    let fits = !name.is_empty()
        && domain.contains('.')
        && !domain.starts_with('.')
        && !domain.ends_with('.');
    if !fits || text.len() > 255 || text.contains(unfit) || name.contains('@') {
        return Err(invalid());
    }
    Ok(text.to_lowercase())
}

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
    let kind = match (params.r#type.as_str(), &found) {
        ("magiclink" | "signup", None) => "signup",
        ("signup", Some(user)) if user.email_confirmed_at.is_some() => {
            return Err(admin::email_exists());
        }
        (kind @ ("signup" | "magiclink" | "recovery"), Some(_)) => kind,
        ("recovery", None) => {
            return Err(ApiError::new(
                404,
                "user_not_found",
                "User with this email not found",
            ));
        }
        _ => {
            return Err(ApiError::invalid(
                "Invalid email action link type requested",
            ));
        }
    };
    let id = match &found {
        Some(user) => user.id,
        None => {
            let new = NewUser {
                aud: &aud,
                role: &server.config.default_role,
                email: Some(&email),
                app_metadata: json!({ "provider": "email", "providers": ["email"] }),
                user_metadata: params.data,
                ..NewUser::default()
            };
            let id = user::insert(&tx, new).await?;
            user::upsert_identity(
                &tx,
                id,
                "email",
                Object::from_iter([("email".to_owned(), json!(email))]),
            )
            .await?;
            id
        }
    };
    let code = tokens::otp(LINK_CODE_DIGITS);
    let hash = tokens::otp_hash(&email, &code);
    let (column, sent_at) = match kind {
        "signup" => ("confirmation_token", "confirmation_sent_at"),
        _ => ("recovery_token", "recovery_sent_at"),
    };
    let sql = format!(
        "update auth.users set {column} = $2, {sent_at} = $3, updated_at = $3 where id = $1"
    );
    db::execute(&tx, &sql, &[&id, &hash, &Utc::now()]).await?;
    user::keep_token(&tx, id, column, &email, &hash).await?;
    match &found {
        Some(user) => {
            audit::write(
                &tx,
                Actor::User(user),
                "user_recovery_requested",
                Value::Null,
            )
            .await?
        }
        None => {
            audit::write(
                &tx,
                Actor::Role(&role),
                "user_signedup",
                json!({ "user_id": id }),
            )
            .await?
        }
    }
    let user = user::reload(&tx, id).await?;
    tx.commit().await?;
    let redirect_to = if params.redirect_to.is_empty() {
        &server.config.site_url
    } else {
        &params.redirect_to
    };
    let mut link = url::Url::parse(&format!("{}/verify", server.config.external_url))
        .map_err(|_| ApiError::internal("API_EXTERNAL_URL is not an address"))?;
    link.query_pairs_mut()
        .append_pair("token", &hash)
        .append_pair("type", kind)
        .append_pair("redirect_to", redirect_to);
    let mut answer = serde_json::to_value(&user)
        .map_err(|_| ApiError::internal("Could not write the answer"))?;
    answer["action_link"] = json!(link.as_str());
    answer["email_otp"] = json!(code);
    answer["hashed_token"] = json!(hash);
    answer["verification_type"] = json!(kind);
    answer["redirect_to"] = json!(redirect_to);
    Reply::json(&answer)
}

#[cfg(test)]
mod tests {
    use super::normal_email;

    #[test]
    fn addresses_are_kept_in_lower_case() {
        assert_eq!(
            normal_email("Line-U1@LINE.invalid").unwrap(),
            "line-u1@line.invalid"
        );
        for bad in ["", "x", "@x.y", "x@y", "x@.y", "x@y.", "a@b@c.d", "a b@c.d"] {
            assert!(normal_email(bad).is_err(), "{bad}");
        }
    }
}
