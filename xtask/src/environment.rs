//! Ports, secrets and the file `.local/env` for tests, tools and developers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::checkout::Checkout;
use crate::providers;
use crate::stamp;

/// Lifetime of the two key tokens of a checkout: ten years, in seconds.
const KEY_LIFETIME_SECS: u64 = 10 * 365 * 24 * 3600;

/// Prefix of secrets that were generated for one machine.
const LOCAL: &str = "local-";

/// The loopback ports of one checkout; each can be set by its environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    pub api: u16,
    pub supabase: u16,
    pub db: u16,
    pub rest: u16,
    pub auth: u16,
    pub inbox: u16,
    pub realtime: u16,
}

/// Variable names and defaults, in the order of the fields of `Ports`.
const PORT_VARIABLES: [(&str, u16); 7] = [
    ("PORT_API", 8787),
    ("PORT_SUPABASE", 54321),
    ("PORT_DB", 54322),
    ("PORT_REST", 54323),
    ("PORT_AUTH", 54324),
    ("PORT_INBOX", 54325),
    ("PORT_REALTIME", 54326),
];

/// Offset of PostgREST's health port from its API port.
const REST_ADMIN_DISTANCE: u16 = 5_000;

impl Ports {
    /// PostgREST's health port. Computed, so that checkouts with their own ports need not set it
    /// separately.
    pub fn rest_admin(&self) -> u16 {
        match self.rest.checked_add(REST_ADMIN_DISTANCE) {
            Some(port) => port,
            None => self.rest - REST_ADMIN_DISTANCE,
        }
    }

    /// Environment first, then the ports this checkout runs on, then the defaults.
    pub fn choose(running: Option<&BTreeMap<String, String>>) -> Result<Self> {
        Self::from_values(|name| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.is_empty())
                .or_else(|| running.and_then(|env| env.get(name).cloned()))
        })
    }

    /// The ports that a running system was started on, regardless of the environment now.
    pub fn of_running(written: &BTreeMap<String, String>) -> Result<Self> {
        Self::from_values(|name| written.get(name).cloned())
    }

    fn from_values(value: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut ports = [0; 7];
        for (port, (name, default)) in ports.iter_mut().zip(PORT_VARIABLES) {
            *port = match value(name) {
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|port| *port > 0)
                    .with_context(|| format!("{name}={text}: a port is a number 1..65535"))?,
                None => default,
            };
        }
        let [api, supabase, db, rest, auth, inbox, realtime] = ports;
        Ok(Self {
            api,
            supabase,
            db,
            rest,
            auth,
            inbox,
            realtime,
        })
    }
}

/// Secrets of one checkout, made once and stored in `.local/secrets` (mode 0600).
#[derive(Clone, Debug)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Reads the checkout's secrets and generates missing ones.
    pub fn load_or_make(checkout: &Checkout) -> Result<Self> {
        let file = checkout.local.join("secrets");
        let mut secrets = Self(read_env(&file).unwrap_or_default());
        let known = secrets.0.len();
        secrets.complete()?;
        if secrets.0.len() != known {
            write_private(&file, &lines(&secrets.0))?;
        }
        Ok(secrets)
    }

    fn complete(&mut self) -> Result<()> {
        self.make("JWT_SECRET", local_secret)?;
        self.make("EDGE_SECRET", local_secret)?;
        self.make("EDGE_ADDRESS_SECRET", local_secret)?;
        self.make("METRICS_TOKEN", local_secret)?;
        self.make("OPERATOR_TOKEN", local_secret)?;
        // For names of Durable Objects and codes: token signing keys can be replaced without changing
        // these.
        self.make("NAMES_SECRET", local_secret)?;
        self.make("CODE_SECRET", local_secret)?;
        // Of social sign-in: what the Worker shares with the local issuers, and the keys of both.
        for name in [
            "LINE_CHANNEL_SECRET",
            "FACEBOOK_APP_SECRET",
            "APPLE_TOKEN_SECRET",
        ] {
            self.make(name, local_secret)?;
        }
        self.make("APPLE_PRIVATE_KEY", || {
            providers::new_key("ec", "{ namedCurve: 'P-256' }")
        })?;
        self.make("PROVIDERS_RSA_KEY", || {
            providers::new_key("rsa", "{ modulusLength: 2048 }")
        })?;
        self.make("HOOK_SECRET", || {
            Ok(format!("v1,whsec_{}", STANDARD.encode(random()?)))
        })?;
        for (name, prefix) in [
            ("PUBLISHABLE_KEY", "sb_publishable_"),
            ("SECRET_KEY", "sb_secret_"),
        ] {
            self.make(name, || {
                Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random()?)))
            })?;
        }
        for role in ["SUPERUSER", "POSTGRES", "AUTHENTICATOR", "AUTH"] {
            // Hexadecimal: these are part of connection URLs, where other characters need escapes.
            self.make(&format!("DB_PASSWORD_{role}"), || {
                Ok(stamp::hex(&random()?[..16]))
            })?;
        }
        let jwt_secret = self.get("JWT_SECRET")?.to_owned();
        self.make("ANON_KEY", || key_token("anon", &jwt_secret))?;
        self.make("SERVICE_ROLE_KEY", || {
            key_token("service_role", &jwt_secret)
        })
    }

    fn make(&mut self, name: &str, value: impl FnOnce() -> Result<String>) -> Result<()> {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), value()?);
        }
        Ok(())
    }

    /// All of them, for checks that none is exposed.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// A secret by its name.
    pub fn get(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!(".local/secrets has no {name}"))
    }
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

/// A secret of this machine; a production setting recognises and refuses it by its prefix.
fn local_secret() -> Result<String> {
    Ok(format!("{LOCAL}{}", URL_SAFE_NO_PAD.encode(random()?)))
}

/// The long-lived HS256 token for a database role, like Supabase's API keys.
fn key_token(role: &str, secret: &str) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "role": role, "iss": "supabase", "iat": now, "exp": now + KEY_LIFETIME_SECS,
    });
    Ok(carbon_dev_jwt::sign(secret, &claims))
}

/// All settings of the parts of the system.
#[derive(Clone, Debug)]
pub struct Environment {
    pub ports: Ports,
    pub secrets: Secrets,
    /// Whether the Worker's limits are off, for load tests.
    pub no_limits: bool,
    /// The address of an external Realtime server, from `REALTIME_URL`.
    pub other_realtime: Option<String>,
}

impl Environment {
    /// `http://127.0.0.1:port`, the form of every address here.
    pub fn http(port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }

    /// The address of Realtime for the gateway.
    pub fn realtime_url(&self) -> String {
        let own = || Self::http(self.ports.realtime);
        self.other_realtime.clone().unwrap_or_else(own)
    }

    /// The operators that the Worker accepts: one, with the token of `.local/env`.
    pub fn operator_tokens(&self) -> Result<String> {
        let token = self.secrets.get("OPERATOR_TOKEN")?;
        Ok(format!(
            "local:{}",
            stamp::hex(&stamp::digest(token.as_bytes()))
        ))
    }

    /// Settings of social sign-in that the Worker and the local issuers share.
    fn providers(&self) -> Result<Vec<(String, String)>> {
        let clients = providers::CLIENTS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut settings = Vec::from(clients);
        for name in providers::SHARED_SECRETS {
            settings.push((name.to_owned(), self.secrets.get(name)?.to_owned()));
        }
        Ok(settings)
    }

    /// The Worker's settings of social sign-in.
    pub fn providers_of_worker(&self) -> Result<Vec<(String, String)>> {
        let mut settings = self.providers()?;
        let url = format!("{}/providers", Self::http(self.ports.inbox));
        settings.push(("PROVIDERS_URL".to_owned(), url));
        let name = "APPLE_TOKEN_SECRET";
        settings.push((name.to_owned(), self.secrets.get(name)?.to_owned()));
        Ok(settings)
    }

    /// The settings of the local issuers.
    pub fn providers_of_inbox(&self) -> Result<Vec<(String, String)>> {
        let mut settings = self.providers()?;
        let name = "PROVIDERS_RSA_KEY";
        settings.push((name.to_owned(), self.secrets.get(name)?.to_owned()));
        Ok(settings)
    }

    /// A connection URL for one of the roles with a password.
    pub fn db_url(&self, role: &str) -> Result<String> {
        let password = match role {
            "supabase_admin" => "DB_PASSWORD_SUPERUSER",
            "postgres" => "DB_PASSWORD_POSTGRES",
            "authenticator" => "DB_PASSWORD_AUTHENTICATOR",
            _ => "DB_PASSWORD_AUTH",
        };
        Ok(format!(
            "postgres://{role}:{}@127.0.0.1:{}/postgres",
            self.secrets.get(password)?,
            self.ports.db
        ))
    }

    /// The lines of `.local/env`.
    pub fn published(&self) -> Result<BTreeMap<String, String>> {
        let Ports {
            api,
            supabase,
            db,
            rest,
            auth,
            inbox,
            realtime,
        } = self.ports;
        let mut env = BTreeMap::from([
            ("API_URL".to_owned(), Self::http(api)),
            ("SUPABASE_URL".to_owned(), Self::http(supabase)),
            ("REST_URL".to_owned(), Self::http(rest)),
            ("AUTH_URL".to_owned(), Self::http(auth)),
            ("INBOX_URL".to_owned(), Self::http(inbox)),
            ("REALTIME_URL".to_owned(), self.realtime_url()),
            ("DB_URL".to_owned(), self.db_url("supabase_admin")?),
            ("ENVIRONMENT".to_owned(), "local".to_owned()),
            ("NO_LIMITS".to_owned(), self.no_limits.to_string()),
        ]);
        for ((name, _), port) in PORT_VARIABLES
            .iter()
            .zip([api, supabase, db, rest, auth, inbox, realtime])
        {
            env.insert((*name).to_owned(), port.to_string());
        }
        for name in [
            "ANON_KEY",
            "SERVICE_ROLE_KEY",
            "PUBLISHABLE_KEY",
            "SECRET_KEY",
            "JWT_SECRET",
            "NAMES_SECRET",
            "CODE_SECRET",
            "EDGE_SECRET",
            "EDGE_ADDRESS_SECRET",
            "HOOK_SECRET",
            "METRICS_TOKEN",
            "OPERATOR_TOKEN",
        ] {
            env.insert(name.to_owned(), self.secrets.get(name)?.to_owned());
        }
        env.extend(self.providers_of_worker()?);
        Ok(env)
    }

    /// Writes `.local/env`, readable by its owner only.
    pub fn write(&self, checkout: &Checkout) -> Result<()> {
        write_private(&checkout.local.join("env"), &lines(&self.published()?))
    }
}

/// Reads a file of KEY=VALUE lines; none if it is not there.
pub fn read_env(file: &Path) -> Option<BTreeMap<String, String>> {
    let text = fs::read_to_string(file).ok()?;
    Some(
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

fn lines(env: &BTreeMap<String, String>) -> String {
    env.iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect()
}

/// Creates a directory that only its owner may enter, or restricts an existing one.
pub fn private_folder(folder: &Path) -> Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
        }
        made => made,
    }
    .with_context(|| folder.display().to_string())
}

/// Writes a file that only its owner may read, replacing an old one atomically.
pub fn write_private(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = file.with_extension("new");
    let _ = fs::remove_file(&new);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?
        .write_all(text.as_bytes())?;
    fs::rename(&new, file).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_comes_from_the_variable_of_its_name_or_the_default() -> Result<()> {
        let ports = Ports::from_values(|name| (name == "PORT_DB").then(|| "6000".to_owned()))?;
        assert_eq!((ports.api, ports.db), (8787, 6000));
        Ok(())
    }

    #[test]
    fn the_port_for_health_checks_moves_with_the_other() -> Result<()> {
        for (rest, admin) in [("20104", 25_104), ("60000", 65_000), ("65535", 60_535)] {
            let ports = Ports::from_values(|name| (name == "PORT_REST").then(|| rest.to_owned()))?;
            assert_eq!(ports.rest_admin(), admin);
        }
        Ok(())
    }

    #[test]
    fn a_port_that_is_none_is_refused_by_name() {
        for bad in ["0", "70000", "web"] {
            let error = Ports::from_values(|name| (name == "PORT_API").then(|| bad.to_owned()))
                .expect_err("the port is refused");
            assert!(error.to_string().contains("PORT_API"), "{error}");
        }
    }

    #[test]
    fn secrets_are_complete_and_kept() -> Result<()> {
        let mut secrets = Secrets(BTreeMap::new());
        secrets.complete()?;
        let first = secrets.clone();
        secrets.complete()?;
        assert_eq!(first.0, secrets.0);
        let claims = secrets.get("ANON_KEY")?.split('.').nth(1).unwrap_or("");
        let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
        assert_eq!(claims["role"], "anon");
        for name in ["JWT_SECRET", "NAMES_SECRET", "CODE_SECRET"] {
            assert!(secrets.get(name)?.starts_with("local-"), "{name}");
        }
        assert_ne!(secrets.get("NAMES_SECRET")?, secrets.get("CODE_SECRET")?);
        assert!(secrets.get("HOOK_SECRET")?.starts_with("v1,whsec_"));
        Ok(())
    }
}
