//! The modules behind the developer's commands. The crates of `dev/` use them too, to start and stop the
//! same system.

#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    reason = "used inside the workspace only; most fields and functions are named by what they are"
)]

pub mod artifacts;
pub mod check;
pub mod checkout;
pub mod copied;
pub mod coverage;
pub mod crates;
pub mod db;
pub mod documents;
pub mod environment;
pub mod faults;
pub mod imports;
pub mod leaks;
pub mod locks;
pub mod migrations;
pub mod mutants;
pub mod openapi;
pub mod postgres;
pub mod process;
pub mod program;
pub mod progress;
pub mod providers;
pub mod pypi;
pub mod reference;
pub mod released;
pub mod results;
pub mod selection;
pub mod services;
pub mod stamp;
pub mod supervisor;
pub mod test;
pub mod tools;
pub mod up;
pub mod wasm_toolchain;
