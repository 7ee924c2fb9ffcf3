//! Who plays: an operator, two payers, one payee, registered and enrolled by the real steps, and the coins that the payers
//! have bought before the model begins. Everything is a function of nothing: two casts are the same.
//! Source: the issue ("two coins, two payers, one payee").

use florin_books::TxId;
use florin_coin::issuer::Purchase;
use florin_coin::purchase_messages::WDesc;
use florin_coin::purchaser::{self, Collected};
use florin_coin::{Coin, CoinSet};
use florin_crypto::{Entropy as _, SeededEntropy};
use florin_money::{Amount, CoinList, Currency};
use florin_parties::asker::{prepare_confirm, prepare_enrol, prepare_register, read_register};
use florin_parties::bank::{BankAccount, Mandate};
use florin_parties::{IdentityKeys, Roles};
use florin_rail::{Moment, Refusal};

use crate::couriers;
use crate::fault::Fault;
use crate::operator::{Begun, Committed, EXP, Ledgers, Operator, START, begin, commit};

/// The bank account of everybody.
const IBAN: &str = "DE89370400440532013000";
/// What each coin of the models is worth.
pub const WORTH: u64 = 100;

/// A participant.
pub struct Person {
    /// Its keys.
    pub keys: IdentityKeys,
    /// What the operator says about them.
    pub certificate: Vec<u8>,
}

/// Everybody, and the books when the model begins.
pub struct Cast {
    /// The operator.
    pub operator: Operator,
    /// Its books.
    pub ledgers: Ledgers,
    /// The payers, who are purchasers.
    pub payers: Vec<Person>,
    /// The payee.
    pub payee: Person,
    entropy: SeededEntropy,
}

/// An amount of a model.
#[must_use]
pub const fn flo(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

/// A list of values.
///
/// # Errors
/// It is too long.
pub fn list(values: &[u64]) -> Result<CoinList, Fault> {
    CoinList::of_values(values.iter().copied()).map_err(|_| Fault::Setup("a list of coins"))
}

/// Coins with their sum.
///
/// # Errors
/// It is too much.
pub fn set(coins: &[Coin]) -> Result<CoinSet, Fault> {
    CoinSet::new(coins.to_vec(), Currency::FLO).map_err(|_| Fault::Setup("a set of coins"))
}

/// A request from beginning to end, with nothing in between.
///
/// # Errors
/// A fault of the program.
pub fn serve(
    operator: &Operator,
    ledgers: &mut Ledgers,
    (path, body): (&str, &[u8]),
    now: florin_books::Timestamp,
    entropy: &mut SeededEntropy,
) -> Result<Result<Vec<u8>, Refusal>, Fault> {
    let asked = match operator.open(path, body, now) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let lane = asked.lane();
    for _ in 0..16 {
        let mut begun = begin(&*asked, ledgers.shelf(lane), &mut Moment { now, entropy });
        loop {
            let decided = match begun {
                Begun::Reply(reply, _) => return Ok(reply),
                Begun::Decided(decided) => decided,
            };
            match commit(&*asked, ledgers.shelf_mut(lane), &decided, now)? {
                Committed::Done(record) => return Ok(asked.reply(&record)),
                Committed::Taken(reply) => return Ok(reply),
                Committed::Again => break,
                Committed::Not(why) => {
                    begun = crate::operator::second(&*asked, &decided, &why, &mut Moment { now, entropy });
                }
            }
        }
    }
    Err(Fault::Restless)
}

/// What a purchaser orders in the models.
///
/// # Errors
/// The list is too long.
pub fn w_desc(values: &[u64], anonymous: bool) -> Result<WDesc, Fault> {
    Ok(WDesc {
        total: flo(values.iter().copied().fold(0, u64::saturating_add)),
        list: list(values)?,
        account: IBAN.parse().map_err(|_| Fault::Setup("an account"))?,
        authorisation: Mandate { id: "MANDATE-1".into(), signed_at: START },
        anonymous,
    })
}

impl Cast {
    /// Everybody, with so many payers, without coins.
    ///
    /// # Errors
    /// Registration or enrolment does not go through.
    pub fn new(payers: u8) -> Result<Self, Fault> {
        let keys = |who: &str| IdentityKeys::generate(&mut SeededEntropy::new(who));
        let mut cast = Self {
            operator: Operator::default(),
            ledgers: Ledgers::default(),
            payers: Vec::new(),
            payee: Person { keys: keys("payee"), certificate: Vec::new() },
            entropy: SeededEntropy::new("cast"),
        };
        for number in 0..payers {
            let payer = cast.enrolled(keys(&format!("payer {number}")))?;
            cast.payers.push(payer);
        }
        cast.payee = cast.enrolled(keys("payee"))?;
        Ok(cast)
    }

    fn serve(&mut self, path: &str, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let served = serve(&self.operator, &mut self.ledgers, (path, body), START, &mut self.entropy)?;
        while let Some(o) = couriers::waiting(&self.ledgers).first() {
            couriers::deliver(&self.operator, &mut self.ledgers, o)?;
            couriers::done(&mut self.ledgers, o)?;
        }
        Ok(served?)
    }

    /// Registers and enrols somebody.
    ///
    /// # Errors
    /// It does not go through.
    pub fn enrolled(&mut self, keys: IdentityKeys) -> Result<Person, Fault> {
        let setup = |_| Fault::Setup("a request of a participant");
        let list = self.operator.list.clone();
        let tx = (TxId::new(self.entropy.array()), EXP);
        let asked = prepare_register(&keys, None, &list, tx, START, &mut self.entropy).map_err(setup)?;
        let answer = self.serve(&asked.path, &asked.body)?;
        let read = read_register(&asked.pending, &answer, &list);
        let certificate = read.map_err(|_| Fault::Setup("a certificate"))?.bytes;
        let account: BankAccount = IBAN.parse().map_err(|_| Fault::Setup("an account"))?;
        let tx = (TxId::new(self.entropy.array()), EXP);
        let asked = prepare_enrol(&keys, Roles::BOTH, &account, &list, tx, START, &mut self.entropy);
        let asked = asked.map_err(setup)?;
        self.serve(&asked.path, &asked.body)?;
        let order =
            couriers::orders(&self.ledgers).pop().ok_or(Fault::Absent("the order of an enrolment"))?;
        let code = order.remittance.strip_prefix("FLORIN CODE ").ok_or(Fault::Absent("a code"))?.to_owned();
        couriers::bank(&mut self.ledgers, order.id, true)?;
        let tx = (TxId::new(self.entropy.array()), EXP);
        let asked = prepare_confirm(&keys, &code, &list, tx, START, &mut self.entropy).map_err(setup)?;
        self.serve(&asked.path, &asked.body)?;
        Ok(Person { keys, certificate })
    }

    /// A payer buys one coin, from beginning to end; by name, so that it can ask for a refund.
    ///
    /// # Errors
    /// It does not go through.
    pub fn buys(&mut self, payer: usize, anonymous: bool) -> Result<Coin, Fault> {
        let issuer = self.operator.key().ok_or(Fault::Setup("the issuer's key"))?;
        let id = self.person(payer)?.keys.id();
        let asked = purchaser::wrequest1(&issuer, id, EXP, &mut self.entropy)?;
        let answer = self.serve(asked.path, &asked.body)?;
        let w_desc = w_desc(&[WORTH], anonymous)?;
        let person = self.payers.get(payer).ok_or(Fault::Absent("a payer"))?;
        let asked = purchaser::wrequest3(&asked.pending, &answer, &person.keys, w_desc, &mut self.entropy)?;
        let answer = self.serve(asked.path, &asked.body)?;
        let accepted = purchaser::read_accepted(&asked.pending, &answer)?;
        let document = self.ledgers.identity.documents().get(&Purchase::key_of(accepted.id));
        let purchase = document.and_then(|d| Purchase::read(&d.value)).ok_or(Fault::Absent("a purchase"))?;
        couriers::bank(&mut self.ledgers, purchase.order, true)?;
        let asked = purchaser::collect(&issuer, &accepted.purchase, EXP, &mut self.entropy)?;
        while let Some(o) = couriers::waiting(&self.ledgers).first() {
            couriers::deliver(&self.operator, &mut self.ledgers, o)?;
            couriers::done(&mut self.ledgers, o)?;
        }
        let answer = self.serve(asked.path, &asked.body)?;
        let list = self.operator.list.clone();
        match purchaser::read_collected(&asked.pending, &answer, &list)? {
            Collected::Coins { coins, ack } => {
                self.serve(purchaser::ACK_PATH, &ack)?;
                coins.first().cloned().ok_or(Fault::Absent("a coin"))
            }
            Collected::Refused { .. } => Err(Fault::Setup("a purchase was refused")),
        }
    }

    /// A payer.
    ///
    /// # Errors
    /// There is none with this number.
    pub fn person(&self, payer: usize) -> Result<&Person, Fault> {
        self.payers.get(payer).ok_or(Fault::Absent("a payer"))
    }
}
