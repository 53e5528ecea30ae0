//! Required programs other than Rust, Node and a C compiler, and how to install them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::process::{command, succeeds, text};
use crate::progress::{Failure, Step, step};

/// Debian packages of the local system and its tests.
const PACKAGES: [&str; 10] = [
    "postgresql-15",
    "postgresql-client-15",
    "postgresql-server-dev-15",
    "postgresql-15-cron",
    "postgresql-15-pgtap",
    "libtap-parser-sourcehandler-pgtap-perl",
    "clang",
    "libclang-dev",
    "pkg-config",
    // Used by cargo pgrx to start its test server when root runs the tests.
    "sudo",
];

/// A command-line tool from crates.io, built once per user.
pub struct CargoTool {
    pub package: &'static str,
    pub version: &'static str,
    pub binary: &'static str,
    expected: &'static str,
}

/// Builds, installs and tests PostgreSQL extensions. 0.19 requires a newer compiler.
pub const CARGO_PGRX: CargoTool = CargoTool {
    package: "cargo-pgrx",
    version: "0.18.1",
    binary: "cargo-pgrx",
    expected: "about 2 min, once",
};

/// Must have exactly the version of the crate in `edge/Cargo.lock`.
pub const WASM_BINDGEN: CargoTool = CargoTool {
    package: "wasm-bindgen-cli",
    version: "0.2.129",
    binary: "wasm-bindgen",
    expected: "about 2 min, once",
};

/// Bundles the Worker; must have the version of the crate `worker`.
pub const WORKER_BUILD: CargoTool = CargoTool {
    package: "worker-build",
    version: "0.8.7",
    binary: "worker-build",
    expected: "about 2 min, once",
};

/// Mutates the rules and runs their tests (`test mutants`).
pub const CARGO_MUTANTS: CargoTool = CargoTool {
    package: "cargo-mutants",
    version: "27.1.0",
    binary: "cargo-mutants",
    expected: "about 2 min, once",
};

/// Directory whose `bin` contains the cargo tools.
fn tools_root(checkout: &Checkout) -> PathBuf {
    checkout.cache.join("tools")
}

impl CargoTool {
    /// The installed program.
    pub fn path(&self, checkout: &Checkout) -> PathBuf {
        tools_root(checkout).join("bin").join(self.binary)
    }

    fn is_installed(&self, checkout: &Checkout) -> bool {
        let installed = fs::read_to_string(tools_root(checkout).join(".crates.toml"));
        let line = format!("\"{} {} (", self.package, self.version);
        installed.is_ok_and(|text| text.contains(&line)) && self.path(checkout).exists()
    }

    /// Builds the tool unless the right version is installed.
    ///
    /// Without optimisation: that halves the build time, and none of them runs for long.
    pub fn ensure(&self, checkout: &Checkout) -> Result<()> {
        if self.is_installed(checkout) {
            return Ok(());
        }
        let name = format!("{} {}", self.package, self.version);
        step(
            &checkout.local.join("logs/setup"),
            &name,
            Some(self.expected),
            "crates.io must be reachable; then run the command again, it goes on where it stopped",
            |step| {
                let mut install = command("cargo");
                install
                    .args(["install", "--locked", "--debug", "--bin", self.binary])
                    .arg("--root")
                    .arg(tools_root(checkout))
                    .arg(format!("{}@{}", self.package, self.version))
                    .env("CARGO_PROFILE_DEV_DEBUG", "0")
                    .env("CARGO_TARGET_DIR", build_folder(checkout));
                step.run(&mut install)
            },
        )
    }
}

/// Whether nothing has to be installed, neither Debian's packages nor the cargo tools.
pub fn are_made(checkout: &Checkout) -> bool {
    [CARGO_PGRX, WASM_BINDGEN, WORKER_BUILD]
        .iter()
        .all(|tool| tool.is_installed(checkout))
        && PACKAGES.iter().all(|package| is_installed(package))
}

fn build_folder(checkout: &Checkout) -> PathBuf {
    checkout.cache.join("build")
}

/// Deletes the shared build directory of the tools once all are built.
pub fn clean_up(checkout: &Checkout) -> Result<()> {
    let folder = build_folder(checkout);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// Fails if prerequisites are missing that this command cannot install.
pub fn require_basics() -> Result<()> {
    for (program, args, advice) in [
        (
            "cc",
            ["--version"],
            "install a C compiler: `apt-get install gcc libc6-dev`",
        ),
        ("npm", ["--version"], "install npm, which comes with Node"),
        (
            "setsid",
            ["--version"],
            "install util-linux: `apt-get install util-linux`",
        ),
    ] {
        if !succeeds(command(program).args(args)) {
            return Err(missing(format!("`{program}` is missing"), advice));
        }
    }
    let node = text(command("node").arg("--version")).unwrap_or_default();
    let major: Option<u32> = node
        .strip_prefix('v')
        .and_then(|version| version.split('.').next()?.parse().ok());
    if major.is_none_or(|major| major < 20) {
        return Err(missing(
            format!("Node 20 or later is needed, found {node:?}"),
            "install it from https://nodejs.org or your distribution",
        ));
    }
    Ok(())
}

fn missing(what: String, advice: &str) -> anyhow::Error {
    Failure {
        what,
        log: None,
        advice: advice.to_owned(),
    }
    .into()
}

/// Installs the Debian packages that are missing.
pub fn ensure_packages(checkout: &Checkout) -> Result<()> {
    ensure_apt(checkout, &PACKAGES, "PostgreSQL 15 and clang from Debian")
}

/// Installs missing packages, as root or through a sudo that needs no password.
pub fn ensure_apt(checkout: &Checkout, packages: &[&str], name: &str) -> Result<()> {
    let missing_packages: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing_packages.is_empty() {
        return Ok(());
    }
    let line = format!(
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
        missing_packages.join(" ")
    );
    if as_root("true").is_none() {
        return Err(missing(
            format!("These packages are missing: {}", missing_packages.join(" ")),
            &format!("type this, then run the command again:\n    {line}"),
        ));
    }
    step(
        &checkout.local.join("logs/setup"),
        name,
        Some(&format!("apt-get install {}", missing_packages.join(" "))),
        &format!("see whether this works by hand:\n    {line}"),
        |step| {
            // The lists may be absent or old; trying first avoids a refresh if they are not.
            if install(step, &missing_packages).is_ok() {
                return Ok(());
            }
            step.run(&mut apt_get(&["update", "-q"])?)?;
            install(step, &missing_packages)
        },
    )
}

/// Refreshes apt's lists if a package is not in them.
pub fn ensure_known_to_apt(step: &Step, package: &str) -> Result<()> {
    if succeeds(command("apt-cache").args(["show", package])) {
        return Ok(());
    }
    step.run(&mut apt_get(&["update", "-q"])?)
}

fn install(step: &Step, packages: &[&str]) -> Result<()> {
    let mut install = apt_get(&["install", "-q", "-y", "--no-install-recommends"])?;
    step.run(install.args(packages))
}

fn apt_get(args: &[&str]) -> Result<Command> {
    let Some(mut command) = as_root("apt-get") else {
        bail!("apt-get needs root or a sudo that asks no password");
    };
    command.args(["-o", "DPkg::Lock::Timeout=120"]).args(args);
    Ok(command)
}

/// A program run with root's rights, if that is possible without a password prompt.
fn as_root(program: &str) -> Option<Command> {
    if rustix::process::geteuid().is_root() {
        let mut plain = command(program);
        plain.env("DEBIAN_FRONTEND", "noninteractive");
        return Some(plain);
    }
    if !succeeds(command("sudo").args(["-n", "true"])) {
        return None;
    }
    let mut sudo = command("sudo");
    sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", program]);
    Some(sudo)
}

/// Whether dpkg reports a package as correctly installed.
pub fn is_installed(package: &str) -> bool {
    text(command("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// `npm ci` in a directory with a lock file, only if the lock file or Node changed.
pub fn ensure_npm(checkout: &Checkout, folder: &Path) -> Result<()> {
    let node = text(command("node").arg("--version"))?;
    let lock = folder.join("package-lock.json");
    let stamp = crate::stamp::inputs(folder, &[lock, folder.join("package.json")], &[&node])?;
    let file = folder.join("node_modules/.installed");
    if crate::stamp::matches(&file, &stamp) {
        return Ok(());
    }
    let shown = folder
        .strip_prefix(&checkout.root)
        .unwrap_or(folder)
        .display();
    step(
        &checkout.local.join("logs/setup"),
        &format!("npm packages of {shown}"),
        None,
        "the npm registry must be reachable; then run the command again",
        |step| {
            let mut ci = command("npm");
            ci.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(folder);
            step.run(&mut ci)?;
            crate::stamp::write(&file, &stamp)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked_version(lock: &str, package: &str) -> Option<String> {
        let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
        Some(rest.split_once('"')?.0.to_owned())
    }

    #[test]
    fn the_tools_have_the_versions_of_the_crates_they_go_with() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask has a parent");
        for (file, package, tool) in [
            ("edge/Cargo.lock", "wasm-bindgen", WASM_BINDGEN),
            ("edge/Cargo.lock", "worker", WORKER_BUILD),
            ("Cargo.lock", "pgrx", CARGO_PGRX),
        ] {
            let lock = fs::read_to_string(root.join(file)).expect("the lock file can be read");
            assert_eq!(
                locked_version(&lock, package).as_deref(),
                Some(tool.version),
                "{package} in {file} and xtask/src/tools.rs"
            );
        }
    }
}
