//! The books' own bytes: records, a journal that is redone, checkpoints and openings. Whatever stands there, a lane takes it
//! up or says that it is damaged, and what it takes up keeps the rules.

use std::sync::LazyLock;

use florin_books::{
    Account, Audit, Core, DocumentKey, DocumentKind, EffectId, Entry, Epoch, ExchangeId, Holding,
    HoldingChange, HoldingId, Issue, Lane, LaneId, LaneSpec, Mark, OnceKey, Opening, PartyId, Record,
    RegisterId, RegisterSpec, Seq, Timestamp, TokenNumber, Transition,
};
use florin_crypto::{decode_strict, digest, encode};
use florin_money::{Amount, Currency, Denominations};

use crate::edit::edited;
use crate::say::{choice, fine, one_encoding, some};

/// The lane that is written to here and in the stores.
pub(crate) const LANE: LaneId = LaneId(7);
/// The one register.
pub(crate) const COINS: RegisterId = RegisterId(1);
const KIND: DocumentKind = DocumentKind(3);

/// What the lane is made for.
pub(crate) fn spec() -> LaneSpec {
    let denominations = fine(Denominations::new(Currency::FLO, vec![1, 2, 5, 10]), "denominations");
    LaneSpec { lane: LANE, registers: vec![RegisterSpec { id: COINS, denominations }] }
}

fn id(n: u64) -> [u8; 16] {
    digest("fuzz/id", &[&n.to_be_bytes()]).short()
}

fn amount(minor: u64) -> Amount {
    Amount::new(minor, Currency::FLO)
}

fn denomination(index: u16) -> florin_books::DenominationId {
    some(florin_books::DenominationId::new(COINS, index), "a denomination")
}

/// The n-th change of a life in which everything happens that can.
pub(crate) fn change(n: u64, as_of: Seq) -> Transition {
    let mut t = Transition::new(digest("fuzz/cause", &[&n.to_be_bytes()]), as_of);
    t.once.push(OnceKey { rail: 1, step: 1, party: PartyId::NONE, txid: id(n) });
    t.seed = n.to_be_bytes().to_vec();
    let issuer = PartyId::new(id(1_000_000));
    let holding = |n: u64| Holding {
        id: HoldingId::new(id(n)),
        issuer,
        value: amount(3),
        expires: Timestamp(1),
        token: vec![1, 2, 3],
    };
    let exchange = ExchangeId::new(id(2_000_000));
    match n.checked_rem(5) {
        Some(0) => {
            t.creates.push(Issue { epoch: Epoch(1), denomination: denomination(3), count: 2 });
            t.creates.push(Issue { epoch: Epoch(2), denomination: denomination(0), count: 1 });
            t.post(Account::Bank(0), Account::Register(COINS), amount(21));
        }
        Some(1) => {
            // A coin of ten that the change before has issued.
            let counter = (n / 5).saturating_mul(2);
            let epoch = Epoch(1);
            t.consumes.push(TokenNumber { lane: LANE, epoch, denomination: denomination(3), counter });
            t.post(Account::Register(COINS), Account::Party(PartyId::new(id(n))), amount(10));
        }
        Some(2) => {
            t.holdings.push(HoldingChange::Add(holding(n)));
            t.post(Account::Holdings(issuer), Account::World, amount(3));
            t.marks.push(Mark { kind: KIND, id: id(n), until: Timestamp(u64::MAX >> 1) });
        }
        Some(3) => {
            let before = HoldingId::new(id(n.saturating_sub(1)));
            t.holdings.push(HoldingChange::Reserve(before, exchange));
            t.emit(EffectId::new(id(n)), 1, Timestamp(5), b"an effect".to_vec());
            t.write(DocumentKey::new(KIND, id(n)), b"a document".to_vec());
        }
        _ => {
            let before = HoldingId::new(id(n.saturating_sub(2)));
            t.holdings.push(HoldingChange::Remove(before, exchange));
            t.post(Account::World, Account::Holdings(issuer), amount(3));
            t.effects.push(florin_books::Effect::Done(EffectId::new(id(n.saturating_sub(1)))));
            t.remove(DocumentKey::new(KIND, id(n.saturating_sub(1))));
        }
    }
    t
}

struct Life {
    entries: Vec<Entry>,
    /// The lane after each record, the first without any.
    states: Vec<Vec<u8>>,
}

static LIFE: LazyLock<Life> = LazyLock::new(|| {
    let mut lane = Lane::new(spec());
    let mut life = Life { entries: Vec::new(), states: vec![lane.checkpoint()] };
    for n in 0..15 {
        let t = change(n, lane.seq());
        life.entries.push(fine(lane.apply(t, Timestamp(1_000_u64.saturating_add(n))), "a change"));
        life.states.push(lane.checkpoint());
    }
    life
});

/// The rules that every lane keeps, however it came about.
fn keeps_the_rules(lane: &Lane) {
    let sum: i128 = lane.balances().map(|(_, _, balance)| i128::from(balance)).sum();
    assert_eq!(sum, 0, "the balances do not sum to zero");
    let series = spec();
    let value = |c: &florin_books::Circulation| {
        let register = series.register(c.denomination.register());
        let value = register.and_then(|r| r.denominations.value(c.denomination.index()));
        i128::from(some(value, "a denomination")).saturating_mul(i128::from(c.live))
    };
    let live: i128 = lane.live().counted().map(|c| value(&c)).sum();
    let owed = i128::from(lane.balance(Account::Register(COINS), Currency::FLO.code()));
    assert_eq!(live, owed.saturating_neg(), "live tokens and their account");
}

/// A record, a core, an opening: one encoding each, and a chain link that follows from the bytes.
pub(crate) fn record(data: &[u8]) {
    let (what, data) = choice(data);
    let life = &*LIFE;
    let (which, script) = choice(data);
    let place = usize::from(which).checked_rem(life.entries.len()).unwrap_or(0);
    let good = some(life.entries.get(place), "an entry");
    let bytes = if what & 4 == 0 { edited(&good.bytes, script) } else { data.to_vec() };
    match what % 4 {
        0 | 1 => {
            let Some(record) = one_encoding::<Record>(&bytes) else { return };
            assert_eq!(record.clone().stripped().core, record.core);
            assert_eq!(Some(&record.core), one_encoding::<Core>(&encode(&record.core)).as_ref());
        }
        2 => drop(one_encoding::<Core>(&bytes)),
        _ => {
            let lane = some(life.states.get(place), "a state");
            let lane = fine(Lane::from_checkpoint(spec(), lane), "a state");
            let (opening, state) = Opening::of(&lane);
            let bytes = edited(&opening.to_bytes(), script);
            let Some(read) = Opening::read(&bytes) else { return };
            let taken = read.lane(spec(), &state);
            assert_eq!(taken.is_ok(), read == opening, "an opening that says something else is taken up");
        }
    }
}

/// A journal in which one record was changed: it is redone to the end only if nothing was.
pub(crate) fn redo(data: &[u8]) {
    let life = &*LIFE;
    let (which, script) = choice(data);
    let place = usize::from(which).checked_rem(life.entries.len()).unwrap_or(0);
    let mut lane = Lane::new(spec());
    let (mut audit, mut changed) = (Audit::new(spec()), false);
    for (n, entry) in life.entries.iter().enumerate() {
        let bytes = if n == place { edited(&entry.bytes, script) } else { entry.bytes.clone() };
        let Ok(record) = decode_strict::<Record>(&bytes) else { return };
        let before = lane.checkpoint();
        match lane.redo(record.clone()) {
            Ok(Some(redone)) => {
                audit.absorb(&record);
                keeps_the_rules(&lane);
                // The chain covers the core; a seed can only be the right one, or gone.
                changed |= record.core != entry.record.core;
                assert_eq!(redone.chain != entry.chain, changed, "the chain does not tell what was changed");
                assert!(record.seed.is_none() || record.is_whole(), "another seed is taken up");
            }
            Ok(None) => assert_eq!(lane.checkpoint(), before, "a record that is skipped changes something"),
            Err(_) => {
                assert_eq!(lane.checkpoint(), before, "a record that is refused changes something");
                return;
            }
        }
    }
    let report = audit.finish(&lane);
    assert!(report.is_clean() || lane.seq() != Seq(15), "{:?}", report.findings);
}

/// A checkpoint with edits, or from nothing: what is taken up is written again as what was read, and lives on.
pub(crate) fn checkpoint(data: &[u8]) {
    let life = &*LIFE;
    let (which, script) = choice(data);
    let place = usize::from(which & 0x7f).checked_rem(life.states.len()).unwrap_or(0);
    let good = some(life.states.get(place), "a state");
    let bytes = if which & 0x80 == 0 { edited(good, script) } else { script.to_vec() };
    let Ok(lane) = Lane::from_checkpoint(spec(), &bytes) else {
        assert!(bytes != *good, "a good checkpoint is not taken up");
        return;
    };
    let written = lane.checkpoint();
    let again =
        fine(Lane::from_checkpoint(spec(), &written), "a checkpoint that was written is not taken up");
    assert_eq!(again.checkpoint(), written);
    if bytes == *good {
        keeps_the_rules(&lane);
    }
    // Books that are taken up serve: a change is applied or refused, never at the cost of a crash.
    let mut lane = lane;
    let _ = lane.live().counted().count();
    let before = lane.checkpoint();
    if lane.apply(change(0, lane.seq()), Timestamp(0)).is_err() {
        assert_eq!(lane.checkpoint(), before, "a refusal changed something");
    }
}
