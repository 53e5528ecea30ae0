//! How often a request calls a Durable Object, counted by the Worker's own metric with all limits on.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::load::{Ask, agent, send_well};
use super::system::{System, Worker};

/// Requests of each class; the cost of a class is their mean. An address may have at most two codes waiting
/// for a third without a bot check.
const REQUESTS: u32 = 2;

/// The metric, with the object's class in braces.
const METRIC: &str = "carbon_object_calls_total{class=\"";

type Counts = BTreeMap<String, u64>;

/// A table of request classes and the calls of each.
pub fn table(system: &System) -> Result<String> {
    let worker = system.worker(true)?;
    let token = system.newcomer(&worker)?;
    let get = |path: &str| Ask {
        token: Some(token.clone()),
        ..worker.ask(path)
    };
    let mut lines = vec![
        "| request | calls to Durable Objects | which |".to_owned(),
        "|---|---|---|".to_owned(),
    ];
    for (name, ask) in [
        (
            "GET /waste/categories, signed out",
            worker.ask("/waste/categories"),
        ),
        (
            "GET /gamification/leaderboard, signed out",
            worker.ask("/gamification/leaderboard"),
        ),
        (
            "GET /gamification/leaderboard, signed in",
            get("/gamification/leaderboard"),
        ),
        ("GET /user/profile", get("/user/profile")),
        ("GET /waste/entries", get("/waste/entries")),
    ] {
        let line = counted(system, &worker, name, |_| {
            send_well(&agent(), &ask).map(drop)
        })?;
        lines.push(line);
    }
    let post = |path: &str, body: &Value| Ask {
        body: Some(body.to_string()),
        ..get(path)
    };
    let entry = |number: u32| {
        json!({
            "category_id": "food_waste", "disposal_method": "composted", "weight_kg": 0.5,
            "offline_id": format!("calls-{number}"),
        })
    };
    lines.push(counted(system, &worker, "POST /waste/entries", |number| {
        send_well(&agent(), &post("/waste/entries", &entry(number))).map(drop)
    })?);
    lines.push(counted(
        system,
        &worker,
        "POST /waste/entries/batch",
        |number| {
            let batch = json!({"entries": [entry(100 + number), entry(200 + number)]});
            send_well(&agent(), &post("/waste/entries/batch", &batch)).map(drop)
        },
    )?);
    lines.push(counted(
        system,
        &worker,
        "POST /user/migrate-local",
        |_| {
            let dump = json!({"local_storage": {}});
            send_well(&agent(), &post("/user/migrate-local", &dump)).map(drop)
        },
    )?);
    lines.extend(sign_in(system, &worker)?);
    Ok(lines.join("\n"))
}

/// Requesting a code includes the hook that Auth calls.
fn sign_in(system: &System, worker: &Worker) -> Result<[String; 2]> {
    let mut handles = Vec::new();
    let asked = counted(
        system,
        worker,
        "POST /auth/phone-otp (with Auth's hook)",
        |number| {
            let phone = format!("08123400{number:02}");
            let ask = Ask {
                body: Some(json!({"phone_number": phone}).to_string()),
                ..worker.ask("/auth/phone-otp")
            };
            let answer: Value = serde_json::from_str(&send_well(&agent(), &ask)?)?;
            let handle = answer["data"]["otp_id"]
                .as_str()
                .context("no otp_id")?
                .to_owned();
            handles.push((format!("668123400{number:02}"), handle));
            Ok(())
        },
    )?;
    let mut handles = handles.into_iter();
    let verified = counted(system, worker, "POST /auth/verify-otp", |_| {
        let (phone, handle) = handles.next().context("as many codes as requests")?;
        let ask = Ask {
            body: Some(
                json!({
                    "otp_id": handle, "otp_code": code_of(system, &phone)?,
                    "device_info": {"device_id": "bench", "platform": "web", "app_version": "1.0.0"},
                })
                .to_string(),
            ),
            ..worker.ask("/auth/verify-otp")
        };
        send_well(&agent(), &ask).map(drop)
    })?;
    Ok([asked, verified])
}

fn code_of(system: &System, phone: &str) -> Result<String> {
    let url = format!(
        "{}/sms?phone={phone}",
        xtask::environment::Environment::http(system.environment.ports.inbox)
    );
    for _ in 0..50 {
        let sent: Value =
            serde_json::from_str(&agent().get(&url).call()?.body_mut().read_to_string()?)?;
        if let Some(code) = sent[0]["code"].as_str() {
            return Ok(code.to_owned());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    anyhow::bail!("no code came for one of the numbers")
}

/// A line of the table: what the requests add to the metric, per request.
fn counted(
    system: &System,
    worker: &Worker,
    name: &str,
    mut request: impl FnMut(u32) -> Result<()>,
) -> Result<String> {
    // Reading the counters is a request that makes calls itself.
    let first = read(system, worker)?;
    let before = read(system, worker)?;
    for number in 0..REQUESTS {
        request(number)?;
    }
    let after = read(system, worker)?;
    let mut sum = 0.0;
    let mut which = Vec::new();
    for (class, count) in &after {
        let [first, before] =
            [&first, &before].map(|counts| counts.get(class).copied().unwrap_or(0));
        let added = (count - before).saturating_sub(before - first);
        // Showing the counters is the Metrics object's own work.
        if added > 0 && class != "metrics" {
            let each = f64::from(u32::try_from(added)?) / f64::from(REQUESTS);
            sum += each;
            which.push(format!("{class} {each:.1}"));
        }
    }
    Ok(format!("| {name} | {sum:.1} | {} |", which.join(", ")))
}

fn read(system: &System, worker: &Worker) -> Result<Counts> {
    let ask = Ask {
        token: Some(system.environment.secrets.get("METRICS_TOKEN")?.to_owned()),
        ..worker.ask("/metrics")
    };
    Ok(parse(&send_well(&agent(), &ask)?))
}

fn parse(metrics: &str) -> Counts {
    metrics
        .lines()
        .filter_map(|line| {
            let (class, count) = line.strip_prefix(METRIC)?.split_once("\"} ")?;
            Some((class.to_ascii_lowercase(), count.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_objects_are_read_from_the_metrics() {
        let text = "# TYPE carbon_object_calls_total counter\n\
                    carbon_object_calls_total{class=\"PhoneNumber\"} 12\n\
                    carbon_object_calls_total{class=\"Subject\"} 3\n\
                    carbon_http_requests_total{route=\"/x\"} 9\n";
        let expected = [("phonenumber".to_owned(), 12), ("subject".to_owned(), 3)];
        assert_eq!(parse(text), Counts::from(expected));
    }
}
