//! The suite `logs`: no log of the run contains anything that identifies a user or grants access.
//!
//! Values that were actually used (numbers, codes, refresh tokens, secrets) are collected and searched for
//! word by word; in addition there are patterns that need no list (JWTs, Thai mobile numbers, device
//! tokens). A finding names file, line and kind, never the value, because the finding itself is logged.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use regex::Regex;

use crate::check::Tally;
use crate::checkout::Checkout;
use crate::environment::Environment;
use crate::postgres::Postgres;
use crate::process::text;
use crate::progress::Step;
use crate::up;

/// Maximum number of findings shown; a leak repeats itself.
const SHOWN: usize = 40;

/// Number of digits of a Thai mobile number after its prefix.
const NATIONAL_DIGITS: usize = 9;

/// A device token: 256 random bits in URL-safe Base64.
const DEVICE_TOKEN_CHARS: usize = 43;

/// The place of something that must not be in a log.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: PathBuf,
    line: usize,
    what: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Values that were used in the run and must not be in its logs.
#[derive(Default)]
struct Sensitive {
    /// Secrets of the checkout, matched anywhere in a line.
    secrets: Vec<String>,
    /// National parts of numbers, nine digits.
    numbers: HashSet<String>,
    /// Codes that were sent.
    codes: HashSet<String>,
    /// Refresh tokens.
    tokens: HashSet<String>,
}

/// Collects the values that were used and searches the logs for them.
pub fn run(checkout: &Checkout, step: &Step) -> Result<Tally> {
    let environment = up::environment(checkout)?;
    let sensitive = look_up(checkout, &environment)?;
    let folder = checkout.local.join("logs");
    let mut files = Vec::new();
    collect(&folder, &mut files)?;
    let searcher = Searcher::new(sensitive)?;
    let mut findings = Vec::new();
    for file in &files {
        let bytes = fs::read(file)?;
        let name = file.strip_prefix(&folder).unwrap_or(file);
        searcher.search(name, &String::from_utf8_lossy(&bytes), &mut findings);
    }
    let shown: Vec<String> = findings
        .iter()
        .take(SHOWN)
        .map(Finding::to_string)
        .collect();
    step.note(&format!(
        "{} files, {} numbers, {} codes, {} refresh tokens, {} findings\n{}\n",
        files.len(),
        searcher.sensitive.numbers.len(),
        searcher.sensitive.codes.len(),
        searcher.sensitive.tokens.len(),
        findings.len(),
        shown.join("\n")
    ))?;
    if !findings.is_empty() {
        bail!(
            "{} lines of logs hold what no log may hold; the first: {}",
            findings.len(),
            shown[0]
        );
    }
    Ok(Tally {
        passed: files.len(),
        failed: 0,
    })
}

/// From the secrets file, the inbox and Auth's tables.
fn look_up(checkout: &Checkout, environment: &Environment) -> Result<Sensitive> {
    let mut sensitive = Sensitive {
        secrets: environment.secrets.values().map(str::to_owned).collect(),
        ..Sensitive::default()
    };
    // The signing key is the part after the prefix, and that alone would be enough.
    let bare: Vec<String> = sensitive
        .secrets
        .iter()
        .filter_map(|secret| secret.strip_prefix("v1,whsec_").map(str::to_owned))
        .collect();
    sensitive.secrets.extend(bare);
    let inbox = format!("{}/sms", Environment::http(environment.ports.inbox));
    let sent = ureq::get(&inbox)
        .call()
        .context("the inbox")?
        .body_mut()
        .read_to_string()?;
    let sent: Vec<serde_json::Value> = serde_json::from_str(&sent)?;
    for sms in &sent {
        sensitive.add_number(sms["phone"].as_str().unwrap_or_default());
        sensitive
            .codes
            .extend(sms["code"].as_str().map(str::to_owned));
    }
    let postgres = Postgres::of(checkout)?;
    let select = |sql: &str| -> Result<String> {
        let mut psql = postgres.psql(environment)?;
        text(psql.args(["--tuples-only", "--no-align", "--command", sql]))
    };
    for phone in select("select phone from auth.users where phone is not null")?.lines() {
        sensitive.add_number(phone);
    }
    let tokens = select("select token from auth.refresh_tokens where token is not null")?;
    sensitive.tokens = tokens.lines().map(str::to_owned).collect();
    Ok(sensitive)
}

impl Sensitive {
    fn add_number(&mut self, phone: &str) {
        let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
        if let Some(national) = digits.strip_prefix("66")
            && national.len() == NATIONAL_DIGITS
        {
            self.numbers.insert(national.to_owned());
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The subject of a line.
struct About {
    codes: bool,
    sending: bool,
}

struct Searcher {
    sensitive: Sensitive,
    jwt: Regex,
    number: Regex,
    context: Regex,
    sending: Regex,
}

impl Searcher {
    fn new(sensitive: Sensitive) -> Result<Self> {
        Ok(Self {
            sensitive,
            jwt: Regex::new(r"eyJ[A-Za-z0-9_-]{8,}\.eyJ?[A-Za-z0-9_-]{8,}")?,
            // Mobile numbers as people and programs write them. Digits within longer words and fractions do
            // not count.
            number: Regex::new(
                r"(?x)(?:^|[^0-9A-Za-z.]|%2[Bb])
                (?: (?:\+?66|0066|0)[689][0-9]{8}
                  | 0[689][0-9][-\ ][0-9]{3}[-\ ][0-9]{4}
                  | 0[689][-\ ][0-9]{4}[-\ ][0-9]{4}
                  | \+66[-\ ]?[689][0-9]?[-\ ][0-9]{3,4}[-\ ][0-9]{4} )
                (?:[^0-9A-Za-z]|$)",
            )?,
            context: Regex::new(r"(?i)otp|sms|code|token|รหัส")?,
            sending: Regex::new(r"(?i)(?:^|[^/a-z])(?:otp|sms)")?,
        })
    }

    fn search(&self, file: &Path, log: &str, findings: &mut Vec<Finding>) {
        for (index, line) in log.lines().enumerate() {
            if let Some(what) = self.look_at(line) {
                findings.push(Finding {
                    file: file.to_owned(),
                    line: index + 1,
                    what,
                });
            }
        }
    }

    /// Forbidden values in a line.
    fn look_at(&self, line: &str) -> Option<&'static str> {
        if self
            .sensitive
            .secrets
            .iter()
            .any(|secret| line.contains(secret))
        {
            return Some("a secret of the checkout");
        }
        if self.jwt.is_match(line) {
            return Some("a JWT");
        }
        // Names of tests come from the source; the numbers in them belong to no user.
        let named = ["# Subtest: ", "ok ", "not ok "]
            .iter()
            .any(|start| line.trim_start().starts_with(start));
        if !named && (self.number.is_match(line) || self.holds_used_number(line)) {
            return Some("a phone number");
        }
        let about = About {
            codes: self.context.is_match(line),
            sending: !named && self.sending.is_match(line),
        };
        words(line).find_map(|(word, around)| self.classify_word(word, around, &about))
    }

    /// In any notation: separators between the digits and prefixes are ignored.
    fn holds_used_number(&self, line: &str) -> bool {
        let mut digits = String::new();
        let mut gap = 0;
        for sign in line.chars().chain(std::iter::once('\n')) {
            if sign.is_ascii_digit() {
                digits.push(sign);
                gap = 0;
            } else if matches!(sign, ' ' | '-' | '(' | ')') && gap == 0 {
                gap += 1;
            } else {
                if self.is_used_number(&digits) {
                    return true;
                }
                digits.clear();
                gap = 0;
            }
        }
        false
    }

    fn is_used_number(&self, digits: &str) -> bool {
        let start = digits.len().saturating_sub(NATIONAL_DIGITS);
        let (prefix, national) = digits.split_at(start);
        ["", "0", "66", "0066"].contains(&prefix) && self.sensitive.numbers.contains(national)
    }

    fn classify_word(
        &self,
        word: &str,
        around: (char, char),
        about: &About,
    ) -> Option<&'static str> {
        if self.sensitive.tokens.contains(word) {
            return Some("a refresh token");
        }
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        // A process id is in brackets.
        if !digits && is_device_token(word) {
            return Some("a device token");
        } else if !digits || around == ('[', ']') {
            return None;
        }
        let quoted = around == ('"', '"');
        if (about.codes || quoted) && self.sensitive.codes.contains(word) {
            return Some("a code that was sent");
        }
        // Auth's own code has ten digits and is stored as a hash; ten digits may also be seconds.
        let seconds = word.starts_with("17") || word.starts_with("18");
        let auths = word.len() == 10 && about.sending && !seconds;
        auths.then_some("ten digits beside words about sending codes")
    }
}

/// Runs of letters, digits, `-` and `_`, with the characters before and after each.
fn words(line: &str) -> impl Iterator<Item = (&str, (char, char))> {
    let inside = |sign: char| sign.is_ascii_alphanumeric() || sign == '-' || sign == '_';
    line.split(move |sign| !inside(sign))
        .filter(|word| !word.is_empty())
        .map(move |word| {
            let start = word.as_ptr() as usize - line.as_ptr() as usize;
            let before = line[..start].chars().next_back().unwrap_or(' ');
            let after = line[start + word.len()..].chars().next().unwrap_or(' ');
            (word, (before, after))
        })
}

fn is_device_token(word: &str) -> bool {
    let has = |test: fn(&u8) -> bool| word.as_bytes().iter().any(test);
    word.len() == DEVICE_TOKEN_CHARS
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Option<&'static str> {
        let sensitive = Sensitive {
            secrets: vec!["local-secret-of-this-checkout".to_owned()],
            numbers: HashSet::from(["812345678".to_owned()]),
            codes: HashSet::from(["042137".to_owned()]),
            tokens: HashSet::from(["abcdef123456".to_owned()]),
        };
        Searcher::new(sensitive)
            .expect("the patterns are good")
            .look_at(line)
    }

    #[test]
    fn every_kind_is_found_wherever_it_stands() {
        for (line, what) in [
            (
                "x=local-secret-of-this-checkout;",
                "a secret of the checkout",
            ),
            (
                "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.abc",
                "a JWT",
            ),
            (r#"{"phone":"66898765432"}"#, "a phone number"),
            ("to +66898765432:", "a phone number"),
            ("?phone=%2B66898765432", "a phone number"),
            ("call 089-876-5432", "a phone number"),
            ("call 08-9876-5432", "a phone number"),
            ("call +66 89 876 5432", "a phone number"),
            ("0898765432", "a phone number"),
            ("key (phone)=(66 8 1234 5678)", "a phone number"),
            ("x 66-812-345-678", "a phone number"),
            ("token abcdef123456 revoked", "a refresh token"),
            ("Your code is 042137.", "a code that was sent"),
            (r#"{"value":"042137"}"#, "a code that was sent"),
            (
                "otp 9876543210",
                "ten digits beside words about sending codes",
            ),
            (
                "device gQ7f-Vn2kXo0_S4bTtYw1ZcRrLmPpHhDdJjUuEeAa39",
                "a device token",
            ),
        ] {
            assert_eq!(found(line), Some(what), "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_it_passes() {
        for line in [
            "to +66******678: throttled",
            "2026-11-22 16:07:12.123 UTC [042137] ERROR: code",
            "took 042137 ms",
            "id 5f0c8123-4567-4123-8123-066812345670",
            "ratio 0.0898765432",
            "otp sent at 1763812345",
            "lock 7331202611 taken in /home/ann/sms/x",
            r#"    ok 2 - "0812345678;ext=1" gets no SMS"#,
            "sha256:0898765432abcdef",
            "eyJ alone is nothing",
            "rate 6681234567 is too short by one",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn a_seeded_log_is_named_by_file_and_line_without_the_value() {
        let searcher = Searcher::new(Sensitive::default()).expect("the patterns are good");
        let mut findings = Vec::new();
        let log = "all is well\n{\"to\":\"+66898765432\"}\n";
        searcher.search(Path::new("edge.log"), log, &mut findings);
        let shown: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert_eq!(shown, ["edge.log:2: a phone number"]);
    }
}
