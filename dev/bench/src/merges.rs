//! How long an anonymous user with a large diary waits when they sign in to an account.

use std::fs;
use std::time::Instant;

use anyhow::Result;

use crate::measure::statement_ms;
use crate::report::{Figure, Target, median};
use crate::scratch::{SMALL, Scratch};
use crate::{ROUNDS, circumstances, conclude};
use xtask::checkout::Checkout;
use xtask::up;

/// Milliseconds that merging 10,000 entries may take.
const LIMIT_MS: f64 = 2_000.0;

/// Measures this part alone and prints its table.
pub fn run(checkout: &Checkout) -> Result<()> {
    let started = Instant::now();
    up::prepare_database(checkout)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Scratch::start(checkout)?;
    let result = measure(&scratch);
    scratch.remove()?;
    println!("\n{}", circumstances(checkout, " merges", &load, started)?);
    conclude(&[result?], "");
    Ok(())
}

/// Measures one merge a round, each of new users.
pub fn measure(scratch: &Scratch) -> Result<Figure> {
    let mut samples = Vec::new();
    scratch.step("merges", |_| {
        for round in 0..=ROUNDS {
            scratch.sql(SMALL, &format!("call bench.make_merge({round})"))?;
            let ms = statement_ms(scratch, SMALL, "merge.sql", &[&format!("round={round}")])?;
            if round > 0 {
                samples.push(ms);
            }
        }
        Ok(())
    })?;
    Ok(Figure {
        name: "merge of an anonymous diary of 10,000 entries into an account of 1,000".to_owned(),
        target: Target::AtMost(LIMIT_MS),
        unit: " ms",
        seen: format!("{:.0} µs an entry", median(&samples) / 10.0),
        samples,
    })
}
