//! A connection that may be cut at any moment, and how a client gets a certain outcome all the same: it repeats the call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carbon_tests::system::System;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

/// How pg_stat_activity names connections that may be cut.
pub const APPLICATION: &str = "carbon concurrent";
/// A statement that is cut this often in a row is not cut by chance: it causes the cut.
const MAX_TRIES: usize = 200;

/// As whom statements run.
#[derive(Clone, Copy, Debug)]
pub enum Role<'a> {
    /// A signed-in user, by id.
    Person(&'a str),
    /// The operator's key.
    Service,
    /// A superuser, as scheduled jobs are.
    Job,
}

/// One statement that answers a single JSON value as text, and its parameters, all of them texts.
#[derive(Clone, Debug)]
pub struct Statement {
    pub sql: &'static str,
    pub values: Vec<String>,
}

impl Statement {
    pub fn new(sql: &'static str, values: &[&str]) -> Self {
        Self {
            sql,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }
}

/// The outcome of a transaction, known for certain.
#[derive(Debug)]
pub enum Outcome {
    /// What each statement of the transaction answered.
    Done(Vec<Value>),
    /// SQLSTATE, the error's token, and its message.
    Refused(String, String, String),
}

/// An outcome, and whether an earlier try had none: then the call may have been carried out already.
#[derive(Debug)]
pub struct Reply {
    pub outcome: Outcome,
    pub again: bool,
}

/// Why a try has no outcome.
enum TransportError {
    /// The connection broke: whether it committed is unknown.
    Cut,
    /// The statement has to be repeated, as PostgREST does.
    Repeat,
}

/// A connection of one device.
pub struct FlakyConnection<'a> {
    system: &'a System,
    client: Option<Client>,
    /// How often it was cut.
    pub cuts: &'a AtomicUsize,
}

impl<'a> FlakyConnection<'a> {
    pub fn new(system: &'a System, cuts: &'a AtomicUsize) -> Self {
        Self {
            system,
            client: None,
            cuts,
        }
    }

    /// Carries the statements out in one transaction, and repeats it until the outcome is certain.
    pub async fn call(&mut self, role: Role<'_>, statements: &[Statement]) -> Reply {
        let mut again = false;
        for _ in 0..MAX_TRIES {
            match self.attempt(role, statements).await {
                Ok(outcome) => return Reply { outcome, again },
                Err(TransportError::Repeat) => {}
                Err(TransportError::Cut) => {
                    again = true;
                    self.client = None;
                    self.cuts.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        panic!("no answer to {statements:?}");
    }

    /// Carries the statement out and ends the connection before the transaction does.
    pub async fn abandon(&mut self, role: Role<'_>, statement: &Statement) {
        let end = Statement::new(
            "select to_jsonb(pg_terminate_backend(pg_backend_pid()))::text",
            &[],
        );
        let tried = self.attempt(role, &[statement.clone(), end]).await;
        assert!(
            !matches!(tried, Ok(Outcome::Done(_))),
            "it should have ended"
        );
        self.client = None;
    }

    async fn attempt(
        &mut self,
        role: Role<'_>,
        statements: &[Statement],
    ) -> Result<Outcome, TransportError> {
        self.connect().await?;
        let client = self.client.as_ref().expect("connected");
        let begin = beginning(role);
        if let Err(error) = client.batch_execute(&begin).await {
            return refusal(client, &begin, &error).await;
        }
        let mut answers = Vec::new();
        for statement in statements {
            let values: Vec<&(dyn ToSql + Sync)> = statement
                .values
                .iter()
                .map(|value| value as &(dyn ToSql + Sync))
                .collect();
            match client.query_one(statement.sql, &values).await {
                Ok(row) => {
                    let text: Option<String> = row.get(0);
                    answers.push(text.map_or(Value::Null, |text| {
                        serde_json::from_str(&text).expect("JSON")
                    }));
                }
                Err(error) => return refusal(client, statement.sql, &error).await,
            }
        }
        match client.batch_execute("commit").await {
            Ok(()) => Ok(Outcome::Done(answers)),
            Err(error) => refusal(client, "commit", &error).await,
        }
    }

    async fn connect(&mut self) -> Result<(), TransportError> {
        if self.client.as_ref().is_some_and(|one| !one.is_closed()) {
            return Ok(());
        }
        let mut config: tokio_postgres::Config = self.system.db_url.parse().expect("an address");
        config.application_name(APPLICATION);
        match config.connect(NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                self.client = Some(client);
                Ok(())
            }
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(TransportError::Cut)
            }
        }
    }
}

fn beginning(role: Role<'_>) -> String {
    match role {
        Role::Person(id) => {
            let claims = json!({ "sub": id, "role": "authenticated" });
            format!(
                "begin; select set_config('request.jwt.claims', '{claims}', true); set local role authenticated"
            )
        }
        Role::Service => "begin; set local role service_role".to_owned(),
        Role::Job => "begin".to_owned(),
    }
}

/// What an error means: a refusal, a reason to repeat, a broken connection; never a deadlock or a bug.
async fn refusal(
    client: &Client,
    sql: &str,
    error: &tokio_postgres::Error,
) -> Result<Outcome, TransportError> {
    let Some(database) = error.as_db_error() else {
        return Err(TransportError::Cut);
    };
    let code = database.code().code();
    if code.starts_with("57P") || code.starts_with("08") {
        return Err(TransportError::Cut);
    }
    assert!(
        code != "40P01" && !code.starts_with("XX"),
        "{sql}: {database:?}"
    );
    if client.batch_execute("rollback").await.is_err() {
        return Err(TransportError::Cut);
    }
    if code == "40001" {
        return Err(TransportError::Repeat);
    }
    if database.detail() == Some("carbon.already_running") {
        // Another device writes for the same user; a long call does not wait for it but is refused at once.
        tokio::time::sleep(Duration::from_millis(20)).await;
        return Err(TransportError::Repeat);
    }
    Ok(Outcome::Refused(
        code.to_owned(),
        database.detail().unwrap_or_default().to_owned(),
        database.message().to_owned(),
    ))
}
