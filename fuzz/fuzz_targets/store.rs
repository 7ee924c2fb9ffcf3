//! libFuzzer on the target `store` of `crates/fuzz`. Source: docs/fuzz.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| florin_fuzz_targets::run("store", data));
