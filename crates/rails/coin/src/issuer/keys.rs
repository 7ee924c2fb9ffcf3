//! What the issuer has: keys, registers, calendar; how it numbers, tags and checks coins.
//! Source: VarietyCash §2.4, §2.5 (the secure module for coin generation); V9; books.md, "Coins are numbered".

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use florin_books::{
    DenominationId, Epoch, Facts, Issue, Issued, LaneId, PartyId, RegisterSpec, Timestamp, TokenNumber,
};
use florin_crypto::{ByteArray, KemPublicKey, KemSecretKey, MacKey, NumberCipher, Secret, cbor, derive};
use florin_money::{CoinList, Currency};
use florin_parties::{OperatorKeys, Participant, Terms};
use florin_rail::Refusal;
use florin_rail::common::{ASK_STATUS, BAD_REQUEST, FAULT};

use super::claim_keys::{ClaimKeys, ClaimKeysInMemory};
use super::module::CoinModule;
use crate::coin::{BadCoin, Coin, CoinCause, CoinSet};
use crate::epoch::{Epochs, Purpose};
use crate::escrow::Escrow;
use crate::refusal::ISSUING_ENDED;

/// Participants whose documents stay read.
const PARTICIPANTS_KEPT_MAX: usize = 4096;

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
    epochs: RwLock<Arc<Epochs>>,
    pub(crate) coins_max: usize,
    pub(crate) purchase_max: u64,
    module: Box<dyn CoinModule>,
    pub(crate) ids: NumberCipher,
    pub(crate) claim_keys: Arc<dyn ClaimKeys>,
    pub(crate) escrow: Option<Escrow>,
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
            epochs: RwLock::new(Arc::new(Epochs::by_calendar(terms))),
            coins_max: usize::try_from(terms.coins_per_payment_max).unwrap_or(usize::MAX),
            purchase_max: u64::MAX,
            module: secrets.module,
            ids: NumberCipher::new(&secrets.ids),
            claim_keys: Arc::new(ClaimKeysInMemory::default()),
            escrow: None,
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

    /// The module that tags its coins.
    #[must_use]
    pub fn module(&self) -> &dyn CoinModule {
        &*self.module
    }

    /// The epochs as they are now. Without a table those of the calendar itself.
    #[must_use]
    pub fn epochs(&self) -> Arc<Epochs> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes up a table that was committed. Steps that are under way end with the one that they have read.
    pub fn set_epochs(&self, epochs: Arc<Epochs>) {
        *self.epochs.write().unwrap_or_else(PoisonError::into_inner) = epochs;
    }

    /// The same, with claims waiting under these keys.
    #[must_use]
    pub fn with_claim_keys(mut self, keys: Arc<dyn ClaimKeys>) -> Self {
        self.claim_keys = keys;
        self
    }

    /// The same, sealing to the two key holders which claim each purchase has.
    #[must_use]
    pub fn with_escrow(mut self, escrow: Escrow) -> Self {
        self.escrow = Some(escrow);
        self
    }

    /// The keys under which claims wait.
    #[must_use]
    pub fn claim_keys(&self) -> &Arc<dyn ClaimKeys> {
        &self.claim_keys
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
        let epoch = self.epochs().issuing(now)?;
        list.entries()
            .iter()
            .map(|&(count, value)| {
                let index = register.denominations.index_of(value)?;
                Some(Issue { epoch, denomination: DenominationId::new(register.id, index)?, count })
            })
            .collect()
    }

    /// Whether coins that are issued now are of use: what is refreshed must pay, all else can be redeemed at least. They
    /// always are while the calendar makes new epochs.
    pub(crate) fn may_issue(&self, refreshing: bool, now: Timestamp) -> Result<(), Refusal> {
        let epochs = self.epochs();
        let entry = epochs.issuing(now).and_then(|number| epochs.entry(number));
        let of_use = entry.is_some_and(|e| if refreshing { now <= e.expires } else { !e.is_over(now) });
        if of_use { Ok(()) } else { Err(ISSUING_ENDED) }
    }

    /// The coins with these numbers: the same every time.
    ///
    /// # Errors
    /// `module-away`: what is recorded stands, and the same bytes get the coins later. `fault`: not of this issuer.
    /// `ask-status`: their epoch was dropped.
    pub fn mint(&self, issued: &[Issued]) -> Result<Vec<Coin>, Refusal> {
        let epochs = self.epochs();
        issued.iter().flat_map(Issued::numbers).map(|n| self.coin(n, &epochs)).collect()
    }

    /// The register of a token, and what the token is worth by its number.
    pub(crate) fn worth_of(&self, number: &TokenNumber) -> Option<(&RegisterSpec, u64)> {
        let register = self.registers.iter().find(|r| r.id == number.denomination.register())?;
        Some((register, register.denominations.value(number.denomination.index())?))
    }

    /// The number behind a public id; `None` where it is no id of this issuer's.
    pub(crate) fn number_of(&self, id: [u8; 16]) -> Option<TokenNumber> {
        TokenNumber::from_block(self.ids.decipher(id)).filter(|number| number.lane == self.lanes.books)
    }

    /// The public id of a number.
    pub(crate) fn id_of(&self, number: TokenNumber) -> [u8; 16] {
        self.ids.encipher(number.to_block())
    }

    fn coin(&self, number: TokenNumber, epochs: &Epochs) -> Result<Coin, Refusal> {
        let (register, value) = self.worth_of(&number).ok_or(FAULT)?;
        let id = self.id_of(number);
        let entry = epochs.entry(number.epoch).ok_or(FAULT)?;
        if entry.dropped.is_some() {
            // Its key may be forgotten, and the coin is nothing any more.
            return Err(ASK_STATUS);
        }
        let expires = entry.expires;
        let bytes = tagged(&id, value, register.denominations.currency(), number.epoch, expires);
        let tag = self.module.tag(number.epoch, &bytes)?;
        Ok(Coin { id: ByteArray(id), value, epoch: number.epoch, expires, tag: ByteArray(tag) })
    }

    /// Looks at coins: their tags, ids, expiry, and that none stands twice. Whether they are live, only the lane knows.
    ///
    /// # Errors
    /// `module-away`.
    pub(crate) fn check(&self, set: &CoinSet, now: Timestamp, purpose: Purpose) -> Result<Checked, Refusal> {
        let epochs = self.epochs();
        // The key of an epoch that was dropped may be forgotten: none of its coins is good, and that is what is said.
        let ended = |epoch| epochs.entry(epoch).is_some_and(|e| e.dropped.is_some());
        let known = |_: &Coin, number: &TokenNumber| ended(number.epoch).then_some(true);
        self.check_with(set, known, |epoch| epochs.admits(epoch, purpose, now))
    }

    /// The same, whatever the table says of their epochs: for coins that are paid by hand. Their numbers, or what is wrong
    /// with each that is.
    ///
    /// # Errors
    /// `module-away`.
    pub fn examine(&self, set: &CoinSet) -> Result<Result<Vec<TokenNumber>, Vec<BadCoin>>, Refusal> {
        self.examine_late(set, |_, _| None)
    }

    pub(super) fn check_with(
        &self,
        set: &CoinSet,
        known: impl Fn(&Coin, &TokenNumber) -> Option<bool>,
        admits: impl Fn(Epoch) -> Result<(), CoinCause>,
    ) -> Result<Checked, Refusal> {
        let mut numbers = Vec::with_capacity(set.coins.len());
        let mut bad = Vec::new();
        let mut seen = HashSet::with_capacity(set.coins.len());
        for (index, coin) in (0u32..).zip(&set.coins) {
            match self.look(coin, set.total.currency(), &known, &admits)? {
                Ok(number) if seen.insert(number) => numbers.push(number),
                Ok(_) => bad.push(BadCoin { index, cause: CoinCause::Twice }),
                Err(cause) => bad.push(BadCoin { index, cause }),
            }
        }
        Ok(Checked { numbers, bad })
    }

    fn look(
        &self,
        coin: &Coin,
        currency: Currency,
        known: &impl Fn(&Coin, &TokenNumber) -> Option<bool>,
        admits: &impl Fn(Epoch) -> Result<(), CoinCause>,
    ) -> Result<Result<TokenNumber, CoinCause>, Refusal> {
        let Some(number) = self.number_of(coin.id.0) else { return Ok(Err(CoinCause::Foreign)) };
        // The number says what a coin is worth; the tag alone would let a mistake at tagging raise it.
        let its =
            |(r, value): (&RegisterSpec, u64)| value == coin.value && r.denominations.currency() == currency;
        if !self.worth_of(&number).is_some_and(its) {
            return Ok(Err(CoinCause::Forged));
        }
        if number.epoch != coin.epoch {
            return Ok(Err(CoinCause::Forged));
        }
        let genuine = match known(coin, &number) {
            Some(genuine) => genuine,
            None => {
                let bytes = tagged(&coin.id.0, coin.value, currency, coin.epoch, coin.expires);
                self.module.verify(coin.epoch, &bytes, &coin.tag.0)?
            }
        };
        if !genuine {
            return Ok(Err(CoinCause::Forged));
        }
        Ok(admits(coin.epoch).map(|()| number))
    }
}

/// What the tag covers: id, denomination, currency, epoch, expiry (V9).
fn tagged(id: &[u8; 16], value: u64, currency: Currency, epoch: Epoch, expires: Timestamp) -> Vec<u8> {
    cbor::encode(&(ByteArray(*id), value, currency, epoch, expires))
}
