//! The README's first command: it tells the whole story, twice at the same time, and leaves nothing behind.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::Stdio;
use support::Home;

#[test]
fn two_demos_at_the_same_time_end_with_clean_books() {
    let home = Home::new();
    let start = |name: &str| {
        let dir = home.path(name);
        let mut command = home.command(&["demo", "--once", "--dir", dir.to_str().unwrap()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for demo in [start("a"), start("b")] {
        let output = demo.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}{complained}");
        for line in [
            "buys 20.70 FLO",
            "pays 0.50 FLO (exact coins)",
            "pays 0.35 FLO (after change at the operator)",
            "is refused; only she is told why: 0.20 FLO is coin-spent",
            "sees of the refused payment only: denied 0.20 FLO",
            "pays out: 1.05 FLO arrive",
            "Audit: clean",
        ] {
            assert!(said.contains(line), "{line:?} is missing:\n{said}");
        }
        assert_eq!(complained, "", "{said}");
    }
}

#[test]
fn a_folder_that_is_there_is_left_alone() {
    let home = Home::new();
    let dir = home.path("mine");
    std::fs::create_dir(&dir).unwrap();
    home.fails(&["demo", "--once", "--dir", dir.to_str().unwrap()], 73);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}
