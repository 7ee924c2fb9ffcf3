//! Which crate may depend on which: `cargo metadata` against the table in `rooms.rs`. Normal and build
//! dependencies count; what only tests use does not. Source: architecture.md, "Layout".

use std::path::Path;

use serde_json::Value;

use super::rooms::{self, Room};
use super::{Finding, TidyError};
use crate::steps::cargo_command;

const RULE: &str = "arrows";

/// One crate of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its folder, relative to the workspace.
    pub folder: String,
    /// What it needs to be built.
    pub needs: Vec<Need>,
}

/// A dependency that ends up in the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A crate of the workspace, by its folder.
    Ours(String),
    /// Somebody else's, by its name.
    Theirs(String),
}

/// Asks cargo for the workspace's crates and their direct dependencies.
///
/// # Errors
/// `Metadata` when cargo does not run, `MetadataShape` when it answers something else.
pub fn packages_of(root: &Path) -> Result<Vec<Package>, TidyError> {
    let output = cargo_command()
        .current_dir(root)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .map_err(|error| TidyError::Metadata(error.to_string()))?;
    if !output.status.success() {
        return Err(TidyError::Metadata(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    packages_from(&serde_json::from_slice(&output.stdout)?)
}

/// Reads the answer of `cargo metadata`.
///
/// # Errors
/// `Metadata` naming the field that is absent.
pub fn packages_from(metadata: &Value) -> Result<Vec<Package>, TidyError> {
    let absent = |field: &str| TidyError::Metadata(format!("no `{field}` in its answer"));
    let text = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| absent(field))
    };
    let list = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_array).cloned().ok_or_else(|| absent(field))
    };
    let root = text(metadata, "workspace_root")?;
    let mut packages = Vec::new();
    for package in list(metadata, "packages")? {
        let manifest = text(&package, "manifest_path")?;
        let folder = Path::new(&manifest).parent().map(|folder| folder.to_string_lossy().into_owned());
        let mut needs = Vec::new();
        for dependency in list(&package, "dependencies")? {
            if dependency.get("kind").and_then(Value::as_str) == Some("dev") {
                continue;
            }
            needs.push(match dependency.get("path").and_then(Value::as_str) {
                Some(path) => Need::Ours(below(&root, path)),
                None => Need::Theirs(text(&dependency, "name")?),
            });
        }
        packages.push(Package { folder: below(&root, &folder.unwrap_or_default()), needs });
    }
    Ok(packages)
}

fn below(root: &str, path: &str) -> String {
    path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').to_owned()
}

/// Compares the edges with the table.
#[must_use]
pub fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_one).collect()
}

fn check_one(package: &Package) -> Vec<Finding> {
    let manifest = format!("{}/Cargo.toml", package.folder);
    let finding = |what: String| Finding::new(RULE, &manifest, 0, what);
    let wrong = |need: &Need| match rooms::room_of(&package.folder) {
        Some(room) => not_allowed(room, need),
        None => not_for_tools(need),
    };
    let unlisted = package.folder.starts_with("crates/") && rooms::room_of(&package.folder).is_none();
    if unlisted {
        return vec![finding("no room of this name in xtask/src/tidy/rooms.rs".to_owned())];
    }
    package.needs.iter().filter_map(wrong).map(finding).collect()
}

fn not_allowed(room: &Room, need: &Need) -> Option<String> {
    match need {
        Need::Ours(folder) => match rooms::room_of(folder) {
            Some(other) if rooms::holds(room.rooms, other.name) => None,
            _ => Some(format!("{} must not depend on {folder}", room.name)),
        },
        Need::Theirs(name) => {
            let kind = rooms::kind_of(name)?;
            let allowed = rooms::holds(room.guarded, kind);
            (!allowed).then(|| format!("{} must not depend on {name} ({kind})", room.name))
        }
    }
}

/// What stands outside `crates/` (xtask) judges the house and so takes nothing from it.
fn not_for_tools(need: &Need) -> Option<String> {
    match need {
        Need::Ours(folder) => Some(format!("a tool must not depend on {folder}")),
        Need::Theirs(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(folder: &str, need: Need) -> Vec<String> {
        let package = Package { folder: folder.to_owned(), needs: vec![need] };
        check(&[package]).into_iter().map(|finding| finding.what).collect()
    }

    fn ours(folder: &str) -> Need {
        Need::Ours(folder.to_owned())
    }

    fn theirs(name: &str) -> Need {
        Need::Theirs(name.to_owned())
    }

    #[test]
    fn an_arrow_upwards_or_sideways_is_found() {
        assert_eq!(wrong("crates/money", ours("crates/crypto")), ["money must not depend on crates/crypto"]);
        assert_eq!(wrong("crates/store", ours("crates/rail")), ["store must not depend on crates/rail"]);
        assert_eq!(wrong("crates/http", ours("crates/books")), ["http must not depend on crates/books"]);
        assert_eq!(wrong("crates/wallet", ours("crates/bank")), ["wallet must not depend on crates/bank"]);
        assert_eq!(wrong("crates/parties", ours("crates/rails/coin")).len(), 1);
        assert_eq!(wrong("crates/florin", ours("xtask")).len(), 1);
        assert_eq!(wrong("xtask", ours("crates/money")).len(), 1);
    }

    #[test]
    fn a_rail_never_names_another_rail() {
        let found = wrong("crates/rails/coin", ours("crates/rails/scrip"));
        assert_eq!(found, ["rails/* must not depend on crates/rails/scrip"]);
        assert!(wrong("crates/rails/scrip", ours("crates/parties")).is_empty());
    }

    #[test]
    fn guarded_crates_stay_in_their_rooms() {
        for (folder, name) in [
            ("crates/rails/coin", "tokio"),
            ("crates/parties", "getrandom"),
            ("crates/books", "rusqlite"),
            ("crates/store", "tokio"),
            ("crates/operator", "getrandom"),
            ("crates/operator", "rusqlite"),
            ("crates/wallet", "libsqlite3-sys"),
            ("crates/bank", "rustix"),
            ("crates/rail", "hyper-util"),
        ] {
            assert_eq!(wrong(folder, theirs(name)).len(), 1, "{folder} -> {name}");
        }
        for (folder, name) in [
            ("crates/store", "rusqlite"),
            ("crates/store", "rustix"),
            ("crates/shell", "getrandom"),
            ("crates/http", "rustls"),
            ("crates/florin", "tokio"),
            ("crates/crypto", "rand_core"),
            ("crates/money", "minicbor"),
        ] {
            assert!(wrong(folder, theirs(name)).is_empty(), "{folder} -> {name}");
        }
    }

    #[test]
    fn a_crate_without_a_room_is_found() {
        let package = Package { folder: "crates/cellar".to_owned(), needs: vec![] };
        assert_eq!(check(&[package]).len(), 1);
    }

    #[test]
    fn metadata_is_read_and_test_dependencies_do_not_count() {
        let metadata = json!({
            "workspace_root": "/house",
            "packages": [{
                "manifest_path": "/house/crates/rails/coin/Cargo.toml",
                "dependencies": [
                    {"name": "florin-store", "path": "/house/crates/store", "kind": "dev"},
                    {"name": "florin-money", "path": "/house/crates/money", "kind": null},
                    {"name": "tokio", "kind": "build", "rename": "calm"},
                ],
            }],
        });
        let packages = packages_from(&metadata).unwrap();
        let expected = Package {
            folder: "crates/rails/coin".to_owned(),
            needs: vec![ours("crates/money"), theirs("tokio")],
        };
        assert_eq!(packages, [expected]);
        assert_eq!(check(&packages).len(), 1);
        assert!(packages_from(&json!({"packages": []})).is_err());
    }
}
