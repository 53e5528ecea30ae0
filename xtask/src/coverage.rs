//! Coverage of the domain crate, by the compiler's own instrumentation.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::checkout::Checkout;
use crate::process::{command, text};
use crate::progress::Step;
use crate::pypi::CARGO_LLVM_COV;
use crate::tools;

/// Minimum coverage of the domain crate's lines by its tests, in percent.
pub const MIN_LINES_PERCENT: f64 = 95.0;

/// LLVM programs of rustc's own LLVM version.
struct Llvm {
    profdata: PathBuf,
    cov: PathBuf,
}

/// Coverage of the domain's tests.
#[derive(Clone, Copy, Debug)]
pub struct Coverage {
    pub lines: u64,
    pub covered: u64,
}

impl Coverage {
    /// Share of covered lines in percent; 100 if there are none.
    #[allow(clippy::cast_precision_loss, reason = "line counts are small")]
    pub fn percent(self) -> f64 {
        if self.lines == 0 {
            return 100.0;
        }
        self.covered as f64 * 100.0 / self.lines as f64
    }
}

/// Finds LLVM's programs: the toolchain's own from rustup, or Debian's of the same version.
fn llvm(checkout: &Checkout, step: &Step) -> Result<Llvm> {
    let libraries = PathBuf::from(text(command("rustc").args(["--print", "target-libdir"]))?);
    let own = libraries.with_file_name("bin");
    let found = |folder: &Path, ending: &str| {
        let llvm = Llvm {
            profdata: folder.join(format!("llvm-profdata{ending}")),
            cov: folder.join(format!("llvm-cov{ending}")),
        };
        (llvm.profdata.exists() && llvm.cov.exists()).then_some(llvm)
    };
    let major = llvm_major()?;
    let debian = |ending: &str| found(Path::new("/usr/bin"), ending);
    let ending = format!("-{major}");
    if let Some(llvm) = found(&own, "").or_else(|| debian(&ending)) {
        return Ok(llvm);
    }
    let mut add = command("rustup");
    add.args(["component", "add", "llvm-tools"]);
    if step.run_within(&mut add, Duration::from_secs(60)).is_ok()
        && let Some(llvm) = found(&own, "")
    {
        return Ok(llvm);
    }
    let package = format!("llvm-{major}");
    tools::ensure_apt(
        checkout,
        &[&package],
        "LLVM's coverage programs from Debian",
    )?;
    debian(&ending).with_context(|| format!("{package} has no llvm-cov{ending}"))
}

fn llvm_major() -> Result<String> {
    let version = text(command("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next())
        .map(str::to_owned)
        .context("rustc does not show its LLVM version")
}

/// Runs the domain's tests instrumented and reads which of its lines they ran.
pub fn test_domain(checkout: &Checkout, step: &Step) -> Result<Coverage> {
    let llvm = llvm(checkout, step)?;
    let program = CARGO_LLVM_COV.ensure(checkout, step)?;
    let summary = checkout.local.join("coverage.json");
    let mut test = command(program);
    test.args(["llvm-cov", "test", "--locked", "--package", "carbon-domain"])
        .args(["--json", "--summary-only", "--output-path"])
        .arg(&summary)
        .current_dir(&checkout.root)
        .env("LLVM_PROFDATA", &llvm.profdata)
        .env("LLVM_COV", &llvm.cov);
    step.run(&mut test)?;
    read_summary(&fs::read_to_string(&summary)?)
}

fn read_summary(json: &str) -> Result<Coverage> {
    let summary: Value = serde_json::from_str(json)?;
    let lines = &summary["data"][0]["totals"]["lines"];
    match (lines["count"].as_u64(), lines["covered"].as_u64()) {
        (Some(lines), Some(covered)) => Ok(Coverage { lines, covered }),
        _ => bail!("llvm-cov gave no totals"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_lines_is_read_from_the_export() -> Result<()> {
        let json = r#"{"data":[{"totals":{"lines":{"count":200,"covered":191}}}]}"#;
        let coverage = read_summary(json)?;
        assert!((coverage.percent() - 95.5).abs() < 1e-9);
        Ok(())
    }
}
