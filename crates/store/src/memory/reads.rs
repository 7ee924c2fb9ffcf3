//! What is read from the store in memory. Source: books.md, "Lanes and stores".

use std::path::Path;
use std::sync::Arc;

use florin_books::{Document, DocumentKind, Facts, Needs, Record, Seq, Timestamp};
use florin_crypto::Digest;

use super::{MemoryStore, fatal, unframe};
use crate::contract::{Copied, Older, Page, Reads, StoreError, StoredDocument};

impl Reads for MemoryStore {
    fn load(&self, needs: &Needs) -> Result<Facts, StoreError> {
        let disk = self.lock();
        disk.check_up()?;
        let tables = &disk.tables;
        let documents = needs.documents.iter().filter_map(|key| {
            let (version, value) = tables.documents.get(key)?;
            Some((*key, Document { version: *version, value: Arc::clone(value) }))
        });
        let marked = needs.marks.iter().filter(|m| tables.marks.contains_key(&(m.kind, m.id))).map(|m| m.id);
        let once = needs.once.iter().filter_map(|k| Some((*k, *tables.once.get(k)?)));
        Ok(Facts {
            documents: documents.collect(),
            once: once.collect(),
            marked: marked.collect(),
            ..Facts::default()
        })
    }

    fn scan(&self, kind: DocumentKind) -> Result<Vec<StoredDocument>, StoreError> {
        let disk = self.lock();
        disk.check_up()?;
        let of_kind = disk.tables.documents.iter().filter(|(key, _)| key.kind == kind);
        Ok(of_kind.map(|(key, (seq, value))| (*key, *seq, Arc::clone(value))).collect())
    }

    fn read(&self, from: Seq, max: usize) -> Result<Vec<Record>, StoreError> {
        let disk = self.lock();
        disk.check_up()?;
        let skip = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(disk.tables.records.iter().skip(skip).take(max).cloned().collect())
    }

    fn chain_at(&self, seq: Seq) -> Result<Option<Digest>, StoreError> {
        let disk = self.lock();
        disk.check_up()?;
        let mut chain = Digest([0; 32]);
        for record in &disk.tables.records {
            chain = florin_books::link(&chain, &florin_crypto::encode(&record.core));
            if record.core.seq == seq {
                return Ok(Some(chain));
            }
        }
        Ok(None)
    }

    fn seq_before(&self, time: Timestamp) -> Result<Seq, StoreError> {
        let disk = self.lock();
        disk.check_up()?;
        let before = disk.tables.records.iter().take_while(|r| r.core.time < time);
        Ok(before.last().map_or(Seq(0), |r| r.core.seq))
    }

    fn older(&self, kind: DocumentKind, seq: Seq, after: Page, max: usize) -> Result<Older, StoreError> {
        let disk = self.lock();
        disk.check_up()?;
        let rest = disk.tables.documents.iter().filter(|(key, (at, _))| {
            key.kind == kind && *at <= seq && after.is_none_or(|after| key.id > after)
        });
        let found: Vec<StoredDocument> =
            rest.take(max).map(|(key, (at, value))| (*key, *at, Arc::clone(value))).collect();
        let next = found.last().filter(|_| found.len() == max).map(|(key, ..)| key.id);
        Ok((found, next))
    }

    fn backup(&self, to: &Path) -> Result<Copied, StoreError> {
        let disk = self.lock();
        disk.check_up()?;
        std::fs::create_dir_all(to).map_err(|e| fatal(to, &e))?;
        std::fs::write(to.join("journal"), &disk.journal.synced).map_err(|e| fatal(to, &e))?;
        std::fs::write(to.join("folds"), &disk.folds.synced).map_err(|e| fatal(to, &e))?;
        Ok(Copied { last: disk.tables.last(), chain: disk.tables.chain })
    }

    fn verify(&self) -> Result<(), StoreError> {
        let disk = self.lock();
        disk.check_up()?;
        let mut rest = disk.journal.synced.as_slice();
        while let Some((_, next)) = unframe(rest) {
            rest = next;
        }
        if rest.is_empty() {
            return Ok(());
        }
        Err(StoreError::Damaged { file: "memory".into(), why: "a frame does not verify" })
    }
}
