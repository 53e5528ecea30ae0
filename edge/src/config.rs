//! The environment, checked once: an isolate with settings that cannot be right serves nothing, and
//! production refuses what belongs to a laptop.

mod reader;
mod social;

use base64::{Engine, engine::general_purpose::STANDARD};
use carbon_domain::phone;

use crate::crypto::bytes::unhex;
use crate::crypto::otp_id::OtpKeys;
use crate::crypto::webhook;
use reader::Reader;

pub use reader::Environment;
pub use social::{Apple, Facebook, Line, Provider, Social};

pub enum SmsProvider {
    /// The local inbox shows what would have been sent; the URL is its address.
    Inbox(String),
    /// ThaiBulkSMS, on behalf of this account.
    ThaiBulkSms(ThaiBulkSms),
}

pub struct ThaiBulkSms {
    /// The provider's address, without a slash at the end.
    pub url: String,
    /// Key and secret, as the value of `Authorization`.
    pub authorization: String,
    pub sender: String,
}

impl ThaiBulkSms {
    fn new(url: String, key: &str, secret: &str, sender: String) -> Self {
        let authorization = format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")));
        Self {
            url,
            authorization,
            sender,
        }
    }
}

/// Which browser origins may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Any page served from this machine.
    Loopback,
    /// These, exactly.
    List(Vec<String>),
}

pub struct Config {
    pub environment: Environment,
    /// The gateway, without a slash at the end.
    pub supabase_url: String,
    /// The key for calls without a user.
    pub anon_key: String,
    /// The key that access tokens are signed with.
    pub jwt_secret: String,
    /// The `iss` of access tokens.
    pub jwt_issuer: String,
    /// Proves to the gateway that a call comes from the Worker.
    pub edge_secret: String,
    /// Proves to the gateway that the address a call is made for is stated by the Worker; it opens nothing.
    pub edge_address_secret: String,
    /// Keys of the SMS hook; two during a rotation.
    pub hook_keys: Vec<Vec<u8>>,
    /// Keys of sign-in codes and of the names of objects.
    pub otp_keys: OtpKeys,
    pub sms: SmsProvider,
    pub origins: Origins,
    /// The web app, without a slash at the end: links that users pass on begin with it.
    pub app_url: String,
    /// Rates, the bot check and message budgets are lifted: for load tests on a developer's machine.
    pub no_limits: bool,
    /// Messages a day for the entire service.
    pub sms_budget_per_day: u32,
    /// The service of the bot check; without one it cannot be passed.
    pub turnstile: Option<Turnstile>,
    /// The service that names are shown to besides the database's own lists; without one those alone decide.
    pub moderation: Option<Moderation>,
    /// The number that gets no messages and has a fixed code.
    pub test_number: Option<TestNumber>,
    /// Who may send operator's commands, one token each, two while theirs is being replaced; without operators there
    /// are none.
    pub operators: Option<Vec<OperatorToken>>,
    /// The key of the service itself: for what no user may call in the database and in Auth.
    pub service_role_key: String,
    /// The providers of social sign-in.
    pub social: Social,
    /// The token for reading the metrics.
    pub metrics_token: String,
}

pub struct Turnstile {
    pub secret: String,
    /// The address of siteverify.
    pub url: String,
}

/// An operator's moderation service.
pub struct Moderation {
    /// Takes texts by POST: docs/how-to/keep-the-word-list.md.
    pub url: String,
    /// Its bearer token.
    pub key: String,
}

/// A number for reviewers and tests.
pub struct TestNumber {
    /// E.164.
    pub phone: String,
    /// Its code, six digits.
    pub code: String,
}

/// An operator's token: its owner and its SHA-256, so that reading the settings grants nothing.
pub struct OperatorToken {
    /// The operator, as the audit log names them.
    pub name: String,
    pub digest: [u8; 32],
}

/// Tokens of one operator that are valid at once: the old one and the new one.
const TOKENS_OF_ONE: usize = 2;
/// Characters of an operator's name.
const MAX_OPERATOR_NAME: usize = 40;
/// Keys of codes that are valid at once: the new one and the old one.
const CODE_KEYS: usize = 2;

/// Where ThaiBulkSMS takes messages unless a local run says otherwise.
const THAIBULKSMS_URL: &str = "https://api-v2.thaibulksms.com";
/// Where the bot check is verified unless a local run says otherwise.
const TURNSTILE_URL: &str = "https://challenges.cloudflare.com/turnstile/v0/siteverify";
/// Messages a day for the entire service unless a setting says otherwise: enough for the sign-ins of
/// some ten thousand active users, and a flood costs no more than that.
const SMS_BUDGET_PER_DAY: u32 = 2_000;

/// The web app of a local run.
const LOCAL_APP_URL: &str = "http://localhost:3000";

impl Config {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// One sentence for each setting that cannot be used; no value of a secret is in it.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut reader = Reader::new(&get);
        let environment = reader.environment();
        let supabase_url = reader.url("SUPABASE_URL", environment);
        let jwt_secret = reader.secret("JWT_SECRET", environment);
        let issuer = reader.optional("JWT_ISSUER");
        let names_secret = reader.secret("NAMES_SECRET", environment);
        let code_secrets = reader.secrets("CODE_SECRET", CODE_KEYS, environment);
        let config = Self {
            environment,
            jwt_issuer: issuer.unwrap_or_else(|| format!("{supabase_url}/auth/v1")),
            otp_keys: OtpKeys::new(&names_secret, &code_secrets),
            anon_key: reader.required("ANON_KEY"),
            edge_secret: reader.secret("EDGE_SECRET", environment),
            edge_address_secret: reader.secret("EDGE_ADDRESS_SECRET", environment),
            hook_keys: reader.hook_keys(),
            sms: reader.sms(environment),
            origins: reader.origins(environment),
            app_url: reader.app_url(environment),
            no_limits: reader.no_limits(environment),
            sms_budget_per_day: reader.sms_budget(),
            turnstile: reader.turnstile(environment),
            moderation: reader.moderation(environment),
            test_number: reader.test_number(environment),
            operators: reader.operators(environment),
            service_role_key: reader.required("SERVICE_ROLE_KEY"),
            social: reader.social(environment),
            metrics_token: reader.secret("METRICS_TOKEN", environment),
            supabase_url,
            jwt_secret,
        };
        if reader.problems.is_empty() {
            Ok(config)
        } else {
            Err(reader.problems.join("; "))
        }
    }
}

impl Reader<'_> {
    fn app_url(&mut self, environment: Environment) -> String {
        if environment == Environment::Local && self.optional("APP_URL").is_none() {
            return LOCAL_APP_URL.to_owned();
        }
        self.url("APP_URL", environment)
    }

    fn no_limits(&mut self, environment: Environment) -> bool {
        match self.optional("NO_LIMITS").as_deref() {
            None | Some("false") => false,
            Some("true") if environment == Environment::Local => true,
            _ => {
                self.problem("NO_LIMITS", "is for local use only (true or false)");
                false
            }
        }
    }

    fn sms_budget(&mut self) -> u32 {
        let Some(text) = self.optional("SMS_BUDGET_PER_DAY") else {
            return SMS_BUDGET_PER_DAY;
        };
        let budget = text.parse().ok().filter(|budget| *budget <= 10_000_000);
        budget.unwrap_or_else(|| {
            self.problem("SMS_BUDGET_PER_DAY", "must be a number of messages");
            0
        })
    }

    fn turnstile(&mut self, environment: Environment) -> Option<Turnstile> {
        let Some(secret) = self.optional("TURNSTILE_SECRET") else {
            // Without it an owner behind a carrier's shared address is blocked by codes that others there requested.
            if environment == Environment::Production {
                self.problem("TURNSTILE_SECRET", "is missing");
            }
            return None;
        };
        let url = match self.optional("TURNSTILE_URL") {
            Some(url) if environment == Environment::Local => url,
            Some(_) => {
                self.problem("TURNSTILE_URL", "is for local use only");
                String::new()
            }
            None => TURNSTILE_URL.to_owned(),
        };
        Some(Turnstile { secret, url })
    }

    fn moderation(&mut self, environment: Environment) -> Option<Moderation> {
        self.optional("MODERATION_URL")?;
        Some(Moderation {
            url: self.url("MODERATION_URL", environment),
            key: self.required("MODERATION_KEY"),
        })
    }

    fn test_number(&mut self, environment: Environment) -> Option<TestNumber> {
        let typed = self.optional("TEST_PHONE")?;
        let allowed = self.optional("ALLOW_TEST_PHONE").as_deref() == Some(&typed);
        if environment == Environment::Production && !allowed {
            self.problem("TEST_PHONE", "needs ALLOW_TEST_PHONE with the same number");
        }
        let code = self.required("TEST_CODE");
        if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            self.problem("TEST_CODE", "must have six digits");
        }
        match phone::normalize(&typed, None) {
            Ok(phone) => Some(TestNumber {
                phone: phone.e164().to_owned(),
                code,
            }),
            Err(_) => {
                self.problem("TEST_PHONE", "must be a Thai mobile number");
                None
            }
        }
    }

    /// `name:digest,name:digest`; the digest is the SHA-256 of the token in hexadecimal digits.
    fn operators(&mut self, environment: Environment) -> Option<Vec<OperatorToken>> {
        let list = self.optional("OPERATOR_TOKENS")?;
        let mut tokens: Vec<OperatorToken> = Vec::new();
        for entry in list.split(',') {
            let Some(token) = operator_token(entry.trim()) else {
                self.problem(
                    "OPERATOR_TOKENS",
                    "must list name:sha256 pairs (names of a-z, 0-9, . - _)",
                );
                continue;
            };
            if environment == Environment::Production && token.name.starts_with("local") {
                self.problem("OPERATOR_TOKENS", "holds a token made for local use");
            }
            tokens.push(token);
            let name = &tokens[tokens.len() - 1].name;
            let of_one = tokens.iter().filter(|other| other.name == *name).count();
            if of_one > TOKENS_OF_ONE {
                self.problem("OPERATOR_TOKENS", "holds more than two tokens of one name");
            }
        }
        Some(tokens)
    }

    fn hook_keys(&mut self) -> Vec<Vec<u8>> {
        let secrets = self.required("HOOK_SECRET");
        // Auth separates several secrets by "|"; the keys themselves are Base64 and hold none.
        let keys: Option<Vec<_>> = secrets.split('|').map(webhook::key_from_secret).collect();
        match keys {
            Some(keys) if keys.iter().all(|key| key.len() >= 24) => keys,
            _ => {
                self.problem(
                    "HOOK_SECRET",
                    "must be v1,whsec_ and the Base64 of 24 bytes or more",
                );
                Vec::new()
            }
        }
    }

    fn sms(&mut self, environment: Environment) -> SmsProvider {
        match self.required("SMS_PROVIDER").as_str() {
            "inbox" if environment == Environment::Local => {
                SmsProvider::Inbox(self.url("INBOX_URL", environment))
            }
            "inbox" => {
                self.problem("SMS_PROVIDER", "inbox is for local use only");
                SmsProvider::Inbox(String::new())
            }
            "thaibulksms" => SmsProvider::ThaiBulkSms(self.thaibulksms(environment)),
            _ => {
                self.problem("SMS_PROVIDER", "names no provider there is");
                SmsProvider::Inbox(String::new())
            }
        }
    }

    fn thaibulksms(&mut self, environment: Environment) -> ThaiBulkSms {
        let key = self.required("THAIBULKSMS_KEY");
        let secret = self.required("THAIBULKSMS_SECRET");
        let sender = self.required("SMS_SENDER");
        if !sender.is_empty() && !is_sender(&sender) {
            self.problem("SMS_SENDER", "has 4 to 11 letters, digits and . - _");
        }
        let url = match self.optional("SMS_URL") {
            None => THAIBULKSMS_URL.to_owned(),
            Some(_) if environment == Environment::Local => self.url("SMS_URL", environment),
            Some(_) => {
                self.problem("SMS_URL", "is for local use only");
                String::new()
            }
        };
        ThaiBulkSms::new(url, &key, &secret, sender)
    }

    fn origins(&mut self, environment: Environment) -> Origins {
        let Some(list) = self.optional("ALLOWED_ORIGINS") else {
            if environment == Environment::Production {
                self.problem("ALLOWED_ORIGINS", "is missing");
            }
            return Origins::Loopback;
        };
        let origins: Vec<String> = list
            .split(',')
            .map(|origin| origin.trim().to_owned())
            .collect();
        if !origins
            .iter()
            .all(|origin| is_listable(origin, environment))
        {
            self.problem(
                "ALLOWED_ORIGINS",
                "must list origins like https://app.example or capacitor://localhost",
            );
        }
        Origins::List(origins)
    }
}

impl Origins {
    /// Whether a page of this origin may read answers.
    pub fn allow(&self, origin: &str) -> bool {
        match self {
            Self::List(origins) => origins.iter().any(|allowed| allowed == origin),
            Self::Loopback => ["http://localhost", "http://127.0.0.1", "http://[::1]"]
                .iter()
                .filter_map(|host| origin.strip_prefix(host))
                .any(|rest| rest.is_empty() || is_port(rest)),
        }
    }
}

/// Schemes that are not an app's own: pages from a disk, pages that name no host, and what is no page at all.
const SCHEMES_OF_NO_APP: [&str; 8] = [
    "ws",
    "wss",
    "ftp",
    "file",
    "data",
    "blob",
    "about",
    "javascript",
];

/// Whether an origin may stand in the list: a scheme and a host, and nothing after it. Wrapped web apps have schemes
/// of their own (`capacitor://localhost`, `ionic://localhost`, `tauri://localhost`); plain http is for local use.
fn is_listable(origin: &str, environment: Environment) -> bool {
    let Some((scheme, host)) = origin.split_once("://") else {
        return false;
    };
    let named = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+.-".contains(&c);
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(named)
        && !SCHEMES_OF_NO_APP.contains(&scheme);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_host = !name.is_empty()
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_[]:".contains(&c));
    is_scheme
        && is_host
        && port.is_none_or(|port| is_port(&format!(":{port}")))
        && (scheme != "http" || environment == Environment::Local)
}

/// A name and the 64 hexadecimal digits of a SHA-256.
fn operator_token(entry: &str) -> Option<OperatorToken> {
    let (name, digest) = entry.split_once(':')?;
    let is_name = (1..=MAX_OPERATOR_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c));
    let digest = unhex(digest).filter(|_| is_name)?;
    Some(OperatorToken {
        name: name.to_owned(),
        digest: digest.try_into().ok()?,
    })
}

/// Whether ThaiBulkSMS accepts it as a sender name.
fn is_sender(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (4..=11).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| {
        (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "config/social_tests.rs"]
mod social_tests;
