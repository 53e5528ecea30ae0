//! `/auth/social/{provider}`: sign-in by LINE, Facebook, Google or Apple, and linking them to an account.
//!
//! One path for all four. Auth's own grant for ID tokens is not used (docs/decisions/0039).
//!
//! ```text
//!  what the client sent ─▶ verified here (social_proof.rs) ─▶ provider and subject
//!  private.identities   ─▶ whose that is; an unclaimed one becomes the caller's or a new user's
//!  Auth, as the service ─▶ the user is made, or gets the address that sessions are opened by, where that is missing
//!  Auth                 ─▶ a one-time link, at once exchanged for a session
//! ```
//!
//! A crash between two steps leaves what the next sign-in finishes: the id is ours from the first step on.

use serde_json::{Value, json};

use super::auth::{register_device, tokens};
use super::fields::{DeviceInfo, Fields};
use super::merge::{anonymous_caller, merge_diary};
use super::social_proof::{Proof, Sent, prove};
use crate::clients::auth::{AuthFailure, AuthSession, TAKEN};
use crate::clients::rest::Rest;
use crate::config::Provider;
use crate::error::{ApiError, Code, FieldProblem};
use crate::http::call::Call;
use crate::http::reply::Reply;
use crate::observe::metrics;

/// The domain of the addresses by which Auth knows users without one of their own; nothing is ever sent there.
const ADDRESS_DOMAIN: &str = "id.invalid";

/// The user to whom an unclaimed identity goes.
enum Wanted {
    /// A new one.
    New,
    /// The anonymous caller: their first identity, which keeps their id and diary.
    Anonymous(String),
    /// The caller, who links it. An identity of somebody else is a conflict.
    Caller(String),
}

impl Wanted {
    fn user_id(&self) -> Option<&str> {
        match self {
            Self::New => None,
            Self::Anonymous(user_id) | Self::Caller(user_id) => Some(user_id),
        }
    }
}

/// Whose an identity is, and what Auth has of them.
struct Account {
    user_id: String,
    exists: bool,
    /// The confirmed address by which Auth opens a session.
    address: Option<String>,
    has_name: bool,
}

/// `POST /auth/social/{provider}` `{id_token, nonce, …, device_info, link?}`
pub async fn sign_in(call: &Call) -> Result<Reply, ApiError> {
    let provider = Provider::from_name(call.parameter()).ok_or_else(ApiError::not_found)?;
    let body = call.object()?;
    let mut fields = Fields::of(&body);
    let sent = Sent::read(provider, &call.app.config.social, &mut fields)?;
    let link = fields.optional_flag("link").unwrap_or(false);
    let device = fields.device_info(true);
    fields.end()?;
    let device = device.ok_or_else(|| ApiError::field(FieldProblem::required("device_info")))?;
    let wanted = wanted(call, link).await?;
    let mut proof = prove(call, provider, &sent).await?;
    let used = proof.used.take();
    let outcome = open(call, &proof, &wanted, &device).await;
    if let (Err(error), Some(used)) = (&outcome, used)
        && error.code == Code::ServiceUnavailable
    {
        used.release(&call.app).await;
    }
    outcome
}

/// Asked of the database with the caller's own token, so that one of an ended session is refused. A caller with an account
/// who links nothing signs in beside it.
async fn wanted(call: &Call, link: bool) -> Result<Wanted, ApiError> {
    if link {
        let user_id = call.user()?.user_id.clone();
        call.rest().rpc("list_identities", &json!({})).await?;
        return Ok(Wanted::Caller(user_id));
    }
    let anonymous = anonymous_caller(call).await?;
    Ok(anonymous.map_or(Wanted::New, Wanted::Anonymous))
}

/// From a verified identity to a session.
async fn open(
    call: &Call,
    proof: &Proof,
    wanted: &Wanted,
    device: &DeviceInfo,
) -> Result<Reply, ApiError> {
    let is_link = matches!(wanted, Wanted::Caller(_));
    let mut account = claim(call, proof, wanted.user_id(), is_link).await?;
    let was_complete = account.address.is_some();
    if !was_complete {
        account = complete(call, proof, account).await?;
    }
    let address = account.address.as_deref().unwrap_or_default();
    let session = call.auth().open_session(address).await?;
    let user = register_device(call, &session, device).await?;
    if !was_complete && !account.has_name {
        name_profile(call, &session, proof).await;
    }
    let label = format!(r#"provider="{}""#, proof.provider.name());
    metrics::add("carbon_social_sign_ins_total", &label, 1);
    let mut data = tokens(&session);
    data["user"] = user;
    if let Wanted::Anonymous(from_id) = wanted
        && *from_id != account.user_id
        && let Some(merged) = merge_diary(call, from_id, &account.user_id).await?
    {
        data["merged"] = merged;
    }
    Ok(Reply::ok(&data))
}

async fn claim(
    call: &Call,
    proof: &Proof,
    wanted: Option<&str>,
    is_link: bool,
) -> Result<Account, ApiError> {
    let arguments = json!({
        "p_provider": proof.provider.name(),
        "p_subject": proof.subject,
        "p_user_id": wanted,
        "p_is_link": is_link,
        "p_refresh_token": proof.refresh_token,
    });
    let account = call.service().rpc("claim_identity", &arguments).await?;
    Ok(Account {
        user_id: account["user_id"].as_str().unwrap_or_default().to_owned(),
        exists: account["exists"] == true,
        address: account["address"].as_str().map(str::to_owned),
        has_name: account["has_name"] == true,
    })
}

/// Makes Auth's user, or gives them an address, unless a twin has done so meanwhile. Then the identity is claimed once
/// more: a deletion may have freed it.
async fn complete(call: &Call, proof: &Proof, account: Account) -> Result<Account, ApiError> {
    let user_id = &account.user_id;
    let address = format!("{}@{ADDRESS_DOMAIN}", user_id.replace('-', ""));
    let auth = call.auth();
    let outcome = if account.exists {
        // This ends anonymity, too.
        let changes = json!({"email": address, "email_confirm": true});
        auth.update_user(user_id, changes).await
    } else {
        let provider = proof.provider.name();
        let user = json!({
            "id": user_id, "email": address, "email_confirm": true,
            "app_metadata": {"provider": provider, "providers": [provider]},
        });
        auth.create_user(user).await
    };
    let wanted = match outcome {
        Ok(()) => Some(user_id.as_str()),
        Err(AuthFailure::Refused { error_code, .. })
            if error_code == TAKEN || error_code == "email_exists" =>
        {
            None
        }
        Err(failure) => return Err(failure.into()),
    };
    let now = claim(call, proof, wanted, false).await?;
    if now.user_id == *user_id && now.address.is_some() {
        Ok(now)
    } else {
        Err(ApiError::unavailable("the account ended meanwhile"))
    }
}

/// Takes over the name that the provider states, by the interface that users have: what it refuses stays unset.
async fn name_profile(call: &Call, session: &AuthSession, proof: &Proof) {
    let Some(name) = &proof.name else { return };
    let token = Some(session.access_token.as_str());
    let rest = Rest::new(&call.app.config, token, &call.request_id).at(call.address.as_deref());
    let changes = json!({"changes": {"display_name": name}});
    let _: Result<Value, ApiError> = rest.rpc("update_profile", &changes).await;
}
