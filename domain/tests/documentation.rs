//! docs/error-codes.md lists all errors, and SQL raises no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use carbon_domain::{DomainError, Lang, limits, time};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn migrations() -> Vec<(PathBuf, String)> {
    fs::read_dir(repository().join("migrations"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

fn table() -> String {
    let row = |error: &DomainError| {
        let field = error
            .field()
            .map_or(String::new(), |field| format!("`{field}`"));
        let (english, thai) = (error.message(Lang::En), error.message(Lang::Th));
        format!("| `{}` | {field} | {english} | {thai} |", error.token())
    };
    DomainError::ALL
        .iter()
        .map(row)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_documentation_lists_every_error() {
    let page = fs::read_to_string(repository().join("docs/error-codes.md")).unwrap();
    let table = table();
    assert!(
        page.contains(&table),
        "docs/error-codes.md differs from the code; its table must be:\n{table}"
    );
    assert_eq!(
        page.matches("| `carbon.").count(),
        DomainError::ALL.len(),
        "docs/error-codes.md lists an error that does not exist"
    );
}

#[test]
fn every_error_that_sql_raises_is_known() {
    let mut raised = 0;
    for (path, sql) in migrations() {
        let calls = sql.split("raise_error('").skip(1);
        for rest in calls.chain(sql.split("raise_limit('").skip(1)) {
            let token = rest.split('\'').next().unwrap();
            let error = DomainError::from_token(token);
            assert!(error.is_some(), "{token} in {}", path.display());
            raised += 1;
        }
    }
    assert!(raised > 10, "only {raised} errors found in migrations/");
}

#[test]
fn every_sqlstate_of_our_own_is_listed() {
    let page = fs::read_to_string(repository().join("docs/error-codes.md")).unwrap();
    let listed: BTreeSet<&str> = page
        .split("| `CP")
        .skip(1)
        .map(|rest| rest.split('`').next().unwrap())
        .collect();
    let migrations: Vec<String> = migrations().into_iter().map(|(_, sql)| sql).collect();
    let used: BTreeSet<&str> = migrations
        .iter()
        .flat_map(|sql| sql.split("'CP").skip(1))
        .map(|rest| rest.split('\'').next().unwrap())
        .collect();
    assert_eq!(listed, used, "docs/error-codes.md and migrations/");
}

#[test]
fn sql_asks_for_limits_and_the_default_time_zone_instead_of_repeating_them() {
    let repeated: Vec<String> = limits::ALL
        .iter()
        .filter(|(_, limit)| *limit >= 1_000)
        .map(|(_, limit)| format!("> {limit}"))
        .chain([format!("'{}'", time::DEFAULT_TIME_ZONE)])
        .collect();
    for (path, sql) in migrations() {
        for line in sql.lines().filter(|line| !line.trim().starts_with("--")) {
            for text in &repeated {
                // 1000 is no part of 100000.
                let is_repeated = line.match_indices(text).any(|(at, _)| {
                    let rest = &line[at + text.len()..];
                    !rest.starts_with(|next: char| next.is_ascii_digit())
                });
                assert!(!is_repeated, "{}: {line}", path.display());
            }
        }
    }
}
