//! Bad input: one function for each decoder and file, from bytes to nothing. A property that does not hold is a panic. The
//! functions are run by libFuzzer (`fuzz/`, `cargo xtask fuzz`) and, on the stable compiler, by this crate's own tests
//! over the corpus and fixed mutations of it. Source: reliability.md, R12; the issue ("Bad input"); docs/fuzz.md.

mod asker;
mod crypto;
mod disk;
mod edit;
mod issuer;
mod journal;
mod messages;
mod money;
pub mod mutate;
mod paper;
mod say;
#[cfg(test)]
mod seeds;
mod settings;
mod text;
mod web;
mod world;

/// A function that is tried, and what the short run does with it.
pub struct Target {
    /// Its name: the folder of its corpus, and the binary in `fuzz/`.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
    /// So many mutations of the corpus are tried by the short run.
    pub rounds: u32,
    /// So much memory may one input take, in KiB, besides 256 bytes for each of its own.
    pub memory_kib: usize,
    /// Words that its inputs are made of, for the mutations.
    pub words: &'static [&'static str],
}

const fn target(name: &'static str, run: fn(&[u8]), rounds: u32, words: &'static [&'static str]) -> Target {
    Target { name, run, rounds, memory_kib: 2048, words }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("amount", money::amount, 60_000, money::WORDS),
    target("money_cbor", money::encodings, 60_000, &[]),
    target("select", money::selection, 1_500, &[]),
    target("payto", text::payto, 60_000, text::PAYTO),
    target("words", text::words, 60_000, text::WORDS),
    target("path", web::path, 60_000, web::PATHS),
    target("x402", web::x402, 12_000, web::JSON),
    target("offer", web::offer, 3_000, web::JSON),
    target("problem", web::problem, 10_000, web::JSON),
    target("bank_json", web::bank, 8_000, web::JSON),
    target("rules", settings::rules, 12_000, settings::RULES),
    target("settings", settings::settings, 1_500, settings::WORDS),
    target("messages", messages::messages, 60_000, &[]),
    target("envelope", crypto::envelope, 1_200, &[]),
    target("cose", crypto::signed, 6_000, &[]),
    target("key_file", crypto::key_file, 1_500, &[]),
    target("token", paper::token, 12_000, paper::WORDS),
    target("cash", paper::cash, 1_200, paper::WORDS),
    target("directory", paper::directory, 1_200, &[]),
    target("order", paper::order, 1_200, paper::WORDS),
    target("record", journal::record, 12_000, &[]),
    target("redo", journal::redo, 1_500, &[]),
    target("checkpoint", journal::checkpoint, 8_000, &[]),
    target("issuer", issuer::issuer, 2_000, &[]),
    target("asker", asker::asker, 2_000, &[]),
    Target { name: "vault", run: disk::vault, rounds: 6, memory_kib: 280 * 1024, words: &[] },
    Target { name: "store", run: disk::store, rounds: 40, memory_kib: 64 * 1024, words: &[] },
    Target { name: "second_copy", run: disk::second_copy, rounds: 40, memory_kib: 64 * 1024, words: &[] },
    Target { name: "backup", run: disk::backup, rounds: 30, memory_kib: 64 * 1024, words: &[] },
];

/// Runs the target of a name: what a fuzzer calls.
///
/// # Panics
/// Where a property does not hold, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = target_of(name);
    assert!(target.is_some(), "there is no target {name}");
    if let Some(target) = target {
        (target.run)(data);
    }
}

/// The target of a name.
#[must_use]
pub fn target_of(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
