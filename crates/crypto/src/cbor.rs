//! Deterministic CBOR: one encoder, one strict decoder, and byte strings.
//! Source: RFC 8949 §4.2.1 (core deterministic encoding); G1 of the rails.

use std::convert::Infallible;
use std::fmt;

use data_encoding::HEXLOWER;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder, decode};

/// Why bytes are not the one encoding of a value, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// Not CBOR, or not of the expected shape.
    #[error("the bytes have not the expected shape")]
    Malformed,
    /// More bytes follow the value.
    #[error("more bytes follow the value")]
    Trailing,
    /// A value, but not in its one deterministic encoding.
    #[error("the value is not in its deterministic encoding")]
    NotShortest,
}

/// The bytes of a value.
#[allow(clippy::expect_used, reason = "a Vec takes every byte, and no type here refuses to be encoded")]
pub fn encode<T: Encode<()> + ?Sized>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("encoding to memory does not fail")
}

/// Reads a value that takes up all of `bytes` in exactly the encoding that [`encode`] gives it.
///
/// Errors, in order: `Malformed`, `Trailing`, `NotShortest`.
pub fn decode_strict<'b, T>(bytes: &'b [u8]) -> Result<T, NotCanonical>
where
    T: Decode<'b, ()> + Encode<()>,
{
    let mut decoder = Decoder::new(bytes);
    let value: T = decoder.decode().map_err(|_| NotCanonical::Malformed)?;
    if decoder.position() != bytes.len() {
        return Err(NotCanonical::Trailing);
    }
    let mut rest = Compare(bytes);
    let same = Encoder::new(&mut rest).encode(&value).is_ok();
    if same && rest.0.is_empty() { Ok(value) } else { Err(NotCanonical::NotShortest) }
}

/// A writer that accepts only the bytes that it was given: encoding into it is comparing, without a copy.
struct Compare<'b>(&'b [u8]);

/// The encoding differs from the bytes that were read.
struct Differs;

impl Write for Compare<'_> {
    type Error = Differs;

    fn write_all(&mut self, buf: &[u8]) -> Result<(), Differs> {
        self.0 = self.0.strip_prefix(buf).ok_or(Differs)?;
        Ok(())
    }
}

/// Writes the array `[label, part, part …]` whose digests and MACs the whole house uses.
pub(crate) fn write_labelled<W: Write<Error = Infallible>>(writer: W, label: &str, parts: &[&[u8]]) {
    let mut encoder = Encoder::new(writer);
    let len = u64::try_from(parts.len()).unwrap_or(u64::MAX).saturating_add(1);
    // The writer cannot fail, and these three calls have no other error.
    let _: Result<(), EncodeError<Infallible>> = (|| {
        encoder.array(len)?.str(label)?;
        parts.iter().try_for_each(|part| encoder.bytes(part)?.ok())
    })();
}

/// The CBOR array `[label, part, part …]`: what a digest or a tag is made of, for one that is made elsewhere, in a token.
#[must_use]
pub fn labelled(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    write_labelled(&mut out, label, parts);
    out
}

/// Bytes that stand as one CBOR byte string.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

/// `N` bytes that stand as one CBOR byte string.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteArray<const N: usize>(pub [u8; N]);

/// Reads a definite byte string of exactly `N` bytes.
pub(crate) fn byte_array<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], decode::Error> {
    d.bytes()?.try_into().map_err(|_| decode::Error::message("a byte string of another length"))
}

/// Reads the head of an array that must have exactly this length.
pub(crate) fn expect_array(d: &mut Decoder<'_>, len: u64) -> Result<(), decode::Error> {
    if d.array()? == Some(len) { Ok(()) } else { Err(decode::Error::message("an array of another length")) }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl<C> Encode<C> for Bytes {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Bytes {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        d.bytes().map(Self::from)
    }
}

impl<const N: usize> AsRef<[u8]> for ByteArray<N> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> From<[u8; N]> for ByteArray<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> fmt::Debug for ByteArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl<C, const N: usize> Encode<C> for ByteArray<N> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C, const N: usize> Decode<'b, C> for ByteArray<N> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        byte_array(d).map(Self)
    }
}
