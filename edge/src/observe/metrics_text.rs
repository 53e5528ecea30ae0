//! Sums as the text that Prometheus reads (exposition format 0.0.4).

use super::metrics::{
    BUCKETS_MS, DURATION, DURATION_BUCKET, DURATION_SUM, Sums, bucket_end, seconds, series,
};

/// A gauge: name, labels, value.
pub type Gauge = (&'static str, String, f64);

/// The counters and what they mean. Names that are not listed are shown all the same.
const HELP: [(&str, &str); 15] = [
    (
        "carbon_http_requests_total",
        "Requests by route pattern, method and status.",
    ),
    (
        "carbon_http_request_duration_seconds",
        "Time to the answer by route pattern; time spent computing between calls is not seen.",
    ),
    (
        "carbon_cache_hits_total",
        "Public answers served from the data centre's cache, stale ones excluded.",
    ),
    (
        "carbon_cache_misses_total",
        "Public answers that had to be made.",
    ),
    (
        "carbon_limit_refusals_total",
        "Requests refused by a limit (429), by rule.",
    ),
    ("carbon_otp_sent_total", "Sign-in codes sent."),
    (
        "carbon_otp_verified_total",
        "Sign-in codes that were right.",
    ),
    (
        "carbon_otp_refused_total",
        "Sign-in codes not sent or not accepted, by reason.",
    ),
    (
        "carbon_social_sign_ins_total",
        "Sign-ins by a provider's identity, by provider.",
    ),
    ("carbon_sms_sent_total", "Messages taken by the provider."),
    (
        "carbon_sms_failed_total",
        "Messages the provider did not take.",
    ),
    (
        "carbon_dependency_errors_total",
        "Calls to a dependency without a usable answer.",
    ),
    (
        "carbon_object_calls_total",
        "Calls to Durable Objects by class.",
    ),
    (
        "carbon_sms_budget_used",
        "Messages of the day's budget used.",
    ),
    (
        "carbon_sms_budget_left",
        "Messages of the day's budget left.",
    ),
];

pub fn text(sums: &Sums, gauges: &[Gauge]) -> String {
    let mut text = String::new();
    // In the order of their names, so that the series of a family stand together.
    let mut last = "";
    for (series, sum) in sums {
        let name = series.split('{').next().unwrap_or("");
        if name.starts_with(DURATION) {
            continue;
        }
        if name != last {
            head(&mut text, name, "counter");
            last = name;
        }
        line(&mut text, series, &sum.to_string());
    }
    for (name, labels, value) in gauges {
        if *name != last {
            head(&mut text, name, "gauge");
            last = name;
        }
        line(&mut text, &series(name, labels), &value.to_string());
    }
    head(&mut text, DURATION, "histogram");
    let prefix = format!("{DURATION_SUM}{{");
    for (series, milliseconds) in sums {
        if let Some(route) = series.strip_prefix(&prefix) {
            durations(&mut text, sums, route.trim_end_matches('}'), *milliseconds);
        }
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str) {
    let help = HELP.iter().find(|(listed, _)| *listed == name);
    let help = help.map_or("", |(_, help)| help);
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn line(text: &mut String, series: &str, value: &str) {
    text.push_str(&format!("{series} {value}\n"));
}

/// Buckets hold what is above the one before; shown they hold everything up to their end.
fn durations(text: &mut String, sums: &Sums, route: &str, milliseconds: u64) {
    let mut upto = 0;
    for end in 0..=BUCKETS_MS.len() {
        let labels = format!(r#"{route},le="{}""#, bucket_end(end));
        let series = series(DURATION_BUCKET, &labels);
        upto += sums.get(&series).copied().unwrap_or(0);
        line(text, &series, &upto.to_string());
    }
    line(text, &series(DURATION_SUM, route), &seconds(milliseconds));
    line(
        text,
        &format!("{DURATION}_count{{{route}}}"),
        &upto.to_string(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics;

    #[test]
    fn the_text_has_families_with_cumulative_histograms() {
        for milliseconds in [3, 7, 7, 120, 99_000] {
            metrics::request("/x", "GET", 200, milliseconds);
        }
        metrics::request("/x", "PURGE\"", 405, 0);
        let sums = metrics::take();
        let text = text(
            &sums,
            &[("carbon_sms_budget_used", r#"share="all""#.to_owned(), 2.5)],
        );
        for line in [
            "# TYPE carbon_http_request_duration_seconds histogram",
            r#"carbon_http_requests_total{route="/x",method="GET",status="200"} 5"#,
            r#"carbon_http_requests_total{route="/x",method="other",status="405"} 1"#,
            r#"carbon_http_request_duration_seconds_bucket{route="/x",le="0.005"} 2"#,
            r#"carbon_http_request_duration_seconds_bucket{route="/x",le="0.01"} 4"#,
            r#"carbon_http_request_duration_seconds_bucket{route="/x",le="10"} 5"#,
            r#"carbon_http_request_duration_seconds_bucket{route="/x",le="+Inf"} 6"#,
            r#"carbon_http_request_duration_seconds_sum{route="/x"} 99.137"#,
            r#"carbon_http_request_duration_seconds_count{route="/x"} 6"#,
            "# TYPE carbon_sms_budget_used gauge",
            r#"carbon_sms_budget_used{share="all"} 2.5"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.ends_with('\n'));
    }
}
