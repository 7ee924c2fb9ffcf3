//! The rooms of the house and what each may lean on: the one table that says which way the arrows go.
//! Source: architecture.md, "Layout". A new line or a wider one is a commit of its own, with its ADR.

/// One crate under `crates/`, named by its folder; `rails/*` is any rail.
pub struct Room {
    /// The folder.
    pub name: &'static str,
    /// No clock, no file, no socket, no thread, no printing: a function of its arguments.
    pub pure: bool,
    /// The rooms it may depend on.
    pub rooms: &'static str,
    /// The guarded kinds of other people's crates that it may depend on.
    pub guarded: &'static str,
}

const fn pure(name: &'static str, rooms: &'static str) -> Room {
    Room { name, pure: true, rooms, guarded: "" }
}

const fn shell(name: &'static str, rooms: &'static str, guarded: &'static str) -> Room {
    Room { name, pure: false, rooms, guarded }
}

/// The table, from the bottom of the house to its top.
pub const ROOMS: &[Room] = &[
    pure("money", ""),
    pure("crypto", ""),
    pure("books", "money crypto"),
    pure("rail", "money crypto books"),
    pure("parties", "money crypto books rail"),
    pure("rails/*", "money crypto books rail parties"),
    shell("store", "money crypto books", "sql files"),
    shell("module", "crypto books rails/*", ""),
    shell("models", "money crypto books rail parties rails/*", ""),
    shell("http", "money rail", "network"),
    shell("shell", "money crypto books rail store http", "network files chance"),
    shell("bank", "money crypto books rail parties store http shell", "network"),
    shell("operator", "money crypto books rail parties rails/* store module http shell bank", "network"),
    shell("wallet", "money crypto books rail parties rails/* store http shell", "network"),
    shell("merchant", "money crypto books rail parties rails/* store http shell wallet", "network"),
    shell(
        "bench",
        "money crypto books rail parties rails/* store http shell bank operator wallet merchant",
        "network",
    ),
    shell(
        "sim",
        "money crypto books rail parties rails/* store http shell bank operator wallet merchant",
        "network",
    ),
    shell(
        "faults",
        "money crypto books rail parties rails/* store http shell bank operator wallet merchant bench",
        "network sql",
    ),
    shell(
        "fuzz",
        "money crypto books rail parties rails/* store http shell bank operator wallet merchant",
        "network",
    ),
    shell(
        "florin",
        "money crypto books rail parties rails/* store http shell bank operator wallet merchant bench",
        "network",
    ),
];

/// The guarded kinds: a kind, and the crates that belong to it. A trailing `*` stands for any ending.
pub const GUARDED: &[(&str, &str)] = &[
    ("network", "tokio* axum* hyper* tower* rustls* http http-* reqwest* socket2 mio"),
    ("sql", "rusqlite libsqlite3-sys sqlx* postgres* tokio-postgres"),
    ("files", "rustix"),
    ("chance", "getrandom rand"),
];

/// The room of a folder under the workspace, as `crates/rails/coin`.
#[must_use]
pub fn room_of(folder: &str) -> Option<&'static Room> {
    let name = folder.strip_prefix("crates/")?;
    let name = if name.starts_with("rails/") { "rails/*" } else { name };
    ROOMS.iter().find(|room| room.name == name)
}

/// The guarded kind that a crate belongs to.
#[must_use]
pub fn kind_of(name: &str) -> Option<&'static str> {
    let belongs = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    GUARDED.iter().rev().find(|(_, crates)| crates.split(' ').any(belongs)).map(|(kind, _)| *kind)
}

/// Whether a blank-separated list holds a word.
#[must_use]
pub fn holds(list: &str, word: &str) -> bool {
    list.split(' ').any(|listed| listed == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_cycle_and_names_only_rooms() {
        for (place, room) in ROOMS.iter().enumerate() {
            for below in room.rooms.split(' ').filter(|name| !name.is_empty()) {
                let at = ROOMS.iter().position(|other| other.name == below);
                let at = at.unwrap_or_else(|| panic!("{} names {below}, which is no room", room.name));
                assert!(at < place, "{} leans on {below}, which stands above it", room.name);
                assert!(!room.pure || ROOMS[at].pure, "{} is pure and {below} is not", room.name);
            }
            for kind in room.guarded.split(' ').filter(|kind| !kind.is_empty()) {
                assert!(GUARDED.iter().any(|(name, _)| *name == kind), "{kind} is no guarded kind");
                assert!(!room.pure);
            }
        }
    }

    #[test]
    fn kinds_are_found_by_name_and_by_beginning() {
        assert_eq!(kind_of("hyper-util"), Some("network"));
        assert_eq!(kind_of("rustls-pki-types"), Some("network"));
        assert_eq!(kind_of("tokio-postgres"), Some("sql"));
        assert_eq!(kind_of("getrandom"), Some("chance"));
        assert_eq!(kind_of("rand_core"), None);
        assert_eq!(kind_of("minicbor"), None);
    }
}
