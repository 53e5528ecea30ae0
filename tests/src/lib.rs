//! What the end-to-end tests in Rust share: where the running system is, and the figures of the domain computed once more
//! from the raw factors, so that the tests compare the system with something that shares no code with it.

pub mod boards;
pub mod earned;
pub mod figures;
pub mod rewards;
pub mod system;
