//! What the issuer has: keys, registers, calendar; how it numbers, tags and checks coins.
//! Source: VarietyCash §2.4, §2.5 (the secure module for coin generation); V9; books.md, "Coins are numbered".

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, RwLock};

use florin_books::{
    DenominationId, Epoch, Facts, Issue, Issued, LaneId, PartyId, RegisterSpec, Timestamp, TokenNumber,
};
use florin_crypto::{ByteArray, KemPublicKey, KemSecretKey, MacKey, NumberCipher, Secret, cbor, derive};
use florin_money::{CoinList, Currency};
use florin_parties::{OperatorKeys, Participant, Terms};
use florin_rail::Refusal;
use florin_rail::common::BAD_REQUEST;

use crate::coin::{BadCoin, Coin, CoinCause, CoinSet};
use crate::epoch::Calendar;

/// The module that holds the coin tag key. Nothing else in the house can make a tag.
pub trait CoinModule: Send + Sync {
    /// The tag of these bytes under the epoch's key.
    fn tag(&self, epoch: Epoch, bytes: &[u8]) -> [u8; 32];
    /// Compares in constant time.
    fn verify(&self, epoch: Epoch, bytes: &[u8], tag: &[u8; 32]) -> bool;
}

/// A module in software: one key for each epoch, derived from a master key.
pub struct SoftwareModule {
    master: Secret<32>,
    keys: RwLock<BTreeMap<Epoch, Arc<MacKey>>>,
}

const TAG: &str = "florin/v1/coin/tag";
const EPOCHS_KEPT: usize = 32;
/// Participants whose documents stay read.
const PARTICIPANTS_KEPT_MAX: usize = 4096;

impl SoftwareModule {
    /// A module with this master key.
    #[must_use]
    pub const fn new(master: Secret<32>) -> Self {
        Self { master, keys: RwLock::new(BTreeMap::new()) }
    }

    fn key(&self, epoch: Epoch) -> Arc<MacKey> {
        if let Some(key) = self.keys.read().ok().and_then(|keys| keys.get(&epoch).cloned()) {
            return key;
        }
        let info = cbor::encode(&("florin/v1/coin/tag-key", epoch));
        let key = Arc::new(MacKey::new(&derive(&[self.master.expose()], &info)));
        if let Ok(mut keys) = self.keys.write() {
            // The epoch comes from outside: what is kept has a bound.
            if keys.len() >= EPOCHS_KEPT {
                keys.clear();
            }
            keys.insert(epoch, key.clone());
        }
        key
    }
}

impl CoinModule for SoftwareModule {
    fn tag(&self, epoch: Epoch, bytes: &[u8]) -> [u8; 32] {
        self.key(epoch).tag(TAG, &[bytes])
    }

    fn verify(&self, epoch: Epoch, bytes: &[u8], tag: &[u8; 32]) -> bool {
        self.key(epoch).verify(TAG, &[bytes], tag)
    }
}

/// The secrets of an issuer besides the operator's message keys.
pub struct IssuerSecrets {
    /// Tags coins; held by the module.
    pub module: Box<dyn CoinModule>,
    /// Names coins; lives with the books.
    pub ids: Secret<16>,
    /// Makes K_I of payments.
    pub acknowledgement: Secret<32>,
    /// Seals the state of purchases that only begin (V7).
    pub cookie: Secret<32>,
}

/// The two lanes of an operator: who is who, and coins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lanes {
    /// Who is who, bank accounts, purchases.
    pub identity: LaneId,
    /// Coins.
    pub books: LaneId,
}

/// The issuer.
pub struct Issuer {
    pub(crate) keys: Arc<OperatorKeys>,
    pub(crate) lanes: Lanes,
    pub(crate) registers: Vec<RegisterSpec>,
    pub(crate) calendar: Calendar,
    pub(crate) coins_max: usize,
    pub(crate) purchase_max: u64,
    module: Box<dyn CoinModule>,
    ids: NumberCipher,
    acknowledgement: MacKey,
    cookie: Secret<32>,
    nobody: Secret<32>,
    read: RwLock<BTreeMap<PartyId, ReadDocument>>,
}

/// A participant's document and what was read from it.
type ReadDocument = (Box<[u8]>, Participant);

/// Coins that were looked at.
pub(crate) struct Checked {
    /// Their numbers; as many as coins, where none is bad.
    pub numbers: Vec<TokenNumber>,
    /// What is wrong.
    pub bad: Vec<BadCoin>,
}

impl Issuer {
    /// An issuer.
    #[must_use]
    pub fn new(
        keys: Arc<OperatorKeys>,
        secrets: IssuerSecrets,
        lanes: Lanes,
        registers: Vec<RegisterSpec>,
        terms: &Terms,
    ) -> Self {
        let nobody = derive(&[secrets.cookie.expose()], b"florin/v1/coin/nobody");
        Self {
            keys,
            lanes,
            registers,
            calendar: Calendar::of(terms),
            coins_max: usize::try_from(terms.coins_per_payment_max).unwrap_or(usize::MAX),
            purchase_max: u64::MAX,
            module: secrets.module,
            ids: NumberCipher::new(&secrets.ids),
            acknowledgement: MacKey::new(&secrets.acknowledgement),
            cookie: secrets.cookie,
            nobody,
            read: RwLock::default(),
        }
    }

    /// The same, selling at most so much at once, in minor units.
    #[must_use]
    pub fn with_purchase_max(mut self, minor: u64) -> Self {
        self.purchase_max = minor;
        self
    }

    /// ID_I.
    #[must_use]
    pub fn id(&self) -> PartyId {
        self.keys.id()
    }

    /// The key that a message to somebody unknown is sealed to (V7): another for each id and always the same for one, as
    /// with known ids, so that the key id in the envelope tells nobody which ids are known.
    pub(crate) fn dummy(&self, unknown: PartyId) -> KemPublicKey {
        let info = cbor::encode(&("florin/v1/coin/nobody", unknown));
        KemSecretKey::from_seed(&derive(&[self.nobody.expose()], &info)).public_key()
    }

    /// The key that seals cookies.
    pub(crate) const fn cookie(&self) -> &Secret<32> {
        &self.cookie
    }

    /// K_I of a payment to a payee: a function of both, so that the reply can be made again, and so that nobody else who
    /// has seen Com gets the payee's.
    pub(crate) fn k_i(&self, payee: PartyId, pay_id: crate::com::PayId) -> [u8; 32] {
        self.acknowledgement.tag("florin/v1/coin/k-i", &[payee.bytes(), pay_id.bytes()])
    }

    /// The participant, as the facts have it; unknown and unreadable are the same to the outside. Reading a document
    /// means checking that its keys are points of the curve, so what was read is kept with the bytes that it was read
    /// from, and taken again for the same bytes.
    pub(crate) fn participant(&self, facts: &Facts, id: PartyId) -> Result<Participant, Refusal> {
        let bytes = facts.document(&Participant::key_of(id)).ok_or(BAD_REQUEST)?;
        if let Ok(read) = self.read.read()
            && let Some((from, participant)) = read.get(&id)
            && **from == *bytes
        {
            return Ok(participant.clone());
        }
        let participant = Participant::read(bytes).ok_or(BAD_REQUEST)?;
        if let Ok(mut read) = self.read.write() {
            if read.len() >= PARTICIPANTS_KEPT_MAX {
                read.clear();
            }
            read.insert(id, (bytes.into(), participant.clone()));
        }
        Ok(participant)
    }

    /// The register of a currency.
    pub(crate) fn register(&self, currency: Currency) -> Option<&RegisterSpec> {
        self.registers.iter().find(|r| r.denominations.currency() == currency)
    }

    /// The tokens to create for a list; `None` where a value is no denomination of the currency.
    pub(crate) fn issue(&self, list: &CoinList, currency: Currency, now: Timestamp) -> Option<Vec<Issue>> {
        let register = self.register(currency)?;
        let epoch = self.calendar.epoch_at(now);
        list.entries()
            .iter()
            .map(|&(count, value)| {
                let index = register.denominations.index_of(value)?;
                Some(Issue { epoch, denomination: DenominationId::new(register.id, index)?, count })
            })
            .collect()
    }

    /// The coins with these numbers: the same every time.
    #[must_use]
    pub fn mint(&self, issued: &[Issued]) -> Vec<Coin> {
        issued.iter().flat_map(Issued::numbers).filter_map(|n| self.coin(n)).collect()
    }

    fn coin(&self, number: TokenNumber) -> Option<Coin> {
        let register = self.registers.iter().find(|r| r.id == number.denomination.register())?;
        let value = register.denominations.value(number.denomination.index())?;
        let id = self.ids.encipher(number.to_block());
        let expires = self.calendar.expiry(number.epoch);
        let bytes = tagged(&id, value, register.denominations.currency(), number.epoch, expires);
        let tag = self.module.tag(number.epoch, &bytes);
        Some(Coin { id: ByteArray(id), value, epoch: number.epoch, expires, tag: ByteArray(tag) })
    }

    /// Looks at coins: their tags, ids, expiry, and that none stands twice. Whether they are live, only the lane knows.
    /// `in_grace` also takes coins that no longer pay but can still be exchanged.
    pub(crate) fn check(&self, set: &CoinSet, now: Timestamp, in_grace: bool) -> Checked {
        let mut numbers = Vec::with_capacity(set.coins.len());
        let mut bad = Vec::new();
        let mut seen = HashSet::with_capacity(set.coins.len());
        for (index, coin) in (0u32..).zip(&set.coins) {
            match self.look(coin, set.total.currency(), now, in_grace) {
                Ok(number) if seen.insert(number) => numbers.push(number),
                Ok(_) => bad.push(BadCoin { index, cause: CoinCause::Twice }),
                Err(cause) => bad.push(BadCoin { index, cause }),
            }
        }
        Checked { numbers, bad }
    }

    fn look(
        &self,
        coin: &Coin,
        currency: Currency,
        now: Timestamp,
        grace: bool,
    ) -> Result<TokenNumber, CoinCause> {
        let number = TokenNumber::from_block(self.ids.decipher(coin.id.0)).ok_or(CoinCause::Foreign)?;
        if number.lane != self.lanes.books {
            return Err(CoinCause::Foreign);
        }
        let bytes = tagged(&coin.id.0, coin.value, currency, coin.epoch, coin.expires);
        if number.epoch != coin.epoch || !self.module.verify(coin.epoch, &bytes, &coin.tag.0) {
            return Err(CoinCause::Forged);
        }
        let until = if grace { self.calendar.exchanged_until(coin.expires) } else { Some(coin.expires) };
        if until.is_some_and(|until| now > until) { Err(CoinCause::Expired) } else { Ok(number) }
    }
}

/// What the tag covers: id, denomination, currency, epoch, expiry (V9).
fn tagged(id: &[u8; 16], value: u64, currency: Currency, epoch: Epoch, expires: Timestamp) -> Vec<u8> {
    cbor::encode(&(ByteArray(*id), value, currency, epoch, expires))
}
