//! An intruder after Dolev and Yao who owns the network, over the real encodings. It is enrolled, so it may be a payee and
//! a payer; it takes every message that was ever sent, opens what its keys open, puts parts of one run into another, signs
//! with its own key, seals to the operator's, and answers in anybody's place. Runs: A pays S, B pays S, A pays the
//! intruder, who has a coin of its own besides.
//! Source: the issue ("A small Dolev-Yao intruder"); V2, V3; docs/models.md.

mod compose;
mod goals;
mod weak;

use std::collections::HashMap;
use std::sync::Mutex;

use florin_books::{PartyId, TxId};
use florin_coin::com::{METHOD, TidPy};
use florin_coin::messages::SendCoins;
use florin_coin::payee::{self, InvoiceTerms, Presented};
use florin_coin::{Coin, Com, PDesc, payer};
use florin_crypto::{Digest, Entropy as _, SeededEntropy, cbor, digest};
use stateright::{Model, Property};

use crate::cast::{Cast, Person, WORTH, flo, list, set};
use crate::fault::Fault;
use crate::house::{Broken, House, HouseState, Job, Message, MessageId, Tag};
use crate::operator::{DEADLINE, START, parts};

pub use weak::Weak;

/// Who is who among the payers.
const A: usize = 0;
const B: usize = 1;
const M: usize = 2;

/// A run of a payment: an invoice, and what its payer has agreed to.
struct Run {
    /// The payee is the intruder.
    own: bool,
    /// What was agreed.
    com: Com,
    /// The coin.
    coin: Coin,
    /// SendCoins.
    sent: SendCoins,
    /// What its payer keeps.
    pending: Vec<u8>,
}

/// How far the shop is with an invoice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shop {
    /// Nobody has paid.
    Open,
    /// It has asked the operator, by this request.
    Asked(MessageId),
    /// It has given the goods.
    Gives(MessageId),
    /// It knows that it is not paid.
    Denied,
}

/// A state: what has happened, and what the intruder has seen of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The operator; what was sent is what the intruder has.
    pub house: HouseState,
    /// The shop's invoices: of A and of B.
    pub shop: [Shop; 2],
    /// How many messages of its own making the intruder has brought.
    pub forged: u8,
    /// What never happens.
    pub fault: Option<Fault>,
}

/// What can happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// The intruder brings SendCoins to the shop for an invoice.
    Pay(u8, u16),
    /// The intruder brings a request to the operator.
    Ask(MessageId),
    /// The intruder answers the shop.
    Answer(u8, MessageId),
}

/// The intruder's world.
pub struct World {
    house: House,
    weak: Weak,
    /// How many messages of its own making it may bring.
    forged_max: u8,
    shop: Person,
    payers: Vec<Person>,
    runs: Vec<Run>,
    /// The intruder's own coin.
    own: Coin,
    /// SendCoins that can be brought to the shop: those that were sent, then those that were made of them.
    sendable: Vec<SendCoins>,
    /// How many of them were sent by their payers.
    sent: usize,
    /// Requests that the intruder can bring: whether it has forged them.
    requests: Vec<(MessageId, bool)>,
    /// The translations of a weak operator.
    weakened: Mutex<HashMap<MessageId, Option<weak::Weakened>>>,
    /// What the shop has asked, by the request.
    asked: Mutex<HashMap<MessageId, (u8, Com)>>,
    /// The coins that the intruder reads in an answer.
    seen: Mutex<HashMap<MessageId, Vec<Coin>>>,
    /// What a payer takes from an answer.
    heard: Mutex<HashMap<(usize, MessageId), Option<bool>>>,
}

fn run(cast: &mut Cast, number: u8, payer: usize, own: bool) -> Result<Run, Fault> {
    let coin = cast.buys(payer, false)?;
    let mut entropy = SeededEntropy::new([b"run".as_slice(), &[number]].concat());
    let payee = if own { cast.person(M)? } else { &cast.payee };
    let terms = InvoiceTerms {
        tid: TidPy::new(entropy.array()),
        p_desc: PDesc {
            amount: flo(WORTH),
            goods: "one page".into(),
            method: METHOD.into(),
            terms: Digest([0; 32]),
        },
        salt: entropy.array(),
        deadline: DEADLINE,
    };
    let list = &cast.operator.list;
    let invoice = payee::invoice(&payee.keys, &payee.certificate, list.operator, &terms);
    let read = payer::read_invoice(&invoice, list, START).map_err(|_| Fault::Setup("an invoice"))?;
    let com = read.com(PartyId::new(entropy.array()));
    let key = cast.operator.key().ok_or(Fault::Setup("the issuer's key"))?;
    let paying = payer::send_coins(&key, &com, set(std::slice::from_ref(&coin))?, &mut entropy)?;
    let sent = payee::read_send_coins(&paying.send_coins, com.payee)?;
    Ok(Run { own, com, coin, sent, pending: paying.pending.to_vec() })
}

impl World {
    /// A world with an operator that has all its repairs, or lacks one.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn new(weak: Weak, forged_max: u8) -> Result<Self, Fault> {
        let mut cast = Cast::new(3)?;
        let runs =
            vec![run(&mut cast, 0, A, false)?, run(&mut cast, 1, B, false)?, run(&mut cast, 2, A, true)?];
        let own = cast.buys(M, false)?;
        let Cast { operator, ledgers, payers, payee, .. } = cast;
        let mut world = Self {
            house: House::new(operator, ledgers, Broken::Nobody),
            weak,
            forged_max,
            shop: payee,
            payers,
            sendable: runs.iter().map(|run| run.sent.clone()).collect(),
            sent: runs.len(),
            runs,
            own,
            requests: Vec::new(),
            weakened: Mutex::default(),
            asked: Mutex::default(),
            seen: Mutex::default(),
            heard: Mutex::default(),
        };
        world.sendable.extend(compose::send_coins(&world.runs));
        world.requests = world.compose()?;
        Ok(world)
    }

    /// The operator's side.
    #[must_use]
    pub const fn house(&self) -> &House {
        &self.house
    }

    /// How many messages the intruder has made by putting parts of runs together, and how many of them open at the operator.
    #[must_use]
    pub fn composed(&self) -> (usize, usize) {
        let of_shop = self.sendable.len().saturating_sub(self.sent);
        (of_shop, self.requests.iter().filter(|(_, forged)| *forged).count())
    }

    fn person(&self, who: usize) -> Result<&Person, Fault> {
        self.payers.get(who).ok_or(Fault::Absent("a payer"))
    }

    fn make(&self, s: &mut State, action: Move) -> Result<(), Fault> {
        match action {
            Move::Pay(invoice, which) => self.pay(s, invoice, usize::from(which)),
            Move::Ask(request) => {
                if self.requests.contains(&(request, true)) {
                    s.forged = s.forged.saturating_add(1);
                }
                self.serve(s, request)
            }
            Move::Answer(invoice, reply) => self.answer(s, invoice, reply),
        }
    }

    /// The shop gets coins for an invoice, from whomever: it makes Com of its invoice and of the payer that is named.
    fn pay(&self, s: &mut State, invoice: u8, which: usize) -> Result<(), Fault> {
        let run = self.runs.get(usize::from(invoice)).ok_or(Fault::Absent("an invoice"))?;
        let sent = self.sendable.get(which).ok_or(Fault::Absent("SendCoins"))?;
        let Ok(sent) = payee::read_send_coins(&cbor::encode(sent), self.shop.keys.id()) else {
            return Ok(());
        };
        let com = Com { payer: sent.context.sender, ..run.com.clone() };
        let presented = Presented {
            payer: com.payer,
            tid: com.tid,
            com: com.digest(),
            deadline: com.deadline,
            enc_c1: sent.enc_c1,
        };
        let key = self.house.operator().key().ok_or(Fault::Setup("the issuer's key"))?;
        let v_desc = payee::refresh(flo(WORTH), list(&[WORTH])?)?;
        let seed =
            digest("florin/models/shop", &[&[invoice], &cbor::encode(&presented.enc_c1), com.payer.bytes()]);
        let mut entropy = SeededEntropy::new(seed.0);
        let asked = payee::validation_req(&key, &self.shop.keys, &presented, v_desc, &mut entropy)?;
        let (path, body, pending) = parts(asked);
        let tag = Tag::Validation(invoice, 0, 0);
        let id = self.house.number(Message::Request { tag, path, body, pending });
        goals::lock(&self.asked).insert(id, (invoice, com));
        s.house.send(id);
        if which >= self.sent {
            s.forged = s.forged.saturating_add(1);
        }
        *s.shop.get_mut(usize::from(invoice)).ok_or(Fault::Absent("an invoice"))? = Shop::Asked(id);
        Ok(())
    }

    /// The operator answers, at once and to everybody; a refusal tells the intruder nothing that it does not know.
    fn serve(&self, s: &mut State, request: MessageId) -> Result<(), Fault> {
        let before = s.house.sent.clone();
        let inner = self.weaken(request)?.unwrap_or(request);
        let mut reply = self.house.serve(&mut s.house, inner)?;
        while let Some(job) = s.house.jobs.first().copied() {
            reply = match job {
                Job::Decided { .. } => self.house.commit(&mut s.house, job)?,
                Job::Committed { .. } => self.house.reply(&mut s.house, job),
            };
        }
        s.house.sent = before;
        let Some(reply) = reply else { return Ok(()) };
        if matches!(&*self.house.message(reply)?, Message::Reply { answer: Ok(_), .. }) {
            let reply = if inner == request { reply } else { self.strengthen(request, reply)? };
            s.house.send(reply);
        }
        Ok(())
    }

    /// The shop hears something that claims to be the operator's answer.
    fn answer(&self, s: &mut State, invoice: u8, reply: MessageId) -> Result<(), Fault> {
        let slot = s.shop.get_mut(usize::from(invoice)).ok_or(Fault::Absent("an invoice"))?;
        let Shop::Asked(request) = *slot else { return Ok(()) };
        let (asked, said) = (self.house.message(request)?, self.house.message(reply)?);
        if let (Message::Request { pending, .. }, Message::Reply { answer: Ok(answer), .. }) =
            (&*asked, &*said)
            && let Ok(read) = payee::read_issuance1(pending, answer, &self.house.operator().list)
        {
            let paid = read.verdict.outcome == florin_coin::messages::Outcome::Paid;
            *slot = if paid { Shop::Gives(request) } else { Shop::Denied };
        }
        Ok(())
    }
}

impl Model for World {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let house = HouseState { journal: 0, jobs: Vec::new(), sent: Vec::new(), late: false };
        vec![State { house, shop: [Shop::Open; 2], forged: 0, fault: None }]
    }

    fn actions(&self, s: &State, moves: &mut Vec<Move>) {
        if s.fault.is_some() {
            return;
        }
        let may_forge = s.forged < self.forged_max;
        for (invoice, shop) in (0u8..).zip(&s.shop) {
            match shop {
                Shop::Open => {
                    let count = if may_forge { self.sendable.len() } else { self.sent };
                    let all = (0u16..).zip(self.sendable.iter().take(count));
                    moves.extend(all.map(|(which, _)| Move::Pay(invoice, which)));
                }
                Shop::Asked(_) => {
                    moves.extend(s.house.sent.iter().map(|reply| Move::Answer(invoice, *reply)));
                }
                Shop::Gives(_) | Shop::Denied => {}
            }
        }
        moves.extend(s.house.sent.iter().map(|request| Move::Ask(*request)));
        let known = self.requests.iter().filter(|(_, forged)| may_forge || !forged);
        moves.extend(known.map(|(request, _)| Move::Ask(*request)));
    }

    fn next_state(&self, last: &State, action: Move) -> Option<State> {
        if let Move::Ask(id) = action
            && !matches!(self.house.message(id).as_deref(), Ok(Message::Request { .. }))
        {
            return None;
        }
        let mut s = last.clone();
        if let Err(fault) = self.make(&mut s, action) {
            s.fault = Some(fault);
        }
        let same = s.house == last.house && s.shop == last.shop && s.fault.is_none();
        (!same).then_some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing happens that never happens", |_, s: &State| s.fault.is_none()),
            Property::always("no coin of an honest party is known to anybody else", |w: &Self, s| {
                w.is_secret(s)
            }),
            Property::always("payer, payee and issuer agree on Com, once each", |w: &Self, s| w.is_agreed(s)),
            Property::always("the shop gives what it is paid for", |w: &Self, s| w.is_given(s)),
            Property::always("a payer believes what is recorded", |w: &Self, s| w.is_believed(s)),
            Property::sometimes("honest runs go through", |_, s: &State| {
                matches!(s.shop, [Shop::Gives(_), Shop::Gives(_)])
            }),
            Property::sometimes("the intruder is paid where somebody pays it", |w: &Self, s| {
                w.is_paid_itself(s)
            }),
        ]
    }
}

/// A txid of the intruder.
fn its_txid(number: u8) -> TxId {
    TxId::new([number; 16])
}
