//! Coin Purchase, the request: WRequest1, WRequest2, WRequest3. Source: VarietyCash §3.1 (1.1)-(1.3), W1-W3; V1, V7, V8.

use std::sync::Arc;

use florin_books::{Condition, Facts, Needs, OnceKey, Record, Rejected, Timestamp, Transition, TxId};
use florin_crypto::{ByteArray, Bytes, Digest, Exporter, cbor, digest, kem, random, reply_open, reply_seal};
use florin_parties::bank::{Direction, Order, OrderId};
use florin_parties::treasury::{self, Purpose};
use florin_parties::{Enrolment, KeyUse, Participant, Roles, key_id};
use florin_rail::common::{
    ASK_STATUS, BAD_REQUEST, FAULT, MESSAGE_BYTES_MAX, OVERLOADED, check_exp, withdrawn_proof,
};
use florin_rail::{Context, Decision, Moment, Refusal, Step, StepName, hpke_info, transcript};

use super::frame::{Unverified, addressed, may_act, read, read_signed, unseal};
use super::keys::Issuer;
use super::purchase::{Purchase, PurchaseState, begins};
use super::sealed_claim::NotSealed;
use crate::coin::COINS_ISSUED_MAX;
use crate::escrow::OpenedBox;
use crate::kinds::{PURCHASE, RAIL, RAIL_NUMBER, STEP_WREQUEST3, once};
use crate::purchase_messages::{
    Accepted, Authorisation, COOKIE_MAC, Cookie, PurchaseKeys, WRequest1, WRequest2, WRequest2Answer,
    WRequest3, WRequest3Content, exported,
};
use crate::refusal::{
    NOT_ENROLLED, OTHER_ACCOUNT, PURCHASE_EXPIRED, PURCHASE_TOO_LARGE, WRONG_COIN_COUNT, WRONG_CURRENCY,
    WRONG_DENOMINATIONS,
};

/// How long a purchase may take from WRequest1 to WRequest3.
pub const PURCHASE_BEGINS_MS: u64 = 10 * 60 * 1000;

/// WRequest1 -> WRequest2. Nothing is recorded (V7).
pub struct WRequest1Step(pub Arc<Issuer>);

/// WRequest1, opened.
pub struct OpenedWRequest1 {
    request: WRequest1,
    exporter: Exporter,
    body: Vec<u8>,
}

impl Step for WRequest1Step {
    type Opened = OpenedWRequest1;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "wrequest1" }
    }

    fn open(&self, body: &[u8], now: Timestamp) -> Result<OpenedWRequest1, Refusal> {
        let sealed = unseal(&self.0, "wrequest1", body)?;
        let request: WRequest1 = read(&sealed.plaintext)?;
        addressed(&self.0, &request.context, "wrequest1")?;
        check_exp(request.exp, now).map_err(|_| BAD_REQUEST)?;
        Ok(OpenedWRequest1 { request, exporter: sealed.exporter, body: body.to_vec() })
    }

    fn needs(&self, o: &OpenedWRequest1) -> Needs {
        Needs { documents: vec![Participant::key_of(o.request.context.sender)], ..Needs::default() }
    }

    /// An unknown purchaser gets an answer of the same size by the same path, sealed to a key that nobody has.
    fn decide(&self, o: &OpenedWRequest1, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        let purchaser = o.request.context.sender;
        let known = facts.document(&Participant::key_of(purchaser)).and_then(Participant::read);
        // Made for known ids too: the same path. Whether a known one may act, it learns after it has signed.
        let dummy = self.0.dummy(purchaser);
        let key = known.map_or(dummy, |p| p.kem_key);
        let kid = key_id(KeyUse::Kem, &key.0);
        let r_i = ByteArray(random(moment.entropy));
        let request2 = WRequest2 { context: Context::new(RAIL, "wrequest2", self.0.id(), purchaser), r_i };
        let info = hpke_info(RAIL, "wrequest2", purchaser, &kid);
        let sealed = kem::seal(&key, &kid, &info, &[], &cbor::encode(&request2), moment.entropy);
        let Ok((envelope, exporter)) = sealed else { return Decision::Refuse(FAULT) };
        let cookie = Cookie {
            purchaser,
            k_cp: ByteArray(exported(&o.exporter, "k-cp")),
            k_i: ByteArray(exported(&exporter, "k-i")),
            r_i,
            th: transcript(RAIL, &[&o.body, &cbor::encode(&envelope)]),
            until: moment.now.plus_ms(PURCHASE_BEGINS_MS),
        };
        let keys = PurchaseKeys::new(&cookie.k_cp.0, &cookie.k_i.0, &cookie.th, purchaser, self.0.id());
        let cookie = Bytes(reply_seal(self.0.cookie(), COOKIE_AAD, &cbor::encode(&cookie)));
        let mac = ByteArray(keys.cookie().tag(COOKIE_MAC, &[&cookie.0]));
        Decision::Answer(cbor::encode(&WRequest2Answer { envelope, cookie, mac }))
    }

    fn decide_refused(&self, _: &OpenedWRequest1, _: &Facts, _: &Rejected, _: &mut Moment<'_>) -> Decision {
        Decision::Refuse(FAULT)
    }

    fn reply(&self, _: &OpenedWRequest1, _: &Record) -> Result<Vec<u8>, Refusal> {
        Err(ASK_STATUS)
    }
}

const COOKIE_AAD: &[u8] = b"florin/v1/coin/cookie";

/// WRequest3 -> accepted.
pub struct WRequest3Step(pub Arc<Issuer>);

/// WRequest3, opened.
pub struct OpenedWRequest3 {
    cookie: Cookie,
    keys: PurchaseKeys,
    authorisation: Unverified<Authorisation>,
    signed: Vec<u8>,
    claim: [u8; 16],
    request: Digest,
}

impl Step for WRequest3Step {
    type Opened = OpenedWRequest3;

    fn name(&self) -> StepName {
        StepName { rail: RAIL, step: "wrequest3" }
    }

    fn open(&self, body: &[u8], _: Timestamp) -> Result<OpenedWRequest3, Refusal> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(BAD_REQUEST);
        }
        let outer: WRequest3 = read(body)?;
        let cookie = reply_open(self.0.cookie(), COOKIE_AAD, &outer.cookie.0).map_err(|_| BAD_REQUEST)?;
        let cookie: Cookie = read(&cookie)?;
        let keys =
            PurchaseKeys::new(&cookie.k_cp.0, &cookie.k_i.0, &cookie.th, cookie.purchaser, self.0.id());
        let plaintext =
            reply_open(&keys.request(), cookie.th.as_bytes(), &outer.sealed.0).map_err(|_| BAD_REQUEST)?;
        let content: WRequest3Content = read(&plaintext)?;
        let authorisation: Unverified<Authorisation> = read_signed(&content.authorisation.0)?;
        let m = &authorisation.message;
        let expected = Context::new(RAIL, "wrequest3", cookie.purchaser, self.0.id());
        if m.context != expected || m.r_i != cookie.r_i || m.th != cookie.th {
            return Err(BAD_REQUEST);
        }
        let request = digest("florin/v1/coin/wrequest3", &[body]);
        let signed = content.authorisation.0.clone();
        Ok(OpenedWRequest3 { cookie, keys, authorisation, signed, claim: content.claim.0, request })
    }

    fn needs(&self, o: &OpenedWRequest3) -> Needs {
        let id = o.cookie.purchaser;
        Needs {
            documents: vec![Participant::key_of(id), Enrolment::key_of(id), Purchase::begin_needs(id)],
            once: vec![once_key(o)],
            ..Needs::default()
        }
    }

    fn is_authentic(&self, o: &OpenedWRequest3, facts: &Facts) -> bool {
        self.0.participant(facts, o.cookie.purchaser).is_ok_and(|p| o.authorisation.is_by(&p))
    }

    fn decide(&self, o: &OpenedWRequest3, facts: &Facts, moment: &mut Moment<'_>) -> Decision {
        if let Err(refusal) = self.admit(o, facts, moment.now) {
            return Decision::Refuse(refusal);
        }
        let id = TxId::new(random(moment.entropy));
        let order_id = OrderId::new(random(moment.entropy));
        let w = &o.authorisation.message.w_desc;
        let mut t = Transition::new(Digest([0; 32]), facts.as_of);
        t.once = vec![once_key(o)];
        t.requires.push(Condition::NotAfter(o.cookie.until));
        if let Err(refusal) = begins(&mut t, facts, o.cookie.purchaser) {
            return Decision::Refuse(refusal);
        }
        let order = Order {
            id: order_id,
            direction: Direction::Debit,
            account: w.account.clone(),
            amount: w.total,
            remittance: "FLORIN COINS".into(),
            mandate: Some(w.authorisation.clone()),
        };
        let purpose = Purpose { rail: RAIL_NUMBER, step: STEP_WREQUEST3, reference: *id.bytes() };
        if treasury::request(&mut t, order, purpose, None, moment.now).is_err() {
            return Decision::Refuse(BAD_REQUEST);
        }
        let content =
            OpenedBox { claim: ByteArray(o.claim), k_issue: ByteArray(*o.keys.issuance().expose()) };
        let escrow = match self.0.put_away(&mut t, id, o.cookie.r_i.0, &content, moment.entropy) {
            Ok(escrow) => escrow,
            Err(NotSealed::NoKey) => return Decision::Refuse(OVERLOADED.after(1)),
            Err(NotSealed::Escrow) => return Decision::Refuse(FAULT),
        };
        let purchase = Purchase {
            id,
            purchaser: o.cookie.purchaser,
            authorisation: Bytes(o.signed.clone()),
            claim: (!w.anonymous).then_some(content.claim),
            escrow,
            state: PurchaseState::Requested,
            order: order_id,
            at: moment.now,
        };
        t.write(Purchase::key_of(id), cbor::encode(&purchase));
        Decision::Apply(t)
    }

    fn decide_refused(&self, _: &OpenedWRequest3, _: &Facts, why: &Rejected, _: &mut Moment<'_>) -> Decision {
        match why {
            Rejected::TooLate => Decision::Refuse(PURCHASE_EXPIRED),
            _ => Decision::Refuse(FAULT),
        }
    }

    fn withdrawn(&self, o: &OpenedWRequest3) -> Option<florin_crypto::Secret<32>> {
        Some(withdrawn_proof(&o.keys.reply()))
    }

    fn reply(&self, o: &OpenedWRequest3, record: &Record) -> Result<Vec<u8>, Refusal> {
        let written = record.core.documents.iter().find(|d| d.key.kind == PURCHASE);
        let purchase = TxId::new(written.ok_or(ASK_STATUS)?.key.id);
        let accepted = Accepted { purchase, request: o.request };
        Ok(reply_seal(&o.keys.reply(), o.cookie.th.as_bytes(), &cbor::encode(&accepted)))
    }
}

fn once_key(o: &OpenedWRequest3) -> OnceKey {
    once(STEP_WREQUEST3, o.cookie.purchaser, o.cookie.r_i.0)
}

impl WRequest3Step {
    fn admit(&self, o: &OpenedWRequest3, facts: &Facts, now: Timestamp) -> Result<(), Refusal> {
        let id = o.cookie.purchaser;
        let purchaser = self.0.participant(facts, id)?;
        if !o.authorisation.is_by(&purchaser) {
            return Err(BAD_REQUEST);
        }
        may_act(&purchaser)?;
        if now > o.cookie.until {
            return Err(PURCHASE_EXPIRED);
        }
        let w = &o.authorisation.message.w_desc;
        let enrolment = facts.document(&Enrolment::key_of(id)).and_then(Enrolment::read);
        let confirmed = enrolment.as_ref().and_then(Enrolment::confirmed);
        let confirmed = confirmed.filter(|c| c.roles.contains(Roles::PURCHASER)).ok_or(NOT_ENROLLED)?;
        if confirmed.account != w.account {
            return Err(OTHER_ACCOUNT);
        }
        let register = self.0.register(w.total.currency()).ok_or(WRONG_CURRENCY)?;
        if w.list.is_empty() || w.list.count() > COINS_ISSUED_MAX {
            return Err(WRONG_COIN_COUNT);
        }
        if !register.denominations.contains_all(&w.list) || w.list.total_minor() != w.total.minor() {
            return Err(WRONG_DENOMINATIONS);
        }
        if w.total.minor() > self.0.purchase_max {
            return Err(PURCHASE_TOO_LARGE);
        }
        if w.authorisation.id.is_empty() || w.authorisation.id.chars().count() > 35 {
            return Err(BAD_REQUEST);
        }
        Ok(())
    }
}
