//! Boards: the time of an own rank, a page and a new score among a million users or more, compared with a
//! lookup by key, counting, and Redis.

pub(super) mod pgbench;
mod redis;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use self::pgbench::Script;
use self::redis::Redis;
use super::edge::percentile;
use super::report::{Figure, Target, median};
use super::scratch::{SMALL, Scratch};
use super::{circumstances, conclude, in_turns};
use xtask::checkout::Checkout;
use xtask::progress::seconds;
use xtask::up;

/// Users of the comparison; `bench boards PEOPLE` measures a larger number in addition.
const PEOPLE: u32 = 1_000_000;

/// The two databases.
const FEW: &str = "boards";
const MANY: &str = "boards_many";

/// Creates a second while a reader waits to see one.
const CREATES_PER_SECOND: u32 = 200;

/// Measures boards alone, with a larger number of users in addition if requested, and prints the table.
pub fn run(checkout: &Checkout, people: Option<&str>) -> Result<()> {
    let started = Instant::now();
    let many: Option<u32> = people
        .map(str::parse)
        .transpose()
        .context("the number of users")?;
    ensure!(
        many.is_none_or(|many| many > PEOPLE),
        "the larger population needs more than {PEOPLE} users"
    );
    up::prepare_database(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    let result = measure(&scratch, many);
    scratch.remove()?;
    let figures = result?;
    let option = people.map_or_else(String::new, |people| format!(" {people}"));
    println!(
        "\n{}",
        circumstances(checkout, &format!(" boards{option}"), &load, started)?
    );
    conclude(&figures, "");
    Ok(())
}

/// Measures boards in separate databases, which it creates from the empty one and drops.
pub fn measure(scratch: &Scratch, many: Option<u32>) -> Result<Vec<Figure>> {
    let crowds: Vec<(&str, u32)> = std::iter::once((FEW, PEOPLE))
        .chain(many.map(|many| (MANY, many)))
        .collect();
    for (database, _) in &crowds {
        scratch.sql(
            SMALL,
            &format!("create database {database} template {SMALL}"),
        )?;
    }
    scratch.with_worker(FEW)?;
    for (database, people) in &crowds {
        fill(scratch, database, *people)?;
    }
    let population = Population::of(scratch, FEW, PEOPLE)?;
    let mut figures = ranks(&population)?;
    if let Some(people) = many {
        figures.push(growth(
            &population,
            &Population::of(scratch, MANY, people)?,
        )?);
    }
    figures.push(pages(&population)?);
    figures.extend(fresh(&population)?);
    scratch.without_worker()?;
    for (database, _) in &crowds {
        scratch.sql(SMALL, &format!("drop database {database}"))?;
    }
    Ok(figures)
}

fn fill(scratch: &Scratch, database: &str, people: u32) -> Result<()> {
    let started = Instant::now();
    let written = scratch.step(&format!("a population of {people} people"), |_| {
        scratch.file(database, "boards.sql")?;
        scratch.sql(database, &format!("call bench.add_crowd({people})"))?;
        scratch.sql(database, "vacuum analyze")
    });
    written?;
    let filled = started.elapsed();
    let rows = scratch.step("its boards", |_| {
        let rows = scratch.sql(database, "select private.rebuild_boards()")?;
        scratch.sql(
            database,
            "vacuum analyze private.board_scores, private.board_order, private.board_nodes",
        )?;
        scratch.sql(database, "checkpoint")?;
        Ok(rows)
    })?;
    let size = scratch.sql(
        database,
        "select pg_size_pretty(pg_database_size(current_database())) || ', of it scores '
             || pg_size_pretty(pg_total_relation_size('private.board_scores')) || ', orders ' || pg_size_pretty(pg_total_relation_size('private.board_order')) || ' and trees '
             || pg_size_pretty(pg_total_relation_size('private.board_nodes'))",
    )?;
    println!(
        "      {people} people: filled in {}, {rows} rows of boards built in {}; {size}",
        seconds(filled),
        seconds(started.elapsed().saturating_sub(filled))
    );
    Ok(())
}

/// A filled database.
struct Population<'a> {
    scratch: &'a Scratch<'a>,
    database: &'a str,
    people: u32,
    /// The country's all-time board.
    board: String,
}

impl<'a> Population<'a> {
    fn of(scratch: &'a Scratch<'a>, database: &'a str, people: u32) -> Result<Self> {
        let board = scratch.sql(
            database,
            "select carbon.board_id('all_time', current_date, null)",
        )?;
        Ok(Self {
            scratch,
            database,
            people,
            board,
        })
    }

    fn script(&self, file: &'a str) -> Script<'a> {
        Script {
            scratch: self.scratch,
            database: self.database,
            file,
            defines: vec![
                format!("people={}", self.people),
                format!("board={}", self.board),
            ],
            person: None,
            connections: 1,
            rate: None,
            seconds: 2,
        }
    }

    /// The ranks of some users must equal those by counting.
    fn hold_to_counting(&self) -> Result<()> {
        let wrong = self.scratch.sql(
            self.database,
            &format!(
                "select count(*) from generate_series(1, 20) as n
                 where private.own_rank(md5(n::text)::uuid, {0}) is distinct from bench.counted_rank(md5(n::text)::uuid, {0})",
                self.board
            ),
        )?;
        ensure!(wrong == "0", "{wrong} of 20 ranks are not those counted");
        Ok(())
    }
}

/// p50 and p99 of a series of rounds, as text.
fn spread_of(rounds: &[(f64, f64)]) -> String {
    let of = |pick: fn(&(f64, f64)) -> f64| median(&rounds.iter().map(pick).collect::<Vec<f64>>());
    format!(
        "p50 {:.3} ms, p99 {:.3} ms",
        of(|round| round.0),
        of(|round| round.1)
    )
}

fn p50_p99(samples: &[f64]) -> (f64, f64) {
    (percentile(samples, 0.5), percentile(samples, 0.99))
}

fn ranks(population: &Population) -> Result<Vec<Figure>> {
    population.hold_to_counting()?;
    let tails = std::cell::RefCell::new([const { Vec::new() }; 4]);
    let measured = |variant: usize, round: usize, samples: &[f64]| {
        let (p50, p99) = p50_p99(samples);
        if round > 0 {
            tails.borrow_mut()[variant].push((p50, p99));
        }
        p50
    };
    let [own, by_key] = population.scratch.step("own ranks", |_| {
        in_turns(|variant, round| {
            let name = ["own_rank.sql", "by_key.sql"][variant];
            let samples = population.script(name).latencies_ms()?;
            Ok(measured(variant, round, &samples))
        })
    })?;
    // Separately: counting reads half of an index each time and evicts everything else from PostgreSQL's
    // cache.
    population.scratch.step("own ranks by counting", |_| {
        in_turns::<1>(|_, round| {
            let samples = population.script("counted_rank.sql").latencies_ms()?;
            Ok(measured(2, round, &samples))
        })
    })?;
    if let Some(redis) = Redis::start(population.scratch, population.people)? {
        population.scratch.step("own ranks in Redis", |_| {
            in_turns::<1>(|_, round| Ok(measured(3, round, &redis.ranks_ms()?)))
        })?;
        redis.stop()?;
    }
    let tails = tails.into_inner();
    let shown = |name: &str, variant: usize| Figure {
        name: name.to_owned(),
        target: Target::Shown,
        unit: " ms",
        samples: tails[variant].iter().map(|tail| tail.1).collect(),
        seen: spread_of(&tails[variant]),
    };
    let mut figures = vec![
        Figure::ratio(
            &format!(
                "own rank among {} people / look-up by primary key, p50",
                population.people
            ),
            Target::AtMost(2.0),
            &own,
            &by_key,
            format!("{:.3} ms and {:.3} ms", median(&own), median(&by_key)),
        ),
        shown("own rank, p99", 0),
        shown("the same by count(*) over an index, p99", 2),
    ];
    if !tails[3].is_empty() {
        figures.push(shown("the same by Redis ZREVRANK, p99", 3));
    }
    Ok(figures)
}

fn growth(few: &Population, many: &Population) -> Result<Figure> {
    many.hold_to_counting()?;
    let [with_many, with_few] = few
        .scratch
        .step("own ranks among few and many people", |_| {
            in_turns(|variant, _| {
                let samples = [many, few][variant].script("own_rank.sql").latencies_ms()?;
                Ok(percentile(&samples, 0.5))
            })
        })?;
    Ok(Figure::ratio(
        &format!(
            "own rank among {} people / among {}, p50",
            many.people, few.people
        ),
        Target::AtMost(1.2),
        &with_many,
        &with_few,
        format!(
            "{:.3} ms and {:.3} ms",
            median(&with_many),
            median(&with_few)
        ),
    ))
}

fn pages(population: &Population) -> Result<Figure> {
    let [times] = population.scratch.step("pages of 100", |_| {
        in_turns(|_, _| {
            let mut script = population.script("board_page.sql");
            script.person = Some(999);
            Ok(percentile(&script.latencies_ms()?, 0.5))
        })
    })?;
    Ok(Figure {
        name: format!(
            "a page of 100 of a province's week by a signed-in person, of {} people",
            population.people
        ),
        target: Target::AtMost(5.0),
        unit: " ms",
        samples: times,
        seen: "with the caller's own place, p50".to_owned(),
    })
}

/// Creates at a steady rate, and in parallel one user who creates and another who reads at once.
fn fresh(population: &Population) -> Result<Vec<Figure>> {
    let samples = std::cell::RefCell::new((Vec::new(), Vec::new()));
    population
        .scratch
        .step("new scores on another's board", |_| {
            in_turns::<1>(|_, round| {
                let mut creates = population.script("create_rpc.sql");
                creates.defines = vec!["people=10000".to_owned()];
                creates.person = Some(1);
                creates.connections = 4;
                creates.rate = Some(CREATES_PER_SECOND);
                creates.seconds = 6;
                let mut watched = population.script("board_after_create.sql");
                watched.person = Some(1);
                watched.seconds = 4;
                watched.rate = Some(10);
                let (seen, ranks) = std::thread::scope(|scope| {
                    let creating = scope.spawn(|| creates.latencies_ms());
                    let seen = watched.latencies_ms();
                    let ranks = population.script("own_rank.sql").latencies_ms();
                    creating
                        .join()
                        .unwrap_or_else(|_| Err(anyhow::anyhow!("the creates panicked")))?;
                    Ok::<_, anyhow::Error>((seen?, ranks?))
                })?;
                let worst = percentile(&seen, 0.99);
                if round > 0 {
                    let mut measured = samples.borrow_mut();
                    measured.0.push(worst);
                    measured.1.push(p50_p99(&ranks));
                }
                Ok(worst)
            })
        })?;
    let wrong = population.scratch.sql(
        population.database,
        "select count(*) from generate_series(1, 50) as n where private.check_boards(md5(n::text)::uuid) <> '[]'",
    )?;
    ensure!(
        wrong == "0",
        "the boards of {wrong} users differ from a recount"
    );
    let (seen, ranks) = samples.into_inner();
    Ok(vec![
        Figure {
            name: format!(
                "create and find it on another's board, at {CREATES_PER_SECOND} creates a second, p99"
            ),
            target: Target::AtMost(1000.0),
            unit: " ms",
            samples: seen,
            seen: "read every 5 ms until it is there".to_owned(),
        },
        Figure {
            name: "own rank meanwhile, p99".to_owned(),
            target: Target::Shown,
            unit: " ms",
            samples: ranks.iter().map(|round| round.1).collect(),
            seen: spread_of(&ranks),
        },
    ])
}
