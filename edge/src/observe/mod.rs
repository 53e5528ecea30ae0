//! What operators see: log lines and counters.

pub mod log;
pub mod metrics;
pub mod metrics_text;
