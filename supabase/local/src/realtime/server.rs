//! What all connections share.

use super::hub::Hub;
use crate::counter::Counter;
use deadpool_postgres::Pool;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Connections of one person: several devices, tabs, and those that a phone left without a word.
pub const MAX_CONNECTIONS: usize = 20;

/// The server.
pub struct Realtime {
    pub hub: Arc<Hub>,
    pub pool: Pool,
    pub jwt_secret: String,
    pub idle: Duration,
    /// Connections by the `sub` of the tokens in use on them.
    pub people: Counter<String>,
    /// Whether the days around today have their partitions.
    pub has_partitions: AtomicBool,
}
