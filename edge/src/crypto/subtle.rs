//! The runtime's own cryptography (WebCrypto), for what would be large in the Worker itself: RSA, P-256 and AES.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::{Promise, Uint8Array};
use worker::wasm_bindgen_futures::JsFuture;

use super::bytes::random;
use super::id_token::{IdToken, Jwk};
use crate::error::ApiError;

/// Bytes of the nonce before a sealed text: what AES-GCM takes.
const NONCE_BYTES: usize = 12;

// The bytes are copies: a function that waits must not look into wasm's memory, which may move meanwhile.
#[wasm_bindgen(inline_js = "
const ALGORITHMS = {
    RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
    ES256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
};
const bytes = (text) => new TextEncoder().encode(text);
export async function verify_signature(name, jwk, signature, signed) {
    const algorithm = ALGORITHMS[name];
    const key = await crypto.subtle.importKey('jwk', JSON.parse(jwk), algorithm, false, ['verify']);
    return crypto.subtle.verify(algorithm, key, signature, bytes(signed));
}
export async function sign_by_es256(pkcs8, signed) {
    const key = await crypto.subtle.importKey('pkcs8', pkcs8, ALGORITHMS.ES256, false, ['sign']);
    return new Uint8Array(await crypto.subtle.sign(ALGORITHMS.ES256, key, bytes(signed)));
}
const gcm = (iv, context) => ({ name: 'AES-GCM', iv, additionalData: bytes(context) });
export async function encrypt(raw, nonce, context, text) {
    const key = await crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt']);
    return new Uint8Array(await crypto.subtle.encrypt(gcm(nonce, context), key, bytes(text)));
}
export async function decrypt(raw, nonce, context, sealed) {
    const key = await crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['decrypt']);
    return new TextDecoder().decode(await crypto.subtle.decrypt(gcm(nonce, context), key, sealed));
}
")]
extern "C" {
    fn verify_signature(name: &str, jwk: &str, signature: &Uint8Array, signed: &str) -> Promise;
    fn sign_by_es256(pkcs8: &Uint8Array, signed: &str) -> Promise;
    fn encrypt(raw: &Uint8Array, nonce: &Uint8Array, context: &str, text: &str) -> Promise;
    fn decrypt(raw: &Uint8Array, nonce: &Uint8Array, context: &str, sealed: &Uint8Array)
    -> Promise;
}

/// Whether this key signed the token, by the token's algorithm. A key of another type did not.
pub async fn is_signed_by(token: &IdToken, key: &Jwk) -> bool {
    let Some(jwk) = key.for_algorithm(token.algorithm) else {
        return false;
    };
    let signature = Uint8Array::from(token.signature.as_slice());
    let verified = verify_signature(token.algorithm.name(), &jwk, &signature, &token.signed);
    // A key that cannot be imported proves nothing.
    JsFuture::from(verified)
        .await
        .is_ok_and(|verified| verified == JsValue::TRUE)
}

/// A JWT signed by ES256.
///
/// # Errors
/// `INTERNAL_ERROR` if the key (PKCS#8, P-256) cannot be used.
pub async fn sign_jwt(pkcs8: &[u8], header: &Value, claims: &Value) -> Result<String, ApiError> {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let signature = JsFuture::from(sign_by_es256(&Uint8Array::from(pkcs8), &signed))
        .await
        .map_err(|_| ApiError::internal("the key for ES256 cannot be used"))?;
    let signature = URL_SAFE_NO_PAD.encode(Uint8Array::from(signature).to_vec());
    Ok(format!("{signed}.{signature}"))
}

/// Encrypts a text by AES-256-GCM; only the same context opens it.
///
/// # Errors
/// `INTERNAL_ERROR`
pub async fn seal(key: &[u8; 32], context: &str, text: &str) -> Result<String, ApiError> {
    let nonce = random::<NONCE_BYTES>()?;
    let promise = encrypt(
        &Uint8Array::from(&key[..]),
        &Uint8Array::from(&nonce[..]),
        context,
        text,
    );
    let sealed = JsFuture::from(promise)
        .await
        .map_err(|_| ApiError::internal("AES-GCM failed"))?;
    let mut bytes = nonce.to_vec();
    bytes.extend(Uint8Array::from(sealed).to_vec());
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The text that [`seal`] encrypted with one of the keys; `None` for anything else.
pub async fn unseal(keys: &[[u8; 32]], context: &str, sealed: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
    for key in keys {
        let promise = decrypt(
            &Uint8Array::from(&key[..]),
            &Uint8Array::from(nonce),
            context,
            &Uint8Array::from(sealed),
        );
        if let Ok(text) = JsFuture::from(promise).await {
            return text.as_string();
        }
    }
    None
}
