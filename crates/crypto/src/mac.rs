//! Message authentication codes: HMAC-SHA-256 with the key schedule computed once.
//! Source: RFC 2104, FIPS 198-1, test vectors RFC 4231.

use std::convert::Infallible;

use hmac::{Hmac, KeyInit as _, Mac as _};
use minicbor::encode::Write;
use sha2::Sha256;

use crate::cbor::write_labelled;
use crate::secret::Secret;

/// A key of HMAC-SHA-256, ready for use.
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// Makes a key ready.
    pub fn new(key: &Secret<32>) -> Self {
        let key_array: &[u8; 32] = key.expose();
        Self(Self::keyed(key_array))
    }

    #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
    fn keyed(key: &[u8]) -> Hmac<Sha256> {
        Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
    }

    /// A key of another length, for published vectors.
    #[cfg(test)]
    pub(crate) fn of_any_length(key: &[u8]) -> Self {
        Self(Self::keyed(key))
    }

    /// The tag over the CBOR array `[label, part, part …]` (the same bytes as [`crate::digest()`] hashes).
    pub fn tag(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.labelled(label, parts).finalize().into_bytes().into()
    }

    /// Is it the tag of these parts? In constant time.
    pub fn verify(&self, label: &str, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
        self.labelled(label, parts).verify_slice(tag).is_ok()
    }

    /// The tag over bytes as they are.
    pub(crate) fn tag_raw(&self, message: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(message).finalize().into_bytes().into()
    }

    /// Is it the tag of these bytes? In constant time.
    pub(crate) fn verify_raw(&self, message: &[u8], tag: &[u8]) -> bool {
        self.0.clone().chain_update(message).verify_slice(tag).is_ok()
    }

    fn labelled(&self, label: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut sink = MacSink(self.0.clone());
        write_labelled(&mut sink, label, parts);
        sink.0
    }
}

struct MacSink(Hmac<Sha256>);

impl Write for MacSink {
    type Error = Infallible;

    fn write_all(&mut self, buf: &[u8]) -> Result<(), Infallible> {
        self.0.update(buf);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// RFC 4231 test cases 1, 2 and 6 (keys of 20, 4 and 131 bytes).
    #[test]
    fn rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, tag) in cases {
            let key = MacKey::of_any_length(key);
            assert_eq!(HEXLOWER.encode(&key.tag_raw(message)), tag);
            assert!(key.verify_raw(message, &HEXLOWER.decode(tag.as_bytes()).unwrap()));
            assert!(!key.verify_raw(message, &[0; 32]));
            assert!(!key.verify_raw(message, &[]));
        }
    }
}
