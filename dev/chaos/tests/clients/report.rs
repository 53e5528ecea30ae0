//! Counts, times, and the answers that no rule allows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::caller::{Request, Way};

/// Every answer comes within this, regardless of what is down (contract: never above 10 s).
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// The services that a client connects to. While one of them is killed, it cannot answer that it is unavailable.
const FRONT_SERVICES: [&str; 2] = ["edge", "gateway"];
/// Wrong answers that are shown.
const SHOWN: usize = 30;

/// A fault that the operator caused.
pub struct Fault {
    pub kind: String,
    pub service: String,
    pub from_ms: u64,
    pub until_ms: u64,
    /// From the return of the failed service until the entire system answered.
    pub recovery_ms: u64,
}

struct Slow {
    what: String,
    edge: bool,
    begun_ms: u64,
    took: Duration,
}

#[derive(Default)]
struct Counts {
    operations: BTreeMap<&'static str, u64>,
    answers: BTreeMap<u16, u64>,
    retries: u64,
    unanswered: u64,
    longest: [Duration; 2],
    slow: Vec<Slow>,
    wrong: Vec<String>,
}

/// What all clients saw.
#[derive(Default)]
pub struct Report(Mutex<Counts>);

impl Report {
    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().expect("no client panics while it counts"))
    }

    pub fn done(&self, kind: &'static str) {
        self.with(|counts| *counts.operations.entry(kind).or_default() += 1);
    }

    pub fn retried(&self) {
        self.with(|counts| counts.retries += 1);
    }

    pub fn wrong(&self, what: String) {
        self.with(|counts| counts.wrong.push(what));
    }

    pub fn answered(&self, request: &Request, begun_ms: u64, took: Duration, status: u16) {
        self.with(|counts| {
            *counts.answers.entry(status).or_default() += 1;
            let way = usize::from(request.way == Way::Rest);
            counts.longest[way] = counts.longest[way].max(took);
            if took > LONGEST_ANSWER {
                counts
                    .slow
                    .push(slow(request, begun_ms, took, &status.to_string()));
            }
        });
    }

    pub fn unanswered(
        &self,
        request: &Request,
        begun_ms: u64,
        took: Duration,
        error: &reqwest::Error,
    ) {
        let why = if error.is_timeout() {
            "no answer"
        } else {
            "connection lost"
        };
        self.with(|counts| {
            counts.unanswered += 1;
            counts.slow.push(slow(request, begun_ms, took, why));
        });
    }

    /// Prints the counts; returns what no rule allows.
    pub fn print(&self, faults: &[Fault], users: usize) -> Vec<String> {
        let mut wrong = self.with(|counts| std::mem::take(&mut counts.wrong));
        self.with(|counts| {
            let total: u64 = counts.operations.values().sum();
            println!(
                "{total} operations of {users} users: {}",
                listed(&counts.operations)
            );
            println!(
                "answers: {}; without one: {}",
                listed(&counts.answers),
                counts.unanswered
            );
            println!("{} retries", counts.retries);
            let [edge, rest] = counts.longest;
            println!(
                "longest time to answer: Worker {:.1} s, REST {:.1} s",
                edge.as_secs_f64(),
                rest.as_secs_f64()
            );
            wrong.extend(
                counts
                    .slow
                    .iter()
                    .filter(|slow| !slow.excused(faults))
                    .map(|slow| {
                        format!(
                            "{} after {:.1} s although the service was up",
                            slow.what,
                            slow.took.as_secs_f64()
                        )
                    }),
            );
        });
        print_faults(faults);
        wrong.extend(
            faults
                .iter()
                .filter(|fault| fault.recovery_ms > 10_000)
                .map(|fault| {
                    format!(
                        "{}: fully up only {} ms after its return",
                        fault.kind, fault.recovery_ms
                    )
                }),
        );
        let more = wrong.len().saturating_sub(SHOWN);
        wrong.truncate(SHOWN);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        wrong
    }
}

fn print_faults(faults: &[Fault]) {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for fault in faults {
        *kinds.entry(&fault.kind).or_default() += 1;
    }
    println!("{} faults: {}", faults.len(), listed(&kinds));
    if let Some(longest) = faults.iter().max_by_key(|fault| fault.recovery_ms) {
        println!(
            "longest recovery: {:.1} s ({})",
            longest.recovery_ms as f64 / 1000.0,
            longest.kind
        );
    }
}

fn listed<K: std::fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    parts.join(", ")
}

fn slow(request: &Request, begun_ms: u64, took: Duration, what: &str) -> Slow {
    Slow {
        what: format!("{} {}: {what}", request.method, request.route),
        edge: request.way == Way::Edge,
        begun_ms,
        took,
    }
}

impl Slow {
    /// Whether the service that the call went to was itself down meanwhile.
    fn excused(&self, faults: &[Fault]) -> bool {
        let end_ms = self.begun_ms + u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX / 2);
        let front = if self.edge {
            FRONT_SERVICES[0]
        } else {
            FRONT_SERVICES[1]
        };
        faults.iter().any(|fault| {
            let until_ms = fault.until_ms + fault.recovery_ms;
            fault.service == front && fault.from_ms <= end_ms && self.begun_ms <= until_ms
        })
    }
}

/// The faults that the operator recorded.
pub fn faults(folder: &Path) -> Vec<Fault> {
    let text = std::fs::read_to_string(folder.join("faults.jsonl")).unwrap_or_default();
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("a line of JSON a fault");
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let number = |name: &str| line[name].as_u64().unwrap_or(0);
            Fault {
                kind: text("kind"),
                service: text("service"),
                from_ms: number("from_ms"),
                until_ms: number("until_ms"),
                recovery_ms: number("recovery_ms"),
            }
        })
        .collect()
}
