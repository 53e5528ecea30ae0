//! The settings of social sign-in: one group for each provider, each of which may be absent.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::reader::{Environment, Reader};

/// Who vouches for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Line,
    Facebook,
    Google,
    Apple,
}

impl Provider {
    pub const ALL: [Self; 4] = [Self::Line, Self::Facebook, Self::Google, Self::Apple];

    /// The name in paths, in the database, in metrics and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Facebook => "facebook",
            Self::Google => "google",
            Self::Apple => "apple",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
    }

    /// What `iss` of an ID token may be.
    pub fn issuers(self) -> &'static [&'static str] {
        match self {
            Self::Line => &["https://access.line.me"],
            // Limited Login's documentation moved to the second one.
            Self::Facebook => &["https://www.facebook.com", "https://limited.facebook.com"],
            Self::Google => &["https://accounts.google.com", "accounts.google.com"],
            Self::Apple => &["https://appleid.apple.com"],
        }
    }
}

/// What is configured.
pub struct Social {
    pub line: Option<Line>,
    pub facebook: Option<Facebook>,
    pub google: Option<Google>,
    pub apple: Option<Apple>,
}

pub struct Line {
    /// The audience of ID tokens; one, for the code flow needs to know which.
    pub channel_ids: Vec<String>,
    /// Also the key of ID tokens that LINE hands out for a code.
    pub channel_secret: String,
    /// The pages that LINE may send a code to.
    pub redirect_uris: Vec<String>,
    pub keys_url: String,
    pub token_url: String,
}

impl Line {
    /// The channel of the code flow.
    pub fn channel_id(&self) -> &str {
        self.channel_ids.first().map_or("", String::as_str)
    }
}

pub struct Facebook {
    /// The audience of ID tokens, and the app that access tokens must belong to.
    pub app_ids: Vec<String>,
    pub app_secret: String,
    pub keys_url: String,
    pub debug_token_url: String,
}

impl Facebook {
    pub fn app_id(&self) -> &str {
        self.app_ids.first().map_or("", String::as_str)
    }
}

pub struct Google {
    /// One for each platform.
    pub client_ids: Vec<String>,
    pub keys_url: String,
}

pub struct Apple {
    /// The bundle id of the iOS app, and the Services ID of Android and the web.
    pub client_ids: Vec<String>,
    /// The pages that Apple may send a code to, where the client is not the iOS app.
    pub redirect_uris: Vec<String>,
    pub team_id: String,
    pub key_id: String,
    /// The key of the team's requests: PKCS#8, P-256.
    pub private_key: Vec<u8>,
    /// Keys of AES-256 for stored refresh tokens, the newest first.
    pub token_keys: Vec<[u8; 32]>,
    pub keys_url: String,
    pub token_url: String,
    pub revoke_url: String,
}

/// Keys of stored refresh tokens that are valid at once: the new one and the old one.
const TOKEN_KEYS: usize = 2;
/// Ids of clients that were made for a developer's machine begin with this.
const LOCAL_ID: &str = "local";

impl Reader<'_> {
    pub(super) fn social(&mut self, environment: Environment) -> Social {
        let base = match self.optional("PROVIDERS_URL") {
            Some(_) if environment == Environment::Production => {
                self.problem("PROVIDERS_URL", "is for local use only");
                None
            }
            base => base,
        };
        let address = |path: &str, real: &str| match &base {
            Some(base) => format!("{}/{path}", base.trim_end_matches('/')),
            None => real.to_owned(),
        };
        Social {
            line: self.line(environment, &address),
            facebook: self.facebook(environment, &address),
            google: self.google(environment, &address),
            apple: self.apple(environment, &address),
        }
    }

    fn line(
        &mut self,
        environment: Environment,
        address: &impl Fn(&str, &str) -> String,
    ) -> Option<Line> {
        let channel_ids = self.client_ids("LINE_CHANNEL_ID", 1, environment)?;
        Some(Line {
            channel_ids,
            channel_secret: self.secret("LINE_CHANNEL_SECRET", environment),
            redirect_uris: self.redirect_uris("LINE_REDIRECT_URIS", environment),
            keys_url: address("line/keys", "https://api.line.me/oauth2/v2.1/certs"),
            token_url: address("line/token", "https://api.line.me/oauth2/v2.1/token"),
        })
    }

    fn facebook(
        &mut self,
        environment: Environment,
        address: &impl Fn(&str, &str) -> String,
    ) -> Option<Facebook> {
        let app_ids = self.client_ids("FACEBOOK_APP_ID", 1, environment)?;
        Some(Facebook {
            app_ids,
            app_secret: self.secret("FACEBOOK_APP_SECRET", environment),
            keys_url: address(
                "facebook/keys",
                "https://limited.facebook.com/.well-known/oauth/openid/jwks/",
            ),
            debug_token_url: address(
                "facebook/debug_token",
                "https://graph.facebook.com/debug_token",
            ),
        })
    }

    fn google(
        &mut self,
        environment: Environment,
        address: &impl Fn(&str, &str) -> String,
    ) -> Option<Google> {
        Some(Google {
            client_ids: self.client_ids("GOOGLE_CLIENT_IDS", usize::MAX, environment)?,
            keys_url: address("google/keys", "https://www.googleapis.com/oauth2/v3/certs"),
        })
    }

    fn apple(
        &mut self,
        environment: Environment,
        address: &impl Fn(&str, &str) -> String,
    ) -> Option<Apple> {
        let client_ids = self.client_ids("APPLE_CLIENT_IDS", usize::MAX, environment)?;
        let secrets = self.secrets("APPLE_TOKEN_SECRET", TOKEN_KEYS, environment);
        let token_key = |secret: &String| Sha256::digest(secret.as_bytes()).into();
        Some(Apple {
            client_ids,
            redirect_uris: self.redirect_uris("APPLE_REDIRECT_URIS", environment),
            team_id: self.required("APPLE_TEAM_ID"),
            key_id: self.required("APPLE_KEY_ID"),
            private_key: self.private_key("APPLE_PRIVATE_KEY"),
            token_keys: secrets.iter().map(token_key).collect(),
            keys_url: address("apple/keys", "https://appleid.apple.com/auth/keys"),
            token_url: address("apple/token", "https://appleid.apple.com/auth/token"),
            revoke_url: address("apple/revoke", "https://appleid.apple.com/auth/revoke"),
        })
    }

    /// Ids with commas between them; `None` if the provider is not configured.
    fn client_ids(
        &mut self,
        name: &str,
        max: usize,
        environment: Environment,
    ) -> Option<Vec<String>> {
        let ids = list(&self.optional(name)?);
        if ids.is_empty() || ids.len() > max {
            self.problem(name, "holds too few or too many ids");
        }
        let is_local = |id: &String| id.starts_with(LOCAL_ID);
        if environment == Environment::Production && ids.iter().any(is_local) {
            self.problem(name, "was made for local use");
        }
        Some(ids)
    }

    /// Addresses with commas between them; none if the setting is missing.
    fn redirect_uris(&mut self, name: &str, environment: Environment) -> Vec<String> {
        let uris = list(&self.optional(name).unwrap_or_default());
        let is_fit = |uri: &String| {
            uri.starts_with("https://")
                || environment == Environment::Local && uri.starts_with("http://")
        };
        if !uris.iter().all(is_fit) {
            self.problem(name, "must list https addresses");
        }
        uris
    }

    /// A private key as PEM, or as what stands between its first and its last line.
    fn private_key(&mut self, name: &str) -> Vec<u8> {
        let text = self.required(name);
        let lines = text.split(['\n', '\r']).map(str::trim);
        let base64: String = lines.filter(|line| !line.starts_with("-----")).collect();
        match STANDARD.decode(base64) {
            Ok(key) if !key.is_empty() => key,
            _ => {
                self.problem(name, "must be the PEM of a PKCS#8 key");
                Vec::new()
            }
        }
    }
}

fn list(text: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}
