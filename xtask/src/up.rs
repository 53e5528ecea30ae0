//! `up`, `down`, `reset`, `status`, `logs`: the entire local system.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;

use crate::artifacts::{self, Build};
use crate::checkout::Checkout;
use crate::environment::{Environment, Ports, Secrets, read_env};
use crate::locks::{lock, lock_cache};
use crate::migrations;
use crate::postgres::Postgres;
use crate::process::{CANCELLED, command};
use crate::progress::{Failure, seconds, step};
use crate::services::{self, AuthKind};
use crate::supervisor::{Outcome, Service, running, stop};
use crate::tools;
use crate::wasm_toolchain;

/// Options of `up`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Start what is built, without checking whether it is current.
    pub no_build: bool,
    /// Lift rates, ceilings, the bot check and message budgets, for load tests.
    pub no_limits: bool,
    /// Build quickly; the result runs slower than what is shipped.
    pub quick: bool,
}

impl Options {
    /// Parses the words after `up`.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for word in words {
            match *word {
                "--no-build" => options.no_build = true,
                "--no-limits" => options.no_limits = true,
                "--quick" => options.quick = true,
                _ => bail!("up knows --no-build, --no-limits and --quick, not {word:?}"),
            }
        }
        Ok(options)
    }
}

/// The content of `.local/env`, while any part of the system runs.
fn written(checkout: &Checkout) -> Option<BTreeMap<String, String>> {
    let runs = services::NAMES
        .iter()
        .any(|name| running(checkout, name).is_some());
    read_env(&checkout.local.join("env")).filter(|_| runs)
}

/// The environment to start in: what was requested, else what runs, else the defaults.
fn asked_for(checkout: &Checkout, no_limits: bool) -> Result<Environment> {
    let ports = Ports::choose(written(checkout).as_ref())?;
    let realtime = std::env::var("REALTIME_URL").ok();
    Ok(Environment {
        secrets: Secrets::load_or_make(checkout)?,
        no_limits,
        other_realtime: other_realtime(realtime, &ports),
        ports,
    })
}

/// The address of an external Realtime server, if it is not the checkout's own.
fn other_realtime(url: Option<String>, ports: &Ports) -> Option<String> {
    url.filter(|url| !url.is_empty() && *url != Environment::http(ports.realtime))
}

/// Whether the running system has its limits lifted.
pub fn runs_without_limits(checkout: &Checkout) -> bool {
    written(checkout).is_some_and(|env| counts_nothing(&env))
}

fn counts_nothing(written: &BTreeMap<String, String>) -> bool {
    written
        .get("NO_LIMITS")
        .is_some_and(|value| value == "true")
}

/// The environment of the running system, else the one in which it would be started.
pub fn environment(checkout: &Checkout) -> Result<Environment> {
    let written = written(checkout);
    let ports = match &written {
        Some(written) => Ports::of_running(written)?,
        None => Ports::choose(None)?,
    };
    let realtime = written
        .as_ref()
        .and_then(|env| env.get("REALTIME_URL").cloned());
    Ok(Environment {
        secrets: Secrets::load_or_make(checkout)?,
        no_limits: written.as_ref().is_some_and(counts_nothing),
        other_realtime: other_realtime(realtime, &ports),
        ports,
    })
}

/// Installs, builds and starts everything; returns whether anything had to be started.
pub fn up(checkout: &Checkout, options: Options) -> Result<bool> {
    let started = Instant::now();
    let _lock = lock(checkout)?;
    let environment = asked_for(checkout, options.no_limits)?;
    if options.no_build {
        require_built(checkout)?;
    } else {
        install_and_build(checkout, Build::of(options.quick))?;
    }
    let any = start(checkout, &environment)?;
    println!(
        "\nEverything answers, after {}:",
        seconds(started.elapsed())
    );
    let ports = &environment.ports;
    for (what, port, path) in [
        ("edge API", ports.api, "/api/v1"),
        ("Supabase (gateway)", ports.supabase, ""),
        ("inbox", ports.inbox, ""),
        ("API, to read", ports.inbox, "/api"),
    ] {
        println!("  {what:<20} {}{path}", Environment::http(port));
    }
    println!(
        "  {:<20} 127.0.0.1:{}, database postgres",
        "PostgreSQL", ports.db
    );
    println!("  {:<20} .local/env", "keys and addresses");
    if options.no_limits {
        println!(
            "  {:<20} lifted; `cargo xtask up` brings them back",
            "limits"
        );
    }
    Ok(any)
}

/// Without building there must be something to start.
fn require_built(checkout: &Checkout) -> Result<()> {
    let parts = [
        artifacts::carbon_local(checkout),
        Postgres::of(checkout)?.server.join("pg_carbon.stamp"),
        checkout.path("edge/build/.stamp"),
    ];
    match parts.iter().find(|part| !part.exists()) {
        None => Ok(()),
        Some(part) => Err(Failure {
            what: format!("nothing is built yet ({} is missing)", part.display()),
            log: None,
            advice: "`cargo xtask up`".to_owned(),
        }
        .into()),
    }
}

/// Two parallel lanes: what the database needs, and what the Worker needs.
fn install_and_build(checkout: &Checkout, build: Build) -> Result<()> {
    tools::require_basics()?;
    let shared = lock_cache(checkout)?;
    tools::ensure_packages(checkout)?;
    let lanes: [fn(&Checkout, Build) -> Result<()>; 2] = [build_for_database, build_for_edge];
    let results = std::thread::scope(|scope| {
        lanes
            .map(|lane| {
                scope.spawn(move || {
                    let result = lane(checkout, build);
                    if result.is_err() {
                        CANCELLED.store(true, Ordering::Relaxed);
                    }
                    result
                })
            })
            .map(|lane| {
                lane.join()
                    .unwrap_or_else(|_| Err(anyhow!("a lane panicked")))
            })
    });
    // The failure with advice is the cause; the other lane was only ended because of it.
    let mut errors: Vec<anyhow::Error> = results.into_iter().filter_map(Result::err).collect();
    errors.sort_by_key(|error| error.to_string().contains("was ended"));
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None if shared.is_some() => tools::clean_up(checkout),
        None => Ok(()),
    }
}

/// Prerequisites of compiling for PostgreSQL, without building or starting anything of ours.
pub fn prepare_server(checkout: &Checkout) -> Result<()> {
    let _lock = lock(checkout)?;
    tools::require_basics()?;
    let _shared = lock_cache(checkout)?;
    tools::ensure_packages(checkout)?;
    relocate_server(checkout)
}

/// Everything that the database part of the system is built from, without starting anything.
pub fn prepare_database(checkout: &Checkout) -> Result<()> {
    let _lock = lock(checkout)?;
    tools::require_basics()?;
    let _shared = lock_cache(checkout)?;
    tools::ensure_packages(checkout)?;
    build_for_database(checkout, Build::Shipped)
}

/// Everything that the system is built from, without starting anything.
pub fn prepare(checkout: &Checkout) -> Result<()> {
    let _lock = lock(checkout)?;
    install_and_build(checkout, Build::Shipped)
}

fn relocate_server(checkout: &Checkout) -> Result<()> {
    tools::CARGO_PGRX.ensure(checkout)?;
    let postgres = Postgres::of(checkout)?;
    if !postgres.is_relocated()? {
        stop_one(checkout, "postgres")?;
        step(
            &checkout.local.join("logs/setup"),
            "PostgreSQL copied into the checkout",
            None,
            "is the package postgresql-15 complete? `apt-get install --reinstall postgresql-15`",
            |step| postgres.relocate(step),
        )?;
    }
    Ok(())
}

fn build_for_database(checkout: &Checkout, build: Build) -> Result<()> {
    tools::ensure_npm(checkout, &checkout.path("xtask/npm"))?;
    tools::ensure_npm(checkout, &checkout.path("tests"))?;
    artifacts::build_carbon_local(checkout, build)?;
    relocate_server(checkout)?;
    let postgres = Postgres::of(checkout)?;
    artifacts::install_extension(checkout, &postgres, build)
}

fn build_for_edge(checkout: &Checkout, build: Build) -> Result<()> {
    tools::ensure_npm(checkout, &checkout.path("edge"))?;
    let toolchain = wasm_toolchain::ensure(checkout)?;
    tools::WASM_BINDGEN.ensure(checkout)?;
    tools::WORKER_BUILD.ensure(checkout)?;
    artifacts::build_worker(checkout, &toolchain, build)
}

fn start(checkout: &Checkout, environment: &Environment) -> Result<bool> {
    // At the beginning, so that other commands find the ports of services that have started by then.
    environment.write(checkout)?;
    let postgres = Postgres::of(checkout)?;
    let logs = checkout.local.join("logs/setup");
    let kind = AuthKind::from_environment()?;
    if !postgres.has_cluster() {
        stop_one(checkout, "postgres")?;
        step(
            &logs,
            "empty database cluster",
            None,
            "is there space on the disk?",
            |step| postgres.initdb(environment, step),
        )?;
    }
    refuse_other_auth(&postgres, &kind)?;
    let mut any = ensure(checkout, &postgres.service(environment)?)?;
    if any {
        // Their connections are closed, and the schema that they cached may be outdated.
        stop_one(checkout, "postgrest")?;
        stop_one(checkout, "auth")?;
    }
    bootstrap(checkout, environment, &postgres)?;
    any |= ensure(checkout, &services::auth(checkout, environment, &kind)?)?;
    crate::stamp::write(&postgres.notes.join("auth"), kind.word())?;
    migrate(checkout, environment)?;
    set_database_limits(environment, &postgres)?;
    any |= ensure(checkout, &services::postgrest(checkout, environment)?)?;
    match environment.other_realtime {
        None => any |= ensure(checkout, &services::realtime(checkout, environment)?)?,
        Some(_) => any |= stop_one(checkout, "realtime")?,
    }
    any |= ensure(checkout, &services::gateway(checkout, environment)?)?;
    any |= ensure(checkout, &services::inbox(checkout, environment)?)?;
    any |= ensure(checkout, &services::edge(checkout, environment)?)?;
    Ok(any)
}

/// Whether the database counts requests in flight and imports: a setting of the server that only a
/// superuser may change. Every session uses the new value from its next statement.
fn set_database_limits(environment: &Environment, postgres: &Postgres) -> Result<()> {
    let setting = if environment.no_limits {
        "alter system set carbon.limits = off"
    } else {
        "alter system reset carbon.limits"
    };
    let mut psql = postgres.psql(environment)?;
    psql.args(["--output=/dev/null", "--command", setting]);
    psql.args(["--command", "select pg_reload_conf()"]);
    let status = psql.status().context("cannot run psql")?;
    if !status.success() {
        bail!("the database does not take the setting carbon.limits");
    }
    Ok(())
}

/// Restarts the services that count clients, with or without limits, and sets the database; everything else
/// continues to run.
pub fn switch_limits(checkout: &Checkout, no_limits: bool) -> Result<()> {
    let _lock = lock(checkout)?;
    let environment = asked_for(checkout, no_limits)?;
    environment.write(checkout)?;
    set_database_limits(&environment, &Postgres::of(checkout)?)?;
    if environment.other_realtime.is_none() {
        ensure(checkout, &services::realtime(checkout, &environment)?)?;
    }
    ensure(checkout, &services::gateway(checkout, &environment)?)?;
    ensure(checkout, &services::edge(checkout, &environment)?).map(drop)
}

pub fn ensure(checkout: &Checkout, service: &Service) -> Result<bool> {
    let started = Instant::now();
    let outcome = service.ensure(checkout)?;
    if outcome == Outcome::Started {
        println!(
            "  ✓ {} answers {}",
            service.name,
            seconds(started.elapsed())
        );
    }
    Ok(outcome == Outcome::Started)
}

fn refuse_other_auth(postgres: &Postgres, kind: &AuthKind) -> Result<()> {
    let note = fs::read_to_string(postgres.notes.join("auth")).unwrap_or_default();
    let made_by = note.trim();
    if made_by.is_empty() || made_by == kind.word() {
        return Ok(());
    }
    Err(Failure {
        what: format!(
            "The tables of this database were made by the other kind of Auth ({made_by}), \
             now asked for: {}",
            kind.word()
        ),
        log: None,
        advice: "`cargo xtask reset`, which deletes the data, then this command again; \
                 or set or unset AUTH_BIN as before"
            .to_owned(),
    }
    .into())
}

/// Roles, schemas and extensions, if their file or the extension changed.
pub fn bootstrap(
    checkout: &Checkout,
    environment: &Environment,
    postgres: &Postgres,
) -> Result<()> {
    let file = checkout.path("supabase/bootstrap.sql");
    let extension = artifacts::extension_sql(postgres)?;
    let stamp = crate::stamp::inputs(&checkout.root, std::slice::from_ref(&file), &[&extension])?;
    let note = postgres.notes.join("bootstrap");
    if crate::stamp::matches(&note, &stamp) {
        return Ok(());
    }
    let extension_note = postgres.notes.join("extension");
    if extension_note.exists() && !crate::stamp::matches(&extension_note, &extension) {
        return Err(Failure {
            what: "The SQL of the extension changed since this database was made".to_owned(),
            log: None,
            advice: "while its version stays the same there is nothing to upgrade: \
                     `cargo xtask db reset` rebuilds the database and deletes its data"
                .to_owned(),
        }
        .into());
    }
    step(
        &checkout.local.join("logs/setup"),
        "roles, schemas, extensions",
        None,
        "`cargo xtask db reset` rebuilds the database",
        |step| {
            let secrets = &environment.secrets;
            let mut psql = postgres.psql(environment)?;
            for (variable, secret) in [
                ("postgres_password", "DB_PASSWORD_POSTGRES"),
                ("authenticator_password", "DB_PASSWORD_AUTHENTICATOR"),
                ("auth_password", "DB_PASSWORD_AUTH"),
            ] {
                // Read from the environment by psql: arguments are visible to every user.
                psql.arg(format!("--command=\\getenv {variable} {secret}"));
                psql.env(secret, secrets.get(secret)?);
            }
            step.run(psql.arg("--file").arg(&file))
        },
    )?;
    crate::stamp::write(&extension_note, &extension)?;
    crate::stamp::write(&note, &stamp)
}

pub fn migrate(checkout: &Checkout, environment: &Environment) -> Result<()> {
    let folder = checkout.path("migrations");
    let url = environment.db_url("postgres")?;
    let waiting = migrations::count_pending(&folder, &url)?;
    if waiting == 0 {
        return Ok(());
    }
    let applied = step(
        &checkout.local.join("logs/setup"),
        &format!("{waiting} migrations"),
        None,
        "correct the file named above; what was applied before it stays",
        |step| migrations::migrate(&folder, &url, step),
    )?;
    for name in applied {
        println!("      {name}");
    }
    Ok(())
}

pub fn stop_one(checkout: &Checkout, name: &str) -> Result<bool> {
    let signal = if name.ends_with("postgres") {
        Signal::INT
    } else {
        Signal::TERM
    };
    stop(checkout, name, signal, Duration::from_secs(20))
}

/// Stops everything, in reverse order of starting.
pub fn down(checkout: &Checkout) -> Result<()> {
    let _lock = lock(checkout)?;
    stop_all(checkout)
}

fn stop_all(checkout: &Checkout) -> Result<()> {
    let mut any = false;
    for name in services::NAMES.iter().rev() {
        if stop_one(checkout, name)? {
            println!("  ✓ {name} stopped");
            any = true;
        }
    }
    if !any {
        println!("  nothing was running");
    }
    Ok(())
}

/// Stops everything and deletes the data; tools, builds and secrets remain.
pub fn reset(checkout: &Checkout) -> Result<()> {
    let _lock = lock(checkout)?;
    stop_all(checkout)?;
    Postgres::of(checkout)?.delete_cluster()?;
    let edge = checkout.local.join("edge");
    if edge.exists() {
        fs::remove_dir_all(&edge)?;
    }
    for name in services::NAMES {
        let _ = fs::remove_file(checkout.log(name));
    }
    println!("  ✓ data deleted");
    Ok(())
}

/// A table of the processes: pid, port, whether it responds.
pub fn status(checkout: &Checkout) -> Result<()> {
    let environment = environment(checkout)?;
    println!("  {:<10} {:>8} {:>6}  state", "name", "pid", "port");
    if !Postgres::of(checkout)?.has_cluster() {
        let port = environment.ports.db;
        println!("  {:<10} {:>8} {port:>6}  no data yet", "postgres", "-");
    }
    for service in all_services(checkout, &environment)? {
        let process = running(checkout, service.name);
        let state = match &process {
            None => "stopped",
            Some(_) if service.health.is_good() => "answers",
            Some(_) => "runs, does not answer",
        };
        let pid = process.map_or_else(|| "-".to_owned(), |process| process.pid.to_string());
        println!(
            "  {:<10} {pid:>8} {:>6}  {state}",
            service.name, service.port
        );
    }
    Ok(())
}

/// All services as they were started, even if some are not running at the moment.
pub fn services_of_running(checkout: &Checkout) -> Result<Vec<Service>> {
    all_services(checkout, &environment(checkout)?)
}

fn all_services(checkout: &Checkout, environment: &Environment) -> Result<Vec<Service>> {
    let mut all = Vec::new();
    let postgres = Postgres::of(checkout)?;
    if postgres.has_cluster() {
        all.push(postgres.service(environment)?);
    }
    all.push(services::auth(
        checkout,
        environment,
        &AuthKind::from_environment()?,
    )?);
    all.push(services::postgrest(checkout, environment)?);
    if environment.other_realtime.is_none() {
        all.push(services::realtime(checkout, environment)?);
    }
    all.push(services::gateway(checkout, environment)?);
    all.push(services::inbox(checkout, environment)?);
    all.push(services::edge(checkout, environment)?);
    Ok(all)
}

/// Prints the end of the logs, of all services or of one, and follows them.
pub fn logs(checkout: &Checkout, name: Option<&str>, follow: bool) -> Result<()> {
    let names: Vec<&str> = match name {
        None => services::NAMES.to_vec(),
        Some(name) if services::NAMES.contains(&name) => vec![name],
        Some(name) => bail!(
            "no service {name:?}; there are {}",
            services::NAMES.join(", ")
        ),
    };
    let files: Vec<_> = names
        .into_iter()
        .map(|name| checkout.log(name))
        .filter(|file| file.exists())
        .collect();
    if files.is_empty() {
        println!("  no logs yet");
        return Ok(());
    }
    let mut tail = command("tail");
    tail.arg("-n")
        .arg(if files.len() == 1 { "100" } else { "20" });
    if follow {
        tail.arg("-F");
    }
    tail.args(files).status().context("cannot run tail")?;
    Ok(())
}

/// Deletes the local database and rebuilds it from bootstrap and migrations.
pub fn reset_database(checkout: &Checkout) -> Result<()> {
    let _lock = lock(checkout)?;
    let environment = asked_for(checkout, runs_without_limits(checkout))?;
    build_for_database(checkout, Build::Shipped)?;
    // The others cache nothing of the database and hold no connection to it: they continue to run.
    for name in ["realtime", "postgrest", "auth", "postgres"] {
        stop_one(checkout, name)?;
    }
    Postgres::of(checkout)?.delete_cluster()?;
    start(checkout, &environment).map(drop)
}
