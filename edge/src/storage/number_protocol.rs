//! What the Worker and the object of a phone number say to each other.

use serde::{Deserialize, Serialize};

/// A code on its way to the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub code: String,
    /// Whether the user asked in English; Thai otherwise.
    pub english: bool,
}

/// What the Worker sends to a number.
#[derive(Debug, Serialize, Deserialize)]
pub enum Command {
    /// Whether a code could be begun now, and whether the device is recognised; changes nothing.
    CanBegin {
        device_hash: Option<String>,
        /// Whether messages a day and codes a minute are limited.
        limited: bool,
    },
    /// A code is requested.
    Begin {
        phone: String,
        attempt: String,
        /// Keyed hash of the code.
        code_hash: String,
        /// The code itself, for the hook.
        message: Message,
        device_hash: Option<String>,
        /// The subjects that get a refund when the code is verified.
        begun_by: Vec<String>,
        /// The anonymous user who asks, if one does: only their session may use the code.
        anonymous_user: Option<String>,
        /// Whether messages a day and codes a minute are limited.
        limited: bool,
        /// Whether the bot check was passed for this code.
        passed: bool,
    },
    /// Auth did not take the request: forget this attempt unless its SMS is on the way.
    Cancel(String),
    /// The hook brings Auth's own code and takes the codes that wait to be sent.
    Take {
        /// `webhook-id`, counted once.
        webhook_id: String,
        auth_code: String,
    },
    /// The Worker takes the code of this attempt to send it, without Auth.
    TakeOwn(String),
    /// A user typed a code.
    Check {
        attempt: String,
        /// Keyed hash of what was typed.
        code_hash: String,
        /// The signed-in user who is calling, if one is.
        caller: Option<String>,
    },
    /// Auth's newest code, for this attempt, which holds the claim.
    AuthCode(String),
    /// Auth was down: this attempt's code may be used again.
    Release(String),
    /// Auth opened a session: the code is used, and the device recognised from now on.
    MarkUsed {
        attempt: String,
        /// Auth's code that was used up.
        auth_code: String,
        /// Hash of the new device token.
        device_hash: String,
    },
    /// An operator allows unrecognised devices again.
    Unlock,
}

/// The answer of a number.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NumberReply {
    /// A code can be begun.
    Available {
        recognised: bool,
    },
    /// The attempt exists; times in milliseconds since 1970.
    Begun {
        expires_at_ms: i64,
        /// When the next one may be requested.
        resend_at_ms: i64,
    },
    /// Not now.
    Refused {
        why: Refusal,
        limit: u32,
        /// When it is free again (milliseconds since 1970).
        reset_at_ms: i64,
    },
    Cancelled,
    /// The hook has taken the code: the SMS is on its way.
    AlreadySent,
    /// Codes for the hook to send, one for each waiting attempt, perhaps none.
    ToSend(Vec<Message>),
    /// The code is right and the attempt claimed.
    Right {
        phone: String,
        /// Auth's newest code, if it holds one.
        auth_code: Option<String>,
        /// The anonymous user who asked for it, if one did.
        anonymous_user: Option<String>,
    },
    /// Another code than the one that was sent.
    Wrong,
    /// No such attempt, or its code was used.
    Invalid,
    /// Too late.
    Expired,
    /// The code is used; these subjects get a refund.
    MarkedUsed(Vec<String>),
    Done,
}

/// The limits of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// A code was sent a moment ago.
    Resend,
    /// Codes a minute.
    Codes,
    Sms,
    /// Messages a day, but the bot check allows one more.
    SmsUnlessPassed,
    /// Wrong tries of one code.
    Tries,
    TriesOfDay,
    /// Failures in a row.
    Locked,
}

impl Refusal {
    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Resend => "resend",
            Self::Codes => "codes_a_minute",
            Self::Sms | Self::SmsUnlessPassed => "sms_a_day",
            Self::Tries => "tries",
            Self::TriesOfDay => "tries_a_day",
            Self::Locked => "locked",
        }
    }

    pub(super) fn at(self, limit: usize, reset_at_ms: i64) -> NumberReply {
        NumberReply::Refused {
            why: self,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            reset_at_ms,
        }
    }
}
