//! A flood: connections from many addresses, each of which sends garbage after garbage and reads what is said to it.
//! Source: reliability.md, R13 ("2,000 garbage requests a second").

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::make::{Real, Sort, any};
use crate::crowd::connect;
use crate::dice::Dice;
use crate::proxy::wire::Reader;

/// Connections at once to each server.
const CONNECTIONS: usize = 24;
/// An answer that takes longer does not come.
const ANSWERED_IN: Duration = Duration::from_secs(20);

/// What is poured, and where.
pub struct Flood {
    /// Operator and gate.
    pub servers: [SocketAddr; 2],
    /// What is spoilt.
    pub real: Vec<Real>,
    /// The gate's offer.
    pub offer: String,
    /// The seed of it all.
    pub seed: u64,
    /// So much a second; as much as goes where nothing stands.
    pub per_second: Option<u32>,
}

/// What was said to it.
#[derive(Default)]
pub struct Told {
    /// How often: by server, sort and status; 0 where the connection ended without an answer.
    pub statuses: BTreeMap<(&'static str, Sort, u16), u64>,
    /// How long answers took.
    pub took: Vec<Duration>,
    /// What must not be.
    pub failed: Vec<String>,
}

impl Told {
    /// How much garbage there was.
    pub fn count(&self) -> u64 {
        self.statuses.values().fold(0, |all, times| all.saturating_add(*times))
    }

    fn add(&mut self, other: Self) {
        for (what, times) in other.statuses {
            let count = self.statuses.entry(what).or_insert(0);
            *count = count.saturating_add(times);
        }
        self.took.extend(other.took);
        self.failed.extend(other.failed);
    }
}

impl Flood {
    /// Pours so many pieces, for so long at most; `part` gives each flood of a run chances of its own.
    pub async fn pour(self: &Arc<Self>, pieces: u64, at_most: Duration, part: u64) -> Told {
        let left = Arc::new(AtomicU64::new(pieces));
        let begun = Instant::now();
        let mut pouring = JoinSet::new();
        for number in 0..CONNECTIONS {
            for (place, name) in ["operator", "gate"].into_iter().enumerate() {
                let (flood, left) = (Arc::clone(self), Arc::clone(&left));
                let number = number.saturating_mul(2).saturating_add(place);
                let until = begun.checked_add(at_most);
                pouring.spawn(async move { flood.one(number, part, name, &left, until).await });
            }
        }
        let mut told = Told::default();
        while let Some(one) = pouring.join_next().await {
            match one {
                Ok(one) => told.add(one),
                Err(error) => told.failed.push(format!("the flood: {error}")),
            }
        }
        told
    }

    /// One connection after the other: whatever ends one, another follows.
    async fn one(
        &self,
        number: usize,
        part: u64,
        server: &'static str,
        left: &AtomicU64,
        until: Option<Instant>,
    ) -> Told {
        let [operator, gate] = self.servers;
        let to = if server == "gate" { gate } else { operator };
        let many = u32::try_from(CONNECTIONS.saturating_mul(2)).unwrap_or(1);
        let pace =
            self.per_second.and_then(|rate| Duration::from_secs(1).saturating_mul(many).checked_div(rate));
        let seed = self.seed.wrapping_mul(31).wrapping_add(part);
        let mut dice = Dice::new(seed, u64::try_from(number).unwrap_or(0));
        let mut told = Told::default();
        let mut stream: Option<TcpStream> = None;
        while until.is_none_or(|until| Instant::now() < until) && take(left) {
            let garbage = any(&mut dice, &self.real, &self.offer);
            let begun = Instant::now();
            let asked = match stream.take() {
                Some(stream) => Ok(stream),
                None => connect(number.saturating_mul(200), to).await,
            };
            let status = match asked {
                Ok(mut asked) => match ask(&mut asked, &garbage.bytes, garbage.method).await {
                    Some((status, goes_on)) => {
                        stream = goes_on.then_some(asked);
                        status
                    }
                    None => {
                        told.failed.push(format!(
                            "{:?} at the {server}: no end after {ANSWERED_IN:?}",
                            garbage.sort
                        ));
                        0
                    }
                },
                Err(error) => {
                    told.failed.push(format!("the {server} cannot be reached: {error}"));
                    0
                }
            };
            told.took.push(begun.elapsed());
            let count = told.statuses.entry((server, garbage.sort, status)).or_insert(0);
            *count = count.saturating_add(1);
            if let Some(pace) = pace {
                sleep(pace.saturating_sub(begun.elapsed())).await;
            }
        }
        told
    }
}

fn take(left: &AtomicU64) -> bool {
    left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Status, 0 where the connection ended, and whether it goes on; none where neither came.
async fn ask(stream: &mut TcpStream, bytes: &[u8], method: &str) -> Option<(u16, bool)> {
    let (read, mut write) = stream.split();
    let mut reader = Reader::new(read);
    let asking = async {
        // What is no HTTP may never end: whoever is done says so.
        let sent = write.write_all(bytes).await.is_ok();
        if !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            let _ = write.shutdown().await;
        }
        sent
    };
    let (sent, answer) =
        timeout(ANSWERED_IN, async { tokio::join!(asking, reader.answer(method)) }).await.ok()?;
    Some(match answer {
        Ok(Some(answer)) => (answer.status().unwrap_or(0), sent && !answer.last),
        Ok(None) | Err(_) => (0, false),
    })
}
