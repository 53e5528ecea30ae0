//! Auth's settings, by the names the real server reads.

use crate::settings::Settings;
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::time::Duration;

/// The send-SMS hook.
pub struct SmsHook {
    /// Where codes are handed over.
    pub uri: String,
    /// Keys of the signature; every one signs, so that they can be rotated.
    pub keys: Vec<Vec<u8>>,
}

/// A hook that is a function of the database.
#[derive(Debug, PartialEq, Eq)]
pub struct DatabaseHook {
    /// Its schema.
    pub schema: String,
    /// Its name; it takes and gives one jsonb.
    pub function: String,
}

/// All settings of the server.
pub struct Config {
    /// Connection string; the role must own the schema auth.
    pub database_url: String,
    /// Loopback address with a port.
    pub listen: String,
    /// Address under which clients reach this server, for links.
    pub external_url: String,
    /// Address of the app, the default of `redirect_to`.
    pub site_url: String,
    /// HS256 key shared with PostgREST and the Worker.
    pub jwt_secret: String,
    /// Life of an access token in seconds.
    pub jwt_exp_secs: i64,
    /// Claim `aud` and the default audience.
    pub jwt_aud: String,
    /// Claim `iss`; left out when empty.
    pub jwt_issuer: String,
    /// Claim `role` of new users.
    pub default_role: String,
    /// Values of the claim `role` that may administer.
    pub admin_roles: Vec<String>,
    /// Sign-in by phone.
    pub phone_enabled: bool,
    /// Anonymous sign-in.
    pub anonymous_enabled: bool,
    /// Refuses every new user.
    pub signup_disabled: bool,
    /// Digits of a code, 6 to 10.
    pub otp_length: u32,
    /// Life of a code sent by SMS.
    pub otp_exp: Duration,
    /// Life of a link's token.
    pub link_exp: Duration,
    /// Shortest time between two codes to one user.
    pub sms_max_frequency: Duration,
    /// Fixed codes by number (without "+").
    pub test_otp: HashMap<String, String>,
    /// When the fixed codes end.
    pub test_otp_until: Option<DateTime<Utc>>,
    /// The hook, when it is on.
    pub sms_hook: Option<SmsHook>,
    /// Sees the claims of each access token before it is signed, when it is on.
    pub token_hook: Option<DatabaseHook>,
    /// SMS an hour for the entire service.
    pub sms_per_hour: f64,
    /// How long a revoked token that is not the active one's parent may still be exchanged.
    pub reuse_interval: Duration,
    /// Whether an old token kills its family.
    pub rotation_enabled: bool,
    /// A session unused for this long cannot be refreshed.
    pub inactivity_timeout: Option<Duration>,
    /// A session cannot be refreshed this long after it began.
    pub timebox: Option<Duration>,
    /// Longest time a request may take.
    pub max_request: Duration,
    /// Connections to the database.
    pub pool_size: usize,
}

impl Config {
    /// Reads and checks the settings; the error names the variable.
    pub fn read(s: &Settings) -> Result<Self, String> {
        let port: u16 = s.parsed("PORT", 9999)?;
        let otp_length: u32 = s.parsed("GOTRUE_SMS_OTP_LENGTH", 6)?;
        if !(6..=10).contains(&otp_length) {
            return Err("GOTRUE_SMS_OTP_LENGTH must be 6 to 10".into());
        }
        let span = |name: &str| {
            s.span(name, Duration::ZERO)
                .map(|d| Some(d).filter(|d| !d.is_zero()))
        };
        Ok(Self {
            database_url: s.required("GOTRUE_DB_DATABASE_URL")?.to_owned(),
            listen: format!(
                "{}:{port}",
                s.text("GOTRUE_API_HOST").unwrap_or("127.0.0.1")
            ),
            external_url: s
                .required("API_EXTERNAL_URL")?
                .trim_end_matches('/')
                .to_owned(),
            site_url: s.required("GOTRUE_SITE_URL")?.to_owned(),
            jwt_secret: s.required("GOTRUE_JWT_SECRET")?.to_owned(),
            jwt_exp_secs: s.parsed("GOTRUE_JWT_EXP", 3600)?,
            jwt_aud: s
                .text("GOTRUE_JWT_AUD")
                .unwrap_or("authenticated")
                .to_owned(),
            jwt_issuer: s.text("GOTRUE_JWT_ISSUER").unwrap_or_default().to_owned(),
            default_role: s
                .text("GOTRUE_JWT_DEFAULT_GROUP_NAME")
                .unwrap_or("authenticated")
                .to_owned(),
            admin_roles: admin_roles(s),
            phone_enabled: s.parsed("GOTRUE_EXTERNAL_PHONE_ENABLED", false)?,
            anonymous_enabled: s.parsed("GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED", false)?,
            signup_disabled: s.parsed("GOTRUE_DISABLE_SIGNUP", false)?,
            otp_length,
            otp_exp: Duration::from_secs(s.parsed("GOTRUE_SMS_OTP_EXP", 60)?),
            link_exp: Duration::from_secs(s.parsed("GOTRUE_MAILER_OTP_EXP", 86_400)?),
            sms_max_frequency: s.span("GOTRUE_SMS_MAX_FREQUENCY", Duration::from_secs(60))?,
            test_otp: test_otp(s)?,
            test_otp_until: s
                .text("GOTRUE_SMS_TEST_OTP_VALID_UNTIL")
                .map(instant)
                .transpose()?,
            sms_hook: sms_hook(s)?,
            token_hook: token_hook(s)?,
            sms_per_hour: s.parsed("GOTRUE_RATE_LIMIT_SMS_SENT", 30.0)?,
            reuse_interval: Duration::from_secs(
                s.parsed("GOTRUE_SECURITY_REFRESH_TOKEN_REUSE_INTERVAL", 0)?,
            ),
            rotation_enabled: s.parsed("GOTRUE_SECURITY_REFRESH_TOKEN_ROTATION_ENABLED", true)?,
            inactivity_timeout: span("GOTRUE_SESSIONS_INACTIVITY_TIMEOUT")?,
            timebox: span("GOTRUE_SESSIONS_TIMEBOX")?,
            max_request: s.span("GOTRUE_API_MAX_REQUEST_DURATION", Duration::from_secs(10))?,
            pool_size: s.parsed("GOTRUE_DB_MAX_POOL_SIZE", 20)?,
        })
    }

    /// The fixed code of a test number, as long as it is valid.
    pub fn test_code(&self, phone: &str, now: DateTime<Utc>) -> Option<&str> {
        let over = self.test_otp_until.is_some_and(|until| now >= until);
        self.test_otp
            .get(phone)
            .filter(|_| !over)
            .map(String::as_str)
    }
}

fn admin_roles(s: &Settings) -> Vec<String> {
    let roles = s.list("GOTRUE_JWT_ADMIN_ROLES");
    if roles.is_empty() {
        vec!["service_role".into(), "supabase_admin".into()]
    } else {
        roles
    }
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let parsed = DateTime::parse_from_rfc3339(text);
    parsed
        .map(Into::into)
        .map_err(|_| "GOTRUE_SMS_TEST_OTP_VALID_UNTIL is not an RFC 3339 time".to_owned())
}

fn test_otp(s: &Settings) -> Result<HashMap<String, String>, String> {
    let pair = |part: String| {
        let (phone, code) = part.split_once([':', '='])?;
        Some((phone.trim_start_matches('+').to_owned(), code.to_owned()))
    };
    let pairs: Option<_> = s
        .list("GOTRUE_SMS_TEST_OTP")
        .into_iter()
        .map(pair)
        .collect();
    pairs.ok_or_else(|| "GOTRUE_SMS_TEST_OTP must read number:code,number:code".to_owned())
}

fn sms_hook(s: &Settings) -> Result<Option<SmsHook>, String> {
    if !s.parsed("GOTRUE_HOOK_SEND_SMS_ENABLED", false)? {
        return Ok(None);
    }
    let uri = s.required("GOTRUE_HOOK_SEND_SMS_URI")?.to_owned();
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    if !local.iter().any(|prefix| uri.starts_with(prefix)) {
        return Err("GOTRUE_HOOK_SEND_SMS_URI must be http:// on this machine".into());
    }
    let key = |secret: &str| STANDARD.decode(secret.strip_prefix("v1,whsec_")?).ok();
    let secrets = s.required("GOTRUE_HOOK_SEND_SMS_SECRETS")?;
    let keys: Option<Vec<_>> = secrets.split('|').map(key).collect();
    let keys = keys.ok_or(
        "GOTRUE_HOOK_SEND_SMS_SECRETS must read v1,whsec_<base64>, several of them with | between",
    )?;
    Ok(Some(SmsHook { uri, keys }))
}

fn token_hook(s: &Settings) -> Result<Option<DatabaseHook>, String> {
    if !s.parsed("GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_ENABLED", false)? {
        return Ok(None);
    }
    let uri = s.required("GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_URI")?;
    let is_name = |name: &&str| {
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        !name.is_empty() && name.bytes().all(word)
    };
    let path = uri.strip_prefix("pg-functions://postgres/");
    let names = path.and_then(|path| path.split_once('/'));
    let names = names.filter(|(schema, function)| is_name(schema) && is_name(function));
    let (schema, function) = names.ok_or(
        "GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_URI must read pg-functions://postgres/<schema>/<function>",
    )?;
    Ok(Some(DatabaseHook {
        schema: schema.to_owned(),
        function: function.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMUM: [(&str, &str); 4] = [
        ("GOTRUE_DB_DATABASE_URL", "postgres://x"),
        ("API_EXTERNAL_URL", "http://127.0.0.1:9/auth/v1/"),
        ("GOTRUE_SITE_URL", "http://127.0.0.1:8"),
        ("GOTRUE_JWT_SECRET", "s"),
    ];

    fn with(more: &[(&str, &str)]) -> Result<Config, String> {
        Config::read(&Settings::of(&[&MINIMUM, more].concat()))
    }

    #[test]
    fn each_required_setting_is_named_when_missing() {
        for (name, _) in MINIMUM {
            let rest: Vec<_> = MINIMUM
                .into_iter()
                .filter(|(other, _)| *other != name)
                .collect();
            assert!(
                Config::read(&Settings::of(&rest))
                    .err()
                    .unwrap()
                    .contains(name)
            );
        }
    }

    #[test]
    fn a_hook_needs_a_signing_key_and_a_local_address() {
        let on = ("GOTRUE_HOOK_SEND_SMS_ENABLED", "true");
        let uri = ("GOTRUE_HOOK_SEND_SMS_URI", "http://127.0.0.1:1/");
        assert!(with(&[on, uri]).is_err());
        assert!(
            with(&[
                on,
                uri,
                ("GOTRUE_HOOK_SEND_SMS_SECRETS", "v1,whsec_c2VjcmV0")
            ])
            .is_ok()
        );
        let far = ("GOTRUE_HOOK_SEND_SMS_URI", "http://example.org/");
        assert!(
            with(&[
                on,
                far,
                ("GOTRUE_HOOK_SEND_SMS_SECRETS", "v1,whsec_c2VjcmV0")
            ])
            .is_err()
        );
    }

    #[test]
    fn the_token_hook_is_a_function_of_the_database() {
        let on = ("GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_ENABLED", "true");
        let uri = |uri| [on, ("GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_URI", uri)];
        let hook = with(&uri("pg-functions://postgres/private/claims"))
            .unwrap()
            .token_hook
            .unwrap();
        assert_eq!(
            (hook.schema.as_str(), hook.function.as_str()),
            ("private", "claims")
        );
        for bad in [
            "https://hook.example/",
            "pg-functions://postgres/claims",
            "pg-functions://postgres/private/claims()",
            "pg-functions://postgres/private/",
        ] {
            assert!(with(&uri(bad)).is_err(), "{bad}");
        }
        assert_eq!(with(&[]).unwrap().token_hook, None);
    }

    #[test]
    fn test_numbers_end_when_they_are_told_to() {
        let config = with(&[
            ("GOTRUE_SMS_TEST_OTP", "66812345678:123456"),
            ("GOTRUE_SMS_TEST_OTP_VALID_UNTIL", "2026-01-01T00:00:00Z"),
        ])
        .unwrap();
        let at = |text| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        assert_eq!(
            config.test_code("66812345678", at("2025-12-31T23:59:59Z")),
            Some("123456")
        );
        assert_eq!(
            config.test_code("66812345678", at("2026-01-01T00:00:00Z")),
            None
        );
        assert_eq!(
            config.test_code("66812345679", at("2025-01-01T00:00:00Z")),
            None
        );
    }
}
