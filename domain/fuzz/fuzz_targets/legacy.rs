//! Old diaries never break the parser: `cargo +nightly fuzz run legacy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| carbon_domain::legacy::fuzz(bytes));
