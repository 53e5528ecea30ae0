//! The rules of Carbon-Pixels in one place: what a kilogram of waste earns and emits, what levels and streaks are, which
//! phone numbers may sign in, which entries are valid, and how an old diary is read.
//!
//! Compiled into the database extension and into the Worker, so that all interfaces answer the same. The crate has no
//! clock, no I/O and no randomness; callers pass the time. Credits, weights and emissions are integers.

#![forbid(unsafe_code)]

pub mod achievement;
pub mod community;
pub mod credit;
pub mod criteria;
pub mod derive;
pub mod device;
pub mod digits;
pub mod emission;
pub mod entry;
pub mod error;
pub mod identity;
pub mod invite_code;
pub mod json;
pub mod lang;
pub mod legacy;
pub mod level;
pub mod limits;
pub mod mark;
#[cfg(feature = "unicode-tables")]
pub mod moderation;
pub mod outage;
pub mod phone;
pub mod profile;
pub mod province;
pub mod ranking;
pub mod scores;
pub mod share;
pub mod streak;
pub mod tally;
#[cfg(feature = "unicode-tables")]
pub mod text;
pub mod time;
pub mod units;
pub mod visibility;
pub mod waste;
pub mod zone;

mod raw_json;

pub use error::{DomainError, FieldError};
pub use lang::Lang;
pub use units::{MicroKg, Weight};
