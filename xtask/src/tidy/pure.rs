//! A pure room has no clock, no file, no socket, no thread and prints nothing: what it needs is an argument.
//! Its tests may. Source: house rule 9; architecture.md, "Layout".

use std::collections::BTreeSet;

use quote::ToTokens;
use syn::visit::{self, Visit};

use super::tree::Source;
use super::{Finding, Tree, rooms, syntax};

const RULE: &str = "pure";

/// Paths that a pure room does not name, and neither anything below them.
const BANNED: [&str; 5] =
    ["std::time::SystemTime", "std::time::Instant", "std::fs", "std::net", "std::thread"];

/// Whole modules that hold something banned: only what is wanted of them may be imported.
const TOO_WIDE: [&str; 4] = ["std::time", "std::time::self", "std::time::*", "std::*"];

/// Macros that print.
const PRINTING: [&str; 4] = ["println", "print", "eprintln", "eprint"];

/// Looks at every file of every pure room.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.sources.iter().filter(|source| is_pure(&source.path)).flat_map(check_one).collect()
}

fn is_pure(path: &str) -> bool {
    let folder = path.split_once("/src/").map_or(path, |(folder, _)| folder);
    rooms::room_of(folder).is_some_and(|room| room.pure)
}

fn check_one(source: &Source) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    for item in &source.code {
        let row = syntax::tokens(item.to_token_stream());
        for banned in BANNED {
            let spaced = banned.replace("::", " : : ");
            let wanted: Vec<&str> = spaced.split(' ').collect();
            found.extend(syntax::runs(&row, &wanted).map(|(_, line)| (line, banned.to_owned())));
        }
        for name in PRINTING {
            let wanted = [name, "!"];
            found.extend(syntax::runs(&row, &wanted).map(|(_, line)| (line, format!("{name}!"))));
        }
        let mut uses = Uses::default();
        uses.visit_item(item);
        found.extend(uses.found);
    }
    let finding = |(line, what): (usize, String)| {
        Finding::new(RULE, &source.path, line, format!("{what} in a pure crate: take it as an argument"))
    };
    found.into_iter().map(finding).collect()
}

#[derive(Default)]
struct Uses {
    found: BTreeSet<(usize, String)>,
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for (path, line) in syntax::used_paths(&item.tree) {
            let below = |banned: &&&str| {
                path.strip_prefix(**banned).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            if let Some(banned) = BANNED.iter().find(below) {
                self.found.insert((line, (*banned).to_owned()));
            } else if TOO_WIDE.contains(&path.as_str()) {
                self.found.insert((line, path));
            }
        }
        visit::visit_item_use(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let findings = check(&Tree::of(&[(path, text)]));
        let name = |finding: Finding| {
            let what = finding.what.split(" in a pure").next().unwrap_or_default().to_owned();
            (finding.line, what)
        };
        findings.into_iter().map(name).collect()
    }

    fn one(text: &str) -> Vec<String> {
        found("crates/rails/coin/src/payer.rs", text).into_iter().map(|(_, what)| what).collect()
    }

    #[test]
    fn clocks_files_sockets_threads_and_printing_are_found() {
        assert_eq!(one("fn f() { let t = std::time::Instant::now(); }"), ["std::time::Instant"]);
        assert_eq!(one("use std::time::{Duration, SystemTime};"), ["std::time::SystemTime"]);
        assert_eq!(one("use std::{fmt, fs::{self, File}};"), ["std::fs"]);
        assert_eq!(one("fn f() { use std::net::IpAddr; }"), ["std::net"]);
        assert_eq!(one("fn f() { ::std::thread::yield_now() }"), ["std::thread"]);
        assert_eq!(one("use std::time as clock;"), ["std::time"]);
        assert_eq!(one("use std::time::{self, Duration};"), ["std::time::self"]);
        assert_eq!(one("fn f() { println!(\"x\"); eprint!(\"y\") }"), ["eprint!", "println!"]);
        assert_eq!(one("fn f() { assert!(std::fs::read(\"x\").is_ok()) }"), ["std::fs"]);
    }

    #[test]
    fn the_line_is_said() {
        assert_eq!(
            found("crates/money/src/lib.rs", "//! A.\n\nfn f() {\n    std::fs::read(\"x\");\n}\n"),
            [(4, "std::fs".to_owned())]
        );
    }

    #[test]
    fn what_is_harmless_passes() {
        assert!(
            one("use std::time::Duration; fn f(now: Instant) -> std::time::Duration { now.0 }").is_empty()
        );
        assert!(one("/// Not `std::fs`.\nfn f() -> &'static str { \"std::fs println!\" }").is_empty());
        assert!(one("#[cfg(test)] mod tests { use std::fs; #[test] fn f() { println!() } }").is_empty());
        assert!(found("crates/rails/coin/tests/v2.rs", "use std::time::Instant;").is_empty());
        assert!(found("crates/shell/src/clock.rs", "use std::time::Instant;").is_empty());
    }
}
