//! A consistent view of the database: everything read through it is of the same moment, regardless of concurrent writes.

use std::time::Duration;

use carbon_tests::system::System;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

/// A superuser's transaction that sees one moment, and can read as any user.
pub struct Snapshot {
    client: Client,
}

impl Snapshot {
    /// Begins once the boards have everything that was written. Nothing may be written meanwhile, or boards and entries could
    /// be of different moments.
    pub async fn take(system: &System) -> Self {
        let (client, connection) = tokio_postgres::connect(&system.db_url, NoTls)
            .await
            .expect("the database");
        tokio::spawn(connection);
        let snapshot = Self { client };
        snapshot.wait_for_boards().await;
        snapshot
            .run("begin isolation level repeatable read read only")
            .await;
        snapshot
    }

    async fn wait_for_boards(&self) {
        for _ in 0..600 {
            let outbox = "select to_json(exists (select from private.outbox))::text";
            if self.value(outbox, &[]).await == Value::Bool(false) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the outbox is not emptied");
    }

    /// One JSON value as the superuser sees it.
    pub async fn value(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Value {
        let row = self
            .client
            .query_one(statement, values)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        let text: Option<String> = row.get(0);
        text.map_or(Value::Null, |text| {
            serde_json::from_str(&text).expect("JSON")
        })
    }

    /// Reads as this user, or as a signed-out visitor, until [`Snapshot::read_as_superuser`].
    pub async fn read_as(&self, user_id: Option<&str>) {
        let (role, claims) = match user_id {
            Some(id) => (
                "authenticated",
                json!({ "sub": id, "role": "authenticated" }),
            ),
            None => ("anon", json!({ "role": "anon" })),
        };
        self.run(&format!(
            "select set_config('request.jwt.claims', '{claims}', true); set local role {role}"
        ))
        .await;
    }

    /// Reads as the superuser again.
    pub async fn read_as_superuser(&self) {
        self.run("set local role none").await;
    }

    async fn run(&self, statements: &str) {
        self.client
            .batch_execute(statements)
            .await
            .unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }
}
