//! libFuzzer on the target `x402` of `crates/fuzz`. Source: docs/fuzz.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| florin_fuzz_targets::run("x402", data));
