//! Selects a part of a suite: `test SUITE FILTER`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Suites by name, and a filter if only part of exactly one suite is to run.
#[derive(Debug, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Names of suites; empty = all.
    pub suites: Vec<&'a str>,
    /// A part of one suite: a file, or the names of some tests.
    pub filter: Option<&'a str>,
}

impl<'a> Selection<'a> {
    /// Parses the words after `test`.
    ///
    /// Two words are a suite and a filter unless the second one names another suite: a filter may have its
    /// own suite's name, because running one suite twice makes no sense.
    pub fn parse(words: &[&'a str], known: &[&str]) -> Result<Self> {
        if let [suite, filter] = words
            && known.contains(suite)
            && (suite == filter || !known.contains(filter))
        {
            return Ok(Self {
                suites: vec![suite],
                filter: Some(filter),
            });
        }
        if let Some(unknown) = words.iter().find(|word| !known.contains(word)) {
            bail!("no suite {unknown:?}; there are {}", known.join(", "));
        }
        Ok(Self {
            suites: words.to_vec(),
            filter: None,
        })
    }
}

/// Files of a directory with the given extension for which `belongs` holds; with a filter, only those that
/// match it.
///
/// A filter is a path, a file name with or without its extension, or part of a name; an exact name takes
/// precedence, so that `limits` does not also match `limits-codes`.
pub fn files(
    folder: &Path,
    ending: &str,
    belongs: impl Fn(&str) -> bool,
    filter: Option<&str>,
) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(ending) && belongs(&name) {
            names.push(name);
        }
    }
    names.sort();
    let chosen = match filter {
        None => names,
        Some(filter) => matching(&names, ending, filter)?,
    };
    Ok(chosen.iter().map(|name| folder.join(name)).collect())
}

fn matching(names: &[String], ending: &str, filter: &str) -> Result<Vec<String>> {
    let word = filter.rsplit('/').next().unwrap_or(filter);
    let word = word.strip_suffix(ending).unwrap_or(word);
    let stem = |name: &str| name.strip_suffix(ending).unwrap_or(name).to_owned();
    let pick = |fits: &dyn Fn(&str) -> bool| -> Vec<String> {
        names
            .iter()
            .filter(|name| fits(&stem(name)))
            .cloned()
            .collect()
    };
    let exact = pick(&|stem| stem == word);
    let chosen = if exact.is_empty() && !word.is_empty() {
        pick(&|stem| stem.contains(word))
    } else {
        exact
    };
    if chosen.is_empty() {
        let stems: Vec<String> = names.iter().map(|name| stem(name)).collect();
        bail!("no file matches {filter:?}; there are {}", stems.join(", "));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["journey", "limits", "edge"];

    #[test]
    fn one_suite_and_another_word_are_a_suite_and_its_filter() -> Result<()> {
        for filter in ["etag", "js/etag.test.mjs", "journey"] {
            let selection = Selection::parse(&["journey", filter], &KNOWN)?;
            assert_eq!(selection.suites, ["journey"]);
            assert_eq!(selection.filter, Some(filter));
        }
        Ok(())
    }

    #[test]
    fn several_suites_run_whole() -> Result<()> {
        for words in [
            &[][..],
            &["edge"],
            &["journey", "limits"],
            &["edge", "limits", "journey"],
        ] {
            let selection = Selection::parse(words, &KNOWN)?;
            assert_eq!(selection.suites, words);
            assert_eq!(selection.filter, None);
        }
        Ok(())
    }

    #[test]
    fn an_unknown_suite_is_refused_with_the_known_ones() {
        for words in [&["nonsense"][..], &["edge", "limits", "nonsense"]] {
            let error = Selection::parse(words, &KNOWN).expect_err("it is refused");
            assert!(
                error
                    .to_string()
                    .contains("\"nonsense\"; there are journey"),
                "{error}"
            );
        }
    }

    fn names() -> Vec<String> {
        ["limits-codes.sql", "limits.sql", "sync.sql"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn a_file_is_named_by_path_name_stem_or_a_part_of_names() -> Result<()> {
        for (filter, expected) in [
            ("tests/js/limits.sql", vec!["limits.sql"]),
            ("limits.sql", vec!["limits.sql"]),
            ("limits", vec!["limits.sql"]),
            ("limit", vec!["limits-codes.sql", "limits.sql"]),
            ("codes", vec!["limits-codes.sql"]),
        ] {
            assert_eq!(matching(&names(), ".sql", filter)?, expected, "{filter}");
        }
        Ok(())
    }

    #[test]
    fn a_filter_that_names_no_file_is_refused_with_the_files_there_are() {
        for filter in ["nothing", "", "tests/"] {
            let error = matching(&names(), ".sql", filter).expect_err("it is refused");
            assert!(
                error.to_string().contains("limits-codes, limits, sync"),
                "{error}"
            );
        }
    }
}
