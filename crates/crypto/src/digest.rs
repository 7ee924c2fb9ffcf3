//! Labelled digests.
//! Source: FIPS 180-4 (SHA-256); G1-G4 of the rails (every hash has a label, every part its length).

use std::convert::Infallible;
use std::fmt;

use data_encoding::HEXLOWER;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder, decode};
use sha2::{Digest as _, Sha256};

use crate::cbor::{byte_array, write_labelled};

/// A SHA-256 digest.
///
/// Shape: CBOR byte string of 32 bytes. Errors: another length. Source: FIPS 180-4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// SHA-256 over the CBOR array `[label, part, part …]` (a text and byte strings), without copying the parts.
pub fn digest(label: &str, parts: &[&[u8]]) -> Digest {
    let mut hasher = Hasher(Sha256::new());
    write_labelled(&mut hasher, label, parts);
    Digest(hasher.0.finalize().into())
}

impl Digest {
    /// The first 16 bytes: the form of key ids and participant ids.
    pub fn short(&self) -> [u8; 16] {
        let mut short = [0; 16];
        short.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        short
    }

    /// All 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Plain SHA-256 of a file, piece by piece: what `sha256sum` says too, so that anybody can compare.
#[derive(Default)]
pub struct FileDigest(Sha256);

impl FileDigest {
    /// Takes in the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

struct Hasher(Sha256);

impl Write for Hasher {
    type Error = Infallible;

    fn write_all(&mut self, buf: &[u8]) -> Result<(), Infallible> {
        self.0.update(buf);
        Ok(())
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl<C> Encode<C> for Digest {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Digest {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        byte_array(d).map(Self)
    }
}
