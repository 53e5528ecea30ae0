//! What the edge remembers: one module a binding or Durable Object.

pub mod metrics_store;
pub mod number_state;
pub mod object;
pub mod otp_id;
pub mod phone_number;
pub mod sms_budget;
pub mod subject;
pub mod subject_state;

#[cfg(test)]
mod guessing_tests;
