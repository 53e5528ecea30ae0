//! Carbon-Pixels inside PostgreSQL: adapters between SQL and the domain crate, without arithmetic of their own.
//!
//! Every function lies in the schema `carbon`. What the rules say touches no table and depends on no setting, so generated
//! columns may use it: a release adds factor sets but never changes what an old one answers. One of these alone is random
//! ([`seal`]). Beside them stands what every request passes ([`request`], [`guard`]), and a trigger: where the server
//! preloads the library, it wakes a background worker ([`worker`]) that makes boards and messages of what was written; a
//! hook ([`log_hook`]) keeps values of people out of the server's log. A mistake in the arguments ends the statement as
//! [`error`] says; a panic ends it with XX000 and leaves the server up.

use pgrx::prelude::*;

mod achievement;
mod catalog;
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
mod migration;
mod phone;
mod profile;
mod ranking;
mod reference;
mod refusal;
mod request;
mod scores;
mod seal;
mod streak;
#[cfg(any(test, feature = "pg_test"))]
mod testing;
mod text;
mod time;
mod vectors;
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
    //! What the test runner asks for.

    /// Nothing has to be set up.
    pub fn setup(_options: Vec<&str>) {}

    /// The library is preloaded, so that its background worker runs.
    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'pg_carbon'"]
    }
}
