//! The coin: an id, a value, an expiry and a tag that only the issuer can check. Source: VarietyCash §2.4, Figure 1;
//! V9 (HMAC-SHA-256, recomputed, never stored).

use data_encoding::BASE64URL_NOPAD;
use florin_books::{Epoch, Timestamp};
use florin_crypto::{ByteArray, cbor, digest};
use florin_money::{Amount, MoneyError};
use minicbor::{Decode, Encode};

use crate::choice::HolderChoice;

/// At most so many coins in an envelope.
pub const COINS_PER_PAYMENT_MAX: usize = 32;
/// At most so many coins asked for at once, in a purchase, a payment or for change.
pub const COINS_ISSUED_MAX: u64 = 256;

/// A coin. Whoever has these bytes has the money.
///
/// Shape: `[id 16 bytes, value, epoch, expires, tag 32 bytes]`. Units: minor units; milliseconds. The currency stands
/// with the set that it is part of and is covered by the tag. Source: VarietyCash §2.4.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Coin {
    /// The public id: the number under the issuer's cipher.
    #[n(0)]
    pub id: ByteArray<16>,
    /// The denomination.
    #[n(1)]
    pub value: u64,
    /// The epoch, which says the tag key.
    #[n(2)]
    pub epoch: Epoch,
    /// When it stops paying.
    #[n(3)]
    pub expires: Timestamp,
    /// The authenticating tag.
    #[n(4)]
    pub tag: ByteArray<32>,
}

impl Coin {
    /// The name of the coin in its holder's books.
    #[must_use]
    pub fn holding_id(&self) -> florin_books::HoldingId {
        florin_books::HoldingId::new(digest("florin/v1/coin/holding", &[&self.id.0]).short())
    }
}

/// Coins of one currency and what they are worth together.
///
/// Shape: `[total, [coin, ...]]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CoinSet {
    /// The sum.
    #[n(0)]
    pub total: Amount,
    /// The coins.
    #[n(1)]
    pub coins: Vec<Coin>,
}

impl CoinSet {
    /// Coins with their sum.
    ///
    /// # Errors
    /// The sum overflows.
    pub fn new(coins: Vec<Coin>, currency: florin_money::Currency) -> Result<Self, MoneyError> {
        let total = Amount::sum(coins.iter().map(|c| Amount::new(c.value, currency)), currency)?;
        Ok(Self { total, coins })
    }

    /// Whether the sum is what it says.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let currency = self.total.currency();
        let sum = Amount::sum(self.coins.iter().map(|c| Amount::new(c.value, currency)), currency);
        sum.is_ok_and(|sum| sum == self.total)
    }
}

/// What coins in text form begin with.
pub const COINS_PREFIX: &str = "florincoins1";

impl CoinSet {
    /// The coins as text, for a person to hand over. Whoever has the text has the money.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{COINS_PREFIX}{}", BASE64URL_NOPAD.encode(&cbor::encode(self)))
    }

    /// Reads coins in text form; nothing if it is none, or does not add up.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let encoded = text.trim().strip_prefix(COINS_PREFIX)?;
        let set: Self = cbor::decode_strict(&BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?).ok()?;
        set.adds_up().then_some(set)
    }
}

/// A coin as its holder keeps it: with its currency, and with who can ask for it again.
///
/// Shape: `[worth, coin, holder]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct HeldCoin {
    /// What it is worth.
    #[n(0)]
    pub worth: Amount,
    /// The coin.
    #[n(1)]
    pub coin: Coin,
    /// The choice that it was issued under. It ends with the coin: whoever gets it from somebody else makes his own.
    #[n(2)]
    pub holder: HolderChoice,
}

impl HeldCoin {
    /// For a purse.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// From a purse.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        cbor::decode_strict(bytes).ok()
    }
}

/// Why the issuer does not take a coin. Only its holder gets to see this (P4, V4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum CoinCause {
    /// It was spent before.
    #[n(0)]
    Spent,
    /// The tag is not the issuer's, or does not fit the rest.
    #[n(1)]
    Forged,
    /// The id is no id of this issuer.
    #[n(2)]
    Foreign,
    /// It stands twice in the envelope.
    #[n(3)]
    Twice,
    /// Its time to pay is over.
    #[n(4)]
    Expired,
    /// Its epoch was revoked: it does not pay, and is exchanged for a new one.
    #[n(5)]
    Revoked,
}

impl CoinCause {
    /// Whether the coin is good for nothing any more. One that was revoked is exchanged for a new one, and one that is
    /// expired is exchanged in its grace period, and paid by hand after that: its holder keeps both.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Spent | Self::Forged | Self::Foreign | Self::Twice => true,
            Self::Expired | Self::Revoked => false,
        }
    }

    /// Its name in docs/problems.md.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Spent => "coin-spent",
            Self::Forged => "coin-forged",
            Self::Foreign => "coin-foreign",
            Self::Twice => "coin-twice",
            Self::Expired => "coin-expired",
            Self::Revoked => "coin-revoked",
        }
    }
}

/// A coin that is not taken: its index in the envelope, and why.
///
/// Shape: `[index, cause]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct BadCoin {
    /// Which.
    #[n(0)]
    pub index: u32,
    /// Why.
    #[n(1)]
    pub cause: CoinCause,
}
