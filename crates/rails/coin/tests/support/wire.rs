//! One request of each kind that would be answered with yes, and the inside of each, to be bent.
#![allow(dead_code, reason = "each test file uses another part")]

use florin_books::{PartyId, TxId};
use florin_coin::aggregate_messages::{AggregateBalanceReq, RedeemAggregateReq};
use florin_coin::issuer::{BoxMessage, BoxOpen, Side, box_id};
use florin_coin::messages::{ChangeReq, PayeeStatus, RedeemReq, RefreshReq, ValidationReq};
use florin_coin::purchase_messages::{Collect, WRequest1};
use florin_coin::purchaser::{self, Collected};
use florin_coin::refund_messages::RefundReq;
use florin_coin::{Coin, HolderChoice, payee, payer};
use florin_crypto::{ByteArray, Bytes, Digest, Secret, SigningKey, cbor, cose};
use florin_parties::bank::BankNews;
use florin_parties::sealed::sign_kid;
use florin_parties::{ReplyFrame, Roles};
use florin_rail::{Context, transcript};
use minicbor::{Decoder, Encode, Encoder};

use crate::support::by_hand::{Begun, begin};
use crate::support::*;

/// How a plaintext becomes a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrap {
    /// As it is.
    Plain,
    /// In an envelope for the issuer.
    Sealed,
    /// Signed, then in an envelope.
    Signed,
    /// Signed, then in WRequest3.
    Authorised,
}

/// A request: its path, its inside, and how that is wrapped.
pub struct Request {
    pub path: &'static str,
    pub inside: Vec<u8>,
    pub wrap: Wrap,
}

/// Somebody who has everything: coins, a purchase that is paid, a payment under way, an open box.
pub struct Scene {
    pub w: World,
    pub me: Person,
    pub coins: Vec<Coin>,
    pub deal: Deal,
    pub begun: Begun,
    pub requests: Vec<Request>,
}

pub fn scene(seed: u64) -> Scene {
    let mut w = World::new(seed);
    let me = w.enrolled(Roles::BOTH);
    let coins = w.buy(&me, &[100, 100, 100, 50, 20, 10, 5]);
    let deal = w.deal(&me, &coins[..1]);
    let acked = w.deal(&me, &coins[1..2]);
    let v = w.validate(&me, &acked, &[100]);
    let issuance2 = w.read(&v).issuance2;
    let gathering = w.deal(&me, &coins[6..]);
    let asked = w.request(&me, &gathering.presented, payee::aggregate(flo(5)));
    w.post(asked.path, &asked.body).unwrap();
    let (collectable, order) = w.order_coins(&me, &[5]);
    w.bank(BankNews::Booked(order));
    let (asked, answer) = w.collect(&collectable);
    let read = purchaser::read_collected(&asked.pending, &answer.unwrap(), &w.list).unwrap();
    let Collected::Coins { ack, .. } = read else { panic!("refused") };
    let w_desc = w.w_desc(&[10]);
    let paid = begin(&mut w, &me, w_desc.clone());
    w.post(purchaser::WREQUEST3_PATH, &paid.signed_by(&me.keys.signing)).unwrap();
    let order = w.orders().into_iter().find(|o| o.amount == flo(10)).unwrap();
    w.bank(BankNews::Booked(order.id));
    let begun = begin(&mut w, &me, w_desc);
    let open = BoxOpen {
        context: Context::new("coin", "box-open", me.id(), w.list.operator),
        tid: deal.com.tid,
        until: deal.com.deadline,
    };
    let filled = BoxOpen { tid: acked.com.tid, ..open.clone() };
    let body = wrap(&mut w, &me.keys.signing, &begun, "box-open", &cbor::encode(&filled), Wrap::Signed);
    w.post("/v1/coin/box-open", &body).unwrap();
    let full = ByteArray(box_id(me.id(), acked.com.tid, Side::ToPayer));
    let put = |message: &str, id: ByteArray<16>, content: &[u8]| {
        let context = Context::new("coin", message, PartyId::NONE, w.list.operator);
        cbor::encode(&BoxMessage { context, id, content: Bytes(content.to_vec()) })
    };
    let (fill, take) = (put("box-put", full, b"there"), put("box-take", full, b""));
    let waiting = ByteArray(box_id(me.id(), acked.com.tid, Side::ToPayee));
    let leave = put("box-put", waiting, b"here");
    w.post("/v1/coin/box-put", &fill).unwrap();
    let status = payer::status_request(&deal.paying.pending, true).unwrap();
    w.buy_named(&me, &[200, 2]);
    let mut s = Scene { w, me, coins, deal, begun, requests: Vec::new() };
    let purchase: &[(&str, Vec<u8>, Wrap)] = &[
        ("/v1/coin/wrequest1", s.wrequest1(), Wrap::Sealed),
        ("/v1/coin/wrequest3", cbor::encode(&s.begun.authorisation), Wrap::Authorised),
        ("/v1/coin/collect", s.collect(paid.claim), Wrap::Sealed),
        ("/v1/coin/collect-ack", ack, Wrap::Plain),
        ("/v1/coin/validation-req", s.validation(), Wrap::Signed),
        ("/v1/coin/issuance2", issuance2, Wrap::Plain),
        ("/v1/coin/payer-status", status, Wrap::Plain),
        ("/v1/coin/payee-status", s.payee_status(), Wrap::Signed),
        ("/v1/coin/change", s.change(), Wrap::Sealed),
        ("/v1/coin/redeem", s.redeem(), Wrap::Signed),
        ("/v1/coin/refund", s.refund(), Wrap::Signed),
        ("/v1/coin/refresh", s.refresh(), Wrap::Sealed),
        ("/v1/coin/redeem-aggregate", s.redeem_aggregate(), Wrap::Signed),
        ("/v1/coin/aggregate-balance", s.aggregate_balance(), Wrap::Signed),
        ("/v1/coin/box-open", cbor::encode(&open), Wrap::Signed),
        ("/v1/coin/box-put", leave, Wrap::Plain),
        ("/v1/coin/box-take", take, Wrap::Plain),
        ("/v1/coin/check", s.presented_as("check"), Wrap::Signed),
    ];
    s.requests = purchase
        .iter()
        .map(|(path, inside, wrap)| Request { path, inside: inside.clone(), wrap: *wrap })
        .collect();
    s
}

fn wrap(w: &mut World, key: &SigningKey, begun: &Begun, message: &str, inside: &[u8], how: Wrap) -> Vec<u8> {
    match how {
        Wrap::Plain => inside.to_vec(),
        Wrap::Sealed => w.sealed(message, inside),
        Wrap::Signed => w.sealed(message, &cose::sign1(key, &sign_kid(key), inside)),
        Wrap::Authorised => begun.around(cose::sign1(key, &sign_kid(key), inside)),
    }
}

pub fn message_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

impl Scene {
    /// The body of a request around this inside.
    pub fn body(&mut self, request: &Request, inside: &[u8]) -> Vec<u8> {
        self.body_by(request, inside, None)
    }

    /// The same, signed by another key.
    pub fn body_by(&mut self, request: &Request, inside: &[u8], key: Option<&SigningKey>) -> Vec<u8> {
        let key = key.unwrap_or(&self.me.keys.signing);
        wrap(&mut self.w, key, &self.begun, message_of(request.path), inside, request.wrap)
    }

    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    fn context(&self, message: &str, from: PartyId) -> Context {
        Context::new("coin", message, from, self.w.list.operator)
    }

    fn wrequest1(&self) -> Vec<u8> {
        cbor::encode(&WRequest1 { context: self.context("wrequest1", self.me.id()), exp: self.w.exp() })
    }

    fn collect(&self, claim: [u8; 16]) -> Vec<u8> {
        let context = self.context("collect", PartyId::NONE);
        let refund = Some(SigningKey::from_seed(&secret("refund", 1)).verify_key());
        cbor::encode(&Collect { context, claim: ByteArray(claim), refund, exp: self.w.exp() })
    }

    fn validation(&self) -> Vec<u8> {
        self.presented_as("validation-req")
    }

    fn presented_as(&self, message: &str) -> Vec<u8> {
        let p = &self.deal.presented;
        cbor::encode(&ValidationReq {
            context: self.context(message, self.me.id()),
            payer: p.payer,
            tid: p.tid,
            v_desc: refresh(&[50, 50]),
            com: p.com,
            deadline: p.deadline,
            enc_c1: p.enc_c1.clone(),
        })
    }

    /// About a payment that the payee gives up by saying that its deadline has passed.
    fn payee_status(&self) -> Vec<u8> {
        cbor::encode(&PayeeStatus {
            context: self.context("payee-status", self.me.id()),
            tid: self.deal.com.tid,
            com: Digest([42; 32]),
            deadline: self.w.now.minus_ms(1),
            gives_up: false,
            exp: self.w.exp(),
        })
    }

    fn change(&self) -> Vec<u8> {
        cbor::encode(&ChangeReq {
            context: self.context("change", PartyId::NONE),
            coins: set(&self.coins[2..3]),
            list: list(&[50, 50]),
            holder: HolderChoice::Named(self.me.id()),
            txid: TxId::new([5; 16]),
            exp: self.w.exp(),
        })
    }

    fn refund(&self) -> Vec<u8> {
        cbor::encode(&RefundReq {
            context: self.context("refund", self.me.id()),
            holder: HolderChoice::Named(self.me.id()),
            txid: TxId::new([7; 16]),
            exp: self.w.exp(),
        })
    }

    fn refresh(&self) -> Vec<u8> {
        cbor::encode(&RefreshReq {
            context: self.context("refresh", PartyId::NONE),
            coins: set(&self.coins[5..6]),
            holder: HolderChoice::Nobody,
            txid: TxId::new([7; 16]),
            exp: self.w.exp(),
        })
    }

    fn redeem_aggregate(&self) -> Vec<u8> {
        cbor::encode(&RedeemAggregateReq {
            context: self.context("redeem-aggregate", self.me.id()),
            currency: florin_money::Currency::FLO,
            minor: Some(3),
            txid: TxId::new([8; 16]),
            exp: self.w.exp(),
        })
    }

    fn aggregate_balance(&self) -> Vec<u8> {
        let context = self.context("aggregate-balance", self.me.id());
        cbor::encode(&AggregateBalanceReq { context, exp: self.w.exp() })
    }

    fn redeem(&self) -> Vec<u8> {
        cbor::encode(&RedeemReq {
            context: self.context("redeem", self.me.id()),
            coins: set(&self.coins[3..5]),
            txid: TxId::new([6; 16]),
            exp: self.w.exp(),
        })
    }
}

/// What reads an answer, taken out of what an asker has kept: `[key, context, th]`, `at` places into its array.
pub fn reply_of(pending: &[u8], at: usize) -> (Secret<32>, ReplyFrame) {
    let mut d = Decoder::new(pending);
    d.array().unwrap();
    (0..at).for_each(|_| d.skip().unwrap());
    assert_eq!(d.array().unwrap(), Some(3));
    let key = Secret::from_slice(d.bytes().unwrap()).unwrap();
    let c: Context = d.decode().unwrap();
    let th: Digest = d.decode().unwrap();
    (key, ReplyFrame::new(&c.rail, &c.message, c.sender, c.recipient, th))
}

/// Bytes that are CBOR already.
#[derive(Clone)]
pub struct Raw(pub Vec<u8>);

impl<C> Encode<C> for Raw {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.writer_mut().write_all(&self.0).map_err(minicbor::encode::Error::write)
    }
}

/// The transcript of one message.
pub fn th(body: &[u8]) -> Digest {
    transcript("coin", &[body])
}

/// Where ValidationReq goes.
pub const VALIDATION: &str = payee::VALIDATION_PATH;
