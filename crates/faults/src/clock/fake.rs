//! A clock of the machine that can be set for one program while it runs: libfaketime, which goes by a file.
//! Source: the issue ("wall-clock jumps with libfaketime"); libfaketime's README ("FAKETIME_TIMESTAMP_FILE").

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use florin_books::Timestamp;
use florin_shell::utc;

use crate::error::FaultsError;

/// The library, below a folder of libraries.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// Where systems have their libraries.
const FOLDERS: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib"];

/// What a clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// The time.
    Right,
    /// So many seconds later, or earlier.
    By(i64),
    /// Always the time at which it was set.
    Frozen,
}

/// A clock that programs are started with.
pub struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

/// Where libfaketime is; none where it is not installed.
#[must_use]
pub fn library() -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(LIBRARY)).find(|path| path.is_file())
}

impl FakeClock {
    /// One that is right.
    ///
    /// # Errors
    /// `File`.
    pub fn new(library: &Path, file: PathBuf) -> Result<Self, FaultsError> {
        let clock = Self { library: library.to_path_buf(), file };
        clock.set(Set::Right)?;
        Ok(clock)
    }

    /// Sets it, also for programs that run.
    ///
    /// # Errors
    /// `File`.
    pub fn set(&self, set: Set) -> Result<(), FaultsError> {
        let text = match set {
            Set::Right => "+0".to_owned(),
            Set::By(seconds) => format!("{seconds:+}"),
            Set::Frozen => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let now = Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
                utc::utc(now).trim_end_matches('Z').trim_end_matches(" UTC").replace('T', " ")
            }
        };
        // At once and whole: programs read it again whenever they look at their clock.
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, text).map_err(FaultsError::at(&fresh))?;
        std::fs::rename(&fresh, &self.file).map_err(FaultsError::at(&self.file))
    }

    /// The environment of a program that is to go by it. What passes evenly is not touched, so timers go on.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut env =
            vec![("LD_PRELOAD", text(&self.library)), ("FAKETIME_TIMESTAMP_FILE", text(&self.file))];
        let switches = [
            "FAKETIME_NO_CACHE",
            "FAKETIME_DONT_FAKE_MONOTONIC",
            "DONT_FAKE_MONOTONIC",
            "FAKETIME_DISABLE_SHM",
            "NO_FAKE_STAT",
        ];
        env.extend(switches.map(|name| (name, "1".to_owned())));
        env.push(("TZ", "UTC".to_owned()));
        env
    }
}

impl Set {
    /// In words.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Right => "right".to_owned(),
            Self::By(seconds) => format!("{seconds:+} s"),
            Self::Frozen => "frozen".to_owned(),
        }
    }
}
