//! The people of the tests and what they do: register, enrol, buy, pay; the bank that answers them; messages by hand.
#![allow(dead_code, reason = "each test file uses another part")]

use florin_books::{Needs, PartyId, Transition, TxId};
use florin_coin::com::METHOD;
use florin_coin::issuer::{Purchase, bank_outcome};
use florin_coin::kinds::{RAIL_NUMBER, STEP_WREQUEST3};
use florin_coin::messages::{EncC1, VDesc};
use florin_coin::payee::{self, InvoiceTerms, Issuance, Presented};
use florin_coin::payer;
use florin_coin::purchase_messages::WDesc;
use florin_coin::purchaser::{self, Collected};
use florin_coin::{Coin, Com, PDesc, Prepared, TidPy};
use florin_crypto::{Digest, Envelope, Exporter, SigningKey, cbor, digest, kem};
use florin_money::Currency;
use florin_parties::asker::{prepare_confirm, prepare_enrol, prepare_register, read_register};
use florin_parties::bank::{BankAccount, BankEvent, BankNews, Mandate, Order, OrderId};
use florin_parties::kinds::SUBMIT_ORDER;
use florin_parties::treasury::{OrderRecord, event_once, settle};
use florin_parties::{
    ConfirmStep, EnrolStep, IdentityKeys, Participant, ParticipantState, RegisterStep, Roles,
    write_participant,
};
use florin_rail::{Refusal, hpke_info};

use super::{BOOKS, Deal, IBAN, IDENTITY, Person, Validated, World, flo, list, refresh, set};

impl World {
    // - people

    pub fn person(&mut self) -> Person {
        let keys = IdentityKeys::generate(&mut self.entropy);
        let tx = (TxId::new(self.draw()), self.exp());
        let asked = prepare_register(&keys, None, &self.list, tx, self.now, &mut self.entropy).unwrap();
        let step = RegisterStep::new(self.keys.clone());
        let answer = self.serve(IDENTITY, &step, &asked.body).unwrap();
        let certificate = read_register(&asked.pending, &answer, &self.list).unwrap().bytes;
        Person { keys, certificate }
    }

    pub fn enrolled(&mut self, roles: Roles) -> Person {
        let person = self.person();
        let account: BankAccount = IBAN.parse().unwrap();
        let tx = (TxId::new(self.draw()), self.exp());
        let now = self.now;
        let asked =
            prepare_enrol(&person.keys, roles, &account, &self.list, tx, now, &mut self.entropy).unwrap();
        self.serve(IDENTITY, &EnrolStep::new(self.keys.clone(), Currency::FLO), &asked.body).unwrap();
        let order = self.orders().pop().unwrap();
        let code = order.remittance.strip_prefix("FLORIN CODE ").unwrap().to_owned();
        self.bank(BankNews::Booked(order.id));
        let tx = (TxId::new(self.draw()), self.exp());
        let asked = prepare_confirm(&person.keys, &code, &self.list, tx, now, &mut self.entropy).unwrap();
        self.serve(IDENTITY, &ConfirmStep::new(self.keys.clone()), &asked.body).unwrap();
        person
    }

    pub fn block(&mut self, id: PartyId) {
        let facts =
            self.identity.facts(&Needs { documents: vec![Participant::key_of(id)], ..Needs::default() });
        let known = facts.document(&Participant::key_of(id)).and_then(Participant::read).unwrap();
        let mut t = Transition::new(digest("test/block", &[id.bytes()]), facts.as_of);
        write_participant(&mut t, &known.with_state(ParticipantState::Blocked), self.now, &mut self.entropy);
        self.act(IDENTITY, t);
        self.pump();
    }

    // - the bank

    /// The orders that wait for the bank, by id.
    pub fn orders(&self) -> Vec<Order> {
        let waits = self.identity.lane.outbox().filter(|o| o.kind == SUBMIT_ORDER);
        waits.map(|o| cbor::decode_strict(&o.body).unwrap()).collect()
    }

    pub fn order(&self, id: OrderId) -> OrderRecord {
        let document = &self.identity.documents[&OrderRecord::key_of(id)];
        OrderRecord::read(&document.value).unwrap()
    }

    /// The bank's word, as the operator takes it in.
    pub fn bank(&mut self, what: BankNews) {
        self.events += 1;
        let id = digest("test/bank", &[&self.events.to_be_bytes()]).short();
        let event = BankEvent { id, at: self.now, what };
        let mut facts = self.identity.facts(&Needs { once: vec![event_once(&event)], ..Needs::default() });
        facts.documents = self.identity.documents.clone();
        let settled = settle(&event, &facts, None).unwrap();
        let mut t = settled.transition;
        if let Some(moved) = &settled.moved {
            let p = moved.purpose();
            if p.rail == RAIL_NUMBER && p.step == STEP_WREQUEST3 {
                assert!(bank_outcome(&mut t, moved, &facts, BOOKS, self.now, &mut self.entropy));
            }
        }
        self.act(IDENTITY, t);
        if self.pumps {
            self.pump();
        }
        self.check();
    }

    // - coin purchase

    pub fn w_desc(&self, values: &[u64]) -> WDesc {
        WDesc {
            total: flo(values.iter().sum()),
            list: list(values),
            account: IBAN.parse().unwrap(),
            authorisation: Mandate { id: "MANDATE-1".into(), signed_at: self.now },
            anonymous: true,
        }
    }

    /// WRequest1 and WRequest2: WRequest3 is ready.
    pub fn wrequest3(&mut self, me: &Person, w: WDesc) -> Prepared {
        let (key, exp) = (self.key(), self.exp());
        let asked = purchaser::wrequest1(&key, me.id(), exp, &mut self.entropy).unwrap();
        let answer = self.post(asked.path, &asked.body).unwrap();
        purchaser::wrequest3(&asked.pending, &answer, &me.keys, w, &mut self.entropy).unwrap()
    }

    /// A purchase that is accepted: what `collect` needs, and the bank order.
    pub fn order_coins(&mut self, me: &Person, values: &[u64]) -> (Vec<u8>, OrderId) {
        let asked = self.wrequest3(me, self.w_desc(values));
        let answer = self.post(asked.path, &asked.body).unwrap();
        let accepted = purchaser::read_accepted(&asked.pending, &answer).unwrap();
        let document = self.identity.documents[&Purchase::key_of(accepted.id)].clone();
        (accepted.purchase.to_vec(), Purchase::read(&document.value).unwrap().order)
    }

    pub fn collect(&mut self, purchase: &[u8]) -> (Prepared, Result<Vec<u8>, Refusal>) {
        let (key, exp) = (self.key(), self.exp());
        let asked = purchaser::collect(&key, purchase, exp, &mut self.entropy).unwrap();
        let answer = self.post(asked.path, &asked.body);
        (asked, answer)
    }

    /// Coins, bought from beginning to end.
    pub fn buy(&mut self, me: &Person, values: &[u64]) -> Vec<Coin> {
        let (purchase, order) = self.order_coins(me, values);
        self.bank(BankNews::Booked(order));
        let (asked, answer) = self.collect(&purchase);
        self.take(&asked, answer)
    }

    /// The same by a purchaser who is not anonymous.
    pub fn buy_named(&mut self, me: &Person, values: &[u64]) -> Vec<Coin> {
        let w_desc = WDesc { anonymous: false, ..self.w_desc(values) };
        let asked = self.wrequest3(me, w_desc);
        let answer = self.post(asked.path, &asked.body).unwrap();
        let accepted = purchaser::read_accepted(&asked.pending, &answer).unwrap();
        let document = self.identity.documents[&Purchase::key_of(accepted.id)].clone();
        self.bank(BankNews::Booked(Purchase::read(&document.value).unwrap().order));
        let (asked, answer) = self.collect(&accepted.purchase);
        self.take(&asked, answer)
    }

    /// The same by an anonymous one with a key for a refund.
    pub fn buy_refundable(&mut self, me: &Person, values: &[u64], key: &SigningKey) -> Vec<Coin> {
        let (purchase, order) = self.order_coins(me, values);
        self.bank(BankNews::Booked(order));
        let (issuer, exp, key) = (self.key(), self.exp(), Some(key.verify_key()));
        let asked = purchaser::collect_refundable(&issuer, &purchase, key, exp, &mut self.entropy).unwrap();
        let answer = self.post(asked.path, &asked.body);
        self.take(&asked, answer)
    }

    fn take(&mut self, asked: &Prepared, answer: Result<Vec<u8>, Refusal>) -> Vec<Coin> {
        match purchaser::read_collected(&asked.pending, &answer.unwrap(), &self.list).unwrap() {
            Collected::Coins { coins, ack } => {
                self.post(purchaser::ACK_PATH, &ack).unwrap();
                coins
            }
            Collected::Refused { .. } => panic!("refused"),
        }
    }

    // - payment

    pub fn invoice(&mut self, payee: &Person, minor: u64) -> Vec<u8> {
        let terms = InvoiceTerms {
            tid: TidPy::new(self.draw()),
            p_desc: PDesc {
                amount: flo(minor),
                goods: "one page".into(),
                method: METHOD.into(),
                terms: Digest([0; 32]),
            },
            salt: self.draw(),
            deadline: self.now.plus_ms(10 * 60 * 1000),
        };
        payee::invoice(&payee.keys, &payee.certificate, self.list.operator, &terms)
    }

    pub fn com(&mut self, invoice: &[u8]) -> Com {
        let read = payer::read_invoice(invoice, &self.list, self.now).unwrap();
        read.com(PartyId::new(self.draw()))
    }

    pub fn deal(&mut self, payee: &Person, coins: &[Coin]) -> Deal {
        let invoice = self.invoice(payee, coins.iter().map(|c| c.value).sum());
        let com = self.com(&invoice);
        self.deal_for(payee, invoice, com, coins)
    }

    pub fn deal_for(&mut self, payee: &Person, invoice: Vec<u8>, com: Com, coins: &[Coin]) -> Deal {
        let paying = payer::send_coins(&self.key(), &com, set(coins), &mut self.entropy).unwrap();
        let sent = payee::read_send_coins(&paying.send_coins, payee.id()).unwrap();
        let presented = Presented {
            payer: sent.context.sender,
            tid: com.tid,
            com: com.digest(),
            deadline: com.deadline,
            enc_c1: sent.enc_c1,
        };
        Deal { invoice, com, paying, presented }
    }

    pub fn request(&mut self, payee: &Person, presented: &Presented, v_desc: VDesc) -> Prepared {
        payee::validation_req(&self.key(), &payee.keys, presented, v_desc, &mut self.entropy).unwrap()
    }

    /// ValidationReq for new coins of these values, and what the issuer answers.
    pub fn validate(&mut self, payee: &Person, deal: &Deal, values: &[u64]) -> Validated {
        let asked = self.request(payee, &deal.presented, refresh(values));
        let answer = self.post(asked.path, &asked.body);
        Validated { asked, answer }
    }

    pub fn read(&self, v: &Validated) -> Issuance {
        payee::read_issuance1(&v.asked.pending, v.answer.as_ref().unwrap(), &self.list).unwrap()
    }

    // - messages by hand

    /// An envelope for the issuer; its `info` names the message.
    pub fn envelope(&mut self, message: &str, aad: &[u8], plaintext: &[u8]) -> (Envelope, Exporter) {
        let (kid, key) = self.list.kem_key(self.now).unwrap();
        let info = hpke_info("coin", message, self.list.operator, &kid);
        kem::seal(&key, &kid, &info, aad, plaintext, &mut self.entropy).unwrap()
    }

    pub fn sealed(&mut self, message: &str, plaintext: &[u8]) -> Vec<u8> {
        cbor::encode(&self.envelope(message, &[], plaintext).0)
    }

    /// EncC1 by hand.
    pub fn enc_c1(&mut self, com: &Com, inside: &EncC1) -> (Envelope, Exporter) {
        self.envelope("enc-c1", com.digest().as_bytes(), &cbor::encode(inside))
    }

    /// The status that the payer gets.
    pub fn payer_status(&mut self, deal: &Deal, give_up: bool) -> Result<Vec<u8>, Refusal> {
        let body = payer::status_request(&deal.paying.pending, give_up).unwrap();
        self.post(payer::STATUS_PATH, &body)
    }

    pub fn payee_status(&mut self, payee: &Person, com: &Com) -> (Prepared, Result<Vec<u8>, Refusal>) {
        self.payee_asks(payee, com, false)
    }

    pub fn payee_asks(
        &mut self,
        payee: &Person,
        com: &Com,
        gives_up: bool,
    ) -> (Prepared, Result<Vec<u8>, Refusal>) {
        let asked = self.payee_question(payee, com, gives_up);
        let answer = self.post(asked.path, &asked.body);
        (asked, answer)
    }

    pub fn payee_question(&mut self, payee: &Person, com: &Com, gives_up: bool) -> Prepared {
        let (key, exp) = (self.key(), self.exp());
        let question = payee::Question { tid: com.tid, com: com.digest(), deadline: com.deadline, gives_up };
        payee::status_request(&key, &payee.keys, &question, exp, &mut self.entropy).unwrap()
    }
}
