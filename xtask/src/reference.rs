//! `docs`: pages of docs/reference that are generated from a running system.

use std::fs;

use anyhow::{Result, bail};

use crate::checkout::Checkout;
use crate::postgres::Postgres;
use crate::process::text;
use crate::supervisor::running;
use crate::up;

/// The query that returns the page as one text; tests/js/reference.test.mjs runs the same.
const QUERY: &str = include_str!("reference.sql");

/// The path of the page.
const PAGE: &str = "docs/reference/sql.md";

/// Writes docs/reference/sql.md from the comments in the local database.
pub fn write(checkout: &Checkout) -> Result<()> {
    if running(checkout, "postgres").is_none() {
        bail!("the local database does not run; `cargo xtask up` starts it");
    }
    let environment = up::environment(checkout)?;
    let mut psql = Postgres::of(checkout)?.psql(&environment)?;
    let page = text(psql.args(["--tuples-only", "--no-align", "--command", QUERY]))?;
    fs::write(checkout.path(PAGE), format!("{}\n", page.trim_end()))?;
    println!("  ✓ {PAGE}");
    Ok(())
}
