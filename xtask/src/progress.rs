//! Console output: one line per step with its time, and on failure advice on what to do.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::environment::private_folder;
use crate::process::{CANCELLED, run_logged};

/// Lines of a log shown when its step fails.
const TAIL_LINES: usize = 20;

/// A failure: its cause, the end of its log, and advice.
#[derive(Debug)]
pub struct Failure {
    pub what: String,
    pub log: Option<PathBuf>,
    pub advice: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(log) = &self.log {
            let lines = tail(log, TAIL_LINES);
            if !lines.is_empty() {
                write!(f, "\n\nThe end of {}:", log.display())?;
                for line in lines {
                    write!(f, "\n    {line}")?;
                }
            }
        }
        if !self.advice.is_empty() {
            write!(f, "\n\nWhat to do: {}", self.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// The last lines of a file; none if it cannot be read.
pub fn tail(file: &Path, lines: usize) -> Vec<String> {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// One step with its own log.
pub struct Step {
    log: PathBuf,
}

impl Step {
    /// Runs a command, its output going to the step's log.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        run_logged(command, &self.log, None)
    }

    /// Appends a text of ours to the step's log.
    pub fn note(&self, words: &str) -> Result<()> {
        let mut file = fs::OpenOptions::new().append(true).open(&self.log)?;
        Ok(file.write_all(words.as_bytes())?)
    }

    /// Starts a command, its output going to the step's log.
    pub fn start(&self, command: &mut Command) -> Result<Child> {
        let log = OpenOptions::new().append(true).open(&self.log)?;
        Ok(command.stdout(log.try_clone()?).stderr(log).spawn()?)
    }

    /// The output of the step's commands so far.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// As `run`, for a command that may take at most `limit`.
    pub fn run_within(&self, command: &mut Command, limit: Duration) -> Result<()> {
        run_logged(command, &self.log, Some(limit))
    }
}

/// Runs one step, prints its name and time, and turns a failure into a message with advice.
///
/// `expected` ("about 2 min, once") is shown at the start of a step that takes long.
pub fn step<T>(
    logs: &Path,
    name: &str,
    expected: Option<&str>,
    advice: &str,
    work: impl FnOnce(&Step) -> Result<T>,
) -> Result<T> {
    if CANCELLED.load(Ordering::Relaxed) {
        anyhow::bail!("{name}: not started, another step failed");
    }
    private_folder(logs)?;
    let log = logs.join(format!("{}.log", file_name(name)));
    fs::write(&log, "")?;
    if let Some(expected) = expected {
        println!("  … {name} ({expected})");
    }
    let started = Instant::now();
    match work(&Step { log: log.clone() }) {
        Ok(result) => {
            println!("  ✓ {name} {}", seconds(started.elapsed()));
            Ok(result)
        }
        Err(error) if error.is::<Failure>() => Err(error),
        Err(error) => Err(Failure {
            what: format!(
                "{name} failed after {}: {error:#}",
                seconds(started.elapsed())
            ),
            log: Some(log),
            advice: advice.to_owned(),
        }
        .into()),
    }
}

/// Seconds with one decimal; minutes from two minutes on.
pub fn seconds(time: Duration) -> String {
    let secs = time.as_secs_f64();
    if secs < 120.0 {
        format!("{secs:.1} s")
    } else {
        format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_to_read() {
        assert_eq!(seconds(Duration::from_millis(12_345)), "12.3 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 05 s");
    }

    #[test]
    fn a_failure_shows_the_end_of_the_log_and_the_way_out() {
        let folder = std::env::temp_dir().join(format!("progress-{}", std::process::id()));
        let error = step::<()>(&folder, "mill flour", None, "oil the mill", |step| {
            step.run(crate::process::command("sh").args(["-c", "echo stone broke; exit 1"]))
        })
        .expect_err("the step fails");
        let text = error.to_string();
        assert!(text.contains("mill flour failed"), "{text}");
        assert!(text.contains("stone broke"), "{text}");
        assert!(text.ends_with("What to do: oil the mill"), "{text}");
        fs::remove_dir_all(&folder).expect("the folder can be removed");
    }
}
