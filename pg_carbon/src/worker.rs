//! The background worker: makes boards and messages of what writers left in the outbox, as soon as they have committed.
//!
//! It knows nothing of tables: it calls `private.run_worker(integer, boolean)` where a database has it. A statement trigger,
//! `carbon.wake_worker()`, remembers that the transaction wrote something; once it has committed, the worker's latch is
//! set. The worker looks by itself as well, so nothing waits for ever. It is registered only where the server preloads
//! the library; elsewhere the trigger does nothing.

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

/// After what time the worker looks although nobody woke it.
const IDLE: Duration = Duration::from_secs(1);

/// What it rests after a slice that was not full, so that what commits meanwhile is one slice: at most 18 a second, each
/// with a transaction id, and nobody is told later than this and a slice.
const REST: Duration = Duration::from_millis(55);

/// After how long the server starts it again, however it ended.
const RESTART: Duration = Duration::from_secs(1);

/// Rows a slice may take; after a full one the next follows at once. Some seconds of work: what is behind others waits for
/// them anyway, and a score is written once for all rows of a slice.
const FULL_SLICE: i32 = 20_000;

/// Who owns the function that takes a slice, where the database has it.
const OWNER: &str = "select proowner from pg_catalog.pg_proc
    where oid = pg_catalog.to_regprocedure('private.run_worker(integer, boolean)')";

/// Takes a slice.
const TAKE: &str = "select taken, failure from private.run_worker($1, $2)";

static DATABASE: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"postgres"));

/// Where the worker's latch lies in shared memory, which every process sees at the same address; 0 before it first ran.
// SAFETY: the only one of its name.
static LATCH: PgAtomic<AtomicUsize> = unsafe { PgAtomic::new(c"carbon worker") };

/// Whether there is shared memory of ours: set by the postmaster and inherited.
static IS_PRELOADED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this process has told PostgreSQL to be called at the end of transactions.
    static IS_CALLED: Cell<bool> = const { Cell::new(false) };

    /// Whether the transaction at work has written to the outbox.
    static HAS_WRITTEN: Cell<bool> = const { Cell::new(false) };
}

/// Defines the setting, asks for shared memory and registers the worker. Only for a server that preloads the library:
/// sessions that load it later find the setting as the server has it, or not at all.
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

/// Statement trigger: wakes the worker once this transaction has committed.
#[pg_trigger]
fn wake_worker<'a>(
    _trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByRust>>, Infallible> {
    if IS_PRELOADED.load(Ordering::Relaxed) {
        if !IS_CALLED.replace(true) {
            // SAFETY: the function stays where it is as long as the process lives, as libraries do.
            unsafe { pg_sys::RegisterXactCallback(Some(at_end), std::ptr::null_mut()) };
        }
        HAS_WRITTEN.set(true);
    }
    Ok(None)
}

/// Called by PostgreSQL at the end of each of this process's transactions, when what it wrote is visible to others.
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
            // SAFETY: the latch of a slot for a process, which lies in shared memory until the server ends. If the
            // worker has ended, its slot is free or another's, who is woken for nothing, as PostgreSQL expects it.
            unsafe { pg_sys::SetLatch(latch as *mut pg_sys::Latch) };
        }
    }
}

/// The worker's whole life.
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
            // SAFETY: this is the worker's only thread, between two transactions, where PostgreSQL's own workers read
            // their settings again.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        let taken = take(&mut said, &mut is_careful);
        // Sessions report what they wrote when they wait for the next command; a worker has to do it itself, or
        // autovacuum never learns of the rows that the boards leave dead.
        // SAFETY: no transaction is open here, which is what this function asks for.
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
            // Commits shall not make it fail more often.
            Taken::Failed => {
                sleep(IDLE);
                IDLE
            }
        };
    }
    // 0 would mean that it is never started again: somebody may end it alone.
    // SAFETY: this is the process's main function, and nothing of it is needed any more.
    unsafe { pg_sys::proc_exit(1) };
}

/// What became of a slice.
enum Taken {
    /// So many rows were taken; none where there is nothing to call.
    Rows(i32),
    Busy,
    /// An error ended the transaction; a careful slice tells what it was.
    Broken,
    Failed,
}

/// One slice, in a transaction of its own. A failure is logged when it differs from the last one, and so is its end.
fn take(said: &mut Option<String>, is_careful: &mut bool) -> Taken {
    let careful = *is_careful;
    let outcome = PgTryBuilder::new(|| Some(slice(careful)))
        .catch_others(|_| None)
        .execute();
    let Some((taken, failure)) = outcome else {
        // SAFETY: the process's only thread, in a transaction that an error has ended; as PostgreSQL's own workers do it.
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

/// How many rows were taken, none while another call takes some, and what failed.
///
/// It only ever selects: pgrx gives every other call a transaction id in advance. An idle server would use up one a
/// second, and `private.next_outbox_id()` answers nothing to a transaction that has one, so that the outbox's low-water mark
/// would stay where it is.
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
        // Several of its turns, and longer than it would need to be started again.
        Spi::run("select pg_catalog.pg_sleep(2.5)").unwrap();
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
