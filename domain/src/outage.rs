//! Which failures of PostgreSQL say that it is away or overloaded, not that something is wrong with the statement.

/// SQLSTATEs of a statement that was cut off: timeout or cancellation, lock not available, serialization, deadlock.
const CUT_OFF: [&str; 4] = ["57014", "55P03", "40001", "40P01"];

/// Beginnings of SQLSTATEs of a statement that could not begin or go on: shutdown, connection, resources, input and
/// output.
const AWAY: [&str; 4] = ["57P", "08", "53", "58"];

/// Whether a statement that failed with this SQLSTATE may succeed later as it is.
#[must_use]
pub fn is_outage(sqlstate: &str) -> bool {
    CUT_OFF.contains(&sqlstate) || AWAY.iter().any(|class| sqlstate.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_was_cut_off_or_could_not_begin_met_an_outage() {
        for sqlstate in [
            "57014", "55P03", "40001", "40P01", "57P01", "57P03", "08006", "53300", "58030",
        ] {
            assert!(is_outage(sqlstate), "{sqlstate}");
        }
    }

    #[test]
    fn a_mistake_a_refusal_and_a_bug_are_no_outage() {
        for sqlstate in [
            "22023", "23505", "42501", "55000", "40000", "57000", "XX000", "P0001", "PT429", "",
        ] {
            assert!(!is_outage(sqlstate), "{sqlstate}");
        }
    }
}
