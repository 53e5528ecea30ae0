//! The one place that knows how a mistake of the domain looks in SQL: SQLSTATE, MESSAGE, DETAIL, HINT.

use carbon_domain::error::{DomainError, FieldError};
use carbon_domain::lang::Lang;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// The SQLSTATE of a mistake that SQL reports: bad input unless the table says otherwise.
///
/// States of the form PTnnn, which PostgREST answers with status nnn, can be raised by PL/pgSQL alone;
/// mistakes that want one are never raised from here.
fn sqlstate(error: DomainError) -> PgSqlErrorCode {
    match error {
        DomainError::UsernameTaken => PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
        DomainError::UnknownUser => PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION,
        DomainError::NotSignedIn | DomainError::PermissionDenied => {
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
        }
        _ => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
    }
}

/// Ends the statement with `error`: MESSAGE `field: text` in English, DETAIL the token, HINT the Thai text.
pub fn raise(error: impl Into<FieldError>) -> ! {
    let FieldError { field, error } = error.into();
    let message = match field.as_ref() {
        "" => error.message(Lang::En).to_owned(),
        field => format!("{field}: {}", error.message(Lang::En)),
    };
    ErrorReport::new(sqlstate(error), message, "pg_carbon")
        .set_detail(error.token())
        .set_hint(error.message(Lang::Th))
        .report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Ends the statement with SQLSTATE 22003: a result is too great for its SQL type.
pub fn raise_overflow(what: &str) -> ! {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        format!("{what} out of range"),
        "pg_carbon",
    )
    .report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Takes a result of the domain across the border to SQL.
pub trait OrRaise<T> {
    /// The value, or the end of the statement by [`raise`].
    fn or_raise(self) -> T;
}

impl<T, E: Into<FieldError>> OrRaise<T> for Result<T, E> {
    #[inline]
    fn or_raise(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => raise(error),
        }
    }
}
