//! Phones and e-mail addresses in the form that the tables store.

use super::error::{ApiError, ApiResult};

/// A phone as the tables store it: E.164 without "+". Spaces are dropped.
pub fn normal_phone(text: &str) -> ApiResult<String> {
    let phone = text.strip_prefix('+').unwrap_or(text).replace(' ', "");
    let digits = phone.bytes().all(|b| b.is_ascii_digit());
    if digits && (2..=15).contains(&phone.len()) && !phone.starts_with('0') {
        Ok(phone)
    } else {
        Err(ApiError::invalid(
            "Invalid phone number format (E.164 required)",
        ))
    }
}

/// An address in lower case, or 400 validation_failed. Whether it exists is not checked.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_are_stored_without_plus_and_spaces() {
        assert_eq!(normal_phone("+66 81 234 5678").unwrap(), "66812345678");
        assert_eq!(normal_phone("66812345678").unwrap(), "66812345678");
        for bad in [
            "",
            "+",
            "0812345678",
            "+66-81",
            "66a",
            "1234567890123456",
            "++66812345678",
            "๖๖๘",
        ] {
            assert_eq!(
                normal_phone(bad).unwrap_err().code,
                "validation_failed",
                "{bad}"
            );
        }
    }

    #[test]
    fn addresses_are_stored_in_lower_case() {
        assert_eq!(
            normal_email("Line-U1@LINE.invalid").unwrap(),
            "line-u1@line.invalid"
        );
        for bad in ["", "x", "@x.y", "x@y", "x@.y", "x@y.", "a@b@c.d", "a b@c.d"] {
            assert!(normal_email(bad).is_err(), "{bad}");
        }
    }
}
