//! `db migrate` and `db status`: forward only, checksummed, one transaction each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::postgres::psql;
use crate::process::text;
use crate::progress::{Failure, Step};
use crate::stamp;

/// Creates the ledger. Only its owner can read or write it.
const LEDGER: &str = "
create schema if not exists private;
create table if not exists private.schema_migrations (
  version text primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
);
alter table private.schema_migrations enable row level security;
revoke all on private.schema_migrations from public;
comment on table private.schema_migrations is
  'Which migrations ran, with the SHA-256 of each file; written by cargo xtask db migrate';
";

/// Serialises concurrent runs: any constant works, as long as it is the same in all of them.
const LOCK: &str = "select pg_advisory_xact_lock(7331202611)";

/// One file of `migrations/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Fourteen digits, a UTC time.
    version: String,
    name: String,
    path: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    checksum: String,
}

impl Migration {
    /// Fourteen digits, a UTC time.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Reads the directory, sorted by version.
pub fn load(folder: &Path) -> Result<Vec<Migration>> {
    let mut migrations: Vec<Migration> = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "sql") {
            continue;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let (version, name) = parse_name(&stem).with_context(|| {
            format!(
                "{}: a migration is named YYYYMMDDHHMMSS_topic.sql",
                path.display()
            )
        })?;
        migrations.push(Migration {
            checksum: stamp::hex(&stamp::digest(&fs::read(&path)?)),
            version,
            name,
            path,
        });
    }
    migrations.sort_by(|one, other| one.version.cmp(&other.version));
    if let Some(pair) = migrations
        .windows(2)
        .find(|pair| pair[0].version == pair[1].version)
    {
        bail!("two migrations have the version {}", pair[0].version);
    }
    Ok(migrations)
}

/// Version and topic of a file name without its extension.
pub fn parse_name(stem: &str) -> Option<(String, String)> {
    let (version, name) = stem.split_once('_')?;
    let digits = version.len() == 14 && version.bytes().all(|byte| byte.is_ascii_digit());
    let word = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    (digits && word).then(|| (version.to_owned(), name.to_owned()))
}

/// The content of the ledger: version → checksum and time.
type Applied = BTreeMap<String, (String, String)>;

fn applied(url: &str) -> Result<Applied> {
    let found = text(psql(url).args([
        "--tuples-only",
        "--no-align",
        "--command",
        "select to_regclass('private.schema_migrations') is not null",
    ]))?;
    if found != "t" {
        return Ok(Applied::new());
    }
    let rows = text(psql(url).args([
        "--tuples-only",
        "--no-align",
        "--field-separator= ",
        "--command",
        "select version, checksum, to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') \
         from private.schema_migrations order by version",
    ]))?;
    rows.lines()
        .map(|row| {
            let mut words = row.splitn(3, ' ');
            let mut next = || words.next().map(str::to_owned).context("a ledger row");
            Ok((next()?, (next()?, next()?)))
        })
        .collect()
}

/// The pending migrations; refuses anything that is not a plain step forward.
fn pending<'a>(migrations: &'a [Migration], applied: &Applied) -> Result<Vec<&'a Migration>> {
    for (version, (checksum, _)) in applied {
        match migrations.iter().find(|file| file.version == *version) {
            None => {
                return Err(refusal(
                    format!("The database has migration {version}, of which there is no file here"),
                    "use the sources that the database was last migrated with, or newer ones",
                ));
            }
            Some(file) if file.checksum != *checksum => {
                return Err(refusal(
                    format!(
                        "{} was edited after it was applied (its checksum differs)",
                        file.path.display()
                    ),
                    "put the file back as it was and write the change as a new migration; \
                     on a local database that holds nothing of value: `cargo xtask db reset`",
                ));
            }
            Some(_) => {}
        }
    }
    let newest = applied.keys().next_back();
    let mut pending = Vec::new();
    for file in migrations {
        if applied.contains_key(&file.version) {
            continue;
        }
        if newest.is_some_and(|newest| file.version < *newest) {
            return Err(refusal(
                format!(
                    "{} is older than the newest applied migration",
                    file.path.display()
                ),
                "give it a later version: migrations only go forward; \
                 on a local database that holds nothing of value: `cargo xtask db reset`",
            ));
        }
        pending.push(file);
    }
    Ok(pending)
}

fn refusal(what: String, advice: &str) -> anyhow::Error {
    Failure {
        what,
        log: None,
        advice: advice.to_owned(),
    }
    .into()
}

/// The number of pending migrations; refuses in the same cases as `migrate`.
pub fn count_pending(folder: &Path, url: &str) -> Result<usize> {
    Ok(pending(&load(folder)?, &applied(url)?)?.len())
}

/// Applies pending migrations, one transaction each; returns their names.
pub fn migrate(folder: &Path, url: &str, step: &Step) -> Result<Vec<String>> {
    let migrations = load(folder)?;
    let applied = applied(url)?;
    let pending = pending(&migrations, &applied)?;
    if pending.is_empty() {
        return Ok(Vec::new());
    }
    step.run(psql(url).args([
        "--single-transaction",
        "--command=set client_min_messages = warning",
        "--command",
        LOCK,
        "--command",
        LEDGER,
    ]))?;
    for migration in &pending {
        // The ledger row comes first: a concurrent run that waited for the lock fails on its key.
        let row = format!(
            "insert into private.schema_migrations (version, name, checksum) \
             values ('{}', '{}', '{}')",
            migration.version, migration.name, migration.checksum
        );
        step.run(
            psql(url)
                .args(["--single-transaction", "--command", LOCK, "--command"])
                .arg(row)
                .arg("--file")
                .arg(&migration.path),
        )
        .with_context(|| format!("{} (nothing of it was applied)", migration.path.display()))?;
    }
    // PostgREST caches the schema until it is notified.
    step.run(psql(url).args(["--command", "notify pgrst, 'reload schema'"]))?;
    Ok(pending
        .iter()
        .map(|migration| format!("{}_{}", migration.version, migration.name))
        .collect())
}

/// Prints each migration with the time it was applied, or why it cannot be applied.
pub fn status(folder: &Path, url: &str) -> Result<()> {
    let migrations = load(folder)?;
    let applied = applied(url)?;
    for migration in &migrations {
        let state = match applied.get(&migration.version) {
            Some((checksum, at)) if *checksum == migration.checksum => format!("applied {at} UTC"),
            Some(_) => "EDITED after it was applied".to_owned(),
            None => "pending".to_owned(),
        };
        println!("  {}_{:<40} {state}", migration.version, migration.name);
    }
    for version in applied.keys() {
        if !migrations.iter().any(|file| file.version == *version) {
            println!("  {version}_{:<40} applied, no file here", "?");
        }
    }
    pending(&migrations, &applied).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: &str, checksum: &str) -> Migration {
        Migration {
            version: version.to_owned(),
            name: "topic".to_owned(),
            path: PathBuf::from(format!("migrations/{version}_topic.sql")),
            checksum: checksum.to_owned(),
        }
    }

    fn ledger(rows: &[(&str, &str)]) -> Applied {
        rows.iter()
            .map(|(version, checksum)| {
                (
                    (*version).to_owned(),
                    ((*checksum).to_owned(), String::new()),
                )
            })
            .collect()
    }

    #[test]
    fn names_are_a_time_and_a_topic() {
        assert!(parse_name("20260101120000_first_tables").is_some());
        for bad in [
            "2026_x",
            "20260101120000",
            "20260101120000_",
            "20260101120000_A b",
        ] {
            assert!(parse_name(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_newer_files_are_pending() -> Result<()> {
        let files = [file("1", "a"), file("2", "b"), file("3", "c")];
        let applied = ledger(&[("1", "a")]);
        let names: Vec<&str> = pending(&files, &applied)?
            .iter()
            .map(|file| file.version.as_str())
            .collect();
        assert_eq!(names, ["2", "3"]);
        Ok(())
    }

    #[test]
    fn an_edited_file_is_refused_by_name() {
        let error = pending(&[file("1", "changed")], &ledger(&[("1", "a")]))
            .expect_err("it is refused")
            .to_string();
        assert!(error.contains("1_topic.sql was edited"), "{error}");
    }

    #[test]
    fn a_file_older_than_the_newest_applied_is_refused() {
        let error = pending(&[file("1", "a"), file("2", "b")], &ledger(&[("2", "b")]))
            .expect_err("it is refused")
            .to_string();
        assert!(error.contains("1_topic.sql is older"), "{error}");
    }

    #[test]
    fn a_database_ahead_of_the_files_is_refused() {
        assert!(pending(&[], &ledger(&[("1", "a")])).is_err());
    }
}
