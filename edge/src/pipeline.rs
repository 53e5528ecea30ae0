//! What happens to every request, in this order:
//! settings → CORS → sizes → route → who is calling → limits → idempotency key → body → handler → headers, log.

use std::rc::Rc;

use worker::{Context, Env, Request, Response};

use crate::app::{self, App};
use crate::clients::{REQUEST_DEADLINE_MS, within};
use crate::clock::now_ms;
use crate::config::{Config, Environment};
use crate::error::ApiError;
use crate::http::body::{discard, read_body};
use crate::http::call::{Call, Head};
use crate::http::idempotency::IdempotencyKey;
use crate::http::reply::Reply;
use crate::http::response::{self, Outcome};
use crate::http::session::Session;
use crate::limits::count as limits;
use crate::messages;
use crate::panic_response;
use crate::router::{Access, Found, Route, dispatch, find};
use crate::storage::metrics_do::flush_after_answer;

/// Answers a request, also when something fails.
pub async fn handle(mut request: Request, env: Env, context: Context) -> Response {
    let started_ms = now_ms();
    let head = Head::read(&request);
    panic_response::describe_running(&head.request_id, head.lang);
    let (route, outcome) = answer(&mut request, &head, env, context).await;
    discard(&mut request).await;
    response::finish(&head, route, outcome, now_ms() - started_ms)
}

async fn answer(
    request: &mut Request,
    head: &Head,
    env: Env,
    context: Context,
) -> (&'static str, Outcome) {
    let config = match app::config(&env) {
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
        fault: requested_fault(request, &config),
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
    head: &Head,
    app: Rc<App>,
    route: &'static Route,
    parameters: Vec<String>,
) -> Result<Reply, ApiError> {
    let session = identify(route.access, head, &app)?;
    let user_id = session.as_ref().map(|session| session.user_id.as_str());
    limits::check(&app, route.limits, head.address.as_deref(), user_id).await?;
    let idempotency_key = idempotency(request, head, route, session.is_some())?;
    let body = read_body(request, route.body).await?;
    let mut call = Call::new(app, head, session, parameters, body, request);
    call.idempotency_key = idempotency_key;
    assert!(!call.app.fails("panic"), "asked to panic");
    match within(REQUEST_DEADLINE_MS, dispatch(route, &call)).await {
        Ok(result) => result.map(|reply| apply_etag(reply, &call)),
        Err(error) => Err(ApiError::unavailable(format!("whole request: {error}"))),
    }
}

/// The `Idempotency-Key` of a signed-in user's write; sign-in and the hooks take none.
fn idempotency(
    request: &Request,
    head: &Head,
    route: &Route,
    signed_in: bool,
) -> Result<Option<IdempotencyKey>, ApiError> {
    if route.method == "GET" || !signed_in || route.pattern.starts_with("/auth/") {
        return Ok(None);
    }
    let key = request.headers().get("idempotency-key").ok().flatten();
    key.map(|key| IdempotencyKey::new(key, &head.method, &head.path))
        .transpose()
}

/// Adds the tag that the database named, answers 304 to a client that has the answer already, and marks an answer that
/// was stored under an `Idempotency-Key`.
fn apply_etag(mut reply: Reply, call: &Call) -> Reply {
    reply.tag = call.tag.take().or(reply.tag);
    reply.replayed = call
        .idempotency_key
        .as_ref()
        .is_some_and(IdempotencyKey::is_replayed);
    if let (200, Some(tag)) = (reply.status, &reply.tag)
        && call.if_none_match().matches(tag)
    {
        reply.status = 304;
        reply.body.clear();
    }
    reply
}

/// The fault that a request of a local run asks for, so that tests see what follows: `panic`, `object-throws`,
/// `object-hangs`.
fn requested_fault(request: &Request, config: &Config) -> Option<String> {
    if config.environment != Environment::Local {
        return None;
    }
    request.headers().get("x-carbon-fault").ok().flatten()
}

fn identify(access: Access, head: &Head, app: &App) -> Result<Option<Session>, ApiError> {
    match access {
        Access::Anyone => Ok(None),
        Access::Optional if head.authorization.is_none() => Ok(None),
        Access::Optional | Access::User => head.session(&app.config).map(Some),
    }
}
