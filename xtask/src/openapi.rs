//! The suite `openapi`: schemathesis calls every operation of the API description, signed in and signed
//! out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::check::Tally;
use crate::checkout::Checkout;
use crate::environment::Environment;
use crate::process::{command, succeeds, text};
use crate::progress::Step;
use crate::{stamp, tools, up};

/// A run takes about a minute; one that hangs is ended.
const LIMIT: Duration = Duration::from_secs(300);

/// The variable with the user's access token.
const TOKEN: &str = "CARBON_ACCESS_TOKEN";

/// The variable with the metrics token.
const METRICS_TOKEN: &str = "CARBON_METRICS_TOKEN";

/// Examples, metrics, the signed-in run, the signed-out run; counts the operations tested and the failures.
pub fn run(checkout: &Checkout, step: &Step) -> Result<Tally> {
    let python = environment_of_python(checkout, step)?;
    let api = Environment::http(up::environment(checkout)?.ports.api);
    let folder = checkout.path("tests/openapi");
    // Where schemathesis stores the cases that it wants to retry.
    let work = checkout.local.join("openapi");
    fs::create_dir_all(&work)?;
    // As a file, because schemathesis ignores the base address of a description read from a URL.
    let description = work.join("openapi.json");
    let served = ureq::get(format!("{api}/api/v1/openapi.json")).call();
    let served = served
        .context("the API's description")?
        .body_mut()
        .read_to_string()?;
    fs::write(&description, served)?;

    let mut examples = command(python.join("bin/python"));
    examples.arg(folder.join("examples.py")).arg(&description);
    step.run(&mut examples)?;

    let mut metrics = command(python.join("bin/python"));
    let environment = up::environment(checkout)?;
    metrics
        .arg(folder.join("metrics.py"))
        .arg(format!("{api}/metrics"))
        .env(METRICS_TOKEN, environment.secrets.get("METRICS_TOKEN")?);
    step.run(&mut metrics)?;

    // A command line is visible to every user of the machine and is logged, so the token is passed in the
    // environment, and a separate configuration refers to it.
    let config = folder.join("schemathesis.toml");
    let person_config = work.join("person.toml");
    let signed_in = format!("headers = {{ Authorization = \"Bearer ${{{TOKEN}}}\" }}\n");
    fs::write(&person_config, signed_in + &fs::read_to_string(&config)?)?;
    let schemathesis = |config: &Path| {
        let mut call = command(python.join("bin/schemathesis"));
        call.args(["--no-color", "--config-file"])
            .arg(config)
            .arg("run")
            .arg(&description)
            .args(["--url", &format!("{api}/api/v1")])
            .env("PYTHONPATH", &folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(&work);
        call
    };
    let token = anonymous_token(&api)?;
    let mut as_person = schemathesis(&person_config);
    as_person.env(TOKEN, token);
    step.run_within(&mut as_person, LIMIT)?;

    // Without a token most requests are refused early, so a shallow run is enough.
    let mut as_stranger = schemathesis(&config);
    as_stranger.args([
        "--phases=examples,fuzzing",
        "--max-examples=2",
        "--exclude-tag=auth",
    ]);
    step.run_within(&mut as_stranger, LIMIT)?;
    Ok(count(&step.log_text()))
}

/// A virtual environment with the pinned packages, created once per user and set of pins.
fn environment_of_python(checkout: &Checkout, step: &Step) -> Result<PathBuf> {
    let pins = checkout.path("tests/openapi/requirements.txt");
    let version = text(command("python3").arg("--version"))
        .context("Python 3.10 or later is needed: `apt-get install python3`")?;
    let stamp = stamp::inputs(&checkout.root, std::slice::from_ref(&pins), &[&version])?;
    let home = checkout.cache.join("schemathesis");
    let note = home.join(".installed");
    if stamp::matches(&note, &stamp) {
        return Ok(home);
    }
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    // Debian has the part of Python that fills such an environment in a separate package.
    if !succeeds(command("python3").args(["-c", "import ensurepip, venv"])) {
        tools::ensure_apt(checkout, &["python3-venv"], "Python's virtual environments")?;
    }
    step.run(command("python3").args(["-m", "venv"]).arg(&home))?;
    step.run(&mut install(&home, &pins))?;
    stamp::write(&note, &stamp)?;
    Ok(home)
}

fn install(home: &Path, pins: &Path) -> Command {
    let mut pip = command(home.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--requirement"])
        .arg(pins);
    pip
}

fn anonymous_token(api: &str) -> Result<String> {
    let mut answer = ureq::post(format!("{api}/api/v1/auth/anonymous"))
        .send_empty()
        .context("signing in anonymously")?;
    let body = answer.body_mut().read_to_string()?;
    let answer: serde_json::Value = serde_json::from_str(&body)?;
    match answer["data"]["access_token"].as_str() {
        Some(token) => Ok(token.to_owned()),
        None => bail!("no token in the answer to an anonymous sign-in"),
    }
}

/// Operations tested and failures found, from the summaries of all runs and the line about examples.
pub fn count(log: &str) -> Tally {
    let mut tally = Tally::default();
    for line in log.lines().map(str::trim) {
        if let Some(tested) = line.strip_prefix("Tested: ") {
            tally.passed += tested.parse().unwrap_or(0);
        } else if let Some((good, rest)) = line.split_once(" examples fit, ") {
            tally.passed += good.parse().unwrap_or(0);
            let bad = rest.split(' ').next().unwrap_or("");
            tally.failed += bad.parse().unwrap_or(0);
        } else if (line.starts_with('❌') || line.starts_with('🚫'))
            && let Some((_, number)) = line.rsplit_once(": ")
        {
            tally.failed += number.parse().unwrap_or(0);
        }
    }
    tally.passed = tally.passed.saturating_sub(tally.failed);
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_all_runs_are_summed() {
        let log = "64 examples fit, 1 do not\n  Selected: 30/30\n  Tested: 30\n  ❌ Fuzzing\n\
                   Failures:\n  ❌ ST101 Server error: 4\nErrors:\n  🚫 Runtime Error: 1\n  Tested: 25\n";
        assert_eq!(
            count(log),
            Tally {
                passed: 113,
                failed: 6
            }
        );
    }
}
