//! The epochs of a running operator: rotated and revoked by order, archived and dropped when they are over; what the calendar
//! does by itself is in [`crate::calendar`]. The table is a document of the books lane; what the issuer reads is swapped after
//! each commit, and the key list is signed anew. Source: VarietyCash §2.4 (the tag key), §2.6; ADR 0028.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use florin_books::{
    Account, Circulation, Epoch, Lane, LiveSets, Needs, OnceKey, RegisterId, RegisterSpec, Rejected, Seq,
    Timestamp, Transition,
};
use florin_coin::issuer::ModuleError;
use florin_coin::{Archived, Dropped, EpochError, EpochState, Epochs};
use florin_crypto::{Bytes, Digest, digest};
use florin_money::Amount;
use florin_parties::network_id;
use florin_rail::Refusal;
use florin_shell::house::ActError;
use florin_store::CommitError;
use serde::{Deserialize, Serialize};

use crate::archive::{ArchiveError, Archives, EpochArchive};
use crate::keys::KeysError;
use crate::operator::Operator;

/// Coins that were given in before an epoch was closed can still move while it is dropped, so often at the most.
const TRIES_MAX: usize = 8;

/// Why the epochs were not changed.
#[derive(Debug, thiserror::Error)]
pub enum EpochsError {
    /// The table does not allow it.
    #[error(transparent)]
    Table(#[from] EpochError),
    /// The books.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The key list could not be signed anew.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The table in the books cannot be read.
    #[error("the table of epochs is damaged")]
    Damaged,
    /// The key module: without a tag key no epoch begins, and none is archived.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The module made no tags for the archive.
    #[error("the live coins cannot be written down: {}", .0.detail.as_deref().unwrap_or(.0.slug))]
    Witnesses(Refusal),
    /// The live coins did not hold still.
    #[error("the coins of the epoch did not hold still")]
    Moved,
}

impl From<CommitError> for EpochsError {
    fn from(error: CommitError) -> Self {
        Self::Act(ActError::Commit(error))
    }
}

/// One epoch, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpochLine {
    /// Its number.
    pub epoch: u16,
    /// How far it is.
    pub state: String,
    /// Since when its coins are issued, in milliseconds since 1970.
    pub from_unix_ms: u64,
    /// Until when they pay.
    pub expires_unix_ms: u64,
    /// Until when they are exchanged; always if none.
    pub grace_end_unix_ms: Option<u64>,
    /// How many of them are live.
    pub coins: u64,
    /// What these are worth.
    pub worth: String,
}

/// All epochs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpochsReport {
    /// Whose, as its fingerprint.
    pub operator: String,
    /// Oldest first.
    pub epochs: Vec<EpochLine>,
}

impl fmt::Display for EpochsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self
            .epochs
            .iter()
            .map(|e| format!("{:>5}  {:<9} {:>8} coins  {:>16}", e.epoch, e.state, e.coins, e.worth))
            .collect();
        write!(f, "{}", lines.join("\n"))
    }
}

/// The live coins of one epoch, seen between two records.
struct Seen {
    seq: Seq,
    chain: Digest,
    live: LiveSets,
}

impl Operator {
    /// A new epoch, and with it a new tag key, from this moment. `once` makes an order happen once.
    ///
    /// # Errors
    /// [`EpochsError`].
    pub async fn rotate_epoch(&self, once: Option<OnceKey>) -> Result<(), EpochsError> {
        let _changing = self.changing.lock().await;
        self.change_epochs(once, |epochs, now| epochs.rotate(now)).await
    }

    /// Stops the coins of an epoch from paying; their holders exchange them.
    ///
    /// # Errors
    /// [`EpochsError`].
    pub async fn revoke_epoch(&self, number: Epoch, once: Option<OnceKey>) -> Result<(), EpochsError> {
        let _changing = self.changing.lock().await;
        self.change_epochs(once, |epochs, now| epochs.revoke(number, now)).await
    }

    /// Writes the live coins of an epoch down; from then on they are not exchanged.
    ///
    /// # Errors
    /// [`EpochsError`].
    pub async fn archive_epoch(&self, number: Epoch, once: Option<OnceKey>) -> Result<(), EpochsError> {
        let _changing = self.changing.lock().await;
        self.write_down(number, once).await
    }

    /// Ends the live coins of an epoch that is archived.
    ///
    /// # Errors
    /// [`EpochsError`].
    pub async fn drop_epoch(&self, number: Epoch, once: Option<OnceKey>) -> Result<(), EpochsError> {
        let _changing = self.changing.lock().await;
        self.end_epoch(number, once).await
    }

    /// Puts in force what the books say: who committed it may have gone before that.
    ///
    /// # Errors
    /// [`EpochsError`].
    pub(crate) async fn put_in_force(&self) -> Result<(), EpochsError> {
        let _changing = self.changing.lock().await;
        self.take_up()
    }

    /// How all epochs stand.
    ///
    /// # Errors
    /// The books have stopped.
    pub fn epochs(&self) -> Result<EpochsReport, CommitError> {
        let lines = self.lanes.books.books.view(|lane| lane.live().circulation().collect::<Vec<_>>())?;
        let (epochs, now) = (self.issuer.epochs(), self.clock.now());
        let line = |entry: &florin_coin::EpochEntry| {
            let of = lines.iter().filter(|c| c.epoch == entry.number);
            let (coins, worth) = worth(of, &self.lanes.books.books.spec().registers);
            let total = worth.values().copied().fold(0, u64::saturating_add);
            EpochLine {
                epoch: entry.number.0,
                state: epochs.state(entry.number, now).map_or("unknown", EpochState::title).to_owned(),
                from_unix_ms: entry.from.0,
                expires_unix_ms: entry.expires.0,
                grace_end_unix_ms: entry.grace_end.map(|at| at.0),
                coins,
                worth: Amount::new(total, self.currency).to_string(),
            }
        };
        Ok(EpochsReport {
            operator: network_id(self.id),
            epochs: epochs.entries().iter().map(line).collect(),
        })
    }

    pub(crate) fn archives(&self) -> Archives<'_> {
        Archives { state: &self.state, operator: self.id, key: &self.archive_key }
    }

    /// Changes the table in the books, then what the issuer reads, then the key list. A new epoch's tag key is made first.
    pub(crate) async fn change_epochs(
        &self,
        once: Option<OnceKey>,
        change: impl Fn(&Epochs, Timestamp) -> Result<Epochs, EpochError>,
    ) -> Result<(), EpochsError> {
        let needs = table_needs(once);
        let mut ready: BTreeMap<Epoch, Option<[u8; 32]>> = BTreeMap::new();
        for _ in 0..TRIES_MAX {
            let (mut refused, mut wanted) = (None, None);
            self.lanes
                .books
                .act(&needs, |facts, moment| {
                    (refused, wanted) = (None, None);
                    let changed = self.table(facts).and_then(|table| {
                        let next = change(&table, moment.now)?;
                        wanted = next.begun_since(&table).find(|epoch| !ready.contains_key(epoch));
                        let new: Vec<Epoch> = next.begun_since(&table).collect();
                        let proof = |epoch: &Epoch| ready.get(epoch).copied().flatten();
                        Ok(new.iter().fold(next, |next, epoch| next.with_key(*epoch, proof(epoch))))
                    });
                    match changed {
                        Ok(_) if wanted.is_some() => None,
                        Ok(table) => Some(transition(&table, &needs, facts.as_of)),
                        Err(why) => {
                            refused = Some(why);
                            None
                        }
                    }
                })
                .await?;
            refused.map_or(Ok(()), Err)?;
            let Some(epoch) = wanted else { return self.take_up() };
            self.issuer.module().prepare(epoch)?;
            ready.insert(epoch, self.issuer.module().proof_of(epoch)?);
        }
        Err(EpochsError::Moved)
    }

    fn table(&self, facts: &florin_books::Facts) -> Result<Epochs, EpochsError> {
        let bytes = facts.document(&Epochs::KEY).ok_or(EpochsError::Damaged)?;
        Epochs::read(self.calendar, bytes).ok_or(EpochsError::Damaged)
    }

    fn table_in_books(&self) -> Result<Epochs, EpochsError> {
        self.table(&self.lanes.books.books.load(&table_needs(None)).map_err(ActError::Store)?)
    }

    /// What the books say is what the issuer reads and what is published, whoever wrote it.
    pub(crate) fn take_up(&self) -> Result<(), EpochsError> {
        let table = self.table_in_books()?;
        let published = table.published();
        if table != *self.issuer.epochs() {
            self.issuer.set_epochs(Arc::new(table));
        }
        if self.published().list.epochs != published {
            self.republish()?;
        }
        Ok(())
    }

    fn seen(&self, number: Epoch) -> Result<Seen, CommitError> {
        self.lanes.books.books.view(move |lane: &Lane| Seen {
            seq: lane.seq(),
            chain: lane.chain(),
            live: lane.live().of_epoch(number),
        })
    }

    pub(crate) async fn write_down(&self, number: Epoch, once: Option<OnceKey>) -> Result<(), EpochsError> {
        let at = self.clock.now();
        // The coins first: where a drop has ended them meanwhile, the table in the books says so too.
        let seen = self.seen(number)?;
        let table = self.table_in_books()?;
        let entry = table.entry(number).ok_or(EpochError::Unknown(number))?;
        let spec = &self.lanes.books.books.spec().registers;
        let (coins, worth) = worth(seen.live.circulation().collect::<Vec<_>>().iter(), spec);
        let total = worth.values().copied().fold(0, u64::saturating_add);
        let value = Amount::new(total, self.currency);
        // Refused before anything is written.
        table.archive(number, Archived { digest: Digest([0; 32]), coins, value, at })?;
        // The file that the table names is replaced only by one that says something else.
        if let Some(archived) = entry.archived.filter(|a| self.says(number, a, &seen.live)) {
            return self.change_epochs(once, |epochs, _| epochs.archive(number, archived)).await;
        }
        let witnesses = match entry.key {
            Some(_) => Some(self.witnesses(seen.live.clone()).await?),
            None => None,
        };
        let archive = EpochArchive {
            operator: self.id,
            entry,
            seq: seen.seq,
            chain: seen.chain,
            at,
            coins,
            value,
            live: seen.live,
            witnesses,
        };
        let digest = self.archives().write(&archive)?;
        self.change_epochs(once, |epochs, _| epochs.archive(number, Archived { digest, coins, value, at }))
            .await
    }

    /// Whether the file that the table names is there and has these coins.
    fn says(&self, number: Epoch, archived: &Archived, live: &LiveSets) -> bool {
        self.archives().read(number, &archived.digest).is_ok_and(|archive| archive.live == *live)
    }

    /// Away from requests: there may be many, and a token takes its time for each.
    async fn witnesses(&self, live: LiveSets) -> Result<Bytes, EpochsError> {
        let issuer = Arc::clone(&self.issuer);
        let made = tokio::task::spawn_blocking(move || issuer.witnesses(&live)).await;
        let made = made.map_err(|_| EpochsError::Moved)?.map_err(EpochsError::Witnesses)?;
        Ok(Bytes(made.to_bytes()))
    }

    pub(crate) async fn end_epoch(&self, number: Epoch, once: Option<OnceKey>) -> Result<(), EpochsError> {
        let to = self.config.unclaimed.account();
        for _ in 0..TRIES_MAX {
            let seen = self.seen(number)?;
            let table = self.table_in_books()?;
            table.drop_epoch(number, Dropped { at: self.clock.now(), to })?;
            let archived =
                table.entry(number).and_then(|e| e.archived).ok_or(EpochError::NotArchived(number))?;
            // What moved since it was written down, and a file that a crash has left half-way, are written again.
            if !self.says(number, &archived, &seen.live) {
                self.write_down(number, None).await?;
                continue;
            }
            match self.commit_drop(number, to, &seen.live, once).await {
                Err(EpochsError::Act(ActError::Commit(CommitError::Rejected(
                    Rejected::NotConserved { .. } | Rejected::Balance { .. },
                )))) => {}
                done => {
                    done?;
                    return self.take_up();
                }
            }
        }
        Err(EpochsError::Moved)
    }

    async fn commit_drop(
        &self,
        number: Epoch,
        to: Account,
        live: &LiveSets,
        once: Option<OnceKey>,
    ) -> Result<(), EpochsError> {
        let needs = table_needs(once);
        let spec = &self.lanes.books.books.spec().registers;
        let (_, worth) = worth(live.circulation().collect::<Vec<_>>().iter(), spec);
        let mut refused = None;
        self.lanes
            .books
            .act(&needs, |facts, moment| {
                refused = None;
                let dropped = Dropped { at: moment.now, to };
                let changed = self.table(facts).and_then(|table| Ok(table.drop_epoch(number, dropped)?));
                match changed {
                    Ok(table) => {
                        let mut t = transition(&table, &needs, facts.as_of);
                        t.drops.push(number);
                        for (register, minor) in &worth {
                            t.post(Account::Register(*register), to, Amount::new(*minor, self.currency));
                        }
                        Some(t)
                    }
                    Err(why) => {
                        refused = Some(why);
                        None
                    }
                }
            })
            .await?;
        refused.map_or(Ok(()), Err)
    }
}

fn table_needs(once: Option<OnceKey>) -> Needs {
    Needs { documents: vec![Epochs::KEY], once: once.into_iter().collect(), ..Needs::default() }
}

fn transition(table: &Epochs, needs: &Needs, as_of: Seq) -> Transition {
    let bytes = table.to_bytes();
    let mut t = Transition::new(digest("florin/v1/operator/epochs", &[&bytes]), as_of);
    t.once.clone_from(&needs.once);
    t.write(Epochs::KEY, bytes);
    t
}

/// How many, and what they are worth by register.
fn worth<'a>(
    lines: impl Iterator<Item = &'a Circulation>,
    registers: &[RegisterSpec],
) -> (u64, BTreeMap<RegisterId, u64>) {
    let (mut coins, mut worth) = (0u64, BTreeMap::new());
    for line in lines.filter(|c| c.live > 0) {
        let register = registers.iter().find(|r| r.id == line.denomination.register());
        let value = register.and_then(|r| r.denominations.value(line.denomination.index())).unwrap_or(0);
        coins = coins.saturating_add(line.live);
        let sum: &mut u64 = worth.entry(line.denomination.register()).or_default();
        *sum = sum.saturating_add(value.saturating_mul(line.live));
    }
    (coins, worth)
}
