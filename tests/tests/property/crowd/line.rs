//! A connection that may be cut at any moment, and how a client comes to a definite answer all the same: it asks again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carbon_tests::system::System;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

/// The name by which connections that may be cut are known in pg_stat_activity.
pub const APPLICATION: &str = "carbon crowd";
/// A statement that is cut this often in a row is not cut by chance.
const MOST_TRIES: usize = 200;

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub enum Voice<'a> {
    /// A signed-in person, by id.
    Person(&'a str),
    /// The operator's key.
    Service,
    /// A superuser: what runs by the clock.
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

/// The definite answer.
#[derive(Debug)]
pub enum Said {
    /// What each statement of the transaction answered.
    Done(Vec<Value>),
    /// SQLSTATE, the error's token, and its words.
    Refused(String, String, String),
}

/// An answer, and whether an earlier try had none: it may have been carried out already.
#[derive(Debug)]
pub struct Told {
    pub said: Said,
    pub again: bool,
}

/// Why a try came to nothing.
enum Trouble {
    /// The connection broke: nobody knows what was done.
    Cut,
    /// The statement has to be repeated, as PostgREST does.
    Repeat,
}

/// A connection of one device.
pub struct Line<'a> {
    system: &'a System,
    client: Option<Client>,
    /// How often it was cut.
    pub cuts: &'a AtomicUsize,
}

impl<'a> Line<'a> {
    pub fn new(system: &'a System, cuts: &'a AtomicUsize) -> Self {
        Self {
            system,
            client: None,
            cuts,
        }
    }

    /// Carries the statements out in one transaction.
    pub async fn call(&mut self, voice: Voice<'_>, statements: &[Statement]) -> Told {
        let mut again = false;
        for _ in 0..MOST_TRIES {
            match self.attempt(voice, statements).await {
                Ok(said) => return Told { said, again },
                Err(Trouble::Repeat) => {}
                Err(Trouble::Cut) => {
                    again = true;
                    self.client = None;
                    self.cuts.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        panic!("no answer to {statements:?}");
    }

    /// Carries the statement out and ends the connection before the transaction does.
    pub async fn abandon(&mut self, voice: Voice<'_>, statement: &Statement) {
        let end = Statement::new(
            "select to_jsonb(pg_terminate_backend(pg_backend_pid()))::text",
            &[],
        );
        let tried = self.attempt(voice, &[statement.clone(), end]).await;
        assert!(!matches!(tried, Ok(Said::Done(_))), "it should have ended");
        self.client = None;
    }

    async fn attempt(
        &mut self,
        voice: Voice<'_>,
        statements: &[Statement],
    ) -> Result<Said, Trouble> {
        self.connect().await?;
        let client = self.client.as_ref().expect("connected");
        let begin = beginning(voice);
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
            Ok(()) => Ok(Said::Done(answers)),
            Err(error) => refusal(client, "commit", &error).await,
        }
    }

    async fn connect(&mut self) -> Result<(), Trouble> {
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
                Err(Trouble::Cut)
            }
        }
    }
}

fn beginning(voice: Voice<'_>) -> String {
    match voice {
        Voice::Person(id) => {
            let claims = json!({ "sub": id, "role": "authenticated" });
            format!(
                "begin; select set_config('request.jwt.claims', '{claims}', true); set local role authenticated"
            )
        }
        Voice::Service => "begin; set local role service_role".to_owned(),
        Voice::Job => "begin".to_owned(),
    }
}

/// What an error means: a refusal, a reason to repeat, a broken connection; never a deadlock or a bug.
async fn refusal(
    client: &Client,
    sql: &str,
    error: &tokio_postgres::Error,
) -> Result<Said, Trouble> {
    let Some(database) = error.as_db_error() else {
        return Err(Trouble::Cut);
    };
    let code = database.code().code();
    if code.starts_with("57P") || code.starts_with("08") {
        return Err(Trouble::Cut);
    }
    assert!(
        code != "40P01" && !code.starts_with("XX"),
        "{sql}: {database:?}"
    );
    if client.batch_execute("rollback").await.is_err() {
        return Err(Trouble::Cut);
    }
    if code == "40001" {
        return Err(Trouble::Repeat);
    }
    if database.detail() == Some("carbon.already_running") {
        // Another device writes for the same person; a long call does not wait for it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        return Err(Trouble::Repeat);
    }
    Ok(Said::Refused(
        code.to_owned(),
        database.detail().unwrap_or_default().to_owned(),
        database.message().to_owned(),
    ))
}
