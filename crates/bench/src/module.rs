//! Coin tags alone: how many a key module makes in a second, from one thread and from two.
//! Source: performance.md ("What the cryptography costs", SoftHSM2); ADR 0031.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use florin_books::Epoch;
use florin_coin::issuer::{CoinModule, ModuleError};
use florin_operator::module::{ModuleFault, ModuleMode, ModuleSettings};
use florin_operator::tag_keys::VaultModule;
use serde::Serialize;

use crate::error::BenchError;
use crate::scratch::Scratch;

/// What was tagged: as many bytes as a coin has.
const COIN_BYTES: usize = 48;

/// Tags in a second.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct ModuleLine {
    /// How many threads asked.
    pub threads: usize,
    /// Tags made in a second, all threads together.
    pub tags_per_s: f64,
    /// What one tag took its thread, in microseconds.
    pub us_per_tag: f64,
}

/// What a key module does.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ModuleReport {
    /// Where tags are made.
    pub mode: ModuleMode,
    /// From one thread and from two.
    pub lines: Vec<ModuleLine>,
}

impl fmt::Display for ModuleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key module, {:?}", self.mode)?;
        self.lines.iter().try_for_each(|l| {
            write!(
                f,
                "\n  {} threads: {:>10.0} tags/s, {:>8.2} us each",
                l.threads, l.tags_per_s, l.us_per_tag
            )
        })
    }
}

/// Measures a key module; a token keeps what is made in it.
///
/// # Errors
/// `Program`, `Module`.
pub fn module(settings: &ModuleSettings, window: Duration) -> Result<ModuleReport, BenchError> {
    let scratch = Scratch::new(None)?;
    settings.create(scratch.path())?;
    let module = settings.open(scratch.path(), VaultModule::alone(scratch.path())?)?;
    let mut lines = Vec::new();
    for threads in [1, 2] {
        // Finds or makes the epoch's key, outside the time that counts.
        let line = module.tag(Epoch(1), &[0; COIN_BYTES]).and_then(|_| measure(&*module, threads, window));
        lines.push(line.map_err(ModuleFault::from)?);
    }
    Ok(ModuleReport { mode: settings.mode, lines })
}

#[allow(clippy::cast_precision_loss, reason = "a rate is an estimate")]
fn measure(module: &dyn CoinModule, threads: usize, window: Duration) -> Result<ModuleLine, ModuleError> {
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let made: Result<u64, ModuleError> = std::thread::scope(|scope| {
        let tag_until_over = || {
            let (mut made, mut bytes) = (0u64, [0u8; COIN_BYTES]);
            while !over.load(Ordering::Relaxed) {
                if let Some(head) = bytes.first_chunk_mut::<8>() {
                    *head = made.to_be_bytes();
                }
                module.tag(Epoch(1), &bytes)?;
                made = made.saturating_add(1);
            }
            Ok(made)
        };
        let asked: Vec<_> = (0..threads).map(|_| scope.spawn(tag_until_over)).collect();
        std::thread::sleep(window);
        over.store(true, Ordering::Relaxed);
        let each = asked.into_iter().map(|t| t.join().unwrap_or(Err(ModuleError::Away)));
        each.sum()
    });
    let (made, seconds) = (made? as f64, begun.elapsed().as_secs_f64());
    let busy_us = seconds * 1e6 * threads as f64;
    Ok(ModuleLine { threads, tags_per_s: made / seconds, us_per_tag: busy_us / made.max(1.0) })
}
