//! Where a page goes: byte for byte into a file that is whole or not there, to a writer, or into memory.
//! Source: issue "`wallet pay` saves the page byte for byte as the upstream sent it"; house rule "whole or not at all".

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;

/// A page that stands still for so long has broken off.
const STALL: Duration = Duration::from_secs(60);
/// What is copied at a time.
const COPY_BYTES: usize = 64 * 1024;

/// Where a page goes.
pub enum Output {
    /// Into a file; it is there when it is whole.
    File(PathBuf),
    /// To a writer, when it is whole.
    Writer(Box<dyn Write + Send>),
    /// Into memory.
    Memory(Vec<u8>),
}

impl Output {
    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Writer(_) | Self::Memory(_) => None,
        }
    }

    /// Whether a page can be put there.
    pub(crate) fn check(&self) -> Result<(), (PathBuf, io::Error)> {
        let Self::File(path) = self else { return Ok(()) };
        let failed = |source| (path.clone(), source);
        if path.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let part = self.part(path);
        let fresh = !part.exists();
        File::options().append(true).create(true).open(&part).map_err(failed)?;
        if fresh { fs::remove_file(&part).map_err(failed) } else { Ok(()) }
    }

    /// Where the page is gathered until it is whole; `spool` is the wallet's own place.
    fn part(&self, spool: &Path) -> PathBuf {
        match self {
            Self::File(path) => {
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push(".part");
                path.with_file_name(name)
            }
            Self::Writer(_) | Self::Memory(_) => spool.to_owned(),
        }
    }

    /// Takes a page. What breaks off leaves nothing behind, so that it can be asked for again.
    pub(crate) async fn take(&mut self, body: Body, spool: &Path) -> Result<u64, TakeError> {
        let part = self.part(spool);
        let taken = gather(body, &part).await;
        let bytes = match taken {
            Ok(bytes) => bytes,
            Err(error) => {
                // The part is of no use, and a name that stays would only puzzle people.
                let _ = fs::remove_file(&part);
                return Err(error);
            }
        };
        self.hand_over(&part).map_err(|source| TakeError::File { path: part, source })?;
        Ok(bytes)
    }

    fn hand_over(&mut self, part: &Path) -> io::Result<()> {
        match self {
            Self::File(path) => {
                fs::rename(part, &*path)?;
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                File::open(dir)?.sync_all()
            }
            Self::Writer(to) => {
                let mut from = File::open(part)?;
                let mut some = vec![0; COPY_BYTES];
                loop {
                    let n = from.read(&mut some)?;
                    let Some(read) = some.get(..n).filter(|read| !read.is_empty()) else { break };
                    to.write_all(read)?;
                }
                to.flush()?;
                fs::remove_file(part)
            }
            Self::Memory(to) => {
                *to = fs::read(part)?;
                fs::remove_file(part)
            }
        }
    }
}

/// Why a page was not taken.
#[derive(Debug)]
pub(crate) enum TakeError {
    /// It broke off: it can be asked for again.
    BrokeOff,
    /// It cannot be written.
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

async fn gather(mut body: Body, part: &Path) -> Result<u64, TakeError> {
    let file = |source| TakeError::File { path: part.to_owned(), source };
    let mut to = File::create(part).map_err(file)?;
    let mut bytes = 0u64;
    loop {
        let next = tokio::time::timeout(STALL, body.frame()).await.map_err(|_| TakeError::BrokeOff)?;
        let Some(frame) = next else { break };
        let frame = frame.map_err(|_| TakeError::BrokeOff)?;
        let Ok(data) = frame.into_data() else { continue };
        to.write_all(&data).map_err(file)?;
        bytes = bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
    }
    to.sync_all().map_err(file)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_is_the_same_bytes_wherever_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let page: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let spool = dir.path().join("spool");
        let mut memory = Output::Memory(Vec::new());
        assert_eq!(memory.take(Body::from(page.clone()), &spool).await.unwrap(), 200_000);
        assert!(matches!(&memory, Output::Memory(got) if *got == page));
        let path = dir.path().join("page.html");
        fs::write(&path, b"old").unwrap();
        let mut file = Output::File(path.clone());
        file.take(Body::from(page.clone()), &spool).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), page);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_written_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = Output::File(dir.path().join("none/page"));
        let taken = file.take(Body::from("x"), dir.path()).await;
        assert!(matches!(taken, Err(TakeError::File { path, .. }) if path.ends_with("none/page.part")));
    }
}
