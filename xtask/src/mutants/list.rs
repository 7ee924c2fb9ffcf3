//! The list of deliberate faults: what each breaks, where, and what must be said of it. Source: issue ("proof that it finds
//! bugs"); ADR 0038.

use std::path::Path;

use serde::Deserialize;

use super::MutantError;

/// Faults that are not caught yet: run by `--open` alone.
pub const OPEN: &str = "open.toml";

/// A change of the text of one file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, relative to the workspace.
    pub file: String,
    /// Text that stands there exactly once.
    pub find: String,
    /// What stands there instead; the word `MUTANT` is true while this fault is on.
    pub replace: String,
}

/// One deliberate fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// What it is called.
    pub name: String,
    /// Which promise it breaks.
    pub why: String,
    /// What must stand in what is found; of several parts, divided by ` | `, one.
    #[serde(default)]
    pub says: String,
    /// So many seeds are tried at most.
    #[serde(default = "seeds")]
    pub seeds: u64,
    /// From this one on.
    #[serde(default)]
    pub from: u64,
    /// Whether the simulation finds it.
    #[serde(default = "caught")]
    pub caught: bool,
    /// The changes.
    pub edit: Vec<Edit>,
}

const fn seeds() -> u64 {
    60
}

const fn caught() -> bool {
    true
}

impl Mutant {
    /// Whether what was found is what this fault must lead to.
    #[must_use]
    pub fn is_said(&self, finding: &str) -> bool {
        self.says.split(" | ").any(|part| finding.contains(part))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mutant: Vec<Mutant>,
}

/// Reads all lists of a folder, in the order of their names; `OPEN` comes last.
///
/// # Errors
/// `Unreadable`, `NotAList`, `Twice`.
pub fn read(folder: &Path) -> Result<Vec<Mutant>, MutantError> {
    let unreadable = |source| MutantError::Unreadable { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            paths.push(path);
        }
    }
    paths.sort_by_key(|path| (path.ends_with(OPEN), path.clone()));
    let mut all: Vec<Mutant> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| MutantError::Unreadable { path: path.clone(), source })?;
        let file: File =
            toml::from_str(&text).map_err(|e| MutantError::NotAList { path, why: e.to_string() })?;
        for mutant in file.mutant {
            if all.iter().any(|other| other.name == mutant.name) {
                return Err(MutantError::Twice(mutant.name));
            }
            all.push(mutant);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_house_can_be_read_and_says_what_must_be_found() {
        let all = read(&crate::root().join(super::super::FOLDER)).unwrap();
        assert!(all.iter().filter(|mutant| mutant.caught).count() >= 25, "{}", all.len());
        for mutant in &all {
            assert_eq!(mutant.says.is_empty(), !mutant.caught, "{}", mutant.name);
            assert!(mutant.edit.iter().any(|edit| edit.replace.contains("MUTANT")), "{}", mutant.name);
            assert!(!mutant.why.is_empty() && mutant.seeds > 0, "{}", mutant.name);
        }
    }

    #[test]
    fn one_of_several_sayings_is_enough() {
        let text = "[[mutant]]\nname = 'a'\nwhy = 'b'\nsays = 'one | two'\nedit = []";
        let file: File = toml::from_str(text).unwrap();
        let mutant = file.mutant.first().unwrap();
        assert!(mutant.is_said("and two") && mutant.is_said("one") && !mutant.is_said("three"));
    }
}
