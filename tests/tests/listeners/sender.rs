//! Sends events from the database: transactions with one event each, at a steady rate, however long the answers take.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carbon_tests::system::System;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::listener::{SHARED, topic_of};

/// Connections that send to single users.
const CONNECTIONS: usize = 4;

/// When the commit of each event was sent.
#[derive(Default)]
pub struct Sent {
    pub own: HashMap<u64, Instant>,
    pub shared: HashMap<u64, Instant>,
}

pub struct Sender {
    connections: Vec<Arc<Client>>,
    user_ids: Arc<Vec<String>>,
    last: u64,
}

impl Sender {
    pub async fn new(system: &System, user_ids: Arc<Vec<String>>) -> Self {
        let mut connections = Vec::new();
        for _ in 0..=CONNECTIONS {
            let connected = tokio_postgres::connect(&system.db_url, NoTls).await;
            let (client, connection) = connected.expect("the database");
            tokio::spawn(connection);
            connections.push(Arc::new(client));
        }
        Self {
            connections,
            user_ids,
            last: 0,
        }
    }

    /// Sends `events_per_second` events to one user each, and one a second to all.
    pub async fn round(&mut self, length: Duration, events_per_second: u32) -> Sent {
        let lanes = u32::try_from(CONNECTIONS).unwrap_or(1);
        let between = Duration::from_secs(1) * lanes / events_per_second.max(1);
        let first = self.last + 1;
        let mut tasks = JoinSet::new();
        for (lane, connection) in self.connections.iter().cloned().enumerate() {
            let user_ids = self.user_ids.clone();
            let is_shared = lane == CONNECTIONS;
            let between = if is_shared {
                Duration::from_secs(1)
            } else {
                between
            };
            tasks.spawn(async move {
                let mut sent = HashMap::new();
                let mut ticks = tokio::time::interval(between);
                let until = Instant::now() + length;
                let mut number = first + lane as u64;
                while Instant::now() < until {
                    ticks.tick().await;
                    let topic = match is_shared {
                        true => SHARED.to_owned(),
                        // A prime stride, so that all users have their turn, far from their neighbours'.
                        false => topic_of(&user_ids[number as usize * 7919 % user_ids.len()]),
                    };
                    sent.insert(number, send(&connection, &topic, number).await);
                    number += CONNECTIONS as u64 + 1;
                }
                (is_shared, number, sent)
            });
        }
        let mut all = Sent::default();
        for (is_shared, number, sent) in tasks.join_all().await {
            self.last = self.last.max(number);
            match is_shared {
                true => all.shared.extend(sent),
                false => all.own.extend(sent),
            }
        }
        all
    }
}

/// Runs one transaction; returns when its commit was sent.
async fn send(connection: &Client, topic: &str, number: u64) -> Instant {
    let payload = format!(
        r#"{{"number": {number}, "total_credits": 1234, "credits": 15, "current_level": 2}}"#
    );
    connection
        .batch_execute(&format!(
            "begin; select private.send_messages(array[(null, '{topic}', 'credits_changed', '{payload}')::private.message])"
        ))
        .await
        .expect("an event");
    let committed_at = Instant::now();
    connection.batch_execute("commit").await.expect("a commit");
    committed_at
}
