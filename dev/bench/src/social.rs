//! What people see of one another among a million: the friend board of somebody with 500 friends, and what friends
//! and blocks cost on the boards of all.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::boards::pgbench::Script;
use super::edge::percentile;
use super::report::{Figure, Target, median};
use super::scratch::{SMALL, Scratch};
use super::session::{Session, undisturbed};
use super::{ROUNDS, circumstances, conclude};
use xtask::checkout::Checkout;
use xtask::progress::seconds;
use xtask::up;

/// Users of the population unless `bench social PEOPLE` names another number.
const PEOPLE: u32 = 1_000_000;

/// The fewest users among whom viewers find their friends.
const FEWEST_PEOPLE: u32 = 10_000;

/// The database.
const DATABASE: &str = "social";

/// Statements of a session; the first ones build plans.
const CALLS: usize = 60;
const WARM_UP: usize = 10;

/// Measures this part alone and prints its table.
pub fn run(checkout: &Checkout, people: Option<&str>) -> Result<()> {
    let started = Instant::now();
    let people: u32 = people
        .map_or(Ok(PEOPLE), str::parse)
        .context("the number of users")?;
    ensure!(
        people >= FEWEST_PEOPLE,
        "viewers with 1,000 friends need at least {FEWEST_PEOPLE} users"
    );
    up::prepare_database(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    let result = fill(&scratch, people).and_then(|()| measure(&scratch, people));
    scratch.remove()?;
    println!(
        "\n{}",
        circumstances(checkout, &format!(" social {people}"), &load, started)?
    );
    conclude(&result?, "");
    Ok(())
}

fn fill(scratch: &Scratch, people: u32) -> Result<()> {
    let started = Instant::now();
    scratch.sql(
        SMALL,
        &format!("create database {DATABASE} template {SMALL}"),
    )?;
    scratch.step(&format!("{people} people and their friends"), |_| {
        for file in ["boards.sql", "social.sql"] {
            scratch.file(DATABASE, file)?;
        }
        for call in [
            format!("call bench.add_crowd({people})"),
            format!("call bench.add_friends({people})"),
            "select private.rebuild_boards()".to_owned(),
            "vacuum analyze".to_owned(),
            "checkpoint".to_owned(),
        ] {
            scratch.sql(DATABASE, &call)?;
        }
        Ok(())
    })?;
    let size = scratch.sql(
        DATABASE,
        "select count(*) || ' neighbour rows, ' || pg_size_pretty(pg_database_size(current_database())) from private.friends",
    )?;
    println!("      filled in {}: {size}", seconds(started.elapsed()));
    Ok(())
}

fn measure(scratch: &Scratch, people: u32) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (timeframe, viewer, friends, limits) in [
        ("all_time", 1, 500, Some((20.0, 8.0))),
        ("weekly", 1, 500, Some((20.0, 8.0))),
        ("weekly", 201, 1000, None),
    ] {
        let reading = Reading {
            name: format!("friend board ({timeframe}) of {friends} friends among {people}"),
            file: "friend_board.sql",
            defines: vec![format!("timeframe={timeframe}")],
            statement: format!(
                "select public.get_leaderboard('friends', '{timeframe}', page_size => 100)"
            ),
            viewer,
            limits,
        };
        figures.extend(reading.measure(scratch)?);
    }
    let page = Reading {
        name: format!(
            "a page of 100 of a province's week among {people}, with 500 friends and blocks"
        ),
        file: "board_page.sql",
        defines: Vec::new(),
        statement: "select public.get_leaderboard('province', 'weekly', 'TH-10', page_size => 100)"
            .to_owned(),
        viewer: 1,
        limits: None,
    };
    figures.extend(page.measure(scratch)?);
    Ok(figures)
}

/// A read of one viewer, measured as the client sees it and as the server's processor does.
struct Reading {
    name: String,
    /// A file of dev/bench/sql with this statement.
    file: &'static str,
    defines: Vec<String>,
    statement: String,
    /// The number of the viewer.
    viewer: u32,
    /// Milliseconds at most: p95, and processor time.
    limits: Option<(f64, f64)>,
}

impl Reading {
    fn measure(&self, scratch: &Scratch) -> Result<[Figure; 2]> {
        scratch.step(&self.name, |_| {
            let script = Script {
                scratch,
                database: DATABASE,
                file: self.file,
                defines: self.defines.clone(),
                person: Some(self.viewer),
                connections: 1,
                rate: None,
                seconds: 3,
            };
            let mut rounds: [Vec<f64>; 3] = Default::default();
            for round in 0..=ROUNDS {
                let latencies = script.latencies_ms()?;
                let processor = self.processor_ms(scratch)?;
                if round > 0 {
                    rounds[0].push(percentile(&latencies, 0.5));
                    rounds[1].push(percentile(&latencies, 0.95));
                    rounds[2].push(processor);
                }
            }
            let [p50, p95, processor] = rounds;
            let target = |limit: Option<f64>| limit.map_or(Target::Shown, Target::AtMost);
            Ok([
                Figure {
                    name: format!("{}, p95", self.name),
                    target: target(self.limits.map(|limits| limits.0)),
                    unit: " ms",
                    samples: p95,
                    seen: format!("p50 {:.2} ms", median(&p50)),
                },
                Figure {
                    name: "the same, processor time in the server, p10".to_owned(),
                    target: target(self.limits.map(|limits| limits.1)),
                    unit: " ms",
                    samples: processor,
                    seen: "a warm session".to_owned(),
                },
            ])
        })
    }

    fn processor_ms(&self, scratch: &Scratch) -> Result<f64> {
        let mut session = Session::open(scratch, DATABASE)?;
        let id = session.run(&format!("select md5('{}')::uuid", self.viewer))?;
        session.act_as(&json!({"role": "authenticated", "sub": id.trim()}))?;
        let costs = (0..CALLS)
            .map(|_| session.cost_ms(&self.statement))
            .collect::<Result<Vec<f64>>>()?;
        Ok(undisturbed(&costs[WARM_UP..]))
    }
}
