//! Bytes: random ones, as hexadecimal digits, and compared in constant time.

use crate::error::ApiError;

/// Random bytes from the runtime's cryptographic source.
///
/// # Errors
/// `INTERNAL_ERROR` if the source fails.
pub fn random<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::internal(format!("random: {error}")))?;
    Ok(bytes)
}

/// Takes the same time wherever the two differ (their lengths are no secret).
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The bytes of an even number of hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    let pairs = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(pairs.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ_each_time() {
        assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    }

    #[test]
    fn texts_are_equal_when_every_byte_is() {
        assert!(constant_time_eq(b"", b"") && constant_time_eq(b"ab", b"ab"));
        // Two differences do not make up for each other.
        for (one, other) in [(b"\x01\x01", b"\x02\x02"), (b"ab", b"ba"), (b"ab", b"ac")] {
            assert!(!constant_time_eq(one, other));
        }
        assert!(!constant_time_eq(b"ab", b"a") && !constant_time_eq(b"", b"a"));
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs_and_either_case() {
        assert_eq!(hex(&[0, 0xAB, 0xFF]), "00abff");
        assert_eq!(unhex("00abFF"), Some(vec![0, 0xAB, 0xFF]));
        assert_eq!((unhex("0"), unhex("0g")), (None, None));
    }
}
