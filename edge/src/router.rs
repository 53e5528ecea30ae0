//! The route table, and the order of what happens to every request:
//! settings → CORS → sizes → route → who is calling → limits → idempotency key → body → handler → headers, log.

use std::rc::Rc;

use carbon_domain::Lang;
use worker::{Context, Env, Request, Response};

use crate::call::{self, App, Call};
use crate::clients::{REQUEST_DEADLINE_MS, within};
use crate::config::{Config, Environment};
use crate::error::ApiError;
use crate::idempotency::Once;
use crate::limits;
use crate::messages;
use crate::reply::Reply;
use crate::request::{BodyRule, discard, read_body};
use crate::respond::{self, Outcome};
use crate::routes::{Endpoint, dispatch};
use crate::session::Session;
use crate::storage::metrics_store::flush_after_answer;

/// Every path of the contract begins with this; health checks and metrics also answer without it.
const BASE: &str = "/api/v1";

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody; a token is not looked at.
    Anyone,
    /// Signed-in users, and strangers who send no token.
    Optional,
    /// Signed-in users, anonymous ones included.
    User,
}

/// One line of the table.
#[derive(Debug)]
pub struct Route {
    /// GET, POST, PUT or DELETE; HEAD is answered as GET.
    pub method: &'static str,
    /// The path after the base; `{name}` stands for one segment.
    pub pattern: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it takes as body.
    pub body: BodyRule,
    /// Who answers.
    pub endpoint: Endpoint,
}

const fn route(
    method: &'static str,
    pattern: &'static str,
    access: Access,
    body: BodyRule,
    endpoint: Endpoint,
) -> Route {
    Route {
        method,
        pattern,
        access,
        body,
        endpoint,
    }
}

use Access::{Anyone, Optional, User};
use BodyRule::{Batch, Json, Migration, None as Empty, OptionalJson};

/// All routes. A trailing slash makes another path, which does not exist: one address a thing.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route("POST", "/auth/phone-otp", Anyone, Json, Endpoint::PhoneOtp),
    route("POST", "/auth/verify-otp", Anyone, Json, Endpoint::VerifyOtp),
    route("POST", "/auth/anonymous", Anyone, OptionalJson, Endpoint::Anonymous),
    route("POST", "/auth/refresh", Anyone, Json, Endpoint::Refresh),
    route("POST", "/auth/logout", User, Empty, Endpoint::Logout),
    route("POST", "/hooks/send-sms", Anyone, Json, Endpoint::SendSmsHook),
    route("POST", "/operator/unlock-number", Anyone, Json, Endpoint::UnlockNumber),
    route("POST", "/operator/exclude-from-boards", Anyone, Json, Endpoint::ExcludeFromBoards),
    route("POST", "/operator/include-in-boards", Anyone, Json, Endpoint::IncludeInBoards),
    route("GET", "/user/profile", User, Empty, Endpoint::Profile),
    route("PUT", "/user/profile", User, Json, Endpoint::UpdateProfile),
    route("POST", "/user/migrate-local", User, Migration, Endpoint::Migrate),
    route("DELETE", "/user/migrate-local/{batch_id}", User, Empty, Endpoint::RollBackMigration),
    route("GET", "/user/sync/status", User, Empty, Endpoint::SyncStatus),
    route("POST", "/user/sync/request", User, Json, Endpoint::SyncChanges),
    route("GET", "/waste/categories", Anyone, Empty, Endpoint::Categories),
    route("POST", "/waste/entries", User, Json, Endpoint::CreateEntry),
    route("GET", "/waste/entries", User, Empty, Endpoint::ListEntries),
    route("POST", "/waste/entries/batch", User, Batch, Endpoint::CreateEntries),
    route("GET", "/waste/entries/{id}", User, Empty, Endpoint::GetEntry),
    route("PUT", "/waste/entries/{id}", User, Json, Endpoint::UpdateEntry),
    route("DELETE", "/waste/entries/{id}", User, Empty, Endpoint::DeleteEntry),
    route("GET", "/waste/stats/daily", User, Empty, Endpoint::StatsDaily),
    route("GET", "/waste/stats/monthly", User, Empty, Endpoint::StatsMonthly),
    route("GET", "/waste/stats/category", User, Empty, Endpoint::StatsByCategory),
    route("GET", "/waste/leaderboard", Optional, Empty, Endpoint::Leaderboard),
    route("POST", "/waste/image/recognize", User, Empty, Endpoint::FeatureOfLater),
    route("GET", "/gamification/profile", User, Empty, Endpoint::GamificationProfile),
    route("GET", "/gamification/leaderboard", Optional, Empty, Endpoint::Leaderboard),
    route("GET", "/gamification/achievements", Optional, Empty, Endpoint::Achievements),
    route("POST", "/gamification/achievement/check", User, OptionalJson, Endpoint::CheckAchievements),
    route("GET", "/gamification/challenges/today", Optional, Empty, Endpoint::ChallengesToday),
    route("GET", "/gamification/challenges/history", User, Empty, Endpoint::ChallengeHistory),
    route("POST", "/gamification/challenges/progress", User, OptionalJson, Endpoint::RefreshChallenges),
    route("GET", "/health", Anyone, Empty, Endpoint::Health),
    route("GET", "/health/live", Anyone, Empty, Endpoint::Health),
    route("GET", "/health/ready", Anyone, Empty, Endpoint::Ready),
    route("GET", "/health/detailed", Anyone, Empty, Endpoint::HealthDetailed),
    route("GET", "/user/health", Anyone, Empty, Endpoint::Ready),
    route("GET", "/waste/health", Anyone, Empty, Endpoint::AreaHealth),
    route("GET", "/gamification/health", Anyone, Empty, Endpoint::AreaHealth),
    route("GET", "/social/health", Anyone, Empty, Endpoint::AreaHealth),
    route("GET", "/analytics/health", Anyone, Empty, Endpoint::AreaHealth),
    route("GET", "/metrics", Anyone, Empty, Endpoint::Metrics),
    route("GET", "/openapi.json", Anyone, Empty, Endpoint::Description),
];

/// What the table says about a method and a path.
#[derive(Debug)]
pub enum Found {
    /// This route, with the values of its `{…}` segments.
    Route(&'static Route, Vec<String>),
    /// The path exists for other methods, listed as `Allow` wants them.
    OtherMethods(String),
    /// No such path.
    Nothing,
}

/// Looks a request up in the table.
pub fn find(method: &str, path: &str) -> Found {
    let method = if method == "HEAD" { "GET" } else { method };
    let short = match path.strip_prefix(BASE) {
        Some(rest) => rest,
        None if path == "/health" || path == "/metrics" || path.starts_with("/health/") => path,
        None => return Found::Nothing,
    };
    let mut methods: Vec<&str> = Vec::new();
    // A path of its own is never also a value of another's segment, whatever the method.
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
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(values),
            (Some(want), Some(have)) if want.starts_with('{') && !have.is_empty() => {
                values.push(have.to_owned());
            }
            (Some(want), Some(have)) if want == have => {}
            _ => return None,
        }
    }
}

/// Answers a request, whatever happens.
pub async fn handle(mut request: Request, env: Env, context: Context) -> Response {
    let started_ms = call::now_ms();
    let head = call::Head::read(&request);
    crate::rescue::introduce(&head.request_id, head.lang);
    let (route, outcome) = answer(&mut request, &head, env, context).await;
    discard(&mut request).await;
    respond::finish(&head, route, outcome, call::now_ms() - started_ms)
}

async fn answer(
    request: &mut Request,
    head: &call::Head,
    env: Env,
    context: Context,
) -> (&'static str, Outcome) {
    let config = match call::config(&env) {
        Ok(config) => config,
        Err(problems) => {
            return (
                "-",
                Outcome::without_origin(Err(ApiError::internal(problems))),
            );
        }
    };
    let allowed_origin = head
        .origin
        .clone()
        .filter(|origin| config.origins.allow(origin));
    let app = Rc::new(App {
        fault: asked_fault(request, &config),
        config,
        env,
        context,
    });
    let (pattern, result) = match find(&head.method, &head.path) {
        _ if head.oversized => (
            "-",
            Err(ApiError::body("too_long", messages::HEAD_TOO_LONG)),
        ),
        Found::Route(route, parameters) => (
            route.pattern,
            run(request, head, Rc::clone(&app), route, parameters).await,
        ),
        Found::OtherMethods(allow) if head.method == "OPTIONS" => {
            return ("-", Outcome::preflight(allow, allowed_origin));
        }
        Found::OtherMethods(allow) => ("-", Err(ApiError::method_not_allowed(allow))),
        Found::Nothing => ("-", Err(ApiError::not_found())),
    };
    flush_after_answer(&app);
    (
        pattern,
        Outcome {
            result,
            allowed_origin,
            preflight_allow: None,
        },
    )
}

async fn run(
    request: &mut Request,
    head: &call::Head,
    app: Rc<App>,
    route: &'static Route,
    parameters: Vec<String>,
) -> Result<Reply, ApiError> {
    let session = identify(route.access, head, &app)?;
    limits::check(&app, route, head.address.as_deref(), session.as_ref()).await?;
    let once = idempotency(request, head, route, session.is_some())?;
    let body = read_body(request, route.body).await?;
    let mut call = Call::new(app, head, session, parameters, body, request);
    call.once = once;
    assert!(!call.app.fails("panic"), "asked to panic");
    match within(REQUEST_DEADLINE_MS, dispatch(route.endpoint, &call)).await {
        Ok(result) => result.map(|reply| finished(reply, &call)),
        Err(outage) => Err(ApiError::unavailable(format!("whole request: {outage}"))),
    }
}

/// The `Idempotency-Key` of a signed-in user's write; sign-in and the hooks take none.
fn idempotency(
    request: &Request,
    head: &call::Head,
    route: &Route,
    signed_in: bool,
) -> Result<Option<Once>, ApiError> {
    if route.method == "GET" || !signed_in || route.pattern.starts_with("/auth/") {
        return Ok(None);
    }
    let key = request.headers().get("idempotency-key").ok().flatten();
    key.map(|key| Once::new(key, &head.method, &head.path))
        .transpose()
}

/// The reply with what was learnt on the way: its tag, whether the client has it already, and whether
/// it was given before.
fn finished(mut reply: Reply, call: &Call) -> Reply {
    reply.tag = call.tag.take().or(reply.tag);
    reply.replayed = call.once.as_ref().is_some_and(Once::is_replayed);
    if let (200, Some(tag)) = (reply.status, &reply.tag)
        && call.known().matches(tag)
    {
        reply.status = 304;
        reply.body.clear();
    }
    reply
}

/// What a local run is asked to let fail, so that tests see what follows: `panic`, `object-throws`,
/// `object-hangs`.
fn asked_fault(request: &Request, config: &Config) -> Option<String> {
    if config.environment != Environment::Local {
        return None;
    }
    request.headers().get("x-carbon-fault").ok().flatten()
}

fn identify(access: Access, head: &call::Head, app: &App) -> Result<Option<Session>, ApiError> {
    match access {
        Access::Anyone => Ok(None),
        Access::Optional if head.authorization.is_none() => Ok(None),
        Access::Optional | Access::User => head.session(&app.config).map(Some),
    }
}

/// The language of messages, from `Accept-Language`.
pub fn language(header: Option<&str>) -> Lang {
    header.map_or_else(Lang::default, Lang::from_accept_language)
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
            (route.endpoint, parameters),
            (Endpoint::DeleteEntry, vec!["abc".to_owned()])
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
    fn whatever_is_personal_needs_a_user() {
        let open: Vec<_> = ROUTES
            .iter()
            .filter(|r| r.access != User)
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
}
