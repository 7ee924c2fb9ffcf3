//! A thief: a participant like any other, who sends the operator what no honest program would send. None of it may be done.
//! Source: VarietyCash §2 (the adversary), V2-V4, V8, V9; reliability.md, R9.

use florin_books::{PartyId, Timestamp, TxId};
use florin_coin::com::METHOD;
use florin_coin::messages::{Outcome, PayeeStatus, PayerStatus, VDesc, ValidationReq};
use florin_coin::payee::{self, Presented};
use florin_coin::payer;
use florin_coin::refund::REFUND_PATH;
use florin_coin::refund_messages::RefundReq;
use florin_coin::{CoinSet, Com, HeldCoin, HolderChoice, IssuerKey, PDesc, TidPy};
use florin_crypto::entropy::Entropy;
use florin_crypto::{ByteArray, Digest, KemSecretKey, SigningKey, cbor, derive, kem, random};
use florin_money::CoinList;
use florin_parties::IdentityKeys;
use florin_parties::sealed::sign;
use florin_rail::{Context, hpke_info};
use florin_wallet::Wallet;
use minicbor::Encode;

use crate::person::Person;

const RAIL: &str = "coin";
/// A payment of the thief's may happen for so long.
const LASTS_MS: u64 = 20_000;
/// So long over that no clock of a run makes it good again.
const OVER_MS: u64 = 200_000;

/// What a thief tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attack {
    ForgedTag,
    RaisedWorth,
    AfterTheDeadline,
    AnotherOperators,
    AnotherMessage,
    AnotherPayeesEnvelope,
    AnothersName,
    GivesUpForThePayee,
    GivesUpForThePayer,
    AnothersRefund,
}

const ATTACKS: [Attack; 10] = [
    Attack::ForgedTag,
    Attack::RaisedWorth,
    Attack::AfterTheDeadline,
    Attack::AnotherOperators,
    Attack::AnotherMessage,
    Attack::AnotherPayeesEnvelope,
    Attack::AnothersName,
    Attack::GivesUpForThePayee,
    Attack::GivesUpForThePayer,
    Attack::AnothersRefund,
];

/// A message, and what reads an answer in which the operator may still say no.
struct Crafted {
    path: &'static str,
    body: Vec<u8>,
    pending: Option<Vec<u8>>,
}

/// What a thief has.
struct Thief<'a> {
    me: IdentityKeys,
    victim: PartyId,
    issuer: IssuerKey,
    coin: HeldCoin,
    now: Timestamp,
    entropy: &'a mut dyn Entropy,
}

impl Person {
    /// Tries something; that it is done is a finding.
    pub(crate) async fn attack(&self, wallet: &Wallet) {
        let dice = self.machine.dice();
        let Some(attack) = dice.one_of(&ATTACKS).copied() else { return };
        let keys = wallet.keys();
        let now = florin_books::Clock::now(&self.machine.clock);
        let coin = self.some_coin(wallet, attack);
        let (Some(coin), Some(issuer)) = (coin, IssuerKey::of(&keys, now)) else { return };
        let Some(victim) = self.victim() else { return };
        let mut entropy = (dice.entropy())();
        let me = self.identity();
        let thief = Thief { me, victim, issuer, coin, now, entropy: &mut *entropy };
        let Some(crafted) = thief.craft(attack) else { return };
        self.coverage.step(&format!("thief: {attack:?}"));
        let Some(said) = self.call(crafted.path, crafted.body).await else { return };
        let done = said.status.is_success()
            && crafted.pending.is_none_or(|pending| {
                let read = payee::read_issuance1(&pending, &said.body, &keys);
                read.is_ok_and(|issuance| issuance.verdict.outcome == Outcome::Paid)
            });
        if done {
            self.fault(format!("the operator has done what a thief asked: {attack:?}"));
        }
    }

    /// A coin of its own that is not promised to anybody, and that is of use.
    fn some_coin(&self, wallet: &Wallet, attack: Attack) -> Option<HeldCoin> {
        let free = wallet.books().view(|lane| {
            let free = lane.holdings().filter(|held| held.reserved_for.is_none());
            free.filter_map(|held| HeldCoin::from_bytes(&held.holding.token)).collect::<Vec<_>>()
        });
        let mut free = free.ok()?;
        if attack == Attack::AnothersRefund {
            free.retain(|coin| coin.holder != HolderChoice::Nobody);
        }
        self.machine.dice().one_of(&free).cloned()
    }

    /// The keys that its wallet has from its seed.
    fn identity(&self) -> IdentityKeys {
        let key = |what: &[u8]| derive::<32>(&[&self.seed], what);
        IdentityKeys {
            signing: SigningKey::from_seed(&key(b"florin/v1/wallet/sign")),
            kem: KemSecretKey::from_seed(&key(b"florin/v1/wallet/kem")),
        }
    }
}

impl Thief<'_> {
    fn craft(mut self, attack: Attack) -> Option<Crafted> {
        match attack {
            Attack::ForgedTag => {
                if let Some(byte) = self.coin.coin.tag.0.first_mut() {
                    *byte ^= 1;
                }
                self.paid_to_itself()
            }
            Attack::RaisedWorth => {
                self.coin.coin.value = self.coin.coin.value.checked_mul(10)?;
                self.paid_to_itself()
            }
            Attack::AfterTheDeadline => {
                let (me, deadline) = (self.me.id(), self.now.minus_ms(OVER_MS));
                self.asks(me, me, deadline, |request| request)
            }
            Attack::AnotherOperators => {
                let (me, other) = (self.me.id(), PartyId::new([7; 16]));
                let meant = move |m: ValidationReq| ValidationReq {
                    context: Context::new(RAIL, "validation-req", me, other),
                    ..m
                };
                self.asks(me, me, self.soon(), meant)
            }
            Attack::AnotherMessage => {
                let (me, issuer) = (self.me.id(), self.issuer.id);
                let meant = move |m: ValidationReq| ValidationReq {
                    context: Context::new(RAIL, "check", me, issuer),
                    ..m
                };
                self.asks(me, me, self.soon(), meant)
            }
            Attack::AnotherPayeesEnvelope => self.asks(self.me.id(), self.victim, self.soon(), |m| m),
            Attack::AnothersName => self.asks(self.victim, self.victim, self.soon(), |m| m),
            Attack::GivesUpForThePayee => self.gives_up_for_the_payee(),
            Attack::GivesUpForThePayer => self.gives_up_for_the_payer(),
            Attack::AnothersRefund => self.refund(),
        }
    }

    const fn soon(&self) -> Timestamp {
        self.now.plus_ms(LASTS_MS)
    }

    /// Com of a payment to somebody, and the envelope with the coin.
    fn pays(&mut self, payee: PartyId, deadline: Timestamp) -> Option<(Com, payer::Paying)> {
        let coins = CoinSet::new(vec![self.coin.coin.clone()], self.coin.worth.currency()).ok()?;
        let p_desc = PDesc {
            amount: coins.total,
            goods: "loot".into(),
            method: METHOD.into(),
            terms: Digest([0; 32]),
        };
        let (tid, salt) = (TidPy::new(random(self.entropy)), ByteArray(random(self.entropy)));
        let payer = PartyId::new(random(self.entropy));
        let com = Com { p_desc, tid, payer, payee, issuer: self.issuer.id, salt, deadline };
        let paying = payer::send_coins(&self.issuer, &com, coins, self.entropy).ok()?;
        Some((com, paying))
    }

    /// New coins for those in the envelope, of the same value as the true coin.
    fn wants(&self, com: &Com) -> Option<VDesc> {
        let list = CoinList::new(vec![(1, com.p_desc.amount.minor())]).ok()?;
        payee::refresh(com.p_desc.amount, list).ok()
    }

    /// A payment to itself, by everything that an honest payee does.
    fn paid_to_itself(&mut self) -> Option<Crafted> {
        let (com, paying) = self.pays(self.me.id(), self.soon())?;
        let presented = Presented::of(&com, paying.enc_c1);
        let wants = self.wants(&com)?;
        let asked = payee::validation_req(&self.issuer, &self.me, &presented, wants, self.entropy).ok()?;
        Some(Crafted { path: asked.path, body: asked.body, pending: Some(asked.pending.to_vec()) })
    }

    /// A ValidationReq for an envelope that names `payee`, in the name of `sender`, with its own signature.
    fn asks(
        &mut self,
        sender: PartyId,
        payee: PartyId,
        deadline: Timestamp,
        but: impl FnOnce(ValidationReq) -> ValidationReq,
    ) -> Option<Crafted> {
        let (com, paying) = self.pays(payee, deadline)?;
        let request = ValidationReq {
            context: Context::new(RAIL, "validation-req", sender, self.issuer.id),
            payer: com.payer,
            tid: com.tid,
            v_desc: self.wants(&com)?,
            com: com.digest(),
            deadline,
            enc_c1: paying.enc_c1,
        };
        self.sealed(payee::VALIDATION_PATH, "validation-req", &but(request))
    }

    fn gives_up_for_the_payee(&mut self) -> Option<Crafted> {
        let (com, _) = self.pays(self.victim, self.soon())?;
        let question = PayeeStatus {
            context: Context::new(RAIL, "payee-status", self.victim, self.issuer.id),
            tid: com.tid,
            com: com.digest(),
            deadline: com.deadline,
            gives_up: true,
            exp: self.soon(),
        };
        self.sealed(payee::STATUS_PATH, "payee-status", &question)
    }

    /// It has the envelope, and not what its payer has kept.
    fn gives_up_for_the_payer(&mut self) -> Option<Crafted> {
        let (com, paying) = self.pays(self.victim, self.soon())?;
        let question = PayerStatus {
            context: Context::new(RAIL, "payer-status", com.payer, self.issuer.id),
            enc_c1: paying.enc_c1,
            give_up: Some(ByteArray(random(self.entropy))),
            com: com.digest(),
        };
        Some(Crafted { path: payer::STATUS_PATH, body: cbor::encode(&question), pending: None })
    }

    /// Coins that have a holder, asked for by somebody who does not have the holder's key.
    fn refund(&mut self) -> Option<Crafted> {
        let from = match self.coin.holder {
            HolderChoice::Nobody => return None,
            HolderChoice::Named(id) => id,
            HolderChoice::Key(_) => PartyId::NONE,
        };
        self.me.signing = SigningKey::generate(self.entropy);
        let request = RefundReq {
            context: Context::new(RAIL, "refund", from, self.issuer.id),
            holder: self.coin.holder,
            txid: TxId::new(random(self.entropy)),
            exp: self.soon(),
        };
        self.sealed(REFUND_PATH, "refund", &request)
    }

    fn sealed<T: Encode<()>>(&mut self, path: &'static str, message: &str, request: &T) -> Option<Crafted> {
        let IssuerKey { id, kid, key } = &self.issuer;
        let signed = sign(&self.me.signing, request);
        let (envelope, _) =
            kem::seal(key, kid, &hpke_info(RAIL, message, *id, kid), &[], &signed, self.entropy).ok()?;
        Some(Crafted { path, body: cbor::encode(&envelope), pending: None })
    }
}
