//! A panic ends the wasm instance, which the runtime glue then makes anew. What would be lost is the
//! answer of the request at hand: its promise is kept here, and the panic hook settles it with a 500
//! in the envelope before the instance is given up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use carbon_domain::Lang;
use wasm_bindgen::JsValue;
use worker::js_sys::{Function, Promise};
use worker::worker_sys::web_sys;
use worker::{Response, console_error};

use crate::observe;
use crate::respond::after_panic;

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

/// Runs a request to its answer; the promise is settled even if the future panics.
pub fn answer(future: impl Future<Output = Response> + 'static) -> Promise {
    install_hook();
    let number = NEXT.replace(NEXT.get().wrapping_add(1));
    Promise::new(&mut |resolve, _reject| {
        let waiting = Waiting {
            resolve,
            request_id: String::new(),
            lang: Lang::default(),
        };
        WAITING.with_borrow_mut(|all| all.insert(number, waiting));
    })
    .tap(|| {
        let tagged = Tagged {
            number,
            future: Box::pin(future),
        };
        worker::wasm_bindgen_futures::spawn_local(async move { settle(number, tagged.await) });
    })
}

/// Tells the rescue how the running request is called, for an answer after a panic.
pub fn introduce(request_id: &str, lang: Lang) {
    let Some(number) = RUNNING.get() else { return };
    WAITING.with_borrow_mut(|all| {
        if let Some(waiting) = all.get_mut(&number) {
            waiting.request_id = request_id.to_owned();
            waiting.lang = lang;
        }
    });
}

fn settle(number: u32, response: Response) {
    let waiting = WAITING.with_borrow_mut(|all| all.remove(&number));
    if let Some(waiting) = waiting {
        let response = JsValue::from(web_sys::Response::from(response));
        // Resolving a promise cannot throw.
        let _ = waiting.resolve.call1(&JsValue::UNDEFINED, &response);
    }
}

fn install_hook() {
    thread_local! { static INSTALLED: Cell<bool> = const { Cell::new(false) }; }
    if INSTALLED.replace(true) {
        return;
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        rescue(&info.location().map(ToString::to_string).unwrap_or_default());
        previous(info);
    }));
}

fn rescue(place: &str) {
    let Some(number) = RUNNING.take() else { return };
    // The panic may have happened while the table was borrowed.
    let names = WAITING.with(|all| {
        let all = all.try_borrow().ok()?;
        all.get(&number)
            .map(|waiting| (waiting.request_id.clone(), waiting.lang))
    });
    if let Some((request_id, lang)) = names {
        console_error!(
            "{}",
            observe::event_line("error", "panic", &request_id, place)
        );
        settle(number, after_panic(&request_id, lang));
    }
}

/// Does something after a value was made.
trait Tap: Sized {
    fn tap(self, then: impl FnOnce()) -> Self {
        then();
        self
    }
}

impl Tap for Promise {}
