//! HTTP load: as much as a few connections can send, or at a fixed rate.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

/// A request that any thread can send.
pub struct Ask {
    pub url: String,
    pub token: Option<String>,
    /// JSON; a GET without it.
    pub body: Option<String>,
}

/// A client with persistent connections; any status is an answer.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .build()
        .into()
}

/// Sends it and reads the entire answer: status and body.
pub fn send(agent: &ureq::Agent, ask: &Ask) -> Result<(u16, String)> {
    let token = ask.token.as_ref().map(|token| format!("Bearer {token}"));
    let mut answer = match &ask.body {
        Some(body) => {
            let mut post = agent
                .post(&ask.url)
                .header("content-type", "application/json");
            if let Some(token) = &token {
                post = post.header("authorization", token);
            }
            post.send(body)
        }
        None => {
            let mut get = agent.get(&ask.url);
            if let Some(token) = &token {
                get = get.header("authorization", token);
            }
            get.call()
        }
    }
    .with_context(|| ask.url.clone())?;
    let text = answer
        .body_mut()
        .with_config()
        .limit(64 * 1024 * 1024)
        .read_to_string()?;
    Ok((answer.status().as_u16(), text))
}

/// Sends it and requires a 2xx.
pub fn send_well(agent: &ureq::Agent, ask: &Ask) -> Result<String> {
    let (status, body) = send(agent, ask)?;
    ensure!(
        (200..300).contains(&status),
        "{} answered {status}: {}",
        ask.url,
        body.chars().take(300).collect::<String>()
    );
    Ok(body)
}

/// Requests answered a second over `connections`, each waiting for its answer.
pub fn closed_loop(ask: &Ask, connections: usize, time: Duration) -> Result<f64> {
    let count = AtomicUsize::new(0);
    each(connections, || {
        let agent = agent();
        let begun = Instant::now();
        while begun.elapsed() < time {
            send_well(&agent, ask)?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    let count = u32::try_from(count.into_inner())?;
    Ok(f64::from(count) / time.as_secs_f64())
}

/// Milliseconds of each request when one is due every `1 / per_second` seconds, whether or not earlier ones
/// have been answered: from when it was due to the end of its answer.
pub fn open_loop(asks: &[Ask], per_second: u32, connections: usize) -> Result<Vec<f64>> {
    let next = AtomicUsize::new(0);
    let begun = Instant::now() + Duration::from_millis(50);
    let times = each(connections, || {
        let agent = agent();
        let mut times = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(ask) = asks.get(index) else {
                return Ok(times);
            };
            let due = begun + Duration::from_secs(1) * u32::try_from(index)? / per_second;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            send_well(&agent, ask)?;
            times.push(due.elapsed().as_secs_f64() * 1_000.0);
        }
    })?;
    Ok(times.into_iter().flatten().collect())
}

/// The same work on several threads.
pub fn each<T: Send>(threads: usize, work: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
            })
            .collect()
    })
}

/// The value that this share of the samples does not exceed; 0 without samples.
pub fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample_that_was_seen() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        for (share, value) in [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)] {
            assert!((percentile(&samples, share) - value).abs() < f64::EPSILON);
        }
        assert!((percentile(&[7.0], 0.95) - 7.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 0.95).abs() < f64::EPSILON);
    }
}
