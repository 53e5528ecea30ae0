//! The one place that translates errors of the domain to SQL: SQLSTATE, MESSAGE, DETAIL, HINT.

use carbon_domain::error::{DomainError, FieldError};
use carbon_domain::lang::Lang;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// The SQLSTATE of an error: invalid input unless listed otherwise.
///
/// States of the form PTnnn, which PostgREST answers with status nnn, can be raised by PL/pgSQL alone;
/// errors that need one are never raised from here.
fn sqlstate(error: DomainError) -> PgSqlErrorCode {
    match error {
        DomainError::UsernameTaken => PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
        DomainError::UnknownUser => PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION,
        // Like the extension safeupdate, which Supabase's images load for the API's role.
        DomainError::FilterRequired => PgSqlErrorCode::ERRCODE_CARDINALITY_VIOLATION,
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
        // An unknown field has the name that the client sent.
        field => format!(
            "{}: {}",
            field.replace('\0', "\u{fffd}"),
            error.message(Lang::En)
        ),
    };
    ErrorReport::new(sqlstate(error), message, "pg_carbon")
        .set_detail(error.token())
        .set_hint(error.message(Lang::Th))
        .report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Converts a result of the domain to SQL.
pub trait OrRaise<T> {
    /// Returns the value, or ends the statement by [`raise`].
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

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use carbon_domain::error::DomainError;
    use pgrx::prelude::*;

    use super::raise;
    use crate::testing::{failure, one};

    #[pg_extern]
    fn break_down() -> bool {
        panic!("a mistake of the programmer")
    }

    #[pg_extern]
    fn raise_token(token: &str) -> bool {
        raise(DomainError::from_token(token).expect("a known token"))
    }

    #[pg_test]
    fn a_panic_is_an_error_and_the_session_goes_on() {
        let failure = failure("select tests.break_down()");
        assert_eq!(failure.state, "XX000");
        assert_eq!(one::<i32>("select carbon.level(100)"), 2);
    }

    #[pg_test]
    fn every_mistake_is_raised_with_its_token_and_texts() {
        for error in DomainError::ALL {
            let failure = failure(&format!("select tests.raise_token('{}')", error.token()));
            let message = match error.field() {
                Some(field) => format!("{field}: {error}"),
                None => error.to_string(),
            };
            assert_eq!(
                (failure.detail.as_str(), failure.message),
                (error.token(), message)
            );
            assert!(!failure.hint.is_empty());
            assert!(
                matches!(
                    failure.state.as_str(),
                    "22023" | "21000" | "23505" | "23503" | "42501"
                ),
                "{error:?}"
            );
        }
    }
}
