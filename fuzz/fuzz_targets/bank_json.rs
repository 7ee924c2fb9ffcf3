//! libFuzzer on the target `bank_json` of `crates/fuzz`. Source: docs/fuzz.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| florin_fuzz_targets::run("bank_json", data));
