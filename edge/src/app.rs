//! The Worker's surroundings: settings, bindings, and the fault a local run requests.

use std::cell::OnceCell;
use std::rc::Rc;

use worker::{Context, Env};

use crate::config::Config;

thread_local! {
    static CONFIG: OnceCell<Result<Rc<Config>, String>> = const { OnceCell::new() };
}

/// The settings, read and checked once an isolate.
///
/// # Errors
/// What cannot be used, for the log.
pub fn config(env: &Env) -> Result<Rc<Config>, String> {
    // Secrets and plain settings are both read as strings from the environment.
    let get = |name: &str| env.var(name).ok().map(|value| value.to_string());
    CONFIG.with(|cell| cell.get_or_init(|| Config::read(get).map(Rc::new)).clone())
}

/// The Worker's surroundings for one request.
pub struct App {
    pub config: Rc<Config>,
    pub env: Env,
    /// For work that goes on after the answer.
    pub context: Context,
    /// The fault that this request asks for; always none outside a local run.
    pub fault: Option<String>,
}

impl App {
    /// Whether the request asks for this fault.
    pub fn fails(&self, what: &str) -> bool {
        self.fault.as_deref() == Some(what)
    }
}
