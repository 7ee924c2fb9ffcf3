//! An operator in memory with somebody who has coins, and one good request of each kind: what the issuer's steps are tried
//! with. Two lanes, no store, no clock. Source: docs/rails/coin.md; the one flow, as the shell runs it.

use std::collections::HashMap;
use std::sync::Arc;

use florin_books::{
    Account, Document, DocumentKey, Facts, Issue, Lane, LaneId, LaneSpec, Needs, OnceKey, PartyId, Record,
    RegisterId, RegisterSpec, Rejected, Seq, Timestamp, Transition,
};
use florin_coin::issuer::{Issuer, IssuerSecrets, Lanes, SoftwareModule};
use florin_coin::{Coin, CoinSet, IssuerKey};
use florin_crypto::{KemSecretKey, SeededEntropy, SigningKey, digest, encode};
use florin_money::{Amount, Currency, Denominations};
use florin_parties::registration::Identity;
use florin_parties::{
    Certificate, CurrencyTerms, IdentityKeys, KeyList, KeyUse, OperatorKeys, Participant, PublishedKey,
    Roles, SignedKeyList, Terms, operator_id,
};

use crate::crypto::secret;
use crate::say::{fine, some};

const DAY: u64 = 24 * 60 * 60 * 1000;
/// When everything happens.
pub(crate) const NOW: Timestamp = Timestamp(20_000 * DAY + 9 * 60 * 60 * 1000);
/// Who is who.
pub(crate) const IDENTITY: LaneId = LaneId(0);
/// Coins.
pub(crate) const BOOKS: LaneId = LaneId(1);
const COINS: RegisterId = RegisterId(1);

/// One lane and what a store would keep of it.
pub(crate) struct Shelf {
    pub(crate) lane: Lane,
    pub(crate) documents: HashMap<DocumentKey, Document>,
    pub(crate) once: HashMap<OnceKey, Seq>,
    pub(crate) records: Vec<Record>,
}

/// The operator, and somebody.
pub(crate) struct World {
    pub(crate) list: KeyList,
    pub(crate) signed_list: Vec<u8>,
    pub(crate) keys: Arc<OperatorKeys>,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) identity: Shelf,
    pub(crate) books: Shelf,
    pub(crate) me: IdentityKeys,
    pub(crate) certificate: Vec<u8>,
    pub(crate) coins: Vec<Coin>,
}

impl Shelf {
    fn new(lane: LaneId, registers: Vec<RegisterSpec>) -> Self {
        let lane = Lane::new(LaneSpec { lane, registers });
        Self { lane, documents: HashMap::new(), once: HashMap::new(), records: Vec::new() }
    }

    /// Only what was asked for, as the store gives it.
    pub(crate) fn facts(&self, needs: &Needs) -> Facts {
        let read = |k: &DocumentKey| self.documents.get(k).map(|d| (*k, d.clone()));
        let seen = |k: &OnceKey| self.once.get(k).map(|s| (*k, *s));
        Facts {
            as_of: self.lane.seq(),
            documents: needs.documents.iter().filter_map(read).collect(),
            once: needs.once.iter().filter_map(seen).collect(),
            dead: needs.tokens.iter().filter(|n| !self.lane.live().is_live(n)).copied().collect(),
            ..Facts::default()
        }
    }

    pub(crate) fn record(&self, seq: Seq) -> Option<&Record> {
        self.records.iter().find(|record| record.core.seq == seq)
    }

    pub(crate) fn apply(&mut self, t: Transition) -> Result<Record, Rejected> {
        let record = self.lane.apply(t, NOW)?.record;
        for write in &record.core.documents {
            match &write.value {
                Some(value) => {
                    let document = Document { version: record.core.seq, value: value.as_slice().into() };
                    self.documents.insert(write.key, document);
                }
                None => drop(self.documents.remove(&write.key)),
            }
        }
        self.once.extend(record.core.once.iter().map(|key| (*key, record.core.seq)));
        self.records.push(record.clone());
        Ok(record)
    }
}

/// An amount of florins.
pub(crate) fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

/// Coins as a set.
pub(crate) fn set(coins: &[Coin]) -> CoinSet {
    fine(CoinSet::new(coins.to_vec(), Currency::FLO), "coins add up")
}

fn register() -> RegisterSpec {
    RegisterSpec { id: COINS, denominations: Denominations::one_two_five(Currency::FLO, 24) }
}

fn secrets() -> IssuerSecrets {
    IssuerSecrets {
        module: Box::new(SoftwareModule::new(secret("tag"))),
        ids: secret("ids"),
        acknowledgement: secret("acknowledgement"),
        cookie: secret("cookie"),
    }
}

fn key_list(root: &SigningKey, signing: &SigningKey, kem: &KemSecretKey) -> KeyList {
    let until = NOW.plus_ms(4000 * DAY);
    let key = |key_use, key| PublishedKey::new(key_use, key, NOW.minus_ms(DAY), until);
    KeyList {
        operator: operator_id(&root.verify_key()),
        root: root.verify_key(),
        name: "Operator".into(),
        test: true,
        time: NOW,
        keys: vec![
            key(KeyUse::MessageSignature, signing.verify_key().to_bytes()),
            key(KeyUse::Kem, kem.public_key().0),
        ],
        currencies: vec![CurrencyTerms {
            currency: Currency::FLO,
            denominations: register().denominations.values().to_vec(),
        }],
        epochs: Vec::new(),
        terms: Terms::default(),
    }
}

impl World {
    /// The same one every time.
    pub(crate) fn new() -> Self {
        let root = SigningKey::from_seed(&secret("root"));
        let signing = SigningKey::from_seed(&secret("operator signing"));
        let kem = KemSecretKey::from_seed(&secret("operator kem"));
        let list = key_list(&root, &signing, &kem);
        let signed_list = fine(SignedKeyList::sign(&list, &root), "a key list");
        let keys = Arc::new(OperatorKeys::new(list.operator, signing, kem));
        let lanes = Lanes { identity: IDENTITY, books: BOOKS };
        let issuer = Issuer::new(keys.clone(), secrets(), lanes, vec![register()], &Terms::default());
        let me = IdentityKeys::generate(&mut SeededEntropy::new("me"));
        let mut world = Self {
            list,
            signed_list,
            keys,
            issuer: Arc::new(issuer),
            identity: Shelf::new(IDENTITY, Vec::new()),
            books: Shelf::new(BOOKS, vec![register()]),
            me,
            certificate: Vec::new(),
            coins: Vec::new(),
        };
        world.enrol();
        world.furnish();
        world
    }

    fn enrol(&mut self) {
        let registered = Participant::registered(self.me.signing.verify_key(), self.me.kem.public_key(), NOW);
        let participant = registered.with_roles(Roles::BOTH);
        let identity = Identity { registered_at: NOW, name: None, format: 1 };
        for shelf in [&mut self.identity, &mut self.books] {
            let mut t = Transition::new(digest("fuzz/enrol", &[]), shelf.lane.seq());
            t.write(participant.key(), encode(&participant));
            t.write(Identity::key_of(participant.id), encode(&identity));
            fine(shelf.apply(t), "a participant");
        }
        let payload = Certificate::of(self.list.operator, &participant, None).payload();
        self.certificate = some(self.keys.sign(&self.keys.signing_kid(), &payload), "a certificate");
    }

    /// Four coins of each of the first eight values, as a purchase would have issued them.
    fn furnish(&mut self) {
        let mut t = Transition::new(digest("fuzz/coins", &[]), self.books.lane.seq());
        let epoch = some(self.issuer.epochs().issuing(NOW), "an epoch that issues");
        let mut total = 0_u64;
        for (index, value) in (0_u16..8).zip(register().denominations.values()) {
            let denomination = some(florin_books::DenominationId::new(COINS, index), "a denomination");
            t.creates.push(Issue { epoch, denomination, count: 4 });
            total = total.saturating_add(value.saturating_mul(4));
        }
        t.post(Account::Pair(IDENTITY), Account::Register(COINS), flo(total));
        let record = fine(self.books.apply(t), "coins");
        self.coins = fine(self.issuer.mint(&record.core.created), "coins");
    }

    /// Coins of these values; nobody gets them again.
    pub(crate) fn take(&mut self, values: &[u64]) -> Vec<Coin> {
        let take = |value: &u64| {
            let at = some(self.coins.iter().position(|coin| coin.value == *value), "no such coin");
            self.coins.remove(at)
        };
        values.iter().map(take).collect()
    }

    /// The key to seal to.
    pub(crate) fn key(&self) -> IssuerKey {
        some(IssuerKey::of(&self.list, NOW), "a key of the issuer")
    }

    /// The one lane or the other.
    pub(crate) fn shelf(&mut self, lane: LaneId) -> &mut Shelf {
        if lane == IDENTITY { &mut self.identity } else { &mut self.books }
    }

    /// Whose it all is.
    pub(crate) fn operator(&self) -> PartyId {
        self.list.operator
    }
}
