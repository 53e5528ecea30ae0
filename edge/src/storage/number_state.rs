//! The state of one phone number and the rules of sign-in codes (contract §4), without clock, storage or randomness, so
//! that the rules can be tested alone.
//!
//! An attempt (`otp_id`) begins with a code of six digits. The plain code is stored only until the SMS hook takes it, and
//! from then on only its keyed hash. A correct code *claims* the attempt while the Worker asks Auth for a session; then
//! the attempt is marked used, or released if Auth was down, so that an outage uses up no code.
//!
//! Wrong tries and messages are counted by device: all unrecognised devices share one allowance of the number, and each
//! recognised device, which has signed in with the number before, has its own. So an attacker cannot use up what the
//! owner needs.

use serde::{Deserialize, Serialize};

use super::number_protocol::{Command, Message, NumberReply, Refusal};
use crate::crypto::bytes::constant_time_eq;

/// A code is valid for this long.
pub const CODE_TTL_MS: i64 = 5 * 60 * 1000;
/// The next code may be requested after this long.
pub const RESEND_AFTER_MS: i64 = 60 * 1000;
/// Wrong tries of one code.
pub const MAX_WRONG_TRIES: u8 = 5;
/// Wrong tries of one share in any 24 hours: with codes of six digits a chance of 1e-5.
pub const WRONG_TRIES_A_DAY: usize = 10;
/// Messages of one share in any 24 hours.
pub const SMS_A_DAY: usize = 5;
/// Further messages for an unrecognised device that passed the bot check, where others have used those up.
pub const SMS_AFTER_CHALLENGE: usize = 1;
/// Codes in any minute, for all devices together.
pub const CODES_A_MINUTE: usize = 5;
/// After this many wrong codes of unrecognised devices in a row, they are refused.
pub const LOCK_AFTER: u32 = 100;
/// What a locked number says about when to try again; it stays locked until the owner signs in or an operator unlocks it.
const LOCK_RETRY_MS: i64 = DAY_MS;
const MINUTE_MS: i64 = 60 * 1000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// A claim expires after this long: longer than the Worker's calls to Auth take together.
const CLAIM_MS: i64 = 20 * 1000;
/// An attempt is remembered beyond its time so that the answer can say "expired".
const REMEMBER_MS: i64 = 60 * 60 * 1000;
/// Webhook ids are remembered for longer than a signature is accepted (5 minutes each way).
const WEBHOOK_MEMORY_MS: i64 = 15 * 60 * 1000;
/// Recognised devices of one number; the oldest is dropped.
const MAX_DEVICES: usize = 20;

/// The state of one number. Members that an older release did not store have their defaults.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NumberState {
    phone: String,
    attempts: Vec<Attempt>,
    auth_code: Option<String>,
    unrecognised: Share,
    /// Wrong codes of unrecognised devices since the last sign-in.
    unrecognised_failures: u32,
    devices: Vec<Device>,
    /// When codes were begun in the last minute.
    begun_at_ms: Vec<i64>,
    webhooks: Vec<(String, i64)>,
}

/// What one recognised device, or all unrecognised ones together, used of the number's allowance; times in milliseconds
/// since 1970.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Share {
    /// Wrong tries of the last 24 hours.
    wrong_at_ms: Vec<i64>,
    /// Messages of the last 24 hours.
    sms_at_ms: Vec<i64>,
    /// When the next code may be requested.
    resend_at_ms: i64,
}

/// A recognised device: one that has signed in with the number.
#[derive(Debug, Serialize, Deserialize)]
struct Device {
    /// Hashes of the token it signed in with last and of the one it got for that, in case the answer
    /// was lost on its way.
    hashes: Vec<String>,
    share: Share,
}

#[derive(Debug, Serialize, Deserialize)]
struct Attempt {
    id: String,
    code_hash: String,
    /// The plain code and its language until the hook takes them.
    unsent: Option<Message>,
    /// Hash of the recognised device that began it; none for an unrecognised one.
    device: Option<String>,
    /// The subjects that get a refund when the code is verified.
    begun_by: Vec<String>,
    /// The anonymous user it was begun for: only they may use it.
    #[serde(default)]
    anonymous_user: Option<String>,
    expires_at_ms: i64,
    wrong_tries: u8,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Open,
    Claimed { until_ms: i64 },
    Used,
}

impl Share {
    fn forget_old(&mut self, now_ms: i64) {
        self.wrong_at_ms.retain(|at_ms| at_ms + DAY_MS > now_ms);
        self.sms_at_ms.retain(|at_ms| at_ms + DAY_MS > now_ms);
    }

    fn tries_refusal(&self) -> Option<NumberReply> {
        let free_at_ms = full(&self.wrong_at_ms, WRONG_TRIES_A_DAY)? + DAY_MS;
        Some(Refusal::TriesOfDay.at(WRONG_TRIES_A_DAY, free_at_ms))
    }

    /// An unrecognised device may pass the bot check for a further message.
    fn sms_refusal(&self, unrecognised: bool, passed: bool) -> Option<NumberReply> {
        let extended = SMS_A_DAY + SMS_AFTER_CHALLENGE;
        let limit = if unrecognised && passed {
            extended
        } else {
            SMS_A_DAY
        };
        let free_at_ms = full(&self.sms_at_ms, limit)? + DAY_MS;
        let could_pass = unrecognised && !passed && full(&self.sms_at_ms, extended).is_none();
        let why = if could_pass {
            Refusal::SmsUnlessPassed
        } else {
            Refusal::Sms
        };
        Some(why.at(limit, free_at_ms))
    }

    /// The last instant stored here.
    fn newest_ms(&self) -> Option<i64> {
        self.wrong_at_ms
            .iter()
            .chain(&self.sms_at_ms)
            .max()
            .copied()
    }
}

/// The oldest of the newest `limit` instants, if there are that many.
fn full(instants: &[i64], limit: usize) -> Option<i64> {
    let first = instants.len().checked_sub(limit)?;
    instants.get(first).copied()
}

impl NumberState {
    /// Carries out a command at a time (milliseconds since 1970).
    pub fn apply(&mut self, command: Command, now_ms: i64) -> NumberReply {
        self.forget_old(now_ms);
        match command {
            Command::CanBegin {
                device_hash,
                limited,
            } => self.can_begin(device_hash.as_deref(), limited, now_ms),
            Command::Begin {
                phone,
                attempt,
                code_hash,
                message,
                device_hash,
                begun_by,
                anonymous_user,
                limited,
                passed,
            } => {
                let attempt = Attempt {
                    id: attempt,
                    code_hash,
                    unsent: Some(message),
                    device: device_hash.filter(|hash| self.device(hash).is_some()),
                    begun_by,
                    anonymous_user,
                    expires_at_ms: now_ms + CODE_TTL_MS,
                    wrong_tries: 0,
                    stage: Stage::Open,
                };
                let device = attempt.device.clone();
                match self.refusal(device.as_deref(), limited, passed, now_ms) {
                    Some(refusal) => refusal,
                    None => self.begin(phone, attempt, now_ms),
                }
            }
            Command::Cancel(attempt) => self.cancel(&attempt),
            Command::Take {
                webhook_id,
                auth_code,
            } => self.take(webhook_id, auth_code, now_ms),
            Command::TakeOwn(attempt) => self.take_own(&attempt),
            Command::Check {
                attempt,
                code_hash,
                caller,
            } => self.check(&attempt, &code_hash, caller.as_deref(), now_ms),
            Command::AuthCode(attempt) => self.newest_auth_code(&attempt),
            Command::Release(attempt) => self.release(&attempt),
            Command::MarkUsed {
                attempt,
                auth_code,
                device_hash,
            } => self.mark_used(&attempt, &auth_code, device_hash),
            Command::Unlock => {
                self.unrecognised_failures = 0;
                NumberReply::Done
            }
        }
    }

    /// Whether nothing is left that is worth storing.
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty()
            && self.devices.is_empty()
            && self.unrecognised_failures == 0
            && self.unrecognised.newest_ms().is_none()
    }

    /// When the object should next check what can be dropped (milliseconds since 1970).
    pub fn next_cleaning_ms(&self) -> Option<i64> {
        let attempts = self.attempts.iter().map(|attempt| attempt.expires_at_ms);
        if let Some(last) = attempts.max() {
            return Some(last + REMEMBER_MS + 1);
        }
        let devices = self.devices.iter().filter_map(|one| one.share.newest_ms());
        let last = devices.chain(self.unrecognised.newest_ms()).max()?;
        Some(last + DAY_MS + 1)
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
        self.begun_at_ms.retain(|at_ms| at_ms + MINUTE_MS > now_ms);
        self.unrecognised.forget_old(now_ms);
        for device in &mut self.devices {
            device.share.forget_old(now_ms);
        }
        if self.attempts.is_empty() {
            self.auth_code = None;
            self.phone.clear();
        }
    }

    fn device(&self, hash: &str) -> Option<usize> {
        let is = |stored: &String| constant_time_eq(stored.as_bytes(), hash.as_bytes());
        self.devices
            .iter()
            .position(|device| device.hashes.iter().any(is))
    }

    /// The share of a recognised device, or else the one of all unrecognised devices, and whether it is the latter.
    fn share(&mut self, device: Option<&str>) -> (&mut Share, bool) {
        match device.and_then(|hash| self.device(hash)) {
            Some(at) => (&mut self.devices[at].share, false),
            None => (&mut self.unrecognised, true),
        }
    }

    fn lock_refusal(&self, now_ms: i64) -> Option<NumberReply> {
        (self.unrecognised_failures >= LOCK_AFTER)
            .then(|| Refusal::Locked.at(LOCK_AFTER as usize, now_ms + LOCK_RETRY_MS))
    }

    fn find(&mut self, id: &str) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| attempt.id == id)
    }

    fn can_begin(&mut self, device: Option<&str>, limited: bool, now_ms: i64) -> NumberReply {
        let recognised = device.is_some_and(|hash| self.device(hash).is_some());
        let refusal = self.refusal(device, limited, false, now_ms);
        refusal.unwrap_or(NumberReply::Available { recognised })
    }

    /// Why no code can be begun, if so.
    fn refusal(
        &mut self,
        device: Option<&str>,
        limited: bool,
        passed: bool,
        now_ms: i64,
    ) -> Option<NumberReply> {
        let lock = self.lock_refusal(now_ms);
        let minute = full(&self.begun_at_ms, CODES_A_MINUTE).filter(|_| limited);
        let (share, unrecognised) = self.share(device);
        let sms = share.sms_refusal(unrecognised, passed).filter(|_| limited);
        lock.filter(|_| unrecognised)
            // A code that may not be tried would be a message for nothing.
            .or_else(|| share.tries_refusal())
            .or(sms)
            .or_else(|| {
                let wait = now_ms < share.resend_at_ms;
                wait.then(|| Refusal::Resend.at(1, share.resend_at_ms))
            })
            .or_else(|| minute.map(|first| Refusal::Codes.at(CODES_A_MINUTE, first + MINUTE_MS)))
    }

    /// Nothing is refused here: [`Self::refusal`] was asked before. The attempt counts as a message although none has
    /// left yet; [`Self::cancel`] takes that back if the hook never took the code.
    fn begin(&mut self, phone: String, attempt: Attempt, now_ms: i64) -> NumberReply {
        let (share, _) = self.share(attempt.device.as_deref());
        let resend_at_ms = now_ms + RESEND_AFTER_MS;
        share.resend_at_ms = resend_at_ms;
        share.sms_at_ms.push(now_ms);
        self.begun_at_ms.push(now_ms);
        self.phone = phone;
        let expires_at_ms = attempt.expires_at_ms;
        self.attempts.push(attempt);
        NumberReply::Begun {
            expires_at_ms,
            resend_at_ms,
        }
    }

    fn cancel(&mut self, id: &str) -> NumberReply {
        let Some(at) = self.attempts.iter().position(|attempt| attempt.id == id) else {
            return NumberReply::Cancelled;
        };
        if self.attempts[at].unsent.is_none() {
            return NumberReply::AlreadySent;
        }
        // Nothing was sent: it does not count.
        let attempt = self.attempts.remove(at);
        let begun_at_ms = attempt.expires_at_ms - CODE_TTL_MS;
        let (share, _) = self.share(attempt.device.as_deref());
        share.resend_at_ms = 0;
        remove_one(&mut share.sms_at_ms, begun_at_ms);
        remove_one(&mut self.begun_at_ms, begun_at_ms);
        NumberReply::Cancelled
    }

    fn take(&mut self, webhook_id: String, auth_code: String, now_ms: i64) -> NumberReply {
        if self.webhooks.iter().any(|(seen, _)| *seen == webhook_id) {
            return NumberReply::ToSend(Vec::new());
        }
        self.webhooks.push((webhook_id, now_ms));
        self.auth_code = Some(auth_code);
        let messages = self
            .attempts
            .iter_mut()
            .filter_map(|attempt| attempt.unsent.take())
            .collect();
        NumberReply::ToSend(messages)
    }

    fn take_own(&mut self, id: &str) -> NumberReply {
        let attempt = self.find(id);
        let message = attempt.and_then(|attempt| attempt.unsent.take());
        NumberReply::ToSend(message.into_iter().collect())
    }

    fn check(
        &mut self,
        id: &str,
        code_hash: &str,
        caller: Option<&str>,
        now_ms: i64,
    ) -> NumberReply {
        let lock = self.lock_refusal(now_ms);
        let Some(at) = self.attempts.iter().position(|attempt| attempt.id == id) else {
            return NumberReply::Invalid;
        };
        let begun_for = self.attempts[at].anonymous_user.as_deref();
        if begun_for.is_some() && begun_for != caller {
            return NumberReply::Invalid;
        }
        let device = self.attempts[at].device.clone();
        let (share, unrecognised) = self.share(device.as_deref());
        let (spent, resend_at_ms) = (share.tries_refusal(), share.resend_at_ms);
        if let Some(refusal) = lock.filter(|_| unrecognised) {
            return refusal;
        }
        let attempt = &mut self.attempts[at];
        match attempt.stage {
            Stage::Used => return NumberReply::Invalid,
            Stage::Claimed { until_ms } if until_ms > now_ms => return NumberReply::Invalid,
            _ => attempt.stage = Stage::Open,
        }
        if attempt.expires_at_ms <= now_ms {
            return NumberReply::Expired;
        }
        if attempt.wrong_tries >= MAX_WRONG_TRIES {
            return Refusal::Tries.at(MAX_WRONG_TRIES.into(), resend_at_ms);
        }
        if let Some(refusal) = spent {
            return refusal;
        }
        if !constant_time_eq(attempt.code_hash.as_bytes(), code_hash.as_bytes()) {
            attempt.wrong_tries += 1;
            self.share(device.as_deref()).0.wrong_at_ms.push(now_ms);
            if unrecognised {
                self.unrecognised_failures = self.unrecognised_failures.saturating_add(1);
            }
            return NumberReply::Wrong;
        }
        attempt.stage = Stage::Claimed {
            until_ms: now_ms + CLAIM_MS,
        };
        let anonymous_user = attempt.anonymous_user.clone();
        self.right(anonymous_user)
    }

    fn right(&self, anonymous_user: Option<String>) -> NumberReply {
        NumberReply::Right {
            phone: self.phone.clone(),
            auth_code: self.auth_code.clone(),
            anonymous_user,
        }
    }

    fn newest_auth_code(&mut self, id: &str) -> NumberReply {
        match self.find(id) {
            Some(attempt) if matches!(attempt.stage, Stage::Claimed { .. }) => {
                let anonymous_user = attempt.anonymous_user.clone();
                self.right(anonymous_user)
            }
            _ => NumberReply::Invalid,
        }
    }

    fn release(&mut self, id: &str) -> NumberReply {
        if let Some(attempt) = self.find(id)
            && matches!(attempt.stage, Stage::Claimed { .. })
        {
            attempt.stage = Stage::Open;
        }
        NumberReply::Done
    }

    fn mark_used(&mut self, id: &str, auth_code: &str, device_hash: String) -> NumberReply {
        let (mut begun_by, mut used) = (Vec::new(), None);
        if let Some(attempt) = self.find(id) {
            attempt.stage = Stage::Used;
            begun_by = std::mem::take(&mut attempt.begun_by);
            used = attempt.device.clone();
        }
        if self.auth_code.as_deref() == Some(auth_code) {
            self.auth_code = None;
        }
        // The owner has signed in: the series of failures ends here.
        self.unrecognised_failures = 0;
        let existing = used.as_deref().and_then(|hash| self.device(hash));
        let share = existing.map(|at| self.devices.remove(at).share);
        self.devices.push(Device {
            hashes: used.into_iter().chain([device_hash]).collect(),
            share: share.unwrap_or_default(),
        });
        if self.devices.len() > MAX_DEVICES {
            self.devices.remove(0);
        }
        NumberReply::MarkedUsed(begun_by)
    }
}

fn remove_one(instants: &mut Vec<i64>, instant: i64) {
    if let Some(at) = instants.iter().rposition(|at_ms| *at_ms == instant) {
        instants.remove(at);
    }
}

#[cfg(test)]
#[path = "number_state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "anonymous_attempt_tests.rs"]
mod anonymous_attempt_tests;
