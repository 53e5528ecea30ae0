//! A Rust compiler with the wasm32 standard library, for the Worker.
//!
//! Normally `rustup target add` provides it. If rustup cannot download, Debian's security archive has a
//! newer compiler with the library's source: unpacked below the user's cache and linked as a rustup
//! toolchain, it builds that library once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::checkout::Checkout;
use crate::process::{command, succeeds, text};
use crate::progress::{Failure, Step, step};
use crate::tools;

const TARGET: &str = "wasm32-unknown-unknown";

/// Name of the toolchain made from Debian's packages.
const FALLBACK: &str = "carbon-pixels-wasm";

/// Time limit of rustup; a machine that cannot reach its server often hangs.
const RUSTUP_LIMIT: Duration = Duration::from_secs(20);

/// The compiler that the Worker is built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmToolchain {
    /// A rustup toolchain's name; none for the default one.
    name: Option<&'static str>,
}

impl WasmToolchain {
    /// Makes cargo, rustc and their child processes use this toolchain.
    pub fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(name) = self.name {
            command.env("RUSTUP_TOOLCHAIN", name);
        }
        command
    }

    /// The compiler's version, as a fact for stamps.
    pub fn version(&self) -> Result<String> {
        text(self.apply(command("rustc").arg("--version")))
    }

    fn has_target(&self) -> bool {
        let mut print = command("rustc");
        print.args(["--print", "target-libdir", "--target", TARGET]);
        let Ok(folder) = text(self.apply(&mut print)) else {
            return false;
        };
        fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("libstd") && name.ends_with(".rlib")
            })
        })
    }
}

/// Whether there is already a compiler for wasm32.
pub fn is_made() -> bool {
    [None, Some(FALLBACK)]
        .into_iter()
        .any(|name| WasmToolchain { name }.has_target())
}

/// Finds a compiler for wasm32, or builds one.
pub fn ensure(checkout: &Checkout) -> Result<WasmToolchain> {
    let here = WasmToolchain { name: None };
    if here.has_target() {
        return Ok(here);
    }
    let fallback = WasmToolchain {
        name: Some(FALLBACK),
    };
    if fallback.has_target() {
        return Ok(fallback);
    }
    require_rustup()?;
    let logs = checkout.local.join("logs/setup");
    let added = step(
        &logs,
        "asking rustup for Rust's wasm32 target",
        None,
        "",
        |step| {
            let mut add = command("rustup");
            add.args(["target", "add", TARGET]);
            Ok(step.run_within(&mut add, RUSTUP_LIMIT).is_ok())
        },
    )?;
    if added && here.has_target() {
        return Ok(here);
    }
    println!("      rustup cannot fetch it here");
    step(
        &logs,
        "Rust for wasm32 from Debian's packages",
        Some("about 2 min, once"),
        "the ordinary way is `rustup target add wasm32-unknown-unknown`; without access to \
         rustup's server, Debian 12 with its security archive is needed",
        |step| from_debian(checkout, step),
    )?;
    ensure!(
        fallback.has_target(),
        "the toolchain made from Debian's packages has no {TARGET}"
    );
    Ok(fallback)
}

fn from_debian(checkout: &Checkout, step: &Step) -> Result<()> {
    let home = checkout.cache.join("wasm-toolchain");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    let packages = home.join("debs");
    fs::create_dir_all(&packages)?;
    tools::ensure_known_to_apt(step, "rustc-web")?;
    let mut download = command("apt-get");
    download.arg("download").args(required_packages()?);
    step.run(download.current_dir(&packages))?;
    for package in fs::read_dir(&packages)? {
        let mut unpack = command("dpkg-deb");
        unpack.arg("--extract").arg(package?.path()).arg(&home);
        step.run(&mut unpack)?;
    }
    fs::remove_dir_all(&packages)?;
    let prefix = home.join("usr");
    link_libraries(&prefix)?;
    link_linker(&prefix)?;
    let mut link = command("rustup");
    step.run(link.args(["toolchain", "link", FALLBACK]).arg(&prefix))?;
    build_library(&home, &prefix, step)
}

/// The compiler's packages and those of their dependencies that this machine lacks.
///
/// Names with versions in them (libstd-rust-web-1.96, libllvm22) change with each release of the archive,
/// which has only the newest, so they are queried instead of hard-coded.
fn required_packages() -> Result<BTreeSet<String>> {
    let mut required: BTreeSet<String> = [
        "rustc-web",
        "cargo-web",
        "rust-web-src",
        "libstd-rust-web-dev",
    ]
    .map(str::to_owned)
    .into();
    let mut unseen: Vec<String> = required.iter().cloned().collect();
    while !unseen.is_empty() {
        let answer = text(
            command("apt-cache")
                .args(["depends", "--no-suggests", "--no-recommends"])
                .args([
                    "--no-conflicts",
                    "--no-breaks",
                    "--no-replaces",
                    "--no-enhances",
                ])
                .args(&unseen),
        )?;
        unseen.clear();
        for name in dependencies(&answer) {
            if !required.contains(name) && !tools::is_installed(name) {
                required.insert(name.to_owned());
                unseen.push(name.to_owned());
            }
        }
    }
    Ok(required)
}

/// Package names in the answer of `apt-cache depends`, without virtual ones and alternatives.
fn dependencies(answer: &str) -> impl Iterator<Item = &str> {
    answer
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
        .map(|name| name.split(':').next().unwrap_or(name).trim())
        // The system's linker and C compiler are sufficient, and are not libraries of rustc.
        .filter(|name| !name.starts_with('<') && !["gcc", "binutils"].contains(name))
}

/// rustc searches its libraries in `lib`; Debian has them one directory deeper.
fn link_libraries(prefix: &Path) -> Result<()> {
    let folder = format!("{}-linux-gnu", std::env::consts::ARCH);
    for entry in fs::read_dir(prefix.join("lib").join(&folder))? {
        let name = entry?.file_name();
        if name.to_string_lossy().contains(".so") {
            let link = prefix.join("lib").join(&name);
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(Path::new(&folder).join(&name), link)?;
        }
    }
    Ok(())
}

/// Debian's compiler comes without rust-lld; the one of the current toolchain links wasm as well.
fn link_linker(prefix: &Path) -> Result<()> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let tools = Path::new("lib/rustlib").join(host).join("bin");
    let sysroot = PathBuf::from(text(command("rustc").args(["--print", "sysroot"]))?);
    fs::create_dir_all(prefix.join(&tools))?;
    for name in ["rust-lld", "gcc-ld"] {
        let from = sysroot.join(&tools).join(name);
        ensure!(from.exists(), "{} is missing", from.display());
        let link = prefix.join(&tools).join(name);
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(from, link)?;
    }
    Ok(())
}

/// Builds the standard library for wasm32 with its own compiler.
fn build_library(home: &Path, prefix: &Path, step: &Step) -> Result<()> {
    let fallback = WasmToolchain {
        name: Some(FALLBACK),
    };
    let source = prefix.join("lib/rustlib/src/rust/library");
    let target = home.join("std-target");
    let mut build = command("cargo");
    build
        .args(["build", "--locked", "--profile", "dist", "--target", TARGET])
        .args(["--manifest-path", "sysroot/Cargo.toml"])
        .current_dir(&source)
        // The library uses unstable features of its own compiler; this is the intended way to build it
        // outside the compiler's own build system.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zforce-unstable-if-unmarked")
        .env("CARGO_PROFILE_DIST_DEBUG", "0")
        .env("CARGO_TARGET_DIR", &target);
    step.run(fallback.apply(&mut build))?;
    let built = target.join(TARGET).join("dist/deps");
    let lib = prefix.join("lib/rustlib").join(TARGET).join("lib");
    let unfinished = lib.with_extension("new");
    fs::create_dir_all(&unfinished)?;
    for entry in fs::read_dir(&built).with_context(|| built.display().to_string())? {
        let path = entry?.path();
        if let (Some(name), Some("rlib")) = (
            path.file_name(),
            path.extension().and_then(|end| end.to_str()),
        ) {
            fs::copy(&path, unfinished.join(name))?;
        }
    }
    // Atomically, so that a partly copied library is never taken for a complete one.
    fs::rename(&unfinished, &lib)?;
    fs::remove_dir_all(&target)?;
    Ok(())
}

/// Without rustup neither method works.
fn require_rustup() -> Result<()> {
    if succeeds(command("rustup").arg("--version")) {
        return Ok(());
    }
    Err(Failure {
        what: "rustup is missing, and this Rust has no wasm32 target".to_owned(),
        log: None,
        advice: "install Rust from https://rustup.rs".to_owned(),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_without_virtual_packages_and_alternatives() {
        let answer = "rustc-web\n  Depends: libc6\n |Depends: a\n  Depends: <virtual>\n  \
                      Depends: libllvm22:amd64\n  Depends: gcc\n  Recommends: x\n";
        let names: Vec<&str> = dependencies(answer).collect();
        assert_eq!(names, ["libc6", "libllvm22"]);
    }
}
