//! Realtime's part: many users listen through the gateway while the database sends, on the scratch cluster.

use std::time::Instant;
use std::{fs, net};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use super::edge::system::Process;
use super::report::{Figure, Target, median};
use super::scratch::Scratch;
use super::{ROUNDS, circumstances, conclude};
use xtask::checkout::Checkout;
use xtask::environment::Environment;
use xtask::process::{command, text};
use xtask::supervisor::{Service, running};
use xtask::{services, up};

/// Simultaneous connections.
const LISTENERS: usize = 5_000;

/// Events a second, each to one of them, and seconds of one round.
const EVENTS_PER_SECOND: u32 = 200;
const ROUND_SECS: u32 = 8;

/// The processes started here, in start order.
const NAMES: [&str; 2] = ["bench-realtime", "bench-gateway"];

/// Measures this part alone, and prints its table.
pub fn run(checkout: &Checkout) -> Result<()> {
    let started = Instant::now();
    up::prepare_database(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    let result = measure(&scratch);
    scratch.remove()?;
    let figures = result?;
    println!(
        "\n{}",
        circumstances(checkout, " realtime", &load, started)?
    );
    conclude(&figures, "");
    Ok(())
}

/// Starts what is needed, measures, and stops it.
pub fn measure(scratch: &Scratch) -> Result<Vec<Figure>> {
    allow_many_files()?;
    let mut environment = scratch.environment.clone();
    for port in [
        &mut environment.ports.supabase,
        &mut environment.ports.realtime,
    ] {
        *port = net::TcpListener::bind((net::Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
    }
    stop(scratch)?;
    let result = start(scratch, &environment).and_then(|()| listen(scratch, &environment));
    stop(scratch)?;
    result
}

/// A process holds two connections for all listeners.
fn allow_many_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .context("the limit of open files")
}

fn start(scratch: &Scratch, environment: &Environment) -> Result<()> {
    let checkout = scratch.checkout;
    let parts: [Service; 2] = [
        services::realtime(checkout, environment)?,
        services::gateway(checkout, environment)?,
    ];
    for (name, mut service) in NAMES.into_iter().zip(parts) {
        service.name = name;
        up::ensure(checkout, &service)?;
    }
    Ok(())
}

fn stop(scratch: &Scratch) -> Result<()> {
    for name in NAMES.into_iter().rev() {
        up::stop_one(scratch.checkout, name)?;
    }
    Ok(())
}

fn listen(scratch: &Scratch, environment: &Environment) -> Result<Vec<Figure>> {
    let checkout = scratch.checkout;
    let mut clients = command("cargo");
    clients
        .args(["test", "--quiet", "--locked", "--package", "carbon-tests"])
        .args(["--test", "listeners", "--", "--nocapture"])
        .current_dir(&checkout.root)
        .envs(environment.published()?)
        .env("CARBON_LISTENERS", LISTENERS.to_string())
        .env("CARBON_LISTENER_ROUNDS", (ROUNDS + 1).to_string())
        .env("CARBON_LISTENER_SECONDS", ROUND_SECS.to_string())
        .env("CARBON_LISTENER_EVENTS", EVENTS_PER_SECOND.to_string());
    let name = format!("{LISTENERS} listen");
    let said = scratch.step(&name, |_| text(&mut clients))?;
    let server = running(checkout, NAMES[0]).context("the server runs")?;
    let memory = Process::of(server.pid).peak_mb()?;
    // The first round fills plans and caches.
    let rounds: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("round ")?).ok())
        .skip(1)
        .collect();
    let series = |name: &str| -> Vec<f64> {
        let values = rounds.iter().filter_map(|round| round[name].as_f64());
        values.collect()
    };
    let figure = |name: String, target, median_ms: &str, p99_ms: &str, more: &str| Figure {
        name,
        target,
        unit: " ms",
        samples: series(median_ms),
        seen: format!("p99 {:.0} ms{more}", median(&series(p99_ms))),
    };
    Ok(vec![
        figure(
            format!(
                "database commit → client, own events, {LISTENERS} connected, \
                 {EVENTS_PER_SECOND} events a second"
            ),
            Target::AtMost(100.0),
            "own_median_ms",
            "own_p99_ms",
            &format!("; the server holds {memory:.0} MB"),
        ),
        figure(
            format!("the same for one event a second to all {LISTENERS}"),
            Target::Shown,
            "shared_median_ms",
            "shared_p99_ms",
            "",
        ),
    ])
}
