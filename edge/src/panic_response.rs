//! A panic ends the wasm instance, and the runtime glue then creates a new one. The answers of the requests in flight
//! would be lost: so their promises are held here, and the panic hook resolves them, in the envelope, before the instance
//! goes: 500 for the one that panicked, 503 for the others.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use carbon_domain::Lang;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::{Function, Promise};
use worker::worker_sys::web_sys;
use worker::{Response, console_error};

use crate::error::ApiError;
use crate::http::response::after_panic;
use crate::observe::log::event_line;

struct Waiting {
    resolve: Function,
    request_id: String,
    lang: Lang,
}

thread_local! {
    static NEXT: Cell<u32> = const { Cell::new(0) };
    static RUNNING: Cell<Option<u32>> = const { Cell::new(None) };
    static WAITING: RefCell<BTreeMap<u32, Waiting>> = const { RefCell::new(BTreeMap::new()) };
}

/// A future that says which request it belongs to while it runs.
struct Tagged<F> {
    number: u32,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Tagged<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        RUNNING.set(Some(self.number));
        let poll = self.future.as_mut().poll(context);
        RUNNING.set(None);
        poll
    }
}

// Responses belong to the request that made them, so what reaches other requests is text, of which
// each makes its own response; not in wasm, whose instance is gone by then.
#[wasm_bindgen(inline_js = "
export function to_response(promise) {
    return promise.then((answer) => {
        if (typeof answer !== 'string') return answer;
        const { status, headers, body } = JSON.parse(answer);
        return new Response(body, { status, headers });
    });
}
")]
extern "C" {
    fn to_response(promise: &Promise) -> Promise;
}

/// Runs a request to its answer; the promise is settled even if the future panics.
pub fn answer(future: impl Future<Output = Response> + 'static) -> Promise {
    install_hook();
    let number = NEXT.replace(NEXT.get().wrapping_add(1));
    let promise = Promise::new(&mut |resolve, _reject| {
        let (request_id, lang) = (String::new(), Lang::default());
        let waiting = Waiting {
            resolve,
            request_id,
            lang,
        };
        WAITING.with_borrow_mut(|all| all.insert(number, waiting));
    });
    let tagged = Tagged {
        number,
        future: Box::pin(future),
    };
    worker::wasm_bindgen_futures::spawn_local(async move {
        let response = tagged.await;
        if let Some(waiting) = WAITING.with_borrow_mut(|all| all.remove(&number)) {
            resolve(&waiting, &web_sys::Response::from(response).into());
        }
    });
    to_response(&promise)
}

/// Notes id and language of the running request, for an answer after a panic.
pub fn describe_running(request_id: &str, lang: Lang) {
    let Some(number) = RUNNING.get() else { return };
    WAITING.with_borrow_mut(|all| {
        if let Some(waiting) = all.get_mut(&number) {
            waiting.request_id = request_id.to_owned();
            waiting.lang = lang;
        }
    });
}

fn resolve(waiting: &Waiting, answer: &JsValue) {
    // Resolving a promise cannot throw.
    let _ = waiting.resolve.call1(&JsValue::UNDEFINED, answer);
}

fn install_hook() {
    thread_local! { static INSTALLED: Cell<bool> = const { Cell::new(false) }; }
    if INSTALLED.replace(true) {
        return;
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        answer_all(&info.location().map(ToString::to_string).unwrap_or_default());
        previous(info);
    }));
}

fn answer_all(place: &str) {
    let panicked = RUNNING.take();
    // The panic may have happened while the table was borrowed.
    let waiting = WAITING.with(|all| {
        all.try_borrow_mut()
            .map(|mut all| std::mem::take(&mut *all))
    });
    console_error!("{}", event_line("error", "panic", "", place));
    for (other, waiting) in waiting.unwrap_or_default() {
        let error = if panicked == Some(other) {
            ApiError::internal("")
        } else {
            // Its instance is gone, so that its own answer will never come.
            ApiError::unavailable("")
        };
        let answer = after_panic(&error, &waiting.request_id, waiting.lang);
        resolve(&waiting, &JsValue::from_str(&answer));
    }
}
