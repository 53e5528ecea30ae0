//! The outbox: the cost of reads while much of it is pending, how fast a backlog is folded, how soon a
//! write is published, and the cost of a board in a session that has read one before.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use super::boards::pgbench::Script;
use super::edge::percentile;
use super::report::{Figure, Target, median};
use super::scratch::{SMALL, Scratch};
use super::session::{Session, undisturbed};
use super::{FEW_PEOPLE, ROUNDS, add_diaries, circumstances, conclude};
use xtask::checkout::Checkout;
use xtask::up;

/// Entries of each user.
const ENTRIES: u32 = 3;

/// Calls of each kind in a round.
const CALLS: usize = 60;

/// Pending outbox rows while a user reads: a short stop of the worker, and ten minutes of it at 1,000
/// writes a second.
const PENDING: [u32; 2] = [10_000, 600_000];

/// Rows of a backlog, and of one call.
const BACKLOG: u32 = 40_000;
const SLICE: u32 = 20_000;

/// Creates a second while their messages are awaited.
const CREATES_PER_SECOND: u32 = 200;

const PROFILE: &str = "select public.get_gamification_profile()";
const AROUND: &str = "select public.get_leaderboard(page_size => 10, around_me => true)";
const PAGE: &str = "select public.get_leaderboard(page_size => 100)";

/// Measures this part alone and prints its table.
pub fn run(checkout: &Checkout) -> Result<()> {
    let started = Instant::now();
    up::prepare_database(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    let result = fill(&scratch).and_then(|()| measure(&scratch));
    scratch.remove()?;
    println!("\n{}", circumstances(checkout, " outbox", &load, started)?);
    conclude(&result?, "");
    Ok(())
}

fn fill(scratch: &Scratch) -> Result<()> {
    scratch.step(
        &format!("{FEW_PEOPLE} people with {ENTRIES} entries each"),
        |_| {
            scratch.sql(SMALL, &format!("call bench.add_people({FEW_PEOPLE})"))?;
            add_diaries(scratch, SMALL, FEW_PEOPLE, ENTRIES)?;
            scratch.sql(SMALL, "select private.merge_boards(10000000)")?;
            scratch.sql(SMALL, "vacuum analyze").map(drop)
        },
    )
}

fn measure(scratch: &Scratch) -> Result<Vec<Figure>> {
    let mut figures = reads(scratch)?;
    figures.extend(backlogs(scratch)?);
    figures.extend(messages(scratch)?);
    Ok(figures)
}

/// A session that has read everything before.
fn reader(scratch: &Scratch) -> Result<Session> {
    let person = scratch.sql(SMALL, "select md5('7')::uuid")?;
    let mut session = Session::open(scratch, SMALL)?;
    session.act_as(&json!({"role": "authenticated", "sub": person}))?;
    for statement in [PROFILE, AROUND, PAGE] {
        for _ in 0..8 {
            session.run(statement)?;
        }
    }
    Ok(session)
}

/// CPU time of the server for a statement, one value per round.
fn costs(session: &mut Session, statement: &str) -> Result<Vec<f64>> {
    (0..ROUNDS)
        .map(|_| {
            let costs = (0..CALLS)
                .map(|_| session.cost_ms(statement))
                .collect::<Result<Vec<f64>>>()?;
            Ok(undisturbed(&costs))
        })
        .collect()
}

/// Leaves rows in the outbox, as creates of all users do.
fn leave(scratch: &Scratch, rows: u32) -> Result<()> {
    scratch
        .sql(
            SMALL,
            &format!(
                "insert into private.outbox (user_id, local_date, province, entries, credits, change, total, level, revision, created_at)
                 select md5((1 + n * 7919 % {FEW_PEOPLE})::text)::uuid, carbon.local_date(now(), 'Asia/Bangkok'), 'TH-10',
                        1, 22, 22, 1000 + n, 3, n, now() - interval '1 minute'
                 from generate_series(1::bigint, {rows}) as n"
            ),
        )
        .map(drop)
}

fn reads(scratch: &Scratch) -> Result<Vec<Figure>> {
    let named = [
        ("a profile", PROFILE),
        ("around a user, 10 rows", AROUND),
        ("a page of 100 with one's own place", PAGE),
    ];
    let mut session = reader(scratch)?;
    let alone = scratch.step("reads with nothing pending", |_| {
        named
            .iter()
            .map(|(_, statement)| costs(&mut session, statement))
            .collect::<Result<Vec<_>>>()
    })?;
    let targets = [Target::Shown, Target::AtMost(0.4), Target::AtMost(0.8)];
    let mut figures: Vec<Figure> = named
        .iter()
        .zip(&alone)
        .zip(targets)
        .map(|(((name, _), samples), target)| Figure {
            name: format!("processor time of the server for {name}, in a warm session, p10"),
            target,
            unit: " ms",
            samples: samples.clone(),
            seen: format!("{FEW_PEOPLE} people"),
        })
        .collect();
    let mut before = 0;
    for (pending, most) in PENDING.into_iter().zip([2.0, 5.0]) {
        let more = scratch.step(&format!("reads with {pending} rows pending"), |_| {
            leave(scratch, pending - before)?;
            scratch.sql(SMALL, "analyze private.outbox")?;
            [PROFILE, PAGE]
                .iter()
                .map(|statement| costs(&mut session, statement))
                .collect::<Result<Vec<_>>>()
        })?;
        for (what, samples, place) in [("a profile", &more[0], 0), ("a page of 100", &more[1], 2)] {
            figures.push(Figure {
                name: format!("processor time more of {what} with {pending} rows pending, p10"),
                target: Target::AtMost(most),
                unit: " ms",
                samples: samples
                    .iter()
                    .zip(&alone[place])
                    .map(|(with, without)| with - without)
                    .collect(),
                seen: format!("{:.2} ms with them", median(samples)),
            });
        }
        before = pending;
    }
    scratch.sql(SMALL, "truncate private.outbox")?;
    Ok(figures)
}

/// Rows a second at which a backlog is folded, by the worker's own calls.
fn drain(scratch: &Scratch) -> Result<f64> {
    leave(scratch, BACKLOG)?;
    let begun = Instant::now();
    loop {
        let taken = scratch.sql(SMALL, &format!("select private.merge_boards({SLICE})"))?;
        if taken.trim() == "0" {
            return Ok(f64::from(BACKLOG) / begun.elapsed().as_secs_f64());
        }
    }
}

fn backlogs(scratch: &Scratch) -> Result<Vec<Figure>> {
    let script = |rate, seconds| Script {
        scratch,
        database: SMALL,
        file: "board_page.sql",
        defines: Vec::new(),
        person: Some(7),
        connections: 2,
        rate,
        seconds,
    };
    let alone = scratch.step("a backlog, alone", |_| {
        (0..ROUNDS)
            .map(|_| drain(scratch))
            .collect::<Result<Vec<f64>>>()
    })?;
    let saturated = script(None, 3).latencies_ms()?.len() as f64 / 3.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let half = (saturated / 2.0) as u32;
    let beside = scratch.step("a backlog beside reads", |_| {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    script(Some(half), 3).latencies_ms()?;
                }
                Ok(())
            });
            let rates = (0..ROUNDS)
                .map(|_| drain(scratch))
                .collect::<Result<Vec<f64>>>();
            is_over.store(true, Ordering::Relaxed);
            reading
                .join()
                .unwrap_or_else(|_| Err(anyhow!("the reads panicked")))?;
            rates
        })
    })?;
    let figure = |name: &str, least, samples, seen| Figure {
        name: format!("rows of a backlog of {BACKLOG} taken a second, {name}"),
        target: Target::AtLeast(least),
        unit: "",
        samples,
        seen,
    };
    Ok(vec![
        figure("alone", 8_000.0, alone, format!("{SLICE} rows a call")),
        figure(
            "beside reads",
            4_000.0,
            beside,
            format!("{half} pages of 100 a second, half of what two connections get"),
        ),
    ])
}

/// From the commit of a create to that of its message, by the server's own commit timestamps.
fn messages(scratch: &Scratch) -> Result<Vec<Figure>> {
    scratch.sql(SMALL, "alter system set track_commit_timestamp = on")?;
    scratch.with_worker(SMALL)?;
    let creates = Script {
        scratch,
        database: SMALL,
        file: "create_rpc.sql",
        defines: vec![format!("people={FEW_PEOPLE}")],
        person: Some(1),
        connections: 4,
        rate: Some(CREATES_PER_SECOND),
        seconds: 6,
    };
    let mut samples = Vec::new();
    let mut seen = String::new();
    scratch.step("messages of creates", |_| {
        for round in 0..=ROUNDS {
            scratch.sql(SMALL, "truncate realtime.messages")?;
            creates.latencies_ms()?;
            std::thread::sleep(std::time::Duration::from_secs(1));
            let times = scratch.sql(
                SMALL,
                "select extract(epoch from pg_xact_commit_timestamp(m.xmin) - pg_xact_commit_timestamp(k.xmin)) * 1000
                 from realtime.messages as m
                 join private.entry_keys as k
                   on m.topic = 'user:' || k.user_id || ':gamification' and (m.payload ->> 'revision')::bigint = k.revision
                 where m.event = 'credits_changed'",
            )?;
            let times = times
                .lines()
                .map(|line| line.trim().parse().with_context(|| line.to_owned()))
                .collect::<Result<Vec<f64>>>()?;
            ensure!(times.len() > 1000, "only {} messages came", times.len());
            if round > 0 {
                samples.push(percentile(&times, 0.99));
                seen = format!("p50 {:.0} ms", percentile(&times, 0.5));
            }
        }
        Ok(())
    })?;
    scratch.without_worker()?;
    Ok(vec![Figure {
        name: format!(
            "from a create's commit to its message's, at {CREATES_PER_SECOND} creates a second, p99"
        ),
        target: Target::AtMost(100.0),
        unit: " ms",
        samples,
        seen,
    }])
}
