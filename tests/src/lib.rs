//! What the end-to-end tests in Rust share: the addresses of the running system, and an independent computation of the
//! domain's figures from the raw factors, so that the system is compared with code that it has no part of.

pub mod boards;
pub mod earned;
pub mod figures;
pub mod rewards;
pub mod system;
