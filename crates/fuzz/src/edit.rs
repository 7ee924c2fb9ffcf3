//! A script of edits, read from an input, carried out on something good: so that what is behind a tag, a signature or a
//! key is reached, and what was changed is known.

/// Carries a script out. Five bytes an edit: what, where (three bytes, as a part of the length), and a value.
pub(crate) fn edited(good: &[u8], script: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for edit in script.chunks(5).take(16) {
        let byte = |n: usize| edit.get(n).copied().unwrap_or(0);
        let at = place(bytes.len(), [byte(1), byte(2), byte(3)]);
        one(&mut bytes, byte(0), at, byte(4));
    }
    bytes
}

/// A place in so many bytes.
fn place(len: usize, part: [u8; 3]) -> usize {
    let [a, b, c] = part;
    let part = usize::from(a).wrapping_mul(65_536) | usize::from(b).wrapping_mul(256) | usize::from(c);
    part.checked_rem(len.max(1)).unwrap_or(0)
}

fn one(bytes: &mut Vec<u8>, what: u8, at: usize, value: u8) {
    let len = bytes.len();
    let run = at.saturating_add(usize::from(value).max(1)).min(len);
    match what % 8 {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (value % 8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        3 => drop(bytes.drain(at.min(len)..run)),
        4 => bytes.insert(at.min(len), value),
        5 => {
            let twice = bytes.get(at..run).map(<[u8]>::to_vec).unwrap_or_default();
            drop(bytes.splice(at.min(len)..at.min(len), twice));
        }
        6 => bytes.truncate(at),
        _ => {
            if let Some(part) = bytes.get_mut(at..run) {
                part.fill(value);
            }
        }
    }
}
