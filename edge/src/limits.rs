//! Rates (contract §4): which requests count under which rules, for whom, and what a refusal says.
//!
//! A signed-in user and a connecting address are counted by one Durable Object each, asked side by
//! side. A refusal holds until the window's end, so this isolate remembers it until then: a flood
//! costs no calls to objects, and nothing is refused that the object would have counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use carbon_domain::limits;
use chrono::DateTime;
use futures_util::future::join;

use crate::call::{App, iso, now_ms};
use crate::error::ApiError;
use crate::messages::{self, Words};
use crate::metrics;
use crate::router::Route;
use crate::session::Session;
use crate::storage::otp_id::OtpKeys;
use crate::storage::subject::ask;
use crate::storage::subject_state::{Answer, Ask, Command};

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;
const DAY: u32 = 24 * HOUR;
/// Refusals that an isolate remembers; when there are more it begins anew, and asks the objects again.
const MAX_REMEMBERED: usize = 10_000;

/// So many requests in a window.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name, in metrics too. Routes with the same name share a count.
    pub name: &'static str,
    /// Requests a window.
    pub limit: u32,
    /// Length of the window, which begins with its first request.
    pub window_secs: u32,
}

const fn rule(name: &'static str, limit: u32, window_secs: u32) -> Rule {
    Rule {
        name,
        limit,
        window_secs,
    }
}

const ENTRIES: &[Rule] = &[rule("entry_creation", limits::CREATES_PER_HOUR, HOUR)];
const BATCHES: &[Rule] = &[rule("batch", limits::BATCHES_PER_HOUR, HOUR)];
const BOARDS: &[Rule] = &[rule("leaderboard", 120, HOUR)];
/// Dry runs and roll-backs count like imports.
const MIGRATIONS: &[Rule] = &[
    rule("migration_hour", limits::IMPORTS_PER_HOUR, HOUR),
    rule("migration_day", limits::IMPORTS_PER_DAY, DAY),
];

/// What one user may do, by route.
const PER_USER: &[(&str, &str, &[Rule])] = &[
    ("POST", "/waste/entries", ENTRIES),
    ("POST", "/waste/entries/batch", BATCHES),
    ("GET", "/waste/leaderboard", BOARDS),
    ("GET", "/gamification/leaderboard", BOARDS),
    ("POST", "/user/migrate-local", MIGRATIONS),
    ("DELETE", "/user/migrate-local/{batch_id}", MIGRATIONS),
];

/// What may come from one address, by the beginning of the path; the first that fits holds.
/// An anonymous sign-up makes an account out of nothing, and a person needs one for each installation: a carrier's
/// address with thousands of people behind it sees a few in an hour.
/// Hooks come from one address and are signed; health checks cost nothing.
const PER_ADDRESS: &[(&str, &[Rule])] = &[
    (
        "/auth/anonymous",
        &[
            rule("anonymous_minute", 10, MINUTE),
            rule("anonymous_hour", 60, HOUR),
            rule("anonymous_day", 300, DAY),
            rule("authentication", 60, MINUTE),
            rule("account_minute", 60, MINUTE),
            rule("account_hour", 1_000, HOUR),
        ],
    ),
    (
        "/auth/",
        &[
            rule("authentication", 60, MINUTE),
            rule("account_minute", 60, MINUTE),
            rule("account_hour", 1_000, HOUR),
        ],
    ),
    ("/operator/", &[rule("authentication", 60, MINUTE)]),
    (
        "/user/",
        &[
            rule("account_minute", 60, MINUTE),
            rule("account_hour", 1_000, HOUR),
        ],
    ),
    (
        "/waste/",
        &[
            rule("waste_minute", 100, MINUTE),
            rule("waste_hour", 2_000, HOUR),
        ],
    ),
    (
        "/gamification/",
        &[
            rule("gamification_minute", 200, MINUTE),
            rule("gamification_hour", 5_000, HOUR),
        ],
    ),
];

/// The rules by which a route counts for a user.
pub fn rules_of_user(route: &Route) -> &'static [Rule] {
    let found = PER_USER
        .iter()
        .find(|(method, pattern, _)| *method == route.method && *pattern == route.pattern);
    found.map_or(&[], |(.., rules)| rules)
}

/// The rules by which a route counts for an address.
pub fn rules_of_address(pattern: &str) -> &'static [Rule] {
    // Health checks of an area are health checks.
    if pattern.ends_with("/health") {
        return &[];
    }
    let found = PER_ADDRESS
        .iter()
        .find(|(area, _)| pattern.starts_with(area));
    found.map_or(&[], |(_, rules)| rules)
}

/// The name under which a connecting address is counted: a keyed hash, so that no address is kept.
/// An IPv6 address counts as its /64, which is what one line gets. `None` if it is no address.
pub fn subject_of_address(keys: &OtpKeys, address: &str) -> Option<String> {
    let prefix = match address.trim().parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => network(address).to_vec(),
    };
    Some(keys.subject("address", &prefix))
}

fn network(address: Ipv6Addr) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&address.octets()[..8]);
    prefix
}

/// Counts a request for its user and its address.
///
/// # Errors
/// `RATE_LIMITED`; `SERVICE_UNAVAILABLE` if it cannot be counted.
pub async fn check(
    app: &App,
    route: &Route,
    address: Option<&str>,
    session: Option<&Session>,
) -> Result<(), ApiError> {
    if app.config.no_limits {
        return Ok(());
    }
    let user_rules = rules_of_user(route);
    let user = session
        .filter(|_| !user_rules.is_empty())
        .map(|session| format!("user/{}", session.user_id));
    let address_rules = rules_of_address(route.pattern);
    let address = match address_rules {
        [] => None,
        _ => Some(connecting_subject(app, address)?),
    };
    let subjects = [(user, user_rules), (address, address_rules)];
    for (name, rules) in &subjects {
        let spent = name
            .as_ref()
            .and_then(|name| remembered(name, rules, now_ms()));
        if let Some((rule, until_ms)) = spent {
            return Err(refused(rule.name, rule.limit, until_ms));
        }
    }
    let [user, address] = subjects.map(|(name, rules)| count(app, name, rules));
    let (user, address) = join(user, address).await;
    user.and(address)
}

/// The subject of the address that Cloudflare saw. Without one nothing is let in: the Worker was then
/// reached by a way that nobody has thought of.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`
pub fn connecting_subject(app: &App, address: Option<&str>) -> Result<String, ApiError> {
    address
        .and_then(|address| subject_of_address(&app.config.otp_keys, address))
        .ok_or_else(|| ApiError::unavailable("no connecting address"))
}

async fn count(app: &App, name: Option<String>, rules: &[Rule]) -> Result<(), ApiError> {
    let Some(name) = name else {
        return Ok(());
    };
    let asks = rules.iter().map(|rule| Ask {
        rule: rule.name.to_owned(),
        limit: rule.limit,
        window_ms: i64::from(rule.window_secs) * 1000,
    });
    match ask(app, &name, &Command::Count(asks.collect())).await? {
        Answer::Counted | Answer::Seen(_) => Ok(()),
        Answer::Refused {
            rule,
            limit,
            reset_at_ms,
        } => {
            let known = rules.iter().find(|known| known.name == rule);
            let rule = known.map_or("other", |rule| rule.name);
            remember(name, rule, reset_at_ms);
            Err(refused(rule, limit, reset_at_ms))
        }
    }
}

fn refused(rule: &str, limit: u32, reset_at_ms: i64) -> ApiError {
    let label = format!(r#"rule="{rule}""#);
    metrics::add("carbon_limit_refusals_total", &label, 1);
    refusal(messages::RATE_LIMITED, limit, reset_at_ms)
}

/// A refusal in the given words; `reset_at_ms` is when the limit is free again.
pub fn refusal(words: Words, limit: u32, reset_at_ms: i64) -> ApiError {
    let wait_secs = wait_secs(reset_at_ms, now_ms());
    ApiError::rate_limited(words, limit.into(), wait_secs, &time(reset_at_ms))
}

/// Whole seconds until then, so that whoever waits them does not come too early.
fn wait_secs(reset_at_ms: i64, now_ms: i64) -> i64 {
    (reset_at_ms - now_ms + 999) / 1000
}

/// An instant (milliseconds since 1970) as answers show it.
pub fn time(at_ms: i64) -> String {
    iso(DateTime::from_timestamp_millis(at_ms).unwrap_or_default())
}

/// When refusals end (milliseconds since 1970), by rule and subject.
type Refusals = BTreeMap<(&'static str, String), u64>;

thread_local! {
    static REFUSED: RefCell<Refusals> = const { RefCell::new(BTreeMap::new()) };
}

fn remember(subject: String, rule: &'static str, reset_at_ms: i64) {
    REFUSED.with_borrow_mut(|refused| {
        if refused.len() >= MAX_REMEMBERED {
            refused.clear();
        }
        *refused.entry((rule, subject)).or_default() = reset_at_ms.unsigned_abs();
    });
}

/// The rule that is spent longest for a subject, as far as this isolate knows, and until when.
fn remembered<'a>(subject: &str, rules: &'a [Rule], now_ms: i64) -> Option<(&'a Rule, i64)> {
    REFUSED.with_borrow(|known| {
        if known.is_empty() {
            return None;
        }
        let spent = rules.iter().filter_map(|rule| {
            let until_ms = known.get(&(rule.name, subject.to_owned()))?;
            Some((rule, until_ms.cast_signed()))
        });
        spent
            .max_by_key(|(_, until_ms)| *until_ms)
            .filter(|(_, until_ms)| *until_ms > now_ms)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::ROUTES;

    fn rules_of(method: &str, pattern: &str) -> (Vec<&'static str>, Vec<(u32, u32)>) {
        let route = ROUTES
            .iter()
            .find(|route| route.method == method && route.pattern == pattern)
            .unwrap();
        let user = rules_of_user(route).iter().map(|rule| rule.name);
        let address = rules_of_address(pattern).iter();
        let address = address.map(|rule| (rule.limit, rule.window_secs));
        (user.collect(), address.collect())
    }

    #[test]
    fn each_area_has_the_ceilings_of_the_contract() {
        let ceilings = |method, pattern| rules_of(method, pattern).1;
        assert_eq!(
            ceilings("POST", "/auth/verify-otp"),
            [(60, 60), (60, 60), (1_000, 3_600)]
        );
        assert_eq!(ceilings("GET", "/user/profile"), [(60, 60), (1_000, 3_600)]);
        assert_eq!(
            ceilings("GET", "/waste/categories"),
            [(100, 60), (2_000, 3_600)]
        );
        assert_eq!(
            ceilings("GET", "/gamification/profile"),
            [(200, 60), (5_000, 3_600)]
        );
        assert_eq!(
            ceilings("POST", "/gamification/achievement/check"),
            [(200, 60), (5_000, 3_600)]
        );
        for (method, pattern) in [("POST", "/hooks/send-sms"), ("GET", "/health/ready")] {
            assert_eq!(rules_of(method, pattern), (vec![], vec![]));
        }
        assert!(rules_of_address("/waste/health").is_empty());
    }

    #[test]
    fn anonymous_sign_ups_are_counted_by_themselves_and_as_authentication() {
        let names = |pattern| rules_of_address(pattern).iter().map(|rule| rule.name);
        let anonymous: Vec<_> = names("/auth/anonymous").collect();
        for name in ["anonymous_minute", "anonymous_hour", "anonymous_day"] {
            assert!(anonymous.contains(&name), "{name}");
            assert!(names("/auth/refresh").all(|other| other != name), "{name}");
        }
        assert!(names("/auth/refresh").all(|name| anonymous.contains(&name)));
    }

    #[test]
    fn what_users_do_is_counted_by_route_and_shared_by_aliases() {
        let names = |method, pattern| rules_of(method, pattern).0;
        assert_eq!(names("POST", "/waste/entries"), ["entry_creation"]);
        assert!(names("GET", "/waste/entries").is_empty());
        assert_eq!(names("POST", "/waste/entries/batch"), ["batch"]);
        for pattern in ["/waste/leaderboard", "/gamification/leaderboard"] {
            assert_eq!(names("GET", pattern), ["leaderboard"]);
        }
        for (method, pattern) in [
            ("POST", "/user/migrate-local"),
            ("DELETE", "/user/migrate-local/{batch_id}"),
        ] {
            assert_eq!(names(method, pattern), ["migration_hour", "migration_day"]);
        }
    }

    #[test]
    fn imports_are_counted_by_the_hour_and_by_the_day() {
        let windows: Vec<(u32, u32)> = MIGRATIONS
            .iter()
            .map(|rule| (rule.limit, rule.window_secs))
            .collect();
        assert_eq!(windows, [(10, 3_600), (30, 86_400)]);
    }

    #[test]
    fn a_refusal_is_remembered_for_its_subject_and_rule_until_the_window_ends() {
        let spent = |subject, now_ms| {
            let spent = remembered(subject, MIGRATIONS, now_ms);
            spent.map(|(rule, until_ms)| (rule.name, until_ms))
        };
        assert_eq!(spent("user/a", 0), None);
        remember("user/a".to_owned(), "migration_hour", 1_000);
        assert_eq!(spent("user/a", 999), Some(("migration_hour", 1_000)));
        assert_eq!(spent("user/a", 1_000), None);
        assert_eq!(spent("user/b", 999), None);
        assert!(remembered("user/a", ENTRIES, 999).is_none());
        // Of several the one that is free last.
        remember("user/a".to_owned(), "migration_day", 5_000);
        assert_eq!(spent("user/a", 999), Some(("migration_day", 5_000)));
    }

    #[test]
    fn an_isolate_remembers_a_bounded_number_of_refusals() {
        for n in 0..=MAX_REMEMBERED {
            remember(format!("user/{n}"), "batch", 1_000);
            // One more than it remembers, and it begins again.
            let count = if n < MAX_REMEMBERED { n + 1 } else { 1 };
            assert_eq!(REFUSED.with_borrow(BTreeMap::len), count);
        }
        assert!(remembered(&format!("user/{MAX_REMEMBERED}"), BATCHES, 0).is_some());
    }

    #[test]
    fn who_waits_the_seconds_that_are_said_comes_when_it_is_free() {
        for (left_ms, secs) in [(1, 1), (1_000, 1), (1_001, 2), (60_000, 60)] {
            assert_eq!(wait_secs(5_000 + left_ms, 5_000), secs);
        }
        assert_eq!(time(1_800_000_000_123), "2027-01-15T08:00:00.123Z");
    }

    #[test]
    fn a_rule_stands_for_one_limit_wherever_it_is_named() {
        let user = PER_USER.iter().flat_map(|(.., rules)| *rules);
        let address = PER_ADDRESS.iter().flat_map(|(_, rules)| *rules);
        let mut seen: BTreeMap<&str, &Rule> = BTreeMap::new();
        for rule in user.chain(address) {
            assert_eq!(*seen.entry(rule.name).or_insert(rule), rule);
        }
    }

    #[test]
    fn an_ipv6_line_is_one_subject_and_an_ipv4_address_is_one() {
        let keys = OtpKeys::new("secret", &[]);
        let name = |address| subject_of_address(&keys, address);
        assert_eq!(name("2001:db8:1:2::1"), name("2001:db8:1:2:ffff::9"));
        assert_ne!(name("2001:db8:1:2::1"), name("2001:db8:1:3::1"));
        assert_ne!(name("192.0.2.1"), name("192.0.2.2"));
        assert_eq!(name("::ffff:192.0.2.1"), name("192.0.2.1"));
        assert!(name("192.0.2.1").is_some_and(|name| !name.contains("192")));
        for bad in ["", "unknown", "192.0.2.1, 192.0.2.2", "192.0.2.1:80"] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }
}
