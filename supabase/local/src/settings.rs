//! Settings from the environment, with errors that name the variable.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

/// The environment as it was when the program started; tests build their own.
pub struct Settings(HashMap<String, String>);

impl Settings {
    /// Reads the process's environment. Variables that are not UTF-8 are left out.
    pub fn from_environment() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(utf8).collect())
    }

    /// Settings for a test.
    #[cfg(test)]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    /// The value, or nothing when the variable is unset or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The value, or an error that names the variable.
    pub fn required(&self, name: &str) -> Result<&str, String> {
        self.text(name)
            .ok_or_else(|| format!("the setting {name} is missing"))
    }

    /// The value parsed, or `default` when unset.
    pub fn parsed<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| format!("the setting {name} cannot be read: {text:?}")),
        }
    }

    /// A time span as Go writes it (`1s`, `1h30m`, `168h`), or `default` when unset.
    pub fn span(&self, name: &str, default: Duration) -> Result<Duration, String> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => parse_span(text)
                .ok_or_else(|| format!("the setting {name} is not a time span: {text:?}")),
        }
    }

    /// A comma-separated list; empty parts are dropped.
    pub fn list(&self, name: &str) -> Vec<String> {
        let parts = self.text(name).unwrap_or_default().split(',');
        parts
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// Reads a non-negative time span in Go's notation: numbers with a unit (h, m, s, ms, us, ns), one after the other.
pub fn parse_span(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit_secs = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * unit_secs).ok()?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_go_writes_them() {
        assert_eq!(parse_span("168h"), Some(Duration::from_secs(604_800)));
        assert_eq!(parse_span("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(parse_span("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(parse_span("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_span("0"), Some(Duration::ZERO));
        for bad in ["", "10", "h", "5d", "-1h", "1h2"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_missing_setting_is_named() {
        let settings = Settings::of(&[("EMPTY", ""), ("N", "x")]);
        assert!(settings.required("EMPTY").unwrap_err().contains("EMPTY"));
        assert!(settings.parsed("N", 1u16).unwrap_err().contains('N'));
    }
}
