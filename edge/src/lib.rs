//! The Worker of Carbon-Pixels: the public door of the service, `/api/v1`.
//!
//! It checks what comes in, signs people in, calls the database as the caller and answers in the
//! envelope of the contract. Rules and figures are `carbon_domain`'s; rows and permissions are the
//! database's. Here are only the entry points.

#![forbid(unsafe_code)]

pub mod cache;
pub mod call;
pub mod clients;
pub mod config;
pub mod error;
pub mod etag;
pub mod idempotency;
pub mod limits;
pub mod messages;
pub mod metrics;
pub mod metrics_text;
pub mod observe;
pub mod query;
pub mod reply;
pub mod request;
pub mod rescue;
pub mod respond;
pub mod router;
pub mod routes;
pub mod session;
pub mod storage;
pub mod webhook;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::Promise;
use worker::worker_sys::{self, web_sys};

pub use storage::metrics_store::Metrics;
pub use storage::phone_number::PhoneNumber;
pub use storage::subject::Subject;

/// Answers a request.
///
/// Written out instead of `#[event(fetch)]` so that [`rescue`] holds the promise that is answered.
#[wasm_bindgen]
pub fn fetch(request: web_sys::Request, env: worker::Env, context: worker_sys::Context) -> Promise {
    let context = worker::Context::new(context);
    rescue::answer(async move { router::handle(request.into(), env, context).await })
}
