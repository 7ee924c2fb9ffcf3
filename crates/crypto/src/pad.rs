//! Padding of plaintexts to 512·2^n bytes, so that lengths say little.
//! Source: G9 of the rails; the form is ISO/IEC 7816-4 (one byte 0x80, then zeros).

use zeroize::Zeroizing;

/// The smallest padded length.
pub const PAD_UNIT: usize = 512;

/// The length of a plaintext of `len` bytes after padding; none if it is too large to be padded.
pub fn padded_len(len: usize) -> Option<usize> {
    let with_mark = len.checked_add(1)?;
    let units = with_mark.div_ceil(PAD_UNIT).checked_next_power_of_two()?;
    units.checked_mul(PAD_UNIT)
}

pub(crate) fn pad(plaintext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let len = padded_len(plaintext.len())?;
    let mut padded = Zeroizing::new(Vec::with_capacity(len));
    padded.extend_from_slice(plaintext);
    padded.push(0x80);
    padded.resize(len, 0);
    Some(padded)
}

/// Takes the padding off; none unless it is exactly what [`pad`] puts on.
pub(crate) fn unpad(mut padded: Zeroizing<Vec<u8>>) -> Option<Zeroizing<Vec<u8>>> {
    let mark = padded.iter().rposition(|byte| *byte != 0)?;
    if padded.get(mark) != Some(&0x80) || padded_len(mark) != Some(padded.len()) {
        return None;
    }
    padded.truncate(mark);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (len, padded) in
            [(0, 512), (511, 512), (512, 1024), (1023, 1024), (1024, 2048), (2047, 2048), (2048, 4096)]
        {
            assert_eq!(padded_len(len), Some(padded));
            let text = vec![0u8; len];
            let there = pad(&text).unwrap();
            assert_eq!(there.len(), padded);
            assert_eq!(*unpad(there).unwrap(), text);
        }
        assert_eq!(padded_len(usize::MAX), None);
    }

    #[test]
    fn other_paddings_are_refused() {
        let mut wide = pad(b"text").unwrap();
        wide.resize(1024, 0);
        assert!(unpad(wide).is_none(), "one size too large");
        assert!(unpad(Zeroizing::new(vec![0; 512])).is_none(), "no mark");
        assert!(unpad(Zeroizing::new(vec![1; 512])).is_none(), "another mark");
        assert!(unpad(Zeroizing::new(Vec::new())).is_none());
        assert!(unpad(Zeroizing::new(b"text\x80".to_vec())).is_none(), "not padded up");
    }
}
