//! Files: a store with its two copies, the second copy alone, a backup, and keys at rest. Whatever was done to them, they are
//! refused, or they are what they were. Source: docs/books.md, "What a start does"; reliability.md, R7.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use florin_books::{Clock, Lane, Seq, Timestamp};
use florin_crypto::SeededEntropy;
use florin_operator::claim_keys::ClaimKeyFile;
use florin_shell::vault::VAULT_FILE;
use florin_shell::{Passphrase, Vault};
use florin_store::{Books, Copied, Options, OwnerId, SqliteOptions, SqliteStore, StoreError, StoreKeys};

use crate::crypto::secret;
use crate::edit::edited;
use crate::journal::{LANE, change, spec};
use crate::say::{choice, fine, some};

/// So many records there are, folded and not.
const RECORDS: u64 = 40;
const DB: &str = "books.db";
const WAL: &str = "books.db-wal";
const SECOND: &str = "second-000001.log";

struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// A folder that needs no disk where there is one.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    fine(if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }, "a folder")
}

fn keys() -> StoreKeys {
    StoreKeys::new(&secret("store"))
}

fn options() -> SqliteOptions {
    SqliteOptions { lock_wait: Duration::from_millis(500), ..SqliteOptions::default() }
}

fn start(store: SqliteStore) -> Result<Books, StoreError> {
    let (log, reads) = store.split();
    let options = Options { fold_every: 8, fold_idle: Duration::from_secs(3600), ..Options::default() };
    let clock = Arc::new(Ticks(AtomicU64::new(1_000_000)));
    Books::start(log, reads, spec(), OwnerId([1; 16]), clock, &options)
}

fn copy(from: &Path, to: &Path) {
    fine(std::fs::create_dir_all(to), "a folder");
    for entry in fine(std::fs::read_dir(from), "a folder") {
        let path = fine(entry, "an entry").path();
        let name = some(path.file_name().map(ToOwned::to_owned), "a name");
        fine(std::fs::copy(&path, to.join(name)), "a copy");
    }
}

/// A store as a crash leaves it, its backup, and the lane after each record.
struct Sample {
    _root: tempfile::TempDir,
    live: PathBuf,
    backup: PathBuf,
    copied: Copied,
    states: Vec<Vec<u8>>,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let root = folder();
    let (first, live) = (root.path().join("first"), root.path().join("live"));
    let mut states = vec![Lane::new(spec()).checkpoint()];
    let mut fill = |books: &Books, to: u64| {
        while books.durable().0 < to {
            let n = books.durable().0;
            fine(books.commit(change(n, books.durable())), "a change");
            states.push(fine(books.view(Lane::checkpoint), "the lane"));
        }
    };
    let books = fine(start(fine(SqliteStore::create(&first, LANE, keys(), options()), "a store")), "books");
    fill(&books, 25);
    fine(books.stop(), "an end");
    let books = fine(start(fine(SqliteStore::open(&first, LANE, keys(), options()), "a store")), "books");
    fill(&books, RECORDS);
    copy(&first, &live);
    let backup = root.path().join("backup");
    let copied = fine(books.backup(&backup), "a backup");
    Sample { _root: root, live, backup, copied, states }
});

fn edit(file: &Path, script: &[u8]) {
    let Ok(bytes) = std::fs::read(file) else { return };
    fine(std::fs::write(file, edited(&bytes, script)), "a file");
}

/// Opens what lies there. Books that come up stand as they stood after some record; after which, is returned.
fn opened(dir: &Path, states: &[Vec<u8>]) -> Result<Seq, StoreError> {
    let books = match SqliteStore::open(dir, LANE, keys(), options()).and_then(start) {
        Ok(books) => books,
        Err(error) => {
            match &error {
                StoreError::Damaged { file, .. } | StoreError::Foreign { file, .. } => {
                    assert!(Path::new(file).starts_with(dir), "{file} is named, which is not there");
                }
                other => assert_eq!(other.to_string(), "", "neither recovered nor refused"),
            }
            return Err(error);
        }
    };
    let last = books.durable();
    let state = fine(books.view(Lane::checkpoint), "the lane");
    let expected = usize::try_from(last.0).ok().and_then(|n| states.get(n));
    assert!(expected == Some(&state), "the books are not what they were after record {}", last.0);
    let report = fine(books.audit(), "an audit");
    assert!(report.is_clean() && report.records == last.0, "{:?}", report.findings);
    fine(books.commit(change(100_000, last)), "books that came up take no change");
    fine(books.stop(), "an end");
    Ok(last)
}

/// One file or two of a store, changed: with one whole copy nothing is lost, with none the books are refused or are those
/// from before.
pub(crate) fn store(data: &[u8]) {
    let sample = &*SAMPLE;
    let (what, script) = choice(data);
    let root = folder();
    let dir = root.path().join("books");
    copy(&sample.live, &dir);
    let files: &[&str] = match what % 6 {
        0 => &[DB],
        1 | 2 => &[WAL],
        3 => &[SECOND],
        4 => &[WAL, SECOND],
        _ => &[DB, SECOND],
    };
    let (one, other) = script.split_at(script.len().div_ceil(files.len()));
    for (file, script) in files.iter().zip([one, other]) {
        edit(&dir.join(file), script);
    }
    let size = |dir: &Path| std::fs::metadata(dir.join(SECOND)).map_or(0, |file| file.len());
    let grown = size(&dir) > size(&sample.live);
    let came = opened(&dir, &sample.states);
    if let (Ok(seq), 1) = (&came, files.len()) {
        assert_eq!(*seq, Seq(RECORDS), "records were lost, and one copy was whole");
    }
    // Who the SQLite file belongs to is said in one place of it; all else is mended from the other copy. A damaged second
    // copy that is longer than it should be may have held more than the SQLite file: that is refused.
    let mended = came.is_ok() || what % 6 != 3 || grown;
    assert!(mended, "a damaged second copy is not mended: {:?}", came.err());
}

/// The second copy alone: the SQLite file is gone.
pub(crate) fn second_copy(data: &[u8]) {
    let sample = &*SAMPLE;
    let root = folder();
    let dir = root.path().join("books");
    copy(&sample.live, &dir);
    for gone in [DB, WAL, "books.db-shm"] {
        let _ = std::fs::remove_file(dir.join(gone));
    }
    let (what, script) = choice(data);
    let file = dir.join(SECOND);
    if what & 1 == 0 {
        edit(&file, script);
    } else {
        // Bytes after the last frame that never became one.
        let mut bytes = fine(std::fs::read(&file), "the second copy");
        bytes.extend_from_slice(script);
        fine(std::fs::write(&file, bytes), "the second copy");
    }
    let unchanged = std::fs::read(&file).ok() == std::fs::read(sample.live.join(SECOND)).ok();
    let came = opened(&dir, &sample.states);
    let whole = matches!(came, Ok(Seq(RECORDS)));
    assert!(!unchanged || whole, "a whole second copy does not rebuild the books");
}

/// A file of a backup, changed: the check finds it, or the books in it are what they were.
pub(crate) fn backup(data: &[u8]) {
    let sample = &*SAMPLE;
    let (what, script) = choice(data);
    let root = folder();
    let dir = root.path().join("backup");
    copy(&sample.backup, &dir);
    let mut files: Vec<PathBuf> =
        fine(std::fs::read_dir(&dir), "a folder").filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.sort();
    let place = usize::from(what).checked_rem(files.len()).unwrap_or(0);
    let file = some(files.get(place), "a file");
    let before = fine(std::fs::read(file), "a file");
    edit(file, script);
    let after = fine(std::fs::read(file), "a file");
    let checked = SqliteStore::check(&dir, LANE, &keys());
    assert_eq!(fine(std::fs::read(file), "a file"), after, "a check has changed what it checks");
    match checked {
        Ok(copied) => {
            let told = (copied.last, copied.chain) == (sample.copied.last, sample.copied.chain);
            assert!(told, "a changed backup is taken for another one");
            let came = opened(&dir, &sample.states);
            assert!(matches!(came, Ok(Seq(RECORDS))), "a backup that was checked lacks something");
        }
        Err(StoreError::Damaged { .. } | StoreError::Foreign { .. }) => {
            assert!(before != after, "a good backup is refused");
        }
        Err(error) => assert_eq!(error.to_string(), "", "neither good nor damaged"),
    }
}

struct Keys {
    _dir: tempfile::TempDir,
    vault: Vec<u8>,
    secret: [u8; 32],
}

static VAULT: LazyLock<Keys> = LazyLock::new(|| {
    let dir = folder();
    let made =
        Vault::create(dir.path(), None, &Passphrase::none(), &["one", "two"], &mut SeededEntropy::new("v"));
    let vault = fine(made, "a vault");
    let secret = *fine(vault.secret("two"), "a secret").expose();
    let bytes = fine(std::fs::read(dir.path().join(VAULT_FILE)), "a vault");
    Keys { _dir: dir, vault: bytes, secret }
});

/// A vault with edits, and the file of claim keys from nothing: other keys than were stored never come out.
pub(crate) fn vault(data: &[u8]) {
    let made = &*VAULT;
    let (what, script) = choice(data);
    let root = folder();
    if what & 1 == 1 {
        fine(
            std::fs::write(root.path().join(florin_operator::claim_keys::CLAIM_KEYS_FILE), script),
            "a file",
        );
        if let Ok(keys) = ClaimKeyFile::open(root.path()) {
            assert!(keys.free() <= script.len());
        }
        return;
    }
    let bytes = edited(&made.vault, script);
    if is_dear(&bytes) {
        return;
    }
    fine(std::fs::write(root.path().join(VAULT_FILE), &bytes), "a file");
    match Vault::open(root.path(), None, &Passphrase::none()) {
        Ok(vault) => {
            assert!(bytes == made.vault, "a changed vault opens");
            assert!(
                vault.secret("two").is_ok_and(|s| *s.expose() == made.secret),
                "another secret comes out"
            );
        }
        Err(_) => assert!(bytes != made.vault, "a good vault does not open"),
    }
}

/// Whether opening it would cost more than it did when it was made.
fn is_dear(bytes: &[u8]) -> bool {
    let costs = || {
        let mut d = minicbor::Decoder::new(bytes);
        d.array().ok()?;
        (0..4).try_for_each(|_| d.skip()).ok()?;
        let mut d = minicbor::Decoder::new(d.bytes().ok()?);
        d.array().ok()?;
        d.str().ok()?;
        d.u64().ok()?;
        Some((d.u32().ok()?, d.u32().ok()?))
    };
    costs().is_some_and(|(memory, passes)| memory > 20 * 1024 || passes > 2)
}
