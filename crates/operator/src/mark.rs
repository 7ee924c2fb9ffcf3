//! The high-water mark: how far both lanes had come, kept apart from the state, so that an old copy of the state is found
//! out. Source: the issue, "a stale restore that is noticed"; books.md, "Retention".

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use florin_books::{LaneId, Seq};
use florin_crypto::Digest;
use florin_http::Stop;
use florin_parties::network_id;
use florin_shell::home::{HomeError, create_private, write_private};
use florin_store::CommitError;
use serde::{Deserialize, Serialize};

use crate::keys::VaultPlaces;
use crate::lanes::{BOOKS, IDENTITY, Lanes};
use crate::operator::Operator;

/// It lags behind by this, at most, while the operator serves.
const EVERY: Duration = Duration::from_secs(1);

/// How far a lane had come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LaneMark {
    /// Which lane.
    pub lane: u16,
    /// Its last record: one that ends a batch.
    pub seq: u64,
    /// The chain there, hexadecimal.
    pub chain: String,
    /// Lane time there.
    pub time_unix_ms: u64,
}

/// How far both lanes had come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Whose.
    pub operator: String,
    /// The lanes.
    pub lanes: Vec<LaneMark>,
}

/// Why the mark cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// It is there, and it is none.
    #[error("{0} is not a high-water mark of this operator")]
    NotOne(PathBuf),
    /// The system refused.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// It cannot be written.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The books have stopped.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Mark {
    /// What a lane's mark says.
    pub(crate) fn of(&self, lane: LaneId) -> Option<(Seq, Digest, &LaneMark)> {
        let mark = self.lanes.iter().find(|m| m.lane == lane.0)?;
        let chain = HEXLOWER.decode(mark.chain.as_bytes()).ok()?;
        Some((Seq(mark.seq), Digest(chain.try_into().ok()?), mark))
    }
}

/// Reads the mark; none where none was ever written.
pub(crate) fn read(places: &VaultPlaces, operator: &str) -> Result<Option<Mark>, MarkError> {
    let file = places.mark();
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(MarkError::Io(file, e)),
    };
    let mark: Option<Mark> = serde_json::from_str(&text).ok();
    let mark =
        mark.filter(|m| m.operator == operator && [IDENTITY, BOOKS].iter().all(|lane| m.of(*lane).is_some()));
    mark.map(Some).ok_or(MarkError::NotOne(file))
}

/// How far the lanes have come now.
pub(crate) fn now(lanes: &Lanes, operator: &str) -> Result<Mark, CommitError> {
    let mut mark = Mark { operator: operator.to_owned(), lanes: Vec::new() };
    for (house, id) in [(&lanes.identity, IDENTITY), (&lanes.books, BOOKS)] {
        let (seq, chain, time) = house.books.view(|lane| (lane.seq(), lane.chain(), lane.time()))?;
        let chain = HEXLOWER.encode(chain.as_bytes());
        mark.lanes.push(LaneMark { lane: id.0, seq: seq.0, chain, time_unix_ms: time.0 });
    }
    Ok(mark)
}

/// Puts a mark down, durable.
pub(crate) fn put(places: &VaultPlaces, mark: &Mark) -> Result<(), MarkError> {
    let file = places.mark();
    let text = serde_json::to_vec_pretty(mark).map_err(|_| MarkError::NotOne(file.clone()))?;
    if let Some(dir) = file.parent() {
        create_private(dir)?;
    }
    Ok(write_private(&file, &text)?)
}

/// Moves the mark on to where the lanes stand; it never goes back.
pub(crate) fn write(operator: &Operator) {
    if let Err(error) = move_on(operator, &mut None) {
        tracing::warn!(%error, "the high-water mark is not written: an old copy of the books would go unnoticed");
    }
}

fn move_on(operator: &Operator, last: &mut Option<Mark>) -> Result<(), MarkError> {
    let name = network_id(operator.id);
    let mark = now(&operator.lanes, &name)?;
    if last.as_ref() == Some(&mark) {
        return Ok(());
    }
    let before = match last.take() {
        Some(before) => Some(before),
        None => read(&operator.places, &name)?,
    };
    let back = before.is_some_and(|old| {
        old.lanes.iter().any(|o| mark.lanes.iter().any(|n| n.lane == o.lane && n.seq < o.seq))
    });
    if back {
        return Err(MarkError::NotOne(operator.places.mark()));
    }
    put(&operator.places, &mark)?;
    *last = Some(mark);
    Ok(())
}

/// Keeps the mark while the operator serves.
pub(crate) async fn keep(operator: Arc<Operator>, stop: Stop) {
    let (mut last, mut told) = (None, false);
    while !stop.is_triggered() && operator.is_ready() {
        let (working, mut at) = (Arc::clone(&operator), last.take());
        let moved = tokio::task::spawn_blocking(move || {
            let moved = move_on(&working, &mut at);
            (moved, at)
        });
        let Ok((moved, at)) = moved.await else { return };
        last = at;
        if let Err(error) = &moved
            && !std::mem::replace(&mut told, true)
        {
            tracing::error!(%error, "the high-water mark is not written: an old copy of the books would go unnoticed");
        }
        tokio::select! {
            () = stop.stopped() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
