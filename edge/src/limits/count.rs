//! Counting requests (contract §4), and what a refusal says.
//!
//! A signed-in user and a connecting address are counted by one Durable Object each, asked in parallel. A refusal holds
//! until the window's end, so this isolate remembers it until then: a flood costs no calls to objects, and nothing is
//! refused that the object would have counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use futures_util::future::join;

use super::rules::{Limits, Rule};
use crate::app::App;
use crate::clock::{iso_ms, now_ms};
use crate::crypto::otp_id::OtpKeys;
use crate::error::ApiError;
use crate::messages::{self, LocalizedText};
use crate::observe::metrics;
use crate::storage::subject_do::send_command;
use crate::storage::subject_state::{Command, RateRule, SubjectReply};

/// Refusals that an isolate remembers; when there are more it forgets all, and asks the objects again.
const MAX_REMEMBERED: usize = 10_000;

/// The name under which a connecting address is counted: a keyed hash, so that no address is stored.
/// An IPv6 address counts as its /64, which is what one line gets. `None` if it is not an address.
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
    limits: Limits,
    address: Option<&str>,
    user_id: Option<&str>,
) -> Result<(), ApiError> {
    if app.config.no_limits {
        return Ok(());
    }
    let user = user_id
        .filter(|_| !limits.user.is_empty())
        .map(|user_id| format!("user/{user_id}"));
    let address = match limits.address {
        [] => None,
        _ => Some(connecting_subject(app, address)?),
    };
    let subjects = [(user, limits.user), (address, limits.address)];
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

/// The subject of the address that Cloudflare saw. A request without one is refused: it did not come through
/// Cloudflare.
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
    let rules_to_count = rules.iter().map(|rule| RateRule {
        rule: rule.name.to_owned(),
        limit: rule.limit,
        window_ms: i64::from(rule.window_secs) * 1000,
    });
    match send_command(app, &name, &Command::Count(rules_to_count.collect())).await? {
        SubjectReply::Counted | SubjectReply::Counts(_) => Ok(()),
        SubjectReply::Refused {
            rule,
            limit,
            reset_at_ms,
        } => {
            let refused_rule = rules.iter().find(|candidate| candidate.name == rule);
            let rule = refused_rule.map_or("other", |rule| rule.name);
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

/// A refusal with this text; `reset_at_ms` is when the limit is free again.
pub fn refusal(text: LocalizedText, limit: u32, reset_at_ms: i64) -> ApiError {
    let wait_secs = wait_secs(reset_at_ms, now_ms());
    ApiError::rate_limited(text, limit.into(), wait_secs, &iso_ms(reset_at_ms))
}

/// Full seconds until then, rounded up, so that a client that waits them does not come too early.
fn wait_secs(reset_at_ms: i64, now_ms: i64) -> i64 {
    (reset_at_ms - now_ms + 999) / 1000
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

/// Of the rules that this isolate remembers as used up for a subject, the one that is free last, and when.
fn remembered<'a>(subject: &str, rules: &'a [Rule], now_ms: i64) -> Option<(&'a Rule, i64)> {
    REFUSED.with_borrow(|refusals| {
        if refusals.is_empty() {
            return None;
        }
        let spent = rules.iter().filter_map(|rule| {
            let until_ms = refusals.get(&(rule.name, subject.to_owned()))?;
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
    use crate::limits::rules::{BATCH, ENTRY_CREATION, MIGRATION};

    #[test]
    fn a_refusal_is_remembered_for_its_subject_and_rule_until_the_window_ends() {
        let spent = |subject, now_ms| {
            let spent = remembered(subject, MIGRATION.user, now_ms);
            spent.map(|(rule, until_ms)| (rule.name, until_ms))
        };
        assert_eq!(spent("user/a", 0), None);
        remember("user/a".to_owned(), "migration_hour", 1_000);
        assert_eq!(spent("user/a", 999), Some(("migration_hour", 1_000)));
        assert_eq!(spent("user/a", 1_000), None);
        assert_eq!(spent("user/b", 999), None);
        assert!(remembered("user/a", ENTRY_CREATION.user, 999).is_none());
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
        assert!(remembered(&format!("user/{MAX_REMEMBERED}"), BATCH.user, 0).is_some());
    }

    #[test]
    fn a_client_that_waits_the_seconds_of_the_answer_comes_when_the_limit_is_free() {
        for (left_ms, secs) in [(1, 1), (1_000, 1), (1_001, 2), (60_000, 60)] {
            assert_eq!(wait_secs(5_000 + left_ms, 5_000), secs);
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
