//! Carbon-Pixels inside PostgreSQL: adapters between SQL and the domain crate, without arithmetic of their own.
//!
//! All functions are in the schema `carbon`. The rules use no table and depend on no setting, so generated columns may use
//! them: a release adds factor sets, but never changes the results of an old one. Only [`seal`] is random. In addition
//! there are the checks of every request ([`request`], [`guard`]) and, if the server preloads the library, a background
//! worker ([`worker`]), woken by a trigger, that turns writes into boards and messages, and a hook ([`log_hook`]) that
//! removes users' values from the server's log. An invalid argument ends the statement as described in [`error`]; a panic
//! ends it with XX000, and the server goes on.

use pgrx::prelude::*;

mod achievement;
mod catalog;
mod community;
mod constants;
mod convert;
mod credit;
mod derive;
mod emission;
mod entry;
mod error;
mod guard;
mod identity;
mod level;
mod log_hook;
mod mark;
mod migration;
mod moderation;
mod phone;
mod profile;
mod ranking;
mod reference;
mod refusal;
mod request;
mod scores;
mod seal;
mod share;
mod streak;
#[cfg(any(test, feature = "pg_test"))]
mod testing;
mod text;
mod time;
mod vectors;
mod visibility;
mod worker;

::pgrx::pg_module_magic!(name, version);

/// Called when the library is loaded.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: a flag that only the postmaster's single thread writes.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        worker::register();
        log_hook::register();
    }
    guard::register();
    request::register();
}

extension_sql_file!("../sql/comments.sql", name = "comments", finalize);

#[cfg(test)]
pub mod pg_test {
    //! The interface of the test runner.

    /// Nothing has to be set up.
    pub fn setup(_options: Vec<&str>) {}

    /// The library is preloaded, so that its background worker runs.
    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'pg_carbon'"]
    }
}
