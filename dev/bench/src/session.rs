//! One warm session of the database, and what its server process uses for a statement.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, ensure};

use super::edge::percentile;
use super::edge::system::Process;
use super::scratch::Scratch;

/// Printed by psql after each statement, so that its end is detected.
const END: &str = "-- the statement has ended --";

/// psql that receives one statement at a time.
pub struct Session {
    psql: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    server: Process,
}

impl Session {
    /// A session of the superuser, who may then switch to a client's role.
    pub fn open(scratch: &Scratch, database: &str) -> Result<Self> {
        let mut psql = scratch
            .psql(database)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = psql.stdin.take().context("psql takes input")?;
        let output = BufReader::new(psql.stdout.take().context("psql gives output")?);
        let mut session = Self {
            psql,
            input,
            output,
            server: Process::of(0),
        };
        let pid = session.run("select pg_backend_pid()")?;
        session.server = Process::of(pid.trim().parse().context("a process's number")?);
        Ok(session)
    }

    /// As in the user's requests: role and claims, until the session ends.
    pub fn act_as(&mut self, claims: &serde_json::Value) -> Result<()> {
        let claims = claims.to_string().replace('\'', "''");
        self.run(&format!(
            "select set_config('request.jwt.claims', '{claims}', false); set role authenticated"
        ))
        .map(drop)
    }

    /// Runs a statement and returns its result.
    pub fn run(&mut self, statement: &str) -> Result<String> {
        writeln!(self.input, "{statement};\n\\echo {END}\n\\! true")?;
        self.input.flush()?;
        let mut answer = String::new();
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line)?;
            ensure!(count > 0, "psql ended at: {statement:.200}");
            if line.trim_end() == END {
                return Ok(answer);
            }
            answer.push_str(&line);
        }
    }

    /// Milliseconds of CPU time that the server uses for a statement.
    pub fn cost_ms(&mut self, statement: &str) -> Result<f64> {
        let before = self.server.cpu_ms()?;
        self.run(statement)?;
        Ok(self.server.cpu_ms()? - before)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

/// The time of an undisturbed statement: nine of ten samples are above it.
pub fn undisturbed(samples: &[f64]) -> f64 {
    percentile(samples, 0.1)
}
