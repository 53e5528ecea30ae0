//! Codes that people pass on to one another, by voice, by hand or in a link: without signs that are mistaken for others.

/// The signs of a code: digits and capital letters without 0, 1, I, L and O.
pub const SIGNS: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";

/// Bytes from here on are not used, so that each sign is equally likely: 248 = 8 · 31.
const USED_BYTES: usize = 256 - 256 % SIGNS.len();

/// A code of this many signs from random bytes; `None` if too few of them can be used (each with a probability of
/// 248 in 256).
#[must_use]
pub fn from_random(bytes: &[u8], signs: usize) -> Option<String> {
    let usable = bytes
        .iter()
        .map(|byte| usize::from(*byte))
        .filter(|byte| *byte < USED_BYTES);
    let code: String = usable
        .take(signs)
        .map(|byte| char::from(SIGNS[byte % SIGNS.len()]))
        .collect();
    (code.len() == signs).then_some(code)
}

/// A code as it is stored, from what somebody typed: capital letters, without spaces and dashes; `None` for anything
/// that has other signs or another length.
#[must_use]
pub fn normalised(typed: &str, signs: usize) -> Option<String> {
    let code: String = typed
        .chars()
        .filter(|character| !character.is_whitespace() && *character != '-')
        .map(|character| character.to_ascii_uppercase())
        .collect();
    let is_code = code.len() == signs && code.bytes().all(|byte| SIGNS.contains(&byte));
    is_code.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_uses_each_sign_equally_often() {
        let all: Vec<u8> = (0..=255).collect();
        let code = from_random(&all, 248).unwrap();
        for sign in SIGNS {
            let uses = code.bytes().filter(|byte| byte == sign).count();
            assert_eq!(uses, 8, "{}", char::from(*sign));
        }
        assert_eq!(from_random(&all, 249), None);
        assert_eq!(from_random(&[0, 255, 30, 31], 3).as_deref(), Some("2Z2"));
    }

    #[test]
    fn a_typed_code_is_read_whatever_its_case_and_dashes() {
        for typed in ["ABCDE-23456", " abcde 23456 ", "aBcDe-2-3-4-5-6\n"] {
            assert_eq!(normalised(typed, 10).as_deref(), Some("ABCDE23456"));
        }
        for wrong in [
            "",
            "ABCDE2345",
            "ABCDE234567",
            "ABCDE2345O",
            "ABCDE2345_",
            "กกกกก23456",
        ] {
            assert_eq!(normalised(wrong, 10), None, "{wrong}");
        }
    }
}
