//! With what number a Florin program ends. Source: sysexits.h for 64 and above; docs/exit-codes.md is the same table.

use florin_store::StoreError;

/// How a program ended. Scripts may rely on the numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ExitCode {
    /// What was asked for has happened.
    Done = 0,
    /// A definite no, to all of it or to a part.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// It is not known yet whether it happened: the same command again finds out.
    NotKnownYet = 3,
    /// Not enough coins, or a limit of the wallet's owner.
    NotEnough = 4,
    /// Data is damaged or belongs to something else.
    BadData = 65,
    /// Whom it takes cannot be reached.
    Unavailable = 69,
    /// A file or folder cannot be created.
    CannotCreate = 73,
    /// Reading or writing failed: start again.
    Io = 74,
    /// Another process is using the state.
    Busy = 75,
    /// Wrong passphrase or second factor, or no permission.
    NotAllowed = 77,
    /// The configuration is wrong.
    Configuration = 78,
}

impl ExitCode {
    /// Every code, in order of its number.
    pub const ALL: [Self; 12] = [
        Self::Done,
        Self::Refused,
        Self::Usage,
        Self::NotKnownYet,
        Self::NotEnough,
        Self::BadData,
        Self::Unavailable,
        Self::CannotCreate,
        Self::Io,
        Self::Busy,
        Self::NotAllowed,
        Self::Configuration,
    ];

    /// The number that the operating system gets.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in `--json` output and in docs/exit-codes.md.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Usage => "usage",
            Self::NotKnownYet => "not-known-yet",
            Self::NotEnough => "not-enough",
            Self::BadData => "bad-data",
            Self::Unavailable => "unavailable",
            Self::CannotCreate => "cannot-create",
            Self::Io => "io",
            Self::Busy => "busy",
            Self::NotAllowed => "not-allowed",
            Self::Configuration => "configuration",
        }
    }

    /// What it means, as docs/exit-codes.md says it.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "what was asked for has happened",
            Self::Refused => "a definite no, to all of it or to a part",
            Self::Usage => "the command line is wrong",
            Self::NotKnownYet => "not known yet whether it happened: run the same command again",
            Self::NotEnough => "not enough coins, or above a limit of the wallet",
            Self::BadData => "data is damaged, or belongs to something else",
            Self::Unavailable => "the operator, the bank or the service cannot be reached",
            Self::CannotCreate => "a file or folder cannot be created, or is there already",
            Self::Io => "reading or writing failed: start again",
            Self::Busy => "another process is using the same state",
            Self::NotAllowed => "wrong passphrase or second factor, or no permission",
            Self::Configuration => "the configuration is wrong",
        }
    }

    /// How a program ends that its store stopped.
    #[must_use]
    pub const fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Busy(_) | StoreError::Fenced | StoreError::Retry => Self::Busy,
            StoreError::Full | StoreError::Fatal { .. } => Self::Io,
            StoreError::Unknown => Self::NotKnownYet,
            StoreError::Damaged { .. } | StoreError::Foreign { .. } => Self::BadData,
        }
    }

    /// How a program ends that the system refused a file.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::NotAllowed,
            std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => Self::CannotCreate,
            _ => Self::Io,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_same_table() {
        let rows: Vec<String> = include_str!("../../../docs/exit-codes.md")
            .lines()
            .filter(|line| line.starts_with("| ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_digit))
            .map(|line| line.split('|').take(4).map(str::trim).collect::<Vec<_>>().join("|"))
            .collect();
        let codes = ExitCode::ALL.map(|c| format!("|{}|`{}`|{}", c.number(), c.name(), c.meaning()));
        assert_eq!(rows, codes);
    }

    #[test]
    fn numbers_are_distinct_and_ascending() {
        assert!(ExitCode::ALL.is_sorted_by(|a, b| a.number() < b.number()));
    }

    #[test]
    fn a_store_that_failed_ends_with_74_and_a_busy_one_with_75() {
        let fatal = StoreError::Fatal { file: "log".to_owned(), error: "EIO".to_owned() };
        assert_eq!(ExitCode::of_store(&fatal).number(), 74);
        assert_eq!(ExitCode::of_store(&StoreError::Busy("books".to_owned())).number(), 75);
        let damaged = StoreError::Damaged { file: "log".to_owned(), why: "chain" };
        assert_eq!(ExitCode::of_store(&damaged).number(), 65);
    }
}
