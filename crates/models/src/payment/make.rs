//! The messages of payers and payee, made by the asking roles of `florin-coin`. What is made is a function of who makes it
//! and which try it is. Source: crates/rails/coin/src/{payer,payee,refund}.rs.

use std::sync::PoisonError;

use florin_books::{PartyId, TxId};
use florin_coin::com::METHOD;
use florin_coin::payee::{self, InvoiceTerms, Presented, Question};
use florin_coin::payer::{self, Paying};
use florin_coin::refund::{self, Holder};
use florin_coin::{Coin, HolderChoice, PDesc, TidPy};
use florin_crypto::{Digest, Entropy as _, SeededEntropy};
use florin_parties::IdentityKeys;

use super::{Deal, State, World};
use crate::cast::{Cast, WORTH, flo, list, set};
use crate::fault::Fault;
use crate::house::{Message, MessageId, Tag};
use crate::operator::{DEADLINE, EXP, START, parts};

/// An invoice of the payee, read by the payer: what they agree on.
pub(super) fn deal(cast: &Cast, all: &[Coin], which: &[usize], number: [u8; 2]) -> Result<Deal, Fault> {
    let mut entropy = SeededEntropy::new([b"deal".as_slice(), &number].concat());
    let coins: Vec<Coin> = which.iter().filter_map(|i| all.get(*i)).cloned().collect();
    let terms = InvoiceTerms {
        tid: TidPy::new(entropy.array()),
        p_desc: PDesc {
            amount: flo(coins.iter().map(|c| c.value).fold(0, u64::saturating_add)),
            goods: "one page".into(),
            method: METHOD.into(),
            terms: Digest([0; 32]),
        },
        salt: entropy.array(),
        deadline: DEADLINE,
    };
    let list = &cast.operator.list;
    let invoice = payee::invoice(&cast.payee.keys, &cast.payee.certificate, list.operator, &terms);
    let read = payer::read_invoice(&invoice, list, START).map_err(|_| Fault::Setup("an invoice"))?;
    Ok(Deal { com: read.com(PartyId::new(entropy.array())), coins })
}

impl World {
    /// What was made for this before, or what is made now.
    fn made(
        &self,
        s: &State,
        tag: Tag,
        make: impl FnOnce() -> Result<Message, Fault>,
    ) -> Result<MessageId, Fault> {
        let key = (tag, s.beginning);
        if let Some(id) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(*id);
        }
        // One message is made of another: the table is free meanwhile.
        let id = self.house.number(make()?);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key, id);
        Ok(id)
    }

    fn chance(s: &State, tag: Tag) -> SeededEntropy {
        SeededEntropy::new(format!("{} {tag:?}", s.beginning))
    }

    /// A payer's envelope and what it keeps: the real SendCoins.
    pub(super) fn paying(&self, s: &State, deal: u8, envelope: u8) -> Result<Paying, Fault> {
        let key = self.house.operator().key().ok_or(Fault::Setup("the issuer's key"))?;
        let of = self.deal(s, deal)?;
        let mut entropy = Self::chance(s, Tag::SendCoins(deal, envelope));
        Ok(payer::send_coins(&key, &of.com, set(&of.coins)?, &mut entropy)?)
    }

    pub(super) fn send_coins(&self, s: &State, deal: u8, envelope: u8) -> Result<MessageId, Fault> {
        let tag = Tag::SendCoins(deal, envelope);
        self.made(s, tag, || Ok(Message::Letter { tag, bytes: self.paying(s, deal, envelope)?.send_coins }))
    }

    /// What the payee presents, from the bytes of SendCoins.
    fn presented(&self, s: &State, deal: u8, envelope: u8) -> Result<Presented, Fault> {
        let letter = self.message(self.send_coins(s, deal, envelope)?)?;
        let Message::Letter { bytes, .. } = &*letter else { return Err(Fault::Absent("SendCoins")) };
        let sent = payee::read_send_coins(bytes, self.payee.keys.id())?;
        let com = &self.deal(s, deal)?.com;
        Ok(Presented {
            payer: sent.context.sender,
            tid: com.tid,
            com: com.digest(),
            deadline: com.deadline,
            enc_c1: sent.enc_c1,
        })
    }

    pub(super) fn validation(&self, s: &State, deal: u8, envelope: u8, n: u8) -> Result<MessageId, Fault> {
        let tag = Tag::Validation(deal, envelope, n);
        self.made(s, tag, || {
            let key = self.house.operator().key().ok_or(Fault::Setup("the issuer's key"))?;
            let presented = self.presented(s, deal, envelope)?;
            let values: Vec<u64> = self.deal(s, deal)?.coins.iter().map(|_| WORTH).collect();
            let total = flo(values.iter().copied().fold(0, u64::saturating_add));
            let v_desc = payee::refresh(total, list(&values)?)?;
            let v_desc = v_desc.held_by(HolderChoice::Named(self.payee.keys.id()));
            let mut entropy = Self::chance(s, tag);
            let asked = payee::validation_req(&key, &self.payee.keys, &presented, v_desc, &mut entropy)?;
            let (path, body, pending) = parts(asked);
            Ok(Message::Request { tag, path, body, pending })
        })
    }

    pub(super) fn acknowledge(&self, deal: u8, issuance2: Vec<u8>) -> MessageId {
        let tag = Tag::Acknowledge(deal);
        self.house.number(Message::Request {
            tag,
            path: payee::ACK_PATH,
            body: issuance2,
            pending: Vec::new(),
        })
    }

    pub(super) fn payer_status(
        &self,
        s: &State,
        deal: u8,
        envelope: u8,
        give_up: bool,
    ) -> Result<MessageId, Fault> {
        let tag = Tag::PayerStatus(deal, envelope, give_up);
        self.made(s, tag, || {
            let pending = self.paying(s, deal, envelope)?.pending;
            let body = payer::status_request(&pending, give_up)?;
            Ok(Message::Request { tag, path: payer::STATUS_PATH, body, pending: pending.to_vec() })
        })
    }

    /// The payee's question. It gives up, as a gate that was refused does (ADR 0033).
    pub(super) fn payee_status(&self, s: &State, deal: u8) -> Result<MessageId, Fault> {
        let tag = Tag::PayeeStatus(deal);
        self.made(s, tag, || {
            let key = self.house.operator().key().ok_or(Fault::Setup("the issuer's key"))?;
            let com = &self.deal(s, deal)?.com;
            let question =
                Question { tid: com.tid, com: com.digest(), deadline: com.deadline, gives_up: true };
            let mut entropy = Self::chance(s, tag);
            let asked = payee::status_request(&key, &self.payee.keys, &question, EXP, &mut entropy)?;
            let (path, body, pending) = parts(asked);
            Ok(Message::Request { tag, path, body, pending })
        })
    }

    /// Refund by name: payers 0 and 1, the payee 2.
    pub(super) fn refund(&self, s: &State, who: u8, n: u8) -> Result<MessageId, Fault> {
        let tag = Tag::Refund(who, n);
        self.made(s, tag, || {
            let key = self.house.operator().key().ok_or(Fault::Setup("the issuer's key"))?;
            let me: &IdentityKeys = match self.payers.get(usize::from(who)) {
                Some(payer) => &payer.keys,
                None => &self.payee.keys,
            };
            let mut entropy = Self::chance(s, tag);
            let tx = (TxId::new(entropy.array()), EXP);
            let (path, body, pending) = parts(refund::refund(&key, &Holder::Named(me), tx, &mut entropy)?);
            Ok(Message::Request { tag, path, body, pending })
        })
    }
}
