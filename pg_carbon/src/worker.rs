//! The background worker: turns the outbox rows of committed writes into board updates and messages.
//!
//! It depends on no table: it calls `private.run_worker(integer, boolean)` if the database has it. A statement
//! trigger, `carbon.wake_worker()`, notes that the transaction has written; at commit the worker's latch is set.
//! The worker also polls, so nothing waits indefinitely. It is registered only if the server preloads the library;
//! otherwise the trigger does nothing.

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags,
};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;
use pgrx::{AllocatedByRust, PgAtomic, pg_shmem_init};

/// Poll interval without a wake-up.
const IDLE: Duration = Duration::from_secs(1);

/// Pause after a slice that was not full, so that commits in the meantime share one slice: at most 18 slices a
/// second, each with a transaction id. A message is delayed by at most this and one slice.
const REST: Duration = Duration::from_millis(55);

/// Delay after which the server restarts the worker, however it ended.
const RESTART: Duration = Duration::from_secs(1);

/// Rows per slice; after a full slice the next one follows at once. This is some seconds of work: later rows would
/// have to wait for earlier ones anyway, and a score is written once for all rows of a slice.
const FULL_SLICE: i32 = 20_000;

/// The owner of the function that takes a slice, if the database has it.
const OWNER: &str = "select proowner from pg_catalog.pg_proc
    where oid = pg_catalog.to_regprocedure('private.run_worker(integer, boolean)')";

/// Takes a slice.
const TAKE: &str = "select taken, failure from private.run_worker($1, $2)";

static DATABASE: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"postgres"));

/// Address of the worker's latch in shared memory, the same in every process; 0 before the worker has run.
// SAFETY: the only symbol of this name.
static LATCH: PgAtomic<AtomicUsize> = unsafe { PgAtomic::new(c"carbon worker") };

/// Whether our shared memory exists: set by the postmaster and inherited.
static IS_PRELOADED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this process has registered its end-of-transaction callback.
    static IS_CALLED: Cell<bool> = const { Cell::new(false) };

    /// Whether the current transaction has written to the outbox.
    static HAS_WRITTEN: Cell<bool> = const { Cell::new(false) };
}

/// Defines the setting, requests shared memory and registers the worker. Only for a server that preloads the
/// library: sessions that load it later find the server's setting, or none.
pub fn register() {
    IS_PRELOADED.store(true, Ordering::Relaxed);
    ask_for_shared_memory();
    GucRegistry::define_string_guc(
        c"carbon.database",
        c"The database whose boards and messages the background worker makes.",
        c"",
        &DATABASE,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    BackgroundWorkerBuilder::new("carbon worker")
        .set_type("carbon worker")
        .set_function("carbon_worker_main")
        .set_library("pg_carbon")
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(RESTART))
        .enable_spi_access()
        .load();
}

#[allow(
    unexpected_cfgs,
    reason = "the macro asks for features of PostgreSQL's versions that this crate does not offer"
)]
fn ask_for_shared_memory() {
    pg_shmem_init!(LATCH);
}

/// Statement trigger: wakes the worker at commit of this transaction.
#[pg_trigger]
fn wake_worker<'a>(
    _trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByRust>>, Infallible> {
    if IS_PRELOADED.load(Ordering::Relaxed) {
        if !IS_CALLED.replace(true) {
            // SAFETY: libraries are never unloaded, so the function's address stays valid as long as the process
            // lives.
            unsafe { pg_sys::RegisterXactCallback(Some(at_end), std::ptr::null_mut()) };
        }
        HAS_WRITTEN.set(true);
    }
    Ok(None)
}

/// Called by PostgreSQL at the end of each transaction of this process, when its writes are visible to others.
#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    let has_committed = match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => true,
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => false,
        _ => return,
    };
    if HAS_WRITTEN.replace(false) && has_committed {
        let latch = LATCH.get().load(Ordering::Acquire);
        if latch != 0 {
            // SAFETY: the latch belongs to a process slot in shared memory, which exists until the server ends. If
            // the worker has ended, its slot is free or another process's, which gets a spurious wake-up, as
            // PostgreSQL allows.
            unsafe { pg_sys::SetLatch(latch as *mut pg_sys::Latch) };
        }
    }
}

/// The worker's main function.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn carbon_worker_main(_argument: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    let database = DATABASE.get();
    let database = database.as_deref().map(|name| name.to_string_lossy());
    BackgroundWorker::connect_worker_to_spi(database.as_deref(), None);
    // SAFETY: this process's own latch, which has been the one in shared memory since it was connected.
    let latch = unsafe { pg_sys::MyLatch };
    LATCH.get().store(latch as usize, Ordering::Release);

    let mut said = None;
    let mut is_careful = false;
    let mut pause = Duration::ZERO;
    while BackgroundWorker::wait_latch(Some(pause)) {
        if BackgroundWorker::sighup_received() {
            // SAFETY: this is the worker's only thread, between two transactions, where PostgreSQL's own workers
            // reload their settings.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        let taken = take(&mut said, &mut is_careful);
        // Sessions report their statistics when they wait for the next command; a worker must do so itself, or
        // autovacuum never learns of the dead rows of the boards. SAFETY: no transaction is open here, as this
        // function requires.
        unsafe { pg_sys::pgstat_report_stat(false) };
        pause = match taken {
            Taken::Rows(FULL_SLICE) => Duration::ZERO,
            Taken::Rows(0) => IDLE,
            Taken::Rows(_) => {
                sleep(REST);
                IDLE
            }
            // Another call holds the boards' lock, and may not have seen the newest rows.
            Taken::Busy => {
                sleep(REST);
                REST
            }
            Taken::Broken => Duration::ZERO,
            // Further commits must not shorten the pause after a failure.
            Taken::Failed => {
                sleep(IDLE);
                IDLE
            }
        };
    }
    // Exit code 0 would mean that the worker is never restarted, for example after a manual termination. SAFETY:
    // this is the process's main function, and nothing of it is needed after this call.
    unsafe { pg_sys::proc_exit(1) };
}

/// The result of a slice.
enum Taken {
    /// The number of rows taken; `None` if there is no function to call.
    Rows(i32),
    Busy,
    /// An error ended the transaction; a careful slice returns its text.
    Broken,
    Failed,
}

/// One slice in its own transaction. Logs a failure if it differs from the last one, and the recovery after it.
fn take(said: &mut Option<String>, is_careful: &mut bool) -> Taken {
    let careful = *is_careful;
    let outcome = PgTryBuilder::new(|| Some(slice(careful)))
        .catch_others(|_| None)
        .execute();
    let Some((taken, failure)) = outcome else {
        // SAFETY: the process's only thread, in a transaction that an error has ended; PostgreSQL's own workers do
        // the same.
        unsafe { pg_sys::AbortCurrentTransaction() };
        *is_careful = true;
        return Taken::Broken;
    };
    *is_careful = failure.is_some();
    let result = match (taken, &failure) {
        (_, Some(_)) => Taken::Failed,
        (Some(rows), None) => Taken::Rows(rows),
        (None, None) => Taken::Busy,
    };
    if *said != failure {
        match &failure {
            Some(failure) => log!("the outbox is not emptied: {failure}"),
            None => log!("the outbox is emptied again"),
        }
        *said = failure;
    }
    result
}

/// The number of rows taken (none while another call takes rows), and the error if any.
///
/// Always runs as a read-only select: pgrx assigns a transaction id in advance to every other call. An idle server
/// would use one a second, and `private.next_outbox_id()` returns NULL to a transaction that has one, so the
/// outbox's low-water mark would never advance.
fn slice(is_careful: bool) -> (Option<i32>, Option<String>) {
    BackgroundWorker::transaction(|| {
        let owner = Spi::connect(|client| {
            client
                .select(OWNER, Some(1), &[])?
                .first()
                .get_one::<pg_sys::Oid>()
        });
        let Ok(Some(owner)) = owner else {
            return (Some(0), None);
        };
        as_role(owner, || {
            Spi::connect(|client| {
                let slice =
                    client.select(TAKE, Some(1), &[FULL_SLICE.into(), is_careful.into()])?;
                slice.first().get_two::<i32, String>()
            })
            .unwrap_or_else(|error| (None, Some(error.to_string())))
        })
    })
}

/// Runs `work` as a role that cannot regain the worker's superuser rights, as autovacuum runs code written by a
/// table's owner.
fn as_role<T>(role: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    let mut user = pg_sys::InvalidOid;
    let mut context = 0;
    let restricted = pg_sys::SECURITY_RESTRICTED_OPERATION.cast_signed();
    // SAFETY: a transaction is open and this process has one thread. The role owns a function, and under the
    // restriction nothing that runs as it can change the role again.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
        pg_sys::SetUserIdAndSecContext(role, context | restricted);
    }
    let result = work();
    // Not reached after an error: the end of the transaction resets both. SAFETY: the values are those read above.
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
                "select count(*) from pg_catalog.pg_stat_activity where backend_type = 'carbon worker'"
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
            "select pid from pg_catalog.pg_stat_activity where backend_type = 'carbon worker'";
        let before: i32 = one(pid);
        // Several poll intervals, and longer than a restart takes.
        Spi::run("select pg_catalog.pg_sleep(2.5)").unwrap();
        Spi::run("select pg_catalog.pg_stat_clear_snapshot()").unwrap();
        assert_eq!(one::<i32>(pid), before);
    }

    #[pg_test]
    fn an_idle_worker_uses_no_transaction_ids() {
        // The next id, from a new snapshot: that of the test's own transaction may be cached by the session.
        let next_id = || {
            one::<i64>(
                "select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint",
            )
        };
        // Concurrent tests use some transaction ids, but not in every window; a worker that used one per poll would
        // show in all of them.
        let fewest = (0..10)
            .map(|_| {
                let before = next_id();
                Spi::run("select pg_catalog.pg_sleep(1.1)").unwrap();
                next_id() - before
            })
            .min();
        assert_eq!(fewest, Some(0));
    }

    #[pg_test]
    fn a_statement_trigger_wakes_it_and_lets_the_statement_be() {
        Spi::run(
            "create table public.left_behind (id integer);
             create trigger tg before insert on public.left_behind for each statement execute function carbon.wake_worker();
             insert into public.left_behind values (1), (2)",
        )
        .unwrap();
        assert_eq!(one::<i64>("select count(*) from public.left_behind"), 2);
    }
}
