//! What the edge stores: the data centre's cache and the Durable Objects. Each object (`*_do.rs`) only loads and saves;
//! its rules are a pure state machine (`*_state.rs`).

pub mod cache;
pub mod metrics_do;
pub mod number_protocol;
pub mod number_state;
pub mod object;
pub mod phone_number_do;
pub mod single_use;
pub mod sms_budget;
pub mod subject_do;
pub mod subject_state;

#[cfg(test)]
mod guessing_tests;
