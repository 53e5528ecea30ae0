//! What a name may hold, and when a text is found by a search.
//!
//! These rules need Unicode's tables, which are larger than the Worker may be: they are compiled with the feature
//! `unicode-tables`, which the extension has and the Worker has not. The Worker hands such texts on and shows the
//! database's answer, so there is one answer.

mod characters;
mod name;
mod search;

pub use name::name;
pub use search::{contains, search_key};
