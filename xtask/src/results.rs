//! Results in the runners' logs: how many tests passed and failed, and which.

use crate::check::Tally;

/// Maximum number of TAP lines shown for one failed test.
const TAP_LINES: usize = 16;

/// Maximum number of lines shown for all failed tests.
const MAX_SHOWN: usize = 300;

/// The failed tests in a TAP log, each with its diagnostics.
pub fn failed_parts(log: &str) -> Vec<String> {
    let mut shown = Vec::new();
    let mut left = 0;
    for line in log.lines() {
        let words = line.trim_start();
        if words.starts_with("not ok ") {
            left = TAP_LINES;
        } else if words.starts_with("ok ") {
            left = 0;
        }
        if left > 0 && shown.len() < MAX_SHOWN {
            shown.push(line.to_owned());
            left -= 1;
        }
    }
    shown
}

/// Adds up the counts that cargo's and node's runners report in a log.
pub fn count(log: &str) -> Tally {
    let mut tally = Tally::default();
    for line in log.lines() {
        let line = line.trim();
        if let Some(result) = line.strip_prefix("test result: ") {
            tally.passed += number_before(result, " passed");
            tally.failed += number_before(result, " failed");
        } else if let Some(number) = line.strip_prefix("# pass ") {
            tally.passed += number.parse().unwrap_or(0);
        } else if let Some(number) = line.strip_prefix("# fail ") {
            tally.failed += number.parse().unwrap_or(0);
        }
    }
    tally
}

fn number_before(text: &str, word: &str) -> usize {
    text.split(word)
        .next()
        .and_then(|before| before.rsplit([' ', ';']).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// Counts the TAP lines that `pg_prove --verbose` passes on.
pub fn count_tap(log: &str) -> Tally {
    let passed = log.lines().filter(|line| line.starts_with("ok ")).count();
    let failed = log
        .lines()
        .filter(|line| line.starts_with("not ok "))
        .count();
    Tally { passed, failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_runners_are_summed() {
        let log = "test result: ok. 12 passed; 0 failed; 0 ignored\n\
                   test result: FAILED. 3 passed; 2 failed; 0 ignored\n\
                   # pass 7\n# fail 1\n";
        assert_eq!(
            count(log),
            Tally {
                passed: 22,
                failed: 3
            }
        );
    }

    #[test]
    fn failed_tests_are_picked_out_of_tap() {
        let log = "ok 1 - a\n    not ok 1 - b\n      ---\n      error: why\nok 2 - c\n  ---\n";
        assert_eq!(
            failed_parts(log),
            ["    not ok 1 - b", "      ---", "      error: why"]
        );
    }

    #[test]
    fn tap_lines_are_counted() {
        let log = "ok 1 - a\nnot ok 2 - b\n# ok\nok 3\n";
        assert_eq!(
            count_tap(log),
            Tally {
                passed: 2,
                failed: 1
            }
        );
    }
}
