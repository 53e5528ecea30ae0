//! What a client sends of its sign-in with a provider, and what that proves.
//!
//! Which key and which algorithm a token must have follows from the way it came, never from the token alone: an ID token
//! that the client had from the provider must be signed by one of the provider's public keys; one that LINE hands out
//! for a code is signed with the channel's secret.

use super::fields::Fields;
use crate::clients::facebook::user_of_token;
use crate::clients::oauth::{Code, Tokens, exchange_with_apple, exchange_with_line};
use crate::clients::provider_keys::find_key;
use crate::clock::now_ms;
use crate::config::{Apple, Facebook, Line, Provider, Social};
use crate::crypto::id_token::{Algorithm, IdToken, IdTokenRules, Refusal};
use crate::crypto::subtle::{is_signed_by, seal};
use crate::error::{ApiError, FieldProblem};
use crate::http::call::Call;
use crate::messages;
use crate::storage::single_use::{UsedToken, mark_used};

/// What the refresh tokens of Apple are sealed for.
pub(super) const SEALED_FOR: &str = "identity/apple";
/// Bytes of a nonce: fewer could be guessed, more no client has.
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 16..=255;
/// Characters of a PKCE verifier (RFC 7636, 4.1).
const VERIFIER_BYTES: std::ops::RangeInclusive<usize> = 43..=128;

/// An identity that was proved.
pub(super) struct Proof {
    pub(super) provider: Provider,
    /// The provider's own name of the person.
    pub(super) subject: String,
    /// The person's name, where it was stated.
    pub(super) name: Option<String>,
    /// Apple's, sealed.
    pub(super) refresh_token: Option<String>,
    /// The ID token, which counts once.
    pub(super) used: Option<UsedToken>,
}

/// What the client sent, by the way it came.
pub(super) enum Sent<'a> {
    /// An ID token that the client had from Google, LINE or Facebook.
    IdToken {
        token: String,
        nonce: String,
        keys_url: &'a str,
        audiences: &'a [String],
        algorithms: &'static [Algorithm],
    },
    /// LINE's code.
    LineCode {
        line: &'a Line,
        code: String,
        redirect_uri: String,
        code_verifier: String,
        nonce: String,
    },
    /// Facebook's access token.
    AccessToken {
        facebook: &'a Facebook,
        token: String,
    },
    Apple(SentByApple<'a>),
}

/// Apple's ID token, with a code and the name if the client got them.
pub(super) struct SentByApple<'a> {
    apple: &'a Apple,
    token: String,
    nonce: String,
    code: Option<String>,
    redirect_uri: Option<String>,
    name: Option<String>,
}

impl<'a> Sent<'a> {
    /// Reads the members that a provider takes; their problems are noted with those of the others.
    ///
    /// # Errors
    /// `FEATURE_UNAVAILABLE` if the provider is not configured.
    pub(super) fn read(
        provider: Provider,
        social: &'a Social,
        fields: &mut Fields,
    ) -> Result<Self, ApiError> {
        let none = ApiError::feature_unavailable;
        Ok(match provider {
            Provider::Google => {
                let google = social.google.as_ref().ok_or_else(none)?;
                Self::id_token(
                    fields,
                    &google.keys_url,
                    &google.client_ids,
                    &[Algorithm::Rs256],
                )
            }
            Provider::Facebook => {
                let facebook = social.facebook.as_ref().ok_or_else(none)?;
                match fields.optional_text("access_token") {
                    Some(token) => Self::AccessToken { facebook, token },
                    None => {
                        let algorithms = &[Algorithm::Rs256];
                        Self::id_token(fields, &facebook.keys_url, &facebook.app_ids, algorithms)
                    }
                }
            }
            Provider::Line => {
                let line = social.line.as_ref().ok_or_else(none)?;
                match fields.optional_text("code") {
                    Some(code) => Self::line_code(line, code, fields),
                    None => {
                        let algorithms = &[Algorithm::Es256];
                        Self::id_token(fields, &line.keys_url, &line.channel_ids, algorithms)
                    }
                }
            }
            Provider::Apple => {
                let apple = social.apple.as_ref().ok_or_else(none)?;
                Self::Apple(SentByApple {
                    apple,
                    token: fields.text("id_token"),
                    nonce: text_of(fields, "nonce", NONCE_BYTES),
                    code: fields.optional_text("authorization_code"),
                    redirect_uri: optional_redirect_uri(fields, &apple.redirect_uris),
                    name: fields.optional_text("name"),
                })
            }
        })
    }

    fn id_token(
        fields: &mut Fields,
        keys_url: &'a str,
        audiences: &'a [String],
        algorithms: &'static [Algorithm],
    ) -> Self {
        Self::IdToken {
            token: fields.text("id_token"),
            nonce: text_of(fields, "nonce", NONCE_BYTES),
            keys_url,
            audiences,
            algorithms,
        }
    }

    fn line_code(line: &'a Line, code: String, fields: &mut Fields) -> Self {
        let redirect_uri = optional_redirect_uri(fields, &line.redirect_uris);
        if redirect_uri.is_none() {
            fields.text("redirect_uri");
        }
        Self::LineCode {
            line,
            code,
            redirect_uri: redirect_uri.unwrap_or_default(),
            code_verifier: text_of(fields, "code_verifier", VERIFIER_BYTES),
            nonce: text_of(fields, "nonce", NONCE_BYTES),
        }
    }
}

/// A text that must be there, of a length that it can have.
fn text_of(fields: &mut Fields, name: &str, bytes: std::ops::RangeInclusive<usize>) -> String {
    let text = fields.text(name);
    if !text.is_empty() && !bytes.contains(&text.len()) {
        fields.note(FieldProblem::new(name, "length_invalid", messages::LENGTH));
    }
    text
}

/// The page that a code was sent to: one of ours, never the caller's choice.
fn optional_redirect_uri(fields: &mut Fields, ours: &[String]) -> Option<String> {
    let uri = fields.optional_text("redirect_uri")?;
    if !ours.contains(&uri) {
        fields.note(FieldProblem::new(
            "redirect_uri",
            "redirect_uri_unknown",
            messages::REDIRECT_URI,
        ));
    }
    Some(uri)
}

fn now_secs() -> i64 {
    now_ms() / 1000
}

/// Verifies what was sent; an ID token is used up by it.
///
/// # Errors
/// `AUTH_INVALID`, `AUTH_EXPIRED`, or `SERVICE_UNAVAILABLE` if the provider does not answer.
pub(super) async fn prove(
    call: &Call,
    provider: Provider,
    sent: &Sent<'_>,
) -> Result<Proof, ApiError> {
    match sent {
        Sent::AccessToken { facebook, token } => {
            let user = user_of_token(facebook, token, now_secs()).await?;
            Ok(Proof {
                provider,
                subject: user.ok_or_else(ApiError::auth_invalid)?,
                name: None,
                refresh_token: None,
                used: None,
            })
        }
        Sent::IdToken {
            token,
            nonce,
            keys_url,
            audiences,
            algorithms,
        } => {
            let token = signed_by_provider(provider, token, keys_url, algorithms).await?;
            check(provider, &token, audiences, nonce)?;
            use_up(call, provider, &token).await
        }
        Sent::LineCode {
            line,
            code,
            redirect_uri,
            code_verifier,
            nonce,
        } => {
            let code = Code {
                code,
                redirect_uri: Some(redirect_uri),
            };
            let tokens = exchange_with_line(line, plausible(&code)?, code_verifier).await?;
            let tokens = tokens.ok_or_else(ApiError::auth_invalid)?;
            let token = IdToken::parse(&tokens.id_token)
                .filter(|token| token.is_signed_by(line.channel_secret.as_bytes()))
                .ok_or_else(ApiError::auth_invalid)?;
            check(provider, &token, &line.channel_ids, nonce)?;
            use_up(call, provider, &token).await
        }
        Sent::Apple(sent) => prove_by_apple(call, sent).await,
    }
}

/// Apple's ID token, and the refresh token for its code, sealed. The code comes first: while Apple is down nothing is used
/// up.
async fn prove_by_apple(call: &Call, sent: &SentByApple<'_>) -> Result<Proof, ApiError> {
    let (provider, apple) = (Provider::Apple, sent.apple);
    let algorithms = &[Algorithm::Rs256, Algorithm::Es256];
    let token = signed_by_provider(provider, &sent.token, &apple.keys_url, algorithms).await?;
    check(provider, &token, &apple.client_ids, &sent.nonce)?;
    let mut sealed = None;
    if let Some(code) = &sent.code {
        let code = Code {
            code,
            redirect_uri: sent.redirect_uri.as_deref(),
        };
        sealed = Some(refresh_token(apple, &token, plausible(&code)?).await?);
    }
    let proof = use_up(call, provider, &token).await?;
    Ok(Proof {
        // Apple's tokens hold no name; the client gets it once, when the person first agrees.
        name: sent.name.clone(),
        refresh_token: sealed,
        ..proof
    })
}

/// The refresh token for a code of the same person, sealed with the client that it is for.
async fn refresh_token(
    apple: &Apple,
    token: &IdToken,
    code: &Code<'_>,
) -> Result<String, ApiError> {
    let client_id = token.audience().unwrap_or_default();
    let tokens = exchange_with_apple(apple, client_id, code, now_secs()).await?;
    let Some(Tokens {
        id_token,
        refresh_token: Some(refresh_token),
    }) = tokens
    else {
        return Err(ApiError::auth_invalid());
    };
    // It came from Apple itself, so its signature need not be checked.
    let of_code = IdToken::parse(&id_token).ok_or_else(ApiError::auth_invalid)?;
    if of_code.subject() != token.subject() {
        return Err(ApiError::auth_invalid());
    }
    let [key, ..] = apple.token_keys.as_slice() else {
        return Err(ApiError::internal("no key for refresh tokens"));
    };
    seal(key, SEALED_FOR, &format!("{client_id} {refresh_token}")).await
}

fn plausible<'a, 'b>(code: &'b Code<'a>) -> Result<&'b Code<'a>, ApiError> {
    if code.is_plausible() {
        Ok(code)
    } else {
        Err(ApiError::auth_invalid())
    }
}

/// A token with the signature of one of the provider's public keys. Its algorithm is looked at before any key is.
async fn signed_by_provider(
    provider: Provider,
    token: &str,
    keys_url: &str,
    algorithms: &[Algorithm],
) -> Result<IdToken, ApiError> {
    let token = IdToken::parse(token)
        .filter(|token| algorithms.contains(&token.algorithm))
        .ok_or_else(ApiError::auth_invalid)?;
    let kid = token.kid.as_deref().ok_or_else(ApiError::auth_invalid)?;
    let key = find_key(provider, keys_url, kid).await?;
    let key = key.ok_or_else(ApiError::auth_invalid)?;
    if is_signed_by(&token, &key).await {
        Ok(token)
    } else {
        Err(ApiError::auth_invalid())
    }
}

/// Checks what a genuine token states.
fn check(
    provider: Provider,
    token: &IdToken,
    audiences: &[String],
    nonce: &str,
) -> Result<(), ApiError> {
    let rules = IdTokenRules {
        issuers: provider.issuers(),
        audiences,
        nonce,
        now_secs: now_secs(),
    };
    token.check(&rules).map_err(|refusal| match refusal {
        Refusal::Expired => ApiError::auth_expired(),
        Refusal::Invalid => ApiError::auth_invalid(),
    })
}

/// A checked token proves its person, once.
async fn use_up(call: &Call, provider: Provider, token: &IdToken) -> Result<Proof, ApiError> {
    let used = mark_used(&call.app, token).await?;
    Ok(Proof {
        provider,
        subject: token.subject().to_owned(),
        name: token.name().map(str::to_owned),
        refresh_token: None,
        used: Some(used.ok_or_else(ApiError::auth_invalid)?),
    })
}
