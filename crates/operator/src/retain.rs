//! What goes with time at the operator: seeds, documents that only serve repeats, records whose epochs are over.
//! Source: books.md, "Retention".

use std::sync::Arc;
use std::time::Duration;

use florin_books::{DocumentKey, Needs, Opening, Seq, Timestamp, Transition};
use florin_coin::Epochs;
use florin_coin::issuer::{RETAINED_KINDS, may_go};
use florin_crypto::{Bytes, Digest, cbor, digest};
use florin_http::Stop;
use florin_parties::OperatorKeys;
use florin_shell::house::{ActError, House};
use florin_store::{Books, Retained, StoreError};

use crate::lanes::{BOOKS, IDENTITY, Lanes};
use crate::operator::Operator;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A segment of the second copy is ended after so long, so that its seeds can go.
const SEGMENT_MS: u64 = DAY_MS;
/// Documents looked at, and removed, at a time.
const PAGE: usize = 256;
/// Pages in one run: what is left waits for the next.
const PAGES_MAX: usize = 64;

/// Looks for what is past its time, until stopped.
pub(crate) async fn keep(operator: Arc<Operator>, stop: Stop) {
    let every = Duration::from_secs(operator.config.retain_every_s.max(1));
    while !stop.is_triggered() && operator.is_ready() {
        tokio::select! {
            () = stop.stopped() => return,
            () = tokio::time::sleep(every) => {}
        }
        for (house, name) in [(&operator.lanes.identity, "identity"), (&operator.lanes.books, "books")] {
            match run(&operator, house).await {
                Ok(done) if done == Done::default() => {}
                Ok(done) => tracing::info!(
                    lane = name,
                    seeds = done.retained.seeds,
                    segments = done.retained.segments,
                    documents = done.documents,
                    dropped_to = done.dropped.map(|s| s.0),
                    "what was past its time has gone"
                ),
                Err(error) => tracing::error!(lane = name, %error, "retention did not finish"),
            }
        }
    }
}

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Done {
    retained: Retained,
    documents: usize,
    dropped: Option<Seq>,
}

async fn run(operator: &Arc<Operator>, house: &House) -> Result<Done, ActError> {
    let now = operator.clock.now();
    let seed_ms = u64::from(operator.config.seed_days).saturating_mul(DAY_MS);
    let (before, roll) = (now.minus_ms(seed_ms), now.minus_ms(seed_ms.min(SEGMENT_MS)));
    let (books, keys) = (house.books.clone(), Arc::clone(&operator.keys));
    let horizon = horizon(&operator.issuer.epochs());
    // What moved money stays until the bank's statement was compared with it.
    let most =
        if house.books.spec().lane == IDENTITY { operator.reconciler.compared_to()? } else { Seq(u64::MAX) };
    let terms = operator.config.terms();
    let slack = u64::from(terms.epoch_days).saturating_mul(DAY_MS);
    let work = tokio::task::spawn_blocking(move || {
        let retained = books.strip(before, roll)?;
        Ok::<_, StoreError>((retained, drop_old(&books, &keys, horizon, slack, most)?))
    });
    let (retained, dropped) = work.await.map_err(|_| StoreError::Unknown)??;
    let documents = sweep(house, before, horizon).await?;
    Ok(Done { retained, documents, dropped })
}

/// Records from before the first epoch whose coins are not ended have nothing to say any more. Without a table nothing
/// goes.
fn horizon(epochs: &Epochs) -> Timestamp {
    let open = epochs.entries().iter().filter(|entry| entry.dropped.is_none());
    open.map(|entry| entry.from).min().unwrap_or(Timestamp(0))
}

/// Drops records from before the horizon, an epoch's worth of them at a time: it reads every byte of both copies first.
fn drop_old(
    books: &Books,
    keys: &OperatorKeys,
    horizon: Timestamp,
    slack_ms: u64,
    most: Seq,
) -> Result<Option<Seq>, StoreError> {
    let first = books.opening()?.map_or(Seq(1), |o| o.seq.next());
    let oldest = books.read(first, 1)?.first().map(|r| r.core.time);
    if oldest.is_none_or(|t| t.plus_ms(slack_ms) >= horizon) {
        return Ok(None);
    }
    let end = books.seq_before(horizon)?.min(most);
    if end < first {
        return Ok(None);
    }
    let dropped = books.drop_before(end.next(), &|opening| signed(keys, opening))?;
    Ok(dropped.map(|o| o.seq))
}

/// The bytes of an opening that are signed, under a label of their own.
fn payload(opening: &Opening) -> Vec<u8> {
    cbor::encode(&("florin/v1/books/opening", Bytes(opening.to_bytes())))
}

fn signed(keys: &OperatorKeys, opening: &Opening) -> Vec<u8> {
    keys.sign(&keys.signing_kid(), &payload(opening)).unwrap_or_default()
}

/// Whether the openings of both lanes are signed by this operator. A signature of ours is made again and compared.
pub(crate) fn check_openings(lanes: &Lanes, keys: &OperatorKeys) -> Result<(), StoreError> {
    for (house, id) in [(&lanes.identity, IDENTITY), (&lanes.books, BOOKS)] {
        let Some(stored) = house.books.opening()? else { continue };
        let wrong = || StoreError::Damaged {
            file: format!("the opening of lane {}", id.0),
            why: "it is not signed by this operator",
        };
        let opening = Opening::of_state(house.books.spec().clone(), &stored.state).map_err(|_| wrong())?;
        let kid = florin_crypto::peek_kid(&stored.signed).map_err(|_| wrong())?;
        // A key that is not ours any more is no signature of ours: who retires one first has a new opening signed.
        if keys.sign(&kid, &payload(&opening)).is_none_or(|again| again != stored.signed) {
            return Err(wrong());
        }
    }
    Ok(())
}

/// Removes documents that only serve repeats and are past their time; how many.
async fn sweep(house: &House, before: Timestamp, records: Timestamp) -> Result<usize, ActError> {
    let end = house.books.seq_before(before)?;
    let mut gone: usize = 0;
    for kind in RETAINED_KINDS {
        let mut page = None;
        for _ in 0..PAGES_MAX {
            let (some, next) = house.books.older(kind, end, page, PAGE)?;
            let old: Vec<DocumentKey> = some
                .iter()
                .filter(|(_, _, v)| may_go(kind, v, before, records))
                .map(|(key, ..)| *key)
                .collect();
            gone = gone.saturating_add(remove(house, old, (before, records)).await?);
            page = next;
            if page.is_none() {
                break;
            }
        }
    }
    Ok(gone)
}

async fn remove(
    house: &House,
    keys: Vec<DocumentKey>,
    (before, records): (Timestamp, Timestamp),
) -> Result<usize, ActError> {
    if keys.is_empty() {
        return Ok(0);
    }
    let needs = Needs { documents: keys.clone(), ..Needs::default() };
    let mut count = 0;
    let done = house.act(&needs, |facts, _| {
        // Decided again on what is there now: a document may have been written since.
        let old =
            keys.iter().filter(|k| facts.document(k).is_some_and(|v| may_go(k.kind, v, before, records)));
        let mut t = Transition::new(Digest([0; 32]), facts.as_of);
        old.for_each(|key| t.remove(*key));
        count = t.documents.len();
        t.cause = digest("florin/v1/operator/sweep", &[&cbor::encode(&t.documents)]);
        (count > 0).then_some(t)
    });
    done.await?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use florin_books::{LaneId, LaneSpec, PartyId};
    use florin_crypto::{KemSecretKey, Secret, SigningKey};
    use florin_shell::house::os_entropy;
    use florin_store::{Options, OwnerId, SqliteOptions, SqliteStore, StoreKeys};

    use super::*;

    struct Ticks(AtomicU64);

    impl florin_books::Clock for Ticks {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    fn keys(n: u8) -> OperatorKeys {
        let seed = Secret::new([n; 32]);
        OperatorKeys::new(PartyId::new([n; 16]), SigningKey::from_seed(&seed), KemSecretKey::from_seed(&seed))
    }

    fn house(dir: &std::path::Path, lane: LaneId, clock: &Arc<Ticks>, new: bool) -> House {
        let files = SqliteOptions { segment_bytes: 2_000, ..SqliteOptions::default() };
        let key = StoreKeys::new(&Secret::new([7; 32]));
        let make = if new { SqliteStore::create } else { SqliteStore::open };
        let (log, reads) = make(&dir.join(lane.0.to_string()), lane, key, files).unwrap().split();
        let spec = LaneSpec { lane, registers: Vec::new() };
        let options = Options { fold_every: 4, ..Options::default() };
        let books = Books::start(log, reads, spec, OwnerId([1; 16]), clock.clone(), &options).unwrap();
        House { books, clock: clock.clone(), entropy: os_entropy() }
    }

    #[test]
    fn records_go_once_their_epochs_are_over_and_the_opening_is_signed() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Ticks(AtomicU64::new(0)));
        let open = |new| {
            let identity = house(dir.path(), IDENTITY, &clock, new);
            let claim_keys = Arc::new(crate::claim_keys::ClaimKeyFile::open(dir.path()).unwrap());
            Lanes { identity, books: house(dir.path(), BOOKS, &clock, new), claim_keys }
        };
        let lanes = open(true);
        for day in 0..100 {
            clock.0.store(day * DAY_MS, Ordering::SeqCst);
            let mut t = Transition::new(digest("test", &[&day.to_be_bytes()]), lanes.books.books.durable());
            t.write(
                DocumentKey::new(florin_books::DocumentKind(9), [u8::try_from(day).unwrap(); 16]),
                vec![1; 200],
            );
            lanes.books.books.commit(t).unwrap();
        }
        let (books, at) = (&lanes.books.books, |day: u64| Timestamp(day * DAY_MS));
        // Not for less than an epoch's worth.
        let all = Seq(u64::MAX);
        assert_eq!(drop_old(books, &keys(1), at(29), 30 * DAY_MS, all).unwrap(), None);
        assert_eq!(drop_old(books, &keys(1), at(60), 30 * DAY_MS, Seq(0)).unwrap(), None, "not compared");
        let dropped = drop_old(books, &keys(1), at(60), 30 * DAY_MS, all).unwrap().unwrap();
        assert!(dropped > Seq(40) && dropped <= Seq(60), "{dropped:?}");
        assert_eq!(drop_old(books, &keys(1), at(60), 30 * DAY_MS, all).unwrap(), None, "it was done");
        assert!(books.audit().unwrap().is_clean());
        check_openings(&lanes, &keys(1)).unwrap();
        assert!(check_openings(&lanes, &keys(2)).is_err(), "signed by somebody else");
        drop(lanes);
        let lanes = open(false);
        check_openings(&lanes, &keys(1)).unwrap();
        assert_eq!(lanes.books.books.scan(florin_books::DocumentKind(9)).unwrap().len(), 100);
        // A signature over something else is none.
        let next = lanes
            .books
            .books
            .drop_before(Seq(80), &|_| keys(1).sign(&keys(1).signing_kid(), b"another opening").unwrap());
        assert!(next.unwrap().is_some());
        assert!(check_openings(&lanes, &keys(1)).is_err());
    }
}
