//! libFuzzer on the target `select` of `crates/fuzz`. Source: docs/fuzz.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| florin_fuzz_targets::run("select", data));
