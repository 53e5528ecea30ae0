//! What the edge remembers: one module a binding or Durable Object.

pub mod number_state;
pub mod otp_id;
pub mod phone_number;
