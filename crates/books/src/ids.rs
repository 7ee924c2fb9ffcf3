//! Identifiers: newtypes with a prefix, so that two ids of different kinds never stand in for each other.
//! Source: house rule 5, GLOSSARY.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use minicbor::decode::Error as DecodeError;
use minicbor::{Decode, Decoder, Encode, Encoder};

/// A kind of identifier; its prefix stands in the text form.
pub trait IdKind {
    /// What the text form begins with, before the underscore.
    const PREFIX: &'static str;
}

/// A 128-bit identifier of one kind.
///
/// Shape: 16 bytes; text `prefix_` and 32 hexadecimal digits; CBOR byte string.
pub struct Id<K>([u8; 16], PhantomData<fn() -> K>);

impl<K> Id<K> {
    /// All bytes zero: nobody, nothing. Never drawn.
    pub const NONE: Self = Self([0; 16], PhantomData);

    /// Takes the bytes as they are.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes, PhantomData)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads an id from a slice of exactly 16 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::new)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K: IdKind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_", K::PREFIX)?;
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
impl<K: IdKind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an id of this kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdError {
    /// It begins with another prefix.
    #[error("not an id of this kind")]
    Prefix,
    /// What follows is not 32 hexadecimal digits in lower case.
    #[error("an id has 32 hexadecimal digits")]
    Digits,
}

impl<K: IdKind> FromStr for Id<K> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix(K::PREFIX).and_then(|t| t.strip_prefix('_')).ok_or(IdError::Prefix)?;
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(IdError::Digits);
        }
        let value = u128::from_str_radix(digits, 16).map_err(|_| IdError::Digits)?;
        Ok(Self::new(value.to_be_bytes()))
    }
}

impl<C, K> Encode<C> for Id<K> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}
impl<'b, C, K> Decode<'b, C> for Id<K> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::from_slice(d.bytes()?).ok_or_else(|| DecodeError::message("an id has 16 bytes"))
    }
}

/// Kind of [`PartyId`].
pub enum Party {}
impl IdKind for Party {
    const PREFIX: &'static str = "party";
}
/// A participant: SHA-256(label, first signing key)[..16].
pub type PartyId = Id<Party>;

/// Kind of [`TxId`].
pub enum Tx {}
impl IdKind for Tx {
    const PREFIX: &'static str = "tx";
}
/// A request: drawn at random by whoever asks, the same in every repetition.
pub type TxId = Id<Tx>;

/// Kind of [`EffectId`].
pub enum EffectKind {}
impl IdKind for EffectKind {
    const PREFIX: &'static str = "effect";
}
/// An entry of the outbox.
pub type EffectId = Id<EffectKind>;

/// Kind of [`HoldingId`].
pub enum HoldingKind {}
impl IdKind for HoldingKind {
    const PREFIX: &'static str = "holding";
}
/// A token of another issuer, in this party's books.
pub type HoldingId = Id<HoldingKind>;

/// Kind of [`ExchangeId`].
pub enum ExchangeKind {}
impl IdKind for ExchangeKind {
    const PREFIX: &'static str = "exchange";
}
/// The asker's own name for a request that it repeats until answered.
pub type ExchangeId = Id<ExchangeKind>;

/// The place of a record in its lane's journal; the first is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Seq(#[n(0)] pub u64);

impl Seq {
    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A lane: one deterministic state machine with a journal of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct LaneId(#[n(0)] pub u16);

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Timestamp(#[n(0)] pub u64);

impl Timestamp {
    /// Later by so many milliseconds.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Earlier by so many milliseconds.
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this one; 0 if it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub const fn unix_s(self) -> u64 {
        self.0 / 1000
    }
}

/// Where a shell reads the time; pure code gets it as an argument.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// How far the machine's clock has stepped away from this one, where this one does not follow it.
    fn off_by_ms(&self) -> Option<i64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_refuses_other_kinds() {
        let id = PartyId::new([0x0a; 16]);
        assert_eq!(id.to_string().parse::<PartyId>(), Ok(id));
        assert_eq!(id.to_string().parse::<TxId>(), Err(IdError::Prefix));
        assert_eq!("party_0A".parse::<PartyId>(), Err(IdError::Digits));
        assert_eq!(format!("party_+{}", "0".repeat(31)).parse::<PartyId>(), Err(IdError::Digits));
    }
}
