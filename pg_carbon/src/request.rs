//! Decides whether an API request is admitted, by its session and by the number of its user's requests in flight.
//!
//! This runs before each request of PostgREST, so it runs no query. It reads one row by its key, and takes its slots as
//! advisory locks, which end with the transaction in every case.

use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use carbon_domain::DomainError;
use carbon_domain::limits::{HEAVY_REQUESTS_AT_ONCE, REQUESTS_AT_ONCE};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::refusal::{Refusal, refusing_function};

static LIMITS: GucSetting<bool> = GucSetting::<bool>::new(true);
static HEAVY_SLOTS: GucSetting<i32> = GucSetting::<i32>::new(0);

/// The number of heavy slots for `carbon.heavy_slots = 0` on this machine. Heavy requests are CPU-bound: more of them than
/// cores are not faster, and others would wait.
static SLOTS_OF_CORES: AtomicI32 = AtomicI32::new(2);

/// The most heavy requests at once: PostgREST has 20 connections, and short requests need the others.
const MOST_HEAVY_SLOTS: i32 = 8;

/// The class of the advisory locks of the shared heavy slots (two keys of 32 bits; the second is the slot).
const HEAVY_CLASS: u32 = 0x6361_7262;

/// From this number on, a user's slots are their heavy slots.
const FIRST_HEAVY_SLOT: u8 = 101;

/// An id of Auth's.
type Id = [u8; 16];

/// Defines the settings.
pub fn register() {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let slots = i32::try_from(cores).unwrap_or(MOST_HEAVY_SLOTS);
    SLOTS_OF_CORES.store(slots.clamp(2, MOST_HEAVY_SLOTS), Ordering::Relaxed);
    GucRegistry::define_bool_guc(
        c"carbon.limits",
        c"Whether requests in flight and imports are counted; off is for load tests on a developer's machine.",
        c"",
        &LIMITS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"carbon.heavy_slots",
        c"How many imports, batches and searches of everybody may be under way at once, half as many of anonymous people; 0 is one for each core, 2 to 8.",
        c"",
        &HEAVY_SLOTS,
        0,
        MOST_HEAVY_SLOTS,
        GucContext::Sighup,
        GucFlags::default(),
    );
}

/// The setting of this name; `None` if it is not set or empty.
pub fn setting(name: &CStr) -> Option<&'static str> {
    // SAFETY: the text is valid until the setting changes, and nothing here uses it for longer than a call.
    let value = unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value))
    };
    value
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
}

/// The claims that are read from a token, which the API has verified.
#[derive(Default, Deserialize)]
struct Claims {
    sub: Option<String>,
    session_id: Option<String>,
    is_anonymous: Option<Value>,
}

impl Claims {
    /// The claims of the request; `None` if they cannot be parsed.
    fn of_request() -> Option<Self> {
        setting(c"request.jwt.claims").map_or_else(
            || Some(Self::default()),
            |claims| serde_json::from_str(claims).ok(),
        )
    }

    fn is_anonymous(&self) -> bool {
        self.sub.is_none()
            || self
                .is_anonymous
                .as_ref()
                .is_some_and(|is| *is == true || *is == "true")
    }

    fn person(&self) -> Option<Id> {
        self.sub.as_deref().and_then(id)
    }

    /// Whether a token with these claims is still valid.
    ///
    /// The sessions of deleted or banned users end with the change that closes the user, so for a token with a session this
    /// checks only the session's row. For one without (of operators and tests) it checks the user, and lets users pass
    /// that Auth does not have.
    fn is_live(&self) -> bool {
        // The service key and the anon key have no user.
        if self.sub.is_none() {
            return true;
        }
        let Some(person) = self.person() else {
            return false;
        };
        // SAFETY: called within a transaction.
        let now = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
        match self
            .session_id
            .as_deref()
            .filter(|session| !session.is_empty())
        {
            Some(session) => id(session).is_some_and(|session| {
                read(c"sessions", session, |row| {
                    row.id(c"user_id") == Some(person)
                        && row.time(c"not_after").is_none_or(|end| end > now)
                })
                .unwrap_or(false)
            }),
            None => read(c"users", person, |row| {
                row.time(c"deleted_at").is_none()
                    && row.time(c"banned_until").is_none_or(|end| end <= now)
            })
            .unwrap_or(true),
        }
    }
}

/// The sixteen bytes of an id; `None` for any other text.
fn id(text: &str) -> Option<Id> {
    let mut digits = text.bytes().filter(|byte| *byte != b'-');
    let mut id = Id::default();
    for byte in &mut id {
        let mut digit = || char::from(digits.next()?).to_digit(16);
        *byte = u8::try_from(digit()? << 4 | digit()?).ok()?;
    }
    digits.next().is_none().then_some(id)
}

/// An open row of one of Auth's tables.
struct Row {
    table: pg_sys::Relation,
    tuple: pg_sys::HeapTuple,
}

impl Row {
    fn column(&self, name: &CStr) -> Option<pg_sys::Datum> {
        // SAFETY: table and row are open.
        unsafe {
            let number = pg_sys::get_attnum((*self.table).rd_id, name.as_ptr());
            let number = usize::try_from(number).ok().and_then(NonZeroUsize::new);
            let Some(number) = number else {
                error!("auth has no column {name:?}");
            };
            pgrx::htup::heap_getattr_raw(self.tuple, number, (*self.table).rd_att)
        }
    }

    /// Microseconds since 2000.
    fn time(&self, name: &CStr) -> Option<i64> {
        self.column(name)
            .map(|datum| datum.value().cast_signed() as i64)
    }

    fn id(&self, name: &CStr) -> Option<Id> {
        // SAFETY: a uuid is sixteen bytes, wherever in the row.
        self.column(name)
            .map(|datum| unsafe { *datum.cast_mut_ptr::<Id>() })
    }
}

/// The result of `inspect` for the row with this id in one of Auth's tables, found by its primary key; `None` if there is
/// none.
fn read<T>(table: &CStr, mut id: Id, inspect: impl FnOnce(&Row) -> T) -> Option<T> {
    // SAFETY: called within a statement, with its snapshot; an error ends the transaction, which closes what is open.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"auth".as_ptr(), true);
        let table = pg_sys::get_relname_relid(table.as_ptr(), schema);
        if table == pg_sys::InvalidOid {
            return None;
        }
        const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let table = pg_sys::table_open(table, LOCK);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &raw mut key,
            pg_sys::get_attnum((*table).rd_id, c"id".as_ptr()),
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::Oid::from(pg_sys::F_UUID_EQ),
            pg_sys::Datum::from(&raw mut id),
        );
        let index = pg_sys::RelationGetPrimaryKeyIndex(table);
        let scan = pg_sys::systable_beginscan(
            table,
            index,
            true,
            pg_sys::GetActiveSnapshot(),
            1,
            &raw mut key,
        );
        let tuple = pg_sys::systable_getnext(scan);
        let seen = (!tuple.is_null()).then(|| inspect(&Row { table, tuple }));
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, LOCK);
        seen
    }
}

/// Takes an advisory lock until the end of the transaction, or finds that this transaction has it; false if another
/// transaction has it. `kind`: 1 for one key of 64 bits, 2 for two of 32, as PostgreSQL's own functions.
fn take(high: u32, low: u32, kind: u16) -> bool {
    // SAFETY: called within a transaction, whose end releases the lock.
    unsafe {
        let tag = pg_sys::LOCKTAG {
            locktag_field1: pg_sys::MyDatabaseId.to_u32(),
            locktag_field2: high,
            locktag_field3: low,
            locktag_field4: kind,
            locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
            locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        };
        let lock = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        pg_sys::LockAcquire(&raw const tag, lock, false, true)
            != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }
}

/// Takes one of the user's slots by its number.
fn take_own(person: Id, slot: u8) -> bool {
    let [high, low] = [0, 8].map(|at| {
        let half: [u8; 8] = std::array::from_fn(|place| person[at + place]);
        u64::from_be_bytes(half)
    });
    let key = high ^ low ^ (u64::from(slot) << 56);
    take((key >> 32) as u32, key as u32, 1)
}

/// Why a heavy request may not start now; null if it may, and then it holds one of the user's heavy slots and one of the
/// shared ones. Once per transaction.
pub fn heavy_refusal() -> *mut Refusal {
    let by_client = matches!(setting(c"role"), Some("anon" | "authenticated"));
    if !by_client || !LIMITS.get() || setting(c"request.is_heavy").is_some() {
        return ptr::null_mut();
    }
    let claims = Claims::of_request().unwrap_or_default();
    let all = match HEAVY_SLOTS.get() {
        0 => SLOTS_OF_CORES.load(Ordering::Relaxed),
        slots => slots,
    };
    // Some shared slots are reserved: users with a phone number begin with those that anonymous users may not take.
    let last = if claims.is_anonymous() {
        (all + 1) / 2
    } else {
        all
    };
    let has_own = claims.person().is_none_or(|person| {
        (FIRST_HEAVY_SLOT..FIRST_HEAVY_SLOT + HEAVY_REQUESTS_AT_ONCE as u8)
            .any(|slot| take_own(person, slot))
    });
    if has_own
        && (1..=last.cast_unsigned())
            .rev()
            .any(|slot| take(HEAVY_CLASS, slot, 2))
    {
        // SAFETY: the texts end with their zeros; a setting of this transaction.
        unsafe {
            pg_sys::set_config_option(
                c"request.is_heavy".as_ptr(),
                c"true".as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_LOCAL,
                true,
                0,
                false,
            );
        }
        return ptr::null_mut();
    }
    Refusal::limit(DomainError::TooManyAtOnce, 1)
}

/// Whether the request's body is a batch, estimated by its length: an entry with notes of full length has 4 KiB.
fn is_long() -> bool {
    #[derive(Deserialize)]
    struct Headers {
        #[serde(rename = "content-length")]
        content_length: Option<String>,
    }
    setting(c"request.method") == Some("POST")
        && setting(c"request.headers")
            .and_then(|headers| serde_json::from_str::<Headers>(headers).ok())
            .and_then(|headers| headers.content_length)
            .is_some_and(|length| length.len() > 4)
}

#[pg_guard]
unsafe extern "C-unwind" fn refusal_of_request(_call: pg_sys::FunctionCallInfo) -> *mut Refusal {
    let claims = Claims::of_request().filter(Claims::is_live);
    let Some(claims) = claims else {
        return Refusal::of(DomainError::SessionEnded, "PT401");
    };
    let Some(person) = claims.person() else {
        return ptr::null_mut();
    };
    // Before its rows are written.
    if is_long() {
        let refusal = heavy_refusal();
        if !refusal.is_null() {
            return refusal;
        }
    }
    if (1..=REQUESTS_AT_ONCE as u8).any(|slot| take_own(person, slot)) || !LIMITS.get() {
        return ptr::null_mut();
    }
    Refusal::limit(DomainError::TooManyAtOnce, 1)
}

#[pg_guard]
unsafe extern "C-unwind" fn refusal_of_heavy(_call: pg_sys::FunctionCallInfo) -> *mut Refusal {
    heavy_refusal()
}

refusing_function!(
    carbon_check_request,
    pg_finfo_carbon_check_request,
    refusal_of_request
);
refusing_function!(
    carbon_hold_heavy_slot,
    pg_finfo_carbon_hold_heavy_slot,
    refusal_of_heavy
);

extension_sql!(
    r#"create function check_request() returns void language c as 'MODULE_PATHNAME', 'carbon_check_request';
       create function hold_heavy_slot() returns void language c as 'MODULE_PATHNAME', 'carbon_hold_heavy_slot';"#,
    name = "requests"
);

/// Whether the caller's token is still valid, by the row of its session or, without one, of its user.
#[pg_extern(stable)]
fn is_session_live() -> bool {
    Claims::of_request().is_some_and(|claims| claims.is_live())
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use super::id;
    use crate::testing::{failure, one};

    const PERSON: &str = "a0000000-0000-4000-8000-00000000000c";
    const SESSION: &str = "b0000000-0000-4000-8000-000000000001";

    fn claim(claims: &str) {
        Spi::run(&format!("set local request.jwt.claims = '{claims}'")).unwrap();
    }

    fn slots() -> i64 {
        one("select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'")
    }

    fn auth(users: &str, sessions: &str) {
        Spi::run(&format!(
            "create schema auth;
             create table auth.users (id uuid primary key, deleted_at timestamptz, banned_until timestamptz);
             create table auth.sessions (gone text, id uuid primary key, user_id uuid, not_after timestamptz);
             alter table auth.sessions drop gone;
             insert into auth.users values {users};
             insert into auth.sessions values {sessions}"
        ))
        .unwrap();
    }

    #[pg_test]
    fn a_token_is_valid_as_long_as_its_session() {
        auth(
            &format!("('{PERSON}', now(), null)"),
            &format!("('{SESSION}', '{PERSON}', null)"),
        );
        let is_live = |person: &str, session: &str| {
            claim(&format!(
                r#"{{"sub": "{person}", "session_id": {session}}}"#
            ));
            one::<bool>("select carbon.is_session_live()")
        };
        let session = format!("\"{SESSION}\"");
        assert!(is_live(PERSON, &session));
        assert!(is_live(&PERSON.to_uppercase(), &session));
        let other = PERSON.replace('c', "d");
        assert!(!is_live(&other, &session));
        assert!(!is_live(PERSON, &session.replace('1', "2")));
        assert!(!is_live(PERSON, "\"1\"") && !is_live("1", &session) && !is_live(PERSON, "1"));
        for session in ["null", "\"\""] {
            assert!(!is_live(PERSON, session), "the person was deleted");
            assert!(is_live(&other, session), "Auth does not know the person");
        }
        Spi::run("update auth.sessions set not_after = now()").unwrap();
        assert!(!is_live(PERSON, &session));
        claim("");
        assert!(one::<bool>("select carbon.is_session_live()"));
    }

    #[pg_test]
    fn a_token_without_a_session_is_valid_as_long_as_its_user() {
        auth(
            &format!("('{PERSON}', null, null)"),
            &format!("('{SESSION}', null, null)"),
        );
        claim(&format!(r#"{{"sub": "{PERSON}"}}"#));
        for (until, live) in [
            ("null", true),
            ("now()", true),
            ("now() + interval '1 s'", false),
        ] {
            Spi::run(&format!("update auth.users set banned_until = {until}")).unwrap();
            assert_eq!(
                one::<bool>("select carbon.is_session_live()"),
                live,
                "{until}"
            );
        }
    }

    #[pg_test]
    fn a_request_holds_one_slot_and_a_heavy_one_two_more_once() {
        claim(&format!(r#"{{"sub": "{PERSON}"}}"#));
        Spi::run("create role authenticated; grant usage on schema carbon to authenticated; set local role authenticated").unwrap();
        Spi::run("select carbon.check_request()").unwrap();
        assert_eq!(slots(), 1);
        Spi::run("select carbon.hold_heavy_slot(), carbon.hold_heavy_slot()").unwrap();
        assert_eq!(slots(), 3);
    }

    #[pg_test]
    fn a_long_body_is_heavy() {
        claim(&format!(r#"{{"sub": "{PERSON}"}}"#));
        Spi::run("create role authenticated; grant usage on schema carbon to authenticated; set local role authenticated").unwrap();
        Spi::run("set local request.headers = '{\"content-length\": \"10000\"}'; set local request.method = 'GET'").unwrap();
        Spi::run("select carbon.check_request()").unwrap();
        assert_eq!(slots(), 1);
        Spi::run("set local request.method = 'POST'; select carbon.check_request()").unwrap();
        assert_eq!(slots(), 3);
    }

    #[pg_test]
    fn callers_without_a_user_are_not_counted_and_ended_sessions_are_refused() {
        Spi::run("select carbon.check_request()").unwrap();
        claim(r#"{"role": "anon"}"#);
        Spi::run("select carbon.check_request()").unwrap();
        claim(&format!(
            r#"{{"sub": "{PERSON}", "session_id": "{SESSION}"}}"#
        ));
        let failure = failure("select carbon.check_request()");
        assert_eq!(
            (failure.state.as_str(), failure.detail.as_str()),
            ("PT401", "carbon.session_ended")
        );
        assert_eq!(slots(), 0);
    }

    #[pg_test]
    fn an_id_is_32_digits() {
        assert_eq!(
            id("00000000-0000-0000-0000-0000000000ff").map(|id| id[15]),
            Some(255)
        );
        for not in [
            "",
            "0000000000000000000000000000000",
            "000000000000000000000000000000000",
            "0000000000000000000000000000000g",
        ] {
            assert_eq!(id(not), None, "{not}");
        }
    }
}
