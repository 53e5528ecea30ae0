//! Build artifacts: carbon-local, the extension, the Worker. Each is only built if its inputs changed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::postgres::{PG_CONFIG, Postgres};
use crate::process::{command, text};
use crate::progress::step;
use crate::stamp;
use crate::tools::{CARGO_PGRX, WASM_BINDGEN, WORKER_BUILD};
use crate::wasm_toolchain::WasmToolchain;

/// How the extension and the Worker are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// As shipped.
    Shipped,
    /// For the next test: rebuilds in seconds, but runs slower.
    Quick,
}

impl Build {
    /// The requested build.
    pub fn of(quick: bool) -> Self {
        if quick { Self::Quick } else { Self::Shipped }
    }

    /// The stamp of these inputs in this build.
    fn stamp(self, inputs: &str) -> String {
        match self {
            Self::Shipped => inputs.to_owned(),
            Self::Quick => format!("{inputs} quick"),
        }
    }

    /// Whether the artifact that `file` describes is sufficient: where a quick build is, the shipped one is
    /// too.
    fn is_current(self, file: &Path, inputs: &str) -> bool {
        stamp::matches(file, &Self::Shipped.stamp(inputs))
            || (self == Self::Quick && stamp::matches(file, &self.stamp(inputs)))
    }
}

/// The sources of the domain crate, without its tests.
const DOMAIN: [&str; 3] = ["domain/src", "domain/data", "domain/Cargo.toml"];

/// The program with Auth, Realtime, gateway and inbox.
pub fn carbon_local(checkout: &Checkout) -> PathBuf {
    checkout.local.join("bin/carbon-local")
}

/// Compiles carbon-local; cargo detects whether anything changed.
///
/// It stands in for programs that are optimised in production and is involved in nearly every request, so
/// measurements and entire suites run an optimised one: 0.13 ms of CPU time a request instead of 0.5. The
/// quick build uses the tests' profile, whose dependencies are compiled already.
pub fn build_carbon_local(checkout: &Checkout, kind: Build) -> Result<()> {
    let (profile, folder) = match kind {
        Build::Shipped => ("release", "release"),
        Build::Quick => ("dev", "debug"),
    };
    step(
        &checkout.local.join("logs/setup"),
        "carbon-local",
        None,
        "correct what the compiler reports, then run the command again",
        |step| {
            let mut build = command("cargo");
            build
                .args(["build", "--locked", "--package", "carbon-local"])
                .args(["--profile", profile])
                .current_dir(&checkout.root);
            step.run(&mut build)?;
            // A separate copy: the tests may relink the original under a running service.
            let built = checkout.target_dir().join(folder).join("carbon-local");
            let copy = carbon_local(checkout);
            let version = stamp::version_of(&built);
            let note = copy.with_extension("stamp");
            if !stamp::matches(&note, &version) {
                fs::create_dir_all(copy.parent().context("it lies in a folder")?)?;
                let new = copy.with_extension("new");
                fs::copy(&built, &new).with_context(|| built.display().to_string())?;
                fs::rename(&new, &copy)?;
                stamp::write(&note, &version)?;
            }
            Ok(())
        },
    )
}

/// The search path with the cargo tools first, so that cargo finds `cargo pgrx`.
pub fn path_with_tools(checkout: &Checkout) -> Result<OsString> {
    let tools = CARGO_PGRX.path(checkout);
    let tools = tools.parent().context("tools lie in a folder")?.to_owned();
    let old = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(
        std::iter::once(tools).chain(std::env::split_paths(&old)),
    )?)
}

fn paths(checkout: &Checkout, names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| checkout.path(name)).collect()
}

/// Digest of everything the installed extension depends on.
fn extension_stamp(checkout: &Checkout, postgres: &Postgres) -> Result<String> {
    let sources = [
        "pg_carbon/src",
        "pg_carbon/sql",
        "pg_carbon/Cargo.toml",
        "pg_carbon/pg_carbon.control",
        "Cargo.toml",
        "Cargo.lock",
    ];
    let server = fs::read_to_string(postgres.server.join("version"))?;
    stamp::inputs(
        &checkout.root,
        &paths(checkout, &[&DOMAIN[..], &sources[..]].concat()),
        &[&text(command("rustc").arg("--version"))?, &server],
    )
}

/// Compiles the extension and installs it into the relocated server, unless the one from these sources is
/// installed.
///
/// The old library is unlinked, not overwritten, so a running server retains it until its restart.
pub fn install_extension(checkout: &Checkout, postgres: &Postgres, build: Build) -> Result<()> {
    let inputs = extension_stamp(checkout, postgres)?;
    let file = postgres.server.join("pg_carbon.stamp");
    if build.is_current(&file, &inputs) {
        return Ok(());
    }
    let profile = match build {
        Build::Shipped => "extension",
        Build::Quick => "extension-quick",
    };
    step(
        &checkout.local.join("logs/setup"),
        "extension pg_carbon",
        Some("about 2 min when everything is new"),
        "correct what the compiler reports, then run the command again",
        |step| {
            let mut install = command("cargo");
            install
                .args(["pgrx", "install", "--profile", profile, "--pg-config"])
                .arg(postgres.bin("pg_config"))
                .current_dir(checkout.path("pg_carbon"))
                .env("PATH", path_with_tools(checkout)?)
                .env("PGRX_HOME", pgrx_home(checkout)?);
            step.run(&mut install)?;
            stamp::write(&file, &build.stamp(&inputs))
        },
    )
}

/// A settings directory for `cargo pgrx` that points to the copy of the server for its tests.
///
/// There is one such directory, and its file is not touched unnecessarily: the file's time and path decide
/// whether the bindings to PostgreSQL's headers are regenerated, which takes a minute.
pub fn pgrx_home(checkout: &Checkout) -> Result<PathBuf> {
    let home = checkout.local.join("pgrx");
    let pg_config = Postgres::of(checkout)?.test_server().join(PG_CONFIG);
    let settings = format!("[configs]\npg15 = \"{}\"\n", pg_config.display());
    let file = home.join("config.toml");
    if fs::read_to_string(&file).unwrap_or_default() != settings {
        fs::create_dir_all(&home)?;
        fs::write(&file, settings)?;
    }
    Ok(home)
}

/// Digest of the SQL that CREATE EXTENSION runs, as installed.
pub fn extension_sql(postgres: &Postgres) -> Result<String> {
    let folder = postgres.server.join("share/postgresql/15/extension");
    let mut scripts = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("pg_carbon--") && name.ends_with(".sql") {
            scripts.push(path);
        }
    }
    stamp::inputs(&folder, &scripts, &[])
}

fn worker_stamp(checkout: &Checkout, toolchain: &WasmToolchain) -> Result<String> {
    stamp::inputs(
        &checkout.root,
        &paths(checkout, &[&DOMAIN[..], &WORKER_INPUTS[..]].concat()),
        &[&toolchain.version()?],
    )
}

const WORKER_INPUTS: [&str; 8] = [
    "edge/src",
    "edge/build.rs",
    "edge/openapi.yaml",
    "edge/Cargo.toml",
    "edge/Cargo.lock",
    "edge/package-lock.json",
    "edge/wrangler.toml",
    "edge/wasm-opt.mjs",
];

/// Compiles and bundles the Worker unless `edge/build` is up to date.
pub fn build_worker(checkout: &Checkout, toolchain: &WasmToolchain, build: Build) -> Result<()> {
    let inputs = worker_stamp(checkout, toolchain)?;
    let file = checkout.path("edge/build/.stamp");
    if build.is_current(&file, &inputs) {
        return Ok(());
    }
    let kind = match build {
        Build::Shipped => "--release",
        Build::Quick => "--dev",
    };
    step(
        &checkout.local.join("logs/setup"),
        "Worker",
        Some("2 to 4 min when everything is new"),
        "correct what the compiler reports, then run the command again",
        |step| {
            let modules = checkout.path("edge/node_modules");
            let mut worker_build = command(WORKER_BUILD.path(checkout));
            worker_build
                .arg(kind)
                .current_dir(checkout.path("edge"))
                .env("WASM_BINDGEN_BIN", WASM_BINDGEN.path(checkout))
                .env("ESBUILD_BIN", modules.join(".bin/esbuild"))
                .env("WASM_OPT_BIN", checkout.path("edge/wasm-opt.mjs"));
            step.run(toolchain.apply(&mut worker_build))?;
            stamp::write(&file, &build.stamp(&inputs))
        },
    )
}

/// Digest of the built Worker, so that its service is restarted when it changes.
pub fn worker_digest(checkout: &Checkout) -> Result<String> {
    stamp::inputs(
        &checkout.root,
        &paths(
            checkout,
            &[
                "edge/build/.stamp",
                "edge/serve.mjs",
                "edge/wrangler.toml",
                "edge/package-lock.json",
            ],
        ),
        &[],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shipped_build_serves_where_a_quick_one_would_but_not_the_other_way_round() -> Result<()> {
        let file = std::env::temp_dir().join(format!("build-{}.stamp", std::process::id()));
        for (built, shipped, quick) in [(Build::Shipped, true, true), (Build::Quick, false, true)] {
            stamp::write(&file, &built.stamp("a1"))?;
            assert_eq!(Build::Shipped.is_current(&file, "a1"), shipped);
            assert_eq!(Build::Quick.is_current(&file, "a1"), quick);
            assert!(!Build::Quick.is_current(&file, "b2"), "other sources");
        }
        fs::remove_file(&file)?;
        Ok(())
    }
}
