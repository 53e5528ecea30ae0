//! The developer's commands: `cargo xtask help`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Result, bail};

use xtask::checkout::Checkout;
use xtask::{check, crates, db, faults, mutants, program, reference, test, up};

const HELP: &str = "\
cargo xtask COMMAND

  up [--no-build]     install what is missing, build, start everything
  up --no-limits      the same with rates, bounds at once and message budgets lifted
  up --quick          the same from builds that are made quickly and run slower
  down                stop everything
  reset               stop everything and delete the data
  status              what runs, where, and whether it answers
  logs [NAME] [-f]    the end of the logs (of one service), -f to go on
  test [SUITE …]      everything the tests hold; SUITE picks some (`test --list`)
  test SUITE FILTER   one file or the tests of a name, from quick builds (tests/README.md)
  test mutants [PART/OF] [FILE.rs …]
                      changes the rules bit by bit and asks whether a test notices; on demand
                      alone, about half an hour of two processors
  bench               speeds as ratios, for docs/benchmarks.md; about 15 min
  bench database|edge|realtime|growth|merges
                      one part of it alone, about 4 min (realtime: 2)
  bench writes        what a create costs beside the least that one must do, about 5 min
  bench faults [ATTACK …]
                      what one hostile account does to another person, about 6 min
  bench boards [PEOPLE]
                      boards among 1,000,000 people, or PEOPLE, about 7 min
  bench social [PEOPLE [ITEMS]]
                      friends among 1,000,000 people, or PEOPLE, and a feed of 2,000,000 items, or ITEMS
                      (the targets are those of 10,000,000), about 7 min
  bench --large [USERS ENTRIES]
                      the same with 1,000,000 users in place of 100,000, of 10 entries each;
                      some 10 min and 10 GB more
  chaos --minutes N [--seed S]
                      random faults under load; what was acknowledged must be stored, once
  service start|stop|kill|crash|pause|resume NAME
                      what an operator can do to one service
  check [NAME]        format, lints, SQL lint, licences, advisories; or those with NAME in their name
  db migrate|status   apply migrations, or list them   [--url postgres://…]
  db reset            delete and rebuild the local database
  db new TOPIC        the next file of migrations/ (its README has the rules)
  docs                write docs/reference/sql.md from the local database

Ports: PORT_API PORT_SUPABASE PORT_DB PORT_REST PORT_AUTH PORT_INBOX PORT_REALTIME.
A real Supabase Auth instead of the stand-in: AUTH_BIN and AUTH_MIGRATIONS.
A real Realtime server instead of the stand-in: its address in REALTIME_URL.
State of the checkout: .local (env, secrets, logs, data). Tools: ~/.cache/carbon-pixels.
";

fn main() -> ExitCode {
    program::main(run)
}

fn run(checkout: &Checkout, words: &[&str]) -> Result<()> {
    match words {
        ["up", options @ ..] => up::up(checkout, up::Options::parse(options)?).map(drop),
        ["down"] => up::down(checkout),
        ["reset"] => up::reset(checkout),
        ["status"] => up::status(checkout),
        ["logs"] => up::logs(checkout, None, false),
        ["logs", "-f"] => up::logs(checkout, None, true),
        ["logs", name] => up::logs(checkout, Some(name), false),
        ["logs", name, "-f"] => up::logs(checkout, Some(name), true),
        ["db", "new", topic] => db::new(checkout, topic),
        ["db", action] => db::run(checkout, action, None),
        ["db", action, "--url", url] => db::run(checkout, action, Some(url)),
        ["docs"] => reference::write(checkout),
        ["bench", rest @ ..] => crates::become_program(checkout, "carbon-bench", rest),
        ["chaos", rest @ ..] => crates::become_program(checkout, "carbon-chaos", rest),
        ["service", action, name] => faults::command(checkout, action, name),
        ["check"] => check::run_and_report(checkout, None),
        ["check", name] => check::run_and_report(checkout, Some(name)),
        ["test", "--list"] => {
            test::list();
            Ok(())
        }
        ["test", "mutants", chosen @ ..] => mutants::run(checkout, chosen),
        ["test", suites @ ..] => test::run(checkout, suites),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("cannot do {:?}\n\n{HELP}", words.join(" ")),
    }
}
