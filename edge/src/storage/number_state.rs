//! What one phone number's Durable Object knows and the rules of sign-in codes (contract §4), free
//! of clock, storage and randomness so that the rules can be tested by themselves.
//!
//! An attempt (`otp_id`) begins with a code of six digits. The plain code is kept only until the
//! SMS hook takes it; from then on there is its keyed hash. A right code *claims* the attempt while
//! the Worker asks Auth for a session: settled if Auth agreed, released if Auth was down, so that
//! an outage burns nobody's code.

use serde::{Deserialize, Serialize};

use super::otp_id::same;

/// A person's code is good for this long.
pub const CODE_TTL_MS: i64 = 5 * 60 * 1000;
/// The next code may be asked for after this long.
pub const RESEND_AFTER_MS: i64 = 60 * 1000;
/// So many wrong tries a code.
pub const MAX_WRONG_TRIES: u8 = 5;
/// A claim ends by itself after this long: longer than the Worker's calls to Auth take together.
const CLAIM_MS: i64 = 20 * 1000;
/// An attempt is remembered beyond its time so that the answer can say "expired".
const REMEMBER_MS: i64 = 60 * 60 * 1000;
/// Webhook ids are remembered for longer than a signature is accepted (5 minutes each way).
const WEBHOOK_MEMORY_MS: i64 = 15 * 60 * 1000;
/// Devices of one number that are remembered; the oldest gives way.
const MAX_DEVICES: usize = 20;

/// The state of one number.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct NumberState {
    phone: String,
    attempts: Vec<Attempt>,
    auth_code: Option<String>,
    resend_at_ms: i64,
    /// Wrong codes since the last right one, over all attempts.
    failures_in_row: u32,
    devices: Vec<String>,
    webhooks: Vec<(String, i64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Attempt {
    id: String,
    code_hash: String,
    /// The plain code and its language until the hook takes them.
    unsent: Option<Message>,
    from_known_device: bool,
    expires_at_ms: i64,
    wrong_tries: u8,
    stage: Stage,
}

/// A code on its way to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Six digits.
    pub code: String,
    /// Whether the person asked in English; Thai otherwise.
    pub english: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Open,
    Claimed { until_ms: i64 },
    Used,
}

/// What the Worker asks of a number.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// A person wants to sign in.
    Begin {
        /// E.164.
        phone: String,
        /// The attempt's name.
        attempt: String,
        /// Keyed hash of the code.
        code_hash: String,
        /// The code itself, for the hook.
        message: Message,
        /// Hash of the device token that came with the request.
        device_hash: Option<String>,
    },
    /// Auth did not take the request: forget the attempt unless its SMS is on the way.
    Cancel {
        /// The attempt's name.
        attempt: String,
    },
    /// The hook brings Auth's own code and takes the codes that wait to be sent.
    Take {
        /// `webhook-id`, counted once.
        webhook_id: String,
        /// Auth's code.
        auth_code: String,
    },
    /// A person typed a code.
    Check {
        /// The attempt's name.
        attempt: String,
        /// Keyed hash of what was typed.
        code_hash: String,
    },
    /// Auth's newest code, for the attempt that holds the claim.
    AuthCode {
        /// The attempt's name.
        attempt: String,
    },
    /// Auth was down: the code may be used again.
    Release {
        /// The attempt's name.
        attempt: String,
    },
    /// Auth opened a session: the code is spent and the device known.
    Settle {
        /// The attempt's name.
        attempt: String,
        /// Auth's code that was used up.
        auth_code: String,
        /// Hash of the new device token.
        device_hash: String,
    },
}

/// What a number answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    /// The attempt exists; times in milliseconds since 1970.
    Begun {
        /// End of the code.
        expires_at_ms: i64,
        /// When the next one may be asked for.
        resend_at_ms: i64,
    },
    /// Another code may be asked for at this time only.
    TooSoon {
        /// Milliseconds since 1970.
        resend_at_ms: i64,
    },
    /// The attempt is forgotten.
    Cancelled,
    /// The hook has taken the code: the SMS is on its way.
    AlreadySent,
    /// Codes for the hook to send, perhaps none.
    ToSend {
        /// One for each waiting attempt.
        messages: Vec<Message>,
    },
    /// The code is right and the attempt claimed.
    Right {
        /// E.164.
        phone: String,
        /// Auth's newest code, if it holds one.
        auth_code: Option<String>,
    },
    /// Another code than the one that was sent.
    Wrong,
    /// No such attempt, or its code was used.
    Invalid,
    /// Too late.
    Expired,
    /// The code's tries are spent.
    Spent {
        /// When the next code may be asked for.
        resend_at_ms: i64,
    },
    /// Done, nothing to tell.
    Done,
}

impl NumberState {
    /// Carries out a command at a time (milliseconds since 1970).
    pub fn apply(&mut self, command: Command, now_ms: i64) -> Answer {
        self.forget_old(now_ms);
        match command {
            Command::Begin {
                phone,
                attempt,
                code_hash,
                message,
                device_hash,
            } => {
                let known = device_hash.is_some_and(|hash| self.knows_device(&hash));
                self.begin(phone, attempt, code_hash, message, known, now_ms)
            }
            Command::Cancel { attempt } => self.cancel(&attempt),
            Command::Take {
                webhook_id,
                auth_code,
            } => self.take(webhook_id, auth_code, now_ms),
            Command::Check { attempt, code_hash } => self.check(&attempt, &code_hash, now_ms),
            Command::AuthCode { attempt } => self.newest_auth_code(&attempt),
            Command::Release { attempt } => self.release(&attempt),
            Command::Settle {
                attempt,
                auth_code,
                device_hash,
            } => self.settle(&attempt, &auth_code, device_hash),
        }
    }

    /// Whether nothing is left that is worth keeping.
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.devices.is_empty() && self.failures_in_row == 0
    }

    /// When the object should look again for what can be forgotten (milliseconds since 1970).
    pub fn next_cleaning_ms(&self) -> Option<i64> {
        let last = self
            .attempts
            .iter()
            .map(|attempt| attempt.expires_at_ms)
            .max()?;
        Some(last + REMEMBER_MS + 1)
    }

    /// Drops what has no further use; codes past their time at once, attempts an hour later.
    pub fn forget_old(&mut self, now_ms: i64) {
        self.attempts
            .retain(|attempt| attempt.expires_at_ms + REMEMBER_MS > now_ms);
        for attempt in &mut self.attempts {
            if attempt.expires_at_ms <= now_ms {
                attempt.unsent = None;
            }
        }
        self.webhooks
            .retain(|(_, at_ms)| at_ms + WEBHOOK_MEMORY_MS > now_ms);
        if self.attempts.is_empty() {
            self.auth_code = None;
            self.phone.clear();
        }
    }

    fn knows_device(&self, hash: &str) -> bool {
        self.devices
            .iter()
            .any(|known| same(known.as_bytes(), hash.as_bytes()))
    }

    fn find(&mut self, id: &str) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| attempt.id == id)
    }

    fn begin(
        &mut self,
        phone: String,
        id: String,
        code_hash: String,
        message: Message,
        from_known_device: bool,
        now_ms: i64,
    ) -> Answer {
        if now_ms < self.resend_at_ms {
            return Answer::TooSoon {
                resend_at_ms: self.resend_at_ms,
            };
        }
        self.phone = phone;
        self.resend_at_ms = now_ms + RESEND_AFTER_MS;
        let expires_at_ms = now_ms + CODE_TTL_MS;
        self.attempts.push(Attempt {
            id,
            code_hash,
            unsent: Some(message),
            from_known_device,
            expires_at_ms,
            wrong_tries: 0,
            stage: Stage::Open,
        });
        Answer::Begun {
            expires_at_ms,
            resend_at_ms: self.resend_at_ms,
        }
    }

    fn cancel(&mut self, id: &str) -> Answer {
        match self.find(id) {
            Some(attempt) if attempt.unsent.is_none() => Answer::AlreadySent,
            Some(_) => {
                self.attempts.retain(|attempt| attempt.id != id);
                self.resend_at_ms = 0;
                Answer::Cancelled
            }
            None => Answer::Cancelled,
        }
    }

    fn take(&mut self, webhook_id: String, auth_code: String, now_ms: i64) -> Answer {
        if self.webhooks.iter().any(|(seen, _)| *seen == webhook_id) {
            return Answer::ToSend {
                messages: Vec::new(),
            };
        }
        self.webhooks.push((webhook_id, now_ms));
        self.auth_code = Some(auth_code);
        let messages = self
            .attempts
            .iter_mut()
            .filter_map(|attempt| attempt.unsent.take())
            .collect();
        Answer::ToSend { messages }
    }

    fn check(&mut self, id: &str, code_hash: &str, now_ms: i64) -> Answer {
        let resend_at_ms = self.resend_at_ms;
        let Some(attempt) = self.find(id) else {
            return Answer::Invalid;
        };
        match attempt.stage {
            Stage::Used => return Answer::Invalid,
            Stage::Claimed { until_ms } if until_ms > now_ms => return Answer::Invalid,
            _ => attempt.stage = Stage::Open,
        }
        if attempt.expires_at_ms <= now_ms {
            return Answer::Expired;
        }
        if attempt.wrong_tries >= MAX_WRONG_TRIES {
            return Answer::Spent { resend_at_ms };
        }
        if !same(attempt.code_hash.as_bytes(), code_hash.as_bytes()) {
            attempt.wrong_tries += 1;
            self.failures_in_row = self.failures_in_row.saturating_add(1);
            return Answer::Wrong;
        }
        attempt.stage = Stage::Claimed {
            until_ms: now_ms + CLAIM_MS,
        };
        Answer::Right {
            phone: self.phone.clone(),
            auth_code: self.auth_code.clone(),
        }
    }

    fn newest_auth_code(&mut self, id: &str) -> Answer {
        match self.find(id).map(|attempt| &attempt.stage) {
            Some(Stage::Claimed { .. }) => Answer::Right {
                phone: self.phone.clone(),
                auth_code: self.auth_code.clone(),
            },
            _ => Answer::Invalid,
        }
    }

    fn release(&mut self, id: &str) -> Answer {
        if let Some(attempt) = self.find(id)
            && matches!(attempt.stage, Stage::Claimed { .. })
        {
            attempt.stage = Stage::Open;
        }
        Answer::Done
    }

    fn settle(&mut self, id: &str, auth_code: &str, device_hash: String) -> Answer {
        if let Some(attempt) = self.find(id) {
            attempt.stage = Stage::Used;
        }
        if self.auth_code.as_deref() == Some(auth_code) {
            self.auth_code = None;
        }
        self.failures_in_row = 0;
        self.devices.push(device_hash);
        if self.devices.len() > MAX_DEVICES {
            self.devices.remove(0);
        }
        Answer::Done
    }
}

#[cfg(test)]
#[path = "number_state_tests.rs"]
mod tests;
