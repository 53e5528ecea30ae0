//! What the server refuses clients, regardless of the gateway in front of it.
//!
//! A client statement runs as `anon` or `authenticated`, and not in a function that runs as its owner. Clients
//! cannot change or delete rows without a filter, and their long or searching statements need one of the few heavy
//! slots.

use std::ffi::{CStr, c_int};
use std::ptr;

use carbon_domain::DomainError;
use pgrx::PgList;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;

use crate::error::raise;
use crate::refusal::{Refusal, raise as raise_refusal};
use crate::request::heavy_refusal;

/// Bytes from which a statement counts as long. A select of all columns of the diary with ten conditions, as PostgREST
/// writes it, has about 2,000.
const LONG_BYTES: usize = 3_000;

static RECORDS_ENTRIES: GucSetting<bool> = GucSetting::<bool>::new(false);
static REWARDS_ARE_QUIET: GucSetting<bool> = GucSetting::<bool>::new(false);

static mut NEXT_ANALYZE: pg_sys::post_parse_analyze_hook_type = None;
static mut NEXT_START: pg_sys::ExecutorStart_hook_type = None;

/// Defines the settings and installs both guards in front of the server's existing hooks.
pub fn register() {
    GucRegistry::define_bool_guc(
        c"carbon.records_entries",
        c"Set by a function that does itself what the trigger on new entries does; counts for nothing in a client's own statement.",
        c"",
        &RECORDS_ENTRIES,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"carbon.rewards_are_quiet",
        c"Set by a function whose rewards are not news: imports, repairs, evaluations by new rules.",
        c"",
        &REWARDS_ARE_QUIET,
        GucContext::Userset,
        GucFlags::default(),
    );
    // SAFETY: the library is loaded once per process, by its only thread.
    unsafe {
        NEXT_ANALYZE = pg_sys::post_parse_analyze_hook;
        pg_sys::post_parse_analyze_hook = Some(refuse_without_filter);
        NEXT_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(count_heavy);
    }
}

/// Whether the statement runs as a client.
fn by_client() -> bool {
    // SAFETY: called inside a transaction; the name is a copy that its memory context frees.
    let name = unsafe { pg_sys::GetUserNameFromId(pg_sys::GetUserId(), true) };
    !name.is_null()
        && matches!(
            // SAFETY: the server passes pointers that remain valid for as long as this runs.
            unsafe { CStr::from_ptr(name) }.to_bytes(),
            b"authenticated" | b"anon"
        )
}

/// Whether the query changes or deletes rows without a filter.
///
/// # Safety
/// `query` must come from the parser.
unsafe fn names_no_rows(query: *mut pg_sys::Query) -> bool {
    // SAFETY: the server passes pointers that remain valid for as long as this runs.
    unsafe {
        let tree = (*query).jointree;
        if changes_rows(query) && !tree.is_null() && (*tree).quals.is_null() {
            return true;
        }
        // PostgREST writes inside a common table expression.
        PgList::<pg_sys::CommonTableExpr>::from_pg((*query).cteList)
            .iter_ptr()
            .filter(|cte| pgrx::is_a((**cte).ctequery, pg_sys::NodeTag::T_Query))
            .any(|cte| names_no_rows((*cte).ctequery.cast()))
    }
}

/// Whether the query itself is an update or a deletion.
///
/// # Safety
/// As for [`names_no_rows`].
unsafe fn changes_rows(query: *mut pg_sys::Query) -> bool {
    // SAFETY: the server passes pointers that remain valid for as long as this runs.
    let command = unsafe { (*query).commandType };
    command == pg_sys::CmdType::CMD_UPDATE || command == pg_sys::CmdType::CMD_DELETE
}

#[pg_guard]
unsafe extern "C-unwind" fn refuse_without_filter(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jumble: *mut pg_sys::JumbleState,
) {
    // SAFETY: the server passes pointers that remain valid for as long as this runs.
    unsafe {
        if let Some(next) = NEXT_ANALYZE {
            next(state, query, jumble);
        }
        let writes = (*query).hasModifyingCTE || changes_rows(query);
        if writes && by_client() && names_no_rows(query) {
            raise(DomainError::FilterRequired);
        }
    }
}

/// Whether a statement searches or is long.
fn is_heavy(text: &[u8]) -> bool {
    text.len() > LONG_BYTES || text.contains(&b'~') || text.windows(2).any(|two| two == b"@@")
}

// Without pgrx's guard, because the caller has none.
unsafe extern "C-unwind" {
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: c_int);
}

/// Without a guard, because errors leave it by the server's longjmp: nothing here needs to be dropped.
unsafe extern "C-unwind" fn count_heavy(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // SAFETY: the server passes pointers that remain valid for as long as this runs.
    unsafe {
        raise_refusal(refusal_of(query));
        match NEXT_START {
            Some(next) => next(query, flags),
            None => standard_ExecutorStart(query, flags),
        }
    }
}

/// Why the statement may not start now; null if it may.
#[pg_guard]
unsafe extern "C-unwind" fn refusal_of(query: *mut pg_sys::QueryDesc) -> *mut Refusal {
    // SAFETY: the server passes pointers that remain valid for as long as this runs.
    unsafe {
        let text = (*query).sourceText;
        // A worker of a parallel statement runs under the slot of its leader.
        if pg_sys::ParallelWorkerNumber >= 0
            || text.is_null()
            || !is_heavy(CStr::from_ptr(text).to_bytes())
            || !by_client()
        {
            return ptr::null_mut();
        }
    }
    heavy_refusal()
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use super::is_heavy;
    use crate::testing::{failure, one};

    fn be_a_client() {
        Spi::run(
            "do $$ begin if to_regrole('authenticated') is null then create role authenticated; end if; end $$;
             create schema if not exists private;
             grant usage on schema private to authenticated;
             create table private.things (id integer primary key, name text);
             insert into private.things values (1, 'a'), (2, 'b');
             grant select, update, delete on private.things to authenticated;
             set local role authenticated;",
        )
        .unwrap();
    }

    #[pg_test]
    fn a_client_cannot_change_or_delete_rows_without_a_filter() {
        be_a_client();
        for statement in [
            "delete from private.things",
            "update private.things set name = 'c'",
            "with gone as (delete from private.things returning *) select count(*) from gone",
            "with changed as (update private.things set name = b.name from (select 'c' as name) as b returning 1) select count(*) from changed",
        ] {
            let failure = failure(statement);
            assert_eq!(failure.state, "21000", "{statement}");
            assert_eq!(failure.detail, "carbon.filter_required", "{statement}");
        }
        Spi::run("update private.things set name = 'c' where id = 1").unwrap();
        Spi::run("with gone as (delete from private.things where id = 2 returning 1) select count(*) from gone").unwrap();
        assert_eq!(
            one::<i64>("select count(*) from private.things where name = 'c'"),
            1
        );
    }

    #[pg_test]
    fn others_may() {
        be_a_client();
        Spi::run("reset role; delete from private.things").unwrap();
    }

    fn slots() -> i64 {
        one(
            "select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory' and objsubid = 2",
        )
    }

    fn long() -> String {
        let ids = vec!["1"; 2_000].join(",");
        format!("select name from private.things where id in ({ids})")
    }

    #[pg_test]
    fn searching_statements_of_a_client_take_a_slot() {
        be_a_client();
        Spi::run("select name from private.things where id = 1").unwrap();
        assert_eq!(slots(), 0);
        Spi::run("select name from private.things where name ~~* 'a%'").unwrap();
        assert_eq!(slots(), 1);
    }

    #[pg_test]
    fn so_do_long_ones() {
        be_a_client();
        Spi::run(&format!("reset role; {}", long())).unwrap();
        assert_eq!(slots(), 0);
        Spi::run(&format!("set local role authenticated; {}", long())).unwrap();
        assert_eq!(slots(), 1);
    }

    #[pg_test]
    fn patterns_and_text_search_count_as_searching() {
        assert!(is_heavy(b"a ~ $1") && is_heavy(b"a !~~* $1") && is_heavy(b"a @@ to_tsquery($1)"));
        assert!(!is_heavy(b"a = $1 and b @> $2"));
    }
}
