//! The identity of an entry: what makes two occurrences the same entry, regardless of the interface that they came through.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

/// The first 16 bytes of SHA-256 over id, category, method, weight and instant, each after aliases and rounding.
///
/// `None` as id is for an entry without a usable id, which is identified by the other four. The instant counts in
/// microseconds, as PostgreSQL stores it. The bytes are stored in the database and must never change: a release that
/// computed them differently would import every diary a second time.
#[must_use]
pub fn identity(
    id: Option<&str>,
    category: &str,
    method: &str,
    grams: u32,
    logged_at: DateTime<Utc>,
) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"carbon.entry.1");
    match id {
        None => hash.update([0]),
        Some(id) => {
            hash.update([1]);
            text(&mut hash, id);
        }
    }
    text(&mut hash, category);
    text(&mut hash, method);
    hash.update(grams.to_be_bytes());
    hash.update(logged_at.timestamp_micros().to_be_bytes());
    let digest = hash.finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    first
}

/// The length comes first, so that different sequences of texts never hash the same bytes.
fn text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

/// The identity written as a UUID (8-4-4-4-12 hexadecimal digits, no version bits).
#[must_use]
pub fn uuid_text(identity: [u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (at, byte) in identity.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let at = DateTime::from_timestamp_micros(1_700_000_000_000_000).unwrap();
        let later = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
        let all = [
            identity(Some("1"), "a", "b", 10, at),
            identity(None, "a", "b", 10, at),
            identity(Some(""), "a", "b", 10, at),
            identity(Some("1"), "ab", "", 10, at),
            identity(Some("1"), "a", "c", 10, at),
            identity(Some("1"), "a", "b", 11, at),
            identity(Some("1"), "a", "b", 10, later),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{index}");
        }
        assert_eq!(all[0], identity(Some("1"), "a", "b", 10, at));
    }

    #[test]
    fn it_reads_as_a_uuid() {
        let bytes = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
        assert_eq!(uuid_text(bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
