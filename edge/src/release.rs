//! The release of what is compiled in.

/// A digest of the sources that answers are made by. Tags and cache keys carry it, so that no answer outlives the
/// release that made it.
pub const RELEASE: &str = env!("RELEASE");
