//! Carbon-Pixels inside PostgreSQL.

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

/// Placeholder.
#[pg_extern(immutable, strict, parallel_safe)]
fn current_factor_set() -> &'static str {
    "tgo-app-2024"
}
