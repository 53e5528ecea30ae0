//! What grows with time or with leftovers: transaction ids of an idle server, the low-water mark of the
//! outbox, the cost of a batch and of the check before every request, and closing days.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::report::{Figure, Target, median};
use super::scratch::{SMALL, Scratch};
use super::session::{Session, undisturbed};
use super::{ROUNDS, circumstances, conclude};
use xtask::checkout::Checkout;
use xtask::up;

/// Seconds without requests.
const IDLE_SECS: u32 = 5;

/// Calls of each kind in a round.
const CALLS: usize = 40;

/// Users of one slice of the job that closes days, and days in the diary of each.
const SLICE: u32 = 2000;
const DAYS: u32 = 730;

/// Measures this part alone and prints its table.
pub fn run(checkout: &Checkout) -> Result<()> {
    let started = Instant::now();
    up::prepare_database(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    let result = scratch
        .sql(SMALL, "call bench.add_people(2100)")
        .and_then(|_| scratch.sql(SMALL, "call bench.add_diaries(1, 100, 10)"))
        .and_then(|_| measure(&scratch));
    scratch.remove()?;
    println!("\n{}", circumstances(checkout, " growth", &load, started)?);
    conclude(&result?, "");
    Ok(())
}

/// Measures everything, in a database with at least 2,100 users.
pub fn measure(scratch: &Scratch) -> Result<Vec<Figure>> {
    scratch.with_worker(SMALL)?;
    let mut figures = vec![idle(scratch)?, floor(scratch)?];
    scratch.without_worker()?;
    figures.extend(batches(scratch)?);
    figures.push(pre_request(scratch)?);
    figures.push(end_of_days(scratch)?);
    Ok(figures)
}

fn person(number: u32, scratch: &Scratch) -> Result<String> {
    scratch.sql(SMALL, &format!("select md5('{number}')::uuid"))
}

fn claims(person: &str) -> Value {
    json!({"role": "authenticated", "sub": person})
}

fn number(text: &str) -> Result<f64> {
    text.trim().parse().with_context(|| format!("{text:?}"))
}

fn idle(scratch: &Scratch) -> Result<Figure> {
    const NEXT: &str = "select pg_snapshot_xmax(pg_current_snapshot())::text";
    let samples = scratch.step("an idle server", |_| {
        std::thread::sleep(Duration::from_secs(2));
        (0..ROUNDS)
            .map(|_| {
                let before = number(&scratch.sql(SMALL, NEXT)?)?;
                std::thread::sleep(Duration::from_secs(IDLE_SECS.into()));
                Ok((number(&scratch.sql(SMALL, NEXT)?)? - before) / f64::from(IDLE_SECS))
            })
            .collect::<Result<Vec<f64>>>()
    })?;
    Ok(Figure {
        name: "transaction ids a second of an idle server".to_owned(),
        target: Target::AtMost(0.0),
        unit: "",
        samples,
        seen: "the worker at work, no scheduler".to_owned(),
    })
}

fn floor(scratch: &Scratch) -> Result<Figure> {
    let mut session = Session::open(scratch, SMALL)?;
    let samples = scratch.step("the outbox's low-water mark", |_| {
        (0..ROUNDS)
            .map(|round| {
                for one in 0..20 {
                    session.run("reset role")?;
                    session.act_as(&claims(&person(101 + one, scratch)?))?;
                    session.run(&format!(
                        "select public.create_waste_entry('{}')",
                        json!({"entry": entry(&format!("floor-{round}"))})
                    ))?;
                }
                std::thread::sleep(Duration::from_secs(2));
                number(&scratch.sql(
                    SMALL,
                    "select q.last_value + 1 - s.low_water_mark
                     from private.outbox_id_seq as q, private.worker_state as s",
                )?)
            })
            .collect::<Result<Vec<f64>>>()
    })?;
    Ok(Figure {
        name: "rows of the outbox between its low-water mark and its end, 2 s after the last"
            .to_owned(),
        target: Target::AtMost(0.0),
        unit: "",
        samples,
        seen: "raised by the worker alone".to_owned(),
    })
}

fn entry(offline_id: &str) -> Value {
    json!({
        "category_id": "food_waste", "disposal_method": "composted", "weight_kg": 0.5, "offline_id": offline_id,
    })
}

/// Entries that are not stored yet, of a user with a diary of a year.
fn batches(scratch: &Scratch) -> Result<Vec<Figure>> {
    const SIZES: [u32; 3] = [1, 10, 50];
    let mut samples: [Vec<f64>; SIZES.len()] = Default::default();
    scratch.step("batches", |_| {
        for round in 0..=ROUNDS {
            let mut session = Session::open(scratch, SMALL)?;
            let mut costs: [Vec<f64>; SIZES.len()] = Default::default();
            for call in 0..CALLS / 2 {
                for (place, size) in SIZES.into_iter().enumerate() {
                    // The user's rows of the hour are counted; the first calls of a session build plans.
                    let someone = u32::try_from(1 + (round * CALLS + call) % 100)?;
                    session.run("reset role")?;
                    session.act_as(&claims(&person(someone, scratch)?))?;
                    let entries: Vec<Value> = (0..size)
                        .map(|number| entry(&format!("batch-{round}-{call}-{size}-{number}")))
                        .collect();
                    let cost = session.cost_ms(&format!(
                        "select public.create_waste_entries('{}')",
                        json!({ "entries": entries })
                    ))?;
                    if call >= 6 {
                        costs[place].push(cost);
                    }
                }
            }
            if round > 0 {
                for (all, costs) in samples.iter_mut().zip(&costs) {
                    all.push(undisturbed(costs));
                }
            }
        }
        Ok(())
    })?;
    Ok(SIZES
        .into_iter()
        .zip(samples)
        .map(|(size, samples)| Figure {
            name: format!("processor time of the server for a batch of {size} by rpc, p10"),
            target: Target::AtMost(2.2 + 0.12 * f64::from(size)),
            unit: " ms",
            samples,
            seen: format!("{} calls a round", CALLS / 2 - 6),
        })
        .collect())
}

/// What PostgREST calls before each request, against an empty function.
fn pre_request(scratch: &Scratch) -> Result<Figure> {
    let function = scratch
        .rest()?
        .env
        .into_iter()
        .find_map(|(name, value)| (name == "PGRST_DB_PRE_REQUEST").then_some(value));
    let mut samples = Vec::new();
    if let Some(function) = &function {
        let someone = person(1, scratch)?;
        let session_id = scratch.sql(
            SMALL,
            &format!(
                "insert into auth.sessions (id, user_id, created_at, updated_at)
                 values (gen_random_uuid(), '{someone}', now(), now()) returning id"
            ),
        )?;
        let claims =
            json!({"role": "authenticated", "sub": someone, "session_id": session_id.trim()});
        scratch.step("the step before a request", |_| {
            for round in 0..=ROUNDS {
                let mut session = Session::open(scratch, SMALL)?;
                let mut costs = [Vec::new(), Vec::new()];
                for call in 0..2 * CALLS {
                    for place in [call % 2, (call + 1) % 2] {
                        let name = [function.as_str(), "bench.nothing"][place];
                        let cost = request(&mut session, name, &claims)?;
                        if call >= 10 {
                            costs[place].push(cost);
                        }
                    }
                }
                if round > 0 {
                    samples.push(undisturbed(&costs[0]) - undisturbed(&costs[1]));
                }
            }
            Ok(())
        })?;
    }
    Ok(Figure {
        name: "processor time of PostgREST's pre-request more than of one that does nothing, p10"
            .to_owned(),
        target: Target::AtMost(0.03),
        unit: " ms",
        samples,
        seen: function.unwrap_or_else(|| "there is none".to_owned()),
    })
}

/// The cost of the call alone, in a transaction as PostgREST opens it.
fn request(session: &mut Session, function: &str, claims: &Value) -> Result<f64> {
    let headers = json!({
        "accept": "*/*", "user-agent": "bench", "x-request-id": "0123456789abcdef0123456789abcdef",
    });
    session.run(&format!(
        "begin; select set_config('search_path', 'public', true), set_config('role', 'authenticated', true),
           set_config('request.jwt.claims', '{claims}', true), set_config('request.headers', '{headers}', true),
           set_config('request.method', 'POST', true), set_config('request.path', '/rpc/get_profile', true)"
    ))?;
    let cost = session.cost_ms(&format!("select {function}()"))?;
    session.run("commit")?;
    Ok(cost)
}

/// A slice of users whose yesterday has ended, each with a diary of two years: half of them still without a
/// plastic-free day, which is the reward that closing a day can grant.
fn end_of_days(scratch: &Scratch) -> Result<Figure> {
    scratch.step("two years of days", |_| {
        scratch.sql(
            SMALL,
            &format!("call bench.add_days(101, {}, {DAYS})", 100 + SLICE),
        )
    })?;
    let samples = scratch.step("the end of a day", |_| {
        (0..=ROUNDS)
            .map(|_| {
                let mut session = Session::open(scratch, SMALL)?;
                session.run(&format!("call bench.end_a_day(101, {})", 100 + SLICE))?;
                session.cost_ms(&format!("select private.close_elapsed_days(array(select md5(n::text)::uuid from generate_series(101, {}) as n))", 100 + SLICE))
            })
            .collect::<Result<Vec<f64>>>()
    })?;
    let samples = samples[1..].to_vec();
    Ok(Figure {
        name: format!(
            "processor time of the server for {SLICE} people whose day has ended, {DAYS} days in the diary of each"
        ),
        target: Target::AtMost(250.0),
        unit: " ms",
        seen: format!(
            "{:.0} µs a person",
            median(&samples) * 1000.0 / f64::from(SLICE)
        ),
        samples,
    })
}
