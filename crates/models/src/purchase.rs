//! The model of buying: two purchasers buy one coin each, over both lanes, with the bank's word and the courier between
//! them, and a network that loses, repeats and reorders.
//! Source: the issue ("purchase"); VarietyCash §3.1; docs/rails/coin.md; docs/models.md.

mod moves;
mod rest;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use florin_books::{EffectId, TxId};
use florin_parties::bank::OrderId;
use stateright::{Model, Property};

use crate::cast::{Cast, Person};
use crate::fault::Fault;
use crate::house::{Broken, House, HouseState, Job, JournalId, Message, MessageId, Tag};
use crate::operator::Ledgers;

/// The operator's place among who can crash.
pub const OPERATOR: u8 = 2;

/// What a world plays.
#[derive(Clone, Debug)]
pub struct Play {
    /// Whose purchases the bank may refuse, as bits.
    pub rejects: u8,
    /// Who acknowledges its coins, as bits.
    pub acknowledges: u8,
    /// Who may crash once, as bits: purchasers 0 and 1, operator 2.
    pub crashes: u8,
    /// How many requests the operator works on at once.
    pub jobs: usize,
    /// Who is broken.
    pub broken: Broken,
}

/// How far a purchaser is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Buying {
    /// Wants coins; how often it has begun.
    Idle(u8),
    /// Has sent WRequest1, which is written down nowhere.
    Asks(u8),
    /// Has signed, by which WRequest2, and written it down.
    Ordered(MessageId),
    /// Was accepted, by which answer, and collects; by which request.
    Collects(MessageId, u8),
    /// Has its coins; by which answer, and which purchase.
    Has(MessageId, MessageId),
    /// The bank has refused; which purchase.
    Refused(MessageId),
}

/// A state of the world.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// Operator and network.
    pub house: HouseState,
    /// The purchasers.
    pub buyers: [Buying; 2],
    /// Every purchase that anybody was ever told of.
    pub told: Vec<TxId>,
    /// Who has crashed.
    pub crashed: u8,
    /// What never happens.
    pub fault: Option<Fault>,
}

/// What can happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// A purchaser begins.
    Begin(u8),
    /// A message arrives.
    Arrive(MessageId),
    /// The operator's lane applies what was decided.
    Commit(Job),
    /// The operator answers what was committed.
    Reply(Job),
    /// The bank's word about an order; whether it is booked.
    Bank(OrderId, bool),
    /// The courier brings a claim to the books lane.
    HandOver(EffectId),
    /// The courier takes what it has brought from the outbox.
    Settle(EffectId),
    /// Somebody crashes.
    Crash(u8),
}

/// What an answer says.
#[derive(Clone)]
enum Read {
    /// WRequest3, made from WRequest2.
    Signed(MessageId),
    /// Accepted: which purchase, and what collects it.
    Accepted(TxId, Vec<u8>),
    /// Coins, and Issuance2.
    Coins(Vec<florin_coin::Coin>, Vec<u8>),
    /// The bank has refused.
    Refused,
    /// A refusal; whether it is worth the same bytes again.
    No(bool),
    /// Nothing that anybody waits for.
    Nothing,
}

/// The world.
pub struct World {
    /// What it plays.
    pub play: Play,
    house: House,
    buyers: Vec<Person>,
    made: Mutex<HashMap<Tag, MessageId>>,
    read: Mutex<HashMap<MessageId, Read>>,
    sound: Mutex<HashMap<JournalId, bool>>,
    rested: Mutex<HashMap<u64, bool>>,
}

impl World {
    /// A world without coins.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn new(play: Play) -> Result<Self, Fault> {
        let Cast { operator, ledgers, payers, .. } = Cast::new(2)?;
        let house = House::new(operator, ledgers, play.broken);
        let (made, read, sound, rested) = Default::default();
        Ok(Self { play, house, buyers: payers, made, read, sound, rested })
    }

    /// The operator's side.
    #[must_use]
    pub const fn house(&self) -> &House {
        &self.house
    }

    fn ledgers(&self, s: &State) -> Result<Arc<Ledgers>, Fault> {
        self.house.ledgers(s.house.journal)
    }

    fn message(&self, id: MessageId) -> Result<Arc<Message>, Fault> {
        self.house.message(id)
    }
}

impl Model for World {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let house = HouseState { journal: 0, jobs: Vec::new(), sent: Vec::new(), late: false };
        vec![State { house, buyers: [Buying::Idle(0); 2], told: Vec::new(), crashed: 0, fault: None }]
    }

    fn actions(&self, s: &State, moves: &mut Vec<Move>) {
        if s.fault.is_none() {
            self.moves(s, moves);
        }
    }

    fn next_state(&self, last: &State, action: Move) -> Option<State> {
        let mut s = last.clone();
        if let Err(fault) = self.make(&mut s, action) {
            s.fault = Some(fault);
        }
        (s != *last).then_some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing happens that never happens", |_, s: &State| s.fault.is_none()),
            Property::always("cash is conserved over both lanes", |w: &Self, s| w.is_conserved(s)),
            Property::always("one order a purchase, and one issue", |w: &Self, s| w.is_once(s)),
            Property::always("nothing is said that is not committed", |w: &Self, s| w.is_recorded(s)),
            Property::always("nobody believes what the operator does not say", |w: &Self, s| {
                w.is_believed(s)
            }),
            Property::always("once faults stop, all agree and no coin is lost", |w: &Self, s| {
                w.comes_to_rest(s)
            }),
            Property::sometimes("both have their coins", |_, s: &State| {
                s.buyers.iter().all(|b| matches!(b, Buying::Has(..)))
            }),
            Property::sometimes("one has coins and one was refused", |_, s: &State| {
                s.buyers.iter().any(|b| matches!(b, Buying::Has(..)))
                    && s.buyers.iter().any(|b| matches!(b, Buying::Refused(_)))
            }),
        ]
    }
}
