//! Refusals of the gateway.

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    pub status: u16,
    /// Stable token.
    pub code: &'static str,
    pub message: &'static str,
    /// When to come again, if that helps; else 0.
    pub retry_after_secs: u32,
}

/// After this a client may come again when an upstream is down or too much is open at once.
pub const RETRY_AFTER_SECS: u32 = 2;

impl Denial {
    /// A refusal with any status.
    pub const fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
            retry_after_secs: match status {
                429 | 503 => RETRY_AFTER_SECS,
                _ => 0,
            },
        }
    }
}

/// Nothing answers behind the gateway.
pub const DOWN: Denial = Denial::new(
    503,
    "upstream_unavailable",
    "The service behind the gateway is not available",
);
