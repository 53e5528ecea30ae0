//! The addresses and keys of the system that `cargo xtask up` started.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Idle connections to the system are not used again after this. The local runtime closes them after 5 s without traffic,
/// and a call that is sent at that moment is lost.
pub const IDLE: Duration = Duration::from_secs(2);

/// Addresses and keys of the running system.
#[derive(Clone, Debug)]
pub struct System {
    /// The Worker, without `/api/v1`.
    pub api_url: String,
    /// The gateway in front of REST, Auth and Realtime.
    pub supabase_url: String,
    /// The public key that every REST call carries.
    pub anon_key: String,
    /// The database as a superuser.
    pub db_url: String,
    /// The inbox that shows the SMS.
    pub inbox_url: String,
    /// The key that signs tokens.
    pub jwt_secret: String,
}

/// The root directory of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

impl System {
    /// Reads `.local/env`; the process environment overrides each name.
    ///
    /// # Errors
    /// Names the missing setting, when the system has not been started.
    pub fn load() -> Result<Self, String> {
        let file = std::fs::read_to_string(root().join(".local/env")).unwrap_or_default();
        let written: HashMap<&str, &str> = file
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let value = |name: &str| {
            std::env::var(name)
                .ok()
                .or_else(|| written.get(name).map(ToString::to_string))
                .ok_or_else(|| {
                    format!("{name} is unknown: start the system with `cargo xtask up` first")
                })
        };
        Ok(Self {
            api_url: value("API_URL")?,
            supabase_url: value("SUPABASE_URL")?,
            anon_key: value("ANON_KEY")?,
            db_url: value("DB_URL")?,
            inbox_url: value("INBOX_URL")?,
            jwt_secret: value("JWT_SECRET")?,
        })
    }
}
