//! The issuers' keys: RSA for Google, Facebook and Apple, P-256 for LINE, and the check of what Apple's customers sign.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

/// The ids of the keys. The P-256 key is another one after each start, so its id has a random end.
const RSA_KID: &str = "local-rsa";

/// What the issuers sign with.
pub struct Keys {
    random: SystemRandom,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ec_kid: String,
}

impl Keys {
    /// The RSA key comes from the checkout (PKCS#8 in Base64); the other one is made.
    pub fn new(rsa: &str) -> Result<Self, String> {
        let rsa = STANDARD
            .decode(rsa)
            .map_err(|_| "PROVIDERS_RSA_KEY must be Base64")?;
        let rsa =
            RsaKeyPair::from_pkcs8(&rsa).map_err(|why| format!("PROVIDERS_RSA_KEY: {why}"))?;
        let random = SystemRandom::new();
        let failed = |_| "no key for LINE could be made".to_owned();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(failed)?;
        let ec = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random)
            .map_err(|why| format!("a key for LINE: {why}"))?;
        let ec_kid = format!("local-ec-{}", uuid::Uuid::new_v4().simple());
        Ok(Self {
            random,
            rsa,
            ec,
            ec_kid,
        })
    }

    /// The public keys of a provider, as a JWK set.
    pub fn public(&self, provider: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = if provider == "line" {
            let point = self.ec.public_key().as_ref();
            json!({
                "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.ec_kid,
                "x": encode(&point[1..33]), "y": encode(&point[33..65]),
            })
        } else {
            let parts: PublicKeyComponents<Vec<u8>> = self.rsa.public().into();
            json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": RSA_KID,
                "n": encode(&parts.n), "e": encode(&parts.e),
            })
        };
        json!({ "keys": [key] })
    }

    /// An ID token as the provider signs it; members of `header` replace those that it would have.
    pub fn sign(&self, provider: &str, header: &Value, claims: &Value) -> String {
        let mut whole = match provider {
            "line" => json!({"alg": "ES256", "typ": "JWT", "kid": self.ec_kid}),
            _ => json!({"alg": "RS256", "typ": "JWT", "kid": RSA_KID}),
        };
        for (name, value) in header.as_object().into_iter().flatten() {
            whole[name] = value.clone();
        }
        let parts = [&whole, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = parts.join(".");
        let signature = if provider == "line" {
            let signature = self.ec.sign(&self.random, text.as_bytes());
            signature.map(|signature| signature.as_ref().to_vec())
        } else {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa
                .sign(
                    &RSA_PKCS1_SHA256,
                    &self.random,
                    text.as_bytes(),
                    &mut signature,
                )
                .map(|()| signature)
        };
        let signature = signature.expect("these keys sign any text");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The public part of a P-256 key (PKCS#8 in Base64), for checking what its owner signs.
pub fn public_part(private: &str) -> Result<Vec<u8>, String> {
    let pkcs8 = STANDARD
        .decode(private)
        .map_err(|_| "APPLE_PRIVATE_KEY must be Base64")?;
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &SystemRandom::new())
        .map_err(|why| format!("APPLE_PRIVATE_KEY: {why}"))?;
    Ok(pair.public_key().as_ref().to_vec())
}

/// Header and claims of a JWT that the owner of this key signed by ES256.
pub fn open_es256(public: &[u8], token: &str) -> Option<(Value, Value)> {
    let (text, signature) = token.rsplit_once('.')?;
    let (header, claims) = text.split_once('.')?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
        .verify(text.as_bytes(), &decode(signature)?)
        .ok()?;
    let read = |part: &str| serde_json::from_slice::<Value>(&decode(part)?).ok();
    Some((read(header)?, read(claims)?)).filter(|(header, _)| header["alg"] == "ES256")
}
