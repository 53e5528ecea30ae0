//! `cargo xtask chaos`: random faults under the load of 8 clients, and then a comparison of what was
//! acknowledged with what is stored. The clients are the test `clients` of this package; this program
//! causes the faults.

#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::json;

use xtask::checkout::Checkout;
use xtask::environment::Environment;
use xtask::faults::{Action, apply};
use xtask::postgres::Postgres;
use xtask::process::command;
use xtask::supervisor::{Service, status};
use xtask::{program, up};

/// The system must be fully up within this after the failed service returns (contract); a longer wait is a
/// defect of ours.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(60);

/// The Worker's health endpoint, which reports whether it reaches database and Auth.
const READY: &str = "/api/v1/health/ready";

/// The fault, the service, and its relative probability.
const FAULTS: [(Fault, &str, u32); 18] = [
    (Fault::Down(Action::Stop), "postgres", 3),
    (Fault::Down(Action::Kill), "postgres", 3),
    (Fault::Down(Action::Crash), "postgres", 2),
    (Fault::Halted, "postgres", 2),
    (Fault::Down(Action::Kill), "postgrest", 3),
    (Fault::Crashed, "postgrest", 2),
    (Fault::Halted, "postgrest", 2),
    (Fault::Down(Action::Kill), "gateway", 2),
    (Fault::Halted, "gateway", 2),
    (Fault::Down(Action::Kill), "auth", 2),
    (Fault::Halted, "auth", 1),
    (Fault::Down(Action::Kill), "edge", 3),
    (Fault::Down(Action::Stop), "edge", 1),
    (Fault::Halted, "edge", 1),
    (Fault::Down(Action::Kill), "inbox", 1),
    (Fault::Down(Action::Kill), "realtime", 1),
    (Fault::Halted, "realtime", 1),
    (Fault::Locked, "postgres", 2),
];

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Killed, and started again by us.
    Down(Action),
    /// Killed, and restarted by its own loop.
    Crashed,
    /// Stopped: connections stay open but get no responses.
    Halted,
    /// Another session holds the lock that every write needs.
    Locked,
}

impl Fault {
    fn name(self, service: &str) -> String {
        match self {
            Self::Down(Action::Stop) => format!("{service} stopped"),
            Self::Down(Action::Crash) => format!("{service} stopped at once"),
            Self::Down(_) => format!("{service} killed"),
            Self::Crashed => format!("{service} crashed"),
            Self::Halted => format!("{service} halted"),
            Self::Locked => "database locked".to_owned(),
        }
    }
}

/// A small generator (splitmix64): faults only have to be repeatable from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// From `low` (inclusive) to `high` (exclusive).
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    fn fault(&mut self) -> (Fault, &'static str) {
        let total: u32 = FAULTS.iter().map(|(_, _, weight)| weight).sum();
        let mut left = u32::try_from(self.between(0, total.into())).unwrap_or(0);
        for (fault, service, weight) in FAULTS {
            if left < weight {
                return (fault, service);
            }
            left -= weight;
        }
        (FAULTS[0].0, FAULTS[0].1)
    }
}

/// Causes the faults.
struct Operator<'a> {
    checkout: &'a Checkout,
    environment: Environment,
    services: Vec<Service>,
    folder: PathBuf,
}

/// Duration and seed.
#[derive(Clone, Copy, Debug)]
struct Plan {
    length: Duration,
    seed: u64,
}

impl Plan {
    /// Takes a length in minutes; without a seed chooses a random one.
    fn new(minutes: &str, seed: Option<&str>) -> Result<Self> {
        let minutes: f64 = minutes.parse().context("--minutes takes a number")?;
        if !(0.05..=1_440.0).contains(&minutes) {
            bail!("--minutes takes a number up to 1440");
        }
        let seed = match seed {
            Some(seed) => seed.parse().context("--seed takes a whole number")?,
            None => now_ms() % 1_000_000,
        };
        Ok(Self {
            length: Duration::from_secs_f64(minutes * 60.0),
            seed,
        })
    }
}

fn main() -> ExitCode {
    program::main(run)
}

/// Fails on any difference.
fn run(checkout: &Checkout, words: &[&str]) -> Result<()> {
    let plan = match words {
        ["--minutes", minutes] => Plan::new(minutes, None)?,
        ["--minutes", minutes, "--seed", seed] => Plan::new(minutes, Some(seed))?,
        // The suite has prepared the system, so only run the faults.
        ["suite"] => return build_and_operate(checkout, Plan::new("1", None)?),
        _ => bail!("chaos --minutes N [--seed S]"),
    };
    let options = up::Options {
        no_limits: true,
        ..up::Options::default()
    };
    up::up(checkout, options)?;
    build_and_operate(checkout, plan)
}

fn build_and_operate(checkout: &Checkout, plan: Plan) -> Result<()> {
    if !clients(checkout, plan, &["--no-run"]).status()?.success() {
        bail!("the clients cannot be built");
    }
    operate(
        checkout,
        plan,
        clients(checkout, plan, &["--", "--nocapture"]).spawn()?,
    )
}

/// Starts the clients of a plan.
fn clients(checkout: &Checkout, plan: Plan, options: &[&str]) -> Command {
    let mut clients = command("cargo");
    clients
        .args([
            "test",
            "--quiet",
            "--locked",
            "--package",
            "carbon-chaos",
            "--test",
            "clients",
        ])
        .args(options)
        .current_dir(&checkout.root)
        .env("CARBON_CHAOS_FOLDER", folder(checkout))
        .env("CARBON_CHAOS_SECONDS", plan.length.as_secs().to_string())
        .env("CARBON_TEST_SEED", plan.seed.to_string());
    clients
}

fn folder(checkout: &Checkout) -> PathBuf {
    checkout.local.join("chaos")
}

/// Causes faults while the clients work, restores everything, and waits for their result.
fn operate(checkout: &Checkout, plan: Plan, mut clients: Child) -> Result<()> {
    let folder = folder(checkout);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let operator = Operator {
        checkout,
        environment: up::environment(checkout)?,
        services: up::services_of_running(checkout)?,
        folder,
    };
    let done = operator.work(plan);
    let restored = operator.restore();
    fs::write(operator.folder.join("calm"), "")?;
    let result = clients.wait()?;
    done.and(restored)?;
    if !result.success() {
        bail!("chaos with seed {} found differences", plan.seed);
    }
    Ok(())
}

impl Operator<'_> {
    fn work(&self, plan: Plan) -> Result<()> {
        let mut random = Random(plan.seed);
        let begun = Instant::now();
        pause(random.between(1_000, 2_000));
        while begun.elapsed() < plan.length {
            let mut faults = vec![random.fault()];
            // Every fourth time two services fail at once.
            if random.between(0, 4) == 0 {
                let second = random.fault();
                if second.1 != faults[0].1 {
                    faults.push(second);
                }
            }
            // An external server from REALTIME_URL must not be harmed.
            faults.retain(|(_, name)| self.service(name).is_ok());
            self.bring_about(&faults, random.between(300, 6_000))?;
            pause(random.between(500, 3_000));
        }
        Ok(())
    }

    /// Causes simultaneous faults for `length_ms`, and waits for recovery.
    fn bring_about(&self, faults: &[(Fault, &'static str)], length_ms: u64) -> Result<()> {
        let from_ms = now_ms();
        let mut locks = Vec::new();
        for (fault, name) in faults {
            let service = self.service(name)?;
            match fault {
                Fault::Down(action) => apply(self.checkout, service, *action)?,
                Fault::Halted => apply(self.checkout, service, Action::Pause)?,
                Fault::Crashed => apply(self.checkout, service, Action::Crash)?,
                Fault::Locked => locks.push(self.lock(length_ms)?),
            }
        }
        pause(length_ms);
        for (fault, name) in faults {
            let service = self.service(name)?;
            match fault {
                Fault::Halted => apply(self.checkout, service, Action::Resume)?,
                Fault::Down(_) | Fault::Crashed => apply(self.checkout, service, Action::Start)?,
                Fault::Locked => {}
            }
        }
        for mut lock in locks {
            // It may have ended together with the database.
            let _ = lock.wait()?;
        }
        if faults.iter().any(|(_, name)| *name == "edge") {
            // It has recovered at its own first answer: Node needs seconds to load the runtime.
            self.await_answer("/api/v1/health/live")?;
        }
        let until_ms = now_ms();
        let recovery = self.await_answer(READY)?;
        let recovery_ms = u64::try_from(recovery.as_millis()).unwrap_or(u64::MAX);
        for (fault, name) in faults {
            let kind = fault.name(name);
            self.note(&json!({
                "kind": kind, "service": name, "from_ms": from_ms, "until_ms": until_ms, "recovery_ms": recovery_ms,
            }))?;
        }
        Ok(())
    }

    fn service(&self, name: &str) -> Result<&Service> {
        let found = self.services.iter().find(|service| service.name == name);
        found.with_context(|| format!("no service {name}"))
    }

    /// A session that locks all state rows for `length_ms`.
    fn lock(&self, length_ms: u64) -> Result<Child> {
        let mut psql = Postgres::of(self.checkout)?.psql(&self.environment)?;
        let sql = format!(
            "begin; lock table private.user_state in access exclusive mode; select pg_sleep({}.{:03}); rollback;",
            length_ms / 1000,
            length_ms % 1000
        );
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("lock.log"))?;
        Ok(psql
            .args(["--command", &sql])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?)
    }

    /// Waits until the Worker answers this with 200.
    fn await_answer(&self, path: &str) -> Result<Duration> {
        let begun = Instant::now();
        let url = format!("{}{path}", Environment::http(self.environment.ports.api));
        while status(&url) != Some(200) {
            if begun.elapsed() > RECOVERY_PATIENCE {
                bail!(
                    "{path} does not answer {} s after the return of what was away",
                    RECOVERY_PATIENCE.as_secs()
                );
            }
            pause(50);
        }
        Ok(begun.elapsed())
    }

    fn note(&self, line: &serde_json::Value) -> Result<()> {
        let file = self.folder.join("faults.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(file)?;
        Ok(writeln!(file, "{line}")?)
    }

    /// Restarts everything, regardless of what happened.
    fn restore(&self) -> Result<()> {
        for service in &self.services {
            // A process that does not run cannot be resumed, so it is started.
            let _ = apply(self.checkout, service, Action::Resume);
            apply(self.checkout, service, Action::Start)?;
        }
        self.await_answer(READY).map(drop)
    }
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_faults_and_every_fault_has_its_turn() {
        let faults = |seed| {
            let mut random = Random(seed);
            (0..500)
                .map(move |_| random.fault())
                .map(|(fault, service)| fault.name(service))
                .collect::<Vec<_>>()
        };
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
        for (fault, service, _) in FAULTS {
            assert!(
                faults(7).contains(&fault.name(service)),
                "{fault:?} {service}"
            );
        }
    }

    #[test]
    fn a_plan_needs_a_length() {
        assert!(Plan::new("0", None).is_err());
        assert!(Plan::new("1.25", Some("x")).is_err());
        assert_eq!(
            Plan::new("1.25", Some("3"))
                .map(|plan| plan.length.as_secs())
                .ok(),
            Some(75)
        );
    }
}
