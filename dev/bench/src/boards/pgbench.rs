//! pgbench with a log of every transaction, for percentiles.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::scratch::Scratch;
use xtask::process::{command, text};

/// A file of dev/bench/sql, run repeatedly.
pub struct Script<'a> {
    pub scratch: &'a Scratch<'a>,
    pub database: &'a str,
    pub file: &'a str,
    /// `name=value` for the script.
    pub defines: Vec<String>,
    /// The number of the user who reads, under row-level security; none = the superuser.
    pub person: Option<u32>,
    pub connections: u32,
    /// Transactions a second; none = one after the other.
    pub rate: Option<u32>,
    pub seconds: u32,
}

impl Script<'_> {
    /// The time of each transaction, as the client saw it; with a rate, from when it was due.
    pub fn latencies_ms(&self) -> Result<Vec<f64>> {
        let folder = self.scratch.checkout.local.join("bench-latencies");
        fs::create_dir_all(&folder)?;
        let prefix = format!("{}-{}", self.database, self.file.trim_end_matches(".sql"));
        let answer = text(
            self.command()?
                .arg("--log")
                .arg(format!("--log-prefix={prefix}"))
                .current_dir(&folder),
        )?;
        ensure!(
            !answer.contains("aborted"),
            "{} did not run through: {answer}",
            self.file
        );
        let mut latencies = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(&format!("{prefix}.")) {
                continue;
            }
            for line in fs::read_to_string(&path)?.lines() {
                let microseconds: f64 = line
                    .split(' ')
                    .nth(2)
                    .and_then(|word| word.parse().ok())
                    .with_context(|| format!("pgbench logged: {line}"))?;
                latencies.push(microseconds / 1000.0);
            }
            fs::remove_file(&path)?;
        }
        ensure!(!latencies.is_empty(), "{} ran not once", self.file);
        Ok(latencies)
    }

    fn command(&self) -> Result<Command> {
        let environment = &self.scratch.environment;
        let mut pgbench = command(self.scratch.postgres.bin("pgbench"));
        pgbench
            .args(["--no-vacuum", "--protocol=prepared", "--host=127.0.0.1"])
            .arg(format!("--port={}", environment.ports.db))
            .arg(format!("--client={}", self.connections))
            .arg(format!("--jobs={}", self.connections))
            .arg(format!("--time={}", self.seconds))
            .arg("--file")
            .arg(self.scratch.checkout.path("dev/bench/sql").join(self.file));
        for define in &self.defines {
            pgbench.arg(format!("--define={define}"));
        }
        if let Some(rate) = self.rate {
            pgbench.arg(format!("--rate={rate}"));
        }
        let password = if let Some(person) = self.person {
            let id = self
                .scratch
                .sql(self.database, &format!("select md5('{person}')::uuid"))?;
            pgbench
                .arg("--username=authenticator")
                .env("PGOPTIONS", format!(
                    "-c role=authenticated -c request.jwt.claims={{\"role\":\"authenticated\",\"sub\":\"{id}\"}}"
                ));
            "DB_PASSWORD_AUTHENTICATOR"
        } else {
            pgbench.arg("--username=supabase_admin");
            "DB_PASSWORD_SUPERUSER"
        };
        pgbench
            .env("PGPASSWORD", environment.secrets.get(password)?)
            .arg(self.database);
        Ok(pgbench)
    }
}
