//! Which requests count under which rules, and for whom. Each row of the route table names one of these [`Limits`].

use carbon_domain::limits;

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;
const DAY: u32 = 24 * HOUR;

/// A number of requests in a window.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name, in metrics too. Rules with the same name share a count.
    pub name: &'static str,
    /// Requests a window.
    pub limit: u32,
    /// Length of the window, which begins with its first request.
    pub window_secs: u32,
}

/// The rules by which a route counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the signed-in user.
    pub user: &'static [Rule],
    /// For the connecting address.
    pub address: &'static [Rule],
}

const fn rule(name: &'static str, limit: u32, window_secs: u32) -> Rule {
    Rule {
        name,
        limit,
        window_secs,
    }
}

const fn address(address: &'static [Rule]) -> Limits {
    Limits { user: &[], address }
}

impl Limits {
    const fn and_user(self, user: &'static [Rule]) -> Self {
        Self { user, ..self }
    }
}

/// Health checks and the description cost nothing; hooks come from one address and are signed.
pub const UNLIMITED: Limits = address(&[]);

const AUTHENTICATION: Rule = rule("authentication", 60, MINUTE);
const ACCOUNT_MINUTE: Rule = rule("account_minute", 60, MINUTE);
const ACCOUNT_HOUR: Rule = rule("account_hour", 1_000, HOUR);

pub const SIGN_IN: Limits = address(&[AUTHENTICATION, ACCOUNT_MINUTE, ACCOUNT_HOUR]);
/// An anonymous sign-up makes an account out of nothing, and a user needs one for each installation: a carrier's
/// address with thousands of users behind it sees a few in an hour.
pub const ANONYMOUS_SIGN_UP: Limits = address(&[
    rule("anonymous_minute", 10, MINUTE),
    rule("anonymous_hour", 60, HOUR),
    rule("anonymous_day", 300, DAY),
    AUTHENTICATION,
    ACCOUNT_MINUTE,
    ACCOUNT_HOUR,
]);
pub const OPERATOR: Limits = address(&[AUTHENTICATION]);
pub const ACCOUNT: Limits = address(&[ACCOUNT_MINUTE, ACCOUNT_HOUR]);
/// Dry runs and roll-backs count like imports.
pub const MIGRATION: Limits = ACCOUNT.and_user(&[
    rule("migration_hour", limits::IMPORTS_PER_HOUR, HOUR),
    rule("migration_day", limits::IMPORTS_PER_DAY, DAY),
]);
pub const WASTE: Limits = address(&[
    rule("waste_minute", 100, MINUTE),
    rule("waste_hour", 2_000, HOUR),
]);
pub const ENTRY_CREATION: Limits =
    WASTE.and_user(&[rule("entry_creation", limits::CREATES_PER_HOUR, HOUR)]);
pub const BATCH: Limits = WASTE.and_user(&[rule("batch", limits::BATCHES_PER_HOUR, HOUR)]);
const BOARDS: &[Rule] = &[rule("leaderboard", 120, HOUR)];
pub const WASTE_BOARD: Limits = WASTE.and_user(BOARDS);
pub const GAMIFICATION: Limits = address(&[
    rule("gamification_minute", 200, MINUTE),
    rule("gamification_hour", 5_000, HOUR),
]);
pub const GAMIFICATION_BOARD: Limits = GAMIFICATION.and_user(BOARDS);
const FRIEND_LISTS: &[Rule] = &[rule("friends", 120, HOUR)];
const FRIEND_REQUESTS: &[Rule] = &[rule(
    "friend_requests",
    limits::FRIEND_REQUESTS_PER_HOUR,
    HOUR,
)];
pub const GAMIFICATION_FRIENDS: Limits = GAMIFICATION.and_user(FRIEND_LISTS);
pub const GAMIFICATION_FRIEND_REQUEST: Limits = GAMIFICATION.and_user(FRIEND_REQUESTS);
/// What users do with one another counts for an address like the rest of their game.
pub const SOCIAL: Limits = address(&[
    rule("social_minute", 200, MINUTE),
    rule("social_hour", 5_000, HOUR),
]);
pub const SOCIAL_BOARD: Limits = SOCIAL.and_user(BOARDS);
const FEED: &[Rule] = &[rule("feed", 120, HOUR)];
pub const GAMIFICATION_FEED: Limits = GAMIFICATION.and_user(FEED);
pub const SOCIAL_FEED: Limits = SOCIAL.and_user(FEED);
pub const SOCIAL_FRIENDS: Limits = SOCIAL.and_user(FRIEND_LISTS);
pub const FRIEND_REQUEST: Limits = SOCIAL.and_user(FRIEND_REQUESTS);
pub const PERSON_LOOKUP: Limits = SOCIAL.and_user(&[rule(
    "person_lookups",
    limits::PERSON_LOOKUPS_PER_HOUR,
    HOUR,
)]);
pub const REFERRAL_REDEEM: Limits =
    SOCIAL.and_user(&[rule("referral_redeem", limits::REDEEMS_PER_HOUR, HOUR)]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::ROUTES;
    use std::collections::BTreeMap;

    fn limits_of(method: &str, pattern: &str) -> Limits {
        let route = ROUTES
            .iter()
            .find(|route| route.method == method && route.pattern == pattern);
        route.expect("the route exists").limits
    }

    fn names(rules: &[Rule]) -> Vec<&'static str> {
        rules.iter().map(|rule| rule.name).collect()
    }

    #[test]
    fn each_area_has_the_ceilings_of_the_contract() {
        for route in ROUTES {
            let expected: &[(u32, u32)] = match route.pattern.split('/').nth(1) {
                _ if route.pattern.ends_with("/health") => &[],
                Some("auth") => &[(60, 60), (60, 60), (1_000, 3_600)],
                Some("operator") => &[(60, 60)],
                Some("user") => &[(60, 60), (1_000, 3_600)],
                Some("waste") => &[(100, 60), (2_000, 3_600)],
                Some("gamification" | "social") => &[(200, 60), (5_000, 3_600)],
                _ => &[],
            };
            let rules = route.limits.address.iter();
            let ceilings: Vec<(u32, u32)> = rules
                .filter(|rule| !rule.name.starts_with("anonymous_"))
                .map(|rule| (rule.limit, rule.window_secs))
                .collect();
            assert_eq!(ceilings, expected, "{} {}", route.method, route.pattern);
        }
    }

    #[test]
    fn hooks_and_health_checks_count_for_nobody() {
        for (method, pattern) in [
            ("POST", "/hooks/send-sms"),
            ("GET", "/health/ready"),
            ("GET", "/waste/health"),
        ] {
            assert_eq!(limits_of(method, pattern), UNLIMITED, "{pattern}");
        }
    }

    #[test]
    fn anonymous_sign_ups_count_on_their_own_and_as_authentication() {
        let anonymous = names(limits_of("POST", "/auth/anonymous").address);
        let refresh = names(limits_of("POST", "/auth/refresh").address);
        for name in ["anonymous_minute", "anonymous_hour", "anonymous_day"] {
            assert!(anonymous.contains(&name), "{name}");
            assert!(!refresh.contains(&name), "{name}");
        }
        assert!(refresh.iter().all(|name| anonymous.contains(name)));
    }

    #[test]
    fn what_users_do_is_counted_by_route_and_shared_by_aliases() {
        let names = |method, pattern| names(limits_of(method, pattern).user);
        assert_eq!(names("POST", "/waste/entries"), ["entry_creation"]);
        assert!(names("GET", "/waste/entries").is_empty());
        assert_eq!(names("POST", "/waste/entries/batch"), ["batch"]);
        for pattern in ["/waste/leaderboard", "/gamification/leaderboard"] {
            assert_eq!(names("GET", pattern), ["leaderboard"]);
        }
        for pattern in ["/social/feed", "/gamification/feed"] {
            assert_eq!(names("GET", pattern), ["feed"]);
        }
        for pattern in ["/social/friends", "/gamification/friends"] {
            assert_eq!(names("GET", pattern), ["friends"]);
        }
        for pattern in ["/social/friends/request", "/gamification/friends/add"] {
            assert_eq!(names("POST", pattern), ["friend_requests"]);
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
        let windows: Vec<(u32, u32)> = MIGRATION
            .user
            .iter()
            .map(|rule| (rule.limit, rule.window_secs))
            .collect();
        assert_eq!(windows, [(10, 3_600), (30, 86_400)]);
    }

    #[test]
    fn a_rule_stands_for_one_limit_wherever_it_is_named() {
        let mut seen: BTreeMap<&str, &Rule> = BTreeMap::new();
        for route in ROUTES {
            for rule in route.limits.user.iter().chain(route.limits.address) {
                assert_eq!(*seen.entry(rule.name).or_insert(rule), rule);
            }
        }
    }
}
