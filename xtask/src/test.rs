//! `test`: runs the suites, prints the time of each, and one summary line at the end.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::artifacts::{path_with_tools, pgrx_home};
use crate::check::{self, Tally};
use crate::checkout::Checkout;
use crate::coverage::{self, MIN_LINES_PERCENT};
use crate::crates::cargo_run;
use crate::environment::private_folder;
use crate::leaks;
use crate::openapi;
use crate::postgres::Postgres;
use crate::process::command;
use crate::progress::{Failure, Step, seconds, step, tail};
use crate::results::{count, count_tap, failed_parts};
use crate::selection::{self, Selection};
use crate::services;
use crate::supervisor::running;
use crate::up;

/// Lines shown of a failed suite's log; the log itself is retained.
const SHOWN_LINES: usize = 60;

/// Characters shown of such a line.
const SHOWN_COLUMNS: usize = 400;

/// What a suite needs before it can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Rust alone.
    Nothing,
    /// PostgreSQL's headers and cargo-pgrx.
    Server,
    /// The system of `up`, with limits lifted: tests make more requests than one user may.
    System,
}

struct Suite {
    name: &'static str,
    about: &'static str,
    needs: Needs,
    run: fn(&Checkout, &Step, Option<&str>) -> Result<Tally>,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "check",
        about: "format, lints, SQL, licences",
        needs: Needs::Server,
        run: |checkout, _, filter| check::run(checkout, filter),
    },
    Suite {
        name: "domain",
        about: "the rules, with coverage of their lines",
        needs: Needs::Nothing,
        run: domain,
    },
    Suite {
        name: "xtask",
        about: "these commands, with bench and chaos",
        needs: Needs::Nothing,
        run: commands,
    },
    Suite {
        name: "local",
        about: "stand-ins: Auth, Realtime, gateway, inbox",
        needs: Needs::System,
        run: |checkout, step, filter| cargo_tests(checkout, step, "carbon-local", filter),
    },
    Suite {
        name: "edge",
        about: "the Worker's own tests",
        needs: Needs::Nothing,
        run: edge,
    },
    Suite {
        name: "extension",
        about: "pg_carbon inside PostgreSQL",
        needs: Needs::Server,
        run: extension,
    },
    Suite {
        name: "database",
        about: "tables, policies, rpc (pgTAP)",
        needs: Needs::System,
        run: database,
    },
    Suite {
        name: "journey",
        about: "end to end with the clients people use",
        needs: Needs::System,
        run: journey,
    },
    Suite {
        name: "realtime",
        about: "what the database sends reaches who may listen, by supabase-js",
        needs: Needs::System,
        run: |checkout, step, filter| {
            node_tests(checkout, step, |name| name.starts_with("realtime"), filter)
        },
    },
    Suite {
        name: "limits",
        about: "rates, budgets and sign-in codes against abuse, with limits on",
        needs: Needs::System,
        run: limits,
    },
    Suite {
        name: "openapi",
        about: "the API's description against the running Worker",
        needs: Needs::System,
        run: |checkout, step, filter| {
            whole("openapi", filter)?;
            openapi::run(checkout, step)
        },
    },
    Suite {
        name: "property",
        about: "random and concurrent operations",
        needs: Needs::System,
        run: property,
    },
    Suite {
        name: "faults",
        about: "each dependency stopped, killed, halted or full, under load",
        needs: Needs::System,
        run: faults,
    },
    Suite {
        name: "chaos",
        about: "random faults for a minute; what was acknowledged is stored, once",
        needs: Needs::System,
        run: |checkout, step, filter| {
            whole("chaos", filter)?;
            chaos(checkout, step)
        },
    },
    // The last one: it reads the logs of the others.
    Suite {
        name: "logs",
        about: "no codes, numbers, tokens or secrets in any log",
        needs: Needs::System,
        run: |checkout, step, filter| {
            whole("logs", filter)?;
            leaks::run(checkout, step)
        },
    },
];

/// Result of one suite.
struct Outcome {
    name: &'static str,
    tally: Tally,
    time: Duration,
}

/// Lists the suites.
pub fn list() {
    for suite in SUITES {
        println!("  {:<10} {}", suite.name, suite.about);
    }
    println!("  mutants    whether the tests of the rules notice changes; by its name alone");
}

/// Runs the named suites, or all of them, or a part of one; afterwards the system runs or is stopped as
/// before.
pub fn run(checkout: &Checkout, words: &[&str]) -> Result<()> {
    let started = Instant::now();
    let known: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
    let selection = Selection::parse(words, &known)?;
    let chosen = choose(&selection);
    let needs = chosen.iter().map(|suite| suite.needs).max();
    let ran_before = services::NAMES
        .iter()
        .all(|name| running(checkout, name).is_some());
    let lifted_before = up::runs_without_limits(checkout);
    let prepared = match needs {
        Some(Needs::System) => {
            let options = up::Options {
                no_limits: true,
                // A single test run repeatedly benefits from a quick build; an entire suite tests what is
                // shipped.
                quick: selection.filter.is_some(),
                ..up::Options::default()
            };
            up::up(checkout, options).map(drop)
        }
        Some(Needs::Server) => up::prepare_server(checkout),
        _ => Ok(()),
    };
    let result = prepared.and_then(|()| run_suites(checkout, &chosen, selection.filter));
    let left = match needs {
        Some(Needs::System) if !ran_before => {
            println!();
            up::down(checkout)
        }
        Some(Needs::System) if !lifted_before => up::switch_limits(checkout, false),
        _ => Ok(()),
    };
    // Report the failure of the suites first: failing to restore the system's state may result from it.
    let outcomes = result?;
    left?;
    summary(&outcomes, started)
}

fn choose(selection: &Selection) -> Vec<&'static Suite> {
    SUITES
        .iter()
        .filter(|suite| selection.suites.is_empty() || selection.suites.contains(&suite.name))
        .collect()
}

/// A suite without parts cannot be filtered.
fn whole(suite: &str, filter: Option<&str>) -> Result<()> {
    match filter {
        None => Ok(()),
        Some(filter) => bail!("{suite} has no parts, so {filter:?} names none of them"),
    }
}

/// A filter that matched nothing has tested nothing.
fn require_some(tally: Tally, filter: Option<&str>) -> Result<Tally> {
    match filter {
        Some(filter) if tally == Tally::default() => bail!("no test matches {filter:?}"),
        _ => Ok(tally),
    }
}

fn run_suites(
    checkout: &Checkout,
    suites: &[&Suite],
    filter: Option<&str>,
) -> Result<Vec<Outcome>> {
    private_folder(&checkout.local.join("logs"))?;
    let logs = checkout.local.join("logs/test");
    let mut outcomes = Vec::new();
    for suite in suites {
        println!("\n{}: {}", suite.name, suite.about);
        let begun = Instant::now();
        let mut tally = Tally::default();
        let log = logs.join(format!("{}.log", suite.name));
        let result = step(&logs, suite.name, None, "", |step| {
            tally = require_some((suite.run)(checkout, step, filter)?, filter)?;
            Ok(())
        });
        if let Err(error) = result {
            let text = fs::read_to_string(&log).unwrap_or_default();
            tally = match suite.name {
                "database" => count_tap(&text),
                "openapi" => openapi::count(&text),
                _ => count(&text),
            };
            // A suite that failed before or outside its tests counts as one failure.
            tally.failed = tally.failed.max(1);
            show_failure(&error, &log);
        }
        outcomes.push(Outcome {
            name: suite.name,
            tally,
            time: begun.elapsed(),
        });
    }
    Ok(outcomes)
}

fn show_failure(error: &anyhow::Error, log: &Path) {
    let what = error
        .downcast_ref::<Failure>()
        .map_or_else(|| error.to_string(), |failure| failure.what.clone());
    let cut = |line: &str| line.chars().take(SHOWN_COLUMNS).collect::<String>();
    println!("  ✗ {}", cut(&what));
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let mut lines = failed_parts(&text);
    if lines.is_empty() {
        lines = tail(log, SHOWN_LINES);
    }
    for line in lines {
        println!("    {}", cut(&line));
    }
    println!("  full log: {}", log.display());
}

fn summary(outcomes: &[Outcome], started: Instant) -> Result<()> {
    println!(
        "\n  {:<10} {:>7} {:>7}  {:>12}",
        "suite", "passed", "failed", "time"
    );
    let mut total = Tally::default();
    for outcome in outcomes {
        total.passed += outcome.tally.passed;
        total.failed += outcome.tally.failed;
        println!(
            "  {:<10} {:>7} {:>7}  {:>12}",
            outcome.name,
            outcome.tally.passed,
            outcome.tally.failed,
            seconds(outcome.time)
        );
    }
    println!("  in all {}\n", seconds(started.elapsed()));
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        bail!("tests failed");
    }
    Ok(())
}

fn run_counted(step: &Step, command: &mut Command) -> Result<Tally> {
    step.run(command)?;
    Ok(count(&step.log_text()))
}

fn cargo_tests(
    checkout: &Checkout,
    step: &Step,
    package: &str,
    filter: Option<&str>,
) -> Result<Tally> {
    let mut test = command("cargo");
    test.args(["test", "--locked", "--package", package])
        .args(filter)
        .current_dir(&checkout.root);
    run_counted(step, &mut test)
}

/// Of the crates in dev/ only the binaries: the clients of chaos need a running system.
fn commands(checkout: &Checkout, step: &Step, filter: Option<&str>) -> Result<Tally> {
    let mut test = command("cargo");
    test.args(["test", "--locked", "--package", "xtask"])
        .args(["--package", "carbon-bench", "--package", "carbon-chaos"])
        .args(["--lib", "--bins"])
        .args(filter)
        .current_dir(&checkout.root);
    run_counted(step, &mut test)
}

fn edge(checkout: &Checkout, step: &Step, filter: Option<&str>) -> Result<Tally> {
    let mut test = command("cargo");
    test.args(["test", "--locked"])
        .args(filter)
        .args(["--", "--show-output"])
        .current_dir(checkout.path("edge"));
    let tally = run_counted(step, &mut test)?;
    // Print what an attacker receives, in addition to testing it.
    for line in step.log_text().lines() {
        if line.starts_with("guessing ") {
            println!("  {line}");
        }
    }
    Ok(tally)
}

fn domain(checkout: &Checkout, step: &Step, filter: Option<&str>) -> Result<Tally> {
    // Coverage of a partial run says nothing about the rest.
    if filter.is_some() {
        return cargo_tests(checkout, step, "carbon-domain", filter);
    }
    let coverage = coverage::test_domain(checkout, step)?;
    let percent = coverage.percent();
    println!(
        "  coverage of the domain crate: {percent:.1} % of lines ({} of {})",
        coverage.covered, coverage.lines
    );
    if percent < MIN_LINES_PERCENT {
        bail!("coverage of the domain crate is below {MIN_LINES_PERCENT} %");
    }
    Ok(count(&step.log_text()))
}

/// In a separate copy of the server: the tests replace the extension in the server they use.
fn extension(checkout: &Checkout, step: &Step, filter: Option<&str>) -> Result<Tally> {
    let home = checkout.postgres_home()?;
    let mut test = command("cargo");
    test.args(["pgrx", "test", "pg15"])
        .args(filter)
        .current_dir(checkout.path("pg_carbon"))
        .env("PATH", path_with_tools(checkout)?)
        .env("PGRX_HOME", pgrx_home(checkout)?);
    if cfg!(target_arch = "x86_64") {
        // cargo pgrx links the library with a flag that its test programs must not have, and another flag
        // means compiling every dependency again. This platform's linker retains the section in question
        // without the flag; if it did not, the run would fail visibly.
        test.env("CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND", "1");
    }
    if let Some(user) = checkout.postgres_user()? {
        // Recreated each time: an interrupted run leaves an unusable cluster.
        let folder = home.join("pgrx-test");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid))?;
        test.env("CARGO_PGRX_TEST_RUNAS", "postgres")
            .env("CARGO_PGRX_TEST_PGDATA", folder.join("data"));
    }
    run_counted(step, &mut test)
}

/// pgTAP with pg_prove, one transaction per file, rolled back at its end.
fn database(checkout: &Checkout, step: &Step, filter: Option<&str>) -> Result<Tally> {
    let files = selection::files(&checkout.path("supabase/tests"), ".sql", |_| true, filter)?;
    let environment = up::environment(checkout)?;
    let postgres = Postgres::of(checkout)?;
    let sql = |sql: &str| -> Result<()> {
        let mut psql = postgres.psql(&environment)?;
        step.run(psql.args(["--command", sql]))
    };
    sql("create extension if not exists pgtap with schema extensions")?;
    let mut prove = command("pg_prove");
    prove
        .args(["--verbose", "--psql-bin"])
        .arg(postgres.bin("psql"))
        .args(["--host=127.0.0.1", "--username=supabase_admin"])
        .args([
            "--dbname=postgres",
            &format!("--port={}", environment.ports.db),
        ])
        .args(files)
        .env(
            "PGPASSWORD",
            environment.secrets.get("DB_PASSWORD_SUPERUSER")?,
        )
        .env("PGOPTIONS", "--search_path=public,extensions");
    let result = step.run(&mut prove);
    // Nothing of the tests remains in the database.
    sql("drop extension if exists pgtap")?;
    result.map(|()| count_tap(&step.log_text()))
}

fn property(checkout: &Checkout, step: &Step, filter: Option<&str>) -> Result<Tally> {
    let mut test = command("cargo");
    test.args(["test", "--locked", "--package", "carbon-tests"])
        .args(["--lib", "--test", "property"])
        .args(filter)
        .current_dir(&checkout.root);
    run_counted(step, &mut test)
}

/// `cargo xtask chaos` for a minute with a new seed; the log has everything, the console the counts.
fn chaos(checkout: &Checkout, step: &Step) -> Result<Tally> {
    let result = run_counted(step, &mut cargo_run(checkout, "carbon-chaos", &["suite"]));
    for line in step.log_text().lines() {
        if CHAOS_LINES.iter().any(|word| line.contains(word)) {
            println!("  {line}");
        }
    }
    result
}

/// The marker of the clients' lines that the suite shows.
const CHAOS_LINES: [&str; 5] = [
    "CARBON_TEST_SEED",
    " operations of ",
    " faults: ",
    "longest ",
    "  ✗ ",
];

/// Files in tests/js with these prefixes belong to separate suites.
const OWN_SUITES: [&str; 4] = ["faults", "hostile", "limits", "realtime"];

fn journey(checkout: &Checkout, step: &Step, filter: Option<&str>) -> Result<Tally> {
    let belongs = |name: &str| !OWN_SUITES.iter().any(|suite| name.starts_with(suite));
    node_tests(checkout, step, belongs, filter)
}

fn limits(checkout: &Checkout, step: &Step, filter: Option<&str>) -> Result<Tally> {
    up::switch_limits(checkout, false)?;
    let belongs = |name: &str| name.starts_with("limits") || name.starts_with("hostile");
    let result = node_tests(checkout, step, belongs, filter);
    up::switch_limits(checkout, true)?;
    result
}

fn faults(checkout: &Checkout, step: &Step, filter: Option<&str>) -> Result<Tally> {
    node_tests(checkout, step, |name| name.starts_with("faults"), filter)
}

fn node_tests(
    checkout: &Checkout,
    step: &Step,
    belongs: impl Fn(&str) -> bool,
    filter: Option<&str>,
) -> Result<Tally> {
    let folder = checkout.path("tests");
    let files = selection::files(&folder.join("js"), ".test.mjs", belongs, filter)?;
    let mut node = command("node");
    node.args(["--test", "--test-reporter=tap", "--test-concurrency=1"])
        .args(files)
        // Tests that stop services run this program.
        .env("XTASK", std::env::current_exe()?)
        .current_dir(&folder);
    run_counted(step, &mut node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_chose_no_test_fails() -> Result<()> {
        let one = Tally {
            passed: 1,
            failed: 0,
        };
        assert_eq!(require_some(one, Some("name"))?, one);
        assert_eq!(require_some(Tally::default(), None)?, Tally::default());
        let error = require_some(Tally::default(), Some("name")).expect_err("nothing ran");
        assert!(error.to_string().contains("\"name\""), "{error}");
        Ok(())
    }

    #[test]
    fn a_suite_without_parts_takes_no_filter() {
        assert!(whole("logs", None).is_ok());
        assert!(whole("logs", Some("auth")).is_err());
    }
}
