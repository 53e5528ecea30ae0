//! An anonymous user proves a number: they get it and keep their id, unless somebody has it already.
//!
//! Never by Auth's own change of numbers, which finds the user by the number that is asked for and not by the session: of
//! two people who ask for one number, either could get the other's code accepted (people.md A.4).

use serde_json::json;

use crate::clients::auth::{AuthFailure, TAKEN};
use crate::error::ApiError;
use crate::http::call::Call;

/// Tries before the number counts as contested: somebody may request a code for it between two steps, which makes Auth
/// insert a user, but hardly twice.
const TRIES: usize = 3;

/// Gives the number (E.164) to the anonymous user if nobody has confirmed it. Can be repeated: afterwards exactly one user
/// has it, and a session that is opened with the number says who.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`
pub(super) async fn give_number(call: &Call, user_id: &str, phone: &str) -> Result<(), ApiError> {
    let arguments = json!({"phone_number": phone, "user_id": user_id});
    for _ in 0..TRIES {
        let is_free = call.service().rpc("make_way_for_phone", &arguments).await?;
        if is_free != true {
            return Ok(());
        }
        let number = json!({"phone": phone, "phone_confirm": true});
        match call.auth().update_user(user_id, number).await {
            Ok(()) => return Ok(()),
            Err(AuthFailure::Refused { error_code, .. }) if error_code == TAKEN => {}
            // Deleted since: there is nobody to keep.
            Err(AuthFailure::Refused { error_code, .. }) if error_code == "user_not_found" => {
                return Ok(());
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(ApiError::unavailable("the number is contested"))
}
