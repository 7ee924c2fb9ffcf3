//! The model of paying: two payers, two coins, one payee, the operator, and a network that loses, repeats and reorders.
//! Every message is made and read by the functions of `florin-coin`, every decision by its steps, every change by the
//! books. One world plays payment, status in doubt, or refund, by its [`Play`].
//! Source: the issue ("purchase, payment, status and refund"); VarietyCash §3.2; docs/models.md.

mod make;
mod moves;
mod read;
mod rest;

use std::collections::HashMap;
use std::sync::Mutex;

use florin_coin::{Coin, Com};
use stateright::{Model, Property};

use crate::cast::{Cast, Person};
use crate::fault::Fault;
use crate::house::{Broken, House, HouseState, Job, JournalId, Message, MessageId, Tag};
use crate::operator::Ledgers;

pub use read::{Fate, Said};

/// Who can crash, as bits of [`State::crashed`].
pub const PAYEE: u8 = 2;
/// The operator's place among who can crash.
pub const OPERATOR: u8 = 3;

/// What a world plays.
#[derive(Clone, Debug)]
pub struct Play {
    /// Which coins each payer pays with, by the numbers of the coins: one beginning for each.
    pub beginnings: Vec<[Vec<usize>; 2]>,
    /// Whether the payee acknowledges its coins.
    pub acknowledges: bool,
    /// About which deals payer and payee ask how it stands while messages are under way, as bits; where there is one, the
    /// clock passes the deadline.
    pub asks: u8,
    /// Whether payers give up before the deadline.
    pub gives_up: bool,
    /// Who asks for a refund, as bits: payers 0 and 1, payee 2.
    pub refunds: u8,
    /// Who may crash once, as bits: payers 0 and 1, payee 2, operator 3.
    pub crashes: u8,
    /// How many requests the operator works on at once.
    pub jobs: usize,
    /// Who is broken.
    pub broken: Broken,
}

/// How far a payer is with its payment. The number counts its envelopes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Paying {
    /// Has an invoice.
    Idle(u8),
    /// Has sealed its coins and not yet written it down: gone after a crash.
    Sealed(u8),
    /// Has written it down and sent them.
    Sent(u8),
    /// Knows.
    Knows(Fate),
}

/// How far the payee is with a deal. The numbers count envelopes and requests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Taking {
    /// Has made an invoice.
    Nothing,
    /// Has an envelope and has written nothing down.
    Presented(u8),
    /// Has asked the operator.
    Asked(u8, u8),
    /// Was refused, or tired of waiting: asks how it stands, and gives up.
    Questions(u8, u8),
    /// Has the new coins and gives the goods; by which answer.
    Accepted(MessageId),
    /// Knows that it is not paid.
    Ended(Fate),
}

/// How far somebody is with a refund. The number counts its requests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refunding {
    /// Has not asked.
    No,
    /// Has asked.
    Asked(u8),
    /// Has new coins; by which answer.
    Got(u8, MessageId),
    /// Was refused.
    Refused(u8),
}

/// A state of the world.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// Operator and network.
    pub house: HouseState,
    /// Which beginning.
    pub beginning: u8,
    /// The payers.
    pub payers: [Paying; 2],
    /// The payee, for each deal.
    pub payee: [Taking; 2],
    /// Refunds of payers and payee.
    pub refunds: [Refunding; 3],
    /// Every verdict that was ever sent: of which deal, what.
    pub told: Vec<(u8, Said)>,
    /// Who has crashed.
    pub crashed: u8,
    /// What never happens.
    pub fault: Option<Fault>,
}

/// What can happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// A payer seals its coins.
    Seal(u8),
    /// A payer writes down that it pays, and sends.
    Send(u8),
    /// The payee writes down what it asks the operator, and asks.
    Present(u8),
    /// A payer asks how it stands; the flag: it gives up.
    AskStatus(u8, bool),
    /// The payee asks how it stands, and gives up.
    Question(u8),
    /// Somebody asks for a refund.
    AskRefund(u8),
    /// A message arrives. Nothing takes it from the network: it may arrive again, or never.
    Arrive(MessageId),
    /// The operator's lane applies what was decided.
    Commit(Job),
    /// The operator answers what was committed.
    Reply(Job),
    /// Somebody crashes.
    Crash(u8),
    /// The deadline passes.
    Tick,
}

/// The world.
pub struct World {
    /// What it plays.
    pub play: Play,
    house: House,
    payers: Vec<Person>,
    payee: Person,
    coins: Vec<Coin>,
    deals: Vec<[Deal; 2]>,
    made: Mutex<HashMap<(Tag, u8), MessageId>>,
    read: Mutex<HashMap<(u8, MessageId), read::Read>>,
    recorded: Mutex<HashMap<(u8, u8, JournalId), Recorded>>,
    rested: Mutex<HashMap<u64, bool>>,
}

/// What a journal says about a deal: how it was decided, and when.
type Recorded = Vec<(Fate, u64)>;

/// What payer and payee agree on.
struct Deal {
    com: Com,
    coins: Vec<Coin>,
}

impl World {
    /// A world in which both payers have bought a coin, each by its name.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn new(play: Play) -> Result<Self, Fault> {
        let mut cast = Cast::new(2)?;
        let coins = vec![cast.buys(0, false)?, cast.buys(1, false)?];
        let mut deals = Vec::new();
        for (number, beginning) in (0u8..).zip(&play.beginnings) {
            let [one, two] = beginning;
            deals.push([
                make::deal(&cast, &coins, one, [number, 0])?,
                make::deal(&cast, &coins, two, [number, 1])?,
            ]);
        }
        let Cast { operator, ledgers, payers, payee, .. } = cast;
        let house = House::new(operator, ledgers, play.broken);
        let (made, read, recorded) = (Mutex::default(), Mutex::default(), Mutex::default());
        let rested = Mutex::default();
        Ok(Self { play, house, payers, payee, coins, deals, made, read, recorded, rested })
    }

    /// The operator's side.
    #[must_use]
    pub const fn house(&self) -> &House {
        &self.house
    }

    fn deal(&self, s: &State, deal: u8) -> Result<&Deal, Fault> {
        let pair = self.deals.get(usize::from(s.beginning)).ok_or(Fault::Absent("a beginning"))?;
        pair.get(usize::from(deal)).ok_or(Fault::Absent("a deal"))
    }

    fn ledgers(&self, s: &State) -> Result<std::sync::Arc<Ledgers>, Fault> {
        self.house.ledgers(s.house.journal)
    }

    fn message(&self, id: MessageId) -> Result<std::sync::Arc<Message>, Fault> {
        self.house.message(id)
    }
}

impl Model for World {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let house = HouseState { journal: 0, jobs: Vec::new(), sent: Vec::new(), late: false };
        let beginning = |(number, _): (u8, _)| State {
            house: house.clone(),
            beginning: number,
            payers: [Paying::Idle(0); 2],
            payee: [Taking::Nothing; 2],
            refunds: [Refunding::No; 3],
            told: Vec::new(),
            crashed: 0,
            fault: None,
        };
        (0u8..).zip(&self.play.beginnings).map(beginning).collect()
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
        let mut all = vec![
            Property::always("nothing happens that never happens", |_, s: &State| s.fault.is_none()),
            Property::always("cash is conserved and no coin is spent twice", |w: &Self, s| w.is_conserved(s)),
            Property::always("a payment has one verdict", |_, s: &State| read::is_one(&s.told)),
            Property::always("nothing is said that is not committed", |w: &Self, s| w.is_recorded(s)),
            Property::always("nobody believes what the operator does not say", |w: &Self, s| {
                w.is_believed(s)
            }),
            Property::always("once faults stop, all agree and no coin is lost", |w: &Self, s| {
                w.comes_to_rest(s)
            }),
            Property::sometimes("a payer is paid for", |_, s: &State| s.knows(Fate::Paid)),
        ];
        if self.play.beginnings.iter().any(|[one, two]| one.iter().any(|coin| two.contains(coin))) {
            all.push(Property::sometimes("one coin for two: one is paid, one denied", |_, s: &State| {
                s.knows(Fate::Paid) && s.knows(Fate::Denied)
            }));
        } else {
            all.push(Property::sometimes("both are paid", |_, s: &State| {
                s.payers == [Paying::Knows(Fate::Paid); 2]
            }));
        }
        if self.play.asks != 0 {
            all.push(Property::sometimes("a payment never happens", |_, s: &State| s.knows(Fate::Never)));
            all.push(Property::sometimes("issued again under a new key", |_, s: &State| {
                s.told.iter().any(|(_, said)| said.fate == Fate::Paid)
                    && s.payee.iter().any(|taking| matches!(taking, Taking::Asked(_, 1..)))
            }));
        }
        if self.play.refunds != 0 {
            all.push(Property::sometimes("coins are refunded", |_, s: &State| {
                s.refunds.iter().any(|r| matches!(r, Refunding::Got(..)))
            }));
            all.push(Property::sometimes("a refund takes the coins of a payment back", |_, s: &State| {
                s.knows(Fate::Denied) && s.refunds.iter().any(|r| matches!(r, Refunding::Got(..)))
            }));
        }
        all
    }
}

impl State {
    fn knows(&self, fate: Fate) -> bool {
        self.payers.contains(&Paying::Knows(fate))
    }
}
