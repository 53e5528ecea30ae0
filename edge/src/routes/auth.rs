//! `/auth` without a phone: anonymous sign-in, refresh and logout.

use serde_json::{Value, json};

use super::fields::{DeviceInfo, Fields};
use crate::clients::auth::{AuthFailure, AuthSession};
use crate::clients::rest::Rest;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::Reply;

/// `POST /auth/anonymous`: a session for an anonymous user. `device_info` may
/// be sent as with verify-otp.
pub async fn anonymous(call: &Call) -> Result<Reply, ApiError> {
    let device = if call.body.is_empty() {
        None
    } else {
        let body = call.object()?;
        let mut fields = Fields::of(&body);
        let device = fields.device_info(false);
        fields.end()?;
        device
    };
    let session = call.auth().sign_up_anonymously().await?;
    let user = match device {
        Some(device) => register_device(call, &session, &device).await?,
        None => json!({
            "id": session.user.id,
            "phone_number": null,
            "is_new_user": true,
            "onboarding_completed": false,
        }),
    };
    let mut data = tokens(&session);
    data["user"] = user;
    data["user"]["is_anonymous"] = json!(true);
    Ok(Reply::ok(&data))
}

/// `POST /auth/refresh` `{refresh_token}`: the next pair of tokens; the old refresh token is used up.
pub async fn refresh(call: &Call) -> Result<Reply, ApiError> {
    let body = call.object()?;
    let mut fields = Fields::of(&body);
    let refresh_token = fields.text("refresh_token");
    fields.end()?;
    let session = call.auth().refresh(&refresh_token).await?;
    Ok(Reply::ok(&tokens(&session)))
}

/// `POST /auth/logout`: ends this session; a session that has ended already is not an error.
pub async fn logout(call: &Call) -> Result<Reply, ApiError> {
    match call.auth().log_out(&call.user()?.token).await {
        Ok(()) => {}
        Err(AuthFailure::Refused { error_code, .. }) if error_code == "session_not_found" => {}
        Err(failure) => return Err(failure.into()),
    }
    Ok(Reply::ok(&json!({"logged_out": true})))
}

/// The tokens of a session as the contract shows them; `expires_in` in seconds.
pub fn tokens(session: &AuthSession) -> Value {
    json!({
        "access_token": session.access_token,
        "refresh_token": session.refresh_token,
        "expires_in": session.expires_in,
    })
}

/// Milliseconds for registering a device: what comes before and after it needs its part of the request's time.
const DEVICE_DEADLINE_MS: u64 = 1_800;

/// Registers the device that signed in; returns the contract's `user`.
pub async fn register_device(
    call: &Call,
    session: &AuthSession,
    device: &DeviceInfo,
) -> Result<Value, ApiError> {
    let rest = Rest::new(
        &call.app.config,
        Some(&session.access_token),
        &call.request_id,
    )
    .at(call.address.as_deref())
    .with_deadline(DEVICE_DEADLINE_MS);
    let arguments = json!({
        "device_id": device.device_id,
        "platform": device.platform,
        "app_version": device.app_version,
    });
    let mut answer = rest.rpc("register_device", &arguments).await?;
    Ok(answer["user"].take())
}
