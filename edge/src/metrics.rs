//! Counters of this isolate, collected until they are shown.
//!
//! Nothing here waits or calls anybody: a count is one addition in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Series of counters: the name and the inside of the braces, and how much was counted.
pub type Counts = BTreeMap<(&'static str, String), u64>;

thread_local! {
    static COUNTS: RefCell<Counts> = const { RefCell::new(BTreeMap::new()) };
}

/// Adds to a counter. `labels` is the inside of the braces in the Prometheus text, as
/// `rule="phone_otp"`, or empty; values must come from a small fixed set and never from a caller.
pub fn add(name: &'static str, labels: &str, by: u64) {
    COUNTS.with_borrow_mut(|counts| {
        let count = counts.entry((name, labels.to_owned())).or_default();
        *count = count.saturating_add(by);
    });
}

/// Takes out everything that was counted since the last time.
pub fn take() -> Counts {
    COUNTS.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_name_and_labels_until_they_are_taken() {
        add("a_total", r#"rule="x""#, 1);
        add("a_total", r#"rule="x""#, 2);
        add("a_total", "", 1);
        let counts = take();
        assert_eq!(counts[&("a_total", r#"rule="x""#.to_owned())], 3);
        assert_eq!(counts[&("a_total", String::new())], 1);
        assert!(take().is_empty());
    }
}
