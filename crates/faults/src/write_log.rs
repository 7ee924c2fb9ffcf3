//! What `shim/disk.c` has recorded, and a disk that forgets: the files as they may be found after the power went away at
//! any moment of it. Source: reliability.md R6; POSIX.1-2024 fsync(), rename().
//!
//! The disk keeps what was synced. Of what was not, it keeps any part: of each file's changes any of them, of a write any
//! sectors of 512 bytes; of the changes of a folder (new names, other names, removed names) those up to any moment,
//! until the folder is synced. What a file has without ever being written is zeros.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::dice::Dice;
use crate::disk;
use crate::error::FaultsError;

const MAGIC: u32 = 0x474f_4c46;
const SECTOR: usize = 512;
/// The record of an answer that was read, written by whoever read it.
const MARK: u32 = 9;

/// One change, in the order of the effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Bytes at a place of a file.
    Write(PathBuf, u64, Vec<u8>),
    /// A file is so long now.
    Truncate(PathBuf, u64),
    /// A file or a folder is on the disk.
    Sync(PathBuf),
    /// A new file.
    Create(PathBuf),
    /// Another name.
    Rename(PathBuf, PathBuf),
    /// A file is gone.
    Unlink(PathBuf),
    /// A new folder.
    Mkdir(PathBuf),
    /// A folder is gone.
    Rmdir(PathBuf),
    /// Somebody has read the answer of this number.
    Mark(u64),
}

/// The bytes of a mark, to be appended to the log in one write.
#[must_use]
pub fn mark(number: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&MARK.to_ne_bytes());
    bytes.extend_from_slice(&number.to_ne_bytes());
    bytes.extend_from_slice(&[0; 16]);
    bytes
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*word))
    }

    fn long(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*word))
    }

    fn bytes(&mut self, len: u64) -> Option<Vec<u8>> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(bytes.to_vec())
    }

    fn path(&mut self, len: u32, top: &Path) -> Option<PathBuf> {
        let text = String::from_utf8(self.bytes(u64::from(len))?).ok()?;
        Path::new(&text).strip_prefix(top).map(Path::to_path_buf).ok()
    }

    fn op(&mut self, top: &Path) -> Option<Op> {
        if self.word()? != MAGIC {
            return None;
        }
        let (what, offset, len) = (self.word()?, self.long()?, self.long()?);
        let (one, two) = (self.word()?, self.word()?);
        if what == MARK {
            return Some(Op::Mark(offset));
        }
        let path = self.path(one, top)?;
        Some(match what {
            1 => Op::Write(path, offset, self.bytes(len)?),
            2 => Op::Truncate(path, offset),
            3 => Op::Sync(path),
            4 => Op::Create(path),
            5 => Op::Rename(path, self.path(two, top)?),
            6 => Op::Unlink(path),
            7 => Op::Mkdir(path),
            8 => Op::Rmdir(path),
            _ => return None,
        })
    }
}

/// Reads a log; paths become relative to `top`.
///
/// # Errors
/// `Found`: the log is not whole.
pub fn read(bytes: &[u8], top: &Path) -> Result<Vec<Op>, FaultsError> {
    let (mut reader, mut ops) = (Reader(bytes), Vec::new());
    while !reader.0.is_empty() {
        let at = bytes.len().saturating_sub(reader.0.len());
        let op = reader.op(top);
        ops.push(op.ok_or_else(|| FaultsError::Found(format!("the write log cannot be read at byte {at}")))?);
    }
    Ok(ops)
}

/// A change of a file that is not synced.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

/// A change of names that is not synced.
#[derive(Clone, Debug)]
enum Naming {
    Is(PathBuf, usize),
    IsFolder(PathBuf),
    Gone(PathBuf),
    Renamed(PathBuf, PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    folders: Vec<PathBuf>,
}

impl Names {
    fn apply(&mut self, change: &Naming) {
        match change {
            Naming::Is(path, inode) => drop(self.files.insert(path.clone(), *inode)),
            Naming::IsFolder(path) => self.folders.push(path.clone()),
            Naming::Gone(path) => {
                self.files.remove(path);
                self.folders.retain(|folder| folder != path);
            }
            Naming::Renamed(from, to) => {
                if let Some(inode) = self.files.remove(from) {
                    self.files.insert(to.clone(), inode);
                }
            }
        }
    }
}

/// How much of what was not synced an image keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it: the moment alone.
    Nothing,
    /// None of it.
    Everything,
    /// Any of the changes.
    Some,
    /// Any of the changes, and of each write any sectors.
    Torn,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Some, Self::Torn];
}

/// The disk: what is synced, and what is not.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    now: Names,
    synced: Names,
    /// Changes of names, by folder, in their order.
    pending: BTreeMap<PathBuf, Vec<Naming>>,
    /// It says that it has synced, and has not.
    lies: bool,
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

fn write_at(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset.saturating_add(data.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(data);
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => write_at(content, usize::try_from(*offset).unwrap_or(0), data),
            Self::Truncate(len) => content.resize(usize::try_from(*len).unwrap_or(0), 0),
        }
    }

    /// Any of the sectors that it touches.
    fn tear(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write(offset, data) = self else { return self.apply(content) };
        let (mut at, mut rest) = (usize::try_from(*offset).unwrap_or(0), data.as_slice());
        while !rest.is_empty() {
            let to_end = SECTOR.saturating_sub(at % SECTOR).min(rest.len());
            let (sector, after) = rest.split_at(to_end);
            if dice.below(2) == 0 {
                write_at(content, at, sector);
            }
            (at, rest) = (at.saturating_add(to_end), after);
        }
    }
}

impl Disk {
    /// A folder whose files are all synced.
    ///
    /// # Errors
    /// `File`.
    pub fn of(top: &Path) -> Result<Self, FaultsError> {
        let mut made = Self::default();
        for file in disk::files(top)? {
            let content = fs::read(&file).map_err(FaultsError::at(&file))?;
            let name = file.strip_prefix(top).unwrap_or(&file).to_path_buf();
            made.synced.files.insert(name, made.inodes.len());
            made.inodes.push(Inode { synced: content, pending: Vec::new() });
        }
        made.now = made.synced.clone();
        Ok(made)
    }

    /// The same disk, which only says that it syncs: whoever looks for what was lost must find something here.
    #[must_use]
    pub fn lying(self) -> Self {
        Self { lies: true, ..self }
    }

    fn name(&mut self, folder: PathBuf, change: Naming) {
        self.now.apply(&change);
        self.pending.entry(folder).or_default().push(change);
    }

    fn change(&mut self, path: &Path, change: Change) {
        let inode = self.now.files.get(path).and_then(|inode| self.inodes.get_mut(*inode));
        if let Some(inode) = inode {
            inode.pending.push(change);
        }
    }

    /// The next change.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Write(path, offset, data) => self.change(path, Change::Write(*offset, data.clone())),
            Op::Truncate(path, len) => self.change(path, Change::Truncate(*len)),
            Op::Sync(path) => self.sync(path),
            Op::Create(path) => {
                let inode = self.inodes.len();
                self.inodes.push(Inode::default());
                self.name(parent(path), Naming::Is(path.clone(), inode));
            }
            Op::Rename(from, to) => self.name(parent(to), Naming::Renamed(from.clone(), to.clone())),
            Op::Unlink(path) | Op::Rmdir(path) => self.name(parent(path), Naming::Gone(path.clone())),
            Op::Mkdir(path) => self.name(parent(path), Naming::IsFolder(path.clone())),
            Op::Mark(_) => {}
        }
    }

    fn sync(&mut self, path: &Path) {
        if self.lies {
            return;
        }
        if let Some(inode) = self.now.files.get(path).and_then(|inode| self.inodes.get_mut(*inode)) {
            let Inode { synced, pending } = inode;
            pending.drain(..).for_each(|change| change.apply(synced));
        } else {
            let changes = self.pending.remove(path).unwrap_or_default();
            changes.iter().for_each(|change| self.synced.apply(change));
        }
    }

    /// How many changes are not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        let names: usize = self.pending.values().map(Vec::len).sum();
        self.inodes.iter().map(|inode| inode.pending.len()).fold(names, usize::saturating_add)
    }

    /// The files as they are found when the power goes away now.
    #[must_use]
    pub fn image(&self, loss: Loss, dice: &mut Dice) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut names = self.synced.clone();
        for changes in self.pending.values() {
            let kept = match loss {
                Loss::Nothing => changes.len(),
                Loss::Everything => 0,
                Loss::Some | Loss::Torn => dice.place(changes.len().saturating_add(1)),
            };
            changes.iter().take(kept).for_each(|change| names.apply(change));
        }
        let found = names.files.iter().filter_map(|(path, inode)| Some((path, self.inodes.get(*inode)?)));
        found.map(|(path, inode)| (path.clone(), inode.found(loss, dice))).collect()
    }
}

impl Inode {
    fn found(&self, loss: Loss, dice: &mut Dice) -> Vec<u8> {
        let mut content = self.synced.clone();
        for change in &self.pending {
            match loss {
                Loss::Nothing => change.apply(&mut content),
                Loss::Everything => {}
                Loss::Some if dice.below(2) == 0 => change.apply(&mut content),
                Loss::Torn if dice.below(4) > 0 => change.tear(&mut content, dice),
                Loss::Some | Loss::Torn => {}
            }
        }
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        PathBuf::from(name)
    }

    fn after(ops: &[Op]) -> Disk {
        let mut disk = Disk::default();
        ops.iter().for_each(|op| disk.apply(op));
        disk
    }

    fn content(disk: &Disk, loss: Loss, name: &str) -> Option<Vec<u8>> {
        disk.image(loss, &mut Dice::new(1, 1)).remove(&path(name))
    }

    #[test]
    fn what_was_synced_is_there_and_the_rest_may_be() {
        let write = |offset, text: &str| Op::Write(path("a"), offset, text.into());
        let ops = [
            Op::Create(path("a")),
            write(0, "one"),
            Op::Sync(path("a")),
            Op::Sync(path("")),
            write(3, "two"),
        ];
        let disk = after(&ops);
        assert_eq!(disk.unsynced(), 1);
        assert_eq!(content(&disk, Loss::Nothing, "a").unwrap(), b"onetwo");
        assert_eq!(content(&disk, Loss::Everything, "a").unwrap(), b"one");
        let mut seen: Vec<_> = (0..50)
            .map(|n| disk.image(Loss::Some, &mut Dice::new(n, 0)).remove(&path("a")).unwrap())
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [b"one".to_vec(), b"onetwo".to_vec()]);
        let mut lying = Disk::default().lying();
        ops.iter().for_each(|op| lying.apply(op));
        assert_eq!(content(&lying, Loss::Everything, "a"), None);
    }

    #[test]
    fn a_name_is_there_when_its_folder_was_synced_and_a_rename_is_whole_or_not_at_all() {
        let begun =
            [Op::Create(path("d/new")), Op::Write(path("d/new"), 0, b"x".to_vec()), Op::Sync(path("d/new"))];
        let disk = after(&begun);
        assert_eq!(content(&disk, Loss::Everything, "d/new"), None);
        assert_eq!(content(&disk, Loss::Nothing, "d/new").unwrap(), b"x");
        let mut renamed = after(&[&begun[..], &[Op::Sync(path("d"))]].concat());
        renamed.apply(&Op::Rename(path("d/new"), path("d/old")));
        for number in 0..20 {
            let image = renamed.image(Loss::Torn, &mut Dice::new(number, 0));
            assert_eq!(image.len(), 1, "one of the two names");
        }
        assert!(content(&renamed, Loss::Everything, "d/new").is_some());
        renamed.apply(&Op::Sync(path("d")));
        assert_eq!(content(&renamed, Loss::Everything, "d/old").unwrap(), b"x");
        renamed.apply(&Op::Unlink(path("d/old")));
        assert!(content(&renamed, Loss::Nothing, "d/old").is_none());
        assert!(content(&renamed, Loss::Everything, "d/old").is_some());
    }

    #[test]
    fn a_torn_write_is_torn_at_sectors() {
        let data: Vec<u8> = vec![7; 1500];
        let disk = after(&[Op::Create(path("a")), Op::Sync(path("")), Op::Write(path("a"), 100, data)]);
        let mut torn = 0;
        for number in 0..60 {
            let found = disk.image(Loss::Torn, &mut Dice::new(number, 3)).remove(&path("a")).unwrap();
            let sectors: Vec<_> = [(100, 512), (512, 1024), (1024, 1536), (1536, 1600)]
                .map(|(from, to)| {
                    (from..to).map(|at| found.get(at).copied().unwrap_or(0)).collect::<Vec<u8>>()
                })
                .into();
            let whole = |s: &Vec<u8>| s.iter().all(|b| *b == 7) || s.iter().all(|b| *b == 0);
            assert!(sectors.iter().all(whole), "a sector is there or not");
            let there = sectors.iter().filter(|s| s[0] == 7).count();
            torn += usize::from(there > 0 && there < 4);
        }
        assert!(torn > 10, "{torn}");
    }

    #[test]
    fn a_log_is_read_as_it_was_written_and_a_cut_one_is_refused() {
        let record = |what: u32, offset: u64, path: &str, second: &str, data: &[u8]| {
            let mut bytes = MAGIC.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&what.to_ne_bytes());
            bytes.extend_from_slice(&offset.to_ne_bytes());
            bytes.extend_from_slice(&u64::try_from(data.len()).unwrap().to_ne_bytes());
            bytes.extend_from_slice(&u32::try_from(path.len()).unwrap().to_ne_bytes());
            bytes.extend_from_slice(&u32::try_from(second.len()).unwrap().to_ne_bytes());
            [bytes.as_slice(), path.as_bytes(), second.as_bytes(), data].concat()
        };
        let log = [
            record(1, 9, "/t/a", "", b"abc"),
            mark(4),
            record(5, 0, "/t/a", "/t/d/b", b""),
            record(3, 0, "/t", "", b""),
        ]
        .concat();
        let ops = read(&log, Path::new("/t")).unwrap();
        let expected = [
            Op::Write(path("a"), 9, b"abc".to_vec()),
            Op::Mark(4),
            Op::Rename(path("a"), path("d/b")),
            Op::Sync(path("")),
        ];
        assert_eq!(ops, expected);
        assert!(read(&log[..log.len() - 1], Path::new("/t")).is_err());
    }
}
