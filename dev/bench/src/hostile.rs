//! `bench faults`: how one hostile account affects another user.
//!
//! A user reads the profile and creates an entry through the Worker, 20 requests a second in total, first
//! alone and then during one attack after another at full speed. The attacker is a separate process, niced
//! (it represents another machine, whose CPU is not ours), with another source address and its own
//! accounts. All limits are on.

mod attacks;
mod client;

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::edge::percentile;
use super::edge::system::System;
use super::report::{Figure, Target, median};
use super::scratch::{SMALL, Scratch};
use super::{circumstances, conclude, missed};
use attacks::Attack;
use xtask::checkout::Checkout;
use xtask::process::command;
use xtask::up;

/// Requests a second of the victim, and connections to send them over.
const PER_SECOND: u32 = 20;
const CONNECTIONS: usize = 16;

/// Seconds measured, alone and during each attack, and seconds an attack runs before that.
const SECONDS: u32 = 8;
const RUN_UP: Duration = Duration::from_secs(1);

/// Seconds of rest after an attack, until its last requests end.
const REST: Duration = Duration::from_secs(3);

/// The maximum time of a request, in multiples of the undisturbed median.
const SLOWER: f64 = 3.0;

/// Users who take turns as the victim: the API allows each of them 60 entries an hour.
const VICTIMS: usize = 200;

/// Accounts of the attacker; most attacks use the first.
const ACCOUNTS: usize = 40;

/// Initial entries with notes of each account of the attacker.
const ROWS: u32 = 1500;

/// Milliseconds of the successful requests, and the results of the others.
#[derive(Default)]
struct Seen {
    profile: Vec<f64>,
    create: Vec<f64>,
    failed: Vec<String>,
}

/// Runs every attack, or the named ones, and prints the table; fails if a target was missed.
pub fn run(checkout: &Checkout, names: &[&str]) -> Result<()> {
    let chosen = attacks::choose(names)?;
    let started = Instant::now();
    up::prepare(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut scratch = Scratch::start(checkout)?;
    scratch.environment.no_limits = false;
    let result = fill(&scratch).and_then(|()| {
        let system = System::start(&scratch)?;
        let result = measure(&system, &chosen);
        system.stop()?;
        result
    });
    scratch.remove()?;
    let figures = result?;
    println!("\n{}", circumstances(checkout, " faults", &load, started)?);
    conclude(&figures, "");
    if missed(&figures) > 0 {
        bail!("a hostile client affects other users");
    }
    Ok(())
}

fn fill(scratch: &Scratch) -> Result<()> {
    scratch.step("people", |_| {
        scratch.sql(SMALL, "call bench.add_people(2000)")?;
        scratch.sql(SMALL, "call bench.add_diaries(1, 2000, 10)")?;
        scratch.sql(SMALL, "vacuum analyze").map(drop)
    })?;
    scratch.with_worker(SMALL)
}

fn measure(system: &System, chosen: &[&Attack]) -> Result<Vec<Figure>> {
    system.worker(true)?;
    let port = system.environment.ports.api;
    let tokens = system.tokens(VICTIMS)?;
    let hostile = accounts(system)?;
    let mut turn = 0;
    let mut round = |name: &str| {
        let seen = system
            .scratch
            .step(name, |_| ask_for(port, &tokens, turn))?;
        turn += 1;
        anyhow::Ok(seen)
    };
    // The first round fills caches, connections and plans.
    round("warming up")?;
    let quiet = round("a person alone")?;
    let mut figures = vec![failures("requests of a person alone that failed", &quiet)];
    for attack in chosen {
        let attacker = start(system, attack, &hostile)?;
        std::thread::sleep(RUN_UP);
        let seen = round(&format!("{}: {}", attack.name, attack.about));
        let said = attacker.said()?;
        figures.extend(compare(attack, &quiet, &seen?, &said));
        std::thread::sleep(REST);
    }
    Ok(figures)
}

/// Anonymous accounts with entries, each signed in from its own address.
fn accounts(system: &System) -> Result<Vec<String>> {
    let port = system.environment.ports.api;
    let mut tokens = Vec::new();
    system.scratch.step("hostile accounts", |_| {
        for number in 0..ACCOUNTS {
            // The victims' addresses come first.
            let asked = request("POST", "/auth/anonymous", None, Some(&json!({})));
            let (_, text) = client::once(address(VICTIMS + number), port, &asked)?;
            let body = text.find('{').zip(text.rfind('}'));
            let (first, last) = body.with_context(|| text.clone())?;
            let answer: Value = serde_json::from_str(&text[first..=last])?;
            let token = answer["data"]["access_token"].as_str();
            tokens.push(token.with_context(|| text.clone())?.to_owned());
            let person = answer["data"]["user"]["id"].as_str();
            let person = person.with_context(|| text.clone())?;
            system
                .scratch
                .sql(SMALL, &format!("call bench.add_notes('{person}', {ROWS})"))?;
        }
        Ok(())
    })?;
    Ok(tokens)
}

/// The attacker's process while it runs.
struct Attacker(std::process::Child);

impl Attacker {
    /// Its final report: each status and how often it was returned.
    fn said(mut self) -> Result<String> {
        let mut said = String::new();
        let mut output = self.0.stdout.take().context("it says how it went")?;
        std::io::Read::read_to_string(&mut output, &mut said)?;
        self.0.wait()?;
        Ok(said.trim().to_owned())
    }
}

fn start(system: &System, attack: &Attack, tokens: &[String]) -> Result<Attacker> {
    let target = json!({
        "edge": system.environment.ports.api,
        "gateway": system.environment.ports.supabase,
        "key": system.environment.secrets.get("ANON_KEY")?,
        "tokens": tokens,
        "seconds": f64::from(SECONDS) + RUN_UP.as_secs_f64() + 0.5,
    });
    let mut attacker = command("nice");
    attacker
        .args(["-n", "15"])
        .arg(std::env::current_exe()?)
        .args(["hostile-client", attack.name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = attacker.spawn()?;
    let mut input = child.stdin.take().context("it reads whom to attack")?;
    input.write_all(target.to_string().as_bytes())?;
    Ok(Attacker(child))
}

/// The attacker's process: reads from its input whom to attack.
pub fn client(name: &str) -> Result<()> {
    let chosen = attacks::choose(&[name])?;
    let target: Value = serde_json::from_reader(std::io::stdin())?;
    println!("{}", client::attack(chosen[0], &target)?);
    Ok(())
}

/// Alternates profile and create requests, each sent when due, whether or not earlier ones were answered.
fn ask_for(port: u16, tokens: &[String], turn: usize) -> Result<Seen> {
    let next = AtomicUsize::new(0);
    let count = (PER_SECOND * SECONDS) as usize;
    let begun = Instant::now();
    let seen = super::edge::each(CONNECTIONS, || {
        let mut seen = Seen::default();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(seen);
            }
            let due = begun + Duration::from_secs(1) * u32::try_from(index)? / PER_SECOND;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let number = turn * count + index;
            let is_create = index % 2 == 1;
            let victim = (number / 2) % tokens.len();
            let outcome = ask(port, &tokens[victim], victim, is_create.then_some(number));
            let time = due.elapsed().as_secs_f64() * 1000.0;
            match outcome {
                Ok(()) if is_create => seen.create.push(time),
                Ok(()) => seen.profile.push(time),
                Err(error) => seen.failed.push(format!("{error:#}")),
            }
        }
    })?;
    Ok(seen.into_iter().fold(Seen::default(), |mut all, one| {
        all.profile.extend(one.profile);
        all.create.extend(one.create);
        all.failed.extend(one.failed);
        all
    }))
}

/// One request of a victim, from its own address; a create if it has a number.
fn ask(port: u16, token: &str, victim: usize, number: Option<usize>) -> Result<()> {
    let body = number.map(|number| {
        json!({
            "category_id": "food_waste", "disposal_method": "composted", "weight_kg": 0.5,
            "offline_id": format!("victim-{number}"), "device_id": "bench",
        })
    });
    let (method, path) = match body {
        Some(_) => ("POST", "/waste/entries"),
        None => ("GET", "/gamification/profile"),
    };
    let (status, text) = client::once(
        address(victim),
        port,
        &request(method, path, Some(token), body.as_ref()),
    )?;
    if !(200..300).contains(&status) {
        let end: Vec<char> = text.chars().rev().take(200).collect();
        bail!("{status}: {}", end.into_iter().rev().collect::<String>());
    }
    Ok(())
}

/// A separate loopback address for each user.
fn address(number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 9, high, low)
}

fn request(method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> String {
    let mut head =
        format!("{method} /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    if let Some(token) = token {
        head += &format!("authorization: Bearer {token}\r\n");
    }
    match body.map(Value::to_string) {
        Some(body) => format!(
            "{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        None => format!("{head}\r\n"),
    }
}

fn failures(name: &str, seen: &Seen) -> Figure {
    let count = u32::try_from(seen.failed.len()).unwrap_or(u32::MAX);
    Figure {
        name: name.to_owned(),
        target: Target::AtMost(0.0),
        unit: "",
        samples: vec![f64::from(count)],
        seen: match seen.failed.first() {
            Some(first) => first.replace('|', "/").replace('\n', " "),
            None => format!("of {}", seen.profile.len() + seen.create.len()),
        },
    }
}

fn compare(attack: &Attack, quiet: &Seen, seen: &Seen, said: &str) -> [Figure; 3] {
    // A request without an answer counts as infinitely long.
    let typical = |times: &[f64]| {
        if times.is_empty() {
            f64::INFINITY
        } else {
            median(times)
        }
    };
    let ratio = |what: &str, quiet: &[f64], now: &[f64]| Figure {
        name: format!("{}: {what} / alone", attack.name),
        target: Target::AtMost(SLOWER),
        unit: "",
        samples: vec![typical(now) / median(quiet)],
        seen: format!(
            "median {:.1} ms, p95 {:.1} ms; alone {:.1} and {:.1} ms",
            median(now),
            percentile(now, 0.95),
            median(quiet),
            percentile(quiet, 0.95)
        ),
    };
    let mut failed = failures(&format!("{}: requests that failed", attack.name), seen);
    failed.seen += &format!("; the attacker was answered {said}");
    [
        ratio("profile", &quiet.profile, &seen.profile),
        ratio("create", &quiet.create, &seen.create),
        failed,
    ]
}

#[cfg(test)]
mod tests {
    use super::attacks::ATTACKS;
    use super::*;

    #[test]
    fn a_slow_or_failed_request_of_the_victim_misses_the_figure() {
        let quiet = Seen {
            profile: vec![5.0, 6.0, 7.0],
            create: vec![10.0],
            failed: Vec::new(),
        };
        let seen = Seen {
            profile: vec![18.0, 18.0, 100.0],
            create: vec![31.0],
            failed: vec!["503".to_owned()],
        };
        let met = compare(&ATTACKS[0], &quiet, &seen, "429 9").map(|figure| figure.is_met());
        assert_eq!(met, [Some(true), Some(false), Some(false)]);
        let silent =
            compare(&ATTACKS[0], &quiet, &Seen::default(), "").map(|figure| figure.is_met());
        assert_eq!(
            silent,
            [Some(false), Some(false), Some(true)],
            "an answer that never came is slow"
        );
    }
}
