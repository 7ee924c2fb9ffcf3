//! libFuzzer on the target `checkpoint` of `crates/fuzz`. Source: docs/fuzz.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| florin_fuzz_targets::run("checkpoint", data));
