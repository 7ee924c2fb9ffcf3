//! What goes with time at the operator: seeds, documents that only serve repeats, records whose epochs are over.
//! Source: books.md, "Retention".

use std::sync::Arc;
use std::time::Duration;

use florin_books::{DocumentKey, Needs, Opening, Seq, Timestamp, Transition};
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
    let horizon = now.minus_ms(epoch_life_ms(operator));
    let terms = operator.config.terms();
    let slack = u64::from(terms.epoch_days).saturating_mul(DAY_MS);
    let work = tokio::task::spawn_blocking(move || {
        let retained = books.strip(before, roll)?;
        Ok::<_, StoreError>((retained, drop_old(&books, &keys, horizon, slack)?))
    });
    let (retained, dropped) = work.await.map_err(|_| StoreError::Unknown)??;
    let documents = sweep(house, before).await?;
    Ok(Done { retained, documents, dropped })
}

/// From the issue of a coin to the end of its grace, at most.
fn epoch_life_ms(operator: &Operator) -> u64 {
    let t = operator.config.terms();
    let days =
        u64::from(t.epoch_days).saturating_add(t.spend_days.into()).saturating_add(t.grace_days.into());
    days.saturating_mul(DAY_MS)
}

/// Drops records from before the horizon, an epoch's worth of them at a time: it reads every byte of both copies first.
fn drop_old(
    books: &Books,
    keys: &OperatorKeys,
    horizon: Timestamp,
    slack_ms: u64,
) -> Result<Option<Seq>, StoreError> {
    let first = books.opening()?.map_or(Seq(1), |o| o.seq.next());
    let oldest = books.read(first, 1)?.first().map(|r| r.core.time);
    if oldest.is_none_or(|t| t.plus_ms(slack_ms) >= horizon) {
        return Ok(None);
    }
    let end = books.seq_before(horizon)?;
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
        match keys.sign(&kid, &payload(&opening)) {
            Some(again) if again == stored.signed => {}
            Some(_) => return Err(wrong()),
            None => tracing::warn!(lane = id.0, "the key that signed this lane's opening is gone"),
        }
    }
    Ok(())
}

/// Removes documents that only serve repeats and are past their time; how many.
async fn sweep(house: &House, before: Timestamp) -> Result<usize, ActError> {
    let end = house.books.seq_before(before)?;
    let mut gone: usize = 0;
    for kind in RETAINED_KINDS {
        let mut page = None;
        for _ in 0..PAGES_MAX {
            let (some, next) = house.books.older(kind, end, page, PAGE)?;
            let old: Vec<DocumentKey> =
                some.iter().filter(|(_, _, v)| may_go(kind, v, before)).map(|(key, ..)| *key).collect();
            gone = gone.saturating_add(remove(house, old, before).await?);
            page = next;
            if page.is_none() {
                break;
            }
        }
    }
    Ok(gone)
}

async fn remove(house: &House, keys: Vec<DocumentKey>, before: Timestamp) -> Result<usize, ActError> {
    if keys.is_empty() {
        return Ok(0);
    }
    let needs = Needs { documents: keys.clone(), ..Needs::default() };
    let mut count = 0;
    let done = house.act(&needs, |facts, _| {
        // Decided again on what is there now: a document may have been written since.
        let old = keys.iter().filter(|k| facts.document(k).is_some_and(|v| may_go(k.kind, v, before)));
        let mut t = Transition::new(Digest([0; 32]), facts.as_of);
        old.for_each(|key| t.remove(*key));
        count = t.documents.len();
        t.cause = digest("florin/v1/operator/sweep", &[&cbor::encode(&t.documents)]);
        (count > 0).then_some(t)
    });
    done.await?;
    Ok(count)
}
