//! The cost of a create compared with the minimum of a correct one: CPU, disk, transaction ids, plans, and
//! how it grows.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::measure::Run;
use super::report::{Figure, Target, median};
use super::scratch::{SMALL, Scratch};
use super::session::{Session, undisturbed};
use super::{ROUNDS, circumstances, conclude, in_turns};
use xtask::checkout::Checkout;
use xtask::up;

/// Users with a diary of a year; each round uses others, so that the first entry of a day is one.
const PEOPLE: u32 = 4000;

/// Calls of each kind in a round; the first ones of a session build plans.
const CALLS: u32 = 48;
const WARM_UP: usize = 8;

/// Statements that a warm session has prepared.
const PREPARE: &str = "prepare floor(jsonb) as select bench.floor_pl($1);
    prepare rpc(json) as select public.create_waste_entry($1);
    prepare ins(text, text, numeric, text, text) as
      insert into public.waste_entries (category_id, disposal_method, weight_kg, device_id, offline_id) values ($1, $2, $3, $4, $5)";

/// Rows of one bulk insert.
const BULK_ROWS: f64 = 200_000.0;

/// Measures this part alone and prints its table.
pub fn run(checkout: &Checkout) -> Result<()> {
    let started = Instant::now();
    up::prepare_database(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    let result = fill(&scratch).and_then(|()| measure(&scratch));
    scratch.remove()?;
    println!("\n{}", circumstances(checkout, " writes", &load, started)?);
    conclude(&result?, "");
    Ok(())
}

fn fill(scratch: &Scratch) -> Result<()> {
    scratch.step("people", |_| {
        for call in [
            format!("call bench.add_people({PEOPLE})"),
            format!("call bench.add_diaries(1, {PEOPLE}, 10)"),
            format!("call bench.make_bulk_rows({}, {PEOPLE})", ROUNDS + 1),
        ] {
            scratch.sql(SMALL, &call)?;
        }
        scratch.file(SMALL, "floor.sql")?;
        scratch.sql(SMALL, "vacuum analyze").map(drop)
    })
}

fn measure(scratch: &Scratch) -> Result<Vec<Figure>> {
    let mut figures = processor(scratch)?;
    figures.push(growth_of_a_diary(scratch)?);
    figures.push(communities(scratch)?);
    figures.push(new_session(scratch)?);
    figures.extend(log_and_ids(scratch)?);
    figures.push(bulk(scratch)?);
    scratch.with_worker(SMALL)?;
    figures.push(durable(scratch)?);
    figures.push(ids_of_the_worker(scratch)?);
    Ok(figures)
}

fn entry(name: &str) -> Value {
    json!({
        "category_id": "food_waste", "disposal_method": "composted", "weight_kg": 0.5, "device_id": "bench", "offline_id": name,
    })
}

fn rpc(name: &str) -> String {
    format!("execute rpc('{}')", json!({"entry": entry(name)}))
}

fn insert(name: &str) -> String {
    format!("execute ins('food_waste', 'composted', 0.5, 'bench', '{name}')")
}

fn floor(name: &str) -> String {
    let mut entry = entry(name);
    entry["logged_at"] = json!("2026-01-01T05:00:00Z");
    format!("execute floor('{entry}')")
}

/// Acts as the user of that number.
fn act_as(session: &mut Session, number: u32) -> Result<()> {
    session.run("reset role")?;
    session.run(&format!(
        "select set_config('request.jwt.claims', '{{\"role\":\"authenticated\",\"sub\":\"' || md5('{number}')::uuid || '\"}}', false)"
    ))?;
    session.run("set role authenticated").map(drop)
}

/// Five kinds of writes in turns on one warm session; each of two users a turn logs for the first time on that day, and
/// twice more.
fn processor(scratch: &Scratch) -> Result<Vec<Figure>> {
    const KINDS: [&str; 5] = ["floor", "rpc", "first rpc", "insert", "first insert"];
    let mut rounds: [Vec<f64>; KINDS.len()] = Default::default();
    scratch.step("processor time of creates", |_| {
        for round in 0..=u32::try_from(ROUNDS)? {
            let mut session = Session::open(scratch, SMALL)?;
            session.run(PREPARE)?;
            let mut costs: [Vec<f64>; KINDS.len()] = Default::default();
            for call in 0..CALLS {
                let number = 1 + (round * CALLS + call) * 2;
                let name = |kind: usize| format!("writes-{round}-{call}-{kind}");
                act_as(&mut session, number)?;
                costs[0].push(session.cost_ms(&floor(&name(0)))?);
                costs[2].push(session.cost_ms(&rpc(&name(2)))?);
                session.run(&rpc(&name(5)))?;
                costs[1].push(session.cost_ms(&rpc(&name(1)))?);
                act_as(&mut session, number + 1)?;
                costs[4].push(session.cost_ms(&insert(&name(4)))?);
                session.run(&insert(&name(6)))?;
                costs[3].push(session.cost_ms(&insert(&name(3)))?);
            }
            if round > 0 {
                for (all, costs) in rounds.iter_mut().zip(&costs) {
                    all.push(undisturbed(&costs[WARM_UP..]));
                }
            }
        }
        Ok(())
    })?;
    let [floor, rpc, first_rpc, insert, first_insert] = rounds;
    let against = |name: &str, most: f64, series: &[f64]| {
        let seen = format!(
            "{:.0} µs, the floor {:.0} µs",
            median(series) * 1000.0,
            median(&floor) * 1000.0
        );
        let name = format!("processor time of {name} / the least that a create must do, p10");
        Figure::ratio(&name, Target::AtMost(most), series, &floor, seen)
    };
    Ok(vec![
        against("a create by rpc, a later entry of the day", 2.2, &rpc),
        against(
            "a create by rpc, the day's first with its rewards",
            2.5,
            &first_rpc,
        ),
        against(
            "an INSERT under RLS, a later entry of the day",
            2.3,
            &insert,
        ),
        against("an INSERT under RLS, the day's first", 2.6, &first_insert),
    ])
}

/// The same create with a diary of 20,000 entries and of 10.
fn growth_of_a_diary(scratch: &Scratch) -> Result<Figure> {
    let large = PEOPLE - 1;
    scratch.step("a diary of 20,000 entries", |_| {
        for start in 0..10 {
            scratch.sql(
                SMALL,
                &format!(
                    "insert into public.waste_entries
                       (user_id, category_id, disposal_method, weight_kg, logged_at, time_zone, province, device_id)
                     select md5('{large}')::uuid, 'food_waste', 'composted', 0.5,
                            now() - interval '1 day' - n * interval '3 hours', 'Asia/Bangkok', 'TH-10', 'bench'
                     from generate_series({}, {}) as n",
                    start * 2000 + 1,
                    start * 2000 + 2000
                ),
            )?;
        }
        Ok(())
    })?;
    let [with_many, with_few] = scratch.step("creates with many entries and few", |_| {
        let mut series: [Vec<f64>; 2] = Default::default();
        for round in 0..=ROUNDS {
            let mut session = Session::open(scratch, SMALL)?;
            session.run(PREPARE)?;
            let mut costs: [Vec<f64>; 2] = Default::default();
            for call in 0..CALLS {
                for place in [call as usize % 2, (call as usize + 1) % 2] {
                    act_as(&mut session, [large, PEOPLE][place])?;
                    costs[place].push(session.cost_ms(&rpc(&format!("many-{round}-{call}")))?);
                }
            }
            if round > 0 {
                for (all, costs) in series.iter_mut().zip(&costs) {
                    all.push(undisturbed(&costs[WARM_UP..]));
                }
            }
        }
        Ok(series)
    })?;
    let seen = format!(
        "{:.0} and {:.0} µs",
        median(&with_many) * 1000.0,
        median(&with_few) * 1000.0
    );
    Ok(Figure::ratio(
        "processor time of a create by rpc with 20,000 entries of the person / with 10, p10",
        Target::AtMost(1.3),
        &with_many,
        &with_few,
        seen,
    ))
}

/// The same create by somebody in three community challenges and by somebody in none.
fn communities(scratch: &Scratch) -> Result<Figure> {
    const CHALLENGES: &str =
        "select string_agg(public.make_community_challenge(jsonb_build_object(
           'title_th', 'ก', 'title_en', 'a', 'description_th', 'ก', 'description_en', 'a',
           'challenge_type', 'national', 'criteria', jsonb_build_object('metric', m.metric),
           'target_value', 1000000000, 'start_date', current_date - 3, 'end_date', current_date + 3)) ->> 'id', ' ')
         from (values ('weight_kg'), ('entries'), ('credits')) as m (metric)";
    let people = [PEOPLE - 2, PEOPLE - 3];
    let [in_three, in_none] =
        scratch.step("creates in community challenges and in none", |_| {
            let mut session = Session::open(scratch, SMALL)?;
            let challenges = session.run(CHALLENGES)?;
            act_as(&mut session, people[0])?;
            for id in challenges.split_whitespace() {
                session.run(&format!("select public.join_community_challenge('{id}')"))?;
            }
            let mut series: [Vec<f64>; 2] = Default::default();
            for round in 0..=ROUNDS {
                let mut session = Session::open(scratch, SMALL)?;
                session.run(PREPARE)?;
                let mut costs: [Vec<f64>; 2] = Default::default();
                for call in 0..CALLS {
                    for place in [call as usize % 2, (call as usize + 1) % 2] {
                        act_as(&mut session, people[place])?;
                        costs[place]
                            .push(session.cost_ms(&rpc(&format!("community-{round}-{call}")))?);
                    }
                }
                if round > 0 {
                    for (all, costs) in series.iter_mut().zip(&costs) {
                        all.push(undisturbed(&costs[WARM_UP..]) * 1000.0);
                    }
                }
            }
            Ok(series)
        })?;
    let seen = format!("{:.0} and {:.0} µs", median(&in_three), median(&in_none));
    Ok(Figure {
        name: "processor time of a create by somebody in 3 running community challenges, more than in none, p10".to_owned(),
        target: Target::AtMost(45.0),
        unit: " µs",
        samples: in_three.iter().zip(&in_none).map(|(three, none)| three - none).collect(),
        seen,
    })
}

fn new_session(scratch: &Scratch) -> Result<Figure> {
    let samples = scratch.step("the first create of a session", |_| {
        (0..2 * ROUNDS)
            .map(|round| {
                let mut session = Session::open(scratch, SMALL)?;
                session.run(PREPARE)?;
                act_as(&mut session, PEOPLE - 10 - u32::try_from(round)?)?;
                session.cost_ms(&rpc(&format!("session-{round}")))
            })
            .collect::<Result<Vec<f64>>>()
    })?;
    Ok(Figure {
        name: "processor time of the first create by rpc in a new session".to_owned(),
        target: Target::AtMost(15.0),
        unit: " ms",
        samples,
        seen: "the claims are set and the statement is prepared before".to_owned(),
    })
}

/// Write-ahead log bytes and transaction ids of the writer, with no other load.
fn log_and_ids(scratch: &Scratch) -> Result<Vec<Figure>> {
    const CREATES: u32 = 200;
    const SEEN: &str =
        "select wal_bytes || ' ' || pg_snapshot_xmax(pg_current_snapshot())::text from pg_stat_wal";
    scratch.sql(SMALL, "alter system set full_page_writes = off")?;
    scratch.sql(SMALL, "select pg_reload_conf()")?;
    let (mut bytes, mut ids) = (Vec::new(), Vec::new());
    scratch.step("log and ids of creates", |_| {
        for round in 0..ROUNDS {
            let mut session = Session::open(scratch, SMALL)?;
            session.run(PREPARE)?;
            let seen = |scratch: &Scratch| -> Result<(f64, f64)> {
                // A session reports its statistics at most once a second.
                std::thread::sleep(Duration::from_millis(1500));
                let text = scratch.sql(SMALL, SEEN)?;
                let (bytes, id) = text.trim().split_once(' ').context("two numbers")?;
                Ok((bytes.parse()?, id.parse()?))
            };
            act_as(&mut session, PEOPLE - 100 - u32::try_from(round)?)?;
            session.run(&rpc(&format!("log-{round}-first")))?;
            let before = seen(scratch)?;
            for call in 0..CREATES {
                session.run(&rpc(&format!("log-{round}-{call}")))?;
            }
            std::thread::sleep(Duration::from_millis(1100));
            session.run(&rpc(&format!("log-{round}-last")))?;
            let after = seen(scratch)?;
            let count = f64::from(CREATES + 1);
            bytes.push((after.0 - before.0) / count / 1000.0);
            ids.push((after.1 - before.1) / count);
        }
        Ok(())
    })?;
    scratch.sql(SMALL, "alter system reset full_page_writes")?;
    scratch.sql(SMALL, "select pg_reload_conf()")?;
    let seen = format!("{CREATES} later entries of one person, by rpc");
    Ok(vec![
        Figure {
            name: "write-ahead log of a create, without full pages".to_owned(),
            target: Target::AtMost(3.0),
            unit: " kB",
            samples: bytes,
            seen: seen.clone(),
        },
        Figure {
            name: "transaction ids of a create".to_owned(),
            // The bench itself reads once a round.
            target: Target::AtMost(1.02),
            unit: "",
            samples: ids,
            seen,
        },
    ])
}

fn bulk(scratch: &Scratch) -> Result<Figure> {
    let file = scratch.checkout.path("dev/bench/sql/bulk_entries.sql");
    let statement = fs::read_to_string(file)?;
    let samples = scratch.step("bulk inserts", |_| {
        (0..=ROUNDS)
            .map(|round| {
                let mut session = Session::open(scratch, SMALL)?;
                let statement = statement
                    .replace(":with_offline_id", "false")
                    .replace(":part", &(round + 1).to_string());
                let cost = session.cost_ms(statement.trim().trim_end_matches(';'))?;
                Ok(cost * 1000.0 / BULK_ROWS)
            })
            .collect::<Result<Vec<f64>>>()
    })?;
    Ok(Figure {
        name: "processor time of a row, 200,000 inserted over 2,000 people".to_owned(),
        target: Target::AtMost(15.0),
        unit: " µs",
        samples: samples[1..].to_vec(),
        seen: "one statement".to_owned(),
    })
}

fn creates(script: &str, round: usize) -> Run<'_> {
    Run {
        database: SMALL,
        script,
        connections: 2,
        seconds: if round == 0 { 1 } else { 3 },
        people: PEOPLE,
        person: None,
        protocol: "prepared",
    }
}

fn durable(scratch: &Scratch) -> Result<Figure> {
    // All users have logged today: what a day's first entry earns is measured above.
    scratch.step("an entry of today for everybody", |_| {
        scratch.sql(
            SMALL,
            &format!(
                "insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, time_zone, device_id)
                 select md5(n::text)::uuid, 'food_waste', 'composted', 0.5, 'Asia/Bangkok', 'bench'
                 from generate_series(1, {PEOPLE}) as n"
            ),
        )?;
        // The worker folds them in the meantime.
        scratch.sql(SMALL, "vacuum analyze")?;
        scratch.sql(SMALL, "checkpoint")
    })?;
    let [rpc, floor] = scratch.step("durable creates, the worker at work", |_| {
        in_turns(|variant, round| {
            creates(["create_rpc.sql", "create_floor.sql"][variant], round).per_second(scratch)
        })
    })?;
    let seen = format!("{:.0}/s, the floor {:.0}/s", median(&rpc), median(&floor));
    Ok(Figure::ratio(
        "durable creates a second by rpc with the worker at work, 2 connections / the floor's",
        Target::AtLeast(0.6),
        &rpc,
        &floor,
        seen,
    ))
}

/// Transaction ids that the worker uses while writers run: all ids minus one per create.
fn ids_of_the_worker(scratch: &Scratch) -> Result<Figure> {
    const SEEN: &str = "select pg_snapshot_xmax(pg_current_snapshot())::text || ' ' || count(*) from private.entry_keys";
    let look = || -> Result<(f64, f64)> {
        let text = scratch.sql(SMALL, SEEN)?;
        let (id, keys) = text.trim().split_once(' ').context("two numbers")?;
        Ok((id.parse()?, keys.parse()?))
    };
    let samples = scratch.step("transaction ids of a busy worker", |_| {
        (0..ROUNDS)
            .map(|_| {
                let begun = Instant::now();
                let before = look()?;
                creates("create_rpc.sql", 1).per_second(scratch)?;
                let after = look()?;
                let (ids, creates) = (after.0 - before.0, after.1 - before.1);
                Ok((ids - creates) / begun.elapsed().as_secs_f64())
            })
            .collect::<Result<Vec<f64>>>()
    })?;
    Ok(Figure {
        name: "transaction ids a second of a busy worker".to_owned(),
        target: Target::AtMost(20.0),
        unit: "",
        samples,
        seen: "all ids less one a create".to_owned(),
    })
}
