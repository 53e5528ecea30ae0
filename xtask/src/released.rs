//! Migrations of a release never change: databases that already applied them would not get the change.

use std::path::Path;

use anyhow::{Result, bail};

use crate::process::{command, text};

/// Compares `migrations/` with the newest tag `v*` that the commit contains. Returns a reason if there is
/// no tag yet.
pub fn check(root: &Path) -> Result<Option<String>> {
    let tags = git(
        root,
        &[
            "tag",
            "--list",
            "v*",
            "--merged",
            "HEAD",
            "--sort=-version:refname",
        ],
    )?;
    let Some(tag) = tags.lines().next() else {
        return Ok(Some("no release is tagged yet (v*)".to_owned()));
    };
    let names = git(
        root,
        &["ls-tree", "-r", "--name-only", tag, "--", "migrations"],
    )?;
    let newest = names
        .lines()
        .filter(|name| name.ends_with(".sql"))
        .max()
        .unwrap_or_default();
    let differences = git(
        root,
        &[
            "diff",
            "--no-renames",
            "--name-status",
            tag,
            "--",
            "migrations/*.sql",
        ],
    )?;
    let wrong: Vec<String> = differences
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(change, name)| match change {
            "A" if name > newest => None,
            "A" => Some(format!("{name} sorts before {newest}, which {tag} has")),
            "D" => Some(format!("{name} of {tag} is missing")),
            _ => Some(format!("{name} differs from {tag}")),
        })
        .collect();
    if !wrong.is_empty() {
        bail!(
            "released migrations never change; write a new one (`cargo xtask db new TOPIC`):\n    {}",
            wrong.join("\n    ")
        );
    }
    Ok(None)
}

fn git(root: &Path, args: &[&str]) -> Result<String> {
    text(command("git").args(args).current_dir(root))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    /// A repository whose tag v0.2.0 has two migrations; v0.10.0 comes after it and has a third.
    fn repository(name: &str) -> Result<PathBuf> {
        let root = std::env::temp_dir().join(format!("released-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("migrations"))?;
        git(&root, &["init", "--quiet"])?;
        write(&root, "20270101000000_one.sql", "select 1;\n")?;
        write(&root, "20270102000000_two.sql", "select 2;\n")?;
        write(&root, "README.md", "rules\n")?;
        commit(&root)?;
        assert!(
            check(&root)?.is_some(),
            "without a tag there is nothing to compare with"
        );
        git(&root, &["tag", "v0.2.0"])?;
        write(&root, "20270103000000_three.sql", "select 3;\n")?;
        commit(&root)?;
        git(&root, &["tag", "v0.10.0"])?;
        Ok(root)
    }

    fn write(root: &Path, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(root.join("migrations").join(name), text)?)
    }

    fn commit(root: &Path) -> Result<()> {
        git(root, &["add", "--all"])?;
        let author = ["-c", "user.name=test", "-c", "user.email=test@example.org"];
        let words = ["commit", "--quiet", "--message", "db: test"];
        git(root, &[&author[..], &words[..]].concat()).map(drop)
    }

    fn refusal(root: &Path) -> String {
        check(root).expect_err("it is refused").to_string()
    }

    #[test]
    fn a_migration_added_after_the_newest_release_is_accepted() -> Result<()> {
        let root = repository("added")?;
        assert_eq!(check(&root)?, None);
        write(&root, "20270104000000_four.sql", "select 4;\n")?;
        write(&root, "README.md", "other rules\n")?;
        assert_eq!(check(&root)?, None);
        commit(&root)?;
        assert_eq!(check(&root)?, None);
        Ok(fs::remove_dir_all(&root)?)
    }

    #[test]
    fn an_edited_a_missing_and_an_inserted_migration_are_refused() -> Result<()> {
        let root = repository("changed")?;
        write(&root, "20270103000000_three.sql", "select 33;\n")?;
        assert!(
            refusal(&root).contains("three.sql differs from v0.10.0"),
            "{}",
            refusal(&root)
        );
        fs::remove_file(root.join("migrations/20270101000000_one.sql"))?;
        assert!(
            refusal(&root).contains("one.sql of v0.10.0 is missing"),
            "{}",
            refusal(&root)
        );
        write(&root, "20270102120000_between.sql", "select 0;\n")?;
        commit(&root)?;
        assert!(
            refusal(&root).contains("between.sql sorts before"),
            "{}",
            refusal(&root)
        );
        Ok(fs::remove_dir_all(&root)?)
    }
}
