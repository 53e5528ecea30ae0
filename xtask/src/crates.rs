//! Commands in separate crates below `dev/`, so that nothing else has to compile them.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::process::command;

/// `cargo run` of a package of the workspace, in the profile of `cargo xtask` itself.
pub fn cargo_run(checkout: &Checkout, package: &str, args: &[&str]) -> Command {
    let mut run = command("cargo");
    run.args(["run", "--quiet", "--locked", "--package", package, "--"])
        .args(args)
        .current_dir(&checkout.root);
    run
}

/// Replaces this process by the package's: output, exit code and interrupts are those of this command.
pub fn become_program(checkout: &Checkout, package: &str, args: &[&str]) -> Result<()> {
    let mut run = cargo_run(checkout, package, args);
    run.stdin(Stdio::inherit());
    Err(run.exec()).with_context(|| format!("cargo run --package {package}"))
}
