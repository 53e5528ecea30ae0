//! Checks of the documentation: links resolve, and every decision has a status and a line in the index.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use regex::Regex;

/// The directory of the decisions.
const DECISIONS: &str = "docs/decisions";

/// Checks the named Markdown files; paths are relative to the root.
pub fn check(root: &Path, files: &[PathBuf]) -> Result<()> {
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(root.join(file))?;
        let folder = root.join(file).with_file_name("");
        wrong.extend(
            broken_links(&folder, &text)?
                .into_iter()
                .map(|link| format!("{}: nothing is at {link}", file.display())),
        );
    }
    let decisions: Vec<&PathBuf> = files
        .iter()
        .filter(|file| file.starts_with(DECISIONS) && !file.ends_with("README.md"))
        .collect();
    let index = fs::read_to_string(root.join(DECISIONS).join("README.md"))?;
    for file in decisions {
        let text = fs::read_to_string(root.join(file))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if !has_status(&name, &text)? {
            wrong.push(format!(
                "{}: a decision begins with `# NNNN: title`, a blank line and `Accepted, YYYY-MM-DD.`",
                file.display()
            ));
        }
        if !index.contains(&format!("({name})")) {
            wrong.push(format!("{DECISIONS}/README.md does not list {name}"));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n    "));
    }
    Ok(())
}

/// Relative links to files that do not exist; the part after a `#` is not checked.
fn broken_links(folder: &Path, text: &str) -> Result<Vec<String>> {
    let link = Regex::new(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")?;
    Ok(link
        .captures_iter(text)
        .map(|found| found[1].to_owned())
        .filter(|target| !target.contains("://") && !folder.join(target).exists())
        .collect())
}

/// Whether a decision has the required first lines and the number of its file name.
fn has_status(name: &str, text: &str) -> Result<bool> {
    let begin = Regex::new(
        r"^# (\d{4}): \S[^\n]*\n\n(?:Accepted|Superseded (?:in part )?by [^\n]+), \d{4}-\d\d-\d\d\.\n\n",
    )?;
    Ok(begin
        .captures(text)
        .is_some_and(|found| name.starts_with(&found[1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_nothing_is_found() -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text =
            "[a](Cargo.toml) [b](src/#part) [c](#here) [d](https://example.org/x) [e](gone.md#x)";
        assert_eq!(broken_links(folder, text)?, ["gone.md"]);
        Ok(())
    }

    #[test]
    fn a_decision_begins_with_its_number_a_status_and_a_date() -> Result<()> {
        for good in [
            "# 0001: A title\n\nAccepted, 2026-11-22.\n\nText",
            "# 0001: A title\n\nSuperseded in part by [0002](0002-b.md), 2026-11-22.\n\nText",
        ] {
            assert!(has_status("0001-a.md", good)?, "{good}");
        }
        for bad in [
            "# A title\n\nAccepted, 2026-11-22.\n\nText",
            "# 0002: A title\n\nAccepted, 2026-11-22.\n\nText",
            "# 0001: A title\n\nText",
            "# 0001: A title\n\nAccepted.\n\nText",
        ] {
            assert!(!has_status("0001-a.md", bad)?, "{bad}");
        }
        Ok(())
    }
}
