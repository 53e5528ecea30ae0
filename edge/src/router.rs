//! The route table, one row an endpoint, and how a request finds its row.

use crate::error::ApiError;
use crate::http::body::BodyRule;
use crate::http::call::Call;
use crate::http::reply::Reply;
use crate::limits::rules::{self, Limits};
use crate::routes::{
    auth, community, description, feed, friends, gamification, health, hooks, identities, metrics,
    migrate, not_implemented, operator, referral, rewards, sign_in, social, stats, sync, user,
    waste,
};

/// Every path of the contract begins with this; health checks and metrics also answer without it.
const BASE: &str = "/api/v1";

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody; a token is ignored.
    Anyone,
    /// Signed-in users, and signed-out visitors, who send no token.
    Optional,
    /// Signed-in users, anonymous ones included.
    User,
}

/// One row of the table.
#[derive(Debug)]
pub struct Route {
    /// GET, POST, PUT or DELETE; HEAD is answered as GET.
    pub method: &'static str,
    /// The path after the base; `{name}` stands for one segment.
    pub pattern: &'static str,
    pub access: Access,
    pub body: BodyRule,
    pub limits: Limits,
}

/// Makes the table, and the `match` that calls a row's handler: so the future of a request is one state machine, and no
/// handler's is boxed.
macro_rules! endpoints {
    ($($method:literal $pattern:literal $access:ident $body:ident $limits:ident => $handler:path;)*) => {
        /// All routes. A trailing slash makes another path, which does not exist: one address a thing.
        pub const ROUTES: &[Route] = &[$(Route {
            method: $method,
            pattern: $pattern,
            access: Access::$access,
            body: BodyRule::$body,
            limits: rules::$limits,
        }),*];

        /// Calls the handler of a route.
        ///
        /// # Errors
        /// What the handler answers.
        pub async fn dispatch(route: &Route, call: &Call) -> Result<Reply, ApiError> {
            match (route.method, route.pattern) {
                $(($method, $pattern) => $handler(call).await,)*
                _ => Err(ApiError::not_found()),
            }
        }
    };
}

endpoints! {
//  method   path after the base                      access   body         limits                handler
    "POST"   "/auth/phone-otp"                        Optional Json         SIGN_IN            => sign_in::phone_otp;
    "POST"   "/auth/verify-otp"                       Optional Json         SIGN_IN            => sign_in::verify_otp;
    "POST"   "/auth/social/{provider}"                Optional Json         SIGN_IN            => social::sign_in;
    "GET"    "/auth/identities"                       User     Empty        SIGN_IN            => identities::list;
    "DELETE" "/auth/identities/{provider}"            User     Empty        SIGN_IN            => identities::unlink;
    "POST"   "/auth/anonymous"                        Anyone   OptionalJson ANONYMOUS_SIGN_UP  => auth::anonymous;
    "POST"   "/auth/refresh"                          Anyone   Json         SIGN_IN            => auth::refresh;
    "POST"   "/auth/logout"                           User     Empty        SIGN_IN            => auth::logout;
    "POST"   "/hooks/send-sms"                        Anyone   Json         UNLIMITED          => hooks::send_sms;
    "POST"   "/operator/unlock-number"                Anyone   Json         OPERATOR           => operator::unlock_number;
    "POST"   "/operator/exclude-from-boards"          Anyone   Json         OPERATOR           => operator::exclude_from_boards;
    "POST"   "/operator/include-in-boards"            Anyone   Json         OPERATOR           => operator::include_in_boards;
    "POST"   "/operator/decide-referral"              Anyone   Json         OPERATOR           => operator::decide_referral;
    "GET"    "/user/profile"                          User     Empty        ACCOUNT            => user::profile;
    "PUT"    "/user/profile"                          User     Json         ACCOUNT            => user::update_profile;
    "POST"   "/user/migrate-local"                    User     Migration    MIGRATION          => migrate::migrate;
    "DELETE" "/user/migrate-local/{batch_id}"         User     Empty        MIGRATION          => migrate::roll_back;
    "GET"    "/user/sync/status"                      User     Empty        ACCOUNT            => sync::status;
    "POST"   "/user/sync/request"                     User     Json         ACCOUNT            => sync::changes;
    "GET"    "/waste/categories"                      Anyone   Empty        WASTE              => waste::categories;
    "POST"   "/waste/entries"                         User     Json         ENTRY_CREATION     => waste::create;
    "GET"    "/waste/entries"                         User     Empty        WASTE              => waste::list;
    "POST"   "/waste/entries/batch"                   User     Batch        BATCH              => waste::create_batch;
    "GET"    "/waste/entries/{id}"                    User     Empty        WASTE              => waste::get;
    "PUT"    "/waste/entries/{id}"                    User     Json         WASTE              => waste::update;
    "DELETE" "/waste/entries/{id}"                    User     Empty        WASTE              => waste::delete;
    "GET"    "/waste/stats/daily"                     User     Empty        WASTE              => stats::daily;
    "GET"    "/waste/stats/monthly"                   User     Empty        WASTE              => stats::monthly;
    "GET"    "/waste/stats/category"                  User     Empty        WASTE              => stats::by_category;
    "GET"    "/waste/leaderboard"                     Optional Empty        WASTE_BOARD        => gamification::leaderboard;
    "POST"   "/waste/image/recognize"                 User     Empty        WASTE              => not_implemented;
    "GET"    "/gamification/profile"                  User     Empty        GAMIFICATION       => gamification::profile;
    "GET"    "/gamification/leaderboard"              Optional Empty        GAMIFICATION_BOARD => gamification::leaderboard;
    "GET"    "/gamification/achievements"             Optional Empty        GAMIFICATION       => rewards::achievements;
    "POST"   "/gamification/achievement/check"        User     OptionalJson GAMIFICATION       => rewards::check_achievements;
    "GET"    "/gamification/challenges/today"         Optional Empty        GAMIFICATION       => rewards::challenges_today;
    "GET"    "/gamification/challenges/history"       User     Empty        GAMIFICATION       => rewards::challenge_history;
    "POST"   "/gamification/challenges/progress"      User     OptionalJson GAMIFICATION       => rewards::refresh_challenges;
    "GET"    "/gamification/feed"                     User     Empty        GAMIFICATION_FEED  => feed::feed;
    "GET"    "/gamification/friends"                  User     Empty        GAMIFICATION_FRIENDS => friends::list_by_credits;
    "POST"   "/gamification/friends/add"              User     Json         GAMIFICATION_FRIEND_REQUEST => friends::request;
    "GET"    "/social/feed"                           User     Empty        SOCIAL_FEED        => feed::feed;
    "GET"    "/social/friends"                        User     Empty        SOCIAL_FRIENDS     => friends::list;
    "POST"   "/social/friends/request"                User     Json         FRIEND_REQUEST     => friends::request;
    "PUT"    "/social/friends/accept/{id}"            User     Empty        SOCIAL             => friends::accept;
    "PUT"    "/social/friends/reject/{id}"            User     Empty        SOCIAL             => friends::reject;
    "PUT"    "/social/friends/block/{id}"             User     Empty        SOCIAL             => friends::block;
    "DELETE" "/social/friends/{user_id}"              User     Empty        SOCIAL             => friends::remove;
    "POST"   "/social/friends/code"                   User     OptionalJson SOCIAL             => friends::code;
    "GET"    "/social/users/{username_or_code}"       User     Empty        PERSON_LOOKUP      => friends::find;
    "GET"    "/social/challenges"                     User     Empty        SOCIAL             => community::list;
    "POST"   "/social/challenges/join/{id}"           User     OptionalJson SOCIAL             => community::join;
    "DELETE" "/social/challenges/join/{id}"           User     Empty        SOCIAL             => community::leave;
    "GET"    "/social/leaderboard/community"          User     Empty        SOCIAL_BOARD       => community::leaderboard;
    "POST"   "/social/referral/generate"              User     OptionalJson SOCIAL             => referral::generate;
    "POST"   "/social/referral/redeem"                User     Json         REFERRAL_REDEEM    => referral::redeem;
    "GET"    "/social/referral/stats"                 User     Empty        SOCIAL             => referral::stats;
    "GET"    "/social/share/{kind}"                   User     Empty        SOCIAL             => referral::share;
    "GET"    "/health"                                Anyone   Empty        UNLIMITED          => health::live;
    "GET"    "/health/live"                           Anyone   Empty        UNLIMITED          => health::live;
    "GET"    "/health/ready"                          Anyone   Empty        UNLIMITED          => health::ready;
    "GET"    "/health/detailed"                       Anyone   Empty        UNLIMITED          => health::detailed;
    "GET"    "/user/health"                           Anyone   Empty        UNLIMITED          => health::ready;
    "GET"    "/waste/health"                          Anyone   Empty        UNLIMITED          => health::area;
    "GET"    "/gamification/health"                   Anyone   Empty        UNLIMITED          => health::area;
    "GET"    "/social/health"                         Anyone   Empty        UNLIMITED          => health::area;
    "GET"    "/analytics/health"                      Anyone   Empty        UNLIMITED          => health::area;
    "GET"    "/metrics"                               Anyone   Empty        UNLIMITED          => metrics::metrics;
    "GET"    "/openapi.json"                          Anyone   Empty        UNLIMITED          => description::openapi;
}

/// What the table has for a method and a path.
#[derive(Debug)]
pub enum Found {
    /// This route, with the values of its `{…}` segments.
    Route(&'static Route, Vec<String>),
    /// The path exists for other methods, listed as `Allow` wants them.
    OtherMethods(String),
    /// No such path.
    Nothing,
}

/// Finds the row of a request.
pub fn find(method: &str, path: &str) -> Found {
    let method = if method == "HEAD" { "GET" } else { method };
    let short = match path.strip_prefix(BASE) {
        Some(rest) => rest,
        None if path == "/health" || path == "/metrics" || path.starts_with("/health/") => path,
        None => return Found::Nothing,
    };
    let mut methods: Vec<&str> = Vec::new();
    // `fixed`: some row has this very path, so the path is never read as a `{…}` value of another row, not even for
    // another method. `GET /waste/entries/batch` is 405, not an entry with the id "batch".
    let fixed = ROUTES.iter().any(|route| route.pattern == short);
    for route in ROUTES {
        let Some(parameters) = segments_of(route.pattern, short) else {
            continue;
        };
        if fixed && route.pattern != short {
            continue;
        }
        if route.method == method {
            return Found::Route(route, parameters);
        }
        methods.push(route.method);
    }
    if methods.is_empty() {
        return Found::Nothing;
    }
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    Found::OtherMethods(methods.join(", "))
}

/// The values of a pattern's `{…}` segments if the path fits it.
fn segments_of(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut values = Vec::new();
    let (mut expected, mut actual) = (pattern.split('/'), path.split('/'));
    loop {
        match (expected.next(), actual.next()) {
            (None, None) => return Some(values),
            (Some(name), Some(value)) if name.starts_with('{') && !value.is_empty() => {
                values.push(value.to_owned());
            }
            (Some(fixed), Some(segment)) if fixed == segment => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern_of(method: &str, path: &str) -> Option<&'static str> {
        match find(method, path) {
            Found::Route(route, _) => Some(route.pattern),
            _ => None,
        }
    }

    #[test]
    fn every_route_is_found_by_its_own_pattern() {
        for route in ROUTES {
            let path = format!("{BASE}{}", route.pattern.replace(['{', '}'], ""));
            assert_eq!(pattern_of(route.method, &path), Some(route.pattern));
        }
    }

    #[test]
    fn parameters_are_taken_from_the_path() {
        let Found::Route(route, parameters) = find("DELETE", "/api/v1/waste/entries/abc") else {
            panic!("the route exists");
        };
        assert_eq!(
            (route.method, route.pattern, parameters),
            ("DELETE", "/waste/entries/{id}", vec!["abc".to_owned()])
        );
    }

    #[test]
    fn a_known_path_names_its_methods() {
        let Found::OtherMethods(allow) = find("PATCH", "/api/v1/waste/entries") else {
            panic!("the path exists");
        };
        assert_eq!(allow, "POST, GET, HEAD, OPTIONS");
        // "batch" is a path of its own and never an entry's id.
        let Found::OtherMethods(allow) = find("GET", "/api/v1/waste/entries/batch") else {
            panic!("the path exists");
        };
        assert_eq!(allow, "POST, OPTIONS");
    }

    #[test]
    fn other_spellings_do_not_exist() {
        for path in [
            "/",
            "/api/v1",
            "/api/v1/",
            "/api/v1/health/",
            "/api/v1//health",
            "/health/",
            "/API/v1/health",
            "/api/v1/waste/entries/",
            "/api/v1/waste/entries//",
            "/api/v1/waste/entries/a/b",
            "/waste/entries",
            "/api/v12/health",
            "/api/v1health",
            "/api/v1/nothing",
        ] {
            assert!(matches!(find("GET", path), Found::Nothing), "{path}");
        }
    }

    #[test]
    fn health_answers_with_and_without_the_base_and_head_is_get() {
        for path in ["/health", "/health/live", "/health/ready"] {
            assert_eq!(pattern_of("GET", path), Some(path));
            assert_eq!(pattern_of("HEAD", &format!("{BASE}{path}")), Some(path));
        }
    }

    #[test]
    fn everything_personal_needs_a_user() {
        let open: Vec<_> = ROUTES
            .iter()
            .filter(|r| r.access != Access::User)
            .map(|r| r.pattern)
            .collect();
        for pattern in open {
            let public = [
                "/auth/",
                "/hooks/",
                "/operator/",
                "/health",
                "/waste/categories",
                "/gamification/achievements",
                "/gamification/challenges/today",
                "/openapi.json",
                "/metrics",
            ];
            let board = pattern.ends_with("/leaderboard");
            let health = pattern.ends_with("/health");
            assert!(
                board || health || public.iter().any(|p| pattern.starts_with(p)),
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_method_and_a_path_have_one_row() {
        let mut seen = std::collections::BTreeSet::new();
        for route in ROUTES {
            assert!(
                seen.insert((route.method, route.pattern)),
                "{}",
                route.pattern
            );
        }
    }
}
