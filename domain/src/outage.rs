//! Which failures of PostgreSQL mean that it is unavailable or overloaded, not that the statement is wrong.

/// SQLSTATEs of a statement that was interrupted: timeout or cancellation, lock not available, serialization, deadlock.
const INTERRUPTED: [&str; 4] = ["57014", "55P03", "40001", "40P01"];

/// Prefixes of SQLSTATEs of a statement that could not begin or continue: shutdown, connection, resources, I/O.
const UNAVAILABLE: [&str; 4] = ["57P", "08", "53", "58"];

/// Whether a statement that failed with this SQLSTATE may succeed later unchanged.
#[must_use]
pub fn is_outage(sqlstate: &str) -> bool {
    INTERRUPTED.contains(&sqlstate) || UNAVAILABLE.iter().any(|class| sqlstate.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_statement_or_one_that_could_not_begin_is_an_outage() {
        for sqlstate in [
            "57014", "55P03", "40001", "40P01", "57P01", "57P03", "08006", "53300", "58030",
        ] {
            assert!(is_outage(sqlstate), "{sqlstate}");
        }
    }

    #[test]
    fn a_mistake_a_refusal_and_a_bug_are_not_outages() {
        for sqlstate in [
            "22023", "23505", "42501", "55000", "40000", "57000", "XX000", "P0001", "PT429", "",
        ] {
            assert!(!is_outage(sqlstate), "{sqlstate}");
        }
    }
}
