//! Has anything changed since this was built? Digests of inputs, stored in small files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Directories of results, which are never inputs.
const NOT_INPUTS: [&str; 7] = [
    "target",
    "build",
    "node_modules",
    ".wrangler",
    ".local",
    ".git",
    "fuzz",
];

/// SHA-256 of some bytes.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digest of files and entire directories (names and contents) and of further facts such as versions.
///
/// A path that does not exist counts as empty, so its appearance changes the digest. Names are relative to
/// `root`, so that a copied checkout need not rebuild what its original has built.
pub fn inputs(root: &Path, paths: &[PathBuf], facts: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let contents = fs::read(&file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root).unwrap_or(&file);
        hash.update(name.to_string_lossy().as_bytes());
        hash.update(digest(&contents));
    }
    for fact in facts {
        hash.update([0]);
        hash.update(fact.as_bytes());
    }
    Ok(hex(&hash.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
    } else if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if !NOT_INPUTS.iter().any(|name| entry.file_name() == *name) {
                collect(&entry.path(), files)?;
            }
        }
    }
    Ok(())
}

/// Size and time of a file, for programs too large to be read at every start.
pub fn version_of(file: &Path) -> String {
    fs::metadata(file).map_or_else(
        |_| "absent".to_owned(),
        |facts| format!("{} {}.{}", facts.len(), facts.mtime(), facts.mtime_nsec()),
    )
}

/// Whether `file` contains exactly this stamp.
pub fn matches(file: &Path, stamp: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.trim() == stamp)
}

/// Writes a stamp, creating its directory if needed.
pub fn write(file: &Path, stamp: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, format!("{stamp}\n")).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_follows_contents_names_and_facts_but_not_results() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("stamp-{}", std::process::id()));
        fs::create_dir_all(folder.join("target"))?;
        fs::write(folder.join("a.rs"), "one")?;
        let paths = [folder.clone()];
        let first = inputs(&folder, &paths, &["1.95"])?;
        fs::write(folder.join("target/out"), "result")?;
        assert_eq!(first, inputs(&folder, &paths, &["1.95"])?);
        assert_ne!(first, inputs(&folder, &paths, &["1.96"])?);
        fs::write(folder.join("a.rs"), "two")?;
        assert_ne!(first, inputs(&folder, &paths, &["1.95"])?);
        fs::remove_dir_all(&folder)?;
        Ok(())
    }

    #[test]
    fn a_copy_of_the_same_files_has_the_same_digest() -> Result<()> {
        let digests = ["one", "two"].map(|name| -> Result<String> {
            let root = std::env::temp_dir().join(format!("stamp-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("src"))?;
            fs::write(root.join("src/a.rs"), "same")?;
            let digest = inputs(&root, &[root.join("src")], &[]);
            fs::remove_dir_all(&root)?;
            digest
        });
        let [one, two] = digests;
        assert_eq!(one?, two?);
        Ok(())
    }
}
