//! Our own rules over the tree: each a function from what was read to findings, so that each can be seen failing
//! on made-up input. Source: house rules 12, 19, 24; architecture.md (arrows); the G13 grep is the rails' own test.

pub mod arrows;
pub mod links;
pub mod pure;
pub mod rooms;
pub mod sizes;
pub mod slugs;
pub mod syntax;
pub mod tree;
pub mod words;

use std::fmt;
use std::path::Path;

pub use tree::Tree;

/// Why the tree could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum TidyError {
    /// A folder or file could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which one.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// `cargo metadata` did not run.
    #[error("`cargo metadata` did not run: {0}")]
    Metadata(String),
    /// `cargo metadata` said something else than expected.
    #[error("`cargo metadata` is not readable: {0}")]
    MetadataShape(#[from] serde_json::Error),
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the workspace.
    pub path: String,
    /// The line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong and what would be right.
    pub what: String,
}

impl Finding {
    /// A finding about a line of a file.
    #[must_use]
    pub fn new(rule: &'static str, path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.what)
    }
}

/// Every rule over the workspace in a folder.
///
/// # Errors
/// `Unreadable` for the tree, then `Metadata`, `MetadataShape` for the dependency edges.
pub fn over(root: &Path) -> Result<Vec<Finding>, TidyError> {
    let tree = Tree::read(root)?;
    let mut findings = arrows::check(&arrows::packages_of(root)?);
    for rule in [pure::check, sizes::check, words::headers, words::leftovers, words::machine] {
        findings.extend(rule(&tree));
    }
    findings.extend(slugs::check(&tree));
    findings.extend(links::check(&tree));
    findings.sort();
    findings.dedup();
    Ok(findings)
}
