//! The local issuers of social sign-in, in place of LINE, Facebook, Google and Apple: ids, secrets and keys of a checkout,
//! which the Worker and the issuers (part of the inbox) share.

use anyhow::{Result, ensure};

use crate::process::command;

/// Ids of our clients at the issuers, and the pages that codes may be sent to. Production refuses the ids by their
/// beginning.
pub const CLIENTS: [(&str, &str); 8] = [
    ("LINE_CHANNEL_ID", "local-line-channel"),
    ("LINE_REDIRECT_URIS", "http://localhost:8787/sign-in/line"),
    ("FACEBOOK_APP_ID", "local-facebook-app"),
    ("GOOGLE_CLIENT_IDS", "local-google-web,local-google-android"),
    (
        "APPLE_CLIENT_IDS",
        "local.carbonpixels.app,local.carbonpixels.web",
    ),
    ("APPLE_REDIRECT_URIS", "http://localhost:8787/sign-in/apple"),
    ("APPLE_TEAM_ID", "LOCALTEAM1"),
    ("APPLE_KEY_ID", "LOCALKEY01"),
];

/// Secrets that both sides have.
pub const SHARED_SECRETS: [&str; 3] = [
    "LINE_CHANNEL_SECRET",
    "FACEBOOK_APP_SECRET",
    "APPLE_PRIVATE_KEY",
];

/// A new private key, PKCS#8 in Base64; `kind` and `options` are those of Node's `generateKeyPairSync`.
pub fn new_key(kind: &str, options: &str) -> Result<String> {
    let script = format!(
        "const {{ privateKey }} = require('node:crypto').generateKeyPairSync('{kind}', {options}); \
         process.stdout.write(privateKey.export({{ type: 'pkcs8', format: 'der' }}).toString('base64'))"
    );
    let made = command("node").args(["-e", &script]).output()?;
    ensure!(made.status.success(), "node makes no {kind} key");
    Ok(String::from_utf8(made.stdout)?)
}
