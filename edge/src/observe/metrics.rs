//! Counters of this isolate, collected until they are shown.
//!
//! Nothing here waits or calls anybody: a count is one addition in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// How much was counted, by series: name, and labels in braces, as in the Prometheus text.
pub type Sums = BTreeMap<String, u64>;

/// Upper ends of the histogram's buckets in milliseconds: the response targets of the contract are
/// among them.
pub const BUCKETS_MS: [u64; 11] = [5, 10, 25, 50, 100, 150, 200, 500, 1_000, 2_500, 10_000];
pub const DURATION: &str = "carbon_http_request_duration_seconds";
/// Requests whose time falls into one bucket and no lower one; added up when shown.
pub const DURATION_BUCKET: &str = "carbon_http_request_duration_seconds_bucket";
/// Milliseconds, shown as seconds.
pub const DURATION_SUM: &str = "carbon_http_request_duration_seconds_sum";

thread_local! {
    static COUNTS: RefCell<Sums> = const { RefCell::new(BTreeMap::new()) };
}

/// Adds to a counter. `labels` is the inside of the braces in the Prometheus text, as
/// `rule="phone_otp"`, or empty; values must come from a small fixed set and never from a caller.
pub fn add(name: &'static str, labels: &str, by: u64) {
    COUNTS.with_borrow_mut(|counts| {
        let count = counts.entry(series(name, labels)).or_default();
        *count = count.saturating_add(by);
    });
}

/// Counts a call to a dependency that brought no answer, or one that says the dependency is broken.
pub fn dependency_failed(dependency: &str) {
    let label = format!(r#"dependency="{dependency}""#);
    add("carbon_dependency_errors_total", &label, 1);
}

/// Counts a finished request: its route's pattern, its method, its status and how long it took. The
/// runtime's clock stands still between calls to the outside, so that time spent computing is missing.
pub fn request(route: &str, method: &str, status: u16, milliseconds: i64) {
    let method = match method {
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" => method,
        // A caller's own words must not become series.
        _ => "other",
    };
    let label = format!(r#"route="{route}",method="{method}",status="{status}""#);
    add("carbon_http_requests_total", &label, 1);
    let milliseconds = u64::try_from(milliseconds).unwrap_or(0);
    let bucket = BUCKETS_MS.iter().position(|end| milliseconds <= *end);
    let bucket = bucket_end(bucket.unwrap_or(BUCKETS_MS.len()));
    let label = format!(r#"route="{route}",le="{bucket}""#);
    add(DURATION_BUCKET, &label, 1);
    let label = format!(r#"route="{route}""#);
    add(DURATION_SUM, &label, milliseconds);
}

/// A series as it stands in the text.
pub fn series(name: &str, labels: &str) -> String {
    if labels.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{labels}}}")
    }
}

/// The upper end of a bucket in seconds; behind the last one comes everything else.
pub fn bucket_end(bucket: usize) -> String {
    let upper = BUCKETS_MS.get(bucket);
    upper.map_or_else(|| "+Inf".to_owned(), |end| seconds(*end))
}

/// Milliseconds as seconds in decimals.
pub fn seconds(milliseconds: u64) -> String {
    let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Adds counts that could not be handed over.
pub fn put_back(sums: Sums) {
    COUNTS.with_borrow_mut(|counts| merge(counts, sums));
}

pub fn merge(sums: &mut Sums, more: Sums) {
    for (series, by) in more {
        let sum = sums.entry(series).or_default();
        *sum = sum.saturating_add(by);
    }
}

/// Takes out everything that was counted since the last time.
pub fn take() -> Sums {
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
        assert_eq!(counts[r#"a_total{rule="x"}"#], 3);
        assert_eq!(counts["a_total"], 1);
        assert!(take().is_empty());
        put_back(counts);
        add("a_total", "", 1);
        assert_eq!(take()["a_total"], 2);
    }
}
