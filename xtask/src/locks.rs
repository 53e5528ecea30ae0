//! Locks: one command at a time per checkout, and one checkout at a time for a user's tools.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::checkout::Checkout;
use crate::tools;
use crate::wasm_toolchain;

/// One `up`, `down` or `reset` at a time in a checkout.
pub fn lock(checkout: &Checkout) -> Result<fs::File> {
    fs::create_dir_all(&checkout.local)?;
    wait_for(
        &checkout.local.join("lock"),
        "another command works in this checkout",
    )
}

/// Checkouts share tools and toolchains, so only one at a time builds them. If all are present, no checkout
/// waits, because the lock is held only while building.
pub fn lock_cache(checkout: &Checkout) -> Result<Option<fs::File>> {
    if tools::are_made(checkout) && wasm_toolchain::is_made() {
        return Ok(None);
    }
    fs::create_dir_all(&checkout.cache)?;
    let path = checkout.cache.join("lock");
    wait_for(&path, "another checkout installs tools").map(Some)
}

fn wait_for(lock: &Path, why: &str) -> Result<fs::File> {
    let file = fs::File::create(lock)?;
    if file.try_lock().is_err() {
        println!("  … {why}; waiting for it");
        file.lock()?;
    }
    Ok(file)
}
