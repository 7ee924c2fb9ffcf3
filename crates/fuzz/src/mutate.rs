//! Mutations of a corpus from a seed, for compilers without libFuzzer: bits, bytes, lengths, pieces moved and joined,
//! numbers at their ends, words. The same seed gives the same inputs. Source: reliability.md, R12; ADR 0037.

/// Where mutations come from: splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators").
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Begins with a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below a bound; zero where there is none below it.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.draw().checked_rem(bound).unwrap_or(0)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.draw().to_le_bytes();
        byte
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let at = self.below(all.len());
        all.get(at)
    }
}

/// Inputs are not made longer than this.
const LONGEST: usize = 16 * 1024;
/// Bytes at which encodings change their shape: heads of CBOR, signs of text formats, ends of ranges.
const TURNS: [u8; 24] = [
    0x00, 0x01, 0x17, 0x18, 0x1b, 0x3b, 0x40, 0x58, 0x5b, 0x5f, 0x7f, 0x80, 0x9b, 0x9f, 0xbf, 0xf6, 0xff,
    b'0', b'9', b'-', b'.', b'/', b'"', b'%',
];

/// A mutation of one entry of a corpus, with help of another.
#[must_use]
pub fn mutated(dice: &mut Dice, base: &[u8], other: &[u8], words: &[&str]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for _ in 0..dice.below(4).saturating_add(1) {
        step(dice, &mut bytes, other, words);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn step(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    let len = bytes.len();
    let at = dice.below(len.max(1));
    let end = at.saturating_add(dice.below(24)).saturating_add(1).min(len);
    match dice.below(12) {
        0 | 1 => set(bytes, at, |b, d| b ^ (1 << (d.byte() % 8)), dice),
        2 => set(bytes, at, |_, d| d.byte(), dice),
        3 => set(bytes, at, |_, d| d.one_of(&TURNS).copied().unwrap_or(0), dice),
        4 => set(bytes, at, |b, d| if d.byte() < 128 { b.wrapping_add(1) } else { b.wrapping_sub(1) }, dice),
        5 => bytes.truncate(at),
        6 if at < len => drop(bytes.drain(at..end)),
        7 => put(bytes, at, bytes.get(at..end).unwrap_or_default().to_vec()),
        8 => {
            let from = dice.below(other.len().max(1));
            let piece = other.get(from..).unwrap_or_default();
            let take = dice.below(piece.len().saturating_add(1));
            put(bytes, at, piece.get(..take).unwrap_or_default().to_vec());
        }
        9 => {
            // One half of each.
            bytes.truncate(at);
            bytes.extend_from_slice(other.get(at.min(other.len())..).unwrap_or_default());
        }
        10 => length(dice, bytes, at),
        _ => {
            let word = dice.one_of(words).map(|word| word.as_bytes().to_vec());
            let piece = word.unwrap_or_else(|| vec![dice.byte(); dice.below(8)]);
            put(bytes, at, piece);
        }
    }
}

fn set(bytes: &mut [u8], at: usize, new: impl Fn(u8, &mut Dice) -> u8, dice: &mut Dice) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = new(*byte, dice);
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, piece: Vec<u8>) {
    let at = at.min(bytes.len());
    drop(bytes.splice(at..at, piece));
}

/// A head of CBOR that promises more than there is, or the same in a longer form.
fn length(dice: &mut Dice, bytes: &mut Vec<u8>, at: usize) {
    let Some(head) = bytes.get(at).copied() else { return };
    let (kind, count) = (head & 0xe0, head & 0x1f);
    let longer: Vec<u8> = match dice.below(5) {
        0 => vec![kind | 0x18, count],
        1 => vec![kind | 0x19, 0, count],
        2 => [vec![kind | 0x1b], vec![0xff; 8]].concat(),
        3 => [vec![kind | 0x1a], vec![0x7f, 0xff, 0xff, 0xff]].concat(),
        _ => vec![kind | 0x1f],
    };
    drop(bytes.splice(at..at.saturating_add(1), longer));
}
