//! The operator's key list and terms: what everybody else has to know before the first message.
//! Source: G4 (key ids), G11 (COSE), G12 (a root key signs the list; its fingerprint is the network id, pinned at first
//! use); architecture.md, "Conventions" (`/.well-known/florin`).

use data_encoding::BASE64URL_NOPAD;
use florin_books::{Epoch, PartyId, Timestamp};
use florin_crypto::cose::{CoseError, Sign1};
use florin_crypto::{KemPublicKey, SigningKey, VerifyKey, cbor, cose, digest};
use florin_money::{Currency, Denominations};
use florin_rail::Context;
use florin_rail::common::SKEW_MS;
use minicbor::{Decode, Encode};

use crate::epoch::{self, PublishedEpoch};
use crate::kinds::RAIL;

/// The id of a key: which one an envelope, a signature or a tag is made with.
pub type KeyId = florin_crypto::Kid;

/// The most keys of a list.
pub const KEYS_MAX: usize = 64;
/// The most currencies of a list.
pub const CURRENCIES_MAX: usize = 16;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The longest name of an operator, in characters.
pub const OPERATOR_NAME_MAX: usize = 70;

/// What a key is for; a key has one use (G4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum KeyUse {
    /// Signs messages.
    #[n(1)]
    MessageSignature,
    /// Opens envelopes.
    #[n(2)]
    Kem,
}

/// The id of a key: `SHA-256("florin/v1/key-id", use as one byte, key)[..16]`. Source: G4.
#[must_use]
pub fn key_id(key_use: KeyUse, key: &[u8; 32]) -> KeyId {
    let number: u8 = match key_use {
        KeyUse::MessageSignature => 1,
        KeyUse::Kem => 2,
    };
    digest("florin/v1/key-id", &[&[number], key]).short()
}

/// The id of an operator: `SHA-256("florin/v1/parties/id", root key)[..16]`, as of every party.
#[must_use]
pub fn operator_id(root: &VerifyKey) -> PartyId {
    crate::participant::party_id(root)
}

/// The network id that people compare and pin: 22 characters of base64url.
#[must_use]
pub fn network_id(operator: PartyId) -> String {
    BASE64URL_NOPAD.encode(operator.bytes())
}

/// Reads a network id; nothing if it is not one.
#[must_use]
pub fn parse_network_id(text: &str) -> Option<PartyId> {
    PartyId::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).ok()?)
}

/// A key of the operator.
///
/// Shape: `[kid, use, key, from, until]`. Units: milliseconds; `from` inclusive, `until` exclusive.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PublishedKey {
    /// Its id.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub kid: KeyId,
    /// What it is for.
    #[n(1)]
    pub key_use: KeyUse,
    /// The public key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// When it begins to be used.
    #[n(3)]
    pub from: Timestamp,
    /// When it stops being used.
    #[n(4)]
    pub until: Timestamp,
}

impl PublishedKey {
    /// A key and its id.
    #[must_use]
    pub fn new(key_use: KeyUse, key: [u8; 32], from: Timestamp, until: Timestamp) -> Self {
        Self { kid: key_id(key_use, &key), key_use, key, from, until }
    }

    /// Whether it is in use at a time, give or take what clocks may differ by.
    #[must_use]
    pub fn is_current(&self, at: Timestamp) -> bool {
        self.from.minus_ms(SKEW_MS) <= at && at < self.until.plus_ms(SKEW_MS)
    }
}

/// A currency of the operator and the values of its coins.
///
/// Shape: `[currency, [value, ...]]`. Units: minor units, 1 to 64 values strictly ascending.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct CurrencyTerms {
    /// The currency.
    #[n(0)]
    pub currency: Currency,
    /// The values of its coins.
    #[n(1)]
    pub denominations: Vec<u64>,
}

/// The numbers that everybody uses with this operator.
///
/// Shape: `[epoch_days, spend_days, grace_days, coins_per_payment_max, exp_hours_max, skew_s]`; `grace_days` is null where
/// expired coins are exchanged without end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Terms {
    /// How long coins of one epoch are issued.
    #[n(0)]
    pub epoch_days: u32,
    /// How long after the epoch's end they pay.
    #[n(1)]
    pub spend_days: u32,
    /// How long after that they are still exchanged; none for without end.
    #[n(2)]
    pub grace_days: Option<u32>,
    /// The most coins of a payment.
    #[n(3)]
    pub coins_per_payment_max: u32,
    /// How far ahead an `exp` may lie.
    #[n(4)]
    pub exp_hours_max: u32,
    /// How far clocks may differ.
    #[n(5)]
    pub skew_s: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            epoch_days: 30,
            spend_days: 180,
            grace_days: Some(90),
            coins_per_payment_max: 32,
            exp_hours_max: 24,
            skew_s: 300,
        }
    }
}

impl Terms {
    /// Until when a coin that stops paying at a time can still be exchanged; none for without end.
    #[must_use]
    pub fn grace_end(&self, expires: Timestamp) -> Option<Timestamp> {
        self.grace_days.map(|days| expires.plus_ms(u64::from(days).saturating_mul(DAY_MS)))
    }
}

/// Who the operator is, with which keys and on which terms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyList {
    /// The operator's id.
    pub operator: PartyId,
    /// The root key; it signs nothing but this list.
    pub root: VerifyKey,
    /// What the operator calls itself.
    pub name: String,
    /// Whether nothing here is worth anything.
    pub test: bool,
    /// When the list was made.
    pub time: Timestamp,
    /// The keys, former ones too, so that what they signed can be checked.
    pub keys: Vec<PublishedKey>,
    /// The currencies.
    pub currencies: Vec<CurrencyTerms>,
    /// The epochs whose coins are out, oldest first.
    pub epochs: Vec<PublishedEpoch>,
    /// The terms.
    pub terms: Terms,
}

/// Why a key list cannot be trusted, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Not a signed key list.
    #[error("not a key list")]
    Malformed,
    /// The list says another operator id than its root key has.
    #[error("the operator's id is not that of its root key")]
    WrongId,
    /// Another operator than the one that was pinned.
    #[error("the operator is not the one that was pinned")]
    OperatorChanged,
    /// The root key did not sign it.
    #[error("the key list is not signed by its root key")]
    Signature,
    /// Too long, a key under another id or listed twice, no usable key, denominations or epochs that are none.
    #[error("the key list contradicts itself")]
    Inconsistent,
}

/// What the root key signs.
///
/// Shape: `[context, root key, name, test, time, keys, currencies, epochs, terms]`.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Payload {
    #[n(0)]
    context: Context,
    #[n(1)]
    root: VerifyKey,
    #[n(2)]
    name: String,
    #[n(3)]
    test: bool,
    #[n(4)]
    time: Timestamp,
    #[n(5)]
    keys: Vec<PublishedKey>,
    #[n(6)]
    currencies: Vec<CurrencyTerms>,
    #[n(7)]
    epochs: Vec<PublishedEpoch>,
    #[n(8)]
    terms: Terms,
}

fn context(operator: PartyId) -> Context {
    Context::new(RAIL, "keys", operator, PartyId::NONE)
}

/// A key list as it is published: COSE_Sign1 by the root key.
pub struct SignedKeyList;

impl SignedKeyList {
    /// Signs a list with the root key; `list.root` and `list.operator` must be that key's.
    ///
    /// # Errors
    /// `WrongId`, `Inconsistent`: nobody would take such a list.
    pub fn sign(list: &KeyList, root: &SigningKey) -> Result<Vec<u8>, DirectoryError> {
        let key = root.verify_key();
        if list.root != key || list.operator != operator_id(&key) {
            return Err(DirectoryError::WrongId);
        }
        list.check()?;
        let payload = Payload {
            context: context(list.operator),
            root: key,
            name: list.name.clone(),
            test: list.test,
            time: list.time,
            keys: list.keys.clone(),
            currencies: list.currencies.clone(),
            epochs: list.epochs.clone(),
            terms: list.terms,
        };
        let kid = key_id(KeyUse::MessageSignature, key.as_bytes());
        Ok(cose::sign1(root, &kid, &cbor::encode(&payload)))
    }

    /// Reads a list and checks everything that it can be checked for.
    ///
    /// # Errors
    /// [`DirectoryError`], in its order.
    pub fn verify(bytes: &[u8], pinned: Option<PartyId>) -> Result<KeyList, DirectoryError> {
        let signed = Sign1::parse(bytes).map_err(|_| DirectoryError::Malformed)?;
        let payload: Payload =
            cbor::decode_strict(signed.payload_unverified()).map_err(|_| DirectoryError::Malformed)?;
        let operator = operator_id(&payload.root);
        let root_kid = key_id(KeyUse::MessageSignature, payload.root.as_bytes());
        if payload.context != context(operator) || signed.kid() != root_kid {
            return Err(DirectoryError::WrongId);
        }
        if pinned.is_some_and(|id| id != operator) {
            return Err(DirectoryError::OperatorChanged);
        }
        signed.verify(&payload.root).map_err(|_: CoseError| DirectoryError::Signature)?;
        let Payload { context: _, root, name, test, time, keys, currencies, epochs, terms } = payload;
        let list = KeyList { operator, root, name, test, time, keys, currencies, epochs, terms };
        list.check()?;
        Ok(list)
    }
}

impl KeyList {
    /// The key to seal to now: the one that came into use last.
    #[must_use]
    pub fn kem_key(&self, now: Timestamp) -> Option<(KeyId, KemPublicKey)> {
        let current = self.keys.iter().filter(|k| k.key_use == KeyUse::Kem && k.is_current(now));
        current.max_by_key(|k| k.from).map(|k| (k.kid, KemPublicKey(k.key)))
    }

    /// The key of an id that signs messages, whenever it was in use.
    #[must_use]
    pub fn signature_key(&self, kid: &KeyId) -> Option<VerifyKey> {
        self.signature_keys().find(|k| k.kid == *kid).and_then(|k| VerifyKey::from_bytes(&k.key).ok())
    }

    /// The key of an id that signs messages, if it was in use at a time.
    #[must_use]
    pub fn signature_key_at(&self, kid: &KeyId, at: Timestamp) -> Option<VerifyKey> {
        let key = self.signature_keys().find(|k| k.kid == *kid && k.is_current(at));
        key.and_then(|k| VerifyKey::from_bytes(&k.key).ok())
    }

    /// The terms of a currency.
    #[must_use]
    pub fn currency(&self, currency: Currency) -> Option<&CurrencyTerms> {
        self.currencies.iter().find(|c| c.currency == currency)
    }

    /// An epoch, if it is listed.
    #[must_use]
    pub fn epoch(&self, number: Epoch) -> Option<&PublishedEpoch> {
        self.epochs.iter().find(|epoch| epoch.number == number)
    }

    /// Until when coins of an epoch that pay until `expires` are exchanged: what is published of the epoch, which the terms
    /// of another day do not change; where it is not in the list, what the terms say. None for without end.
    #[must_use]
    pub fn grace_end(&self, number: Epoch, expires: Timestamp) -> Option<Timestamp> {
        self.epoch(number).map_or_else(|| self.terms.grace_end(expires), |epoch| epoch.grace_end)
    }

    /// The epoch whose coins are issued at a time: of those that have begun, the last.
    #[must_use]
    pub fn issuing(&self, at: Timestamp) -> Option<&PublishedEpoch> {
        self.epochs.iter().rev().find(|epoch| epoch.from <= at && epoch.pays(at))
    }

    fn signature_keys(&self) -> impl Iterator<Item = &PublishedKey> {
        self.keys.iter().filter(|k| k.key_use == KeyUse::MessageSignature)
    }

    fn check(&self) -> Result<(), DirectoryError> {
        let bounded = self.name.chars().count() <= OPERATOR_NAME_MAX
            && self.keys.len() <= KEYS_MAX
            && (1..=CURRENCIES_MAX).contains(&self.currencies.len());
        let usable = |key: &PublishedKey| match key.key_use {
            KeyUse::MessageSignature => VerifyKey::from_bytes(&key.key).is_ok(),
            KeyUse::Kem => true,
        };
        let honest = |key: &PublishedKey| {
            key.kid == key_id(key.key_use, &key.key)
                && key.from < key.until
                && key.key != *self.root.as_bytes()
                && self.keys.iter().filter(|other| other.key == key.key).count() == 1
        };
        let has = |wanted: KeyUse| self.keys.iter().any(|k| k.key_use == wanted);
        let coins = |c: &CurrencyTerms| {
            Denominations::new(c.currency, c.denominations.clone()).is_ok()
                && self.currencies.iter().filter(|other| other.currency.code() == c.currency.code()).count()
                    == 1
        };
        let whole = bounded
            && self.keys.iter().all(|k| usable(k) && honest(k))
            && has(KeyUse::MessageSignature)
            && has(KeyUse::Kem)
            && self.currencies.iter().all(coins)
            && epoch::are_consistent(&self.epochs);
        if whole { Ok(()) } else { Err(DirectoryError::Inconsistent) }
    }
}
