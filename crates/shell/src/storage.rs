//! A program's books on disk: making them, opening them. Source: books.md, "Lanes and stores".

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use florin_books::{Clock, LaneSpec};
use florin_crypto::{Secret, random};
use florin_store::{Books, Options, OwnerId, SqliteOptions, SqliteStore, StoreError, StoreKeys};

use crate::entropy::OsEntropy;

/// How books are kept and written.
#[derive(Clone, Debug, Default)]
pub struct StorageOptions {
    /// The files.
    pub files: SqliteOptions,
    /// The writer.
    pub writer: Options,
}

/// Makes empty books in `dir`, sealed under `store_key`, and starts them.
///
/// # Errors
/// `Foreign` where there are books already, `Busy`, `Fatal`.
pub fn create_books(
    dir: &Path,
    spec: LaneSpec,
    store_key: &Secret<32>,
    clock: Arc<dyn Clock>,
    options: &StorageOptions,
) -> Result<Books, StoreError> {
    let store = SqliteStore::create(dir, spec.lane, StoreKeys::new(store_key), options.files.clone())?;
    start(store, spec, clock, options)
}

/// Opens the books in `dir`, mends the weaker of the two copies, and starts them.
///
/// # Errors
/// `Busy` (waits as long as the options say), `Foreign` (another program, format, lane or key), `Damaged`, `Fatal`.
pub fn open_books(
    dir: &Path,
    spec: LaneSpec,
    store_key: &Secret<32>,
    clock: Arc<dyn Clock>,
    options: &StorageOptions,
) -> Result<Books, StoreError> {
    let before = set_aside(dir);
    let store = SqliteStore::open(dir, spec.lane, StoreKeys::new(store_key), options.files.clone())?;
    for file in set_aside(dir).difference(&before) {
        // Nothing is lost, but a disk that damages one file may damage the other.
        tracing::warn!(file = %file.display(), "a damaged copy of the books was mended from the other: look at the disk");
    }
    start(store, spec, clock, options)
}

/// What earlier repairs have set aside.
fn set_aside(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "damaged")).collect()
}

fn start(
    store: SqliteStore,
    spec: LaneSpec,
    clock: Arc<dyn Clock>,
    options: &StorageOptions,
) -> Result<Books, StoreError> {
    let (log, reads) = store.split();
    let me = OwnerId(random(&mut OsEntropy));
    Books::start(log, reads, spec, me, clock, &options.writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::exit::ExitCode;
    use florin_books::{DocumentKey, DocumentKind, LaneId, Needs, Seq, Transition};
    use std::time::Duration;

    type Made = Result<Books, StoreError>;

    fn with(open: bool, dir: &Path, key: u8) -> Made {
        let spec = LaneSpec { lane: LaneId(1), registers: Vec::new() };
        let files = SqliteOptions { lock_wait: Duration::ZERO, ..SqliteOptions::default() };
        let options = StorageOptions { files, ..StorageOptions::default() };
        let (key, clock) = (Secret::new([key; 32]), Arc::new(SystemClock));
        if open {
            open_books(dir, spec, &key, clock, &options)
        } else {
            create_books(dir, spec, &key, clock, &options)
        }
    }

    fn code(made: Made) -> ExitCode {
        ExitCode::of_store(&made.err().unwrap())
    }

    #[test]
    fn what_was_committed_is_there_again_and_only_under_its_key() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("books");
        assert_eq!(code(with(true, &dir, 1)), ExitCode::BadData);
        let books = with(false, &dir, 1).unwrap();
        let key = DocumentKey::new(DocumentKind(7), [1; 16]);
        let mut t = Transition::new(florin_crypto::digest("test", &[b"storage"]), Seq(0));
        t.write(key, b"kept".to_vec());
        books.commit(t).unwrap();
        assert_eq!(code(with(true, &dir, 1)), ExitCode::Busy);
        books.stop().unwrap();

        assert_eq!(code(with(false, &dir, 1)), ExitCode::BadData);
        assert_eq!(code(with(true, &dir, 2)), ExitCode::BadData);
        let books = with(true, &dir, 1).unwrap();
        let facts = books.load(&Needs { documents: vec![key], ..Needs::default() }).unwrap();
        assert_eq!(facts.documents.get(&key).map(|d| d.value.to_vec()), Some(b"kept".to_vec()));
        assert!(!books.is_failed());
    }
}
