//! Running other programs: a clean environment, output to a log, termination when a sibling fails.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Set when a step of another lane has failed: what still runs is then pointless.
pub static CANCELLED: AtomicBool = AtomicBool::new(false);

/// A command without standard input and without the variables that `cargo run` adds to the environment.
///
/// With them, nested cargo runs would rebuild (CARGO_PKG_*), load another toolchain's libraries
/// (LD_LIBRARY_PATH) or use the wrong toolchain (RUSTUP_TOOLCHAIN, CARGO).
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    // A tool reports its failure in one line; pages of backtrace would hide it.
    command.env("RUST_BACKTRACE", "0");
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let added = name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "CARGO"
            || name == "CARGO_BIN_NAME"
            || name == "CARGO_PRIMARY_PACKAGE"
            || name == "OUT_DIR"
            || (name == "LD_LIBRARY_PATH" && value.to_string_lossy().contains("rustlib"));
        if added {
            command.env_remove(&*name);
        }
    }
    command
}

/// The command as a developer would type it.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.is_empty() || word.contains([' ', '\n', '"', '\'']) {
                format!("'{word}'")
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Standard output of a command that must succeed; on failure the error contains its standard error.
pub fn text(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Whether a command can be run and succeeds; its output is discarded.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a command, its output appended to `log`; ends it after `limit` or when a sibling has failed.
pub fn run_logged(command: &mut Command, log: &Path, limit: Option<Duration>) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(log)?;
    writeln!(file, "$ {}", shown(command))?;
    let mut child = command
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot run `{}`", shown(command)))?;
    let started = Instant::now();
    let status: ExitStatus = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let late = limit.is_some_and(|limit| started.elapsed() > limit);
        if late || CANCELLED.load(Ordering::Relaxed) {
            child.kill()?;
            child.wait()?;
            bail!("`{}` was ended", shown(command));
        }
        // Poll short commands often and long ones rarely.
        let pause = if started.elapsed() < Duration::from_secs(1) {
            5
        } else {
            50
        };
        std::thread::sleep(Duration::from_millis(pause));
    };
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_its_status() {
        let log = std::env::temp_dir().join(format!("process-{}.log", std::process::id()));
        let error = run_logged(command("sh").args(["-c", "echo why; exit 3"]), &log, None)
            .expect_err("the command fails");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        let text = std::fs::read_to_string(&log).expect("the log exists");
        assert!(text.contains("why"), "{text}");
        std::fs::remove_file(&log).expect("the log can be removed");
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let log = std::env::temp_dir().join(format!("process-late-{}.log", std::process::id()));
        let limit = Some(Duration::from_millis(50));
        let error = run_logged(command("sleep").arg("20"), &log, limit).expect_err("it is ended");
        assert!(error.to_string().contains("was ended"), "{error}");
        std::fs::remove_file(&log).expect("the log can be removed");
    }
}
