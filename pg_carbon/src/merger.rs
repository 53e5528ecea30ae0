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

/// Who owns the function that takes a slice, where the database has it.
const OWNER: &str = "select proowner from pg_catalog.pg_proc
    where oid = pg_catalog.to_regprocedure('private.run_board_merger(integer)')";

/// Takes a slice.
const SLICE: &str = "select merged, failure from private.run_board_merger($1)";

static DATABASE: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"postgres"));

/// Defines the setting and registers the worker. Only for a server that preloads the library: sessions that load it
/// later find the setting as the server has it, or not at all.
pub fn register() {
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
            // SAFETY: this is the worker's only thread, between two transactions, where PostgreSQL's own workers read
            // their settings anew.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        while merge(&mut said) == Some(FULL_SLICE) && !BackgroundWorker::sigterm_received() {}
        // Sessions report what they wrote when they wait for the next command; a worker has to do it itself, or
        // autovacuum never learns of the rows that the boards leave dead.
        // SAFETY: no transaction is open here, which is what this function asks for.
        unsafe { pg_sys::pgstat_report_stat(false) };
    }
    // 0 would mean that it is never started again: somebody may end it alone.
    // SAFETY: this is the process's main function, and nothing of it is needed any more.
    unsafe { pg_sys::proc_exit(1) };
}

/// One slice, in a transaction of its own; how many rows it took, none where there was nothing to call or it failed. A
/// failure is logged when it differs from the last one, and so is its end.
///
/// It only ever selects: pgrx gives every other call a transaction id in advance. An idle server would use up five a
/// second, and `private.next_board_change()` answers nothing to a transaction that has one, so that the queue's floor
/// would stay where it is.
fn merge(said: &mut Option<String>) -> Option<i32> {
    let (merged, failure) = BackgroundWorker::transaction(|| {
        let owner = Spi::connect(|client| {
            client
                .select(OWNER, Some(1), &[])?
                .first()
                .get_one::<pg_sys::Oid>()
        });
        let Ok(Some(owner)) = owner else {
            return (None, None);
        };
        as_role(owner, || {
            Spi::connect(|client| {
                let slice = client.select(SLICE, Some(1), &[FULL_SLICE.into()])?;
                slice.first().get_two::<i32, String>()
            })
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
    // SAFETY: a transaction is open and this process has one thread. The role is one that owns a function, and with
    // the restriction nothing that runs as it can change the role again.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
        pg_sys::SetUserIdAndSecContext(role, context | restricted);
    }
    let result = work();
    // Not reached after an error: the end of the transaction sets both back.
    // SAFETY: the values are those that were read above.
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

    #[pg_test]
    fn an_idle_worker_uses_no_transaction_ids() {
        // The next id, of a snapshot made now: that of the test's own transaction may be the session's cached one.
        let next_id = || {
            one::<i64>(
                "select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint",
            )
        };
        // Other tests run beside this one and use some, but not in every window; a worker that used one at each turn
        // would show in all of them.
        let fewest = (0..20)
            .map(|_| {
                let before = next_id();
                Spi::run("select pg_catalog.pg_sleep(0.5)").unwrap();
                next_id() - before
            })
            .min();
        assert_eq!(fewest, Some(0));
    }
}
