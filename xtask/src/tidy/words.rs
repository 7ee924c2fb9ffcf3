//! Rules about words: each file says what it is, nothing is left over, nothing belongs to one machine.
//! Source: house rules 19 and 24. The words looked for are put together here, so that this file passes.

use super::tree::has_ending;
use super::{Finding, Tree, syntax};

/// Macros that say "later".
const LATER: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Marks in comments that say "later".
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// A header that says that there is nothing below it.
const PLACEHOLDER: &str = concat!("Not yet ", "written");

/// Absolute folders of one machine.
const FOLDERS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tm", "p/")];

/// Names of machines and tools that mean nothing elsewhere.
const NAMES: [&str; 1] = [concat!("far", "m-")];

/// Files that others write.
const GENERATED: [&str; 1] = ["Cargo.lock"];

/// Each Rust file begins with `//!` and words; inner attributes may stand above it.
#[must_use]
pub fn headers(tree: &Tree) -> Vec<Finding> {
    let rust = tree.texts.iter().filter(|(path, _)| has_ending(path, "rs"));
    let headless = rust.filter(|(_, text)| !has_header(text));
    headless
        .map(|(path, _)| {
            Finding::new("header", path, 1, "begins without `//!`: say what it is and its source")
        })
        .collect()
}

fn has_header(text: &str) -> bool {
    let mut in_attribute = false;
    for line in text.lines() {
        if line.starts_with("#![") {
            in_attribute = true;
        }
        if in_attribute {
            in_attribute = !line.ends_with(']');
        } else if let Some(words) = line.strip_prefix("//!") {
            return !words.trim().is_empty();
        } else if !line.trim().is_empty() {
            return false;
        }
    }
    false
}

/// No macro, attribute or comment that puts something off.
#[must_use]
pub fn leftovers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| has_ending(path, "rs")) {
        let mut find = |line: usize, what: &str| {
            findings.push(Finding::new("leftover", path, line, format!("{what} is left over")));
        };
        let row = text.parse().map(syntax::tokens).unwrap_or_default();
        for name in LATER {
            syntax::runs(&row, &[name, "!"]).for_each(|(_, line)| find(line, &format!("{name}!")));
        }
        syntax::runs(&row, &["#", "[", "ignore"]).for_each(|(_, line)| find(line, "an ignored test"));
        for (number, line) in (1..).zip(text.lines()) {
            for mark in MARKS.iter().filter(|mark| has_mark(line, mark)) {
                find(number, mark);
            }
        }
        if text.lines().take(3).any(|line| line.starts_with("//!") && line.contains(PLACEHOLDER)) {
            find(1, "a placeholder");
        }
    }
    findings
}

/// The mark as a word of its own; not as a string by itself, as one of them is also the ISO 4217 code for "no currency".
fn has_mark(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let before = before.chars().next_back();
        let after = rest.strip_prefix(mark).and_then(|rest| rest.chars().next());
        let joined = |c: char| c.is_alphanumeric() || c == '_';
        !before.is_some_and(joined) && !after.is_some_and(joined) && (before, after) != (Some('"'), Some('"'))
    })
}

/// No absolute path into one machine's folders, no name that means something only there.
#[must_use]
pub fn machine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| !GENERATED.contains(&path.as_str())) {
        for (number, line) in (1..).zip(text.lines()) {
            for folder in FOLDERS.iter().filter(|folder| has_absolute(line, folder)) {
                let what = format!("{folder} is a folder of one machine");
                findings.push(Finding::new("machine", path, number, what));
            }
            for name in NAMES.iter().filter(|name| has_name(line, name)) {
                findings.push(Finding::new(
                    "machine",
                    path,
                    number,
                    format!("{name} means nothing elsewhere"),
                ));
            }
        }
    }
    findings
}

/// The folder at the root: what stands before it is no part of a longer path.
fn has_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~}+*<>".contains(c))
    })
}

fn has_name(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        let header = |text: &str| lines(headers, "crates/a/src/lib.rs", text).is_empty();
        assert!(header("//! What it is.\nfn f() {}"));
        assert!(header("#![allow(dead_code)]\n//! What it is.\n"));
        assert!(header("#![allow(\n    dead_code,\n)]\n\n//! What it is.\n"));
        assert!(!header("fn f() {}\n"));
        assert!(!header("//!\nfn f() {}\n"));
        assert!(!header("// What it is.\n//! Too late.\n"));
        assert!(!header("use std::fmt;\n//! Too late.\n"));
        assert!(!header(""));
        assert!(lines(headers, "README.md", "# Florin").is_empty());
    }

    #[test]
    fn what_was_put_off_is_found() {
        let left = |text: &str| lines(leftovers, "crates/a/tests/x.rs", text);
        for name in LATER {
            assert_eq!(left(&format!("fn f() {{\n    {name}!(\"x\")\n}}")), [2]);
            assert_eq!(left(&format!("fn f() {{\n    assert!({name}!(x))\n}}")), [2]);
            assert!(left(&format!("// {name}!\nfn {name}() {{}} const A: &str = \"{name}!()\";")).is_empty());
        }
        for mark in MARKS {
            assert_eq!(left(&format!("\n// {mark}: later")), [2]);
            assert!(left(&format!("// {mark}S and A{mark} and {mark}_A")).is_empty());
            assert!(left(&format!("const A: &str = \"{mark}\";")).is_empty());
        }
        assert_eq!(left("#[test]\n#[ignore = \"slow\"]\nfn f() {}"), [2]);
        assert_eq!(left(&format!("//! {PLACEHOLDER}.\n")), [1]);
        assert!(lines(leftovers, "notes.md", &format!("{} {}!()", MARKS[0], LATER[0])).is_empty());
    }

    #[test]
    fn what_belongs_to_one_machine_is_found() {
        let found = |text: &str| lines(machine, "docs/a.md", text);
        for folder in FOLDERS {
            assert_eq!(found(&format!("cd {folder}x\n`{folder}y`\nfile://{folder}")), [1, 2, 3]);
            assert!(
                found(&format!("a{folder} ..{folder} $HOME{folder} ${{A}}{folder} ~{folder}")).is_empty()
            );
        }
        assert_eq!(found(&format!("see {}bench", NAMES[0])), [1]);
        assert!(found(&format!("wind{}ing", NAMES[0])).is_empty());
        assert!(lines(machine, "Cargo.lock", &format!("\"{}x\"", NAMES[0])).is_empty());
        assert_eq!(lines(machine, ".ci/run", &format!("ls {}", FOLDERS[0])), [1]);
    }
}
