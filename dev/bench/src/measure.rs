//! Single measurements: a pgbench run, a timed statement, requests to PostgREST.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use super::scratch::Scratch;
use xtask::environment::Environment;
use xtask::process::{command, text};

/// A pgbench run as the role of signed-in users.
pub struct Run<'a> {
    pub database: &'a str,
    /// A file of dev/bench/sql.
    pub script: &'a str,
    pub connections: u32,
    pub seconds: u32,
    /// The number of users that the script may choose from.
    pub people: u32,
    /// The one user who reads; none if the script chooses.
    pub person: Option<&'a str>,
    /// `prepared`, or `simple`: then every statement is parsed and planned again.
    pub protocol: &'a str,
}

impl Run<'_> {
    /// Transactions a second.
    pub fn per_second(&self, scratch: &Scratch) -> Result<f64> {
        let answer = text(&mut self.command(scratch)?)?;
        answer
            .lines()
            .find_map(|line| line.strip_prefix("tps = "))
            .and_then(|line| line.split(' ').next())
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("pgbench answered: {answer}"))
    }

    fn command(&self, scratch: &Scratch) -> Result<Command> {
        let mut settings = "-c role=authenticated".to_owned();
        if let Some(person) = self.person {
            settings += &format!(
                " -c request.jwt.claims={{\"role\":\"authenticated\",\"sub\":\"{person}\"}}"
            );
        }
        let mut pgbench = command(scratch.postgres.bin("pgbench"));
        pgbench
            .args(["--no-vacuum", "--username=authenticator"])
            .args(["--host=127.0.0.1".to_owned()])
            .arg(format!("--port={}", scratch.environment.ports.db))
            .arg(format!("--protocol={}", self.protocol))
            .arg(format!("--client={}", self.connections))
            .arg(format!("--jobs={}", self.connections))
            .arg(format!("--time={}", self.seconds))
            .arg(format!("--define=people={}", self.people))
            .arg("--file")
            .arg(scratch.checkout.path("dev/bench/sql").join(self.script))
            .arg(self.database)
            .env("PGOPTIONS", settings)
            .env(
                "PGPASSWORD",
                scratch
                    .environment
                    .secrets
                    .get("DB_PASSWORD_AUTHENTICATOR")?,
            );
        Ok(pgbench)
    }
}

/// Milliseconds that a file of dev/bench/sql takes in the server, by psql's own clock.
pub fn statement_ms(scratch: &Scratch, database: &str, script: &str, set: &[&str]) -> Result<f64> {
    let mut psql = scratch.psql(database)?;
    for variable in set {
        psql.arg(format!("--set={variable}"));
    }
    let answer = text(
        psql.args(["--command=\\timing on", "--file"])
            .arg(scratch.checkout.path("dev/bench/sql").join(script)),
    )?;
    answer
        .lines()
        .find_map(|line| line.strip_prefix("Time: "))
        .and_then(|line| line.split(' ').next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("psql answered: {answer}"))
}

/// A reader of PostgREST, signed in as one user.
pub struct Reader {
    address: String,
    token: String,
}

impl Reader {
    pub fn new(environment: &Environment, person: &str) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = json!({
            "sub": person, "role": "authenticated", "aud": "authenticated", "exp": now + 3600,
        });
        Ok(Self {
            address: Environment::http(environment.ports.rest),
            token: carbon_dev_jwt::sign(environment.secrets.get("JWT_SECRET")?, &claims),
        })
    }

    /// GETs a second of one path over reused connections, each waiting for its answer.
    pub fn per_second(&self, path: &str, connections: usize, time: Duration) -> Result<f64> {
        let counts: Vec<Result<u32>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|_| scope.spawn(|| self.count(path, time)))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err(anyhow!("a reader panicked")))
                })
                .collect()
        });
        let mut sum = 0;
        for count in counts {
            sum += count?;
        }
        Ok(f64::from(sum) / time.as_secs_f64())
    }

    fn count(&self, path: &str, time: Duration) -> Result<u32> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .into();
        let url = format!("{}{path}", self.address);
        let authorization = format!("Bearer {}", self.token);
        let started = Instant::now();
        let mut count = 0;
        while started.elapsed() < time {
            let body = agent
                .get(&url)
                .header("authorization", &authorization)
                .call()
                .with_context(|| path.to_owned())?
                .body_mut()
                .read_to_string()?;
            ensure!(body.len() > 2, "{path} answered nothing");
            count += 1;
        }
        Ok(count)
    }
}
