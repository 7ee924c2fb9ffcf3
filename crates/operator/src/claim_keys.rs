//! `claim.keys`: the keys under which claims wait for their hand-over. Each has a sector of its own, is on the disk before
//! it is used, and is overwritten in place when its claim has gone over, so that what stays sealed in the journal, its
//! second copy and any backup of them can never be opened again. The file itself belongs in no backup.
//! Source: V10; ADR 0027.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use florin_coin::issuer::{ClaimKeys, ClaimSlot};
use florin_crypto::{Entropy, Secret, Zeroizing};
use florin_shell::entropy::OsEntropy;
use florin_shell::home::HomeError;

/// The file in the operator's state.
pub const CLAIM_KEYS_FILE: &str = "claim.keys";
/// A write that is torn spoils one key, and that one was to go.
const SECTOR: u64 = 512;
const HEAD: &[u8] = b"florin claim keys 1\n";
/// So many keys are added at a time.
const GROW: u32 = 256;
/// Fewer free ones than this, and more are added.
const LOW: usize = 128;
/// At most so many purchases wait for the bank at once; 32 MiB.
pub const SLOTS_MAX: u32 = 65_536;
/// A request that has not become a purchase after this long never will: its cookie has expired.
const REQUEST_LASTS: Duration = Duration::from_secs(15 * 60);

/// The keys of claims, in their file.
pub struct ClaimKeyFile {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    /// None until it is made ready: before, it is only read.
    file: Option<File>,
    keys: Vec<Secret<32>>,
    free: Vec<u32>,
    /// Places that claims from before this start name, whether their keys are there or lost.
    waiting: BTreeSet<u32>,
    requests: BTreeMap<[u8; 16], Taken>,
}

#[derive(Clone, Copy)]
struct Taken {
    index: u32,
    at: Instant,
}

fn place(index: u32) -> u64 {
    u64::from(index).saturating_add(1).saturating_mul(SECTOR)
}

impl ClaimKeyFile {
    /// Reads the file, if it is there. Nothing is written and no key is given out: these may be the wrong books.
    ///
    /// # Errors
    /// `Io`; a file that is something else.
    pub fn open(state: &Path) -> Result<Self, HomeError> {
        let path = state.join(CLAIM_KEYS_FILE);
        let inner = Inner::read(&path).map_err(|source| HomeError::Io { path: path.clone(), source })?;
        Ok(Self { path, inner: Mutex::new(inner) })
    }

    /// Makes it ready to give keys out, once, for books that may serve. `waiting` are the places whose claims still wait;
    /// every other key is overwritten, which also ends what a crash between hand-over and overwriting has left.
    ///
    /// # Errors
    /// `Io`.
    pub fn make_ready(&self, waiting: &BTreeSet<u32>) -> Result<(), HomeError> {
        let made = self.inner().make_ready(&self.path, waiting);
        made.map_err(|source| HomeError::Io { path: self.path.clone(), source })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds keys where few are free. To be called now and then, away from requests.
    pub fn tend(&self) {
        if let Err(error) = self.inner().grow() {
            tracing::error!(path = %self.path.display(), %error, "no more claim keys can be made");
        }
    }

    /// Places taken so long ago that their requests have become purchases or never will.
    #[must_use]
    pub fn settled(&self, now: Instant) -> Vec<u32> {
        let old = |taken: &&Taken| now.saturating_duration_since(taken.at) > REQUEST_LASTS;
        self.inner().requests.values().filter(old).map(|taken| taken.index).collect()
    }

    /// How many keys are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.inner().free.len()
    }
}

impl Inner {
    fn read(path: &Path) -> io::Result<Self> {
        let (keys, free) = (Vec::new(), Vec::new());
        let mut inner = Self { file: None, keys, free, waiting: BTreeSet::new(), requests: BTreeMap::new() };
        match File::open(path) {
            // Shorter than its head: it was being made.
            Ok(file) if file.metadata()?.len() >= SECTOR => inner.read_keys(&file)?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(inner)
    }

    fn make_ready(&mut self, path: &Path, waiting: &BTreeSet<u32>) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() < SECTOR {
            write_head(&file)?;
            if let Some(dir) = path.parent() {
                File::open(dir)?.sync_all()?;
            }
        }
        self.file = Some(file);
        self.waiting.clone_from(waiting);
        let others = (0..self.count()).filter(|index| !waiting.contains(index)).collect::<Vec<_>>();
        self.overwrite(&others)?;
        self.free = others;
        self.grow()
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the claim keys are only read"))
    }

    fn read_keys(&mut self, file: &File) -> io::Result<()> {
        let mut head = vec![0; HEAD.len()];
        file.read_exact_at(&mut head, 0)?;
        if head != HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "these are not claim keys"));
        }
        let sectors = file.metadata()?.len().checked_div(SECTOR).unwrap_or(0);
        let count = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX).min(SLOTS_MAX);
        for index in 0..count {
            let mut key = Zeroizing::new([0; 32]);
            file.read_exact_at(&mut *key, place(index))?;
            self.keys.push(Secret::new(*key));
        }
        Ok(())
    }

    fn count(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(SLOTS_MAX)
    }

    /// Fresh keys in these places, on the disk.
    fn overwrite(&mut self, indexes: &[u32]) -> io::Result<()> {
        for index in indexes {
            let fresh = Secret::random(&mut OsEntropy);
            self.file()?.write_all_at(fresh.expose(), place(*index))?;
            let at = usize::try_from(*index).ok().and_then(|at| self.keys.get_mut(at));
            if let Some(key) = at {
                *key = fresh;
            }
        }
        if indexes.is_empty() { Ok(()) } else { self.file()?.sync_data() }
    }

    /// Adds keys at the end; they are given out once they are on the disk. Not those in places that waiting claims name:
    /// where the file was lost, two claims would else share a place, and the end of one be the end of the other.
    fn grow(&mut self) -> io::Result<()> {
        while self.file.is_some() && self.free.len() < LOW && self.count() < SLOTS_MAX {
            let from = self.count();
            let to = from.saturating_add(GROW).min(SLOTS_MAX);
            let fresh: Vec<Secret<32>> = (from..to).map(|_| Secret::random(&mut OsEntropy)).collect();
            let file = self.file()?;
            // Whole sectors, so that the next start counts them.
            file.set_len(place(to))?;
            for (index, key) in (from..to).zip(&fresh) {
                file.write_all_at(key.expose(), place(index))?;
            }
            file.sync_all()?;
            self.keys.extend(fresh);
            self.free.extend((from..to).filter(|index| !self.waiting.contains(index)));
        }
        Ok(())
    }
}

fn write_head(file: &File) -> io::Result<()> {
    let mut head = HEAD.to_vec();
    head.resize(usize::try_from(SECTOR).unwrap_or(512), 0);
    file.set_len(SECTOR)?;
    file.write_all_at(&head, 0)?;
    file.sync_all()
}

impl ClaimKeys for ClaimKeyFile {
    fn take(&self, request: [u8; 16], _: &mut dyn Entropy) -> Option<ClaimSlot> {
        let mut inner = self.inner();
        let index = match inner.requests.get(&request) {
            Some(taken) => taken.index,
            None => {
                let index = inner.free.pop()?;
                inner.requests.insert(request, Taken { index, at: Instant::now() });
                index
            }
        };
        let key = inner.keys.get(usize::try_from(index).ok()?)?.duplicate();
        Some(ClaimSlot { index, key })
    }

    fn key(&self, index: u32) -> Option<Secret<32>> {
        self.inner().keys.get(usize::try_from(index).ok()?).map(Secret::duplicate)
    }

    fn forget(&self, indexes: &[u32]) -> bool {
        let mut inner = self.inner();
        if let Err(error) = inner.overwrite(indexes) {
            tracing::error!(path = %self.path.display(), %error, "a claim key is not overwritten");
            return false;
        }
        inner.requests.retain(|_, taken| !indexes.contains(&taken.index));
        let count = inner.count();
        let back: Vec<u32> =
            indexes.iter().copied().filter(|i| *i < count && !inner.free.contains(i)).collect();
        inner.free.extend(back);
        true
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
mod tests {
    use super::*;

    fn open(dir: &Path, waiting: &[u32]) -> ClaimKeyFile {
        let keys = ClaimKeyFile::open(dir).unwrap();
        keys.make_ready(&waiting.iter().copied().collect()).unwrap();
        keys
    }

    fn bytes(dir: &Path) -> Vec<u8> {
        std::fs::read(dir.join(CLAIM_KEYS_FILE)).unwrap()
    }

    fn holds(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|w| w == needle)
    }

    #[test]
    fn a_key_is_on_the_disk_before_it_is_used_and_gone_after() {
        let dir = tempfile::tempdir().unwrap();
        let keys = open(dir.path(), &[]);
        let slot = keys.take([1; 16], &mut OsEntropy).unwrap();
        assert!(holds(&bytes(dir.path()), slot.key.expose()));
        let again = keys.take([1; 16], &mut OsEntropy).unwrap();
        assert!(again.index == slot.index && again.key.ct_eq(&slot.key), "one request, one key");
        assert_ne!(keys.take([2; 16], &mut OsEntropy).unwrap().index, slot.index);
        let free = keys.free();
        assert!(keys.forget(&[slot.index]));
        assert!(!holds(&bytes(dir.path()), slot.key.expose()));
        assert!(!keys.key(slot.index).unwrap().ct_eq(&slot.key));
        assert_eq!(keys.free(), free + 1);
        assert!(keys.forget(&[slot.index]), "twice is harmless");
        assert_eq!(keys.free(), free + 1);
    }

    #[test]
    fn a_start_keeps_what_waits_and_overwrites_everything_else() {
        let dir = tempfile::tempdir().unwrap();
        let keys = open(dir.path(), &[]);
        let [waits, done] = [1, 2].map(|n| keys.take([n; 16], &mut OsEntropy).unwrap());
        drop(keys);
        let keys = open(dir.path(), &[waits.index]);
        assert!(keys.key(waits.index).unwrap().ct_eq(&waits.key));
        assert!(!holds(&bytes(dir.path()), done.key.expose()), "what a crash has left is overwritten");
        for n in 0..u8::try_from(keys.free()).unwrap_or(u8::MAX) {
            assert_ne!(
                keys.take([n, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], &mut OsEntropy).unwrap().index,
                waits.index
            );
        }
    }

    #[test]
    fn opening_alone_writes_nothing_and_gives_no_key_out() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ClaimKeyFile::open(dir.path()).unwrap().take([1; 16], &mut OsEntropy).is_none());
        assert!(!dir.path().join(CLAIM_KEYS_FILE).exists());
        let slot = open(dir.path(), &[]).take([1; 16], &mut OsEntropy).unwrap();
        let before = bytes(dir.path());
        let keys = ClaimKeyFile::open(dir.path()).unwrap();
        keys.tend();
        assert!(keys.take([2; 16], &mut OsEntropy).is_none() && !keys.forget(&[slot.index]));
        assert!(keys.key(slot.index).unwrap().ct_eq(&slot.key), "what waits can be read");
        assert!(bytes(dir.path()) == before);
        keys.make_ready(&BTreeSet::from([slot.index])).unwrap();
        let taken = keys.take([2; 16], &mut OsEntropy).unwrap();
        keys.make_ready(&BTreeSet::new()).unwrap();
        assert!(keys.key(taken.index).unwrap().ct_eq(&taken.key), "once: what is in use stays");
    }

    #[test]
    fn a_pool_made_anew_gives_out_no_place_that_a_waiting_claim_names() {
        let dir = tempfile::tempdir().unwrap();
        let waiting: Vec<u32> = (100..300).collect();
        let keys = open(dir.path(), &waiting);
        let taken = (0..u32::try_from(keys.free()).unwrap()).map(|n| {
            let request = std::array::from_fn(|i| n.to_be_bytes()[i % 4]);
            keys.take(request, &mut OsEntropy).unwrap().index
        });
        let taken: BTreeSet<u32> = taken.collect();
        assert!(taken.len() >= LOW && waiting.iter().all(|index| !taken.contains(index)));
    }

    #[test]
    fn the_pool_grows_and_says_when_it_is_exhausted() {
        let dir = tempfile::tempdir().unwrap();
        let keys = open(dir.path(), &[]);
        let request = |n: u32| -> [u8; 16] { std::array::from_fn(|i| n.to_be_bytes()[i % 4]) };
        let all = keys.free();
        for n in 0..u32::try_from(all).unwrap() {
            keys.take(request(n), &mut OsEntropy).unwrap();
        }
        assert!(keys.take(request(99_999), &mut OsEntropy).is_none(), "exhausted");
        keys.tend();
        assert!(keys.take(request(99_999), &mut OsEntropy).is_some());
        drop(keys);
        let torn = std::fs::OpenOptions::new().write(true).open(dir.path().join(CLAIM_KEYS_FILE)).unwrap();
        torn.set_len(torn.metadata().unwrap().len() - 100).unwrap();
        let keys = open(dir.path(), &[]);
        assert!(keys.free() >= LOW, "a torn end is written again");
        std::fs::write(dir.path().join(CLAIM_KEYS_FILE), vec![7; 2048]).unwrap();
        assert!(ClaimKeyFile::open(dir.path()).is_err());
    }

    #[test]
    fn a_request_that_never_became_a_purchase_gives_its_key_back() {
        let dir = tempfile::tempdir().unwrap();
        let keys = open(dir.path(), &[]);
        let slot = keys.take([1; 16], &mut OsEntropy).unwrap();
        assert!(keys.settled(Instant::now()).is_empty());
        let later = Instant::now() + REQUEST_LASTS + Duration::from_secs(1);
        assert_eq!(keys.settled(later), vec![slot.index]);
    }
}
