//! A copy of the workspace with all deliberate faults in it, each off until it is named. Our own crates get another
//! version there, so that both can be built in one target folder and share what is built of others.
//! Source: ADR 0038.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::MutantError;
use super::list::{Edit, Mutant};

/// The environment variable that says which fault is on.
pub const WHICH: &str = "FLORIN_MUTANT";
/// The program of the copy.
pub const PROGRAM: &str = "florin-sim-mutants";
/// What is copied.
const PARTS: [&str; 4] = ["Cargo.toml", "Cargo.lock", "crates", "xtask"];
/// What is no part of a program.
const SKIPPED: [&str; 3] = ["target", "mutants-out", "corpus"];

type Texts = BTreeMap<String, Vec<u8>>;

/// Writes the copy: only what has changed since the last one, so that a build begins where the last one ended.
///
/// # Errors
/// `Unreadable`, `Edit`, `Manifest`.
pub fn make(root: &Path, to: &Path, mutants: &[Mutant]) -> Result<(), MutantError> {
    let texts = changed(root, mutants)?;
    remove_others(to, to, &texts)?;
    for (path, bytes) in &texts {
        write(&to.join(path), bytes)?;
    }
    Ok(())
}

/// The files of the workspace with all faults in them.
fn changed(root: &Path, mutants: &[Mutant]) -> Result<Texts, MutantError> {
    let mut texts = Texts::new();
    for part in PARTS {
        gather(root, part, &mut texts)?;
    }
    for mutant in mutants {
        for edit in &mutant.edit {
            apply(&mut texts, root, mutant, edit)?;
        }
    }
    manifests(&mut texts)?;
    Ok(texts)
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> MutantError {
    let path = path.to_owned();
    move |source| MutantError::Unreadable { path: path.clone(), source }
}

fn gather(root: &Path, part: &str, texts: &mut Texts) -> Result<(), MutantError> {
    let path = root.join(part);
    if path.is_file() {
        texts.insert(part.to_owned(), std::fs::read(&path).map_err(unreadable(&path))?);
        return Ok(());
    }
    for entry in std::fs::read_dir(&path).map_err(unreadable(&path))? {
        let name = entry.map_err(unreadable(&path))?.file_name().to_string_lossy().into_owned();
        if !SKIPPED.contains(&name.as_str()) {
            gather(root, &format!("{part}/{name}"), texts)?;
        }
    }
    Ok(())
}

/// The text must stand there once, before and after the other faults: two of one spot cannot be told apart.
fn apply(texts: &mut Texts, root: &Path, mutant: &Mutant, edit: &Edit) -> Result<(), MutantError> {
    let wrong = |times| MutantError::Edit { name: mutant.name.clone(), file: edit.file.clone(), times };
    let path = root.join(&edit.file);
    let original = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
    let now = texts.get_mut(&edit.file).ok_or_else(|| wrong(0))?;
    let text = String::from_utf8_lossy(now).into_owned();
    for known in [&original, &text] {
        let times = known.matches(edit.find.as_str()).count();
        if times != 1 {
            return Err(wrong(times));
        }
    }
    let replace = edit.replace.replace("MUTANT", &condition(&mutant.name));
    *now = text.replacen(&edit.find, &replace, 1).into_bytes();
    Ok(())
}

/// Read once: a fault is on for the whole of a process.
fn condition(name: &str) -> String {
    format!(
        "({{ static ON: std::sync::OnceLock<bool> = std::sync::OnceLock::new(); \
         *ON.get_or_init(|| std::env::var(\"{WHICH}\").is_ok_and(|on| on == \"{name}\")) }})"
    )
}

/// Another version for our own crates, and another name for the program.
fn manifests(texts: &mut Texts) -> Result<(), MutantError> {
    let version = version(&text_of(texts, "Cargo.toml")?)?;
    let (old, new) = (format!("version = \"{version}\"\n"), format!("version = \"{version}-mutants\"\n"));
    change(texts, "Cargo.toml", |text| text.replacen(&old, &new, 1))?;
    change(texts, "Cargo.lock", |text| {
        let ours = |package: &str| !package.contains("\nsource = ");
        let renamed = |p: &str| if ours(p) { p.replacen(&old, &new, 1) } else { p.to_owned() };
        text.split("[[package]]").map(renamed).collect::<Vec<_>>().join("[[package]]")
    })?;
    change(texts, "crates/sim/Cargo.toml", |text| {
        format!("{text}\n[[bin]]\nname = \"{PROGRAM}\"\npath = \"src/main.rs\"\n")
    })
}

fn text_of(texts: &Texts, path: &str) -> Result<String, MutantError> {
    let bytes = texts.get(path).ok_or_else(|| MutantError::Manifest(path.to_owned()))?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn change(texts: &mut Texts, path: &str, how: impl Fn(&str) -> String) -> Result<(), MutantError> {
    let changed = how(&text_of(texts, path)?);
    texts.insert(path.to_owned(), changed.into_bytes());
    Ok(())
}

/// The version of the workspace.
fn version(manifest: &str) -> Result<String, MutantError> {
    let none = || MutantError::Manifest("Cargo.toml".to_owned());
    let (_, package) = manifest.split_once("[workspace.package]\n").ok_or_else(none)?;
    let line = package.lines().find_map(|line| line.strip_prefix("version = \"")).ok_or_else(none)?;
    line.strip_suffix('"').map(str::to_owned).ok_or_else(none)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), MutantError> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(unreadable(folder))?;
    }
    std::fs::write(path, bytes).map_err(unreadable(path))
}

/// What the workspace does not have any more.
fn remove_others(root: &Path, folder: &Path, texts: &Texts) -> Result<(), MutantError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path: PathBuf = entry.map_err(unreadable(folder))?.path();
        if path.is_dir() {
            remove_others(root, &path, texts)?;
            continue;
        }
        let name = path.strip_prefix(root).map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        if !texts.contains_key(&name) {
            std::fs::remove_file(&path).map_err(unreadable(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(find: &str) -> Mutant {
        let edit =
            Edit { file: "a.rs".into(), find: find.into(), replace: "if MUTANT { 2 } else { 1 }".into() };
        Mutant {
            name: "n".into(),
            why: "w".into(),
            says: "s".into(),
            seeds: 1,
            from: 0,
            caught: true,
            edit: vec![edit],
        }
    }

    /// Before anybody waits for a build: who has rewritten a line that a fault is about hears of it here.
    #[test]
    fn every_fault_of_the_list_still_has_its_place() {
        let root = crate::root();
        let mutants = super::super::list::read(&root.join(super::super::FOLDER)).unwrap();
        let texts = changed(&root, &mutants).unwrap();
        for mutant in &mutants {
            let asks = format!("on == \"{}\"", mutant.name);
            let there = |edit: &Edit| text_of(&texts, &edit.file).unwrap().contains(&asks);
            assert!(mutant.edit.iter().all(there), "{}", mutant.name);
        }
    }

    #[test]
    fn a_text_that_does_not_stand_there_once_is_an_error_with_the_faults_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.rs"), "one; two; two").unwrap();
        for (find, times) in [("three", Some(0)), ("two", Some(2)), ("one", None)] {
            let mut texts = Texts::from([("a.rs".to_owned(), b"one; two; two".to_vec())]);
            let mutant = mutant(find);
            let done = apply(&mut texts, dir.path(), &mutant, mutant.edit.first().unwrap());
            match times {
                Some(times) => {
                    let said = done.unwrap_err().to_string();
                    assert!(said.contains("n: ") && said.contains(&format!("{times} times")), "{said}");
                }
                None => {
                    done.unwrap();
                    let text = String::from_utf8(texts.remove("a.rs").unwrap()).unwrap();
                    assert!(text.starts_with("if ({ static ON") && text.ends_with("; two; two"), "{text}");
                }
            }
        }
    }

    #[test]
    fn only_our_own_crates_get_another_version() {
        let mut texts = Texts::new();
        let workspace = "[workspace.package]\nversion = \"0.1.0\"\n[workspace.dependencies]\n";
        texts.insert("Cargo.toml".into(), workspace.into());
        let lock = "version = 4\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\nsource = \"registry\"\n\
                    [[package]]\nname = \"florin\"\nversion = \"0.1.0\"\n";
        texts.insert("Cargo.lock".into(), lock.into());
        texts.insert("crates/sim/Cargo.toml".into(), "[package]\n".into());
        manifests(&mut texts).unwrap();
        let lock = text_of(&texts, "Cargo.lock").unwrap();
        assert!(lock.contains("\"a\"\nversion = \"0.1.0\"\n"), "{lock}");
        assert!(lock.contains("\"florin\"\nversion = \"0.1.0-mutants\"\n"), "{lock}");
        assert!(text_of(&texts, "crates/sim/Cargo.toml").unwrap().contains(PROGRAM));
    }

    #[test]
    fn a_file_that_has_not_changed_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"1").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        write(&path, b"1").unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), old);
        write(&path, b"2").unwrap();
        assert_ne!(path.metadata().unwrap().modified().unwrap(), old);
        remove_others(dir.path(), dir.path(), &Texts::new()).unwrap();
        assert!(!path.exists());
    }
}
