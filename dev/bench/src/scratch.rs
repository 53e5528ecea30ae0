//! A separate cluster for measurements, with the checkout's settings but a server's memory; deleted
//! afterwards.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use anyhow::{Context, Result};

use xtask::checkout::Checkout;
use xtask::environment::{Environment, Ports, Secrets};
use xtask::postgres::{Postgres, psql};
use xtask::process::text;
use xtask::progress::{Step, step};
use xtask::services::{self, AuthKind};
use xtask::supervisor::Service;
use xtask::up;

/// The database that bootstrap and migrations create; the smaller one of the comparisons.
pub const SMALL: &str = "postgres";

/// A copy of it with more users.
pub const LARGE: &str = "large";

/// Kilobytes of memory of the machine.
fn memory_kb() -> Result<u64> {
    fs::read_to_string("/proc/meminfo")?
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|amount| amount.trim().strip_suffix(" kB"))
        .and_then(|amount| amount.parse().ok())
        .context("MemTotal of /proc/meminfo")
}

/// The scratch cluster and how to reach it.
pub struct Scratch<'a> {
    pub checkout: &'a Checkout,
    pub environment: Environment,
    pub postgres: Postgres,
}

impl<'a> Scratch<'a> {
    /// Creates and starts the cluster, as `up` does for the checkout's own, on free ports.
    pub fn start(checkout: &'a Checkout) -> Result<Self> {
        let mut ports = Ports::choose(None)?;
        for port in [&mut ports.db, &mut ports.auth, &mut ports.rest] {
            *port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
                .local_addr()?
                .port();
        }
        let scratch = Self {
            checkout,
            environment: Environment {
                ports,
                secrets: Secrets::load_or_make(checkout)?,
                no_limits: true,
                other_realtime: None,
            },
            postgres: Postgres::scratch(checkout, "bench")?,
        };
        scratch.stop_what_was_left()?;
        scratch.make().inspect_err(|_| {
            // The first failure is the one to report.
            let _ = scratch.remove();
        })?;
        Ok(scratch)
    }

    fn make(&self) -> Result<()> {
        self.step("scratch cluster", |step| {
            self.postgres.initdb(&self.environment, step)
        })?;
        up::ensure(
            self.checkout,
            &self.server(Some("pg_cron,pg_carbon"), SMALL)?,
        )?;
        up::bootstrap(self.checkout, &self.environment, &self.postgres)?;
        let mut auth = services::auth(self.checkout, &self.environment, &AuthKind::Embedded)?;
        auth.name = "bench-auth";
        // It creates its tables and is not needed afterwards.
        up::ensure(self.checkout, &auth)?;
        auth.stop(self.checkout)?;
        up::migrate(self.checkout, &self.environment)?;
        // Without the scheduler: no job interferes with a measurement, and a database without connections
        // can be copied.
        self.without_worker()?;
        self.file(SMALL, "setup.sql")?;
        self.sql(SMALL, &format!("create database {LARGE} template {SMALL}"))?;
        Ok(())
    }

    /// Restarts the server with the worker running in one database.
    pub fn with_worker(&self, database: &str) -> Result<()> {
        up::ensure(self.checkout, &self.server(Some("pg_carbon"), database)?).map(drop)
    }

    /// Restarts the server without background work.
    pub fn without_worker(&self) -> Result<()> {
        up::ensure(self.checkout, &self.server(None, SMALL)?).map(drop)
    }

    fn server(&self, preloaded: Option<&str>, worked_on: &str) -> Result<Service> {
        let mut server = self.postgres.service(&self.environment)?;
        server.name = "bench-postgres";
        for setting in [
            format!("shared_preload_libraries={}", preloaded.unwrap_or("")),
            format!("carbon.database={worked_on}"),
            // As on a server: a million users do not fit into what a laptop can spare.
            format!("shared_buffers={}kB", memory_kb()? / 4),
            "max_wal_size=16GB".to_owned(),
        ] {
            server.args.extend(["-c".to_owned(), setting]);
        }
        Ok(server)
    }

    /// PostgREST on the smaller database.
    pub fn rest(&self) -> Result<Service> {
        let mut rest = services::postgrest(self.checkout, &self.environment)?;
        rest.name = "bench-postgrest";
        Ok(rest)
    }

    /// Stops the cluster and deletes it.
    pub fn remove(&self) -> Result<()> {
        self.stop_what_was_left()?;
        self.postgres.delete_cluster()
    }

    fn stop_what_was_left(&self) -> Result<()> {
        for name in ["bench-postgrest", "bench-auth", "bench-postgres"] {
            up::stop_one(self.checkout, name)?;
        }
        Ok(())
    }

    /// One line of progress with its own log.
    pub fn step<T>(&self, name: &str, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
        step(
            &self.checkout.local.join("logs/bench"),
            name,
            None,
            "`cargo xtask bench` starts from scratch each time; the log is named above",
            work,
        )
    }

    /// psql as the superuser, with undecorated output.
    pub fn psql(&self, database: &str) -> Result<Command> {
        let url = self.environment.db_url("supabase_admin")?;
        let url = url.trim_end_matches(SMALL);
        let mut psql = psql(&format!("{url}{database}"));
        psql.args(["--tuples-only", "--no-align"]);
        Ok(psql)
    }

    /// Runs one statement and returns its result.
    pub fn sql(&self, database: &str, statement: &str) -> Result<String> {
        text(self.psql(database)?.arg("--command").arg(statement))
    }

    /// Runs a file of dev/bench/sql.
    pub fn file(&self, database: &str, name: &str) -> Result<String> {
        let file = self.checkout.path("dev/bench/sql").join(name);
        text(self.psql(database)?.arg("--file").arg(file))
    }
}
