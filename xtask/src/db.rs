//! `db`: the schema of a database, and new files in `migrations/`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::migrations;
use crate::process::{command, succeeds, text};
use crate::progress::{Failure, step};
use crate::supervisor::running;
use crate::up;

/// `db migrate|status|reset [--url URL]`.
pub fn run(checkout: &Checkout, action: &str, url: Option<&str>) -> Result<()> {
    let folder = checkout.path("migrations");
    if action == "reset" {
        if url.is_some() {
            bail!("db reset deletes everything and is for the local database only");
        }
        return up::reset_database(checkout);
    }
    let url = match url {
        Some(url) => url.to_owned(),
        None => {
            let environment = up::environment(checkout)?;
            if running(checkout, "postgres").is_none() {
                return Err(Failure {
                    what: "the local database does not run".to_owned(),
                    log: None,
                    advice: "`cargo xtask up`, or name another database: `--url postgres://…`"
                        .to_owned(),
                }
                .into());
            }
            environment.db_url("postgres")?
        }
    };
    if !succeeds(command("psql").arg("--version")) {
        bail!("psql is missing: `apt-get install postgresql-client-15`");
    }
    match action {
        "status" => migrations::status(&folder, &url),
        "migrate" => {
            let applied = step(
                &checkout.local.join("logs/setup"),
                "migrations",
                None,
                "correct what is named above; migrations applied before it stay",
                |step| migrations::migrate(&folder, &url, step),
            )?;
            if applied.is_empty() {
                println!("      nothing to do");
            }
            for name in applied {
                println!("      {name}");
            }
            Ok(())
        }
        _ => bail!("db migrate, db status, db reset or db new TOPIC"),
    }
}

/// `db new TOPIC`: an empty migration that sorts after all others.
pub fn new(checkout: &Checkout, topic: &str) -> Result<()> {
    let now = text(command("date").args(["-u", "+%Y%m%d%H%M%S"]))?;
    let file = create(&checkout.path("migrations"), topic, &now)?;
    println!(
        "  ✓ {}",
        file.strip_prefix(&checkout.root).unwrap_or(&file).display()
    );
    println!("      migrations/README.md has the conventions; `cargo xtask db migrate` applies it");
    Ok(())
}

/// The version is the current time; after a file with a later version it is the next number.
fn create(folder: &Path, topic: &str, now: &str) -> Result<std::path::PathBuf> {
    let topic = topic.to_lowercase().replace(['-', ' '], "_");
    let mut version: u64 = now.parse().with_context(|| format!("{now:?} is no time"))?;
    if let Some(newest) = migrations::load(folder)?.last() {
        version = version.max(newest.version().parse::<u64>()? + 1);
    }
    let stem = format!("{version}_{topic}");
    if migrations::parse_name(&stem).is_none() {
        bail!("a topic is made of letters a to z, digits and underscores, not {topic:?}");
    }
    let file = folder.join(format!("{stem}.sql"));
    fs::write(&file, "-- What this changes, and why.\n")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_migration_sorts_after_all_others() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("db-new-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let now = "20270102030405";
        let name = |file: std::path::PathBuf| {
            file.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let first = create(&folder, "waste photos", now)?;
        assert_eq!(
            name(first).as_deref(),
            Some("20270102030405_waste_photos.sql")
        );
        // Within the same second, or with a clock that is behind.
        for (clock, version) in [
            (now, "20270102030406"),
            ("20260101000000", "20270102030407"),
        ] {
            let next = create(&folder, "next", clock)?;
            assert_eq!(name(next), Some(format!("{version}_next.sql")));
        }
        assert!(create(&folder, "รูป", now).is_err());
        assert!(create(&folder, "", now).is_err());
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
