//! What a client states about the device that signs in.

use crate::error::DomainError;

/// Longest app version, in characters.
pub const MAX_APP_VERSION_CHARS: usize = 50;

/// Checks an app version: at most 50 characters without U+0000.
///
/// # Errors
/// [`DomainError::AppVersionInvalid`]
pub fn check_app_version(text: &str) -> Result<(), DomainError> {
    if text.chars().count() > MAX_APP_VERSION_CHARS || text.contains('\0') {
        return Err(DomainError::AppVersionInvalid);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_version_is_short_and_storable() {
        for good in ["", "2.4.0", "2.4.0-beta (ทดสอบ)", &"ก".repeat(50)] {
            assert_eq!(check_app_version(good), Ok(()), "{good}");
        }
        for bad in ["2.4\0", "\0", &"ก".repeat(51)] {
            assert_eq!(
                check_app_version(bad),
                Err(DomainError::AppVersionInvalid),
                "{bad:?}"
            );
        }
    }
}
