//! Reading the figures that are compiled in.

use serde::Deserialize;

/// Parses an embedded file. A mistake in it is a programmer's and is found by the first test that runs.
pub(crate) fn embedded<T: Deserialize<'static>>(text: &'static str) -> T {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => panic!("an embedded data file is broken: {error}"),
    }
}
