//! The background worker that folds what writers appended into the boards, five times a second.
//!
//! It knows nothing of tables: it calls `private.run_board_merger(integer)` where a database has it. Ranks are right without
//! it, because readers add what is pending; it keeps the queue short. It is registered only where the server preloads
//! the library.

use std::ffi::CString;
use std::time::Duration;

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags,
};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;

/// What the worker waits between two slices when there is nothing left to do.
const PAUSE: Duration = Duration::from_millis(200);

/// After how long the server starts it again, however it ended.
const RESTART: Duration = Duration::from_secs(1);

/// Rows a slice may take; after a full one the next follows without a pause.
const FULL_SLICE: i32 = 10_000;

static DATABASE: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"postgres"));

/// Defines the setting and, while the server preloads the library, registers the worker.
pub fn register() {
    // Sessions that load the library later find the setting as the server has it, or not at all.
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        return;
    }
    GucRegistry::define_string_guc(
        c"carbon.database",
        c"The database whose boards the background worker keeps.",
        c"",
        &DATABASE,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    BackgroundWorkerBuilder::new("carbon boards")
        .set_type("carbon boards")
        .set_function("carbon_boards_main")
        .set_library("pg_carbon")
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(RESTART))
        .enable_spi_access()
        .load();
}

/// The worker's whole life.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn carbon_boards_main(_argument: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    let database = DATABASE.get();
    let database = database.as_deref().map(|name| name.to_string_lossy());
    BackgroundWorker::connect_worker_to_spi(database.as_deref(), None);

    let mut said = None;
    while BackgroundWorker::wait_latch(Some(PAUSE)) {
        if BackgroundWorker::sighup_received() {
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        while merge(&mut said) == Some(FULL_SLICE) && !BackgroundWorker::sigterm_received() {}
    }
    // 0 would mean that it is never started again: somebody may end it alone.
    unsafe { pg_sys::proc_exit(1) };
}

/// One slice, in a transaction of its own; how many rows it took, none where there was nothing to call or it failed. A
/// failure is logged when it differs from the last one, and so is its end.
fn merge(said: &mut Option<String>) -> Option<i32> {
    let (merged, failure) = BackgroundWorker::transaction(|| {
        let owner = Spi::get_one::<pg_sys::Oid>(
            "select proowner from pg_catalog.pg_proc where oid = pg_catalog.to_regprocedure('private.run_board_merger(integer)')",
        );
        let Ok(Some(owner)) = owner else {
            return (None, None);
        };
        as_role(owner, || {
            Spi::get_two_with_args::<i32, String>(
                "select merged, failure from private.run_board_merger($1)",
                &[FULL_SLICE.into()],
            )
            .unwrap_or_else(|error| (None, Some(error.to_string())))
        })
    });
    if *said != failure {
        match &failure {
            Some(failure) => log!("boards are not merged: {failure}"),
            None => log!("boards are merged again"),
        }
        *said = failure;
    }
    merged
}

/// Runs `work` with the rights of a role and no way back to those of the superuser that the worker is, as autovacuum
/// runs what a table's owner wrote.
fn as_role<T>(role: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    let mut user = pg_sys::InvalidOid;
    let mut context = 0;
    let restricted = pg_sys::SECURITY_RESTRICTED_OPERATION.cast_signed();
    unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
        pg_sys::SetUserIdAndSecContext(role, context | restricted);
    }
    let result = work();
    // Not reached after an error: the end of the transaction sets both back.
    unsafe { pg_sys::SetUserIdAndSecContext(user, context) };
    result
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::one;

    #[pg_test]
    fn a_server_that_preloads_the_library_has_one_worker() {
        assert_eq!(
            one::<i64>(
                "select count(*) from pg_catalog.pg_stat_activity where backend_type = 'carbon boards'"
            ),
            1
        );
        assert_eq!(
            one::<String>("select current_setting('carbon.database')"),
            "postgres"
        );
    }

    #[pg_test]
    fn the_worker_lives_where_there_is_nothing_to_call() {
        let pid =
            "select pid from pg_catalog.pg_stat_activity where backend_type = 'carbon boards'";
        let before: i32 = one(pid);
        // Several of its turns, and longer than it would need to be started again.
        Spi::run("select pg_catalog.pg_sleep(1.5)").unwrap();
        Spi::run("select pg_catalog.pg_stat_clear_snapshot()").unwrap();
        assert_eq!(one::<i32>(pid), before);
    }
}
