//! When a code may be asked for without a challenge: codes that were begun and never verified weigh on
//! the address they were asked from and on the block of 10,000 numbers they went to (contract §4). Devices that have
//! proved the number never come here: what strangers do, behind the same carrier's address too, stops no owner.

use std::rc::Rc;

use futures_util::future::join;
use serde_json::json;

use crate::call::{App, Call};
use crate::clients::turnstile;
use crate::error::ApiError;
use crate::limits::{connecting_subject, refusal, time};
use crate::messages;
use crate::metrics;
use crate::storage::subject::ask;
use crate::storage::subject_state::{Answer, Command};

/// Unverified codes of the last hour from one address.
const FROM_ADDRESS: u32 = 3;
/// Unverified codes of the last hour to one block of numbers: the number without its last 4 digits.
const TO_BLOCK: u32 = 20;
const BLOCK_DIGITS: usize = 4;

/// A limit that was reached.
#[derive(Clone, Copy)]
pub struct Limit {
    /// How much it lets through.
    pub size: u32,
    /// When it is free again (milliseconds since 1970).
    pub reset_at_ms: i64,
}

/// Who is answerable for a code: the subjects of its address and of its block.
pub struct Origin {
    address: String,
    block: String,
}

impl Origin {
    /// The origin of a request for a code for this number (E.164).
    ///
    /// # Errors
    /// `SERVICE_UNAVAILABLE` if the connecting address is unknown.
    pub fn of(call: &Call, phone: &str) -> Result<Self, ApiError> {
        let block = &phone[..phone.len().saturating_sub(BLOCK_DIGITS)];
        Ok(Self {
            address: connecting_subject(&call.app, call.address.as_deref())?,
            block: call.app.config.otp_keys.subject("block", block.as_bytes()),
        })
    }

    /// The names of both subjects.
    pub fn names(&self) -> Vec<String> {
        vec![self.address.clone(), self.block.clone()]
    }

    /// Notes a stranger's attempt with both; answers whether a challenge was passed for it. One must be passed where
    /// too many codes of strangers weigh on either, and where the number's messages are spent.
    ///
    /// # Errors
    /// `RATE_LIMITED`, `SERVICE_UNAVAILABLE`
    pub async fn begin(
        &self,
        call: &Call,
        attempt: &str,
        token: Option<&str>,
        spent: Option<Limit>,
    ) -> Result<bool, ApiError> {
        if call.app.config.no_limits {
            return Ok(false);
        }
        let in_the_way = match spent {
            Some(limit) => Some((messages::SMS_SPENT, limit)),
            None => {
                let noted = self.note(call, attempt, false).await?;
                noted.map(|limit| (messages::CHALLENGE, limit))
            }
        };
        let Some((words, limit)) = in_the_way else {
            return Ok(false);
        };
        let turnstile = call.app.config.turnstile.as_ref();
        let passed = match (turnstile, token) {
            (Some(turnstile), Some(token)) => {
                let key = as_uuid(attempt);
                turnstile::passes(turnstile, token, call.address.as_deref(), &key).await?
            }
            _ => false,
        };
        if passed {
            self.note(call, attempt, true).await?;
            return Ok(true);
        }
        if spent.is_none() {
            credit(&call.app, self.names(), attempt.to_owned());
        }
        metrics::add("carbon_otp_refused_total", r#"reason="challenge""#, 1);
        let error = refusal(words, limit.size, limit.reset_at_ms);
        Err(match turnstile {
            None => error,
            // This tells the client what lets it go on at once.
            Some(_) => error.with_details(json!({
                "limit": limit.size,
                "remaining": 0,
                "reset_at": time(limit.reset_at_ms),
                "challenge": "turnstile",
            })),
        })
    }

    /// The limit that stands in the way and when it is free again, if one does.
    async fn note(
        &self,
        call: &Call,
        attempt: &str,
        passed: bool,
    ) -> Result<Option<Limit>, ApiError> {
        let command = |limit| Command::Begin {
            attempt: attempt.to_owned(),
            limit,
            passed,
        };
        let (from_address, to_block) = (command(FROM_ADDRESS), command(TO_BLOCK));
        let (address, block) = join(
            ask(&call.app, &self.address, &from_address),
            ask(&call.app, &self.block, &to_block),
        )
        .await;
        let refusals = [address?, block?]
            .into_iter()
            .filter_map(|answer| match answer {
                Answer::Refused {
                    limit, reset_at_ms, ..
                } => Some(Limit {
                    size: limit,
                    reset_at_ms,
                }),
                Answer::Counted | Answer::Seen(_) => None,
            });
        Ok(refusals.max_by_key(|limit| limit.reset_at_ms))
    }
}

/// Takes an attempt off its subjects, after the answer: it was verified, or never begun after all.
pub fn credit(app: &Rc<App>, subjects: Vec<String>, attempt: String) {
    if app.config.no_limits {
        return;
    }
    let later = app.clone();
    app.context.wait_until(async move {
        let command = Command::Credit(attempt);
        // One that fails weighs for its hour; that is the worst of it.
        for name in subjects {
            let _ = ask(&later, &name, &command).await;
        }
    });
}

/// 128 bits in hexadecimal as a UUID.
fn as_uuid(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or("");
    let parts = [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::is_uuid;

    #[test]
    fn an_attempt_s_name_serves_as_idempotency_key() {
        assert!(is_uuid(&as_uuid("00112233445566778899aabbccddeeff")));
    }
}
