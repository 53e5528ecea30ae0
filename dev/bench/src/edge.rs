//! The Worker's half: its cost compared with a plain JavaScript worker on the same runtime, the time of a
//! create and a migration on the entire path to the disk, its size, and how often it calls a Durable
//! Object.

mod calls;
mod load;
pub mod system;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::load::{Ask, closed_loop, open_loop, send_well};
pub use self::load::{agent, each, percentile};
use self::system::{PARTS, Parts, System, Worker};
use super::report::{Figure, Target, median};
use super::scratch::{SMALL, Scratch};
use super::{ROUNDS, circumstances, conclude, in_turns};
use xtask::checkout::Checkout;
use xtask::environment::Environment;
use xtask::process::{command, text};
use xtask::{stamp, up};

/// Connections of the comparison: the runtime answers on one thread, and the machine has two cores.
const CONNECTIONS: usize = 4;

/// Creates a second, and connections to send them over: one that waits must not delay the next.
const CREATES_PER_SECOND: u32 = 100;
const CREATE_CONNECTIONS: usize = 32;

/// Seconds of creates in one round.
const CREATE_SECS: u32 = 8;

/// Users who create in turn.
const CREATORS: usize = 500;

/// Entries of one old diary.
const DIARY: usize = 10_000;

/// Paths whose answers come from the Worker itself and from the Cache API.
const FIXED: &str = "/waste/categories";
const BOARD: &str = "/gamification/leaderboard";

/// Measures this half alone, in a database with a few users, and prints its tables.
pub fn run(checkout: &Checkout) -> Result<()> {
    let started = Instant::now();
    up::prepare(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    let result = scratch
        .sql(SMALL, "call bench.add_people(2000)")
        .and_then(|_| scratch.sql(SMALL, "call bench.add_diaries(1, 2000, 10)"))
        .and_then(|_| scratch.sql(SMALL, "vacuum analyze"))
        .and_then(|_| measure(&scratch));
    scratch.remove()?;
    let (figures, calls) = result?;
    println!("\n{}", circumstances(checkout, " edge", &load, started)?);
    conclude(&figures, &calls);
    Ok(())
}

/// Measures everything; the second part is a separate table.
pub fn measure(scratch: &Scratch) -> Result<(Vec<Figure>, String)> {
    // The work that writers leave to the worker is part of their cost.
    scratch.with_worker(SMALL)?;
    let system = System::start(scratch)?;
    let result = measure_all(&system);
    system.stop()?;
    result
}

fn measure_all(system: &System) -> Result<(Vec<Figure>, String)> {
    let mut figures = weight(system)?;
    let worker = system.worker(false)?;
    figures.extend(cached(system, &worker)?);
    figures.extend(creates(system, &worker)?);
    figures.push(newcomers(system, &worker)?);
    figures.push(provider_sign_ins(system, &worker)?);
    figures.extend(migrations(system)?);
    let calls = calls::table(system)?;
    Ok((figures, calls))
}

/// The size of the upload, and what starting it adds to the runtime's own start.
fn weight(system: &System) -> Result<Vec<Figure>> {
    let [wasm, glue] = [
        gzipped(system, "index_bg.wasm")?,
        gzipped(system, "index.js")?,
    ];
    let [worker, plain] = system
        .scratch
        .step("starts of the runtime", |_| starts(system))?;
    let added: Vec<f64> = worker.iter().zip(&plain).map(|(a, b)| a - b).collect();
    Ok(vec![
        Figure {
            name: "wasm, gzipped".to_owned(),
            target: Target::AtMost(350.0),
            unit: " KB",
            samples: vec![wasm],
            seen: format!("by gzip -9; the glue beside it {glue:.0} KB"),
        },
        Figure {
            name: "from the runtime's start to the first answer, more than a plain worker takes"
                .to_owned(),
            target: Target::AtMost(30.0),
            unit: " ms",
            samples: added,
            seen: format!("{:.0} ms, plain {:.0} ms", median(&worker), median(&plain)),
        },
    ])
}

/// Kilobytes of a part of the built Worker.
fn gzipped(system: &System, file: &str) -> Result<f64> {
    let path = system.scratch.checkout.path("edge/build").join(file);
    let packed = command("gzip").args(["-9", "-c"]).arg(&path).output()?;
    ensure!(packed.status.success(), "gzip cannot read {file}");
    Ok(f64::from(u32::try_from(packed.stdout.len())?) / 1024.0)
}

fn starts(system: &System) -> Result<[Vec<f64>; 2]> {
    let checkout = system.scratch.checkout;
    let service = xtask::services::edge(checkout, &system.environment)?;
    let mut node = command("node");
    node.arg(checkout.path("edge/bench/startup.mjs"))
        .arg((2 * ROUNDS).to_string())
        .env("NO_LIMITS", "true");
    node.envs(service.env);
    let said = text(&mut node)?;
    let times: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .with_context(|| format!("startup.mjs said: {said}"))?;
    let series = |name: &str| -> Result<Vec<f64>> {
        let list = times[name].as_array().context("two lists of times")?;
        Ok(list.iter().filter_map(Value::as_f64).collect())
    };
    Ok([series("edge")?, series("plain")?])
}

/// The same bytes from both, in turns; also by the runtime's CPU time, which no client shares.
fn cached(system: &System, worker: &Worker) -> Result<Vec<Figure>> {
    let plain = system.plain(&json!({
        format!("/api/v1{FIXED}"): answer_of(worker, FIXED, false)?,
        format!("/api/v1{BOARD}"): answer_of(worker, BOARD, true)?,
    }))?;
    let processes = [worker.runtime(system)?, plain.runtime(system)?];
    let mut figures = Vec::new();
    for (path, what) in [(FIXED, "from memory"), (BOARD, "from the Cache API")] {
        let bare = Ask {
            url: plain.ask(path).url.replace("/api/v1", "/bare/api/v1"),
            ..plain.ask(path)
        };
        let asks = [worker.ask(path), plain.ask(path), bare];
        for ask in &asks {
            send_well(&agent(), ask)?;
        }
        let cpu = std::cell::RefCell::new([Vec::new(), Vec::new()]);
        let [ours, theirs, bare] = system.scratch.step(&format!("cached GET {path}"), |_| {
            in_turns(|variant, round| {
                let time = Duration::from_millis(if round == 0 { 1000 } else { 2500 });
                let process = &processes[variant.min(1)];
                let before = process.cpu_ms()?;
                let rate = closed_loop(&asks[variant], CONNECTIONS, time)?;
                let used = process.cpu_ms()? - before;
                if round > 0 && variant < 2 {
                    let micros = used * 1000.0 / (rate * time.as_secs_f64());
                    cpu.borrow_mut()[variant].push(micros);
                }
                Ok(rate)
            })
        })?;
        let [our_cpu, their_cpu] = cpu.into_inner();
        figures.push(Figure::ratio(
            &format!(
                "GET {path} / the same {what} by a plain JavaScript worker (answer, request's id, \
                 line in the log), req/s"
            ),
            Target::AtLeast(0.8),
            &ours,
            &theirs,
            format!("{:.0}/s, plain {:.0}/s", median(&ours), median(&theirs)),
        ));
        figures.push(Figure::ratio(
            "the same without id and line in the log by the plain one",
            Target::Shown,
            &ours,
            &bare,
            format!("bare {:.0}/s", median(&bare)),
        ));
        figures.push(Figure::ratio(
            &format!("processor time of the runtime for GET {path} / plain (with id and line)"),
            Target::Shown,
            &our_cpu,
            &their_cpu,
            format!(
                "{:.0} µs, plain {:.0} µs",
                median(&our_cpu),
                median(&their_cpu)
            ),
        ));
    }
    Ok(figures)
}

/// The Worker's answers, for the plain one to return.
fn answer_of(worker: &Worker, path: &str, cached: bool) -> Result<Value> {
    let mut answer = agent().get(&worker.ask(path).url).call()?;
    let mut headers = serde_json::Map::new();
    for (name, value) in answer.headers() {
        let name = name.as_str();
        if !["content-length", "transfer-encoding", "connection", "date"].contains(&name) {
            headers.insert(name.to_owned(), json!(value.to_str()?));
        }
    }
    let body = answer.body_mut().read_to_string()?;
    Ok(json!({"headers": headers, "body": body, "cached": cached}))
}

/// Through Worker, gateway, PostgREST and to the disk, at a rate that does not wait for answers.
fn creates(system: &System, worker: &Worker) -> Result<Vec<Figure>> {
    let tokens = system.tokens(CREATORS)?;
    let mut spent = Vec::new();
    let rounds = system.scratch.step("creates at 100 a second", |_| {
        (0..=ROUNDS)
            .map(|round| {
                let count = CREATES_PER_SECOND * if round == 0 { 2 } else { CREATE_SECS };
                let asks: Vec<Ask> = (0..count as usize)
                    .map(|number| Ask {
                        token: Some(tokens[number % tokens.len()].clone()),
                        body: Some(entry(round, number)),
                        ..worker.ask("/waste/entries")
                    })
                    .collect();
                let before = system.cpu_ms_by_part(worker)?;
                let times = open_loop(&asks, CREATES_PER_SECOND, CREATE_CONNECTIONS)?;
                if round > 0 {
                    spent.push(each_of(count, &before, &system.cpu_ms_by_part(worker)?));
                }
                Ok(times)
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let rounds = &rounds[1..];
    let each = |share| {
        rounds
            .iter()
            .map(|times| percentile(times, share))
            .collect::<Vec<_>>()
    };
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(each);
    Ok(vec![
        Figure {
            name: "create through Worker, gateway, PostgREST, durable, 100 a second, p95"
                .to_owned(),
            target: Target::AtMost(25.0),
            unit: " ms",
            samples: p95,
            seen: format!("p50 {:.1} ms, p99 {:.1} ms", median(&p50), median(&p99)),
        },
        Figure {
            name: "processor time of the local gateway for each of them".to_owned(),
            target: Target::AtMost(0.25),
            unit: " ms",
            samples: spent.iter().map(|parts| parts[1]).collect(),
            seen: "carbon-local as `up` builds it".to_owned(),
        },
        Figure {
            name: "processor time of everything of ours for each of them".to_owned(),
            target: Target::AtMost(2.9),
            unit: " ms",
            samples: totals(&spent),
            seen: parts_of(&spent),
        },
    ])
}

/// New users, one after another, through the Worker.
fn newcomers(system: &System, worker: &Worker) -> Result<Figure> {
    const NEWCOMERS: u32 = 60;
    let samples = system.scratch.step("anonymous sign-ins", |_| {
        (0..=ROUNDS)
            .map(|_| {
                let before = system.cpu_ms_by_part(worker)?;
                for _ in 0..NEWCOMERS {
                    system.newcomer(worker)?;
                }
                Ok(each_of(NEWCOMERS, &before, &system.cpu_ms_by_part(worker)?))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let samples = &samples[1..];
    Ok(Figure {
        name: "processor time of everything of ours for an anonymous sign-in through the Worker"
            .to_owned(),
        target: Target::AtMost(3.8),
        unit: " ms",
        samples: totals(samples),
        seen: format!("{}; each over a connection of its own", parts_of(samples)),
    })
}

/// Processor time of one request by part (milliseconds), when `count` of them ran between two readings.
fn each_of(count: u32, before: &Parts, after: &Parts) -> Parts {
    std::array::from_fn(|part| (after[part] - before[part]) / f64::from(count))
}

fn totals(rounds: &[Parts]) -> Vec<f64> {
    rounds.iter().map(|parts| parts.iter().sum()).collect()
}

/// Each part's median, by name.
fn parts_of(rounds: &[Parts]) -> String {
    let medians = PARTS.iter().enumerate().map(|(part, name)| {
        let times: Vec<f64> = rounds.iter().map(|parts| parts[part]).collect();
        format!("{name} {:.2}", median(&times))
    });
    format!("{} ms", medians.collect::<Vec<_>>().join(", "))
}

/// Sign-ins by an ID token, each person's first and second one. The tokens are made before, and the Worker has the
/// provider's keys after the first, uncounted round: what is left is ours.
fn provider_sign_ins(system: &System, worker: &Worker) -> Result<Figure> {
    const PEOPLE: usize = 40;
    const PER_SECOND: u32 = 10;
    let rounds = system.scratch.step("sign-ins by a provider", |_| {
        (0..=ROUNDS)
            .map(|round| {
                let mut asks = Vec::new();
                for number in 0..2 * PEOPLE {
                    let subject = format!("bench-{round}-{}", number % PEOPLE);
                    asks.push(Ask {
                        body: Some(proof_by_google(system, &subject, number)?),
                        ..worker.ask("/auth/social/google")
                    });
                }
                open_loop(&asks, PER_SECOND, CONNECTIONS)
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let p95 = rounds[1..].iter().map(|times| percentile(times, 0.95));
    let all: Vec<f64> = rounds[1..].iter().flatten().copied().collect();
    Ok(Figure {
        name: "sign-in by a provider through the Worker, p95".to_owned(),
        target: Target::AtMost(60.0),
        unit: " ms",
        samples: p95.collect(),
        seen: format!(
            "p50 {:.1} ms; half of them make an account, the stand-in's Auth",
            percentile(&all, 0.5)
        ),
    })
}

/// The body of a sign-in by Google, with a token of the local issuer.
fn proof_by_google(system: &System, subject: &str, number: usize) -> Result<String> {
    let nonce = format!("bench-{subject}-{number}");
    let hashed = stamp::hex(&stamp::digest(nonce.as_bytes()));
    let issuer = Environment::http(system.environment.ports.inbox);
    let order = Ask {
        url: format!("{issuer}/providers/google/id-token"),
        token: None,
        body: Some(json!({"claims": {"sub": subject, "nonce": hashed}}).to_string()),
    };
    let made: Value = serde_json::from_str(&send_well(&agent(), &order)?)?;
    let device = json!({"device_id": "bench", "platform": "web"});
    let proof = json!({"id_token": made["id_token"], "nonce": nonce, "device_info": device});
    Ok(proof.to_string())
}

fn entry(round: usize, number: usize) -> String {
    json!({
        "category_id": "food_waste", "disposal_method": "composted", "weight_kg": 0.5,
        "offline_id": format!("bench-{round}-{number}"), "device_id": "bench",
    })
    .to_string()
}

/// Old diaries of new users, each imported by a Worker that has just started, so that the memory peak is
/// its own.
fn migrations(system: &System) -> Result<Vec<Figure>> {
    let diary = diary();
    let (mut times, mut peaks, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    system.scratch.step("migrations", |_| {
        for _ in 0..ROUNDS {
            let worker = system.worker(false)?;
            let ask = Ask {
                token: Some(system.newcomer(&worker)?),
                body: Some(diary.clone()),
                ..worker.ask("/user/migrate-local")
            };
            let runtime = worker.runtime(system)?;
            idle.push(runtime.memory_now_mb()?);
            let begun = Instant::now();
            let answer: Value = serde_json::from_str(&send_well(&agent(), &ask)?)?;
            times.push(begun.elapsed().as_secs_f64());
            peaks.push(runtime.peak_mb()?);
            let migrated = answer["data"]["migrated_entries"].as_u64();
            ensure!(migrated == Some(DIARY as u64), "migrated: {migrated:?}");
        }
        Ok(())
    })?;
    let size = f64::from(u32::try_from(diary.len())?) / 1024.0 / 1024.0;
    Ok(vec![
        Figure {
            name: "migration of 10,000 entries through the Worker".to_owned(),
            target: Target::AtMost(5.0),
            unit: " s",
            samples: times,
            seen: format!("{size:.1} MB of JSON"),
        },
        Figure {
            name: "memory of the Worker's whole process at its peak meanwhile".to_owned(),
            target: Target::AtMost(128.0),
            unit: " MB",
            samples: peaks,
            seen: format!("idle {:.0} MB", median(&idle)),
        },
    ])
}

/// A dump of the old app's storage, as it writes its entries.
fn diary() -> String {
    let entries: Vec<Value> = (0..DIARY)
        .map(|number| {
            let (day, minute) = (1 + number % 28, number / 28 % 60);
            json!({
                "id": format!("{}", 1_700_000_000_000_u64 + number as u64),
                "categoryId": "food_waste", "categoryName": "ขยะอาหาร", "disposal": "composted",
                "weight": 0.5, "carbonCredits": 5,
                "timestamp": format!("2025-{:02}-{day:02}T{:02}:{minute:02}:00.000Z", 1 + number % 12, number % 24),
                "notes": "เศษอาหารจากมื้อเย็น", "isQuickAction": false,
            })
        })
        .collect();
    json!({"local_storage": {"wasteEntries": json!(entries).to_string()}, "device_id": "bench"})
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diary_has_as_many_entries_as_it_says_each_another_one() -> Result<()> {
        let dump: Value = serde_json::from_str(&diary())?;
        let entries = dump["local_storage"]["wasteEntries"]
            .as_str()
            .context("text")?;
        let entries: Vec<Value> = serde_json::from_str(entries)?;
        let ids: std::collections::HashSet<_> = entries
            .iter()
            .map(|entry| entry["id"].to_string())
            .collect();
        assert_eq!((entries.len(), ids.len()), (DIARY, DIARY));
        Ok(())
    }
}
