//! Paying the holder of coins whose epoch was dropped: by hand, once for each coin, from where the drop has put their worth.
//! Source: VarietyCash §2.6 (bearer instruments, conservation of cash); ADR 0028.

use florin_books::{
    Account, EffectId, Facts, LaneId, Needs, OnceKey, Outgoing, PartyId, Seq, Timestamp, TokenNumber,
    Transition, TxId,
};
use florin_crypto::{Digest, Entropy, cbor, digest, random};
use florin_money::Amount;
use florin_parties::bank::{BankAccount, Direction, Order, OrderId};
use florin_parties::treasury::{self, Purpose};
use minicbor::{Decode, Encode};

use crate::kinds::{HONOUR, RAIL_NUMBER, STEP_HONOUR, once};

/// What the books lane tells the identity lane.
///
/// Shape: `[id, account, amount]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Honour {
    /// Its id.
    #[n(0)]
    pub id: TxId,
    /// Where the money goes.
    #[n(1)]
    pub account: BankAccount,
    /// How much.
    #[n(2)]
    pub amount: Amount,
}

impl Honour {
    /// Reads an entry of the outbox.
    #[must_use]
    pub fn read(out: &Outgoing) -> Option<Self> {
        cbor::decode_strict(&out.body).ok()
    }

    /// What the identity lane reads.
    #[must_use]
    pub fn needs(&self) -> Needs {
        Needs { once: vec![once(STEP_HONOUR, PartyId::NONE, *self.id.bytes())], ..Needs::default() }
    }
}

fn once_of(number: &TokenNumber) -> OnceKey {
    once(STEP_HONOUR, PartyId::NONE, number.to_block())
}

/// What the books lane reads: whether any of these coins was paid before.
#[must_use]
pub fn honour_needs(numbers: &[TokenNumber]) -> Needs {
    Needs { once: numbers.iter().map(once_of).collect(), ..Needs::default() }
}

/// In the books lane: the coins' worth leaves the accounts that hold it, for the identity lane; together it is `paid.amount`. The caller has checked
/// tags, and that the archive says they were live.
#[must_use]
pub fn honour(
    numbers: &[TokenNumber],
    paid: &Honour,
    from: &[(Account, Amount)],
    identity: LaneId,
    now: Timestamp,
) -> Transition {
    let cause: Digest = digest("florin/v1/coin/honour", &[paid.id.bytes()]);
    let mut t = Transition::new(cause, Seq(0));
    t.once = honour_needs(numbers).once;
    for (account, amount) in from {
        t.post(*account, Account::Pair(identity), *amount);
    }
    t.emit(EffectId::new(*paid.id.bytes()), HONOUR, now, cbor::encode(paid));
    t
}

/// In the identity lane: the order to the bank. Until it is booked, and should the bank refuse it, the money stands in
/// suspense: its owner is a person, not a participant.
#[must_use]
pub fn honour_paid(
    paid: &Honour,
    facts: &Facts,
    books: LaneId,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Transition {
    let mut t = Transition::new(digest("florin/v1/coin/honour-paid", &[paid.id.bytes()]), facts.as_of);
    t.once = paid.needs().once;
    t.post(Account::Pair(books), Account::Suspense, paid.amount);
    let order = Order {
        id: OrderId::new(random(entropy)),
        direction: Direction::Credit,
        account: paid.account.clone(),
        amount: paid.amount,
        remittance: "FLORIN COINS".into(),
        mandate: None,
    };
    let purpose = Purpose { rail: RAIL_NUMBER, step: STEP_HONOUR, reference: *paid.id.bytes() };
    // Coins are worth something, so what remains cannot fail; were it to, the money stands in suspense.
    let _ = treasury::request(&mut t, order, purpose, Some(Account::Suspense), now);
    t
}
