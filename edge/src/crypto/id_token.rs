//! ID tokens of providers (JWS, compact form): taken apart, and the rules for what they state. Nothing here proves a
//! signature but HS256's; the rest is [`super::subtle`]'s.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::bytes::{constant_time_eq, hex};

/// Longer tokens are refused unread; real ones have 1 to 2 KB.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The clocks of provider and edge may differ by this much (seconds).
const CLOCK_TOLERANCE_SECS: i64 = 5;
/// A sign-in follows its token's issue at once; older ones are refused (seconds).
const MAX_AGE_SECS: i64 = 600;
/// The longest name of a person at a provider.
const MAX_SUBJECT_BYTES: usize = 255;

/// The algorithms that providers sign with. No other name is one, `none` included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Es256,
    Hs256,
}

impl Algorithm {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "HS256" => Some(Self::Hs256),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
        }
    }
}

/// A token taken apart; nothing of it is proved.
#[derive(Debug)]
pub struct IdToken {
    pub algorithm: Algorithm,
    /// The id of the key that signed it.
    pub kid: Option<String>,
    /// What is signed: header and claims as they came.
    pub signed: String,
    pub signature: Vec<u8>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that a reader must understand; none are understood here.
    crit: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Value,
    exp: i64,
    iat: i64,
    #[serde(default)]
    nbf: i64,
    nonce: Option<String>,
    name: Option<Value>,
}

/// What a token must state.
pub struct IdTokenRules<'a> {
    pub issuers: &'a [&'a str],
    /// The ids of our clients at the provider.
    pub audiences: &'a [String],
    /// The nonce as the client has it; the token states the SHA-256 of it in hexadecimal digits.
    pub nonce: &'a str,
    /// Now, in seconds since 1970.
    pub now_secs: i64,
}

/// Why a genuine token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Past its end, or too old.
    Expired,
    /// Not meant for us, or not for this sign-in.
    Invalid,
}

impl IdToken {
    /// Takes a token apart; `None` for what is no token, has an unknown algorithm, or demands extensions.
    pub fn parse(token: &str) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        Some(Self {
            algorithm: Algorithm::from_name(&header.alg)?,
            kid: header.kid,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            claims: serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?,
            signed: signed.to_owned(),
        })
    }

    /// Whether this secret signed it by HS256. The comparison takes the same time wherever it differs.
    pub fn is_signed_by(&self, secret: &[u8]) -> bool {
        self.algorithm == Algorithm::Hs256
            && Hmac::<Sha256>::new_from_slice(secret).is_ok_and(|mut mac| {
                mac.update(self.signed.as_bytes());
                mac.verify_slice(&self.signature).is_ok()
            })
    }

    /// Checks what a genuine token states.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check(&self, rules: &IdTokenRules) -> Result<(), Refusal> {
        let (claims, now) = (&self.claims, rules.now_secs);
        let fits = rules.issuers.contains(&claims.iss.as_str())
            && rules
                .audiences
                .iter()
                .any(|ours| self.audience() == Some(ours.as_str()))
            && is_subject(&claims.sub)
            && self.states_nonce(rules.nonce)
            && claims.iat <= now + CLOCK_TOLERANCE_SECS
            && claims.nbf <= now + CLOCK_TOLERANCE_SECS;
        if !fits {
            return Err(Refusal::Invalid);
        }
        let ends_at = claims.exp.min(claims.iat + MAX_AGE_SECS);
        if ends_at + CLOCK_TOLERANCE_SECS <= now {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// Seconds since 1970 after which the token is refused anyway.
    pub fn ends_at_secs(&self) -> i64 {
        self.claims.exp.min(self.claims.iat + MAX_AGE_SECS) + CLOCK_TOLERANCE_SECS
    }

    /// The one client it is meant for; of a list with several none.
    pub fn audience(&self) -> Option<&str> {
        match &self.claims.aud {
            Value::String(one) => Some(one),
            Value::Array(all) => match all.as_slice() {
                [Value::String(one)] => Some(one),
                _ => None,
            },
            _ => None,
        }
    }

    /// The provider's own name of the person.
    pub fn subject(&self) -> &str {
        &self.claims.sub
    }

    /// The person's name, where the provider states one.
    pub fn name(&self) -> Option<&str> {
        self.claims.name.as_ref().and_then(Value::as_str)
    }

    fn states_nonce(&self, nonce: &str) -> bool {
        let expected = hex(&Sha256::digest(nonce.as_bytes()));
        self.claims
            .nonce
            .as_ref()
            .is_some_and(|stated| constant_time_eq(stated.as_bytes(), expected.as_bytes()))
    }
}

/// Visible ASCII characters, as all providers use.
pub fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A public key of a provider.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Jwk {
    pub kid: String,
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Jwk {
    /// The keys of a set that can be read; `None` if it is no set.
    pub fn read_set(text: &str) -> Option<Vec<Self>> {
        let set: KeySet = serde_json::from_str(text).ok()?;
        let read = |key| serde_json::from_value(key).ok();
        Some(set.keys.into_iter().filter_map(read).collect())
    }

    /// The key for WebCrypto, by its parts alone; `None` if it is not made for this algorithm.
    pub fn for_algorithm(&self, algorithm: Algorithm) -> Option<String> {
        let is_fit = self
            .purpose
            .as_deref()
            .is_none_or(|purpose| purpose == "sig")
            && self
                .alg
                .as_deref()
                .is_none_or(|alg| alg == algorithm.name());
        let key = match (algorithm, self.kty.as_str()) {
            (Algorithm::Rs256, "RSA") => {
                json!({"kty": "RSA", "n": self.n.as_ref()?, "e": self.e.as_ref()?})
            }
            (Algorithm::Es256, "EC") if self.crv.as_deref() == Some("P-256") => json!({
                "kty": "EC", "crv": "P-256", "x": self.x.as_ref()?, "y": self.y.as_ref()?,
            }),
            _ => return None,
        };
        is_fit.then(|| key.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carbon_dev_jwt::sign_as;

    const NOW: i64 = 1_800_000_000;
    const NONCE: &str = "a nonce of the client";
    const SECRET: &[u8] = b"the secret of the channel";

    fn claims() -> Value {
        json!({
            "iss": "https://access.line.me", "sub": "U4af4980629", "aud": "1650000000",
            "exp": NOW + 3_600, "iat": NOW, "name": "สมชาย",
            "nonce": hex(&Sha256::digest(NONCE.as_bytes())),
        })
    }

    fn token(claims: &Value) -> IdToken {
        IdToken::parse(&sign_as(
            &json!({"alg": "HS256", "kid": "k"}),
            SECRET,
            claims,
        ))
        .unwrap()
    }

    fn check(claims: &Value) -> Result<(), Refusal> {
        check_at(claims, NOW)
    }

    fn check_at(claims: &Value, now_secs: i64) -> Result<(), Refusal> {
        token(claims).check(&IdTokenRules {
            issuers: &["https://access.line.me", "access.line.me"],
            audiences: &["other".to_owned(), "1650000000".to_owned()],
            nonce: NONCE,
            now_secs,
        })
    }

    fn with(name: &str, value: Value) -> Result<(), Refusal> {
        let mut claims = claims();
        claims[name] = value;
        check(&claims)
    }

    #[test]
    fn a_token_that_states_what_it_must_is_taken() {
        assert_eq!(check(&claims()), Ok(()));
        let token = token(&claims());
        assert_eq!(
            (token.subject(), token.name()),
            ("U4af4980629", Some("สมชาย"))
        );
        assert_eq!(token.kid.as_deref(), Some("k"));
        assert_eq!(with("iss", json!("access.line.me")), Ok(()));
        assert_eq!(with("aud", json!(["1650000000"])), Ok(()));
        // Apple writes these as texts now and then; nothing here reads them.
        assert_eq!(with("email_verified", json!("true")), Ok(()));
        assert_eq!(with("name", json!({"first": "a"})), Ok(()));
    }

    #[test]
    fn what_is_not_meant_for_us_or_for_this_sign_in_is_refused() {
        for (name, value) in [
            ("iss", json!("https://access.line.me.evil.example")),
            ("aud", json!("1650000001")),
            ("aud", json!(["1650000000", "other"])),
            ("aud", json!([])),
            ("aud", json!(1_650_000_000)),
            ("nonce", json!(NONCE)),
            ("nonce", json!("")),
            ("nonce", Value::Null),
            ("sub", json!("")),
            ("sub", json!("a b")),
            ("sub", json!("ก")),
            ("sub", json!("x".repeat(256))),
            ("iat", json!(NOW + 6)),
            ("nbf", json!(NOW + 6)),
        ] {
            assert_eq!(
                with(name, value.clone()),
                Err(Refusal::Invalid),
                "{name} {value}"
            );
        }
        assert_eq!(with("sub", json!("x".repeat(255))), Ok(()));
    }

    #[test]
    fn clocks_may_differ_by_five_seconds() {
        assert_eq!(with("iat", json!(NOW + 5)), Ok(()));
        assert_eq!(with("nbf", json!(NOW + 5)), Ok(()));
        assert_eq!(with("exp", json!(NOW - 4)), Ok(()));
        assert_eq!(with("exp", json!(NOW - 5)), Err(Refusal::Expired));
    }

    #[test]
    fn a_token_is_taken_for_ten_minutes_whatever_its_end() {
        assert_eq!(check_at(&claims(), NOW + 604), Ok(()));
        assert_eq!(check_at(&claims(), NOW + 605), Err(Refusal::Expired));
        assert_eq!(token(&claims()).ends_at_secs(), NOW + 605);
        let mut short = claims();
        short["exp"] = json!(NOW + 60);
        assert_eq!(token(&short).ends_at_secs(), NOW + 65);
    }

    #[test]
    fn only_a_secret_s_own_signature_by_hs256_proves_it() {
        let good = token(&claims());
        assert!(good.is_signed_by(SECRET));
        assert!(!good.is_signed_by(b"another secret"));
        let header = json!({"alg": "RS256", "kid": "k"});
        let other = IdToken::parse(&sign_as(&header, SECRET, &claims())).unwrap();
        assert!(!other.is_signed_by(SECRET));
    }

    #[test]
    fn what_is_no_token_of_a_known_algorithm_is_not_read() {
        let signed = |header: Value| sign_as(&header, SECRET, &claims());
        for token in [
            String::new(),
            "a.b.c".to_owned(),
            "..".to_owned(),
            "x".repeat(MAX_TOKEN_BYTES + 1),
            signed(json!({"alg": "none"})),
            signed(json!({"alg": "hs256"})),
            signed(json!({"alg": "RS512"})),
            signed(json!({"kid": "k"})),
            signed(json!({"alg": "HS256", "crit": ["exp"]})),
            sign_as(&json!({"alg": "HS256"}), SECRET, &json!({"sub": "no more"})),
        ] {
            assert!(IdToken::parse(&token).is_none(), "{token}");
        }
    }

    const KEYS: &str = r#"{"keys": [
        {"kid": "r", "kty": "RSA", "use": "sig", "alg": "RS256", "n": "bg", "e": "AQAB", "x5c": ["a"]},
        {"kid": "e", "kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ"},
        {"kid": "p", "kty": "EC", "crv": "P-384", "x": "eA", "y": "eQ"},
        {"kid": "c", "kty": "RSA", "use": "enc", "n": "bg", "e": "AQAB"},
        {"kid": "h", "kty": "oct", "k": "eA"},
        {"kty": "RSA"}, 7
    ]}"#;

    #[test]
    fn a_key_fits_the_algorithm_of_its_own_type_alone() {
        let keys = Jwk::read_set(KEYS).unwrap();
        let fits = |algorithm| -> Vec<&str> {
            let fit = keys
                .iter()
                .filter(|key| key.for_algorithm(algorithm).is_some());
            fit.map(|key| key.kid.as_str()).collect()
        };
        assert_eq!(fits(Algorithm::Rs256), ["r"]);
        assert_eq!(fits(Algorithm::Es256), ["e"]);
        assert!(fits(Algorithm::Hs256).is_empty());
        let rsa = keys[0].for_algorithm(Algorithm::Rs256).unwrap();
        let rsa: Value = serde_json::from_str(&rsa).unwrap();
        assert_eq!(rsa, json!({"kty": "RSA", "n": "bg", "e": "AQAB"}));
        assert!(Jwk::read_set("<html>").is_none());
    }
}
