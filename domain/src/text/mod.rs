//! What a name may contain, and when a search finds a text.
//!
//! These rules need Unicode's tables, which are too large for the Worker. They are compiled with the feature
//! `unicode-tables`, which only the extension has. The Worker passes such texts on and returns the database's answer, so
//! there is one answer.

mod characters;
mod name;
mod search;

pub use name::{has_hidden_characters, name};
pub use search::{contains, search_key};

pub(crate) use characters::place_among_marks as place_in_cluster;
