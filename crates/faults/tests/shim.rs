//! The bad disk alone: a program of a few calls, each of which fails in its turn. Source: reliability.md R6, R8.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use florin_faults::dice::Dice;
use florin_faults::disk::{Counted, Damage, Kind, Shim};
use florin_faults::write_log::{Disk, Loss, Op, read};

/// Creates a file, writes "abcdef" and "ghij" to it, syncs it, cuts it to 8 bytes, gives it another name, syncs the
/// folder; ends with the number of the step that failed. A short write is followed by the rest.
const PROGRAM: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static int all(int fd, const char *text) {
    size_t left = strlen(text);
    while (left) {
        ssize_t n = write(fd, text, left);
        if (n <= 0) return -1;
        text += n;
        left -= (size_t)n;
    }
    return 0;
}
int main(int count, char **args) {
    if (count != 3 || chdir(args[1])) return 99;
    char from[4096], to[4096];
    snprintf(from, sizeof from, "%s/new", args[1]);
    snprintf(to, sizeof to, "%s/old", args[1]);
    int fd = open(from, O_WRONLY | O_CREAT, 0600);
    if (fd < 0) return 1;
    if (all(fd, "abcdef")) return 2;
    if (pwrite(fd, "ghij", 4, 6) != 4) return 3;
    if (fdatasync(fd)) return 4;
    if (ftruncate(fd, 8)) return 5;
    if (rename(from, to)) return 6;
    int dir = open(args[1], O_RDONLY);
    if (dir < 0) return 7;
    if (fsync(dir)) return 8;
    if (write(1, args[2], strlen(args[2])) < 0) return 9;
    return 0;
}
"#;

struct Bench {
    top: tempfile::TempDir,
    shim: Shim,
    program: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let shim = Shim::build(top.path()).unwrap();
        let (source, program) = (top.path().join("program.c"), top.path().join("program"));
        fs::write(&source, PROGRAM).unwrap();
        let made = Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(&source).status().unwrap();
        assert!(made.success());
        Self { top, shim, program }
    }

    fn dir(&self) -> PathBuf {
        let dir = self.top.path().canonicalize().unwrap().join("disk");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        dir
    }

    fn run(&self, dir: &Path, damage: Option<Damage>, log: Option<&Path>) -> (Output, Counted) {
        let environment = self.shim.environment(dir, damage, log).unwrap();
        let output = Command::new(&self.program).arg(dir).arg("said").envs(environment).output().unwrap();
        (output, self.shim.counted().unwrap())
    }

    /// The step that failed, and how many calls failed.
    fn fails(&self, kind: Kind, at: u64, sticky: bool) -> (i32, u64) {
        let (output, counted) = self.run(&self.dir(), Some(Damage { kind, at, sticky }), None);
        (output.status.code().unwrap(), counted.faults)
    }
}

#[test]
fn each_call_fails_in_its_turn_and_nothing_else_does() {
    let bench = Bench::new();
    let (output, counted) = bench.run(&bench.dir(), None, None);
    // Standard output is no file of the folder.
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"said".as_slice()));
    assert_eq!((counted.faults, counted.by_kind), (0, [8, 5, 2]));
    let steps: Vec<_> = (1..=9).map(|at| bench.fails(Kind::Eio, at, false)).collect();
    assert_eq!(steps, [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (0, 0)]);
    // A full disk takes no new file, no bytes and no promise; what makes nothing longer still works.
    let steps: Vec<_> = (1..=5).map(|at| bench.fails(Kind::Enospc, at, false).0).collect();
    assert_eq!(steps, [1, 2, 3, 4, 8]);
    // Half of a write is taken, and the program writes the rest; from then on each is half.
    assert_eq!((bench.fails(Kind::Short, 1, false), bench.fails(Kind::Short, 2, false)), ((0, 1), (3, 1)));
    assert_eq!(bench.fails(Kind::Short, 1, true).0, 3);
    // The disk that fills up takes half of the write that fills it.
    let dir = bench.dir();
    let (output, _) = bench.run(&dir, Some(Damage { kind: Kind::Enospc, at: 2, sticky: true }), None);
    assert_eq!((output.status.code(), fs::read(dir.join("new")).unwrap()), (Some(2), b"abc".to_vec()));
}

#[test]
fn what_is_recorded_makes_the_same_files_again() {
    let bench = Bench::new();
    let (dir, log) = (bench.dir(), bench.top.path().join("log"));
    let (output, _) = bench.run(&dir, None, Some(&log));
    assert_eq!(output.status.code(), Some(0));
    let ops = read(&fs::read(&log).unwrap(), &dir).unwrap();
    let path = |name: &str| PathBuf::from(name);
    let expected = [
        Op::Create(path("new")),
        Op::Write(path("new"), 0, b"abcdef".to_vec()),
        Op::Write(path("new"), 6, b"ghij".to_vec()),
        Op::Sync(path("new")),
        Op::Truncate(path("new"), 8),
        Op::Rename(path("new"), path("old")),
        Op::Sync(path("")),
    ];
    assert_eq!(ops, expected);
    let mut disk = Disk::default();
    ops.iter().for_each(|op| disk.apply(op));
    let image = |loss| disk.image(loss, &mut Dice::new(1, 1));
    assert_eq!(image(Loss::Nothing)[&path("old")], fs::read(dir.join("old")).unwrap());
    // The cut was not synced; the names were.
    assert_eq!(image(Loss::Everything)[&path("old")], b"abcdefghij");
}
