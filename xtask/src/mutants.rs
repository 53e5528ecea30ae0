//! `test mutants`: changes the rules one operator at a time and checks whether a test fails
//! (cargo-mutants).
//!
//! Runs in a copy of the sources, whose build is retained. Mutants run against the fast tests first,
//! survivors against all tests. Final survivors must be listed in [`SURVIVORS`] with the reason why they
//! change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::process::{command, shown, text};
use crate::tools::CARGO_MUTANTS;

/// The accepted survivors, each with its reason.
const SURVIVORS: &str = "docs/surviving-mutants.md";

/// A test of the rules ends within seconds; a mutant that takes longer than this is in an endless loop.
const TIMEOUT_SECS: &str = "60";

/// A workspace whose rules are mutated.
struct Workspace {
    /// Directory in the repository with a trailing slash; empty for the root.
    folder: &'static str,
    package: &'static str,
    /// The path of its sources in the repository.
    sources: &'static str,
    /// Packages of pure computation, as the workspace names them.
    rules: &'static [&'static str],
    /// Exclusions, as patterns of mutants' names.
    left_out: &'static [&'static str],
}

const WORKSPACES: [Workspace; 2] = [
    Workspace {
        folder: "",
        package: "carbon-domain",
        sources: "domain/src",
        rules: &["domain/src/**/*.rs"],
        // The fuzz target's own entry, and code compiled for the Worker alone, which the Worker's tests
        // cover.
        left_out: &[
            r"domain/src/legacy/mod\.rs.*\bfuzz\b",
            r"domain/src/profile\.rs.*\bname_text\b",
        ],
    },
    Workspace {
        folder: "edge/",
        package: "carbon-edge",
        sources: "edge/src",
        rules: &[
            "src/crypto/bytes.rs",
            "src/crypto/otp_id.rs",
            "src/http/query.rs",
            "src/http/session.rs",
            "src/limits/*.rs",
            "src/routes/fields.rs",
            "src/storage/*_state.rs",
            "src/storage/number_protocol.rs",
            "src/storage/sms_budget.rs",
            "src/uuid.rs",
        ],
        // They call Durable Objects and the clock, which only a running Worker has:
        // tests/js/limits*.test.mjs cover them.
        left_out: &[
            r"src/limits/count\.rs.*(replace|in) (check|connecting_subject|count|refused|refusal)\b",
            r"src/storage/sms_budget\.rs.*(replace|in) (spend|gauges)\b",
        ],
    },
];

/// The requested mutants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    /// `(k, n)`: the k-th of n parts, k from 1.
    shard: Option<(u32, u32)>,
    /// Names or paths of source files; empty = all.
    files: Vec<String>,
}

impl Chosen {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut chosen = Self::default();
        for word in words {
            let shard = word
                .split_once('/')
                .and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
            match shard {
                Some((k, n)) if (1..=n).contains(&k) => chosen.shard = Some((k, n)),
                Some(_) => bail!("{word}: parts are counted from 1/N to N/N"),
                None if word.ends_with(".rs") => chosen.files.push((*word).to_owned()),
                None => bail!("{word} is neither a part (2/8) nor a source file (streak.rs)"),
            }
        }
        Ok(chosen)
    }

    /// The chosen files of a workspace, as it names them.
    fn files_in(&self, workspace: &Workspace, sources: &[PathBuf]) -> Vec<String> {
        sources
            .iter()
            .filter(|path| path.starts_with(workspace.sources))
            .filter(|path| self.files.iter().any(|file| path.ends_with(file)))
            .filter_map(|path| path.strip_prefix(workspace.folder).ok())
            .map(|path| path.display().to_string())
            .collect()
    }
}

/// The number of occurrences of each mutant, by its name without line and column.
type Counts = BTreeMap<String, usize>;

/// The results of the mutants.
#[derive(Debug, Default)]
struct Outcome {
    caught: Counts,
    survived: Counts,
    /// Lines and columns of the survivors, for display.
    places: Vec<String>,
    unviable: usize,
}

/// Runs the selected mutants: `2/8` for one part of all, `streak.rs` for one file's.
pub fn run(checkout: &Checkout, words: &[&str]) -> Result<()> {
    let chosen = Chosen::parse(words)?;
    CARGO_MUTANTS.ensure(checkout)?;
    let tree = checkout.target_dir().join("mutants/tree");
    let sources = copy_sources(checkout, &tree)?;
    let mut outcome = Outcome::default();
    let mut found = false;
    for workspace in &WORKSPACES {
        let files = chosen.files_in(workspace, &sources);
        if chosen.files.is_empty() || !files.is_empty() {
            found = true;
            run_workspace(checkout, workspace, &chosen, &files, &mut outcome)?;
        }
    }
    if !found {
        bail!("no source file is called {}", chosen.files.join(" or "));
    }
    let listed =
        fs::read_to_string(checkout.path(SURVIVORS)).with_context(|| SURVIVORS.to_owned())?;
    report(&outcome, &survivors(&listed)?)
}

/// Copies files that git tracks or would add; unchanged files retain their times, so that cargo does not
/// rebuild them.
fn copy_sources(checkout: &Checkout, tree: &Path) -> Result<Vec<PathBuf>> {
    let listed = text(
        command("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(&checkout.root),
    )?;
    let files: BTreeSet<PathBuf> = listed
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .filter(|path| checkout.root.join(path).is_file())
        .collect();
    for path in &files {
        let (from, to) = (checkout.root.join(path), tree.join(path));
        let content = fs::read(&from).with_context(|| from.display().to_string())?;
        if fs::read(&to).is_ok_and(|old| old == content) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        fs::write(&to, content)?;
    }
    for path in files_below(tree, tree)? {
        if !files.contains(&path) {
            fs::remove_file(tree.join(&path))?;
        }
    }
    Ok(files.into_iter().collect())
}

/// Files below a folder, as paths from `root`.
fn files_below(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(root, &path)?);
        } else {
            files.push(path.strip_prefix(root)?.to_owned());
        }
    }
    Ok(files)
}

/// One workspace's mutants: against the unit tests, then the survivors against all tests.
fn run_workspace(
    checkout: &Checkout,
    workspace: &Workspace,
    chosen: &Chosen,
    files: &[String],
    outcome: &mut Outcome,
) -> Result<()> {
    let mut args = vec!["--cargo-arg=--lib".to_owned()];
    let rules = workspace.rules.iter().map(|rule| (*rule).to_owned());
    let files = if files.is_empty() {
        rules.collect()
    } else {
        files.to_vec()
    };
    args.extend(files.iter().map(|file| format!("--file={file}")));
    args.extend(
        workspace
            .left_out
            .iter()
            .map(|name| format!("--exclude-re={name}")),
    );
    args.extend(chosen.shard.map(|(k, n)| format!("--shard={}/{n}", k - 1)));
    println!("\n{}: unit tests", workspace.package);
    let passed = run_mutants(checkout, workspace, &args, &[], outcome)?;
    if passed.is_empty() {
        return Ok(());
    }
    println!(
        "\n{}: all tests, for what the unit tests let pass",
        workspace.package
    );
    // Mutants of struct fields match every --re: exclude by file what --re does not.
    let file = |name: &String| name.split(':').next().unwrap_or_default().to_owned();
    let files: BTreeSet<String> = passed.iter().map(file).collect();
    let mut args: Vec<String> = files.iter().map(|file| format!("--file={file}")).collect();
    args.extend(
        passed
            .iter()
            .map(|name| format!("--re=^{}$", escaped(name))),
    );
    for place in run_mutants(checkout, workspace, &args, &passed, outcome)? {
        let place = format!("{}{place}", workspace.folder);
        *outcome.survived.entry(without_place(&place)).or_default() += 1;
        outcome.places.push(place);
    }
    Ok(())
}

/// Runs cargo-mutants with its output shown and counts its results for `these` (empty = all); returns the
/// mutants that survived.
fn run_mutants(
    checkout: &Checkout,
    workspace: &Workspace,
    args: &[String],
    these: &[String],
    outcome: &mut Outcome,
) -> Result<Vec<String>> {
    let build = checkout.target_dir().join("mutants");
    let report = build.join("report");
    fs::create_dir_all(&report)?;
    let mut mutants = command(CARGO_MUTANTS.path(checkout));
    mutants
        .args(["mutants", "--in-place", "--no-shuffle", "--colors=never"])
        .args(["--timeout", TIMEOUT_SECS, "--package", workspace.package])
        .args(args)
        .arg("--output")
        .arg(&report)
        .current_dir(build.join("tree").join(workspace.folder))
        .env("CARGO_TARGET_DIR", build.join("build"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    let status = mutants
        .status()
        .with_context(|| format!("cannot run `{}`", shown(&mutants)))?;
    // Survivors (exit code 2) and timeouts (3) are not failures of the tool.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        bail!("`{}` failed ({status})", shown(&mutants));
    }
    let read = |name: &str| -> Result<Vec<String>> {
        let file = report.join("mutants.out").join(name);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let lines = text.lines().map(str::to_owned);
        Ok(lines
            .filter(|line| these.is_empty() || these.contains(line))
            .collect())
    };
    for line in [read("caught.txt")?, read("timeout.txt")?].concat() {
        let name = without_place(&format!("{}{line}", workspace.folder));
        *outcome.caught.entry(name).or_default() += 1;
    }
    outcome.unviable += read("unviable.txt")?.len();
    read("missed.txt")
}

/// A pattern that matches exactly this text.
fn escaped(text: &str) -> String {
    let sign = |sign: char| match sign {
        'a'..='z' | 'A'..='Z' | '0'..='9' => sign.to_string(),
        _ => format!("\\x{{{:x}}}", u32::from(sign)),
    };
    text.chars().map(sign).collect()
}

fn without_place(line: &str) -> String {
    let mut parts = line.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(_), Some(_), Some(change)) => format!("{file}:{change}"),
        _ => line.to_owned(),
    }
}

/// The list of survivors: lines of the form "- `name`: reason" or "- `name` (2 times): reason".
fn survivors(list: &str) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in list.lines() {
        let Some(rest) = line.strip_prefix("- `") else {
            continue;
        };
        let (name, rest) = rest
            .split_once('`')
            .with_context(|| format!("{SURVIVORS}: no end of the name in {line:?}"))?;
        let (times, reason) = rest
            .split_once(": ")
            .with_context(|| format!("{SURVIVORS}: no reason in {line:?}"))?;
        let times = match times.trim() {
            "" => 1,
            times => times
                .strip_prefix('(')
                .and_then(|times| times.strip_suffix(" times)"))
                .and_then(|times| times.parse().ok())
                .with_context(|| format!("{SURVIVORS}: {line:?}"))?,
        };
        if reason.trim().is_empty() {
            bail!("{SURVIVORS}: no reason in {line:?}");
        }
        *counts.entry(name.to_owned()).or_default() += times;
    }
    Ok(counts)
}

/// Survivors that are not listed, and listed ones that were caught.
fn compare(outcome: &Outcome, listed: &Counts) -> (Vec<String>, Vec<String>) {
    let of = |counts: &Counts, name: &str| counts.get(name).copied().unwrap_or(0);
    let new = outcome
        .survived
        .iter()
        .filter(|(name, times)| **times > of(listed, name))
        .map(|(name, _)| name.clone())
        .collect();
    let gone = listed
        .iter()
        .filter(|(name, times)| {
            let survived = of(&outcome.survived, name);
            survived < **times && of(&outcome.caught, name) > 0
        })
        .map(|(name, _)| name.clone())
        .collect();
    (new, gone)
}

fn report(outcome: &Outcome, listed: &Counts) -> Result<()> {
    let total = |counts: &Counts| counts.values().sum::<usize>();
    println!(
        "\n{} caught, {} survived, {} do not compile",
        total(&outcome.caught),
        total(&outcome.survived),
        outcome.unviable
    );
    let (new, gone) = compare(outcome, listed);
    for name in &gone {
        println!("  listed in {SURVIVORS}, and caught now: {name}");
    }
    if new.is_empty() {
        return Ok(());
    }
    for place in &outcome.places {
        if new.contains(&without_place(place)) {
            println!("  no test notices: {place}");
        }
    }
    bail!(
        "write a test that says what the rule is, or list the mutant in {SURVIVORS} with the reason why it changes nothing"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(names: &[&str]) -> Counts {
        let mut counts = Counts::new();
        for name in names {
            *counts.entry((*name).to_owned()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn mutants_are_known_by_what_they_change_wherever_the_line_is() {
        assert_eq!(
            without_place("src/a.rs:1:2: replace A::f -> u8 with 0"),
            "src/a.rs: replace A::f -> u8 with 0"
        );
        assert_eq!(escaped("a.b:1"), r"a\x{2e}b\x{3a}1");
    }

    #[test]
    fn a_survivor_is_listed_with_its_reason() -> Result<()> {
        let list = "# Title\n\nWords.\n- `a: b`: because\n- `c: d` (2 times): because: of that\n";
        assert_eq!(survivors(list)?, counts(&["a: b", "c: d", "c: d"]));
        for line in ["- `a`", "- `a`: ", "- `a` (many times): why", "- `a: why"] {
            assert!(survivors(line).is_err(), "{line}");
        }
        Ok(())
    }

    #[test]
    fn a_new_survivor_is_told_from_a_listed_one_and_a_listed_one_that_is_caught_is_named() {
        let listed = counts(&["known", "twice", "caught", "not run"]);
        let outcome = Outcome {
            survived: counts(&["known", "twice", "twice", "new"]),
            caught: counts(&["caught", "known", "other"]),
            ..Outcome::default()
        };
        let (new, gone) = compare(&outcome, &listed);
        assert_eq!(new, ["new", "twice"]);
        assert_eq!(gone, ["caught"]);
    }

    #[test]
    fn parts_and_files_are_chosen() -> Result<()> {
        let chosen = Chosen::parse(&["2/8", "streak.rs", "edge/src/limits/count.rs"])?;
        assert_eq!(chosen.shard, Some((2, 8)));
        let sources = [
            "domain/src/streak.rs",
            "edge/src/limits/count.rs",
            "pg_carbon/src/streak.rs",
        ];
        let sources = sources.map(PathBuf::from);
        assert_eq!(
            chosen.files_in(&WORKSPACES[0], &sources),
            ["domain/src/streak.rs"]
        );
        assert_eq!(
            chosen.files_in(&WORKSPACES[1], &sources),
            ["src/limits/count.rs"]
        );
        for word in ["0/8", "9/8", "streak"] {
            assert!(Chosen::parse(&[word]).is_err(), "{word}");
        }
        Ok(())
    }

    #[test]
    fn the_list_in_the_repository_can_be_read() -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("it has a parent")?;
        survivors(&fs::read_to_string(root.join(SURVIVORS))?)?;
        Ok(())
    }
}
