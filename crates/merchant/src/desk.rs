//! The asking side of the gate: who it is, what it has asked of the operator, and what the answers change.
//! Source: books.md, "Exactly once"; VarietyCash §3 (Registration, Enrollment), §3.2; V3, V5.

use std::sync::Arc;
use std::time::Duration;

use florin_books::{DocumentKey, ExchangeId, Needs, Timestamp, TxId};
use florin_coin::IssuerKey;
use florin_coin::messages::VDesc;
use florin_coin::payee;
use florin_crypto::{Bytes, cbor, digest, random};
use florin_money::{Amount, Denominations};
use florin_parties::bank::BankAccount;
use florin_parties::{IdentityKeys, KeyList, Prepared, Roles, asker};
use florin_rail::common::EXP_AHEAD_MAX_MS;
use florin_shell::exchange::{self, Exchange, Outcome, Transport};
use florin_shell::house::{ActError, House};
use minicbor::{Decode, Encode};

use crate::apply::GateApplier;
use crate::kinds::{CERTIFICATE, CONFIRM, ENROL, REDEEMER, REGISTER, STATUS, VALIDATION};
use crate::order::{Order, OrderState};
use crate::settle::Settle;

/// The gate and the operator that it has pinned.
pub struct Party {
    /// Its keys.
    pub identity: IdentityKeys,
    /// The operator's key list.
    pub list: KeyList,
}

impl Party {
    /// ID_PY.
    #[must_use]
    pub fn id(&self) -> florin_books::PartyId {
        self.identity.id()
    }

    /// The coins of a currency.
    #[must_use]
    pub fn denominations(&self, currency: florin_money::Currency) -> Option<Denominations> {
        let terms = self.list.currency(currency)?;
        Denominations::new(currency, terms.denominations.clone()).ok()
    }
}

/// A gate that is registered.
#[derive(Clone)]
pub struct Member {
    /// Who it is.
    pub party: Arc<Party>,
    /// The operator's certificate.
    pub certificate: Vec<u8>,
    /// The name in it.
    pub name: String,
}

/// Where the gate stands as redeemer.
///
/// Shape: `[account, code expires, enrolled]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Redeemer {
    /// The account, as a payto URI.
    #[n(0)]
    pub account: String,
    /// Until when the code is good.
    #[n(1)]
    pub expires: Timestamp,
    /// Whether the operator has confirmed it.
    #[n(2)]
    pub enrolled: bool,
}

/// A pay-out.
///
/// Shape: `[amount, at, pay-out]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PaidOut {
    /// How much.
    #[n(0)]
    pub amount: Amount,
    /// When the operator took the coins.
    #[n(1)]
    pub at: Timestamp,
    /// The operator's id of the transfer.
    #[n(2)]
    pub payout: Option<TxId>,
}

/// The one document of a kind.
#[must_use]
pub const fn single(kind: florin_books::DocumentKind) -> DocumentKey {
    DocumentKey::new(kind, [0; 16])
}

/// Why the desk cannot do what it is asked to, in checking order.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The books failed.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The request cannot be made.
    #[error(transparent)]
    Ask(#[from] florin_parties::AskError),
    /// The request cannot be made.
    #[error(transparent)]
    Coin(#[from] florin_coin::AskError),
    /// Not a bank account.
    #[error(transparent)]
    Account(#[from] florin_parties::bank::BankAccountError),
    /// Not an amount of the operator's currencies.
    #[error(transparent)]
    Amount(florin_money::ParseAmountError),
    /// Not a price.
    #[error("{0:?} is not a price of this operator: {1}")]
    Price(String, crate::rules::PriceFault),
    /// The operator has no key to seal to now.
    #[error("the operator has no key to seal to now")]
    NoKey,
    /// The operator refused; the slug stands in docs/problems.md.
    #[error("the operator refused: {0}")]
    Refused(String),
    /// Not known yet; the same command again finds out.
    #[error("not known yet; the same command again finds out{}", .0.as_deref().map(|s| format!(" ({s})")).unwrap_or_default())]
    Open(Option<String>),
    /// An answer of the operator cannot be read.
    #[error("the operator's answer cannot be read")]
    Answer,
    /// No pay-out without enrolment.
    #[error("not enrolled for pay-out; run: florin gate enrol --account PAYTO")]
    NotEnrolled,
    /// Less in the purse than asked for.
    #[error("the purse has only {have}")]
    NotEnough {
        /// What it has.
        have: Amount,
    },
    /// Nothing to pay out.
    #[error("there is nothing to pay out")]
    Nothing,
    /// The amount cannot be made of the operator's coins.
    #[error("{0} cannot be paid out at once")]
    NotPayable(Amount),
    /// Some coins of the purse are worthless; they are taken out of the books.
    #[error("the operator did not take {0} of the coins; they are taken out of the books")]
    BadCoins(usize),
}

/// The asking side.
#[derive(Clone)]
pub struct Desk {
    /// Books, clock, randomness.
    pub house: House,
    /// Who asks.
    pub party: Arc<Party>,
    /// How requests get there.
    pub transport: Arc<dyn Transport>,
}

impl Desk {
    pub(crate) fn applier(&self) -> GateApplier {
        GateApplier { desk: self.clone() }
    }

    pub(crate) fn draw<const N: usize>(&self) -> [u8; N] {
        random(&mut *(self.house.entropy)())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.house.clock.now()
    }

    /// An `exp` as far ahead as it may lie: what is asked again after a crash must still be answered.
    pub(crate) fn exp(&self) -> Timestamp {
        self.now().plus_ms(EXP_AHEAD_MAX_MS)
    }

    /// A document, if it is there.
    pub(crate) fn document(&self, key: DocumentKey) -> Result<Option<Vec<u8>>, ActError> {
        let needs = Needs { documents: vec![key], ..Needs::default() };
        Ok(self.house.books.load(&needs)?.document(&key).map(<[u8]>::to_vec))
    }

    /// Persists an exchange; it reads first, since the lane takes no facts from before its last fold.
    pub(crate) async fn begin(&self, x: &Exchange) -> Result<(), ActError> {
        let needs = Needs { documents: vec![x.key()], ..Needs::default() };
        let begun = self.house.act(&needs, |facts, _| {
            let cause = digest("florin/v1/gate/begin", &[x.id.bytes()]);
            let mut t = florin_books::Transition::new(cause, facts.as_of);
            x.begin(&mut t);
            Some(t)
        });
        begun.await.map(|_| ())
    }

    /// An exchange under way, by its id.
    pub(crate) fn under_way(&self, id: ExchangeId) -> Result<Option<Exchange>, ActError> {
        let bytes = self.document(DocumentKey::new(exchange::EXCHANGE, *id.bytes()))?;
        Ok(bytes.and_then(|bytes| cbor::decode_strict(&bytes).ok()))
    }

    /// Sends until answered, at most so long; what the operator can no longer answer is asked anew where that is safe.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn run(&self, x: &Exchange, patience: Duration) -> Result<Outcome, ActError> {
        let applier = self.applier();
        let outcome = exchange::run(&self.house, x, &*self.transport, &applier, patience).await?;
        let renewed = match &outcome {
            Outcome::Open { slug } if slug.as_deref() == Some("ask-status") => self.renew(x).await?,
            _ => None,
        };
        match renewed {
            Some(x) => exchange::run(&self.house, &x, &*self.transport, &applier, patience).await,
            None => Ok(outcome),
        }
    }

    /// Runs every exchange under way that began before `until`; gives how many are still open.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn resume(&self, until: Timestamp, patience: Duration) -> Result<usize, ActError> {
        let mut open: usize = 0;
        let now = self.now();
        // What began in the future began under another clock.
        for x in exchange::under_way(&self.house)?.into_iter().filter(|x| x.since <= until || x.since > now) {
            if let Outcome::Open { slug } = self.run(&x, patience).await? {
                tracing::info!(exchange = %x.id, slug, "still open");
                open = open.saturating_add(1);
            }
        }
        Ok(open)
    }

    /// The operator no longer has the key that a ValidationReq or the question about it was sealed to: the same under a new
    /// one. What was issued for it is given again (V3), so nothing can happen twice.
    async fn renew(&self, x: &Exchange) -> Result<Option<Exchange>, ActError> {
        let about_order = matches!(x.kind, VALIDATION | STATUS);
        let Some(order) = Order::read(&x.note).filter(|_| about_order) else { return Ok(None) };
        let OrderState::Open(presented) = &order.state else { return Ok(None) };
        let next = match x.kind {
            STATUS => self.question(&order),
            _ => self.validation(&order, presented.deadline, &presented.enc_c1),
        };
        let Some(next) = next else { return Ok(None) };
        if next.body == x.body {
            return Ok(None);
        }
        let key = Order::key_of(order.tid);
        let needs = Needs { documents: vec![x.key(), key], ..Needs::default() };
        let cause = digest("florin/v1/gate/renew", &[x.id.bytes(), next.id.bytes()]);
        let done = self
            .house
            .act(&needs, |facts, _| {
                facts.document(&x.key())?;
                let mut t = florin_books::Transition::new(cause, facts.as_of);
                t.remove(x.key());
                t.write(next.key(), cbor::encode(&next));
                let renewed = Order { exchange: next.id, ..order.clone() };
                t.write(key, renewed.to_bytes());
                Some(t)
            })
            .await?;
        Ok(done.map(|_| next))
    }

    /// What is asked of the operator for coins of so much.
    pub(crate) fn v_desc(&self, settle: Settle, amount: Amount) -> Option<VDesc> {
        match settle {
            Settle::Refresh => {
                let list = self.party.denominations(amount.currency())?.split(amount).ok()?;
                payee::refresh(amount, list).ok()
            }
            Settle::Redeem => Some(payee::redeem(amount)),
            Settle::Aggregate => Some(payee::aggregate(amount)),
        }
    }

    /// ValidationReq for an order, as an exchange; its note is the order.
    pub(crate) fn validation(
        &self,
        order: &Order,
        deadline: Timestamp,
        enc_c1: &florin_crypto::Envelope,
    ) -> Option<Exchange> {
        let now = self.now();
        let issuer = IssuerKey::of(&self.party.list, now)?;
        let v_desc = self.v_desc(order.settle, order.amount)?;
        let presented = payee::Presented {
            payer: order.payer,
            tid: order.tid,
            com: order.com,
            deadline,
            enc_c1: enc_c1.clone(),
        };
        let mut entropy = (self.house.entropy)();
        let me = &self.party.identity;
        let prepared = payee::validation_req(&issuer, me, &presented, v_desc, &mut *entropy).ok()?;
        let id = ExchangeId::new(random(&mut *entropy));
        let order = Order { exchange: id, ..order.clone() };
        Some(Exchange {
            id,
            kind: VALIDATION,
            to: prepared.path.to_owned(),
            body: prepared.body,
            pending: prepared.pending.to_vec(),
            reserved: Vec::new(),
            note: order.to_bytes(),
            since: now,
            withdrawn: prepared.withdrawn,
        })
    }

    /// The certificate, if the gate is registered.
    ///
    /// # Errors
    /// Those of the books.
    pub fn member(&self) -> Result<Option<Member>, ActError> {
        let Some(bytes) = self.document(single(CERTIFICATE))? else { return Ok(None) };
        let read = cbor::decode_strict::<Bytes>(&bytes).ok();
        let certificate = read.and_then(|Bytes(certificate)| {
            let read = florin_parties::Certificate::verify(&certificate, &self.party.list).ok()?;
            Some(Member { party: Arc::clone(&self.party), certificate, name: read.name })
        });
        Ok(certificate)
    }

    /// Registers, once: a gate that is registered stays what it is.
    ///
    /// # Errors
    /// `Refused` (such as `name-taken`), `Open`, and what the request itself lacks.
    pub async fn register(&self, name: Option<&str>, patience: Duration) -> Result<Member, DeskError> {
        if let Some(member) = self.member()? {
            return Ok(member);
        }
        let prepare = |desk: &Self| {
            let mut entropy = (desk.house.entropy)();
            let once = (TxId::new(random(&mut *entropy)), desk.exp());
            let party = &desk.party;
            asker::prepare_register(&party.identity, name, &party.list, once, desk.now(), &mut *entropy)
        };
        self.ask(REGISTER, Vec::new(), prepare, patience).await?;
        self.member()?.ok_or(DeskError::Answer)
    }

    /// Asks to be enrolled as redeemer with a bank account; the code comes with a small transfer.
    ///
    /// # Errors
    /// As [`Desk::register`]; `Account`.
    pub async fn enrol(&self, account: &str, patience: Duration) -> Result<Redeemer, DeskError> {
        let account: BankAccount = account.parse()?;
        let prepare = |desk: &Self| {
            let mut entropy = (desk.house.entropy)();
            let once = (TxId::new(random(&mut *entropy)), desk.exp());
            let party = &desk.party;
            let roles = Roles::REDEEMER;
            asker::prepare_enrol(
                &party.identity,
                roles,
                &account,
                &party.list,
                once,
                desk.now(),
                &mut *entropy,
            )
        };
        self.ask(ENROL, account.to_string().into_bytes(), prepare, patience).await?;
        self.redeemer()?.ok_or(DeskError::Answer)
    }

    /// Confirms the enrolment with the code.
    ///
    /// # Errors
    /// As [`Desk::register`]; a wrong code is `Refused`.
    pub async fn confirm(&self, code: &str, patience: Duration) -> Result<Redeemer, DeskError> {
        // A code that was sent before may have been the right one. What else is open has nothing to do with it.
        for x in exchange::under_way(&self.house)?.into_iter().filter(|x| x.kind == CONFIRM) {
            self.run(&x, patience).await?;
        }
        let redeemer = self.redeemer()?.ok_or(DeskError::NotEnrolled)?;
        if redeemer.enrolled {
            return Ok(redeemer);
        }
        let prepare = |desk: &Self| {
            let mut entropy = (desk.house.entropy)();
            let once = (TxId::new(random(&mut *entropy)), desk.exp());
            let party = &desk.party;
            asker::prepare_confirm(&party.identity, code, &party.list, once, desk.now(), &mut *entropy)
        };
        let (x, answer) = self.ask(CONFIRM, cbor::encode(&redeemer), prepare, patience).await?;
        if let Some(answer) = answer {
            let outcome = asker::read_confirm(&x.pending, &answer).map_err(|_| DeskError::Answer)?;
            if let Some(refusal) = outcome.refusal() {
                return Err(DeskError::Refused(refusal.to_string()));
            }
        }
        self.redeemer()?.filter(|redeemer| redeemer.enrolled).ok_or(DeskError::NotEnrolled)
    }

    /// Where the gate stands as redeemer.
    ///
    /// # Errors
    /// Those of the books.
    pub fn redeemer(&self) -> Result<Option<Redeemer>, ActError> {
        Ok(self.document(single(REDEEMER))?.and_then(|bytes| cbor::decode_strict(&bytes).ok()))
    }

    /// One request of `kind`: what a former run began is finished first, and is then the answer.
    async fn ask(
        &self,
        kind: u16,
        note: Vec<u8>,
        prepare: impl FnOnce(&Self) -> Result<Prepared, florin_parties::AskError>,
        patience: Duration,
    ) -> Result<(Exchange, Option<Vec<u8>>), DeskError> {
        let begun = exchange::under_way(&self.house)?.into_iter().find(|x| x.kind == kind && x.note == note);
        let x = match begun {
            Some(x) => x,
            None => {
                let prepared = prepare(self)?;
                let x = Exchange {
                    id: ExchangeId::new(self.draw()),
                    kind,
                    to: prepared.path,
                    body: prepared.body,
                    pending: prepared.pending.to_vec(),
                    reserved: Vec::new(),
                    note,
                    since: self.now(),
                    withdrawn: None,
                };
                self.begin(&x).await?;
                x
            }
        };
        match self.run(&x, patience).await? {
            Outcome::Answered(answer) => Ok((x, Some(answer))),
            Outcome::Settled => Ok((x, None)),
            Outcome::Refused(problem) => Err(refused(&problem)),
            Outcome::Open { slug } => Err(DeskError::Open(slug)),
        }
    }
}

pub(crate) fn refused(problem: &florin_http::ProblemView) -> DeskError {
    let slug = problem.slug.as_deref().unwrap_or("refused");
    match &problem.detail {
        Some(detail) => DeskError::Refused(format!("{slug}: {detail}")),
        None => DeskError::Refused(slug.to_owned()),
    }
}
