//! What the programs of this workspace that act on a checkout have in common: their arguments, and how they end.

use std::process::ExitCode;

use anyhow::Result;

use crate::checkout::Checkout;
use crate::copied;

/// Runs a command on the checkout that the program belongs to, with the words of the command line; prints an error.
#[must_use]
pub fn main(run: fn(&Checkout, &[&str]) -> Result<()>) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = Checkout::find().and_then(|checkout| {
        copied::separate(&checkout)?;
        run(&checkout, &words)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n✗ {error:#}");
            ExitCode::FAILURE
        }
    }
}
