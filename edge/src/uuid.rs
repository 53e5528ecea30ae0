//! The form of a UUID.

/// Whether a text is a UUID in its usual form, in either case.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_36_characters_and_its_hyphens_where_they_belong() {
        assert!(is_uuid("6F1B0b1e-3c52-4f43-9a53-1f6a5a1f0c11"));
        for text in [
            "",
            "6f1b0b1e-3c52-4f43-9a53-1f6a5a1f0c1",
            "6f1b0b1e-3c52-4f43-9a53-1f6a5a1f0c111",
            "6f1b0b1e3c52-4f43-9a53-1f6a5a1f0c11-",
            "6f1b0b1e-3c524-f43-9a53-1f6a5a1f0c11",
            "6f1b0b1e-3c52-4f439-a53-1f6a5a1f0c11",
            "6f1b0b1e-3c52-4f43-9a531-f6a5a1f0c11",
            "6f1b0b1e-3c52-4f43-9a53-1f6a5a1f0c1g",
            "6f1b0b1e03c5204f4309a5301f6a5a1f0c11",
        ] {
            assert!(!is_uuid(text), "{text}");
        }
    }
}
