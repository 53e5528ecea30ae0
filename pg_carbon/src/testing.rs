//! What the tests share: catching errors with all of their fields, and querying single values.

use pgrx::prelude::*;

/// The error of a statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// SQLSTATE.
    pub state: String,
    /// MESSAGE.
    pub message: String,
    /// DETAIL, empty when there is none.
    pub detail: String,
    /// HINT, empty when there is none.
    pub hint: String,
}

/// Runs `statement` in a subtransaction and returns its error.
///
/// # Panics
/// When it does not fail.
pub fn failure(statement: &str) -> Failure {
    Spi::run(
        "create or replace function pg_temp.failure(statement text) returns text[] language plpgsql as $body$
         declare state text; message text; detail text; hint text;
         begin
             execute statement;
             return null;
         exception when others then
             get stacked diagnostics state = returned_sqlstate, message = message_text,
                 detail = pg_exception_detail, hint = pg_exception_hint;
             return array[state, message, detail, hint];
         end $body$",
    )
    .expect("the helper can be created");
    let parts =
        Spi::get_one_with_args::<Vec<String>>("select pg_temp.failure($1)", &[statement.into()])
            .expect("the helper runs")
            .unwrap_or_else(|| panic!("{statement} does not fail"));
    let [state, message, detail, hint] = parts.try_into().expect("four parts");
    Failure {
        state,
        message,
        detail,
        hint,
    }
}

/// The token of the invalid-input error with which `statement` ends.
///
/// # Panics
/// When it does not fail or fails in another way.
pub fn refused_with(statement: &str) -> String {
    let failure = failure(statement);
    assert_eq!(failure.state, "22023", "{statement}: {failure:?}");
    assert!(!failure.hint.is_empty(), "{statement}: {failure:?}");
    failure.detail
}

/// The single value that `query` returns.
///
/// # Panics
/// When it fails or returns NULL.
pub fn one<T: FromDatum + IntoDatum>(query: &str) -> T {
    match Spi::get_one::<T>(query) {
        Ok(Some(value)) => value,
        other => panic!(
            "{query}: {}",
            if other.is_ok() { "NULL" } else { "an error" }
        ),
    }
}

/// Whether `query` returns NULL.
///
/// # Panics
/// When it fails.
pub fn is_null(query: &str) -> bool {
    one(&format!("select ({query}) is null"))
}

/// The plan of `query`, with every expression in it.
///
/// # Panics
/// When it cannot be planned.
pub fn plan(query: &str) -> String {
    Spi::connect_mut(|client| {
        let lines = client
            .update(&format!("explain (verbose, costs off) {query}"), None, &[])
            .expect("it can be planned");
        lines
            .map(|line| line.get::<String>(1).ok().flatten().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n")
    })
}
