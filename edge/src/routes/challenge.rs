//! The bot check: when a code may be requested without it. Codes that were begun and never verified weigh on the address
//! they were requested from and on the block of 10,000 numbers they went to (contract §4). Recognised devices never come
//! here, so what others do, even behind the same carrier's address, does not stop the owner.

use std::rc::Rc;

use futures_util::future::join;
use serde_json::json;

use crate::app::App;
use crate::clients::turnstile;
use crate::clock::iso_ms;
use crate::error::ApiError;
use crate::http::call::Call;
use crate::limits::count::{connecting_subject, refusal};
use crate::messages;
use crate::observe::metrics;
use crate::storage::subject_do::send_command;
use crate::storage::subject_state::{Command, SubjectReply};

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

/// The subjects that a code weighs on: its address and its block of numbers.
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

    pub fn names(&self) -> Vec<String> {
        vec![self.address.clone(), self.block.clone()]
    }

    /// Notes an unrecognised device's attempt with both; returns whether the bot check was passed for it. It must be
    /// passed where too many codes weigh on either, and where the number's messages are used up.
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
            refund(&call.app, self.names(), attempt.to_owned());
        }
        metrics::add("carbon_otp_refused_total", r#"reason="challenge""#, 1);
        let error = refusal(words, limit.size, limit.reset_at_ms);
        Err(match turnstile {
            None => error,
            // So the client learns what lets it go on at once.
            Some(_) => error.with_details(json!({
                "limit": limit.size,
                "remaining": 0,
                "reset_at": iso_ms(limit.reset_at_ms),
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
            send_command(&call.app, &self.address, &from_address),
            send_command(&call.app, &self.block, &to_block),
        )
        .await;
        let refusals = [address?, block?]
            .into_iter()
            .filter_map(|answer| match answer {
                SubjectReply::Refused {
                    limit, reset_at_ms, ..
                } => Some(Limit {
                    size: limit,
                    reset_at_ms,
                }),
                SubjectReply::Counted | SubjectReply::Counts(_) => None,
            });
        Ok(refusals.max_by_key(|limit| limit.reset_at_ms))
    }
}

/// Takes an attempt off its subjects, after the answer: it was verified, or never begun after all.
pub fn refund(app: &Rc<App>, subjects: Vec<String>, attempt: String) {
    if app.config.no_limits {
        return;
    }
    let later = app.clone();
    app.context.wait_until(async move {
        let command = Command::Refund(attempt);
        // If this fails, the attempt weighs for its hour.
        for name in subjects {
            let _ = send_command(&later, &name, &command).await;
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
    use crate::uuid::is_uuid;

    #[test]
    fn an_attempt_s_name_serves_as_idempotency_key() {
        assert!(is_uuid(&as_uuid("00112233445566778899aabbccddeeff")));
    }
}
