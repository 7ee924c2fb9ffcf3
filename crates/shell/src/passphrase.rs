//! Where a passphrase comes from: a file, a terminal, or nowhere on purpose.
//! Source: architecture.md, "Conventions" (a prompt, `--passphrase-file`, or `--no-passphrase` with a warning).

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use florin_crypto::Zeroizing;

use crate::exit::ExitCode;

/// The longest passphrase in bytes.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;

/// What a program says when it is told to do without a passphrase.
pub const NO_PASSPHRASE_WARNING: &str = "warning: without a passphrase, whoever can read the key file (and the second factor, if there is one) has the keys";

/// A passphrase: no `Debug`, wiped on drop. An empty one stands for none.
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Where it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PassphraseSource {
    /// `--passphrase-file`: the file's bytes, without one newline at the end.
    File(PathBuf),
    /// `--no-passphrase`.
    None,
    /// Asked at the terminal.
    Prompt,
}

/// What it is for: a new one is asked for twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To open what is there.
    Open,
    /// To protect something new.
    Create,
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// There is nobody to ask.
    #[error(
        "a passphrase is needed and there is no terminal to ask at: use --passphrase-file, or --no-passphrase"
    )]
    NoTerminal,
    /// The file cannot be read.
    #[error("cannot read the passphrase from {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The terminal cannot be read.
    #[error("cannot ask for the passphrase: {source}")]
    Terminal {
        /// What the system said.
        source: io::Error,
    },
    /// None is not the same as an empty one: it must be said.
    #[error("the passphrase is empty; to do without one, say --no-passphrase")]
    Empty,
    /// Too long.
    #[error("the passphrase has more than {PASSPHRASE_BYTES_MAX} bytes")]
    TooLong,
    /// The two that were typed differ.
    #[error("the two passphrases differ")]
    Different,
}

impl PassphraseError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoTerminal | Self::Empty | Self::TooLong | Self::Different => ExitCode::Usage,
            Self::Unreadable { source, .. } | Self::Terminal { source } => ExitCode::of_io(source),
        }
    }
}

impl Passphrase {
    /// None, on purpose.
    #[must_use]
    pub fn none() -> Self {
        Self(Zeroizing::new(Vec::new()))
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// `Empty`, `TooLong`.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        match bytes.len() {
            0 => Err(PassphraseError::Empty),
            1..=PASSPHRASE_BYTES_MAX => Ok(Self(bytes)),
            _ => Err(PassphraseError::TooLong),
        }
    }

    /// Gets one from where it is said to be.
    ///
    /// # Errors
    /// `NoTerminal`, `Unreadable`, `Terminal`, `Empty`, `TooLong`, `Different`.
    pub fn read(source: &PassphraseSource, purpose: Purpose) -> Result<Self, PassphraseError> {
        match source {
            PassphraseSource::None => Ok(Self::none()),
            PassphraseSource::File(path) => Self::from_file(path),
            PassphraseSource::Prompt if !io::stdin().is_terminal() => Err(PassphraseError::NoTerminal),
            PassphraseSource::Prompt => Self::ask(purpose, &mut |prompt| rpassword::prompt_password(prompt)),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, for key files alone.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, for what a rail seals with a passphrase as a key file is sealed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn from_file(path: &Path) -> Result<Self, PassphraseError> {
        // Room for the longest, its newline, and one byte that shows that there is more; no growth leaves copies behind.
        let room = PASSPHRASE_BYTES_MAX.saturating_add(3);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room.saturating_add(1)));
        let limit = u64::try_from(room).unwrap_or(u64::MAX);
        File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(|source| PassphraseError::Unreadable { path: path.to_owned(), source })?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Self::new(bytes)
    }

    fn ask(
        purpose: Purpose,
        terminal: &mut dyn FnMut(&str) -> io::Result<String>,
    ) -> Result<Self, PassphraseError> {
        let mut typed = |prompt: &str| {
            let text = terminal(prompt).map_err(|source| PassphraseError::Terminal { source })?;
            Self::new(Zeroizing::new(text.into_bytes()))
        };
        if purpose == Purpose::Open {
            return typed("Passphrase: ");
        }
        let first = typed("New passphrase: ")?;
        let second = typed("Once more: ")?;
        if *first.0 == *second.0 { Ok(first) } else { Err(PassphraseError::Different) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> Result<Vec<u8>, PassphraseError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        std::fs::write(&path, content).unwrap();
        Passphrase::read(&PassphraseSource::File(path), Purpose::Create).map(|p| p.expose().to_vec())
    }

    fn typed(purpose: Purpose, answers: &[&str]) -> (Result<Vec<u8>, PassphraseError>, usize) {
        let mut left = answers.iter();
        let mut terminal =
            |_: &str| left.next().map(|a| (*a).to_owned()).ok_or(io::ErrorKind::UnexpectedEof.into());
        let got = Passphrase::ask(purpose, &mut terminal).map(|p| p.expose().to_vec());
        (got, left.len())
    }

    #[test]
    fn a_file_loses_one_newline_and_nothing_else() {
        for (content, expected) in [
            (b"secret".as_slice(), b"secret".as_slice()),
            (b"secret\n", b"secret"),
            (b"secret\r\n", b"secret"),
            (b"secret\n\n", b"secret\n"),
            (b" s \xff\0", b" s \xff\0"),
        ] {
            assert_eq!(file(content).unwrap(), expected);
        }
    }

    #[test]
    fn empty_long_and_missing_files_are_told_apart() {
        assert!(matches!(file(b""), Err(PassphraseError::Empty)));
        assert!(matches!(file(b"\n"), Err(PassphraseError::Empty)));
        let longest = vec![b'x'; PASSPHRASE_BYTES_MAX];
        assert_eq!(file(&longest).unwrap(), longest);
        assert_eq!(file(&[&longest, b"\r\n".as_slice()].concat()).unwrap(), longest);
        assert!(matches!(file(&[&longest, b"x".as_slice()].concat()), Err(PassphraseError::TooLong)));
        assert!(matches!(file(&[b'x'; 100_000]), Err(PassphraseError::TooLong)));
        let none = PassphraseSource::File(tempfile::tempdir().unwrap().path().join("none"));
        let missing = Passphrase::read(&none, Purpose::Open);
        assert!(matches!(missing, Err(PassphraseError::Unreadable { .. })));
    }

    #[test]
    fn a_new_one_is_asked_for_twice_and_must_agree() {
        assert!(matches!(typed(Purpose::Open, &["a", "b"]), (Ok(p), 1) if p == b"a"));
        assert!(matches!(typed(Purpose::Create, &["a", "a", "b"]), (Ok(p), 1) if p == b"a"));
        assert!(matches!(typed(Purpose::Create, &["a", "b"]), (Err(PassphraseError::Different), 0)));
        assert!(matches!(typed(Purpose::Create, &["", "b"]), (Err(PassphraseError::Empty), 1)));
        assert!(matches!(typed(Purpose::Open, &[]), (Err(PassphraseError::Terminal { .. }), 0)));
    }

    #[test]
    fn none_is_only_by_name() {
        assert!(Passphrase::read(&PassphraseSource::None, Purpose::Create).unwrap().is_none());
        assert!(!Passphrase::new(Zeroizing::new(b"x".to_vec())).unwrap().is_none());
    }
}
