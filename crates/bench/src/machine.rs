//! What the operating system says about this machine and its processes. Source: proc(5).
//!
//! Departs from getrusage: another process's time is read from `/proc/PID/stat`, which has the same two counters.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A tick of the counters in `/proc/PID/stat`: USER_HZ is 100 on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// The machine that figures belong to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many cores a program may use.
    pub cores: usize,
    /// The kernel.
    pub kernel: String,
    /// Load average over a minute when the measurement began: what else was going on.
    pub load_before: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let load = text("/proc/loadavg");
        Self {
            cpu: name.map_or_else(|| "unknown".into(), |(_, name)| name.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: text("/proc/sys/kernel/osrelease"),
            load_before: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// Processor time that a process has used, user and system, all its threads.
#[must_use]
pub fn cpu_of_process(pid: u32) -> Option<Duration> {
    ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Processor time of this process.
#[must_use]
pub fn cpu_of_self() -> Option<Duration> {
    cpu_of_process(std::process::id())
}

/// Processor time of this process's threads whose name begins so.
#[must_use]
pub fn cpu_of_threads(name: &str) -> Duration {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let of_one = |thread: fs::DirEntry| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let called = stat.split_once('(')?.1.starts_with(name);
        if called { ticks(&stat) } else { None }
    };
    threads.flatten().filter_map(of_one).sum()
}

/// Processor time of this thread, in nanoseconds' resolution; none where the kernel does not keep it.
#[must_use]
pub fn cpu_of_thread() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Bytes that a process has had written to the disk.
#[must_use]
pub fn written_by(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// Bytes that a folder takes on the disk, with everything in it.
#[must_use]
pub fn disk_use(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.flatten().fold(0, |sum, entry| {
        let size = match entry.metadata() {
            Ok(about) if about.is_dir() => disk_use(&entry.path()),
            Ok(about) => about.blocks().saturating_mul(512),
            Err(_) => 0,
        };
        sum.saturating_add(size)
    })
}

/// The program's name may hold anything, so the fields are counted after its closing bracket: utime and stime are the
/// 12th and 13th of them.
fn ticks(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    TICK.checked_mul(user.checked_add(system)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 25 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(Duration::from_millis(1750)));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn own_work_is_counted() {
        let before = cpu_of_thread().unwrap();
        let mut sum = 0_u64;
        while cpu_of_thread().unwrap() < before + Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(cpu_of_self().unwrap() >= Duration::from_millis(30));
        assert!(cpu_of_process(u32::MAX).is_none());
    }

    #[test]
    fn a_folder_takes_what_its_files_take() {
        let dir = std::env::temp_dir().join(format!("florin-disk-use-{}", std::process::id()));
        fs::create_dir_all(dir.join("deep")).unwrap();
        fs::write(dir.join("deep/file"), vec![1; 10_000]).unwrap();
        assert!((10_000..40_000).contains(&disk_use(&dir)));
        fs::remove_dir_all(dir).unwrap();
    }
}
