//! What the rules look at: the text files of the workspace, and its Rust parsed, with and without its tests.
//! Source: house rule 24 (tests are exempt from some rules, never from all).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::Item;

use super::TidyError;
use super::syntax;

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// One Rust file.
pub struct Source {
    /// Its path, relative to the workspace.
    pub path: String,
    /// The whole of it; the parser's words when it is not Rust.
    pub whole: Result<syn::File, String>,
    /// What is built into programs: the file without its tests; nothing for a file of tests.
    pub code: Vec<Item>,
}

/// The workspace.
pub struct Tree {
    /// Every file and folder, relative to the workspace.
    pub paths: BTreeSet<String>,
    /// The text of every text file.
    pub texts: BTreeMap<String, String>,
    /// The Rust among them.
    pub sources: Vec<Source>,
}

impl Tree {
    /// Reads a workspace from its folder.
    ///
    /// # Errors
    /// `Unreadable` with the path.
    pub fn read(root: &Path) -> Result<Self, TidyError> {
        let (mut paths, mut texts) = (BTreeSet::new(), BTreeMap::new());
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let unreadable = |path: &str, source| TidyError::Unreadable { path: path.to_owned(), source };
            let entries = std::fs::read_dir(root.join(&folder)).map_err(|e| unreadable(&folder, e))?;
            for entry in entries {
                let entry = entry.map_err(|e| unreadable(&folder, e))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if SKIPPED.contains(&name.as_str()) {
                    continue;
                }
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let kind = entry.file_type().map_err(|e| unreadable(&path, e))?;
                if kind.is_dir() {
                    folders.push(path.clone());
                } else if kind.is_file() {
                    let bytes = std::fs::read(entry.path()).map_err(|e| unreadable(&path, e))?;
                    // What is not UTF-8 is a binary file (a fixture): it has no lines to judge.
                    if let Ok(text) = String::from_utf8(bytes) {
                        texts.insert(path.clone(), text);
                    }
                }
                paths.insert(path);
            }
        }
        Ok(Self::parse(paths, texts))
    }

    /// A made-up workspace.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut paths = BTreeSet::new();
        for (path, _) in files {
            let parts: Vec<&str> = path.split('/').collect();
            paths.extend((1..=parts.len()).filter_map(|n| parts.get(..n)).map(|part| part.join("/")));
        }
        let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Self::parse(paths, texts)
    }

    fn parse(paths: BTreeSet<String>, texts: BTreeMap<String, String>) -> Self {
        let rust = texts.iter().filter(|(path, _)| has_ending(path, "rs"));
        let parsed: Vec<_> = rust
            .map(|(path, text)| (path.clone(), syn::parse_file(text).map_err(|error| error.to_string())))
            .collect();
        let tests: BTreeSet<String> = parsed
            .iter()
            .filter_map(|(path, file)| Some((path, file.as_ref().ok()?)))
            .flat_map(|(path, file)| syntax::test_modules_of(path, file))
            .collect();
        let sources = parsed
            .into_iter()
            .map(|(path, whole)| {
                let code = match &whole {
                    Ok(file) if !is_test(&path, file, &tests) => syntax::without_tests(&file.items),
                    _ => Vec::new(),
                };
                Source { path, whole, code }
            })
            .collect();
        Self { paths, texts, sources }
    }
}

/// A file of tests: under a crate's `tests/` or `benches/`, marked `#![cfg(test)]`, or a module declared under it.
fn is_test(path: &str, file: &syn::File, tests: &BTreeSet<String>) -> bool {
    let folders = path.split('/').take_while(|part| *part != "src");
    let in_folder =
        !path.contains("/src/") && folders.into_iter().any(|part| part == "tests" || part == "benches");
    let declared = tests.iter().any(|module| {
        path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    });
    in_folder || declared || syntax::is_test(&file.attrs)
}

/// Whether a path ends in `.ending`.
#[must_use]
pub fn has_ending(path: &str, ending: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_len(tree: &Tree, path: &str) -> usize {
        tree.sources.iter().find(|source| source.path == path).unwrap().code.len()
    }

    #[test]
    fn tests_are_known_by_place_by_mark_and_by_declaration() {
        let tree = Tree::of(&[
            ("crates/a/tests/kill.rs", "fn f() {}"),
            ("crates/a/tests/common/mod.rs", "fn f() {}"),
            ("crates/a/src/lib.rs", "#[cfg(test)] mod trial; mod real; fn f() {} #[cfg(test)] mod tests { }"),
            ("crates/a/src/trial.rs", "fn f() {}"),
            ("crates/a/src/trial/deep.rs", "fn f() {}"),
            ("crates/a/src/trials.rs", "fn f() {}"),
            ("crates/a/src/real.rs", "#[cfg(all(test, unix))] mod inner; fn f() {}"),
            ("crates/a/src/real/inner.rs", "fn f() {}"),
            ("crates/a/src/marked.rs", "#![cfg(test)] fn f() {}"),
            ("crates/a/src/tests/x.rs", "fn f() {}"),
        ]);
        let lens: Vec<_> = tree.sources.iter().map(|s| (s.path.as_str(), code_len(&tree, &s.path))).collect();
        assert_eq!(
            lens,
            [
                ("crates/a/src/lib.rs", 2),
                ("crates/a/src/marked.rs", 0),
                ("crates/a/src/real.rs", 1),
                ("crates/a/src/real/inner.rs", 0),
                // Not declared as a module of tests: it is code.
                ("crates/a/src/tests/x.rs", 1),
                ("crates/a/src/trial.rs", 0),
                ("crates/a/src/trial/deep.rs", 0),
                ("crates/a/src/trials.rs", 1),
                ("crates/a/tests/common/mod.rs", 0),
                ("crates/a/tests/kill.rs", 0),
            ]
        );
    }

    #[test]
    fn a_folder_is_read_whole_but_for_what_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        put("crates/a/src/lib.rs", b"//! A.\n");
        put("target/debug/x.rs", b"not rust");
        put("vectors/a.bin", &[0xff, 0xfe]);
        put(".ci/run", b"true\n");
        let tree = Tree::read(folder.path()).unwrap();
        let texts: Vec<_> = tree.texts.keys().map(String::as_str).collect();
        assert_eq!(texts, [".ci/run", "crates/a/src/lib.rs"]);
        assert!(tree.paths.contains("vectors/a.bin"));
        assert_eq!(tree.sources.len(), 1);
        assert!(Tree::read(&folder.path().join("none")).is_err());
    }
}
