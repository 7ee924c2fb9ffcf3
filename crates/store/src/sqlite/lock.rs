//! The directory: one process at a time, and room left on the disk. Source: books.md, "Lanes and stores" (directory
//! lock) and "Two durable copies" (reserve file, storage-full).

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};

use super::schema::io;
use crate::contract::StoreError;

const POLL: Duration = Duration::from_millis(25);
/// What is freed when the disk is full, so that recovery itself has room.
const RESERVE_BYTES: u64 = 4 << 20;

/// The exclusive lock on a directory; dropping it, or the end of the process, lets go.
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

/// Makes the directory, readable by its owner only.
pub(crate) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io(dir))
}

fn private(file: &Path) -> Result<File, StoreError> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(file).map_err(io(file))
}

impl Lock {
    /// Waits at most so long for whoever holds it.
    pub(crate) fn take(dir: &Path, wait: Duration) -> Result<Self, StoreError> {
        let name = dir.join("lock");
        let file = private(&name)?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(e) if e == rustix::io::Errno::WOULDBLOCK || e == rustix::io::Errno::INTR => {}
                Err(e) => return Err(io(&name)(e.into())),
            }
            if begun.elapsed() >= wait {
                return Err(StoreError::Busy(dir.display().to_string()));
            }
            thread::sleep(POLL);
        }
    }
}

/// The room on the disk.
pub(crate) struct Room {
    dir: PathBuf,
    min_free: u64,
    has_reserve: bool,
}

impl Room {
    /// Gives the reserve free, so that recovery can write.
    pub(crate) fn begin(dir: &Path, min_free: u64) -> Result<Self, StoreError> {
        let name = dir.join("reserve");
        private(&name)?.set_len(0).map_err(io(&name))?;
        Ok(Self { dir: dir.into(), min_free, has_reserve: false })
    }

    /// Full where less than the minimum is free, or the reserve cannot be laid aside again.
    pub(crate) fn check(&mut self) -> Result<(), StoreError> {
        let stat = statvfs(&self.dir).map_err(|e| io(&self.dir)(e.into()))?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) < self.min_free {
            return Err(StoreError::Full);
        }
        if !self.has_reserve {
            self.lay_aside()?;
        }
        Ok(())
    }

    fn lay_aside(&mut self) -> Result<(), StoreError> {
        let name = self.dir.join("reserve");
        let file = private(&name)?;
        match fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
            Ok(()) => {}
            Err(e) if e == rustix::io::Errno::NOSPC => return Err(StoreError::Full),
            // A file system that cannot lay bytes aside: the minimum alone has to do.
            Err(e) if e == rustix::io::Errno::OPNOTSUPP => {}
            Err(e) => return Err(io(&name)(e.into())),
        }
        self.has_reserve = true;
        Ok(())
    }
}
