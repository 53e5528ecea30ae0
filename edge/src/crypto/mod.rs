//! Keys, hashes and signatures: pure functions, and one source of randomness.

pub mod bytes;
pub mod id_token;
pub mod otp_id;
pub mod subtle;
pub mod webhook;
