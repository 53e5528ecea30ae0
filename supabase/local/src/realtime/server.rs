//! What all connections share.

use super::hub::Hub;
use crate::counter::Counter;
use deadpool_postgres::Pool;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Connections of one user: several devices, tabs, and those that a phone left without closing.
pub const MAX_CONNECTIONS: usize = 20;

pub struct Realtime {
    pub hub: Arc<Hub>,
    pub pool: Pool,
    pub jwt_secret: String,
    pub idle: Duration,
    /// Connections by the `sub` of the tokens in use on them.
    pub users: Counter<String>,
    /// Whether the days around today have their partitions.
    pub has_partitions: AtomicBool,
}
