//! The Worker of Carbon-Pixels: the public interface of the service, `/api/v1`.
//!
//! It checks what comes in, signs users in, calls the database as the caller and answers in the
//! envelope of the contract. Rules and figures are `carbon_domain`'s; rows and permissions are the
//! database's. Here are only the entry points.

#![forbid(unsafe_code)]

mod app;
mod clients;
mod clock;
mod config;
mod crypto;
mod database;
mod error;
mod http;
mod limits;
mod messages;
mod observe;
mod panic_response;
mod pipeline;
mod release;
mod router;
mod routes;
mod storage;
mod uuid;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::Promise;
use worker::worker_sys::{self, web_sys};

pub use storage::metrics_do::Metrics;
pub use storage::phone_number_do::PhoneNumber;
pub use storage::subject_do::Subject;

/// Answers a request.
///
/// Written out instead of `#[event(fetch)]` so that [`panic_response`] holds the promise that is answered.
#[wasm_bindgen]
pub fn fetch(request: web_sys::Request, env: worker::Env, context: worker_sys::Context) -> Promise {
    let context = worker::Context::new(context);
    panic_response::answer(async move { pipeline::handle(request.into(), env, context).await })
}
