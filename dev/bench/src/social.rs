//! What people see of one another among a million: the friend board of somebody with 500 friends, what friends and
//! blocks cost on the boards of all, and the feed.

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

/// Items of the feed unless `bench social PEOPLE ITEMS` names another number; the targets are those of ten million.
const ITEMS: u64 = 2_000_000;

/// The fewest users among whom viewers find their friends.
const FEWEST_PEOPLE: u32 = 10_000;

/// The database.
const DATABASE: &str = "social";

/// Statements of a session; the first ones build plans.
const CALLS: usize = 60;
const WARM_UP: usize = 10;

/// Measures this part alone and prints its table.
pub fn run(checkout: &Checkout, numbers: &[&str]) -> Result<()> {
    let started = Instant::now();
    let mut numbers = numbers.iter();
    let people: u32 = numbers
        .next()
        .map_or(Ok(PEOPLE), |people| people.parse())
        .context("the number of users")?;
    let items: u64 = numbers
        .next()
        .map_or(Ok(ITEMS), |items| items.parse())
        .context("the number of items in the feed")?;
    ensure!(
        numbers.next().is_none(),
        "bench social has two numbers: users, and items in the feed"
    );
    ensure!(
        people >= FEWEST_PEOPLE,
        "viewers with 1,000 friends need at least {FEWEST_PEOPLE} users"
    );
    up::prepare_database(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    let result = fill(&scratch, people, items).and_then(|()| measure(&scratch, people, items));
    scratch.remove()?;
    println!(
        "\n{}",
        circumstances(
            checkout,
            &format!(" social {people} {items}"),
            &load,
            started
        )?
    );
    conclude(&result?, "");
    Ok(())
}

fn fill(scratch: &Scratch, people: u32, items: u64) -> Result<()> {
    let started = Instant::now();
    scratch.sql(
        SMALL,
        &format!("create database {DATABASE} template {SMALL}"),
    )?;
    scratch.step(&format!("{people} people and their friends"), |_| {
        for file in ["boards.sql", "social.sql", "feed.sql"] {
            scratch.file(DATABASE, file)?;
        }
        for call in [
            format!("call bench.add_crowd({people})"),
            format!("call bench.add_friends({people})"),
            format!("call bench.add_feed({people}, {items})"),
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

fn measure(scratch: &Scratch, people: u32, items: u64) -> Result<Vec<Figure>> {
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
    figures.extend(feeds(scratch, items)?);
    Ok(figures)
}

/// Pages of 50 of the feed.
fn feeds(scratch: &Scratch, items: u64) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (what, viewer, is_second_page, limits) in [
        ("50 newest of 500 friends", 1, false, (20.0, 9.0)),
        ("its second page", 1, true, (30.0, 12.0)),
        ("50 newest of 1,000 friends", 201, false, (30.0, 12.0)),
        (
            "500 friends who never did anything",
            200,
            false,
            (40.0, 15.0),
        ),
    ] {
        let cursor = if is_second_page {
            second_page(scratch, viewer)?
        } else {
            // pgbench takes no empty value.
            "none".to_owned()
        };
        let reading = Reading {
            name: format!("feed of {items} items: {what}"),
            file: "feed_page.sql",
            defines: vec![format!("cursor={cursor}")],
            statement: format!("select public.get_feed(50, nullif('{cursor}', 'none'))"),
            viewer,
            limits: Some(limits),
        };
        figures.extend(reading.measure(scratch)?);
    }
    Ok(figures)
}

/// The cursor after a viewer's first page.
fn second_page(scratch: &Scratch, viewer: u32) -> Result<String> {
    let mut session = session_of(scratch, viewer)?;
    let cursor = session.run("select public.get_feed(50) ->> 'next_cursor'")?;
    ensure!(!cursor.trim().is_empty(), "viewer {viewer} has one page");
    Ok(cursor.trim().to_owned())
}

fn session_of(scratch: &Scratch, viewer: u32) -> Result<Session> {
    let mut session = Session::open(scratch, DATABASE)?;
    let id = session.run(&format!("select md5('{viewer}')::uuid"))?;
    session.act_as(&json!({"role": "authenticated", "sub": id.trim()}))?;
    Ok(session)
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
        let mut session = session_of(scratch, self.viewer)?;
        let costs = (0..CALLS)
            .map(|_| session.cost_ms(&self.statement))
            .collect::<Result<Vec<f64>>>()?;
        Ok(undisturbed(&costs[WARM_UP..]))
    }
}
