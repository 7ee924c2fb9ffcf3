//! Unpredictable bytes from the operating system. Source: house rule 9 (chance is an argument; only a shell has it).

use florin_crypto::Entropy;

/// The operating system's random bytes.
///
/// If the system has none, the process ends at once (abort, after a word on stderr): a key, a nonce or a coin made
/// without chance would be worse than any stop, and no caller could do better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        if let Err(error) = getrandom::fill(out) {
            eprintln!("the operating system gives no random bytes: {error}; stopped at once");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_whole_buffers_and_never_twice_the_same() {
        let (mut a, mut b) = ([0; 64], [0; 64]);
        OsEntropy.fill(&mut a);
        OsEntropy.fill(&mut b);
        assert_ne!(a, b);
        // A half that stays zero happens by chance once in 2^256.
        assert!(a.chunks(32).chain(b.chunks(32)).all(|half| half.iter().any(|byte| *byte != 0)));
    }
}
