//! Where the journal of a store begins once older records were dropped: the signed opening, the lane's state there, and,
//! for the second copy, a copy of the folded tables, so that it stays enough to rebuild everything.
//! Source: books.md, "Retention" and "Two durable copies of each batch".
//!
//! `second-opening.log`: magic 8, format u32, lane u16, segment u32, chain before that segment 32, tag of the tables 32,
//! sealed opening, tag 32 over all of it. `second-tables-<seq>.db` is an SQLite file like `books.db` without batches.
//! In SQLite the opening is the row `opening` of `meta`: the sequence number (8 bytes), then the sealed opening.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use florin_books::{LaneId, Seq};
use rusqlite::{Connection, OptionalExtension, params};

use super::keys::StoreKeys;
use super::schema::{damaged, error, io};
use super::second::{Link, sync_dir};
use crate::contract::{StoreError, StoredOpening};

const MAGIC: &[u8; 8] = b"FLORINOP";
const FORMAT: u32 = 1;
const HEAD: usize = 82;
const TAG: usize = 32;
const CHUNK: usize = 1 << 20;

/// Where the second copy begins.
#[derive(Clone)]
pub(crate) struct Begin {
    /// Its first segment.
    pub(crate) segment: u32,
    /// The chain before that.
    pub(crate) before: Link,
    /// What stands in place of the records before; none where nothing was dropped.
    pub(crate) opening: Option<StoredOpening>,
    /// The tag of the tables.
    tables: Link,
}

impl Default for Begin {
    fn default() -> Self {
        Self { segment: 1, before: [0; 32], opening: None, tables: [0; 32] }
    }
}

impl Begin {
    /// The last record that was dropped.
    pub(crate) fn seq(&self) -> Seq {
        self.opening.as_ref().map_or(Seq(0), |o| o.seq)
    }
}

/// The path of the opening.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("second-opening.log")
}

/// The path of the tables that go with an opening.
pub(crate) fn tables_path(dir: &Path, seq: Seq) -> PathBuf {
    dir.join(format!("second-tables-{:020}.db", seq.0))
}

/// Reads where the second copy begins; why not, where it does not verify.
pub(crate) fn read(
    dir: &Path,
    keys: &StoreKeys,
    lane: LaneId,
) -> Result<Result<Begin, &'static str>, StoreError> {
    let file = path(dir);
    let content = match fs::read(&file) {
        Ok(content) => content,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Ok(Begin::default())),
        Err(e) => return Err(io(&file)(e)),
    };
    Ok(parse(&content, keys, lane).ok_or("it does not verify"))
}

fn parse(content: &[u8], keys: &StoreKeys, lane: LaneId) -> Option<Begin> {
    let (signed, tag) = content.split_at_checked(content.len().checked_sub(TAG)?)?;
    let (head, sealed) = signed.split_at_checked(HEAD)?;
    let place = |at: usize, len: usize| head.get(at..at.checked_add(len)?);
    let segment = u32::from_be_bytes(place(14, 4)?.try_into().ok()?);
    let (before, tables) = (place(18, 32)?.try_into().ok()?, place(50, 32)?.try_into().ok()?);
    let known = head.get(..18)? == prefix(lane, segment).as_slice();
    if !known || keys.second("opening", &[signed]) != tag {
        return None;
    }
    let opening = keys.open_opening(lane, sealed)?;
    Some(Begin { segment, before, opening: Some(opening), tables })
}

fn prefix(lane: LaneId, segment: u32) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&FORMAT.to_be_bytes());
    out.extend_from_slice(&lane.0.to_be_bytes());
    out.extend_from_slice(&segment.to_be_bytes());
    out
}

/// Puts an opening in place: from now on the second copy begins there. The tables lie there already.
pub(crate) fn write(
    dir: &Path,
    keys: &StoreKeys,
    lane: LaneId,
    (segment, before): (u32, &Link),
    opening: &StoredOpening,
) -> Result<(), StoreError> {
    let mut content = prefix(lane, segment);
    content.extend_from_slice(before);
    content.extend_from_slice(&tables_tag(keys, &tables_path(dir, opening.seq))?);
    content.extend_from_slice(&keys.seal_opening(lane, opening));
    let tag = keys.second("opening", &[&content]);
    content.extend_from_slice(&tag);
    replace(&path(dir), &content)
}

/// Writes a file aside, syncs it, and puts it in place of another.
pub(crate) fn replace(file: &Path, content: &[u8]) -> Result<(), StoreError> {
    let aside = file.with_extension("new");
    let dir = file.parent().unwrap_or_else(|| Path::new("."));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&aside)
        .and_then(|mut f| f.write_all(content).and_then(|()| f.sync_all()))
        .and_then(|()| fs::rename(&aside, file))
        .map_err(io(file))?;
    sync_dir(dir)
}

/// A keyed hash over a file, piece by piece.
fn tables_tag(keys: &StoreKeys, file: &Path) -> Result<Link, StoreError> {
    let mut from = File::open(file).map_err(io(file))?;
    let (mut tag, mut piece): (Link, _) = ([0; 32], vec![0; CHUNK]);
    loop {
        let read = from.read(&mut piece).map_err(io(file))?;
        if read == 0 {
            return Ok(tag);
        }
        tag = keys.second("tables", &[&tag, piece.get(..read).unwrap_or_default()]);
    }
}

/// Whether the tables beside an opening are the ones that it names.
pub(crate) fn check_tables(dir: &Path, keys: &StoreKeys, begin: &Begin) -> Result<(), StoreError> {
    let Some(opening) = &begin.opening else { return Ok(()) };
    let file = tables_path(dir, opening.seq);
    if !file.exists() {
        return Err(damaged(&file, "it is missing"));
    }
    if tables_tag(keys, &file)? != begin.tables {
        return Err(damaged(&file, "it does not verify"));
    }
    Ok(())
}

/// Writes the tables of a connection's file, without batches, durable under `to`.
pub(crate) fn write_tables(conn: &Connection, to: &Path) -> Result<(), StoreError> {
    let aside = to.with_extension("new");
    if aside.exists() {
        fs::remove_file(&aside).map_err(io(&aside))?;
    }
    let name = aside.to_str().ok_or_else(|| damaged(&aside, "its name is not UTF-8"))?;
    conn.execute("VACUUM INTO ?1", [name]).map_err(error(&aside))?;
    (|| {
        let copy = Connection::open(&aside)?;
        // Without batches, nothing of how far seeds have gone from them, or what they follow.
        copy.execute_batch(
            "PRAGMA secure_delete = ON; DELETE FROM batch; DELETE FROM meta WHERE name IN ('stripped', 'opening');
             VACUUM;",
        )
    })()
    .map_err(error(&aside))?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&aside, private).map_err(io(&aside))?;
    File::open(&aside).and_then(|f| f.sync_all()).map_err(io(&aside))?;
    fs::rename(&aside, to).map_err(io(to))?;
    sync_dir(to.parent().unwrap_or_else(|| Path::new(".")))
}

/// The newest record that speaks out of tables laid aside, be it of the checkpoint, or of a fold that was under way.
pub(crate) fn newest(file: &Path) -> Result<Seq, StoreError> {
    super::schema::open_unchanged(file)?
        .query_row(
            "SELECT max(coalesce((SELECT max(seq) FROM checkpoint), 0), coalesce((SELECT max(seq) FROM document), 0),
                        coalesce((SELECT max(seq) FROM once), 0))",
            [],
            |r| super::inspect::seq(r, 0),
        )
        .map_err(error(file))
}

/// The last dropped record, as SQLite has it.
pub(crate) fn dropped(conn: &Connection, file: &Path) -> Result<Seq, StoreError> {
    Ok(row(conn, file)?
        .and_then(|r| Some(Seq(u64::from_be_bytes(*r.first_chunk::<8>()?))))
        .unwrap_or_default())
}

/// The opening, as SQLite has it.
pub(crate) fn stored(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
) -> Result<Option<StoredOpening>, StoreError> {
    let Some(row) = row(conn, file)? else { return Ok(None) };
    let wrong = || damaged(file, "the opening does not verify");
    let (seq, sealed) = row.split_first_chunk::<8>().ok_or_else(wrong)?;
    let opening = keys.open_opening(lane, sealed).ok_or_else(wrong)?;
    if opening.seq.0 == u64::from_be_bytes(*seq) { Ok(Some(opening)) } else { Err(wrong()) }
}

fn row(conn: &Connection, file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    conn.prepare_cached("SELECT value FROM meta WHERE name = 'opening'")
        .and_then(|mut s| s.query_row([], |r| r.get(0)).optional())
        .map_err(error(file))
}

/// Puts the opening into SQLite.
pub(crate) fn store(
    conn: &Connection,
    file: &Path,
    keys: &StoreKeys,
    lane: LaneId,
    opening: &StoredOpening,
) -> Result<(), StoreError> {
    let value = [opening.seq.0.to_be_bytes().as_slice(), &keys.seal_opening(lane, opening)].concat();
    conn.execute("INSERT OR REPLACE INTO meta VALUES ('opening', ?1)", params![value])
        .map_err(error(file))
        .map(drop)
}
