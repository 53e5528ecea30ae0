//! `otp_id`: the opaque handle of one sign-in attempt.
//!
//! It holds a keyed hash of the number (which finds its Durable Object), 128 random bits and an
//! authentication tag, so that the phone cannot be read from it and only the Worker can make
//! one: an invented otp_id is refused before any Durable Object is created.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::bytes::{constant_time_eq, hex, unhex};

/// Each of the three parts has 128 bits.
const PART: usize = 16;

/// The keys of sign-in. Access tokens are signed with another one, so that a new one there resets no
/// counter and forgets no device.
pub struct OtpKeys {
    /// Of the names of Durable Objects. A new one resets all counters and forgets all devices.
    names: Vec<u8>,
    /// Of codes and handles, the newest first. Codes live for minutes: during a rotation the old one stands second.
    codes: Vec<Vec<u8>>,
}

/// A genuine `otp_id`, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct OtpId {
    /// The name of the number's Durable Object.
    pub number: String,
    /// The attempt's own random name within the number.
    pub attempt: String,
    /// Index of the code key that made it.
    key: usize,
}

impl OtpKeys {
    /// The secret of names, and those of codes, the newest first.
    pub fn new(names: &str, codes: &[String]) -> Self {
        Self {
            names: names.as_bytes().to_vec(),
            codes: codes.iter().map(|key| key.as_bytes().to_vec()).collect(),
        }
    }

    fn named(&self, purpose: &str, value: &[u8]) -> String {
        hex(&keyed(&self.names, purpose, &[value])[..PART])
    }

    fn of_code(&self, key: usize, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let key = self.codes.get(key).map_or(&[][..], Vec::as_slice);
        keyed(key, purpose, parts)
    }

    /// The name of the Durable Object of a number (E.164): a keyed hash, as lower-case hex.
    pub fn number_name(&self, phone: &str) -> String {
        self.named("number", phone.as_bytes())
    }

    /// The name under which something of this kind is counted: a keyed hash, so that it cannot be read.
    pub fn subject(&self, kind: &str, value: &[u8]) -> String {
        format!("{kind}/{}", self.named(kind, value))
    }

    /// A new `otp_id` for a number's object from 128 random bits, and its parts.
    pub fn seal(&self, number: &str, random: [u8; PART]) -> (String, OtpId) {
        let attempt = hex(&random);
        let mut bytes = Vec::with_capacity(3 * PART);
        bytes.extend_from_slice(&unhex(number).unwrap_or_default());
        bytes.extend_from_slice(&random);
        let tag = self.of_code(0, "handle", &[&bytes]);
        bytes.extend_from_slice(&tag[..PART]);
        let parts = OtpId {
            number: number.to_owned(),
            attempt,
            key: 0,
        };
        (URL_SAFE_NO_PAD.encode(bytes), parts)
    }

    /// Takes a genuine `otp_id` apart; `None` for anything the Worker did not make.
    pub fn open(&self, otp_id: &str) -> Option<OtpId> {
        if otp_id.len() != 4 * PART {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(otp_id).ok()?;
        let (handle, tag) = bytes.split_at_checked(2 * PART)?;
        let made_it =
            |key: &usize| constant_time_eq(&self.of_code(*key, "handle", &[handle])[..PART], tag);
        let key = (0..self.codes.len()).find(made_it)?;
        let (number, attempt) = handle.split_at(PART);
        Some(OtpId {
            number: hex(number),
            attempt: hex(attempt),
            key,
        })
    }

    /// The hash under which a user's code is stored: useless without the service's secret, although
    /// there are only a million codes.
    pub fn code_hash(&self, otp_id: &OtpId, code: &str) -> String {
        let parts = [otp_id.attempt.as_bytes(), code.as_bytes()];
        hex(&self.of_code(otp_id.key, "code", &parts))
    }
}

fn keyed(key: &[u8], purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    // An HMAC key may have any length, so this cannot fail.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(b"carbon-pixels otp/");
    mac.update(purpose.as_bytes());
    for part in parts {
        mac.update(&(part.len() as u32).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The hash under which a device token is stored. The token has 256 random bits, so no key is needed.
pub fn device_hash(device_token: &str) -> String {
    hex(&Sha256::digest(device_token.as_bytes()))
}

/// Six digits from random bits, each code equally likely: draws beyond the largest multiple of a
/// million are left out. `None` if all of them were (once in 10²⁴ for eight draws).
pub fn six_digits(draws: &[u32]) -> Option<String> {
    const CODES: u32 = 1_000_000;
    const LIMIT: u32 = u32::MAX - u32::MAX % CODES;
    let draw = draws.iter().find(|draw| **draw < LIMIT)?;
    Some(format!("{:06}", draw % CODES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of(names: &str, codes: &[&str]) -> OtpKeys {
        let codes: Vec<String> = codes.iter().map(|key| (*key).to_owned()).collect();
        OtpKeys::new(names, &codes)
    }

    #[test]
    fn a_code_requested_before_a_rotation_is_valid_after_it_and_no_name_changes() {
        let (old, new) = (
            keys_of("names", &["old"]),
            keys_of("names", &["new", "old"]),
        );
        let number = old.number_name("+66812345678");
        assert_eq!(new.number_name("+66812345678"), number);
        assert_eq!(new.subject("address", b"a"), old.subject("address", b"a"));
        let (otp_id, parts) = old.seal(&number, [7; 16]);
        let opened = new.open(&otp_id).unwrap();
        assert_eq!(
            new.code_hash(&opened, "123456"),
            old.code_hash(&parts, "123456")
        );
        let (otp_id, parts) = new.seal(&number, [8; 16]);
        assert_eq!(old.open(&otp_id), None);
        assert_ne!(
            new.code_hash(&parts, "123456"),
            old.code_hash(&parts, "123456")
        );
        assert_eq!(
            keys_of("names", &["new"]).open(&old.seal(&number, [7; 16]).0),
            None
        );
    }

    #[test]
    fn names_depend_on_their_own_secret_alone() {
        let own = keys_of("names", &["code"]);
        let name = own.number_name("+66812345678");
        assert_eq!(
            keys_of("names", &["other"]).number_name("+66812345678"),
            name
        );
        assert_ne!(
            keys_of("other", &["code"]).number_name("+66812345678"),
            name
        );
    }

    #[test]
    fn a_sealed_handle_can_be_opened_and_hides_the_phone() {
        let keys = keys_of("names", &["secret"]);
        let number = keys.number_name("+66812345678");
        let (otp_id, parts) = keys.seal(&number, [7; 16]);
        assert_eq!(keys.open(&otp_id), Some(parts));
        assert!(!otp_id.contains("812345678"));
        assert_eq!(otp_id.len(), 64);
    }

    #[test]
    fn changed_foreign_and_short_handles_are_refused() {
        let keys = keys_of("names", &["secret"]);
        let (otp_id, _) = keys.seal(&keys.number_name("+66812345678"), [7; 16]);
        for at in 0..otp_id.len() {
            let mut changed = otp_id.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys.open(std::str::from_utf8(&changed).unwrap()), None);
        }
        assert_eq!(keys_of("names", &["other"]).open(&otp_id), None);
        assert_eq!(keys.open(&otp_id[..60]), None);
        assert_eq!(keys.open(""), None);
        assert_eq!(keys.open(&"ก".repeat(22)), None);
    }

    #[test]
    fn a_code_s_hash_depends_on_attempt_code_and_secret() {
        let keys = keys_of("names", &["secret"]);
        let attempt = |attempt: &str| OtpId {
            number: String::new(),
            attempt: attempt.to_owned(),
            key: 0,
        };
        let hash = keys.code_hash(&attempt("a"), "123456");
        assert_eq!(hash, keys.code_hash(&attempt("a"), "123456"));
        assert_ne!(hash, keys.code_hash(&attempt("b"), "123456"));
        assert_ne!(hash, keys.code_hash(&attempt("a"), "123457"));
        let other = keys_of("names", &["other"]);
        assert_ne!(hash, other.code_hash(&attempt("a"), "123456"));
    }

    #[test]
    fn a_device_token_is_stored_as_its_sha_256() {
        assert_eq!(
            device_hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn codes_are_uniform_and_keep_leading_zeros() {
        assert_eq!(six_digits(&[42]).unwrap(), "000042");
        assert_eq!(six_digits(&[999_999]).unwrap(), "999999");
        assert_eq!(
            six_digits(&[u32::MAX, 4_294_000_000, 1_000_001]).unwrap(),
            "000001"
        );
        assert_eq!(six_digits(&[u32::MAX]), None);
    }
}
