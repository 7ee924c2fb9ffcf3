//! What an answer or a refusal changes in the wallet's books, for every kind of request: one transition each, made from
//! what its exchange remembers. Source: books.md, "Exactly once"; the rails' asking sides.

use std::sync::Arc;
use std::time::Duration;

use florin_books::{DocumentKey, Needs, Timestamp, Transition};
use florin_coin::messages::{Outcome as PaymentOutcome, PayeeAnswer};
use florin_coin::purchaser::{self, Collected};
use florin_coin::{holder, payee};
use florin_crypto::{ByteArray, Bytes, cbor};
use florin_http::ProblemView;
use florin_parties::asker::{read_confirm, read_enrol, read_register};
use florin_parties::{ConfirmOutcome, KeyList};
use florin_shell::exchange::{self, Applier, Exchange, NotAuthentic, Outcome};

use crate::documents::{
    Accepted, Awaits, CERTIFICATE, ConfirmedAccount, ENROLMENT, End, Item, Kind, Note, OpenPurchase,
    OwnCertificate, OwnEnrolment, OwnInvoice, Proof, Receiving, UNTOLD, following, single,
};
use crate::post;
use crate::purse::{add_coins, add_held, part_coins, remove_coins};
use crate::refusal::WalletError;
use crate::wallet::Wallet;

/// Applies answers with the key list of the moment.
pub(crate) struct Apply<'a> {
    pub(crate) wallet: &'a Wallet,
    pub(crate) keys: Arc<KeyList>,
    pub(crate) now: Timestamp,
}

impl Wallet {
    /// Sends an exchange until it is answered and applies the answer. Gives the answer; none where it was applied
    /// before.
    ///
    /// # Errors
    /// `Refused`, `NotKnownYet`, those of the books.
    pub(crate) async fn settle(&self, x: &Exchange) -> Result<Option<Vec<u8>>, WalletError> {
        self.settle_within(x, self.patience).await
    }

    /// The same within a time of one's own.
    ///
    /// # Errors
    /// As [`Wallet::settle`].
    pub(crate) async fn settle_within(
        &self,
        x: &Exchange,
        patience: Duration,
    ) -> Result<Option<Vec<u8>>, WalletError> {
        let what = Note::of(x).ok_or(WalletError::Damaged { what: "a request" })?.title();
        let mut refreshed = false;
        loop {
            let apply = Apply { wallet: self, keys: self.keys(), now: self.now() };
            let outcome = exchange::run(&self.house, x, &*self.net.operator, &apply, patience).await?;
            match outcome {
                Outcome::Answered(answer) => return Ok(Some(answer)),
                Outcome::Settled => return Ok(None),
                Outcome::Refused(problem) => {
                    return Err(WalletError::Refused { what, problem: Box::new(problem) });
                }
                // The operator may have signed with a key that came into use after the list was read.
                Outcome::Open { slug } if slug.as_deref() == Some("not-authentic") && !refreshed => {
                    refreshed = true;
                    self.refresh_keys().await?;
                }
                // Somebody else of this process has applied it meanwhile.
                Outcome::Open { .. } if !self.is_under_way(x)? => return Ok(None),
                Outcome::Open { slug } => return Err(WalletError::NotKnownYet { what, slug }),
            }
        }
    }

    fn is_under_way(&self, x: &Exchange) -> Result<bool, WalletError> {
        let facts = self.house.books.load(&Needs { documents: vec![x.key()], ..Needs::default() })?;
        Ok(facts.document(&x.key()).is_some())
    }

    /// Begins and settles.
    pub(crate) async fn carry(&self, x: &Exchange, t: Transition) -> Result<Option<Vec<u8>>, WalletError> {
        exchange::begin(&self.house, x, t).await?;
        self.settle(x).await
    }
}

impl Applier for Apply<'_> {
    fn answered(&self, x: &Exchange, answer: &[u8], t: &mut Transition) -> Result<(), NotAuthentic> {
        match Note::of(x).ok_or(NotAuthentic)? {
            Note::Register => self.registered(x, answer, t),
            Note::Enrol { account, roles, before } => {
                let sent = read_enrol(&x.pending, answer).map_err(|_| NotAuthentic)?;
                let awaits = Awaits { account, roles, expires: sent.expires, tries_left: sent.tries };
                write_enrolment(t, OwnEnrolment { awaits: Some(awaits), confirmed: before });
                t.remove(x.key());
                Ok(())
            }
            Note::Confirm { enrolment } => {
                let outcome = read_confirm(&x.pending, answer).map_err(|_| NotAuthentic)?;
                write_enrolment(t, after_code(enrolment, outcome));
                t.remove(x.key());
                Ok(())
            }
            Note::WRequest3(purchase) => {
                let accepted = purchaser::read_accepted(&x.pending, answer).map_err(|_| NotAuthentic)?;
                let accepted = Accepted { id: accepted.id, secret: Bytes(accepted.purchase.to_vec()) };
                let purchase = OpenPurchase { accepted: Some(accepted), ..purchase };
                t.write(purchase.key(), cbor::encode(&purchase));
                t.remove(x.key());
                Ok(())
            }
            Note::Collect(purchase) => self.collected(x, &purchase, answer, t),
            Note::Refund { .. } => self.refunded(x, answer, t),
            Note::Change | Note::Refresh => self.exchanged(x, None, answer, t),
            Note::Redeem { amount: _, account } => self.exchanged(x, Some(&account), answer, t),
            Note::OpenBox(invoice) => {
                post::read_opened(&x.pending, answer, invoice.deadline).map_err(|_| NotAuthentic)?;
                let invoice = OwnInvoice { open: true, ..invoice };
                t.write(invoice.key(), cbor::encode(&invoice));
                t.remove(x.key());
                Ok(())
            }
            Note::Validate(receiving) => {
                let issuance =
                    payee::read_issuance1(&x.pending, answer, &self.keys).map_err(|_| NotAuthentic)?;
                self.validated(x, &receiving, issuance, t);
                Ok(())
            }
            Note::GiveUp(doubt) => self.told(x, doubt, answer, t),
            // A payment ends by a verdict alone; that its envelope has arrived is no verdict.
            Note::Pay(_) => Err(NotAuthentic),
            Note::Deliver => {
                t.remove(x.key());
                Ok(())
            }
            Note::Claim(claim) => self.claimed(x, &claim, answer, t),
            Note::TakeBack(sent) => self.taken_back(x, sent, answer, t),
        }
    }

    fn refused(&self, x: &Exchange, problem: &ProblemView, t: &mut Transition) {
        let reason = problem.slug.clone();
        match Note::of(x) {
            Some(Note::WRequest3(purchase)) => {
                t.remove(purchase.key());
                self.give_back_key(&purchase.holder, t);
                self.note(t, &self.bought(&purchase, End::Refused, reason, None));
            }
            Some(Note::OpenBox(invoice)) => t.remove(invoice.key()),
            // The operator waits for no code any more, for instance because the bank does not know the account.
            Some(Note::Confirm { enrolment }) if reason.as_deref() == Some("no-enrolment") => {
                write_enrolment(t, OwnEnrolment { awaits: None, ..enrolment });
            }
            Some(Note::Validate(receiving)) => {
                return self.doubted(x, Receiving { refused: reason, ..receiving }, t);
            }
            // Only a signed answer ends it: asked again, with a new time where the old one has run out.
            Some(Note::GiveUp(doubt)) => {
                if reason.as_deref() == Some("request-expired") {
                    self.doubted(x, doubt, t);
                }
                return;
            }
            // What was sent may still be claimed, so its coins stay set aside.
            Some(Note::TakeBack(_)) => {
                t.remove(x.key());
                return;
            }
            // `collect` is asked anew where its time ran out; the others leave nothing behind.
            Some(_) | None => {}
        }
        x.release(t);
    }
}

impl Apply<'_> {
    fn registered(&self, x: &Exchange, answer: &[u8], t: &mut Transition) -> Result<(), NotAuthentic> {
        let registered = read_register(&x.pending, answer, &self.keys).map_err(|_| NotAuthentic)?;
        let own = OwnCertificate { certificate: Bytes(registered.bytes), name: registered.certificate.name };
        t.write(single(CERTIFICATE), cbor::encode(&own));
        t.remove(x.key());
        Ok(())
    }

    fn collected(
        &self,
        x: &Exchange,
        purchase: &OpenPurchase,
        answer: &[u8],
        t: &mut Transition,
    ) -> Result<(), NotAuthentic> {
        let collected =
            purchaser::read_collected(&x.pending, answer, &self.keys).map_err(|_| NotAuthentic)?;
        t.remove(x.key());
        t.remove(purchase.key());
        match collected {
            Collected::Coins { coins, ack } => {
                add_held(t, self.keys.operator, &coins, purchase.amount.currency(), purchase.holder);
                self.deliver(x, "collect-ack", purchaser::ACK_PATH, ack, t);
                self.note(t, &self.bought(purchase, End::Done, None, None));
            }
            Collected::Refused { reason, signed } => {
                self.give_back_key(&purchase.holder, t);
                self.note(t, &self.bought(purchase, End::Refused, Some(reason), Some(signed)));
            }
        }
        Ok(())
    }

    /// Change, Refresh and Redeem; `account` is where redeemed money goes.
    fn exchanged(
        &self,
        x: &Exchange,
        account: Option<&str>,
        answer: &[u8],
        t: &mut Transition,
    ) -> Result<(), NotAuthentic> {
        let news = holder::read_exchange(&x.pending, answer, &self.keys).map_err(|_| NotAuthentic)?;
        let coins = self.wallet.coins_of(x).map_err(|_| NotAuthentic)?;
        let Some(currency) = coins.first().map(|owned| owned.coin.worth.currency()) else {
            return Err(NotAuthentic);
        };
        let total = crate::purse::coin_set(&coins, currency).map_err(|_| NotAuthentic)?.total;
        let kind = if account.is_some() { Kind::Redeemed } else { Kind::Changed };
        let item = Item {
            id: ByteArray(news.payout.map_or(*x.id.bytes(), |payout| *payout.bytes())),
            kind,
            end: End::Done,
            amount: total,
            at: self.now,
            with: account.map_or_else(|| self.keys.name.clone(), str::to_owned),
            what: String::new(),
            lost: Vec::new(),
            reason: None,
            proof: Proof { statement: Some(Bytes(news.signed)), ..Proof::default() },
        };
        if !news.causes.is_empty() {
            let lost = part_coins(t, self.keys.operator, x, &coins, &news.causes);
            // Expired coins stay in the purse: that they were not taken is for the report alone.
            if !lost.is_empty() || kind == Kind::Redeemed {
                self.note(t, &Item { end: End::Denied, lost, ..item });
            }
            return Ok(());
        }
        t.remove(x.key());
        remove_coins(t, self.keys.operator, x, &coins);
        add_held(t, self.keys.operator, &news.coins, currency, news.holder);
        // A change that went well is nobody's concern.
        if kind == Kind::Redeemed {
            self.note(t, &item);
        }
        Ok(())
    }

    fn validated(&self, x: &Exchange, receiving: &Receiving, issuance: payee::Issuance, t: &mut Transition) {
        let Receiving { invoice, payer, com, .. } = receiving;
        let paid = issuance.verdict.outcome == PaymentOutcome::Paid;
        let receipt = paid.then(|| payee::receipt(&self.wallet.identity, *payer, com, self.now));
        t.remove(x.key());
        t.remove(invoice.key());
        add_coins(t, self.keys.operator, &issuance.coins, invoice.amount.currency());
        if paid {
            self.deliver(x, "issuance2", payee::ACK_PATH, issuance.issuance2, t);
        }
        let answer =
            PayeeAnswer { receipt: receipt.clone().map(Bytes), for_payer: Bytes(issuance.for_payer) };
        let me = self.wallet.identity.id();
        let put = post::put_answer(self.keys.operator, me, invoice.tid, &cbor::encode(&answer));
        self.deliver(x, "answer", post::PUT_PATH, put, t);
        let proof = Proof {
            receipt: receipt.map(Bytes),
            statement: Some(Bytes(issuance.signed)),
            ..Proof::default()
        };
        let end = match issuance.verdict.outcome {
            PaymentOutcome::Paid => End::Done,
            PaymentOutcome::Denied => End::Denied,
            PaymentOutcome::AmountMismatch => End::AmountMismatch,
            PaymentOutcome::Never => End::Never,
        };
        let mut item = self.received(invoice, end, None, proof);
        item.id = ByteArray(*issuance.verdict.pay_id.bytes());
        self.note(t, &item);
    }

    /// Adds an exchange whose answer says nothing more.
    pub(crate) fn deliver(
        &self,
        after: &Exchange,
        what: &str,
        path: &str,
        body: Vec<u8>,
        t: &mut Transition,
    ) {
        let next = self.wallet.exchange(path, body, Vec::new(), &Note::Deliver);
        Exchange { id: following(after.id, what), ..next }.begin(t);
    }

    pub(crate) fn note(&self, t: &mut Transition, item: &Item) {
        t.write(item.key(), cbor::encode(item));
        // What the operator refused has never begun: the same command may try it anew.
        let begun = item.end != End::Refused || item.proof.statement.is_some();
        let repeatable = begun && matches!(item.kind, Kind::Bought | Kind::Redeemed);
        if repeatable && self.wallet.tells {
            t.write(DocumentKey::new(UNTOLD, item.id.0), cbor::encode(item));
        }
    }

    fn bought(&self, p: &OpenPurchase, end: End, reason: Option<String>, signed: Option<Vec<u8>>) -> Item {
        Item {
            id: p.id,
            kind: Kind::Bought,
            end,
            amount: p.amount,
            at: self.now,
            with: self.keys.name.clone(),
            what: String::new(),
            lost: Vec::new(),
            reason,
            proof: Proof { statement: signed.map(Bytes), ..Proof::default() },
        }
    }

    pub(crate) fn received(
        &self,
        invoice: &OwnInvoice,
        end: End,
        reason: Option<String>,
        proof: Proof,
    ) -> Item {
        received_item(invoice, end, reason, proof, self.now)
    }
}

/// What the history says of an invoice of one's own.
pub(crate) fn received_item(
    invoice: &OwnInvoice,
    end: End,
    reason: Option<String>,
    proof: Proof,
    at: Timestamp,
) -> Item {
    Item {
        id: ByteArray(*invoice.tid.bytes()),
        kind: Kind::Received,
        end,
        amount: invoice.amount,
        at,
        // A payer shows a pseudonym that is made for the one payment: there is no name to tell.
        with: String::new(),
        what: invoice.goods.clone(),
        lost: Vec::new(),
        reason,
        proof,
    }
}

fn write_enrolment(t: &mut Transition, enrolment: OwnEnrolment) {
    let key: DocumentKey = single(ENROLMENT);
    t.write(key, cbor::encode(&enrolment));
}

fn after_code(before: OwnEnrolment, outcome: ConfirmOutcome) -> OwnEnrolment {
    match outcome {
        ConfirmOutcome::Enrolled(roles) => {
            let account = before.awaits.map(|a| a.account).unwrap_or_default();
            let confirmed = ConfirmedAccount { account, roles: roles.bits() };
            OwnEnrolment { awaits: None, confirmed: Some(confirmed) }
        }
        ConfirmOutcome::WrongCode(tries_left) => {
            OwnEnrolment { awaits: before.awaits.map(|a| Awaits { tries_left, ..a }), ..before }
        }
        ConfirmOutcome::TooManyTries | ConfirmOutcome::CodeExpired => OwnEnrolment { awaits: None, ..before },
    }
}
