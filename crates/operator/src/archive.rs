//! What is written down of an epoch that is over before its live coins are ended: which numbers were live, and what they
//! were worth. A sealed file in the state, named by its digest in the table of epochs; a late holder is paid by it.
//! Source: books.md, "Retention"; ADR 0028.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use florin_books::{Epoch, LiveSets, PartyId, Seq, Timestamp};
use florin_coin::EpochEntry;
use florin_crypto::aead::RestKey;
use florin_crypto::{ByteArray, Bytes, Digest, Secret, cbor, digest, random};
use florin_money::Amount;
use florin_shell::entropy::OsEntropy;
use florin_shell::home::{HomeError, create_private, write_private};
use minicbor::{Decode, Encode};

/// The folder in the state.
pub const ARCHIVE_DIR: &str = "archive";
const PREFIX: &str = "epoch-";
const MAGIC: &str = "florin-epoch-archive";
const VERSION: u32 = 1;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The folder or the file cannot be written.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not the file that the table of epochs names, or it does not open.
    #[error("{path} is not what was archived")]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

/// The live coins of an epoch at a place of the journal.
///
/// Shape: `[operator, entry, seq, chain, at, coins, value, live sets, witnesses]`; without witnesses, its coins' tag key is kept.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct EpochArchive {
    /// Whose.
    #[n(0)]
    pub operator: PartyId,
    /// The epoch as it stood in the table.
    #[n(1)]
    pub entry: EpochEntry,
    /// The last record that is in it.
    #[n(2)]
    pub seq: Seq,
    /// The chain of the books there.
    #[n(3)]
    pub chain: Digest,
    /// When it was made.
    #[n(4)]
    pub at: Timestamp,
    /// How many coins were live.
    #[n(5)]
    pub coins: u64,
    /// What they were worth.
    #[n(6)]
    pub value: Amount,
    /// Which ones.
    #[n(7)]
    pub live: LiveSets,
    /// What late coins are known by once their tag key is forgotten ([`florin_coin::issuer::Witnesses`]).
    #[n(8)]
    pub witnesses: Option<Bytes>,
}

/// The file: `["florin-epoch-archive", 1, nonce, sealed]`.
#[derive(Encode, Decode)]
#[cbor(array)]
struct File {
    #[n(0)]
    magic: String,
    #[n(1)]
    version: u32,
    #[n(2)]
    nonce: ByteArray<12>,
    #[n(3)]
    sealed: Bytes,
}

/// Where archives lie, and what seals them.
pub struct Archives<'a> {
    /// The folder of the state.
    pub state: &'a Path,
    /// Whose they are.
    pub operator: PartyId,
    /// Seals them.
    pub key: &'a Secret<32>,
}

/// Whether a file of this name is a whole archive, and not one that was being written.
#[must_use]
pub fn is_archive(name: &OsStr) -> bool {
    name.to_str().and_then(|n| n.strip_prefix(PREFIX)).is_some_and(|n| n.parse::<u32>().is_ok())
}

fn digest_of(bytes: &[u8]) -> Digest {
    digest("florin/v1/operator/archive-file", &[bytes])
}

impl Archives<'_> {
    /// The file of an epoch.
    #[must_use]
    pub fn path(&self, epoch: Epoch) -> PathBuf {
        self.state.join(ARCHIVE_DIR).join(format!("{PREFIX}{}", epoch.0))
    }

    fn aad(&self, epoch: Epoch) -> Vec<u8> {
        cbor::encode(&("florin/v1/operator/archive", self.operator, epoch))
    }

    /// Writes an archive, reads it back, and gives the digest of the file.
    ///
    /// # Errors
    /// `Home`, `Io`, `Damaged`.
    pub fn write(&self, archive: &EpochArchive) -> Result<Digest, ArchiveError> {
        let epoch = archive.entry.number;
        let nonce: [u8; 12] = random(&mut OsEntropy);
        let sealed = RestKey::new(self.key).seal(&nonce, &self.aad(epoch), &cbor::encode(archive));
        let file =
            File { magic: MAGIC.into(), version: VERSION, nonce: ByteArray(nonce), sealed: Bytes(sealed) };
        let bytes = cbor::encode(&file);
        create_private(&self.state.join(ARCHIVE_DIR))?;
        write_private(&self.path(epoch), &bytes)?;
        let digest = digest_of(&bytes);
        let read = self.read(epoch, &digest)?;
        if read == *archive { Ok(digest) } else { Err(ArchiveError::Damaged { path: self.path(epoch) }) }
    }

    /// Reads an archive that has this digest.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn read(&self, epoch: Epoch, expected: &Digest) -> Result<EpochArchive, ArchiveError> {
        let path = self.path(epoch);
        let bytes = std::fs::read(&path).map_err(|source| ArchiveError::Io { path: path.clone(), source })?;
        let opened = || {
            let file: File = cbor::decode_strict(&bytes).ok()?;
            let known = file.magic == MAGIC && file.version == VERSION && digest_of(&bytes) == *expected;
            let key = RestKey::new(self.key);
            let plain = key.open(&file.nonce.0, &self.aad(epoch), &file.sealed.0).ok()?;
            let archive: EpochArchive = cbor::decode_strict(&plain).ok()?;
            (known && archive.operator == self.operator && archive.entry.number == epoch).then_some(archive)
        };
        opened().ok_or(ArchiveError::Damaged { path })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use florin_coin::{Calendar, Epochs};
    use florin_money::Currency;
    use florin_parties::Terms;

    use super::*;

    fn archive() -> EpochArchive {
        let at = Timestamp(1_795_000_000_000);
        let entry = Epochs::begin(Calendar::of(&Terms::default()), at, &[]).entries()[0];
        EpochArchive {
            operator: PartyId::new([1; 16]),
            entry,
            seq: Seq(7),
            chain: Digest([2; 32]),
            at,
            coins: 0,
            value: Amount::new(0, Currency::FLO),
            live: LiveSets::default(),
            witnesses: Some(Bytes(vec![5; 32])),
        }
    }

    #[test]
    fn an_archive_is_read_back_by_its_digest_and_in_its_own_place_only() {
        let top = tempfile::tempdir().unwrap();
        let key = Secret::new([3; 32]);
        let archives = Archives { state: top.path(), operator: PartyId::new([1; 16]), key: &key };
        let archive = archive();
        let epoch = archive.entry.number;
        let digest = archives.write(&archive).unwrap();
        assert_eq!(archives.read(epoch, &digest).unwrap(), archive);
        let damaged = |read| matches!(read, Err(ArchiveError::Damaged { .. }));
        assert!(damaged(archives.read(epoch, &Digest([0; 32]))));
        let other = Epoch(epoch.0 + 1);
        std::fs::copy(archives.path(epoch), archives.path(other)).unwrap();
        assert!(damaged(archives.read(other, &digest)), "another epoch's file");
        let wrong = Secret::new([4; 32]);
        assert!(damaged(Archives { key: &wrong, ..archives }.read(epoch, &digest)));
        let mut bytes = std::fs::read(archives.path(epoch)).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(archives.path(epoch), &bytes).unwrap();
        assert!(damaged(archives.read(epoch, &digest)), "a bit of it");
        assert!(matches!(archives.read(Epoch(9), &digest), Err(ArchiveError::Io { .. })));
    }
}
