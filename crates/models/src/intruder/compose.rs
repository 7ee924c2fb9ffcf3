//! The messages that the intruder makes: each kind has a template of parts; a message is one run's parts with none, one or
//! two of them taken from other runs, or from other messages of the same shape. What needs a signature it signs with its
//! own key, what needs an envelope it seals with chance of its own. Source: docs/rails/coin.md (every shape).

use florin_books::PartyId;
use florin_coin::HolderChoice;
use florin_coin::messages::{EncC1, PayeeStatus, PayerStatus, SendCoins, ValidationReq};
use florin_coin::refund_messages::RefundReq;
use florin_coin::{payee, payer};
use florin_crypto::{Entropy, Envelope, SeededEntropy, cbor, digest, kem};
use florin_parties::ReplyFrame;
use florin_parties::sealed::sign;
use florin_rail::{Context, hpke_info, transcript};

use super::{A, M, Run, World, its_txid};
use crate::cast::{WORTH, flo, list, set};
use crate::fault::Fault;
use crate::house::{Message, MessageId, Tag};
use crate::operator::{EXP, parts};

/// Every way to take each part from some run: the runs of a base, with at most two parts of other runs.
fn mixes(runs: usize, slots: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for base in 0..runs {
        let plain = vec![base; slots];
        all.push(plain.clone());
        for (first, one) in (0..slots).flat_map(|slot| (0..runs).map(move |run| (slot, run))) {
            let mut mixed = plain.clone();
            mixed.iter_mut().skip(first).take(1).for_each(|part| *part = one);
            all.push(mixed.clone());
            for (second, two) in (0..slots).flat_map(|slot| (0..runs).map(move |run| (slot, run))) {
                let mut twice = mixed.clone();
                twice.iter_mut().skip(second).take(1).for_each(|part| *part = two);
                all.push(twice);
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn of<T>(runs: &[Run], mix: &[usize], slot: usize, part: impl Fn(&Run) -> T) -> Option<T> {
    runs.get(*mix.get(slot)?).map(part)
}

/// SendCoins with parts of several runs, down to the parts of the envelope.
pub(super) fn send_coins(runs: &[Run]) -> Vec<SendCoins> {
    let make = |mix: &Vec<usize>| {
        let payer = of(runs, mix, 0, |r| r.com.payer)?;
        let payee = of(runs, mix, 1, |r| r.com.payee)?;
        let enc_c1 = Envelope {
            suite: 1,
            kid: of(runs, mix, 2, |r| r.sent.enc_c1.kid)?,
            enc: of(runs, mix, 2, |r| r.sent.enc_c1.enc)?,
            ct: of(runs, mix, 3, |r| r.sent.enc_c1.ct.clone())?,
        };
        Some(SendCoins { context: Context::new("coin", "send-coins", payer, payee), enc_c1 })
    };
    let mut made: Vec<SendCoins> = Vec::new();
    for sent in mixes(runs.len(), 4).iter().filter_map(make) {
        let known = runs.iter().any(|run| run.sent == sent);
        if !known && !made.contains(&sent) {
            made.push(sent);
        }
    }
    made
}

impl World {
    /// Every request that the intruder can make, or has from the beginning; only those that open at the operator.
    pub(super) fn compose(&self) -> Result<Vec<(MessageId, bool)>, Fault> {
        let mut all: Vec<(Message, bool)> = Vec::new();
        for run in &self.runs {
            let body = payer::status_request(&run.pending, false)?;
            all.push((self.plain(payer::STATUS_PATH, body), false));
        }
        self.validations(&mut all)?;
        self.statuses(&mut all)?;
        self.own_envelopes(&mut all)?;
        self.refunds(&mut all)?;
        let mut requests: Vec<(MessageId, bool)> = Vec::new();
        for (message, forged) in all {
            let id = self.house.number(message);
            let opens = self.house.opens(id) || self.weaken(id)?.is_some();
            if opens && !requests.iter().any(|(known, _)| *known == id) {
                requests.push((id, forged));
            }
        }
        Ok(requests)
    }

    fn plain(&self, path: &'static str, body: Vec<u8>) -> Message {
        Message::Request { tag: Tag::Forged, path, body, pending: Vec::new() }
    }

    /// Sealed to the operator as this message; the intruder keeps the key of the answer to whom the text names.
    fn sealed(
        &self,
        path: &'static str,
        [message, reply]: [&str; 2],
        sender: PartyId,
        text: &[u8],
    ) -> Result<Message, Fault> {
        let key = self.house.operator().key().ok_or(Fault::Setup("the issuer's key"))?;
        let info = hpke_info("coin", message, key.id, &key.kid);
        let mut entropy = SeededEntropy::new(digest("florin/models/forged", &[path.as_bytes(), text]).0);
        let chance: &mut dyn Entropy = &mut entropy;
        let sealed = kem::seal(&key.key, &key.kid, &info, &[], text, chance);
        let (envelope, exporter) = sealed.map_err(|_| Fault::Asking("an envelope"))?;
        let body = cbor::encode(&envelope);
        let frame = ReplyFrame::new("coin", reply, key.id, sender, transcript("coin", &[&body]));
        let pending = frame.key(&exporter).expose().to_vec();
        Ok(Message::Request { tag: Tag::Forged, path, body, pending })
    }

    /// ValidationReq, and `check`, which has its shape. The run in which the intruder is the payee is its own, and no forgery.
    fn validations(&self, all: &mut Vec<(Message, bool)>) -> Result<(), Fault> {
        let me = &self.person(M)?.keys;
        let issuer = self.house.operator().list.operator;
        let v_desc = payee::refresh(flo(WORTH), list(&[WORTH])?)?;
        for mix in mixes(self.runs.len(), 5) {
            let parts = (|| {
                let sender = of(&self.runs, &mix, 0, |r| r.com.payee)?;
                Some(ValidationReq {
                    context: Context::new("coin", "validation-req", sender, issuer),
                    payer: of(&self.runs, &mix, 1, |r| r.com.payer)?,
                    tid: of(&self.runs, &mix, 2, |r| r.com.tid)?,
                    v_desc: v_desc.clone(),
                    com: of(&self.runs, &mix, 3, |r| r.com.digest())?,
                    deadline: of(&self.runs, &mix, 3, |r| r.com.deadline)?,
                    enc_c1: of(&self.runs, &mix, 4, |r| r.sent.enc_c1.clone())?,
                })
            })();
            let Some(request) = parts else { continue };
            let its =
                |run: &Run| run.own && mix.iter().all(|part| self.runs.get(*part).is_some_and(|r| r.own));
            let own = self.runs.iter().any(its);
            let sender = request.context.sender;
            let names = ["validation-req", "issuance1"];
            let body = self.sealed(payee::VALIDATION_PATH, names, sender, &sign(&me.signing, &request))?;
            all.push((body, !own));
            let pure = mix.windows(2).all(|pair| pair.first() == pair.last());
            if pure {
                // One message in another's place: the same text where another is asked for.
                for (path, names) in [
                    (payee::VALIDATION_PATH, ["check", "check-reply"]),
                    (payee::CHECK_PATH, ["check", "check-reply"]),
                    (payee::CHECK_PATH, names),
                ] {
                    let text = sign(&me.signing, &request);
                    all.push((self.sealed(path, names, sender, &text)?, true));
                }
            }
        }
        Ok(())
    }

    /// The questions of both sides.
    fn statuses(&self, all: &mut Vec<(Message, bool)>) -> Result<(), Fault> {
        let me = &self.person(M)?.keys;
        let issuer = self.house.operator().list.operator;
        for mix in mixes(self.runs.len(), 3) {
            let parts = (|| {
                let sender = of(&self.runs, &mix, 0, |r| r.com.payer)?;
                let enc_c1 = of(&self.runs, &mix, 1, |r| r.sent.enc_c1.clone())?;
                let com = of(&self.runs, &mix, 2, |r| r.com.digest())?;
                let context = Context::new("coin", "payer-status", sender, issuer);
                Some(PayerStatus { context, enc_c1, give_up: None, com })
            })();
            if let Some(request) = parts {
                all.push((self.plain(payer::STATUS_PATH, cbor::encode(&request)), true));
            }
            let parts = (|| {
                let sender = of(&self.runs, &mix, 0, |r| r.com.payee)?;
                Some(PayeeStatus {
                    context: Context::new("coin", "payee-status", sender, issuer),
                    tid: of(&self.runs, &mix, 1, |r| r.com.tid)?,
                    com: of(&self.runs, &mix, 2, |r| r.com.digest())?,
                    deadline: of(&self.runs, &mix, 2, |r| r.com.deadline)?,
                    gives_up: true,
                    exp: EXP,
                })
            })();
            if let Some(request) = parts {
                let names = ["payee-status", "payee-status-reply"];
                let text = sign(&me.signing, &request);
                all.push((self.sealed(payee::STATUS_PATH, names, request.context.sender, &text)?, true));
            }
        }
        Ok(())
    }

    /// Envelopes of its own for Com of others: with its own coin, for itself or for the shop.
    fn own_envelopes(&self, all: &mut Vec<(Message, bool)>) -> Result<(), Fault> {
        let me = &self.person(M)?.keys;
        let key = self.house.operator().key().ok_or(Fault::Setup("the issuer's key"))?;
        let v_desc = payee::refresh(flo(WORTH), list(&[WORTH])?)?;
        let coins = set(std::slice::from_ref(&self.own))?;
        for (run, target) in self.runs.iter().flat_map(|run| [me.id(), run.com.payee].map(|to| (run, to))) {
            let inside = EncC1 {
                context: Context::new("coin", "enc-c1", run.com.payer, key.id),
                payee: target,
                deadline: run.com.deadline,
                coins: coins.clone(),
            };
            let info = hpke_info("coin", "enc-c1", key.id, &key.kid);
            let text = cbor::encode(&inside);
            let aad = run.com.digest();
            let mut entropy = SeededEntropy::new(digest("florin/models/own", &[&text, aad.as_bytes()]).0);
            let chance: &mut dyn Entropy = &mut entropy;
            let sealed = kem::seal(&key.key, &key.kid, &info, aad.as_bytes(), &text, chance);
            let (enc_c1, _) = sealed.map_err(|_| Fault::Asking("an envelope"))?;
            let presented = payee::Presented {
                payer: run.com.payer,
                tid: run.com.tid,
                com: aad,
                deadline: run.com.deadline,
                enc_c1,
            };
            let asked = payee::validation_req(&key, me, &presented, v_desc.clone(), &mut entropy)?;
            let (path, body, _) = parts(asked);
            all.push((self.plain(path, body), true));
        }
        Ok(())
    }

    /// Refund of what was issued to itself, and of what was issued to others.
    fn refunds(&self, all: &mut Vec<(Message, bool)>) -> Result<(), Fault> {
        let me = &self.person(M)?.keys;
        let issuer = self.house.operator().list.operator;
        let holders = [me.id(), self.person(A)?.keys.id(), self.shop.keys.id()];
        for (number, holder) in (0u8..).zip(holders) {
            let request = RefundReq {
                context: Context::new("coin", "refund", holder, issuer),
                holder: HolderChoice::Named(holder),
                txid: its_txid(number),
                exp: EXP,
            };
            let text = sign(&me.signing, &request);
            let names = ["refund", "refund-reply"];
            all.push((self.sealed(florin_coin::refund::REFUND_PATH, names, holder, &text)?, true));
        }
        Ok(())
    }
}
