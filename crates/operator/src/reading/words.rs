//! What a record was, in words: from the once keys that it took, else from what it wrote.
//! Source: books.md, "The parts" (once keys); the numbers of rails and parties in their `kinds`.

use florin_books::{Account, Core, DocumentKind, Effect, OnceKey, PartyId, Record, TxId};
use florin_coin::kinds as coin;
use florin_parties::kinds as parties;
use florin_parties::treasury::{OrderRecord, OrderState, QueueItem, QueueReason};

use crate::bank::CURSOR;
use crate::control;
use crate::operator::SINCE;
use crate::reconcile::kinds::{BRAKE, CHECKED};
use crate::standing::ACCEPTED;
use crate::trace_log;

/// What a record was.
pub(super) struct Words {
    /// One word for programs; it never changes.
    pub what: String,
    /// The rest for people.
    pub detail: String,
    /// Whose request it was, if it had a name.
    pub party: Option<PartyId>,
    /// The request's own number.
    pub request: Option<[u8; 16]>,
}

/// The steps that have names; where a record took several once keys, the first that stands here names it.
const STEPS: &[(u8, u8, &str)] = &[
    (coin::RAIL_NUMBER, coin::STEP_VALIDATION, "payment"),
    (coin::RAIL_NUMBER, coin::STEP_PAYMENT, "payment-never"),
    (coin::RAIL_NUMBER, coin::STEP_ENVELOPE, "envelope-void"),
    (coin::RAIL_NUMBER, coin::STEP_ACK, "payment-acknowledged"),
    (coin::RAIL_NUMBER, coin::STEP_CHANGE, "change"),
    (coin::RAIL_NUMBER, coin::STEP_REDEEM, "redeem"),
    (coin::RAIL_NUMBER, coin::STEP_REFRESH, "refresh"),
    (coin::RAIL_NUMBER, coin::STEP_REFUND, "refund"),
    (coin::RAIL_NUMBER, coin::STEP_REDEEM_AGGREGATE, "redeem-aggregate"),
    (coin::RAIL_NUMBER, coin::STEP_HONOUR, "honour"),
    (coin::RAIL_NUMBER, coin::STEP_PAYOUT, "pay-out"),
    (coin::RAIL_NUMBER, coin::STEP_WREQUEST3, "purchase"),
    (coin::RAIL_NUMBER, coin::STEP_HAND_OVER, "hand-over"),
    (coin::RAIL_NUMBER, coin::STEP_COLLECT, "collect"),
    (coin::RAIL_NUMBER, coin::STEP_COLLECT_ACK, "collect-acknowledged"),
    (coin::RAIL_NUMBER, coin::STEP_BOX_OPEN, "box-open"),
    (parties::RAIL_NUMBER, parties::STEP_REGISTER, "register"),
    (parties::RAIL_NUMBER, parties::STEP_ENROL, "enrol"),
    (parties::RAIL_NUMBER, parties::STEP_CONFIRM, "confirm"),
    (parties::RAIL_NUMBER, parties::STEP_COPY, "participant-copied"),
    (parties::RAIL_NUMBER, parties::STEP_BANK_EVENT, "bank"),
    (control::RAIL_NUMBER, control::STEP_ORDER, "order-of-two"),
];

/// Documents that name a record which has taken no once key.
const DOCUMENTS: &[(DocumentKind, &str)] = &[
    (parties::ORDER, "pay-out-again"),
    (BRAKE.kind, "pay-outs-braked"),
    (CHECKED.kind, "statement-checked"),
    (CURSOR.kind, "bank-news-read"),
    (SINCE.kind, "keys-in-use"),
    (trace_log::LOG, "trace"),
    (control::EXECUTED, "order-carried-out"),
    (ACCEPTED, "books-accepted"),
    (coin::EPOCHS, "epochs"),
    (coin::POST_BOX, "box"),
];

/// What the bank said about an order, money that came in, and housekeeping.
const OTHERS: &[&str] = &[
    "bank-requested",
    "bank-accepted",
    "bank-booked",
    "bank-rejected",
    "bank-returned",
    "bank-credited",
    "bank-unclear",
    "bank-repeated",
    "outbox-settled",
    "other",
];

/// Whether a record can have this name.
pub(super) fn is_word(word: &str) -> bool {
    let stem = word.strip_suffix("-denied").unwrap_or(word);
    STEPS.iter().any(|(_, _, known)| *known == stem && *known != "bank")
        || DOCUMENTS.iter().any(|(_, known)| *known == word)
        || OTHERS.contains(&word)
        || word.starts_with("rail-")
}

/// Names a record.
pub(super) fn words(record: &Record) -> Words {
    let core = &record.core;
    let named = STEPS.iter().find_map(|(rail, step, word)| {
        core.once.iter().find(|k| (k.rail, k.step) == (*rail, *step)).map(|key| (key, *word))
    });
    let (what, detail) = match named {
        Some((_, "bank")) => bank(core),
        Some((_, "purchase")) => ("purchase".into(), purchase(core)),
        Some((_, word)) => (denied(core, word), String::new()),
        None => unnamed(core),
    };
    let key: Option<&OnceKey> = named.map(|(key, _)| key).or_else(|| core.once.first());
    let party = key.map(|k| k.party).filter(|p| *p != PartyId::NONE);
    Words { what, detail, party, request: key.map(|k| k.txid) }
}

/// A payment, change or redemption that spent nothing was recorded as a no; so was a collection that issued nothing.
fn denied(core: &Core, word: &str) -> String {
    let no = match word {
        "payment" | "change" | "redeem" | "refresh" | "refund" => core.consumed.is_empty(),
        "collect" => core.created.is_empty(),
        _ => false,
    };
    if no { format!("{word}-denied") } else { word.to_owned() }
}

/// The purchase's id, by which it is traced and its evidence is found.
fn purchase(core: &Core) -> String {
    let written = core.documents.iter().find(|d| d.key.kind == coin::PURCHASE);
    written.map(|d| TxId::new(d.key.id).to_string()).unwrap_or_default()
}

/// What the bank said, by what it did to an order or to the account.
fn bank(core: &Core) -> (String, String) {
    let written =
        |kind| core.documents.iter().filter(move |d| d.key.kind == kind).find_map(|d| d.value.as_deref());
    if let Some(record) = written(parties::ORDER).and_then(OrderRecord::read) {
        let (word, why) = match &record.state {
            OrderState::Requested => ("bank-requested", None),
            OrderState::Accepted => ("bank-accepted", None),
            OrderState::Booked => ("bank-booked", None),
            OrderState::Rejected(why) => ("bank-rejected", Some(why)),
            OrderState::Returned(why) => ("bank-returned", Some(why)),
        };
        let why = why.map(|w| format!(", {w}")).unwrap_or_default();
        return (word.into(), format!("{} for a {}{why}", record.order.id, purpose(&record)));
    }
    if let Some(item) = written(parties::QUEUE).and_then(QueueItem::read) {
        let why = match item.why {
            QueueReason::Unmatched => return ("bank-credited".into(), "nobody expected it".into()),
            QueueReason::UnknownOrder => "an order that is not known here",
            QueueReason::Contradiction => "it contradicts what the bank said before",
        };
        return ("bank-unclear".into(), why.into());
    }
    if core.postings.iter().any(|p| p.account == Account::Capital) {
        return ("bank-credited".into(), "capital".into());
    }
    ("bank-repeated".into(), "old news".into())
}

fn purpose(record: &OrderRecord) -> &'static str {
    match (record.purpose.rail, record.purpose.step) {
        (coin::RAIL_NUMBER, coin::STEP_WREQUEST3) => "purchase",
        (coin::RAIL_NUMBER, coin::STEP_PAYOUT) => "pay-out",
        (parties::RAIL_NUMBER, parties::STEP_ENROL) => "confirmation code",
        _ => "transfer",
    }
}

/// A record of a step without a name here, or of the house itself.
fn unnamed(core: &Core) -> (String, String) {
    if let Some(key) = core.once.first() {
        return (format!("rail-{}-step-{}", key.rail, key.step), String::new());
    }
    let by_document = DOCUMENTS
        .iter()
        .find_map(|(kind, word)| core.documents.iter().any(|d| d.key.kind == *kind).then_some(*word));
    if let Some(word) = by_document {
        return (word.into(), String::new());
    }
    let settled = !core.effects.is_empty() && core.effects.iter().all(|e| matches!(e, Effect::Done(_)));
    let word = if settled { "outbox-settled" } else { "other" };
    (word.into(), String::new())
}
