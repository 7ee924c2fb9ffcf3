//! What goes with time at the gate: orders that were not paid, and of paid ones what only serves a repeat. What was earned,
//! when, for what, with the operator's signed verdict, stays: it is the merchant's bookkeeping.
//! Source: books.md, "Retention".

use std::time::Duration;

use florin_books::{DocumentKey, DocumentWrite, Needs, Timestamp, Transition};
use florin_crypto::{Bytes, cbor, digest};
use florin_http::Stop;
use florin_shell::house::{ActError, House};

use crate::kinds::ORDER;
use crate::order::{Order, OrderState, Paid};

/// How long everything is kept. No presentation is that old: its deadline has passed long before.
const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Orders looked at, and changed, at a time.
const PAGE: usize = 256;
/// Pages in one run: what is left waits for the next.
const PAGES_MAX: usize = 4096;

/// Looks for what is past its time, until stopped. A payment is given again for `replay_window_ms`.
pub(crate) async fn keep(house: House, replay_window_ms: u64, stop: Stop) {
    while !stop.is_triggered() && !house.books.is_failed() {
        tokio::select! {
            () = stop.stopped() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let before = house.clock.now().minus_ms(KEPT_MS.max(replay_window_ms));
        match sweep(&house, before).await {
            Ok(0) => {}
            Ok(orders) => tracing::info!(orders, "what was past its time has gone"),
            Err(error) => tracing::error!(%error, "retention did not finish"),
        }
    }
}

/// Goes through orders last written before a time; how many were changed or removed.
pub(crate) async fn sweep(house: &House, before: Timestamp) -> Result<usize, ActError> {
    let end = house.books.seq_before(before)?;
    let (mut page, mut count) = (None, 0usize);
    for _ in 0..PAGES_MAX {
        let (some, next) = house.books.older(ORDER, end, page, PAGE)?;
        let due = some.iter().filter(|(key, _, value)| change(*key, value, before).is_some());
        let keys: Vec<DocumentKey> = due.map(|(key, ..)| *key).collect();
        count = count.saturating_add(apply(house, keys, before).await?);
        page = next;
        if page.is_none() {
            break;
        }
    }
    Ok(count)
}

/// What becomes of an order; nothing where it stays as it is.
fn change(key: DocumentKey, value: &[u8], before: Timestamp) -> Option<DocumentWrite> {
    let order = Order::read(value)?;
    match &order.state {
        OrderState::Open(_) => None,
        OrderState::Denied(denied) => (denied.at < before).then_some(DocumentWrite { key, value: None }),
        OrderState::Paid(paid) if paid.for_payer.0.is_empty() || paid.at >= before => None,
        OrderState::Paid(paid) => {
            let bare = Paid { receipt: Bytes(Vec::new()), for_payer: Bytes(Vec::new()), ..paid.clone() };
            let value = Some(order.with(OrderState::Paid(bare)).to_bytes());
            Some(DocumentWrite { key, value })
        }
    }
}

async fn apply(house: &House, keys: Vec<DocumentKey>, before: Timestamp) -> Result<usize, ActError> {
    if keys.is_empty() {
        return Ok(0);
    }
    let needs = Needs { documents: keys.clone(), ..Needs::default() };
    let mut count = 0;
    let done = house.act(&needs, |facts, _| {
        // Decided again on what is there now.
        let writes = keys.iter().filter_map(|key| change(*key, facts.document(key)?, before));
        let documents: Vec<DocumentWrite> = writes.collect();
        count = documents.len();
        let cause = digest("florin/v1/gate/sweep", &[&cbor::encode(&documents)]);
        let mut t = Transition::new(cause, facts.as_of);
        t.documents = documents;
        (count > 0).then_some(t)
    });
    done.await?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use florin_books::{Clock, ExchangeId, LaneId, LaneSpec, PartyId, Seq};
    use florin_coin::TidPy;
    use florin_coin::messages::Outcome;
    use florin_crypto::Envelope;
    use florin_money::{Amount, Currency};
    use florin_shell::house::os_entropy;
    use florin_store::{Books, MemoryStore, Options, OwnerId};

    use super::*;
    use crate::order::{Denied, Presented};

    struct Ticks(AtomicU64);

    impl Clock for Ticks {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    fn order(n: u8, at: Timestamp, state: OrderState) -> Order {
        Order {
            tid: TidPy::new([n; 16]),
            payload: digest("test", &[&[n]]),
            com: digest("test", &[&[n, 1]]),
            payer: PartyId::new([n; 16]),
            amount: Amount::new(7, Currency::FLO),
            goods: "GET /one".into(),
            since: at,
            exchange: ExchangeId::NONE,
            state,
            settle: crate::settle::Settle::Redeem,
        }
    }

    fn states(at: Timestamp) -> [OrderState; 4] {
        let b = |text: &[u8]| Bytes(text.to_vec());
        let (receipt, verdict, for_payer) = (b(b"receipt"), b(b"verdict"), b(b"sealed"));
        let enc_c1 = Envelope { suite: 1, kid: [0; 16], enc: [0; 32], ct: vec![1] };
        let (outcome, verdict_of) = (Outcome::Denied, verdict.clone());
        let denied =
            Denied { at, outcome, verdict: verdict_of, for_payer: Some(for_payer.clone()), refused: None };
        let refused = Some("payment-expired".to_owned());
        let given_up = Denied { outcome: Outcome::Never, for_payer: None, refused, ..denied.clone() };
        [
            OrderState::Open(Presented { enc_c1, deadline: at, refused: None }),
            OrderState::Paid(Paid { at, receipt, verdict, for_payer, served: true }),
            OrderState::Denied(denied),
            OrderState::Denied(given_up),
        ]
    }

    #[tokio::test]
    async fn what_serves_repeats_goes_and_the_bookkeeping_stays() {
        let clock = Arc::new(Ticks(AtomicU64::new(1_000)));
        let (log, reads) = MemoryStore::new().split();
        let spec = LaneSpec { lane: LaneId(1), registers: Vec::new() };
        // A fold for each record: only what is folded is looked through.
        let options = Options { fold_every: 1, ..Options::default() };
        let books = Books::start(log, reads, spec, OwnerId([1; 16]), clock.clone(), &options).unwrap();
        let house = House { books, clock: clock.clone(), entropy: os_entropy() };
        let mut number = 0;
        for at in [1_000, 9_000] {
            clock.0.store(at, Ordering::SeqCst);
            for state in states(Timestamp(at)) {
                number += 1;
                let order = order(number, Timestamp(at), state);
                let mut t = Transition::new(digest("test", &[&[number]]), Seq(u64::MAX));
                t.write(Order::key_of(order.tid), order.to_bytes());
                house.books.commit(t).unwrap();
            }
        }
        assert_eq!(sweep(&house, Timestamp(1_000)).await.unwrap(), 0);
        assert_eq!(sweep(&house, Timestamp(5_000)).await.unwrap(), 3);
        assert_eq!(sweep(&house, Timestamp(5_000)).await.unwrap(), 0, "and only once");
        let left: Vec<Order> =
            house.books.scan(ORDER).unwrap().iter().map(|(_, d)| Order::read(&d.value).unwrap()).collect();
        let tids: Vec<u8> = left.iter().map(|o| o.tid.bytes()[0]).collect();
        assert_eq!(tids, [1, 2, 5, 6, 7, 8]);
        let OrderState::Paid(old) = &left[1].state else { panic!("{:?}", left[1].state) };
        assert!(old.served && old.for_payer.0.is_empty() && old.receipt.0.is_empty());
        assert_eq!((old.verdict.0.as_slice(), left[1].goods.as_str()), (b"verdict".as_slice(), "GET /one"));
        let OrderState::Paid(new) = &left[3].state else { panic!("{:?}", left[3].state) };
        assert_eq!(new.for_payer.0, b"sealed");
    }
}
