//! Single settings: read by name, with the problems of all of them collected.

/// Secrets shorter than this (bytes) are refused everywhere.
const MIN_SECRET_BYTES: usize = 32;

/// Secrets that were made for a developer's machine begin with this.
const LOCAL_SECRET: &str = "local-";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine or a test.
    Local,
    /// Real users.
    Production,
}

/// Reads settings and collects what is wrong with them.
pub(super) struct Reader<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    pub(super) problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(get: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            get,
            problems: Vec::new(),
        }
    }

    pub(super) fn optional(&self, name: &str) -> Option<String> {
        (self.get)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn problem(&mut self, name: &str, what: &str) {
        self.problems.push(format!("{name} {what}"));
    }

    pub(super) fn required(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problem(name, "is missing");
            String::new()
        })
    }

    pub(super) fn secret(&mut self, name: &str, environment: Environment) -> String {
        let secret = self.required(name);
        self.check_secret(name, &secret, environment);
        secret
    }

    /// Secrets of which several are valid at once, "|" between them, the newest first.
    pub(super) fn secrets(
        &mut self,
        name: &str,
        max: usize,
        environment: Environment,
    ) -> Vec<String> {
        let all = self.required(name);
        let secrets: Vec<String> = all.split('|').map(|one| one.trim().to_owned()).collect();
        if secrets.len() > max {
            self.problem(name, "holds too many secrets");
        }
        for secret in &secrets {
            if secret.is_empty() && secrets.len() > 1 {
                self.problem(name, "holds an empty secret");
            }
            self.check_secret(name, secret, environment);
        }
        secrets
    }

    fn check_secret(&mut self, name: &str, secret: &str, environment: Environment) {
        if environment == Environment::Production && secret.starts_with(LOCAL_SECRET) {
            self.problem(name, "was made for local use");
        }
        if !secret.is_empty() && secret.len() < MIN_SECRET_BYTES {
            self.problem(name, "is too short for a secret (32 bytes at least)");
        }
    }

    pub(super) fn environment(&mut self) -> Environment {
        match self.optional("ENVIRONMENT").as_deref() {
            Some("local") => Environment::Local,
            Some("production") => Environment::Production,
            _ => {
                self.problem("ENVIRONMENT", "must be local or production");
                Environment::Production
            }
        }
    }

    pub(super) fn url(&mut self, name: &str, environment: Environment) -> String {
        let url = self.required(name).trim_end_matches('/').to_owned();
        let secure = url.starts_with("https://");
        if !(secure || environment == Environment::Local && url.starts_with("http://")) {
            self.problem(name, "must be an https address");
        }
        url
    }
}
