//! Errors with SQLSTATEs that PostgREST interprets: PTnnn becomes the status nnn, PGRST contains the entire answer.
//!
//! pgrx has a closed list of SQLSTATEs and turns all others into XX000, and it turns the server's errors into panics. So a
//! function that raises one has two parts: the guarded inner one returns the refusal, in the server's memory; the outer
//! one, without a guard and with nothing to drop, passes it to [`raise`].

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use carbon_domain::error::DomainError;
use carbon_domain::lang::Lang;
use pgrx::prelude::*;
use serde_json::json;

use crate::request::setting;

/// The texts of an error, in the server's memory.
#[repr(C)]
pub struct Refusal {
    sqlstate: c_int,
    message: *mut c_char,
    detail: *mut c_char,
    hint: *mut c_char,
}

// Without pgrx's guards, whose panics would leave a function that has no guard.
unsafe extern "C-unwind" {
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errcode(sqlstate: c_int) -> c_int;
    fn errmsg_internal(format: *const c_char, ...) -> c_int;
    fn errdetail_internal(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

/// Five letters or digits as the server packs them: six bits each.
fn packed(sqlstate: &str) -> c_int {
    sqlstate.bytes().rev().fold(0, |code, byte| {
        (code << 6) | c_int::from((byte - b'0') & 0x3f)
    })
}

/// The text in the server's memory, which the server frees.
fn copied(text: &str) -> *mut c_char {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: the text ends with its zero.
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
}

/// MESSAGE in English, preceded by the field that it is about.
fn message(error: DomainError) -> String {
    match error.field() {
        Some(field) => format!("{field}: {}", error.message(Lang::En)),
        None => error.message(Lang::En).to_owned(),
    }
}

impl Refusal {
    fn new(sqlstate: &str, message: &str, detail: &str, hint: &str) -> *mut Self {
        // SAFETY: the server returns memory of this size with maximum alignment, or does not return.
        unsafe {
            let refusal: *mut Self = pg_sys::palloc(size_of::<Self>()).cast();
            refusal.write(Self {
                sqlstate: packed(sqlstate),
                message: copied(message),
                detail: copied(detail),
                hint: copied(hint),
            });
            refusal
        }
    }

    /// The error of a token with a SQLSTATE: DETAIL the token, HINT the Thai text.
    pub fn of(error: DomainError, sqlstate: &str) -> *mut Self {
        Self::new(
            sqlstate,
            &message(error),
            error.token(),
            error.message(Lang::Th),
        )
    }

    /// A limit that was reached: PT429. For PostgREST it has the form that yields the same answer with a header, Retry-After
    /// in seconds.
    pub fn limit(error: DomainError, retry_after_secs: i32) -> *mut Self {
        if setting(c"request.method").is_none() {
            return Self::of(error, "PT429");
        }
        let body = json!({
            "code": "PT429", "message": message(error), "details": error.token(), "hint": error.message(Lang::Th),
        });
        let answer = json!({
            "status": 429, "headers": {"Retry-After": retry_after_secs.max(1).to_string()},
        });
        Self::new("PGRST", &body.to_string(), &answer.to_string(), "")
    }
}

/// Ends the statement if there is something to refuse.
///
/// Errors leave it by the server's longjmp, so its callers must have no guard and nothing to drop.
///
/// # Safety
/// `refusal` must be null or come from a function of [`Refusal`].
pub unsafe extern "C-unwind" fn raise(refusal: *mut Refusal) {
    // SAFETY: the caller's promise; the texts end with their zeros.
    unsafe {
        if !refusal.is_null() && errstart(PgLogLevel::ERROR as c_int, ptr::null()) {
            errcode((*refusal).sqlstate);
            errmsg_internal(c"%s".as_ptr(), (*refusal).message);
            errdetail_internal(c"%s".as_ptr(), (*refusal).detail);
            errhint(c"%s".as_ptr(), (*refusal).hint);
            errfinish(c"refusal.rs".as_ptr(), 0, c"raise".as_ptr());
        }
    }
}

/// A SQL function that returns void, or raises the refusal of the guarded function named here.
macro_rules! refusing_function {
    ($name:ident, $info:ident, $refusal_of:path) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const V1: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(
            call: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            // SAFETY: the server passes valid call data; nothing here needs to be dropped.
            unsafe { $crate::refusal::raise($refusal_of(call)) };
            pgrx::pg_sys::Datum::null()
        }
    };
}
pub(crate) use refusing_function;

#[pg_guard]
unsafe extern "C-unwind" fn refusal_of_limit(call: pg_sys::FunctionCallInfo) -> *mut Refusal {
    // SAFETY: the function is declared strict, with these two arguments.
    let (token, secs) = unsafe {
        (
            pgrx::fcinfo::pg_getarg::<&str>(call, 0),
            pgrx::fcinfo::pg_getarg::<i32>(call, 1),
        )
    };
    let token = token.unwrap_or_default();
    let Some(error) = DomainError::from_token(token) else {
        error!("there is no error {token:?}");
    };
    Refusal::limit(error, secs.unwrap_or_default())
}

refusing_function!(
    carbon_raise_limit,
    pg_finfo_carbon_raise_limit,
    refusal_of_limit
);

extension_sql!(
    r#"create function raise_limit(token text, retry_after_secs integer) returns void
       language c stable strict as 'MODULE_PATHNAME', 'carbon_raise_limit';"#,
    name = "refusals"
);

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::failure;

    #[pg_test]
    fn outside_a_request_a_limit_is_a_plain_error() {
        let failure = failure("select carbon.raise_limit('carbon.kept_answers', 17)");
        assert_eq!(failure.state, "PT429");
        assert!(
            failure.message.starts_with("Idempotency-Key: Too many"),
            "{failure:?}"
        );
        assert_eq!(failure.detail, "carbon.kept_answers");
        assert!(failure.hint.contains("คำขอ"), "{failure:?}");
    }

    #[pg_test]
    fn a_refused_request_gets_retry_after() {
        Spi::run("set local request.method = 'POST'").unwrap();
        let failure = failure("select carbon.raise_limit('carbon.kept_answers', 0)");
        assert_eq!(failure.state, "PGRST");
        let body: serde_json::Value = serde_json::from_str(&failure.message).unwrap();
        assert_eq!(
            (&body["code"], &body["details"]),
            (&"PT429".into(), &"carbon.kept_answers".into())
        );
        let answer: serde_json::Value = serde_json::from_str(&failure.detail).unwrap();
        assert_eq!(
            answer,
            serde_json::json!({"status": 429, "headers": {"Retry-After": "1"}})
        );
    }

    #[pg_test(error = "there is no error \"carbon.nothing\"")]
    fn an_unknown_token_is_a_programming_error() {
        Spi::run("select carbon.raise_limit('carbon.nothing', 1)").unwrap();
    }
}
