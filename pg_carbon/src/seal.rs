//! Sealed texts that clients return later: they cannot read or change them, or see whether two have the same content.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Generate, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use pgrx::prelude::*;

/// Bytes of the nonce, which comes first. Random nonces of this length practically never collide.
const NONCE_BYTES: usize = 24;

fn cipher(key: &[u8]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new_from_slice(key).expect("a key has 32 bytes")
}

/// The content, encrypted and authenticated for a purpose, as URL-safe text that differs each time. NULL for any NULL.
///
/// `key`: 32 bytes. The length of the content is visible.
#[pg_extern(volatile, strict, parallel_safe)]
fn seal(content: &str, purpose: &str, key: &[u8]) -> String {
    let nonce = XNonce::generate();
    let payload = Payload {
        msg: content.as_bytes(),
        aad: purpose.as_bytes(),
    };
    let encrypted = cipher(key).encrypt(&nonce, payload);
    let mut sealed = nonce.to_vec();
    sealed.extend(encrypted.expect("the content fits into memory"));
    URL_SAFE_NO_PAD.encode(sealed)
}

/// The content of a text of [`seal`] for this purpose and key. NULL for any other text and for any NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn unseal(sealed: &str, purpose: &str, key: &[u8]) -> Option<String> {
    let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let (nonce, encrypted) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let payload = Payload {
        msg: encrypted,
        aad: purpose.as_bytes(),
    };
    let content = cipher(key).decrypt(&XNonce::from(*nonce), payload).ok()?;
    String::from_utf8(content).ok()
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{failure, is_null, one};

    const KEY: &str = "decode(repeat('5a', 32), 'hex')";

    fn sealed() -> String {
        one(&format!("select carbon.seal('440,ann', 'p', {KEY})"))
    }

    fn unseal(sealed: &str) -> String {
        format!("carbon.unseal('{sealed}', 'p', {KEY})")
    }

    #[pg_test]
    fn a_sealed_text_opens_and_differs_each_time() {
        let (first, second) = (sealed(), sealed());
        assert_ne!(first, second);
        for sealed in [first, second] {
            assert_eq!(
                one::<String>(&format!("select {}", unseal(&sealed))),
                "440,ann"
            );
            // 24 bytes of nonce, 7 of content and 16 of authentication code, 6 bits per letter.
            assert_eq!(sealed.len(), (24_usize + 7 + 16) * 8 / 6 + 1);
        }
    }

    #[pg_test]
    fn two_sealed_texts_of_one_content_have_nothing_in_common() {
        let (first, second) = (sealed(), sealed());
        let same = first
            .bytes()
            .zip(second.bytes())
            .filter(|(one, other)| one == other);
        // One letter in 64 is equal by chance.
        assert!(same.count() < 16, "{first} {second}");
    }

    #[pg_test]
    fn a_sealed_text_with_any_letter_changed_does_not_open() {
        let sealed = sealed();
        for at in 0..sealed.len() {
            let other = if sealed.as_bytes()[at] == b'A' {
                "B"
            } else {
                "A"
            };
            let mut forged = sealed.clone();
            forged.replace_range(at..=at, other);
            assert!(
                is_null(&format!("select {}", unseal(&forged))),
                "letter {at}"
            );
        }
        for forged in [
            &sealed[1..],
            &sealed[..sealed.len() - 1],
            &format!("{sealed}A"),
            &format!("{sealed}="),
            "",
            "nonsense",
            "ก",
        ] {
            assert!(is_null(&format!("select {}", unseal(forged))), "{forged}");
        }
    }

    #[pg_test]
    fn a_sealed_text_opens_only_with_its_key_and_purpose() {
        let sealed = sealed();
        for call in [
            format!("carbon.unseal('{sealed}', 'q', {KEY})"),
            format!("carbon.unseal('{sealed}', 'p', decode(repeat('5b', 32), 'hex'))"),
            format!("carbon.unseal(null, 'p', {KEY})"),
            format!("carbon.seal(null, 'p', {KEY})"),
        ] {
            assert!(is_null(&format!("select {call}")), "{call}");
        }
    }

    #[pg_test]
    fn a_key_of_another_length_is_a_programming_error() {
        assert_eq!(
            failure("select carbon.seal('x', 'p', 'short')").state,
            "XX000"
        );
    }
}
