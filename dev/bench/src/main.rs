//! `cargo xtask bench`: the cost of the product's rules, compared with operations that do without them, in
//! the same run.
//!
//! Everything is a ratio of two series measured in turns (every other round in reverse order), so that a
//! busy machine slows both. The cluster is durable: fsync and synchronous_commit stay on, as in the
//! checkout's own.

#![forbid(unsafe_code)]

mod boards;
mod edge;
mod growth;
mod hostile;
mod measure;
mod merges;
mod outbox;
mod realtime;
mod report;
mod scratch;
mod session;
mod social;
mod writes;

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use measure::{Reader, Run, statement_ms};
use report::{Figure, Target, median, table};
use scratch::{LARGE, SMALL, Scratch};
use xtask::checkout::Checkout;
use xtask::process::{command, text};
use xtask::progress::seconds;
use xtask::{program, up};

/// Rounds of every comparison.
const ROUNDS: usize = 5;

/// Users of the smaller database, with as many entries each as in the larger one.
const FEW_PEOPLE: u32 = 10_000;

/// A user who logs twice a day, and one who stopped five years ago.
const ACTIVE: &str = "a0000000-0000-4000-8000-000000000001";
const DORMANT: &str = "a0000000-0000-4000-8000-000000000002";

/// Connections to PostgREST: more than the machine has cores, fewer than the pool has.
const READERS: usize = 8;

/// The size of the larger database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    people: u32,
    entries: u32,
}

impl Size {
    const DEFAULT: Self = Self {
        people: 100_000,
        entries: 10,
    };
    /// 100 entries of each would be 75 GB and an hour of filling; ten are 8 GB and some minutes.
    const LARGE: Self = Self {
        people: 1_000_000,
        entries: 10,
    };

    /// Parses two words: users, and entries of each.
    fn parse(people: &str, entries: &str) -> Result<Self> {
        let size = Self {
            people: people.parse().context("the number of users")?,
            entries: entries.parse().context("the number of entries of each")?,
        };
        if size.people < FEW_PEOPLE || size.entries == 0 {
            bail!("--large requires at least {FEW_PEOPLE} users with one entry each");
        }
        Ok(size)
    }
}

fn main() -> ExitCode {
    program::main(run)
}

/// Described in `cargo xtask help`.
fn run(checkout: &Checkout, words: &[&str]) -> Result<()> {
    match words {
        [] => compare(checkout, Size::DEFAULT, false),
        ["database"] => compare(checkout, Size::DEFAULT, true),
        ["boards"] => boards::run(checkout, None),
        ["boards", people] => boards::run(checkout, Some(people)),
        ["edge"] => edge::run(checkout),
        ["growth"] => growth::run(checkout),
        ["social", numbers @ ..] => social::run(checkout, numbers),
        ["merges"] => merges::run(checkout),
        ["writes"] => writes::run(checkout),
        ["faults", attacks @ ..] => hostile::run(checkout, attacks),
        // The attacker's process of the line above.
        ["hostile-client", attack] => hostile::client(attack),
        ["outbox"] => outbox::run(checkout),
        ["realtime"] => realtime::run(checkout),
        ["--large"] => compare(checkout, Size::LARGE, false),
        ["--large", people, entries] => compare(checkout, Size::parse(people, entries)?, false),
        _ => bail!(
            "cannot do \"bench {}\"; see `cargo xtask help`",
            words.join(" ")
        ),
    }
}

/// Measures the database part and, unless it is to run alone, the Worker's and Realtime's; prints the
/// tables.
fn compare(checkout: &Checkout, size: Size, alone: bool) -> Result<()> {
    let started = Instant::now();
    if alone {
        up::prepare_database(checkout)?;
    } else {
        up::prepare(checkout)?;
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    // Boards first: their databases are copies of the one that is still empty.
    let result = boards::measure(&scratch, None).and_then(|of_boards| {
        let mut figures = measure_all(&scratch, size)?;
        figures.extend(of_boards);
        if alone {
            return Ok((figures, String::new()));
        }
        let (more, calls) = edge::measure(&scratch)?;
        figures.extend(more);
        figures.extend(realtime::measure(&scratch)?);
        Ok((figures, calls))
    });
    scratch.remove()?;
    let (figures, calls) = result?;
    let option = match (size == Size::DEFAULT, alone) {
        (true, false) => String::new(),
        (true, true) => " database".to_owned(),
        (false, _) => format!(" --large {} {}", size.people, size.entries),
    };
    println!("\n{}", circumstances(checkout, &option, &load, started)?);
    conclude(&figures, &calls);
    Ok(())
}

/// The tables, and how many targets were missed.
fn conclude(figures: &[Figure], calls: &str) {
    println!("\n{}\n\n{calls}", table(figures));
    println!("\n{} of {} figures missed", missed(figures), figures.len());
}

fn missed(figures: &[Figure]) -> usize {
    figures
        .iter()
        .filter(|figure| figure.is_met() == Some(false))
        .count()
}

/// What a reader of the table must know: command, commit, machine, and its load.
fn circumstances(
    checkout: &Checkout,
    option: &str,
    load: &str,
    started: Instant,
) -> Result<String> {
    let commit = text(
        command("git")
            .args(["describe", "--always", "--dirty"])
            .current_dir(&checkout.root),
    )?;
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "`cargo xtask bench{option}` at {commit}, PostgreSQL 15, {cores} cores ({cpu}), load before it {}, \
         {ROUNDS} rounds, {} in all",
        load.split(' ').next().unwrap_or("unknown"),
        seconds(started.elapsed())
    ))
}

fn measure_all(scratch: &Scratch, size: Size) -> Result<Vec<Figure>> {
    // The work that writers leave to the worker is part of their cost.
    scratch.with_worker(SMALL)?;
    fill(scratch, size)?;
    let mut figures = creates(scratch)?;
    figures.push(rewards(scratch)?);
    figures.extend(scale(scratch, size)?);
    figures.extend(lists(scratch)?);
    figures.extend(rest(scratch)?);
    figures.extend(bulk(scratch)?);
    figures.extend(growth::measure(scratch)?);
    figures.push(merges::measure(scratch)?);
    Ok(figures)
}

fn fill(scratch: &Scratch, size: Size) -> Result<()> {
    fill_one(scratch, SMALL, FEW_PEOPLE, size.entries)?;
    fill_one(scratch, LARGE, size.people, size.entries)?;
    scratch.sql(SMALL, "checkpoint").map(drop)
}

fn fill_one(scratch: &Scratch, database: &str, people: u32, entries: u32) -> Result<()> {
    let name = format!("{people} people with {entries} entries each");
    scratch.step(&name, |_| {
        scratch.sql(database, &format!("call bench.add_people({people})"))?;
        add_diaries(scratch, database, people, entries)?;
        if database == SMALL {
            let parts = ROUNDS + 1;
            for call in [
                format!("call bench.add_diary('{ACTIVE}', '1 hour')"),
                format!("call bench.add_diary('{DORMANT}', '5 years')"),
                format!("call bench.copy_diary('{ACTIVE}')"),
                format!("call bench.make_bulk_rows({parts}, {FEW_PEOPLE})"),
            ] {
                scratch.sql(database, &call)?;
            }
        }
        scratch.sql(database, "vacuum analyze")
    })?;
    let size = scratch.sql(
        database,
        "select pg_size_pretty(pg_database_size(current_database()))",
    )?;
    println!("      {people} people: {size}");
    Ok(())
}

/// Half of the users over each of two connections.
fn add_diaries(scratch: &Scratch, database: &str, people: u32, entries: u32) -> Result<()> {
    let half = people / 2;
    let add = |first: u32, last: u32| {
        let call = format!("call bench.add_diaries({first}, {last}, {entries})");
        scratch.sql(database, &call).map(drop)
    };
    std::thread::scope(|scope| {
        let first_half = scope.spawn(|| add(1, half));
        add(half + 1, people)?;
        first_half
            .join()
            .unwrap_or_else(|_| Err(anyhow!("filling {database} panicked")))
    })
}

/// One series per variant, in turns; every other round begins at the other end. A first round that fills
/// caches and plans is discarded.
fn in_turns<const N: usize>(
    measure: impl Fn(usize, usize) -> Result<f64>,
) -> Result<[Vec<f64>; N]> {
    let mut series: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for round in 0..=ROUNDS {
        for place in 0..N {
            let variant = if round % 2 == 0 { place } else { N - 1 - place };
            let value = measure(variant, round)?;
            if round > 0 {
                series[variant].push(value);
            }
        }
    }
    Ok(series)
}

fn create<'a>(database: &'a str, script: &'a str, people: u32, round: usize) -> Run<'a> {
    Run {
        database,
        script,
        connections: 2,
        seconds: if round == 0 { 1 } else { 3 },
        people,
        person: None,
        protocol: "prepared",
    }
}

fn creates(scratch: &Scratch) -> Result<Vec<Figure>> {
    const SCRIPTS: [&str; 3] = ["create_bare.sql", "create_rpc.sql", "create_insert.sql"];
    let [bare, rpc, insert] = scratch.step("single creates", |_| {
        in_turns(|variant, round| {
            create(SMALL, SCRIPTS[variant], FEW_PEOPLE, round).per_second(scratch)
        })
    })?;
    let against_bare = |name: &str, series: &[f64]| {
        Figure::ratio(
            name,
            Target::AtLeast(0.60),
            series,
            &bare,
            format!("{:.0}/s, bare {:.0}/s", median(series), median(&bare)),
        )
    };
    Ok(vec![
        against_bare(
            "single create by rpc, all rules on / bare insert of the same row",
            &rpc,
        ),
        against_bare(
            "single create by INSERT under RLS, all rules on / bare",
            &insert,
        ),
    ])
}

/// The share of achievements and challenges in the cost of a create: without any to earn, the same creates
/// take that much less time.
fn rewards(scratch: &Scratch) -> Result<Figure> {
    let [with, without] = scratch.step("creates with and without rewards", |_| {
        in_turns(|variant, round| {
            let offered = variant == 0;
            scratch.sql(SMALL, &format!("call bench.offer_rewards({offered})"))?;
            create(SMALL, "create_insert.sql", FEW_PEOPLE, round).per_second(scratch)
        })
    })?;
    scratch.sql(SMALL, "call bench.offer_rewards(true)")?;
    Ok(Figure {
        name: "achievements and challenges, share of a create by INSERT".to_owned(),
        target: Target::AtMost(15.0),
        unit: " %",
        samples: with
            .iter()
            .zip(&without)
            .map(|(with, without)| 100.0 * (1.0 - with / without))
            .collect(),
        seen: format!("{:.0}/s, without {:.0}/s", median(&with), median(&without)),
    })
}

fn scale(scratch: &Scratch, size: Size) -> Result<Vec<Figure>> {
    let databases = [(SMALL, FEW_PEOPLE), (LARGE, size.people)];
    let [few, many] = scratch.step("creates among few and many people", |_| {
        in_turns(|variant, round| {
            let (database, people) = databases[variant];
            create(database, "create_rpc.sql", people, round).per_second(scratch)
        })
    })?;
    let name = format!(
        "time of a create by rpc with {} people of {} entries / with {FEW_PEOPLE}",
        size.people, size.entries
    );
    let seen = format!("{:.0}/s and {:.0}/s", median(&many), median(&few));
    Ok(vec![Figure::ratio(
        &name,
        Target::AtMost(1.2),
        &few,
        &many,
        seen,
    )])
}

/// The server's time for a list, parsing and planning included: by the simple protocol, minus its time for
/// `select 1`.
fn lists(scratch: &Scratch) -> Result<Vec<Figure>> {
    const VARIANTS: [(&str, &str); 4] = [
        ("nothing.sql", ACTIVE),
        ("list_rpc.sql", ACTIVE),
        ("list_rpc.sql", DORMANT),
        ("list_select.sql", ACTIVE),
    ];
    let [nothing, active, dormant, select] = scratch.step("lists", |_| {
        in_turns(|variant, _| {
            let (script, person) = VARIANTS[variant];
            let run = Run {
                database: SMALL,
                script,
                connections: 1,
                seconds: 1,
                people: FEW_PEOPLE,
                person: Some(person),
                protocol: "simple",
            };
            Ok(1000.0 / run.per_second(scratch)?)
        })
    })?;
    let months = scratch.sql(
        SMALL,
        "select count(*) from pg_inherits where inhparent = 'public.waste_entries'::regclass",
    )?;
    let figure = |name: &str, target: Target, times: &[f64]| Figure {
        name: name.to_owned(),
        target,
        unit: " ms",
        samples: times
            .iter()
            .zip(&nothing)
            .map(|(time, nothing)| time - nothing)
            .collect(),
        seen: format!("{months} partitions"),
    };
    Ok(vec![
        figure(
            "the 20 newest entries by rpc, someone active",
            Target::AtMost(1.0),
            &active,
        ),
        figure(
            "the same, the newest 5 years old",
            Target::AtMost(5.0),
            &dormant,
        ),
        figure(
            "the same by an unbounded SELECT under RLS, someone active",
            Target::Shown,
            &select,
        ),
    ])
}

fn rest(scratch: &Scratch) -> Result<Vec<Figure>> {
    let server = scratch.rest()?;
    up::ensure(scratch.checkout, &server)?;
    let reader = Reader::new(&scratch.environment, ACTIVE)?;
    let newest = scratch.sql(
        SMALL,
        &format!(
            "select id || ' ' || to_char(logged_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
             from public.bare_entries where user_id = '{ACTIVE}' order by logged_at desc limit 1"
        ),
    )?;
    let (id, at) = newest.split_once(' ').context("an id and a time")?;
    let paths = [
        format!("/bare_entries?user_id=eq.{ACTIVE}&logged_at=eq.{at}&id=eq.{id}"),
        format!("/rpc/get_waste_entry?entry_id={id}"),
        format!("/bare_entries?user_id=eq.{ACTIVE}&order=logged_at.desc,id.desc&limit=20"),
        "/rpc/list_waste_entries".to_owned(),
    ];
    let [bare, get, bare_list, list] = scratch.step("reads through PostgREST", |_| {
        in_turns(|variant, round| {
            let time = Duration::from_millis(if round == 0 { 500 } else { 1500 });
            reader.per_second(&paths[variant], READERS, time)
        })
    })?;
    server.stop(scratch.checkout)?;
    let figure = |name: &str, rpc: &[f64], bare: &[f64]| {
        let seen = format!("{:.0}/s, bare {:.0}/s", median(rpc), median(bare));
        Figure::ratio(name, Target::AtLeast(0.8), rpc, bare, seen)
    };
    Ok(vec![
        figure(
            "rpc get_waste_entry / bare select of the row by its key, through PostgREST",
            &get,
            &bare,
        ),
        figure(
            "rpc list_waste_entries / bare select of 20 rows by an index, through PostgREST",
            &list,
            &bare_list,
        ),
    ])
}

fn bulk(scratch: &Scratch) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (with_offline_id, name, target) in [
        (
            "false",
            "bulk insert of 200,000 rows over 2,000 people / bare",
            Target::AtLeast(0.45),
        ),
        (
            "true",
            "the same with an offline_id in every row",
            Target::Shown,
        ),
    ] {
        let [bare, entries] = scratch.step(name, |_| {
            in_turns(|variant, round| {
                let script = ["bulk_bare.sql", "bulk_entries.sql"][variant];
                let part = format!("part={}", round + 1);
                let set = [part.as_str(), &format!("with_offline_id={with_offline_id}")];
                statement_ms(scratch, SMALL, script, &set)
            })
        })?;
        let seen = format!("{:.0} ms, bare {:.0} ms", median(&entries), median(&bare));
        figures.push(Figure::ratio(name, target, &bare, &entries, seen));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_measured_once_a_round_in_alternating_order() -> Result<()> {
        let order = std::cell::RefCell::new(Vec::new());
        let [one, two] = in_turns(|variant, round| {
            order.borrow_mut().push(variant);
            Ok(if variant == 0 {
                1.0
            } else {
                f64::from(u32::try_from(round)?)
            })
        })?;
        assert_eq!((one.len(), two.len()), (ROUNDS, ROUNDS));
        assert_eq!(order.borrow()[..4], [0, 1, 1, 0]);
        Ok(())
    }

    #[test]
    fn a_large_database_is_not_smaller_than_the_small_one() {
        assert!(Size::parse("9999", "10").is_err());
        assert!(Size::parse("200000", "0").is_err());
        assert!(Size::parse("200000", "20").is_ok());
    }
}
